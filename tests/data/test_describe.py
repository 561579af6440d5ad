"""What `check` says of a manifest, by hand-computed numbers, and what it draws."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cxr_monai.data import describe, manifest_picture, splits
from cxr_monai.data.manifest import Manifest, SplitRecord, build_manifest
from cxr_monai.errors import Code, RadiographError


def make(root: Path | str = ".", **columns) -> Manifest:
    table = {
        "image": ["1.png", "2.png", "3.png", "4.png", "5.png"],
        "patient_id": ["a", "a", "b", "c", "c"],
        "view": ["PA", "AP", "PA", "", "PA"],
        "age": [30, 39, 40, np.nan, 7],
        "sex": ["F", "F", "M", "", "M"],
        "split": ["train", "train", "val", "", ""],
        "Mass": [1, 1, 0, np.nan, 0],
        "Edema": [1, 0, 0, 0, 0],
    }
    return build_manifest(pd.DataFrame(table | columns), root, "local")


def test_findings_table_counts_known_labels_alone() -> None:
    table = describe.findings_table(make())
    assert table.loc["Mass"].to_dict() == {"known": 4, "positive": 2, "patients": 1, "prevalence": 0.5, "unknown": 1}
    assert table.loc["Edema"].to_dict() == {"known": 5, "positive": 1, "patients": 1, "prevalence": 0.2, "unknown": 0}


def test_co_occurrence_counts_images_with_both() -> None:
    table = describe.co_occurrence(make())
    assert table.to_numpy().tolist() == [[2, 1], [1, 1]]
    assert list(table) == list(table.index) == ["Mass", "Edema"]


def test_side_table_is_in_order_and_names_what_has_no_side() -> None:
    table = describe.side_table(make())
    assert table.index.tolist() == ["train", "val", "(none)"]
    assert table.to_numpy().tolist() == [[2, 1], [1, 1], [2, 1]]
    folds = make()
    folds = Manifest(folds.table.assign(fold=pd.array([10, 10, 2, 0, 0], dtype="Int64")), folds.root, "local")
    assert describe.side_table(folds, "fold").index.tolist() == ["0", "2", "10"]


def test_text_holds_every_distribution() -> None:
    lines = [" ".join(line.split()) for line in describe.describe(make()).splitlines()]
    for expected in (
        "5 images of 3 patients, labels local, root " + str(Path.cwd()),
        "Mass 4 2 1 0.5000 1",
        "Edema 5 1 1 0.2000 0",
        "2 images have none of them (40.0%).",
        "1 Mass 2 1",
        "PA 3 3 0.6000",
        "(unknown) 1 1 0.2000",
        "M 2 2 0.4000",
        "7 to 40 years, median 34.5, middle half 24.25 to 39.25, 1 unknown",
        "30 to 39 2",
        "train 2 1",
        "Mass 66.667 100.000 0.000 66.667",
    ):
        assert expected in lines, expected


def test_text_without_splits_ages_or_labels() -> None:
    text = describe.describe(make(split="", age=np.nan, Mass=np.nan, Edema=np.nan))
    assert "none yet: 'cxr-monai split" in text
    assert "Ages\nnone is known" in text
    assert text.splitlines()[4].split() == ["Mass", "0", "0", "0", "-", "5"]


def test_text_of_many_findings_lists_the_most_frequent_pairs() -> None:
    text = describe.describe(make(**{f"f{n}": [1, 1, 1, 1, 0] if n in (3, 7) else 0 for n in range(30)}))
    lines = text.splitlines()
    assert lines[lines.index("Co-occurrence (the 20 most frequent pairs)") + 2].split() == ["f3", "and", "f7", "4"]


def test_the_record_is_shown_beside_the_column_that_it_is_of() -> None:
    manifest = splits.kfold(make(), 2, seed=9)
    text = describe.describe(manifest)
    assert "Folds (scheme kfold, seed 9" in text
    assert "Splits\n" in text


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"sex": ["F", "M", "M", "", "M"]}, "1 patient has images of more than one sex: a"),
        ({"age": [30, 61, 40, np.nan, 7]}, "1 patient has images more than 30 years apart: a"),
        ({"Edema": 0}, "the manifest has no positive image of Edema: no AUROC can be computed there"),
        ({}, "the split 'val' has no positive image of Mass, Edema"),
        ({"Edema": 1}, "the manifest has no negative image of Edema"),
    ],
)
def test_oddities_are_told(columns: dict, expected: str) -> None:
    assert any(line.startswith(expected) for line in describe.oddities(make(**columns)))


def test_what_is_in_order_is_not_odd() -> None:
    both = {"Mass": [1, 0, 0, 1, 0], "Edema": [0, 1, 1, 1, 0]}
    assert describe.oddities(make(split="", **both)) == []
    assert describe.oddities(make(split="", age=[30, 60, 40, np.nan, 7], **both)) == []


def test_an_edited_split_is_odd() -> None:
    manifest = make()
    record = SplitRecord("edited", None, "b" * 64, {"recorded": {"digest": "a" * 64}})
    notes = describe.oddities(Manifest(manifest.table, manifest.root, "local", record))
    assert any("digest is bbbbbbbbbbbb, recorded was aaaaaaaaaaaa" in note for note in notes)


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (64, 64), dtype=np.uint8)


def test_identical_pixels_are_found_whatever_the_file_and_broken_files_are_told(tmp_path: Path) -> None:
    Image.fromarray(picture(1)).save(tmp_path / "1.png")
    Image.fromarray(picture(1)).save(tmp_path / "2.png", compress_level=0)
    Image.fromarray(picture(1)).convert("RGB").save(tmp_path / "3.png")
    (tmp_path / "4.png").write_bytes(b"not an image at all")
    report = describe.compare_pixels(make(tmp_path), workers=2)  # 5.png does not exist: not for this to tell
    assert report.shared == [[("1.png", "a"), ("2.png", "a"), ("3.png", "b")]]
    assert report.repeated == 1
    assert [(image, code) for image, code, _ in report.unreadable] == [("4.png", "radiograph-not-an-image")]


def test_different_pixels_are_not_the_same(tmp_path: Path) -> None:
    for n in range(1, 6):
        Image.fromarray(picture(n)).save(tmp_path / f"{n}.png")
    report = describe.compare_pixels(make(tmp_path))
    assert (report.shared, report.repeated, report.unreadable) == ([], 0, [])


def test_other_failures_than_bad_files_are_not_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cxr_monai.data import radiograph

    def broken(path: Path, **_options) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(radiograph, "read_radiograph", broken)
    Image.fromarray(picture(1)).save(tmp_path / "1.png")
    with pytest.raises(ZeroDivisionError):
        describe.compare_pixels(make(tmp_path))


def test_radiograph_errors_carry_their_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cxr_monai.data import radiograph

    def dark(path: Path, **_options) -> None:
        raise RadiographError(Code.RADIOGRAPH_CONSTANT, "all pixels are 0", where=path)

    monkeypatch.setattr(radiograph, "read_radiograph", dark)
    (tmp_path / "1.png").touch()
    report = describe.compare_pixels(make(tmp_path))
    assert report.unreadable == [("1.png", "radiograph-constant", "all pixels are 0")]


@pytest.mark.parametrize(
    "columns",
    [
        {},
        {"split": "", "age": np.nan, "Mass": np.nan, "Edema": np.nan, "view": "", "sex": ""},
        {f"finding_{n}": 0 for n in range(30)},
        {"age": [101, 110, 119, 120, 0], "sex": "O"},
    ],
)
def test_the_picture_is_drawn_for_any_manifest(tmp_path: Path, columns: dict) -> None:
    (tmp_path / "check.png").write_bytes(manifest_picture.picture(make(**columns)))
    with Image.open(tmp_path / "check.png") as image:
        assert image.size == (1500, 1150)
        # four panels: ink in every quarter
        grey = np.asarray(image.convert("L"))
    for rows in (slice(0, 575), slice(575, None)):
        for quarter in (slice(0, 750), slice(750, None)):
            assert (grey[rows, quarter] < 128).mean() > 0.002


def test_the_same_manifest_gives_the_same_picture() -> None:
    assert manifest_picture.picture(make()) == manifest_picture.picture(make())
