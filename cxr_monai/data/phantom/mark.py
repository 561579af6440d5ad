"""The mark of a folder of phantoms, for programs that read its images in NIH's layout: they are drawn.

write_mark("OUT", count=4000, size=256, seed=0)     # OUT/phantom.json
is_marked("OUT/dicom")                              # True: the mark lies above
"""

import json
from pathlib import Path
from typing import Any

from cxr_monai.durable import write_durably
from cxr_monai.origins import PHANTOM_LABELS
from cxr_monai.strict_json import parse_strictly

MARK, CARD = "phantom.json", "README.txt"
FIRST_LINE = "Synthetic chest radiographs made by cxr-monai phantom. No patient is shown."
"""With which the card for people begins; folders of earlier versions have it alone."""
_ABOVE = 3
"""Folders above an image's that are looked into: ``OUT/dicom/00000001`` is two below the mark."""


def write_mark(folder: Path, **settings: Any) -> None:
    """Write ``phantom.json``: the mark, its label version, and the settings that draw the same phantoms again."""
    content = {"synthetic": True, "made_by": "cxr-monai phantom", "label_version": PHANTOM_LABELS, **settings}
    write_durably(folder / MARK, (json.dumps(content, indent=2) + "\n").encode())


def is_marked(folder: str | Path) -> bool:
    """Return whether a folder, or one of the three above it, is one that ``cxr-monai phantom`` wrote."""
    folder = Path(folder).absolute()
    return any(_has_mark(one) for one in (folder, *list(folder.parents)[:_ABOVE]))


def _has_mark(folder: Path) -> bool:
    mark, card = folder / MARK, folder / CARD
    if mark.is_file():
        try:
            content = parse_strictly(mark.read_bytes())
        except (OSError, ValueError):
            content = None
        if isinstance(content, dict) and content.get("synthetic") is True:
            return True
    try:
        with card.open(encoding="utf-8", errors="replace") as file:
            return file.readline().rstrip("\r\n") == FIRST_LINE
    except OSError:
        return False
