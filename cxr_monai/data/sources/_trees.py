"""Deep trees of images (patient, study, image): surveyed from above, then each file is asked for.

Listing 65,000 folders of patients and their studies takes long; asking for the files that a table names does not::

    tree = survey(root, r"patient\\d+")                # the folders that hold patients, and the tables on the way there
    ask_for(names, root, tree.holders)            # "train/patient00001/study1/view1_frontal.jpg", NaN if absent
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from cxr_monai.data.files import DICOM_SUFFIXES
from cxr_monai.data.sources._files import left_out_note, report_missing, require_any, require_folder
from cxr_monai.errors import Code, ManifestError
from cxr_monai.plurals import be, counted
from cxr_monai.progress import progress_bar

ENDINGS = (".jpg", ".png", ".jpeg", *DICOM_SUFFIXES)
TABLE_NAMES = r".*\.csv(\.gz)?"
"""The names of tables, for `Tree.named`."""
_DEPTH = 4  # folders below ROOT; the sets' own layouts need three


@dataclass(frozen=True)
class Tree:
    """What lies below a folder, without going into what it holds.

    Attributes:
        holders: folder -> the folders in it that match (patients).
        files: tables and other files on the way there.
    """

    holders: Mapping[Path, frozenset[str]]
    files: Sequence[Path]

    def named(self, pattern: str) -> list[Path]:
        """Return the files whose whole names match a regular expression, capitals aside; the highest folders first."""
        return sorted(
            (path for path in self.files if re.fullmatch(pattern, path.name, re.IGNORECASE)),
            key=lambda path: (len(path.parts), path),
        )


def survey(root: Path, pattern: str) -> Tree:
    """Return the folders that hold folders of a name, at most four levels down, and the files beside them.

    Args:
        root: the folder of the data set.
        pattern: regular expression of the held folders' whole names.

    Raises:
        ManifestError: ``source-invalid`` if ``root`` is no folder.
    """
    require_folder(root)
    holders, files = {}, []
    for place, folders, names in os.walk(root, followlinks=True):  # the depth ends loops
        folder = Path(place)
        held = frozenset(name for name in folders if re.fullmatch(pattern, name))
        if held:
            holders[folder] = held
        deep = len(folder.relative_to(root).parts) >= _DEPTH
        folders[:] = [] if deep else sorted(name for name in folders if name not in held and not name.startswith("."))
        files += [folder / name for name in sorted(names) if not name.startswith(".")]
    return Tree(holders, files)


def inside(root: Path, images: str | None, holders: Mapping[Path, frozenset[str]]) -> dict[Path, frozenset[str]]:
    """Return the holders in the folder that ``--images`` names; all of them without it.

    Raises:
        ManifestError: ``source-invalid`` if it is no folder inside ``root``, or holds none.
    """
    if images is None:
        return dict(holders)
    folder = Path(os.path.abspath(root / images))
    require_folder(folder)
    within = {holder: held for holder, held in holders.items() if holder.is_relative_to(folder)}
    if not within:
        reason = f"--images {images}: no folder of patients is in it; they are in {shown(root, holders)}."
        raise ManifestError(Code.SOURCE_INVALID, reason, where=root)
    return within


def shown(root: Path, folders: Mapping[Path, frozenset[str]]) -> str:
    """Return folders by their paths below ``root``, with commas between."""
    return ", ".join("ROOT" if folder == root else folder.relative_to(root).as_posix() for folder in folders)


def ask_for(names: pd.Series, root: Path, holders: Mapping[Path, frozenset[str]]) -> pd.Series:
    """Return each image's path relative to ``root``; NaN where no holder has it.

    Args:
        names: what lies below a holder: ``patient00001/study1/view1_frontal.jpg``. The ending may be another on disk
            (.jpg, .png, .jpeg, .dcm, .dicom).
        root: the folder that the paths are relative to.
        holders: of `survey`.

    Raises:
        ManifestError: ``source-invalid`` if two holders have an image.
    """
    places: list[str | None] = []
    twice: list[str] = []
    holders_of: dict[str, list[Path]] = {}
    for folder, held in holders.items():
        for name in held:
            holders_of.setdefault(name, []).append(folder)
    endings = {folder: list(ENDINGS) for folder in holders}
    for name in progress_bar(names, total=len(names), desc="looking for the images", unit="images"):
        stem = os.path.splitext(name)[0]
        files = [_file(folder, stem, endings[folder]) for folder in holders_of.get(stem.partition("/")[0], ())]
        here = [file for file in files if file]
        places.append(here[0] if here else None)
        twice += here[:2] if len(here) > 1 else []
    if twice:
        folders = shown(root, holders)
        raise ManifestError(
            Code.SOURCE_INVALID,
            f"{counted(len(twice) // 2, 'image')} {be(len(twice) // 2)} in two places: {folders}; such as "
            f"{_relative(twice[0], root)} and {_relative(twice[1], root)}.",
            fix="Choose one with --images DIR, or give a folder inside ROOT as ROOT.",
            where=root,
        )
    absolute = pd.Series(places, index=names.index, dtype="str")
    return absolute.str.slice(len(f"{root}{os.sep}")).str.replace(os.sep, "/", regex=False)


def _file(folder: Path, stem: str, endings: list[str]) -> str | None:
    """Return the file of a stem, whatever its ending; the ending that the last one had is tried first."""
    for place, ending in enumerate(endings):
        path = f"{folder}{os.sep}{stem}{ending}"
        if os.path.isfile(path):
            endings.insert(0, endings.pop(place))
            return path
    return None


def _relative(path: str, root: Path) -> str:
    return Path(path).relative_to(root).as_posix()


def check_found(
    places: pd.Series, names: pd.Series, root: Path, searched: Sequence[str], available_only: bool
) -> list[str]:
    """Refuse images that are not on disk, or return a note on those that are left out.

    Args:
        places: of `ask_for`.
        names: the table's names of the same rows, for messages.
        root: their root.
        searched: the folders that were looked into.
        available_only: leave them out instead of refusing; none at all is refused all the same.

    Raises:
        ManifestError: ``images-missing`` or ``no-images``.
    """
    missing = names[places.isna()].tolist()
    if not available_only:
        report_missing(missing, len(names), searched, root)
        return []
    require_any(len(names) - len(missing), root, searched)
    return [left_out_note(len(names) - len(missing), len(missing))]
