"""Lung masks of images: from CheXmask's tables, from a folder of mask pictures, or by a simple segmentation.

    masks = read_lung_masks("CheXmask/OriginalResolution/ChestX-Ray8.csv", manifest.table["image"], by_name=True)
    mask = masks.of(image, pixels)                # mask.lungs: bool [H, W]; mask.kind: where it comes from

CheXmask (Gaggion et al., https://doi.org/10.13026/dx54-8351, PhysioNet) has a table a data set: ChestX-ray8, CheXpert,
MIMIC-CXR-JPG, PadChest, VinDr-CXR. Its masks were made by a network and graded by the Dice coefficient that reverse
classification expects of each; those below 0.7 are not used, as its authors advise. Lungs are run-lengths: pairs of a
start, from 1, and a length, along the rows of the picture.

An image without a stored mask gets one by `cxr_monai.data.lung_shapes`, and where even that finds nothing, a central
ellipse. Every mask says which of these it is, so that results can count them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
from PIL import Image

from cxr_monai.data.columns import find_column
from cxr_monai.data.files import image_files
from cxr_monai.data.lung_shapes import resize_mask, segment_lungs
from cxr_monai.data.matching import match_images, require_clear
from cxr_monai.errors import Code, ManifestError
from cxr_monai.plurals import counted
from cxr_monai.progress import progress_bar

CHEXMASK, MASK_FILES, DRAWN, SEGMENTATION, ELLIPSE = "CheXmask", "mask files", "truth", "segmentation", "ellipse"
"""Kinds of masks."""
LEAST_DICE = 0.7
"""Of ``Dice RCA (Mean)``: masks below it are not used."""
LEAST_CONTRAST = 0.12
"""Of a segmentation: below it the lungs count as not found. Pictures of noise reach 0.05 to 0.12."""

_KEY = ("imageindex", "dicomid", "imageid", "path", "image")
_COLUMNS = {"left": "leftlung", "right": "rightlung", "height": "height", "width": "width", "dice": "dicercamean"}
_GRADES, _MASKS = 20_000, 500  # rows at a time
_SAME_SHAPE = 0.02  # relative difference of two pictures' proportions that rounding explains


class StoredMask(Protocol):
    """A mask that somebody made; ``kind`` says where it comes from."""

    @property
    def kind(self) -> str: ...
    def read(self) -> np.ndarray: ...


@dataclass(frozen=True)
class RunLengthMask:
    """Both lungs as CheXmask stores them: run-lengths along the rows of a picture of ``height`` x ``width``."""

    left: str
    right: str
    height: int
    width: int
    kind: str = CHEXMASK

    def read(self) -> np.ndarray:
        """Return the lungs, bool ``[height, width]``.

        Raises:
            ManifestError: ``source-invalid`` for run-lengths that don't fit the picture.

        >>> RunLengthMask("1 2", "6 1", 2, 3).read().astype(int).tolist()
        [[1, 1, 0], [0, 0, 1]]
        """
        mask = np.zeros(self.height * self.width, dtype=bool)
        for text in (self.left, self.right):
            numbers = [int(word) for word in text.split() if word.isdigit()]
            starts, lengths = numbers[::2], numbers[1::2]
            whole = len(starts) == len(lengths) and len(numbers) == len(text.split())
            if not whole or any(s < 1 or s - 1 + n > mask.size for s, n in zip(starts, lengths, strict=True)):
                raise ManifestError(
                    Code.SOURCE_INVALID,
                    f"run-lengths that don't fit a mask of {self.height} x {self.width} pixels: {text[:40]!r}.",
                    fix="Download CheXmask's table again.",
                )
            for start, length in zip(starts, lengths, strict=True):
                mask[start - 1 : start - 1 + length] = True
        return mask.reshape(self.height, self.width)


@dataclass(frozen=True)
class PictureMask:
    """The union of mask pictures, bright where the lungs are: one, or one a lung."""

    paths: tuple[Path, ...]
    kind: str = MASK_FILES

    def read(self) -> np.ndarray:
        """Return the lungs, bool ``[H, W]``.

        Raises:
            ManifestError: ``source-invalid`` for a picture that is no mask, or two of different sizes.
        """
        masks = [_read_picture(path) for path in self.paths]
        if len({mask.shape for mask in masks}) > 1:
            names = ", ".join(path.name for path in self.paths)
            raise ManifestError(
                Code.SOURCE_INVALID, f"masks of one image have different sizes: {names}.", where=self.paths[0]
            )
        return np.any(masks, axis=0)


@dataclass(frozen=True, eq=False)
class ArrayMask:
    """A mask in memory, bool ``[H, W]``: a phantom's truth."""

    lungs: np.ndarray
    kind: str = DRAWN

    def read(self) -> np.ndarray:
        """Return it."""
        return self.lungs


@dataclass(frozen=True, eq=False)
class LungMask:
    """The lungs of one image, bool ``[H, W]``, and the kind of the mask."""

    lungs: np.ndarray
    kind: str


@dataclass(frozen=True, eq=False)
class LungMasks:
    """Masks of a table's images; an image without a stored one is segmented.

    Attributes:
        stored: masks by the images' names.
        notes: sentences on where they come from and on what was left out.
    """

    stored: Mapping[str, StoredMask] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def of(self, image: str, pixels: np.ndarray) -> LungMask:
        """Return the lungs of an image.

        Args:
            image: its name in the table.
            pixels: float ``[H, W]``, bright = dense.

        Raises:
            ManifestError: ``source-invalid`` for a stored mask of other proportions than the image.
        """
        stored = self.stored.get(image)
        if stored is None:
            lungs, contrast = segment_lungs(pixels)
            found = contrast >= LEAST_CONTRAST
            return LungMask(lungs if found else central_ellipse(pixels.shape), SEGMENTATION if found else ELLIPSE)
        mask = stored.read()
        proportions = mask.shape[0] * pixels.shape[1] / (mask.shape[1] * pixels.shape[0])
        if abs(proportions - 1) > _SAME_SHAPE:
            raise ManifestError(
                Code.SOURCE_INVALID,
                f"the lung mask of {image} has {mask.shape[0]} x {mask.shape[1]} pixels, the image {pixels.shape[0]} x "
                f"{pixels.shape[1]}: other proportions, so it is not of this picture.",
                fix="Take the masks of the pictures as they are, such as CheXmask's folder OriginalResolution.",
            )
        return LungMask(resize_mask(mask, pixels.shape), stored.kind)


def central_ellipse(shape: tuple[int, ...]) -> np.ndarray:
    """Return an ellipse about where lungs and heart are: bool ``[H, W]``, 43 % of the picture.

    Args:
        shape: ``(H, W)``.
    """
    down, across = ((np.arange(extent) + 0.5) / extent for extent in shape)
    return ((down[:, None] - 0.46) / 0.37) ** 2 + ((across[None, :] - 0.5) / 0.37) ** 2 <= 1


def read_lung_masks(source: str | Path | None, images: Iterable[str], *, by_name: bool = False) -> LungMasks:
    """Return the lung masks of a table's images.

    Args:
        source: one of CheXmask's tables (``.csv``, ``.csv.gz``); a folder of mask pictures, whose names are the images'
            (``_mask`` at the end is forgiven; ``leftMask`` and ``rightMask`` are united): Montgomery's
            ``ManualMask``, Shenzhen's ``mask``, the phantoms' ``masks/lungs``; None for the segmentation alone.
        images: the table's names.
        by_name: a file name alone tells which image it is.

    Raises:
        ManifestError: ``source-invalid`` for another table, or a source in which no image has a mask;
            ``images-ambiguous`` for masks that fit several images.
    """
    if source is None:
        return LungMasks(notes=("Lung masks are a simple segmentation of each film.",))
    path, names = Path(source), list(dict.fromkeys(images))
    masks = _from_folder(path, names) if path.is_dir() else _from_chexmask(path, names, by_name)
    if not masks.stored:
        raise ManifestError(
            Code.SOURCE_INVALID,
            f"it has no usable lung mask of any of the {counted(len(names), 'image')}, such as {names[0]!r}."
            if names
            else "there is no image to have a lung mask of.",
            fix="Give the masks of these images, or none for the simple segmentation.",
            where=path,
        )
    return masks


def _from_folder(folder: Path, images: list[str]) -> LungMasks:
    by_stem: dict[str, list[str]] = {}
    for image in images:
        by_stem.setdefault(Path(image).stem.casefold(), []).append(image)
    paths: dict[str, list[Path]] = {}
    for path in image_files(folder):
        stem = path.stem.casefold().removesuffix("_mask")
        for image in by_stem.get(stem, ()):
            paths.setdefault(image, []).append(path)
    ambiguous = sorted(image for same in by_stem.values() if len(same) > 1 for image in same if image in paths)
    if ambiguous:
        raise ManifestError(
            Code.IMAGES_AMBIGUOUS,
            f"masks go by file names, and {counted(len(ambiguous), 'image')} share one: {', '.join(ambiguous[:3])}.",
            fix="Give a table of images whose file names are unique.",
            where=folder,
        )
    stored = {image: PictureMask(tuple(found)) for image, found in paths.items()}
    return LungMasks(stored, (_kept(len(stored), len(images), "pictures in a folder"),))


def _read_picture(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        grey = np.asarray(picture.convert("L"))
    high = grey > grey.max() / 2
    # JPEG blurs the edges of a mask; a film has greys everywhere
    if np.mean(np.minimum(grey, grey.max() - grey) > 0.1 * grey.max()) > 0.05:
        raise ManifestError(
            Code.SOURCE_INVALID,
            "the picture is no mask: it has greys between black and white.",
            fix="Give the folder that holds the masks alone, such as ManualMask or the phantoms' masks/lungs.",
            where=path,
        )
    return high


def _from_chexmask(path: Path, images: list[str], by_name: bool) -> LungMasks:
    columns = _chexmask_columns(path)
    key, dice = columns["key"], columns["dice"]
    grades = pd.concat(_chunks(path, [key, dice], _GRADES, "grades of lung masks"), ignore_index=True).dropna()
    matches = match_images(grades[key], images, by_name=by_name, other_endings=True, spare_names=True)
    require_clear(matches, Code.IMAGES_AMBIGUOUS, "the images of one table", path)
    image_of = matches.image_of
    known = grades[key].isin(set(image_of))
    good = set(grades[key][known & (pd.to_numeric(grades[dice], errors="coerce") >= LEAST_DICE)])
    stored: dict[str, StoredMask] = {}
    names = {part: columns[part] for part in ("left", "right", "height", "width")}
    for chunk in _chunks(path, [key, *names.values()], _MASKS, "lung masks"):
        for row in chunk[chunk[key].isin(good)].dropna().to_dict("records"):
            left, right, height, width = (row[name] for name in names.values())
            stored[image_of[row[key]]] = RunLengthMask(left, right, int(float(height)), int(float(width)))
    poor = int(known.sum()) - len(good)
    notes: tuple[str, ...] = (_kept(len(stored), len(images), "CheXmask's table"),)
    if poor:
        notes += (f"{counted(poor, 'mask')} with a Dice RCA (Mean) below {LEAST_DICE} not used.",)
    return LungMasks(stored, notes)


def _chexmask_columns(path: Path) -> dict[str, str]:
    """Return the table's columns: ``key``, ``left``, ``right``, ``height``, ``width``, ``dice``."""
    header = list(next(iter(_chunks(path, None, 1, "")), pd.DataFrame()).columns)
    columns = {"key": find_column(header, _KEY)}
    columns |= {part: find_column(header, (name,)) for part, name in _COLUMNS.items()}
    missing = [part for part, column in columns.items() if column is None]
    if missing:
        words = {"key": "a column that names the image", "left": "Left Lung", "right": "Right Lung"}
        words |= {"height": "Height", "width": "Width", "dice": "Dice RCA (Mean)"}
        raise ManifestError(
            Code.SOURCE_INVALID,
            f"it is no table of CheXmask's: it lacks {', '.join(words[part] for part in missing)}; it has "
            f"{', '.join(header[:12]) or 'no column'}.",
            fix="Give one of the tables of CheXmask's folder OriginalResolution, such as ChestX-Ray8.csv.",
            where=path,
        )
    return {part: str(column) for part, column in columns.items()}


def _chunks(path: Path, columns: list[str] | None, rows: int, desc: str) -> Iterable[pd.DataFrame]:
    """Yield the rows of a table of several GB, as text; without columns the first of them alone.

    Raises:
        ManifestError: ``source-invalid`` if it cannot be read.
    """
    try:
        with pd.read_csv(path, usecols=columns, dtype=str, chunksize=rows, encoding="utf-8-sig") as reader:
            if columns is None:
                yield next(iter(reader))
                return
            with progress_bar(total=None, desc=desc, unit="rows") as bar:
                for chunk in reader:
                    yield chunk
                    bar.update(len(chunk))
    except (OSError, EOFError, ValueError) as error:  # pandas' errors of parsing are ValueErrors
        raise ManifestError(
            Code.SOURCE_INVALID, f"it cannot be read as a table ({' '.join(str(error).split())}).", where=path
        ) from error


def _kept(masked: int, total: int, place: str) -> str:
    rest = "" if masked == total else "; the others are segmented simply"
    return f"Lung masks of {masked:,} of {counted(total, 'image')} are from {place}{rest}."
