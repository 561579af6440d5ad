"""Tables of public data sets by their columns, for the error that a table of another set deserves.

looks_like(["ImageID", "Projection", "Labels"])     # "it looks like PadChest's table (cxr-monai manifest padchest)"
"""

from collections.abc import Iterable
from pathlib import Path

from cxr_monai.data.columns import key
from cxr_monai.errors import Code, ManifestError

# columns that tell a table, by their letters and digits; whose it is, and the source that reads it. The first that fits
_SIGNS: tuple[tuple[frozenset[str], str, str | None], ...] = tuple(
    (frozenset(columns.split()), owner, source)
    for columns, owner, source in (
        ("imageid patientid projection labels", "PadChest's table", "padchest"),
        ("imageindex findinglabels", "NIH ChestX-ray14's table", "nih"),
        ("pathtoimage deidpatientid", "CheXpert Plus's table", "chexpert"),
        ("path enlargedcardiomediastinum", "CheXpert's table", "chexpert"),
        ("study enlargedcardiomediastinum", "CheXpert's table of its test's studies", "chexpert"),
        ("dicomid viewposition", "MIMIC-CXR-JPG's metadata", "mimic"),
        ("dicomid studyid split", "MIMIC-CXR-JPG's split", "mimic"),
        ("studyid enlargedcardiomediastinum", "MIMIC-CXR-JPG's labels", "mimic"),
        ("imageid classname", "VinDr-CXR's table", "vindr"),
        ("imageid radid", "VinDr-CXR's table", "vindr"),
        ("patientid target", "RSNA's table", "rsna"),
        ("imageid encodedpixels", "SIIM-ACR's table", "siim"),
        ("image patientid studyid source split", "a manifest", None),
        ("imageid readerid", "Google's readers of NIH's films", None),
    )
)


def looks_like(columns: Iterable[str]) -> str:
    """Return whose table these columns are, as a clause with the command that reads it; ``""`` if nobody's known.

    >>> looks_like(["subject_id", "study_id", "Atelectasis", "Enlarged Cardiomediastinum"])
    "it looks like MIMIC-CXR-JPG's labels (cxr-monai manifest mimic)"
    """
    keys = set(map(key, columns))
    for signs, owner, source in _SIGNS:
        if signs <= keys:
            return f"it looks like {owner}" + (f" (cxr-monai manifest {source})" if source else "")
    return ""


def lacking_columns(owner: str, lacking: Iterable[str], columns: Iterable[str], path: Path) -> ManifestError:
    """Return the error for a table without columns that it needs.

    Args:
        owner: whose table it should be, such as ``CheXpert's table``.
        lacking: the columns, as the data set spells them.
        columns: those that the table has.
        path: the table.
    """
    columns = list(columns)
    resemblance = looks_like(columns)
    words = f"; {resemblance}" if resemblance and owner not in resemblance else ""
    return ManifestError(
        Code.SOURCE_INVALID,
        f"this is not {owner}: it lacks {', '.join(map(repr, lacking))}; "
        f"its columns are {', '.join(map(repr, columns))}{words}.",
        fix="Give the table as it is distributed.",
        where=path,
    )
