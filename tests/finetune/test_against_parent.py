"""The verdict: planted differences, and what is said of them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cxr_monai.data.manifest import build_manifest
from cxr_monai.evaluation.comparison import BETTER, NOT_DISTINGUISHABLE, TOO_FEW, WORSE
from cxr_monai.finetune.against_parent import compare_with_parent as judge
from cxr_monai.labels import NIH14
from cxr_monai.schemes import SCHEMES

VS_NORMAL = SCHEMES["Pneumonia_vs_normal"]


def manifest(count: int, split: str = "test"):
    """A third of the images has pneumonia, a third a mass, a third nothing; a patient has two images."""
    table = pd.DataFrame({"image": [f"{at}.png" for at in range(count)], "split": split})
    table["patient_id"] = [str(at // 2) for at in range(count)]
    table[list(NIH14)] = 0.0
    table.loc[table.index % 3 == 0, "Pneumonia"] = 1.0
    table.loc[table.index % 3 == 1, "Mass"] = 1.0
    return build_manifest(table, Path("nowhere"), "local")


def scores(count: int, signal: float, seed: int) -> pd.DataFrame:
    noise = np.random.default_rng(seed).normal(size=count)
    values = 1 / (1 + np.exp(-(signal * (np.arange(count) % 3 == 0) + noise)))
    return pd.DataFrame({"image": [f"{at}.png" for at in range(count)], "Pneumonia": values})


@pytest.mark.parametrize(
    ("count", "child", "parent", "verdict", "says"),
    [
        (600, 2.0, 0.5, BETTER, "The child is better"),
        (600, 0.5, 2.0, WORSE, "WORSE THAN ITS PARENT: use the parent"),
        (30, 2.0, 0.5, TOO_FEW, "too few patients"),
    ],
)
def test_planted_differences(count: int, child: float, parent: float, verdict: str, says: str) -> None:
    result = judge(scores(count, child, 1), scores(count, parent, 2), manifest(count), "Pneumonia", VS_NORMAL)
    own, others = result.comparisons
    assert result.verdict == verdict
    assert says in result.lines()[0]
    assert (own.against, own.images, own.positives) == ("normal", 2 * count // 3, count // 3)
    assert (others.against, others.images) == ("others", count)
    assert own.low <= own.difference <= own.high
    assert own.difference == pytest.approx(own.child - own.parent)
    assert verdict in result.lines()[1]


def test_a_child_that_hardly_moved_cannot_be_told_from_its_parent() -> None:
    parent = scores(600, 1.0, 1)
    moved = parent.assign(Pneumonia=parent["Pneumonia"] * 0.99 + scores(600, 0.0, 2)["Pneumonia"] * 0.01)
    result = judge(moved, parent, manifest(600), "Pneumonia", VS_NORMAL)
    assert result.verdict == NOT_DISTINGUISHABLE
    assert "cannot be told from its parent" in result.lines()[0]


def test_same_predictions_differ_by_nothing() -> None:
    table = scores(300, 1.0, 1)
    own = judge(table, table, manifest(300), "Pneumonia", VS_NORMAL).comparisons[0]
    assert (own.difference, own.low, own.high, own.verdict) == (0, 0, 0, NOT_DISTINGUISHABLE)
    assert own.calibration["child"] == own.calibration["parent"]


def test_parent_that_does_not_know_the_disease() -> None:
    result = judge(scores(300, 2.0, 1), scores(300, 1.0, 2)[["image"]], manifest(300), "Pneumonia", VS_NORMAL)
    own = result.comparisons[0]
    assert result.verdict == ""
    assert np.isnan(own.parent)
    assert own.low < own.child < own.high
    assert "does not know" in result.lines()[0]
    assert "parent_auroc" not in own.to_json()


def test_against_others_is_one_question() -> None:
    result = judge(scores(300, 2.0, 1), scores(300, 1.0, 2), manifest(300), "Pneumonia", SCHEMES["findings"])
    assert [one.against for one in result.comparisons] == ["others"]


def test_validation_part_is_said_to_flatter() -> None:
    result = judge(scores(300, 2.0, 1), scores(300, 1.0, 2), manifest(300, "val"), "Pneumonia", VS_NORMAL)
    assert result.part == "val"
    assert any("flatters the child" in note for note in result.notes)


def test_images_that_one_could_not_read_are_left_out_of_both() -> None:
    result = judge(scores(300, 2.0, 1)[3:], scores(300, 1.0, 2), manifest(300), "Pneumonia", VS_NORMAL)
    assert result.comparisons[0].images == 198


def test_no_negative_to_judge_on() -> None:
    everybody = manifest(30)
    ill = replace(everybody, table=everybody.table[everybody.table["Pneumonia"] == 1].reset_index(drop=True))
    result = judge(scores(30, 2.0, 1), scores(30, 1.0, 2), ill, "Pneumonia", VS_NORMAL)
    assert result.verdict == TOO_FEW
    assert "no AUROC" in result.lines()[1]
