"""Whatever source reads phantoms, the manifest says that they are drawn: label version, ``source``, and a note."""

from dataclasses import replace
from pathlib import Path

from cxr_monai.data.phantom.mark import is_marked
from cxr_monai.data.sources import SourceTable
from cxr_monai.errors import Code, ManifestError
from cxr_monai.origins import PHANTOM_LABELS, PHANTOM_SOURCE

NOTE = (
    "these are phantoms, drawn by 'cxr-monai phantom': no patient is shown, and no figure says how well a model reads"
)


def as_phantoms(source: SourceTable) -> SourceTable:
    """Return the table as it is, or, where its folder bears the phantoms' mark, as phantoms."""
    if not is_marked(source.root):
        return source
    table = source.table.assign(source=PHANTOM_SOURCE)
    return replace(source, table=table, label_version=PHANTOM_LABELS, notes=(NOTE, *source.notes))


def refuse_phantoms(root: Path, what: str) -> None:
    """Refuse what says something of real patients where the images are phantoms, whose names are like NIH's.

    Args:
        root: the folder of the images.
        what: in words, such as ``"radiologists' labels"``.

    Raises:
        ManifestError: ``source-invalid``.
    """
    if is_marked(root):
        raise ManifestError(
            Code.SOURCE_INVALID, f"these are phantoms, of which there are no {what}: their names are NIH's.", where=root
        )
