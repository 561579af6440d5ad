"""Maps as NIfTI: read back by nibabel and by the package's own reader."""

from pathlib import Path

import nibabel
import numpy as np
import pytest

from cxr_monai.attribution.map_nifti import write_nifti
from cxr_monai.data.radiograph import read_radiograph

HEAT = np.arange(34 * 40, dtype=np.float32).reshape(34, 40) / 2  # no two alike: a transposition would show


@pytest.mark.parametrize("name", ["map.nii", "map.nii.gz"])
@pytest.mark.parametrize("spacing", [(0.2, 0.1), None])
def test_rows_columns_and_spacing_come_back(tmp_path: Path, name: str, spacing: tuple[float, float] | None) -> None:
    write_nifti(tmp_path / name, HEAT, spacing)
    radiograph = read_radiograph(tmp_path / name)
    np.testing.assert_allclose(radiograph.pixels[0], HEAT / HEAT.max(), atol=1e-6)
    assert radiograph.spacing == (None if spacing is None else pytest.approx(spacing))


def test_values_are_in_their_own_unit_and_the_header_says_what_they_are(tmp_path: Path) -> None:
    write_nifti(tmp_path / "map.nii.gz", HEAT, (0.2, 0.1), "Pleural_Thickening, cam " + "ü" * 80)
    image = nibabel.load(tmp_path / "map.nii.gz")
    np.testing.assert_array_equal(image.get_fdata(), HEAT.T[..., None])
    assert image.get_data_dtype() == np.float32
    assert image.header.get_zooms() == pytest.approx((0.1, 0.2, 1.0))
    assert image.header.get_xyzt_units()[0] == "mm"
    assert image.header["descrip"].item().startswith(b"Pleural_Thickening, cam ")
    # columns to the patient's left, rows to the back: how viewers show a picture upright
    assert nibabel.aff2axcodes(image.affine) == ("L", "P", "S")


def test_a_map_lies_on_its_radiograph(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).random((5, 7), dtype=np.float32)
    write_nifti(tmp_path / "radiograph.nii.gz", pixels, (0.3, 0.3))
    write_nifti(tmp_path / "map.nii.gz", (pixels > 0.9).astype(np.float32), (0.3, 0.3))
    below, above = (nibabel.load(tmp_path / name) for name in ("radiograph.nii.gz", "map.nii.gz"))
    np.testing.assert_array_equal(below.affine, above.affine)
    assert below.shape == above.shape == (7, 5, 1)


def test_nothing_speaks_for_the_finding(tmp_path: Path) -> None:
    write_nifti(tmp_path / "map.nii", np.zeros((3, 4), np.float32), None)
    assert not nibabel.load(tmp_path / "map.nii").get_fdata().any()


def test_the_same_bytes_every_time(tmp_path: Path) -> None:
    for name in ("one.nii.gz", "two.nii.gz"):
        write_nifti(tmp_path / name, HEAT, None, "Mass")
    assert (tmp_path / "one.nii.gz").read_bytes() == (tmp_path / "two.nii.gz").read_bytes()
    assert b"one" not in (tmp_path / "one.nii.gz").read_bytes()  # gzip headers may hold the file's name
