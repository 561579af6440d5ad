"""Single readers beside a model: points, votes of the others, and the model at a reader's false alarms, by hand."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cxr_monai.cli import main
from cxr_monai.data.manifest import build_manifest, write_manifest
from cxr_monai.errors import EvaluationError
from cxr_monai.evaluation.bootstrap import Intervals
from cxr_monai.evaluation.evaluation_folder import read_evaluation
from cxr_monai.evaluation.readers import (
    BY_OTHERS,
    BY_TRUTH,
    MODEL_HIGHER,
    MODEL_LOWER,
    UNDECIDED,
    Readers,
    compare_readers,
    read_readers,
    reader_agreement,
    sensitivity_at,
    vote_of_others,
)
from cxr_monai.evaluation.sample import Sample
from cxr_monai.report.reader_tables import reader_sentences

SIZE = 200
IMAGES = [f"a/{number:03d}.png" for number in range(SIZE)]
TRUTH = np.tile([1.0, 0.0], SIZE // 2)
FEW = Intervals(60)


def sample(scores: np.ndarray) -> Sample:
    table = pd.DataFrame({"image": IMAGES, "patient_id": np.arange(SIZE).astype(str), "source": ""})
    return Sample.of(table, ("Mass",), scores[:, None], TRUTH[:, None])


def readers(**votes: tuple[np.ndarray, int]) -> Readers:
    parts = [
        pd.DataFrame({"image": [name[2:] for name in IMAGES], "reader": name, "in_truth": bool(part), "Mass": said})
        for name, (said, part) in votes.items()
    ]
    return Readers(pd.concat(parts, ignore_index=True))


def flipped(share: float, where: float) -> np.ndarray:
    """The truth, wrong in a share of the films that have the label ``where``."""
    said = TRUTH.copy()
    rows = np.flatnonzero(where == TRUTH)
    said[rows[: int(share * rows.size)]] = 1 - where
    return said


def test_a_reader_outside_the_truth_is_a_point_and_the_model_is_judged_there() -> None:
    missing_30 = flipped(0.3, 1.0)
    table = compare_readers(
        sample(TRUTH * 0.5 + 0.1), readers(outside=(missing_30, 0), inside=(TRUTH, 1)), by_name=False, intervals=FEW
    )
    assert table["reader"].tolist() == ["outside"]
    row = table.iloc[0]
    assert row["judged_by"] == BY_TRUTH
    assert row[["images", "positives"]].tolist() == [200, 100]
    assert row["sensitivity"] == pytest.approx(0.7)
    assert row["specificity"] == 1
    assert row["model_sensitivity"] == 1  # it ranks perfectly
    assert row["difference"] == pytest.approx(0.3)
    assert 0.15 < row["patient_low"] < 0.3 < row["patient_high"] < 0.45
    assert row["verdict"] == MODEL_HIGHER
    assert reader_sentences(table) == [
        "Of 100 films with mass, the reader missed 30; the model, with as many false alarms as they, 0. "
        "It surely finds more than the reader."
    ]


def test_a_model_that_guesses_is_surely_below_a_good_reader_and_like_one_who_guesses() -> None:
    guess = np.tile([0.0, 0.0, 1.0, 1.0], SIZE // 4)
    table = compare_readers(
        sample(np.random.default_rng(0).random(SIZE)),
        readers(good=(TRUTH, 0), guessing=(guess, 0)), by_name=False, intervals=FEW,
    ).set_index("reader")  # fmt: skip
    assert table.loc["good", "verdict"] == MODEL_LOWER
    assert table.loc["guessing", "sensitivity"] == table.loc["guessing", "specificity"] == 0.5
    assert table.loc["guessing", "verdict"] == UNDECIDED


def test_where_all_readers_made_the_truth_each_is_judged_by_the_others() -> None:
    first, second, third = flipped(0.2, 1.0), TRUTH, TRUTH
    table = compare_readers(
        sample(TRUTH), readers(a=(first, 1), b=(second, 1), c=(third, 1)), by_name=False, intervals=FEW
    ).set_index("reader")
    assert set(table["judged_by"]) == {BY_OTHERS}
    assert table.loc["a", "sensitivity"] == pytest.approx(0.8)
    # of b the others are a and c, who tie on the twenty that a missed
    assert table.loc["b", "images"] == 180
    assert table.loc["b", "sensitivity"] == 1


def test_a_vote_leaves_out_the_reader_and_ties() -> None:
    votes = np.array([[1, 1, 0, 0], [0, 1, 1, np.nan], [1, np.nan, np.nan, np.nan], [0, 1, np.nan, 0]], dtype=float)
    assert vote_of_others(votes, 0).tolist() == pytest.approx([0, 1, np.nan, np.nan], nan_ok=True)


@pytest.mark.parametrize(("false_alarms", "height"), [(0.0, 0.5), (0.25, 0.5), (0.5, 1.0), (0.75, 1.0), (1.0, 1.0)])
def test_the_height_of_a_curve_with_steps(false_alarms: float, height: float) -> None:
    scores, truth = np.array([0.9, 0.8, 0.7, 0.6]), np.array([True, False, True, False])
    assert sensitivity_at(scores, truth, np.ones(4), false_alarms) == pytest.approx(height)


def test_ties_are_crossed_on_the_straight_line_and_weights_count() -> None:
    scores, truth = np.array([0.5, 0.5]), np.array([True, False])
    assert sensitivity_at(scores, truth, np.ones(2), 0.3) == pytest.approx(0.3)
    scores, truth = np.array([0.9, 0.8, 0.7]), np.array([True, False, True])
    assert sensitivity_at(scores, truth, np.array([3.0, 1.0, 1.0]), 0.0) == pytest.approx(0.75)
    assert np.isnan(sensitivity_at(scores, truth, np.array([0.0, 1.0, 0.0]), 0.5))


def test_the_agreement_is_of_all_readers() -> None:
    table = reader_agreement(sample(TRUTH), readers(a=(TRUTH, 1), b=(TRUTH, 0)), by_name=False, intervals=FEW)
    assert table[["finding", "readers", "images", "kappa"]].values.tolist() == [["Mass", 2, 200, 1.0]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    table = pd.DataFrame({"image": IMAGES, "patient_id": np.arange(SIZE), "Mass": TRUTH})
    write_manifest(build_manifest(table, ".", "local", key="name"), "m.csv")
    single = readers(one=(flipped(0.3, 1.0), 0), two=(flipped(0.1, 0.0), 0), three=(TRUTH, 1)).table
    single.assign(in_truth=single["in_truth"].astype(int)).to_csv("m.readers.csv", index=False)
    noise = np.random.default_rng(1).random(SIZE)
    pd.DataFrame({"image": IMAGES, "Mass": 0.3 * TRUTH + 0.6 * noise}).to_csv("p.csv", index=False)
    return tmp_path


def evaluate() -> int:
    words = ["--predictions", "p.csv", "--manifest", "m.csv", "--replicates", "30"]
    return main(["evaluate", *words, "--out", "out"])


def test_evaluate_shows_readers_of_the_manifest(folder: Path) -> None:
    assert (
        main(["evaluate", "--predictions", "p.csv", "--manifest", "m.csv", "--replicates", "30", "--out", "out"]) == 0
    )
    table = pd.read_csv("out/readers.csv")
    assert table["reader"].tolist() == ["one", "two"]
    assert table["sensitivity"].tolist() == pytest.approx([0.7, 1.0])
    agreement = pd.read_csv("out/reader_agreement.csv")
    assert agreement["readers"].tolist() == [3]
    page = (folder / "out" / "report.html").read_text()
    assert "Readers beside the model" in page
    assert "Of 100 films with mass, the 2 readers missed 30 and 0;" in page
    assert page.count('class="point third"') >= 2
    assert read_evaluation("out").readers["reader"].tolist() == ["one", "two"]


def test_labels_compare_shows_them_too(folder: Path) -> None:
    for name in ("m.csv", "m.csv.json"):
        (folder / f"n{name[1:]}").write_bytes((folder / name).read_bytes())
    words = ["labels", "compare", "n.csv", "m.csv", "--replicates", "30"]
    assert main([*words, "--predictions", "p.csv", "--out", "with"]) == 0
    assert pd.read_csv("with/readers.csv")["reader"].tolist() == ["one", "two"]
    assert "the 2 readers missed" in (folder / "with" / "report.html").read_text()
    assert main([*words, "--out", "without"]) == 0
    page = (folder / "without" / "report.html").read_text()
    assert "the 2 readers missed" not in page
    assert "Fleiss" in page


def test_a_manifest_without_readers_has_no_such_table(folder: Path) -> None:
    (folder / "m.readers.csv").unlink()
    assert read_readers("m.csv") is None
    assert (
        main(["evaluate", "--predictions", "p.csv", "--manifest", "m.csv", "--replicates", "20", "--out", "out"]) == 0
    )
    assert not (folder / "out" / "readers.csv").exists()
    assert "Readers beside the model" not in (folder / "out" / "report.html").read_text()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,reader,Mass\na.png,x,1\n", "no column in_truth"),
        ("image,reader,in_truth\na.png,x,1\n", "no column of a finding"),
        ("image,reader,in_truth,Mass\na.png,x,1,2\n", "neither 1 nor 0"),
        ("image,reader,in_truth,Mass\na.png,x,yes,1\n", "neither 1 nor 0"),
        ("image,reader,in_truth,Mass\na.png,x,1,1\na.png,x,1,0\n", "stands twice"),
    ],
)
def test_what_is_no_table_of_readers_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "m.readers.csv").write_text(text)
    with pytest.raises(EvaluationError, match=message):
        read_readers(tmp_path / "m.csv")
