"""Augmentations of a training's radiographs, by name."""

from collections.abc import Sequence

from monai.config import KeysCollection
from monai.transforms import CenterSpatialCropd, Compose

from cxr_monai.errors import Code, SettingError
from cxr_monai.transforms.exposure import RandExposured
from cxr_monai.transforms.random_crops import RandResizedCropd, random_affine_crop
from cxr_monai.transforms.resize_shortest import check_pixel_count

AUGMENTATIONS = ("none", "default", "random_resized_crop")


def augmentation(keys: KeysCollection, name: str, size: int, scale: Sequence[float] = (0.08, 1.0)) -> Compose:
    """Return the transform that augments a training's images, by name; mirroring is set apart (``horizontal_flip``).

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
        return Compose([CenterSpatialCropd(keys, roi_size=(check_pixel_count(size), size))])
    if name == "default":
        return Compose([random_affine_crop(keys, size), RandExposured(keys, prob=0.5)])
    if name == "random_resized_crop":
        return Compose([RandResizedCropd(keys, size, scale)])
    raise SettingError(Code.SETTING_INVALID, f"--augmentation {name!r}: it must be one of {', '.join(AUGMENTATIONS)}.")
