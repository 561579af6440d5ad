"""Maps as NIfTI files, for viewers that lay one image over another (ITK-SNAP, 3D Slicer).

    write_nifti("effusion.nii.gz", heat, spacing=(0.143, 0.143), name="Effusion, gradcam")
    write_nifti("radiograph.nii.gz", pixels, spacing=(0.143, 0.143), shown=1.0)          # what to lay it over

NIfTI stores x first: ``data[column, row]``, nothing flipped, as ``cxr_monai.data.formats.nifti`` reads it. The affine
is the one that ITK gives a picture without a place in the patient's space: columns run to the patient's left, rows to
the back, so that viewers show it upright; a map and a radiograph written this way lie on each other.
"""

import gzip
from pathlib import Path

import nibabel
import numpy as np

from cxr_monai.durable import write_durably


def write_nifti(
    path: str | Path,
    values: np.ndarray,
    spacing: tuple[float, float] | None,
    name: str = "",
    shown: float | None = None,
) -> None:
    """Write one map, or a radiograph to lay it over; the same bytes every time.

    Args:
        path: ``.nii`` or ``.nii.gz``.
        values: ``[H, W]``, finite, at least 0; written as float32, in its own unit.
        spacing: (row, column) in mm; None is written as 1 of an unknown unit.
        name: what it shows, for the header; cut at 79 bytes.
        shown: the brightest value that viewers show (and ``read_radiograph`` reads as 1); the largest where None.

    Raises:
        StorageError: ``disk-full`` or ``write-failed``.
    """
    row, column = spacing or (1.0, 1.0)
    data = np.ascontiguousarray(values.T[..., None], dtype=np.float32)
    image = nibabel.Nifti1Image(data, np.diag([-column, -row, 1.0, 1.0]))
    image.header.set_xyzt_units("mm" if spacing else "unknown")
    image.header["descrip"] = name.encode()[:79]
    image.header["cal_max"] = data.max() if shown is None else shown
    content = image.to_bytes()
    write_durably(path, gzip.compress(content, mtime=0) if Path(path).suffix == ".gz" else content)
