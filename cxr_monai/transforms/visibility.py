"""The part of a radiograph that a pipeline shows the network, so that maps can be placed on it."""

from monai.transforms import CenterSpatialCropd, Compose, LazyTransform, Randomizable, Resized

from cxr_monai.errors import Code, SettingError
from cxr_monai.transforms.mirror import WithMirrord
from cxr_monai.transforms.resize_shortest import ResizeShortestd
from cxr_monai.transforms.ten_crops import TenCropd


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
