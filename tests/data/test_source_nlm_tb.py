"""Shenzhen's and Montgomery's films and readings, as NLM distributes them and as people keep them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxr_monai.cli import main
from cxr_monai.data.manifest import build_manifest, read_manifest
from cxr_monai.data.overlaps import overlap_of
from cxr_monai.data.sources import nlm_tb
from cxr_monai.errors import Code, ManifestError
from cxr_monai.labels import NIH14

READINGS = {
    "CHNCXR_0001_0": b"male 45yrs\nnormal\n",
    "CHNCXR_0002_0": b"Female, 8 months\r\nnormal",
    "CHNCXR_0327_1": b"female  31yrs \n\xd6\xd0 bilateral PTB",
    "MCUCXR_0001_0": b"Patient's Sex: F\nPatient's Age: 027Y\nnormal",
    "MCUCXR_0104_1": b"Patient's Sex: M\nPatient's Age: 008Y\nimproved\n12 weeks later",
}
FOLDERS = {"CHN": "ChinaSet_AllFiles", "MCU": "MontgomerySet"}


def write(root: Path, *, readings: bool = True, images: str = "{folder}/CXR_png/{film}.png"):
    for film, text in READINGS.items():
        folder = FOLDERS[film[:3]]
        path = root / images.format(folder=folder, film=film)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4)).save(path)
        if readings:
            (root / folder / "ClinicalReadings").mkdir(parents=True, exist_ok=True)
            (root / folder / f"ClinicalReadings/{film}.txt").write_bytes(text)


def test_both_sets_by_hand(tmp_path):
    write(tmp_path)
    masks = ["MontgomerySet/ManualMask/leftMask/MCUCXR_0001_0.png", "ChinaSet_AllFiles/mask/CHNCXR_0001_0_mask.png",
             "ChinaSet_AllFiles/Annotations-2/CHNCXR_0327_1.png"]  # fmt: skip
    for mask in masks:
        (tmp_path / mask).parent.mkdir(parents=True, exist_ok=True)
        Image.new("1", (4, 4)).save(tmp_path / mask)
    source = nlm_tb.read(tmp_path)
    table = source.table
    assert table["image"].tolist() == [f"{FOLDERS[film[:3]]}/CXR_png/{film}.png" for film in READINGS]
    assert table["patient_id"].tolist() == list(READINGS)
    assert table["source"].tolist() == ["shenzhen"] * 3 + ["montgomery"] * 2
    assert table["age"].tolist() == [45, 0, 31, 27, 8]
    assert table["sex"].tolist() == ["M", "F", "F", "F", "M"]
    assert set(table["view"]) == {"PA"}
    assert table["Tuberculosis"].tolist() == [0, 0, 1, 0, 1]
    expected = np.zeros((5, 14))
    expected[[2, 4]] = np.nan
    np.testing.assert_array_equal(table[list(NIH14)], expected)
    assert source.labels_record.unknown == {finding: {"unmentioned": 2} for finding in NIH14}
    assert source.notes == (
        "3 files in folders of masks taken for no film",
        "3 of 662 films of Shenzhen",
        "2 of 138 films of Montgomery",
        "2 films of patients under 18",
    )
    build_manifest(table, source.root, source.label_version, key=source.key)
    assert all(overlap_of("tbx11k", name) is not None for name in table["source"].unique())


@pytest.mark.parametrize("images", ["{film}.png", "images/{film}.jpg", "Chest-X-Ray/image/{film}.png"])
def test_images_are_found_wherever_people_put_them_even_without_readings(tmp_path, images):
    write(tmp_path, readings=False, images=images)
    source = nlm_tb.read(tmp_path)
    assert source.table["image"].tolist() == [images.format(film=film) for film in READINGS]
    assert source.table["age"].isna().all()
    assert "5 films without a reading: age and sex are empty" in source.notes


def test_partial_copies(tmp_path):
    write(tmp_path)
    (tmp_path / "MontgomerySet/CXR_png/MCUCXR_0001_0.png").unlink()
    with pytest.raises(ManifestError, match=r"1 of the 5 images.*MCUCXR_0001_0") as caught:
        nlm_tb.read(tmp_path)
    assert caught.value.code == Code.IMAGES_MISSING
    source = nlm_tb.read(tmp_path, available_only=True)
    assert len(source.table) == 4
    assert "kept 4 images that are here, left out 1 that are not" in source.notes
    assert len(nlm_tb.read(tmp_path, table_only=True).table) == 5
    (tmp_path / "MontgomerySet/CXR_png/MCUCXR_0104_1.png").unlink()
    assert set(nlm_tb.read(tmp_path).table["source"]) == {"shenzhen"}  # the other set's images are not here at all


@pytest.mark.parametrize(
    ("text", "age", "sex"),
    [
        ("male 45yrs\n3 densities", 45, "M"),
        ("female, 1.5 years", 1, "F"),
        ("male 20 days", 0, "M"),
        ("normal", np.nan, ""),
        ("female\n35 mm nodule, 5 days", np.nan, "F"),
        ("", np.nan, ""),
        ("Patient's Sex: O\nPatient's Age: 200Y", np.nan, ""),
    ],
)
def test_readings_as_they_are_written(tmp_path, text, age, sex):
    (tmp_path / "CHNCXR_0001_0.txt").write_text(text)
    person = nlm_tb.read(tmp_path, table_only=True).table.iloc[0]
    np.testing.assert_array_equal(person["age"], age)
    assert person["sex"] == sex


def test_wrong_input_is_named(tmp_path):
    with pytest.raises(ManifestError, match="no film of Shenzhen or Montgomery is here") as caught:
        nlm_tb.read(tmp_path)
    assert caught.value.code == Code.NO_IMAGES
    with pytest.raises(ManifestError, match=r"their readings CHNCXR_0001_0\.txt"):
        nlm_tb.read(tmp_path, table_only=True)
    with pytest.raises(ManifestError, match="there is no such folder"):
        nlm_tb.read(tmp_path / "gone")
    write(tmp_path)
    with pytest.raises(ManifestError, match="not a folder inside ROOT"):
        nlm_tb.read(tmp_path, images="..")
    Image.new("L", (4, 4)).save(tmp_path / "CHNCXR_0001_0.jpg")
    with pytest.raises(ManifestError, match="1 film is here more than once") as caught:
        nlm_tb.read(tmp_path)
    assert caught.value.code == Code.SOURCE_INVALID
    assert len(nlm_tb.read(tmp_path, images="ChinaSet_AllFiles").table) == 3


def test_the_command_writes_a_manifest_with_the_column(tmp_path, capsys):
    write(tmp_path / "root")
    out = tmp_path / "m.csv"
    assert main(["manifest", "nlm-tb", str(tmp_path / "root"), "--out", str(out)]) == 0
    assert "5 images of 5 patients, labels nlm-tb" in capsys.readouterr().out
    manifest = read_manifest(out)
    assert manifest.findings == (*NIH14, "Tuberculosis")
    assert manifest.labels_record.dataset == "nlm-tb"
