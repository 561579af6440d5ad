"""A film, as a file, its bytes or an array, to pixels in [0, 1]; and MONAI's transforms without metadata."""

import os
import threading
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from monai.data import get_track_meta, set_track_meta
from monai.transforms import MapTransform

from cxr_monai.data.radiograph import read_radiograph
from cxr_monai.data.radiograph_array import radiograph_of_array


class _PlainTensors:
    """How many are within `plain_tensors`, and how MONAI's switch was before the first of them."""

    def __init__(self) -> None:
        self.lock, self.within, self.before = threading.Lock(), 0, True


_PLAIN = _PlainTensors()


def _leave_in_child() -> None:
    """Start anew in a forked process, which has none of the threads that are within."""
    if _PLAIN.within:
        set_track_meta(_PLAIN.before)
    _PLAIN.__init__()  # type: ignore[misc]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_in_child)


@contextmanager
def plain_tensors() -> Iterator[None]:
    """Keep MONAI from carrying metadata through every transform: nothing here reads it, and it costs time.

    The switch is the whole process': the first of the threads that are within turns it off, the last one puts it back.
    """
    with _PLAIN.lock:
        if _PLAIN.within == 0:
            _PLAIN.before = get_track_meta()
        set_track_meta(False)
        _PLAIN.within += 1
    try:
        yield
    finally:
        with _PLAIN.lock:
            _PLAIN.within -= 1
            if _PLAIN.within == 0:
                set_track_meta(_PLAIN.before)


class LoadRadiographd(MapTransform):
    """Path, a file's bytes, or the film as an array or tensor, to float32 ``[1, H, W]`` in [0, 1], bright = dense.

    See ``cxr_monai.data.radiograph`` for files and ``cxr_monai.data.radiograph_array`` for arrays: which axis is which
    and which values are black and white follow stated rules; what they leave open is refused. Beside the key ``image``
    an item may state ``image_axes`` (``HW``, ``WH``), ``image_value_range`` ([black, white]) and ``image_bits``.

    For the key ``image``, ``image_bits`` tells how many bits a pixel of the film has (16 where it does not say),
    ``image_shape`` its (H, W), ``image_spacing`` its (row, column) spacing in mm or None, ``image_notes`` what is odd
    about it, ``image_header`` the facts of a DICOM header (``cxr_monai.data.film_header``) or None.

    Attributes:
        any_modality: read a DICOM whatever its header says it shows (``cxr_monai.data.dataset.take_any_modality``).

    Raises:
        RadiographError: whatever makes the film unfit; ``radiograph-ambiguous`` for an array without a known range.
    """

    any_modality = False

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        for key in self.key_iterator(result):
            source = result[key]
            if isinstance(source, str | bytes | os.PathLike):
                film = source if isinstance(source, bytes) else os.fspath(source)
                radiograph = read_radiograph(film, any_modality=self.any_modality)
            else:
                axes, value_range, bits = (result.get(f"{key}_{name}") for name in ("axes", "value_range", "bits"))
                radiograph = radiograph_of_array(source, axes, value_range, bits)
            result[key] = torch.from_numpy(radiograph.pixels)
            result[f"{key}_notes"] = tuple(radiograph.provenance.get("notes", ()))
            result[f"{key}_bits"] = int(radiograph.provenance.get("bits_stored", 16))
            result[f"{key}_shape"], result[f"{key}_spacing"] = radiograph.pixels.shape[1:], radiograph.spacing
            result[f"{key}_header"] = radiograph.header
        return result
