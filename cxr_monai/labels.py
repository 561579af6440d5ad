"""The 14 findings of NIH ChestX-ray14, in NIH's order.

The order is that of the data set's paper (Wang et al., CVPR 2017, doi 10.1109/CVPR.2017.369, extended from 8 to 14
findings) and of every published CheXNet checkpoint; a network's output channels follow it.
"""

from collections.abc import Iterable

from cxr_monai.errors import Code, ManifestError

NIH14: tuple[str, ...] = (
    "Atelectasis",
    "Cardiomegaly",
    "Effusion",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pneumonia",
    "Pneumothorax",
    "Consolidation",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Pleural_Thickening",
    "Hernia",
)

NO_FINDING = "No Finding"

# Spellings met in NIH's own files and in their descendants.
_ALIASES = {"infiltrate": "Infiltration", "pleural thickening": "Pleural_Thickening", "effusions": "Effusion"}
_BY_LOWER = {finding.lower(): finding for finding in NIH14} | _ALIASES


def spelling(name: str) -> str:
    """Return a finding's name in this package's spelling; an unknown name unchanged, without blanks around it.

    Case and known aliases ("Infiltrate") are forgiven.

    >>> spelling("Infiltrate"), spelling("pleural thickening"), spelling(" Scoliosis ")
    ('Infiltration', 'Pleural_Thickening', 'Scoliosis')
    """
    key = name.strip().lower()
    return _BY_LOWER.get(key) or _BY_LOWER.get(key.replace(" ", "_")) or name.strip()


def canonical(name: str) -> str:
    """Return the finding's name as this package spells it.

    Args:
        name: a finding as a source spells it; case, surrounding blanks and known aliases ("Infiltrate") are forgiven.

    Raises:
        ManifestError: ``unknown-finding``, listing the findings that exist.
    """
    finding = spelling(name)
    if finding not in NIH14:
        raise ManifestError(Code.UNKNOWN_FINDING, f"there is no finding {name!r}; the findings are {', '.join(NIH14)}.")
    return finding


def parse_labels(labels: str | Iterable[str]) -> list[str]:
    """Return the findings that a setting names, in its order.

    Args:
        labels: a list of findings, or one string of findings with commas between (a command line's
            ``--labels Pneumonia`` arrives as a string, whose length is not a number of findings).

    Raises:
        ManifestError: ``unknown-finding`` for an empty list, an empty name or one that stands twice.

    >>> parse_labels("Mass, nodule")
    ['Mass', 'Nodule']
    """
    names = (
        [part.strip() for part in labels.split(",")]
        if isinstance(labels, str)
        else [str(name).strip() for name in labels]
    )
    names = [_BY_LOWER.get(name.lower(), name) for name in names]
    twice = sorted({name for name in names if names.count(name) > 1})
    if not names or "" in names or twice:
        raise ManifestError(
            Code.UNKNOWN_FINDING,
            f"labels {labels!r} " + (f"name {', '.join(twice)} twice." if twice else "name no finding."),
            fix="Give findings with commas between, for example --labels Pneumonia,Effusion.",
        )
    return names
