"""Images on disk compared with images in a table: found, or errors and notes for those that are missing."""

import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import pandas as pd

from cxr_monai.data.files import IMAGE_SUFFIXES
from cxr_monai.data.matching import Matches, examples, match_images, require_clear
from cxr_monai.errors import Code, ManifestError
from cxr_monai.plurals import be, counted, was

_SHOWN = 10


def walk(root: Path) -> Iterator[str]:
    """Yield every file below ``root`` as a relative path with ``/``, sorted by folder; hidden ones are left out.

    Raises:
        ManifestError: ``source-invalid`` if ``root`` is no folder.
    """
    require_folder(root)
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        relative = Path(folder).relative_to(root).as_posix()
        prefix = "" if relative == "." else f"{relative}/"
        yield from (prefix + name for name in sorted(files) if not name.startswith("."))


def require_folder(root: Path) -> None:
    """Raise ``source-invalid`` unless ``root`` is a folder."""
    if not root.is_dir():
        reason = "this is a file, not a folder" if root.exists() else "there is no such folder"
        raise ManifestError(Code.SOURCE_INVALID, f"{reason}.", where=root)


def images_below(root: Path, images: str | None) -> list[str]:
    """Return the image files below a folder of ROOT as paths relative to ROOT, sorted by folder.

    Args:
        root: the data set's folder.
        images: a folder in it, as ``--images`` names it; None takes all of ``root``.

    Raises:
        ManifestError: ``source-invalid`` if that is no folder inside ``root``.
    """
    folder = root if images is None else Path(os.path.abspath(root / images))
    require_folder(folder)
    if not folder.is_relative_to(root):
        raise ManifestError(Code.SOURCE_INVALID, f"--images {images}: not a folder inside ROOT.", where=root)
    prefix = "" if folder == root else f"{folder.relative_to(root).as_posix()}/"
    return [prefix + name for name in walk(folder) if name.lower().endswith(IMAGE_SUFFIXES)]


def refuse_copies(files: pd.Series, films: pd.Series, root: Path) -> None:
    """Refuse two files of one film: of two formats, or a copy in another folder.

    Args:
        files: paths.
        films: what tells films apart, of the same index.
        root: the data set's folder, for the message.

    Raises:
        ManifestError: ``source-invalid``, with an example.
    """
    again = films.duplicated()
    if not again.any():
        return
    pair = files[films == films[again].iloc[0]].tolist()
    number = int(again.sum())
    raise ManifestError(
        Code.SOURCE_INVALID,
        f"{counted(number, 'film')} {be(number)} here more than once: {' and '.join(pair[:2])}.",
        fix=f"Choose one folder: --images {Path(pair[0]).parent.as_posix()}.",
        where=root,
    )


def report_missing(missing: Sequence[str], total: int, searched: Collection[str], root: Path, near: str = "") -> None:
    """Raise ``images-missing`` with the count and the first names, if any image is missing.

    Args:
        missing: names as the table has them.
        total: how many images the table names.
        searched: the folders that were looked into.
        root: their root.
        near: `cxr_monai.data.matching.Matches.near_misses`.
    """
    if not missing:
        return
    shown = ", ".join(missing[:_SHOWN]) + (f", and {len(missing) - _SHOWN:,} more" if len(missing) > _SHOWN else "")
    raise ManifestError(
        Code.IMAGES_MISSING,
        f"{len(missing):,} of the {counted(total, 'image')} that the table names "
        f"are not in {', '.join(searched)}: {shown}." + (f" {near}." if near else ""),
        fix="Get them, or keep those that are here with --available-only"
        + ("; where a file name alone tells which image it is, say --match-names." if near else "."),
        where=root,
    )


def left_out_note(available: int, missing: int) -> str:
    """Return a sentence on the images that ``--available-only`` left out.

    Args:
        available: images on disk.
        missing: images that are not.
    """
    return f"kept {counted(available, 'image')} that {be(available)} here, left out {missing:,} that are not"


def require_any(available: int, root: Path, searched: Collection[str], near: str = "") -> None:
    """Refuse a table none of whose images is on disk.

    Args:
        available: images on disk.
        root: the folder of the images.
        searched: the folders that were searched.
        near: `cxr_monai.data.matching.Matches.near_misses`.

    Raises:
        ManifestError: ``no-images``.
    """
    if not available:
        raise ManifestError(
            Code.NO_IMAGES,
            f"none of the table's images is in {', '.join(searched) or 'this folder'}{f': {near}' if near else ''}.",
            where=root,
        )


def find_images(
    names: pd.Series, root: Path, table: Path, available_only: bool, by_name: bool = False
) -> tuple[pd.Series, list[str]]:
    """Return the path below ``root`` of each image that is kept, and notes.

    Args:
        names: paths or file names as a table has them, with or without the ending; their index is kept.
        root: the folder, searched with all its folders.
        table: the names' file, for messages.
        available_only: leave out the images that are not there, instead of refusing.
        by_name: file names are identities, whatever the folders.

    Raises:
        ManifestError: ``source-invalid`` for a name that fits several files; ``images-missing``; ``no-images``.
    """
    files = list(walk(root))
    if by_name and (places := _by_file_name(names, files)) is not None:
        return places, []
    matches = match_images(names, files, by_name=by_name, other_endings=True, root=root)
    require_clear(matches, Code.SOURCE_INVALID, "the table's names", table)
    places = names.map(matches.image_of)
    here = places.notna()
    notes = [_endings_note(matches)] if matches.endings else []
    missing = names[~here].tolist()
    near = matches.near_misses() if missing else ""
    if not available_only:
        report_missing(missing, len(names), ["ROOT or its folders"], root, near)
        return places, notes
    require_any(int(here.sum()), root, (), near)
    left_out = left_out_note(int(here.sum()), len(missing))
    note = f"{left_out} (such as {examples(missing)})" if missing else left_out
    return places[here], [*notes, f"{note}; {near}" if near else note]


def _by_file_name(names: pd.Series, files: Sequence[str]) -> pd.Series | None:
    """Return the file of each name by its file name alone, where that is clear for every one of them; else None."""
    places = {file.rpartition("/")[2]: file for file in files}
    last = names.str.rpartition("/")[2]
    if not last.is_unique or not last.isin(list(places)).all():
        return None
    wanted = set(last)
    doubled = sum(file.rpartition("/")[2] in wanted for file in files) > len(wanted)
    return None if doubled else last.map(places)


def _endings_note(matches: Matches) -> str:
    """Return a sentence on the images that were found under another ending, or without one."""
    return f"{counted(matches.endings, 'image')} {was(matches.endings)} found by name without the ending (such as .png)"
