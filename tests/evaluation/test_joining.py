"""Predictions of any system are read, checked and put next to labels."""

import json
from pathlib import Path

import numpy as np
import pytest

from cxr_monai.errors import Code, EvaluationError, ManifestError
from cxr_monai.evaluation.predictions import join, read_predictions
from tests.evaluation.synthetic_scores import FINDINGS, made_manifest, made_scores, made_table

MANIFEST = made_manifest(made_table(4, 2))
PREDICTIONS = made_scores(MANIFEST.table)


def write(folder: Path, text: str) -> Path:
    path = folder / "p.csv"
    path.write_text(text)
    return path


def error_of(folder: Path, text: str) -> EvaluationError:
    with pytest.raises(EvaluationError) as caught:
        read_predictions(write(folder, text))
    assert caught.value.code == Code.PREDICTIONS_INVALID
    assert caught.value.where == str(folder / "p.csv")
    return caught.value


def test_names_of_other_systems(tmp_path: Path) -> None:
    file = read_predictions(write(tmp_path, "Image Index, prob_Infiltrate ,prob_mass\na.png,0.25,1\nb.png,1e-3,0\n"))
    assert list(file.table.columns) == ["image", "Infiltration", "Mass"]
    assert file.table["Infiltration"].tolist() == [0.25, 0.001]
    assert file.table["image"].tolist() == ["a.png", "b.png"]
    assert not file.calibrated


@pytest.mark.parametrize(
    ("record", "calibrated"), [({"calibrated": True}, True), ({"calibrated": "yes"}, False), ({}, False)]
)
def test_record_beside_it(tmp_path: Path, record: dict, calibrated: bool) -> None:
    path = write(tmp_path, "image,Mass\na.png,0.5\n")
    (tmp_path / "p.csv.json").write_text(json.dumps(record))
    assert read_predictions(path).calibrated is calibrated


@pytest.mark.parametrize("record", ["not JSON", "[1]"])
def test_damaged_record(tmp_path: Path, record: str) -> None:
    path = write(tmp_path, "image,Mass\na.png,0.5\n")
    (tmp_path / "p.csv.json").write_text(record)
    with pytest.raises(EvaluationError, match="JSON"):
        read_predictions(path)


def test_every_digit_is_read(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random(50)
    text = "image,Mass\n" + "".join(f"{at}.png,{value!r}\n" for at, value in enumerate(values.tolist()))
    assert read_predictions(write(tmp_path, text)).table["Mass"].tolist() == values.tolist()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("file,Mass\na.png,0.5\n", "'image'"),
        ("image,Image Index,Mass\na.png,a.png,0.5\n", "'image'"),
        ("image\na.png\n", "no column of a finding"),
        ("image,Mass,prob_mass\na.png,0.5,0.5\n", "two columns are of Mass"),
        ("image,Mass\n", "no row"),
        ("", "the file is empty"),
        ("image,Mass,Mass\na.png,0.5,0.5\n", "'Mass' appears twice"),
        (
            "image,Effusion,prob_Pleural Effusion\na.png,0.5,0.5\n",
            "two columns are of Effusion: 'Effusion' and 'Pleural",
        ),
        ("image,mass,MASS\na.png,0.5,0.5\n", "two columns are of Mass"),
        (",image,Mass\n0,a.png,0.5\n", "column 1 has no name"),
        ("image,Mass\na.png,0.5,0.7\n", "line 2 has 3 cells, and the header 2"),
        ("image;Mass\na.png;0,5\n", "line 2: '0,5' is no probability from 0 to 1 (Mass), but a decimal comma"),
        ("image,patient_id,split,Mass\na.png,1,test,0.5\n", "this is a manifest, not predictions"),
        ("image,Mass\na.png,0.5\n,0.5\n", "line 3: '' has no image"),
        ("image,Mass\na.png,0.5\nb.png,0.5\na.png,0.6\n", "line 4: 'a.png' stands there twice"),
    ],
)
def test_what_is_wrong_with_the_table(tmp_path: Path, text: str, said: str) -> None:
    assert said in str(error_of(tmp_path, text))


@pytest.mark.parametrize("value", ["", "nan", "NaN", "1.0001", "-0.1", "inf", "much"])
def test_a_probability_is_a_number_from_0_to_1(tmp_path: Path, value: str) -> None:
    said = str(error_of(tmp_path, f"image,Mass,Edema\na.png,0.5,0.5\nb.png,0.5,{value}\nc.png,2,0.5\n"))
    assert f"line 3: {value!r} is no probability from 0 to 1 (Edema)" in said
    assert "line 4: '2' is no probability from 0 to 1 (Mass)" in said  # everything at once


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_as_a_spreadsheet_saves_it(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "p.csv").write_bytes("image;mass;Own\nM\u00fc.png;0.5;1\n".encode(encoding))
    table = read_predictions(tmp_path / "p.csv").table
    assert list(table) == ["image", "Mass", "Own"]
    assert table.to_numpy().tolist() == [["M\u00fc.png", 0.5, 1]]


def test_findings_that_differ_in_capitals_alone_are_the_same(tmp_path: Path) -> None:
    table = made_table(4, 2).rename(columns={"Edema": "Lung Opacity"})
    manifest = made_manifest(table)
    scores = PREDICTIONS.rename(columns={"Edema": "lung opacity", "Mass": "prob_MASS"})
    scores.to_csv(tmp_path / "p.csv", index=False)
    for findings in (None, ["Lung Opacity", "Mass"]):
        sample, notes = join(read_predictions(tmp_path / "p.csv"), manifest, findings=findings)
        assert notes == []
        assert {"Lung Opacity", "Mass"} <= set(sample.findings)
        np.testing.assert_allclose(sample.column("Lung Opacity")[0], PREDICTIONS["Edema"])


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="no such predictions file"):
        read_predictions(tmp_path / "p.csv")


def test_joined_as_the_manifest_has_it(tmp_path: Path) -> None:
    shuffled = PREDICTIONS.sample(frac=1, random_state=0)
    shuffled["image"] = "/elsewhere/" + shuffled["image"]  # folders before those of the manifest
    shuffled.to_csv(tmp_path / "p.csv", index=False)
    sample, notes = join(read_predictions(tmp_path / "p.csv"), MANIFEST)
    assert notes == []
    assert sample.findings == FINDINGS
    assert sample.table["image"].tolist() == MANIFEST.table["image"].tolist()
    np.testing.assert_array_equal(sample.scores, PREDICTIONS[list(FINDINGS)].to_numpy())
    np.testing.assert_array_equal(sample.labels, MANIFEST.labels(FINDINGS))
    assert sample.patients.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_images_and_findings_on_one_side_alone_are_told(tmp_path: Path, caplog) -> None:
    some = PREDICTIONS.iloc[:5].drop(columns="Edema").assign(Nodule=0.5)
    some.loc[len(some)] = {"image": "stranger.png", "Mass": 0.1, "Hernia": 0.1, "Nodule": 0.1}
    some.to_csv(tmp_path / "p.csv", index=False)
    sample, notes = join(read_predictions(tmp_path / "p.csv"), MANIFEST, "test")
    assert len(sample) == 5
    assert sample.findings == ("Mass", "Hernia")
    text = " ".join([*notes, *caplog.messages])
    for said in ("predictions have Nodule", "manifest have Edema", "1 of 6 predicted images", "stranger.png",
                 "3 of 8 images of the split 'test' have no prediction"):  # fmt: skip
        assert said in text, said


@pytest.mark.parametrize(
    ("change", "split", "findings", "said"),
    [
        (lambda table: table.assign(image="x" + table["image"].str[-9:]), None, None, "no image in common"),
        (lambda table: table.rename(columns={name: f"other{name}" for name in FINDINGS}), None, None, "no finding"),
        (lambda table: table, "val", None, "none of its images is in the split 'val'; they are in test (8)"),
        (lambda table: table, None, ["Mass", "Nodule"], "Nodule not in both"),
    ],
)
def test_nothing_in_common(tmp_path: Path, change, split, findings, said: str) -> None:
    change(PREDICTIONS).to_csv(tmp_path / "p.csv", index=False)
    with pytest.raises((EvaluationError, ManifestError), match=said.replace("(", r"\(").replace(")", r"\)")):
        join(read_predictions(tmp_path / "p.csv"), MANIFEST, split, findings)
