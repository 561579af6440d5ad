"""Radiograph pipelines as MONAI dictionary transforms: file, or film in memory, to network input.

A bundle's deterministic pipeline is ``LoadRadiographd``, ``ResizeShortestd``, ``QuantiseRadiographd``, MONAI's
``CenterSpatialCropd`` and ``NormaliseRadiographd``: one file becomes a float32 tensor ``[C, S, S]``. What stands before
the crop is done once for a training (``data.cache``). In training :func:`augmentation` takes the place of the
crop: by default random crop, zoom, rotation and translation in one resampling. Rows of the array are rows of the
picture: nothing here or in ``cxr_monai.data.radiograph`` transposes, unlike MONAI's PIL reader, so boxes and maps need
no swap.
"""

import math
import os
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import get_track_meta, set_track_meta
from monai.transforms import (
    CenterSpatialCropd,
    Compose,
    LazyTransform,
    MapTransform,
    RandAffined,
    Randomizable,
    RandomizableTransform,
    Resized,
)
from PIL import Image

from cxr_monai.data.formats.grey import grey_levels, grey_of_levels
from cxr_monai.data.radiograph import read_radiograph
from cxr_monai.data.radiograph_array import radiograph_of_array
from cxr_monai.errors import Code, SettingError
from cxr_monai.plurals import counted


class Normalisation(StrEnum):
    """The three normalisations of the diary (its entry of 5 December 2019) and TorchXRayVision's, by name."""

    IMAGENET = "imagenet"
    """Mean and standard deviation of ImageNet, what networks pre-trained there have seen."""
    ZERO_ONE = "zero_one"
    """Pixels as they are read, in [0, 1]."""
    MINUS_ONE_ONE = "minus_one_one"
    """Pixels stretched to [-1, 1]."""
    XRAY_1024 = "xray_1024"
    """Pixels stretched to [-1024, 1024], what TorchXRayVision's networks have seen (Cohen et al., arXiv 2111.00595)."""


# Means and standard deviations of ImageNet's red, green and blue (the constants of torchvision's models).
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@contextmanager
def plain_tensors() -> Iterator[None]:
    """Keep MONAI from carrying metadata through every transform: nothing here reads it, and it costs time."""
    before = get_track_meta()
    set_track_meta(False)
    try:
        yield
    finally:
        set_track_meta(before)


def normalise(pixels: torch.Tensor, mode: str, channels: int = 1) -> torch.Tensor:
    """Map a radiograph in [0, 1] to what a network is given.

    Args:
        pixels: float ``[..., 1, H, W]`` in [0, 1].
        mode: a :class:`Normalisation`.
        channels: 1, or 3 to repeat the grey channel for networks that take RGB. ImageNet's constants are per channel
            with 3, their mean over the channels with 1.

    Returns:
        float ``[..., channels, H, W]``; ``imagenet`` about [-2.1, 2.6], ``zero_one`` [0, 1], ``minus_one_one`` [-1, 1],
        ``xray_1024`` [-1024, 1024].

    Raises:
        SettingError: ``setting-invalid`` for another mode or number of channels.
    """
    if mode not in list(Normalisation):
        raise SettingError(
            Code.SETTING_INVALID,
            f"normalisation {mode!r} does not exist; choose one of {', '.join(Normalisation)}.",
        )
    if channels not in (1, 3):
        raise SettingError(
            Code.SETTING_INVALID, f"{counted(channels, 'channel')}: a radiograph is given as 1 or 3 channels."
        )
    if channels == 3:
        pixels = pixels.expand(*pixels.shape[:-3], 3, *pixels.shape[-2:])
    if mode == Normalisation.ZERO_ONE:
        return pixels.clone() if channels == 3 else pixels
    if mode == Normalisation.MINUS_ONE_ONE:
        return pixels * 2 - 1
    if mode == Normalisation.XRAY_1024:
        return pixels * 2048 - 1024
    mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
    if channels == 1:
        mean, std = mean.mean(), std.mean()
    return (pixels - mean.reshape(-1, 1, 1)) / std.reshape(-1, 1, 1)


def resize(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resample one plane without aliasing: means of whole blocks of pixels, then Pillow's triangle filter for the rest.

    A reduction by a whole number is what PyTorch and MONAI call ``area``; see ``docs/decisions/0005-resampling.md``.

    Args:
        pixels: float32 ``[H, W]``.
        height: rows of the result.
        width: columns of the result.

    Returns:
        float32 ``[height, width]``, within the range of the input.
    """
    if pixels.shape == (height, width):
        return pixels
    image = Image.fromarray(pixels)
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=1.0))


def check_size(size: int) -> int:
    """Return a number of pixels as it is.

    Raises:
        SettingError: ``setting-invalid`` unless it is a whole number above 0.
    """
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise SettingError(Code.SETTING_INVALID, f"a size of {size!r} pixels: it must be a whole number above 0.")
    return size


class LoadRadiographd(MapTransform):
    """Path, a file's bytes, or the film as an array or tensor, to float32 ``[1, H, W]`` in [0, 1], bright = dense.

    See ``cxr_monai.data.radiograph`` for files and ``cxr_monai.data.radiograph_array`` for arrays: which axis is which
    and which values are black and white follow stated rules; what they leave open is refused. Beside the key ``image``
    an item may state ``image_axes`` (``HW``, ``WH``), ``image_value_range`` ([black, white]) and ``image_bits``.

    For the key ``image``, ``image_bits`` tells how many bits a pixel of the film has (16 where it does not say),
    ``image_shape`` its (H, W), ``image_spacing`` its (row, column) spacing in mm or None, ``image_notes`` what is odd
    about it.

    Attributes:
        any_modality: read a DICOM whatever its header says it shows (``cxr_monai.data.dataset.take_any_modality``).

    Raises:
        RadiographError: whatever makes the film unfit; ``radiograph-ambiguous`` for an array without a known range.
    """

    any_modality = False

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        for key in self.key_iterator(result):
            given = result[key]
            if isinstance(given, str | bytes | os.PathLike):
                film = given if isinstance(given, bytes) else os.fspath(given)
                radiograph = read_radiograph(film, any_modality=self.any_modality)
            else:
                axes, value_range, bits = (result.get(f"{key}_{name}") for name in ("axes", "value_range", "bits"))
                radiograph = radiograph_of_array(given, axes, value_range, bits)
            result[key] = torch.from_numpy(radiograph.pixels)
            result[f"{key}_notes"] = tuple(radiograph.provenance.get("notes", ()))
            result[f"{key}_bits"] = int(radiograph.provenance.get("bits_stored", 16))
            result[f"{key}_shape"], result[f"{key}_spacing"] = radiograph.pixels.shape[1:], radiograph.spacing
        return result


class ResizeShortestd(MapTransform):
    """Resample so that the shorter side has ``size`` pixels, keeping the aspect ratio, without aliasing.

    Args:
        keys: what to resample, each a float32 tensor ``[1, H, W]``.
        size: pixels of the shorter side after resampling.
        margin: a factor on ``size`` that leaves room for a crop; 8/7 makes 256 of 224, as CheXNet's descendants do.
    """

    def __init__(self, keys: KeysCollection, size: int, margin: float = 1.0, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        check_size(size)
        if margin < 1:
            raise SettingError(
                Code.SETTING_INVALID, f"the margin is {margin!r}; below 1 it leaves no room for the crop."
            )
        self.size, self.margin = round(size * margin), margin

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        for key in self.key_iterator(result):
            plane = np.asarray(result[key])[0]
            result[key] = torch.from_numpy(np.array(resize(plane, *self.shape_of(*plane.shape)))[None])
        return result

    def shape_of(self, height: int, width: int) -> tuple[int, int]:
        """Return rows and columns of the result for an image's."""
        scale = self.size / min(height, width)
        return max(self.size, round(height * scale)), max(self.size, round(width * scale))


class QuantiseRadiographd(MapTransform):
    """Round [0, 1] to whole grey levels: 256, or 65,536 where the file has more than 8 bits a pixel (``image_bits``).

    So what a training keeps as bytes and what is read from a file are the same numbers. After resampling an 8-bit image
    this moves a pixel by at most half a level, 0.002.
    """

    kept_until_here = True
    """For ``RadiographDataset``: this and what stands before it is done once and kept as bytes."""

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        for key in self.key_iterator(result):
            levels = grey_levels(np.asarray(result[key]), result.get(f"{key}_bits", 16))
            result[key] = torch.from_numpy(grey_of_levels(levels))
        return result


class NormaliseRadiographd(MapTransform):
    """Map [0, 1] to what the network is given; see :func:`normalise`."""

    def __init__(self, keys: KeysCollection, mode: str, channels: int = 1, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        normalise(torch.zeros(1, 1, 1), mode, channels)  # refuse a wrong name now, not in a worker process
        self.mode, self.channels = mode, channels

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = normalise(result[key], self.mode, self.channels)
        return result


def visible_part(pipeline: Compose, height: int, width: int) -> tuple[float, float, float, float]:
    """Return which part of a stored image a deterministic pipeline shows the network.

    Args:
        pipeline: of ``ResizeShortestd``, MONAI's ``Resized`` and ``CenterSpatialCropd``, and whatever moves no pixel.
        height, width: of the stored image.

    Returns:
        top, left, rows and columns in the stored image's pixels; whole numbers or not.

    Raises:
        SettingError: ``setting-invalid`` for a step that moves pixels in another way.
    """
    top, left, rows, columns = 0.0, 0.0, float(height), float(width)
    down, across = height, width  # pixels of the image at this step
    for step in pipeline.flatten().transforms:
        if isinstance(step, ResizeShortestd):
            down, across = step.shape_of(down, across)
        elif isinstance(step, Resized) and step.resizer.size_mode == "all":
            down, across = (int(size) for size in step.resizer.spatial_size)
        elif isinstance(step, CenterSpatialCropd):
            size = [int(extent) for extent in step.cropper.roi_size]
            crop = [
                min(extent, whole) if extent > 0 else whole for extent, whole in zip(size, (down, across), strict=True)
            ]
            first = [whole // 2 - extent // 2 for extent, whole in zip(crop, (down, across), strict=True)]
            top, left = top + first[0] * rows / down, left + first[1] * columns / across
            rows, columns = crop[0] * rows / down, crop[1] * columns / across
            down, across = crop
        elif isinstance(step, Randomizable | LazyTransform | TenCropd | WithMirrord):
            raise SettingError(
                Code.SETTING_INVALID,
                f"what {type(step).__name__} shows of an image is not known, so no map can be put back on it.",
                fix="Use ResizeShortestd, Resized and CenterSpatialCropd.",
            )
    return top, left, rows, columns


def random_affine_crop(keys: KeysCollection, size: int) -> RandAffined:
    """Return MONAI's ``RandAffined`` as a random resized crop with a small rotation, in one resampling.

    The view is ``size`` pixels wide and covers 90 to 110 % of ``size`` pixels of its input (each axis on its own, so
    the aspect ratio varies too), moved by up to a fourteenth of ``size`` (the room that a margin of 8/7 leaves) and
    turned by up to 5 degrees. What lies outside the image is black, as around a collimated film.

    Args:
        keys: what to view; several keys get the same view.
        size: rows and columns of the result.
    """
    return RandAffined(
        keys=keys,
        prob=1.0,
        spatial_size=(size, size),
        rotate_range=math.radians(5),
        scale_range=((-0.1, 0.1), (-0.1, 0.1)),
        translate_range=(size / 14, size / 14),
        padding_mode="zeros",
    )


class RandExposured(RandomizableTransform, MapTransform):
    """Another exposure and contrast: a gamma in [0.75, 1.33] and a window that moves either end by up to 10 %.

    Args:
        keys: float tensors in [0, 1]; they stay in [0, 1].
        prob: how often.
    """

    def __init__(self, keys: KeysCollection, prob: float = 0.5, allow_missing_keys: bool = False) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob)

    def randomize(self, data: Any = None) -> None:
        super().randomize(None)
        self.gamma = 0.75 ** self.R.uniform(-1, 1)
        self.low, self.high = self.R.uniform(-0.1, 0.1), 1 + self.R.uniform(-0.1, 0.1)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        self.randomize()
        if self._do_transform:
            for key in self.key_iterator(result):
                stretched = (result[key] - self.low) / (self.high - self.low)
                result[key] = stretched.clamp(0, 1) ** self.gamma
        return result


class RandResizedCropd(Randomizable, MapTransform):
    """A random part of the image, resampled to a square without aliasing: what ImageNet's networks are trained on.

    The part has a share of the image's area and a ratio of its sides, both random, and lies anywhere in the image
    (Szegedy et al. 2015, arXiv 1409.4842, section 6; torchvision's ``RandomResizedCrop``, whose defaults these are).
    A part that does not fit is drawn again, ten times at the most; then it is the largest in the middle whose ratio is
    allowed. The smallest part is less than a third of the image wide and high, so a lung, or the heart, may be cut off
    with its finding: strong for radiographs.

    Args:
        keys: float32 tensors ``[1, H, W]`` of one size; all get the same part.
        size: rows and columns of the result.
        scale: the smallest and the largest share of the area, above 0 and at most 1.
        ratio: the smallest and the largest width / height; its logarithm is uniform.

    Raises:
        SettingError: ``setting-invalid`` for another range.
    """

    def __init__(
        self,
        keys: KeysCollection,
        size: int,
        scale: Sequence[float] = (0.08, 1.0),
        ratio: Sequence[float] = (3 / 4, 4 / 3),
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.size = check_size(size)
        self.scale, self.ratio = _range("scale", scale, 1.0), _range("ratio", ratio, math.inf)

    def randomize(self, data: torch.Tensor) -> None:
        """Draw the part: its first row and column, its rows and columns."""
        height, width = data.shape[-2:]
        low, high = map(math.log, self.ratio)
        for _ in range(10):
            area = height * width * self.R.uniform(*self.scale)
            ratio = math.exp(self.R.uniform(low, high))
            rows, columns = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
            if 0 < rows <= height and 0 < columns <= width:
                self.part = self.R.randint(height - rows + 1), self.R.randint(width - columns + 1), rows, columns
                return
        rows = min(height, round(width / self.ratio[0]))
        columns = min(width, round(height * self.ratio[1]))
        self.part = (height - rows) // 2, (width - columns) // 2, rows, columns

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        self.randomize(result[self.first_key(result)])
        top, left, rows, columns = self.part
        for key in self.key_iterator(result):
            part = np.ascontiguousarray(np.asarray(result[key])[0, top : top + rows, left : left + columns])
            result[key] = torch.from_numpy(np.array(resize(part, self.size, self.size))[None])
        return result


def _range(name: str, given: Sequence[float], most: float) -> tuple[float, float]:
    numbers = [value for value in given if isinstance(value, int | float)] if isinstance(given, Sequence) else []
    if len(numbers) != 2 or len(given) != 2 or not 0 < numbers[0] <= numbers[1] <= most or math.isinf(numbers[1]):
        limit = "" if math.isinf(most) else f" and at most {most:g}"
        raise SettingError(
            Code.SETTING_INVALID, f"{name} {given!r}: it must be two rising numbers, each above 0{limit}."
        )
    return float(numbers[0]), float(numbers[1])


AUGMENTATIONS = ("none", "default", "random_resized_crop")


def augmentation(keys: KeysCollection, name: str, size: int, scale: Sequence[float] = (0.08, 1.0)) -> Compose:
    """Return what makes a training's views of an image, by name; mirroring is apart (``horizontal_flip``).

    - ``none``: the centre, as in validation.
    - ``default``: :func:`random_affine_crop`, and another exposure for half of the images (:class:`RandExposured`).
    - ``random_resized_crop``: :class:`RandResizedCropd`, what zoogzog/chexnet trains with. It cuts from what the steps
      before leave of the image: with their margin of 8/7 a part may be as small as 72 pixels, enlarged to 224.

    Args:
        keys: tensors ``[1, H, W]`` in [0, 1].
        name: one of the above.
        size: rows and columns of the views.
        scale: of ``random_resized_crop``.

    Raises:
        SettingError: ``setting-invalid`` for another name.
    """
    if name == "none":
        return Compose([CenterSpatialCropd(keys, roi_size=(check_size(size), size))])
    if name == "default":
        return Compose([random_affine_crop(keys, size), RandExposured(keys, prob=0.5)])
    if name == "random_resized_crop":
        return Compose([RandResizedCropd(keys, size, scale)])
    raise SettingError(Code.SETTING_INVALID, f"--augmentation {name!r}: it must be one of {', '.join(AUGMENTATIONS)}.")


class TenCropd(MapTransform):
    """Corners and centre, each also mirrored: ``[C, H, W]`` to ``[10, C, size, size]``, as zoogzog/chexnet evaluates.

    Mirrored crops show the heart on the other side; a network trained without flips has never seen that.

    Args:
        keys: what to crop.
        size: rows and columns of a crop; at most the smaller side of the image.
    """

    def __init__(self, keys: KeysCollection, size: int, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.size = check_size(size)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        for key in self.key_iterator(result):
            image, size = result[key], self.size
            bottom, right = image.shape[-2] - size, image.shape[-1] - size
            if bottom < 0 or right < 0:
                raise SettingError(
                    Code.SETTING_INVALID, f"cannot take {size}x{size} crops of an image of {tuple(image.shape[-2:])}."
                )
            corners = [(0, 0), (0, right), (bottom, 0), (bottom, right), (bottom // 2, right // 2)]
            crops = torch.stack([image[..., top : top + size, left : left + size] for top, left in corners])
            result[key] = torch.cat([crops, crops.flip(-1)])
        return result


class WithMirrord(MapTransform):
    """The image and its mirror image: ``[C, H, W]`` to ``[2, C, H, W]``, whose logits the inferer averages.

    A mirrored film shows the heart on the other side; a network trained without flips has never seen that.
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = torch.stack([result[key], result[key].flip(-1)])
        return result


class CalibrateProbabilitiesd(MapTransform):
    """Probabilities through a bundle's calibration; as they are where it has none.

    For the key ``pred``, ``pred_calibrated`` tells whether they went through one; where they ought to have and did not,
    ``pred_uncalibrated_because`` tells why.

    Args:
        keys: tensors ``[..., F]`` in [0, 1].
        calibration: something with ``apply(probabilities [N, F], findings)``
            (``cxr_monai.evaluation.fitted.Fitted``), or None.
        findings: the F names.
    """

    def __init__(self, keys: KeysCollection, calibration: Any, findings: Sequence[str]) -> None:
        super().__init__(keys)
        self.calibration, self.findings = calibration, list(findings)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        made = dict(data)
        for key in self.key_iterator(made):
            made[f"{key}_calibrated"] = bool(getattr(self.calibration, "calibrates", self.calibration is not None))
            if lost := getattr(self.calibration, "lost", ""):
                made[f"{key}_uncalibrated_because"] = lost
            if self.calibration is None:
                continue
            given = torch.as_tensor(made[key])
            rows = given.detach().cpu().double().reshape(-1, len(self.findings)).numpy()
            made[key] = torch.from_numpy(self.calibration.apply(rows, self.findings)).reshape(given.shape).to(given)
        return made
