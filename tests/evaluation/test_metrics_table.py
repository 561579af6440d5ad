"""The table of a model's worth, on cases small enough to count by hand."""

import numpy as np
import pandas as pd
import pytest

from cxr_monai.evaluation.metrics_table import MEAN, as_text, finding_table

NAN = np.nan


def column(values: list[float]) -> np.ndarray:
    return np.array(values, dtype=np.float64)[:, None]


@pytest.mark.parametrize(
    ("scores", "labels", "auroc"),
    [
        # pairs of a positive and a negative that are in order, ties counting half
        ([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1], 3 / 4),
        ([0.1, 0.2, 0.3, 0.4], [0, 0, 1, 1], 1.0),
        ([0.4, 0.3, 0.2, 0.1], [0, 0, 1, 1], 0.0),
        ([0.5, 0.5, 0.5, 0.5], [0, 1, 0, 1], 1 / 2),
        ([0.5, 0.5, 0.2], [1, 0, 0], 3 / 4),  # a tie and a right pair
        ([-3.0, 7.0, 2.0], [0, 1, 1], 1.0),  # logits
        ([0.9, 0.1, 0.5, 0.3], [NAN, 0, 1, 0], 1.0),  # the best score is of an unknown label
        ([0.5, 0.5, 0.2, 0.7, 0.5], [1, 0, 0, NAN, 1], 3 / 4),
    ],
)
def test_auroc_by_hand(scores: list[float], labels: list[float], auroc: float) -> None:
    table = finding_table(column(scores), column(labels), ["Mass"])
    assert table["auroc"][0] == pytest.approx(auroc, abs=1e-15)
    assert table["images"][0] == np.isfinite(labels).sum()
    assert table["positives"][0] == np.nansum(labels)


@pytest.mark.parametrize(
    ("scores", "labels", "precision"),
    [
        ([0.9, 0.8, 0.7, 0.6], [1, 0, 1, 0], (1 / 1 + 2 / 3) / 2),
        ([0.9, 0.8, 0.7, 0.6], [0, NAN, 1, 0], 1 / 2),
        ([0.5, 0.5, 0.5, 0.5], [1, 0, 0, 0], 1 / 4),
    ],
)
def test_average_precision_by_hand(scores: list[float], labels: list[float], precision: float) -> None:
    table = finding_table(column(scores), column(labels), ["Mass"])
    assert table["average_precision"][0] == pytest.approx(precision, abs=1e-15)


@pytest.fixture
def table() -> pd.DataFrame:
    """Five findings: two with a value, one without positives, one without negatives, one of which nothing is known."""
    labels = np.array(
        [
            [0, 0, 0, 1, NAN],
            [0, 1, 0, 1, NAN],
            [1, NAN, NAN, 1, NAN],
            [1, 0, 0, 1, NAN],
        ]
    )
    scores = np.array([0.1, 0.4, 0.35, 0.8])[:, None].repeat(5, 1)
    return finding_table(scores, labels, ["A", "B", "C", "D", "E"])


def test_what_has_no_value_is_nan_and_not_in_the_mean(table: pd.DataFrame) -> None:
    assert table["finding"].tolist() == ["A", "B", "C", "D", "E", MEAN]
    assert table["images"].tolist() == [4, 3, 3, 4, 0, 4]
    assert table["positives"].tolist() == [2, 1, 0, 4, 0, 7]
    # B: the one positive (0.4) beats 0.1 and not 0.8
    np.testing.assert_allclose(table["auroc"], [0.75, 0.5, NAN, NAN, NAN, 0.625], rtol=0, atol=1e-15)
    # A: 1/1 and 2/3 at its positives; B: second of three
    precisions = [(1 + 2 / 3) / 2, 1 / 2]
    np.testing.assert_allclose(
        table["average_precision"], [*precisions, NAN, NAN, NAN, np.mean(precisions)], rtol=0, atol=1e-15
    )


def test_nothing_defined_has_no_mean() -> None:
    table = finding_table(np.zeros((3, 2)), np.zeros((3, 2)), ["A", "B"])
    assert table["auroc"].isna().all()
    assert table["images"].tolist() == [3, 3, 3]


def test_text_is_aligned_with_a_dash_where_undefined(table: pd.DataFrame) -> None:
    lines = as_text(table).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[1].split() == ["A", "4", "2", "0.750", "0.833"]
    assert lines[3].split() == ["C", "3", "0", "-", "-"]
