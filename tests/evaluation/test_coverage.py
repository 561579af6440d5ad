"""Intervals hold the truth as often as they say: a quick version of ``scripts/simulate_coverage.py``, and that script.

The bounds are those within which 1,999 of 2,000 correct programs stay: the binomial's quantiles at 93 and 97 per cent.
"""

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom
from sklearn.metrics import average_precision_score, roc_auc_score

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "simulate_coverage.py"
SETS, REPLICATES = 400, 199


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("simulate_coverage", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["simulate_coverage"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["simulate_coverage"]


@pytest.fixture(scope="module")
def population(script: ModuleType) -> Any:
    return script.Population.of(0.05, patients=50_000)


@pytest.mark.parametrize("positive_patients", [20, 100])
def test_patient_level_intervals_hold_and_delong_does_not(
    script: ModuleType, population: Any, positive_patients: int
) -> None:
    scenario = script.Scenario(0.05, positive_patients)
    total: dict[str, Any] = {}
    for number in range(SETS):
        intervals = script.judge(population, scenario, REPLICATES, 0, number)
        script.add(total, script.counted(intervals, population.truth))
    low, high = binom.ppf(0.00025, SETS, 0.93), binom.ppf(0.99975, SETS, 0.97)
    for kind in ("auroc, widened", "average precision, widened"):
        assert low <= total[kind]["held"] <= high, (kind, total[kind])
        assert total[kind]["held"] + total[kind]["below"] + total[kind]["above"] == SETS
    # several correlated images a patient: DeLong promises too much
    assert total["auroc, DeLong"]["held"] < low


def test_the_population_is_what_it_says(population: Any) -> None:
    assert population.labels.mean() == pytest.approx(0.05, abs=0.003)
    assert population.count.mean() == pytest.approx(4, abs=0.05)
    assert (population.count.min(), population.count.max()) == (1, 30)
    assert population.truth["auroc"] == pytest.approx(roc_auc_score(population.labels, population.scores), abs=1e-12)
    assert population.truth["average_precision"] == pytest.approx(
        average_precision_score(population.labels, population.scores), abs=1e-12
    )
    # both effects of the patient: the first two images of those who have two
    first = population.first[population.count > 1]
    labels, scores = population.labels.astype(float), population.scores - 1.3 * population.labels
    assert np.corrcoef(scores[first], scores[first + 1])[0, 1] == pytest.approx(0.5, abs=0.02)
    assert labels[first + 1][labels[first] == 1].mean() > 5 * 0.05
    positive = np.add.reduceat(population.labels, population.first) > 0
    assert population.positive_share == positive.mean()


def test_a_data_set_is_whole_patients(population: Any) -> None:
    codes, scores, labels = population.draw(np.random.default_rng(0), 500)
    assert np.array_equal(np.unique(codes), np.arange(500))
    chosen = np.random.default_rng(0).integers(0, population.count.size, 500)
    np.testing.assert_array_equal(np.bincount(codes), population.count[chosen])
    at = population.first[chosen[7]]
    np.testing.assert_array_equal(scores[codes == 7], population.scores[at : at + population.count[chosen[7]]])
    np.testing.assert_array_equal(labels[codes == 7], population.labels[at : at + population.count[chosen[7]]])


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        ((0.7, 0.9), {"held": 1, "below": 0, "above": 0, "none": 0, "width": pytest.approx(0.2)}),
        ((0.85, 0.9), {"held": 0, "below": 1, "above": 0, "none": 0, "width": pytest.approx(0.05)}),
        ((0.5, 0.7), {"held": 0, "below": 0, "above": 1, "none": 0, "width": pytest.approx(0.2)}),
        ((np.nan, np.nan), {"held": 0, "below": 0, "above": 0, "none": 1, "width": 0.0}),
    ],
)
def test_counting(script: ModuleType, interval: tuple[float, float], expected: dict) -> None:
    truth = {"auroc": 0.8, "average_precision": 0.1}
    assert script.counted({"auroc, DeLong": interval}, truth) == {"auroc, DeLong": expected}


def test_a_cell_of_the_table(script: ModuleType) -> None:
    assert script.share({"held": 95, "below": 2, "above": 3, "none": 0}) == "95.0 (2.0 \\| 3.0)"
    assert script.share({"held": 3, "below": 0, "above": 1, "none": 6}) == "75.0 (0.0 \\| 25.0), none in 6"
    assert script.share({"held": 0, "below": 0, "above": 0, "none": 6}) == "-"


# Python 3.12 warns of a fork beside the threads of other tests; the script has none
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_interrupted_it_goes_on(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script, "CHUNK", 2)
    whole, parts = tmp_path / "whole", tmp_path / "parts"

    def run(out: Path, sets: int, *more: str) -> dict:
        words = ["--sets", str(sets), "--replicates", "20", "--prevalence", "0.2", "--positive-patients", "10", *more]
        monkeypatch.setattr(sys, "argv", ["simulate_coverage.py", "--out", str(out), *words])
        assert script.main() == 0
        return json.loads((out / "coverage.json").read_text())

    expected = run(whole, 4, "--jobs", "1")
    run(parts, 2, "--jobs", "1")
    assert run(parts, 4, "--jobs", "2") == expected
    assert [row["sets"] for row in expected["scenarios"].values()] == [4, 4]
    lines = (whole / "coverage.md").read_text().splitlines()
    assert len(lines) == 4
    assert lines[2].startswith("| 20.0% | 10 | 4 |")
    assert len({line.replace("\\|", "").count("|") for line in lines}) == 1
    with pytest.raises(SystemExit):
        run(parts, 4, "--seed", "1")
