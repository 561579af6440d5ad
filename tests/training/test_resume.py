"""A training that is killed and started again ends as one that was never interrupted, to the last bit."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.bundle_runs import SHIPPED, Phantoms, plain_environment
from tests.training.killing import KILLS


@pytest.fixture(scope="module")
def trainings(phantoms: Phantoms, empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("killed")
    shutil.copy(empty_store, folder / "empty.db")
    process = subprocess.run(
        [sys.executable, "-m", "tests.training.killing", SHIPPED, phantoms.manifest, folder],
        cwd=SHIPPED.parents[1],
        env=plain_environment() | {"MLFLOW_DISABLE_TELEMETRY": "true"},
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert process.returncode == 0, process.stderr[-3000:]
    result = json.loads(process.stdout.splitlines()[-1])
    assert result["status"] == 0, result["log"]
    return result


def test_the_uninterrupted_training_is_tracked_once(trainings: dict[str, Any]) -> None:
    whole = trainings["whole"]
    assert whole["runs"] == ["FINISHED"]
    assert [step for step, _ in whole["tracked"]["train_loss"]] == [1, 2, 3]
    assert not whole["locked"]


@pytest.mark.parametrize("number", range(len(KILLS)))
def test_a_killed_training_ends_the_same(trainings: dict[str, Any], number: int) -> None:
    case, whole = trainings["killed"][number], trainings["whole"]
    assert case["status"] == 0, case["log"]
    for part in ("weights", "gate", "checkpoint", "metrics", "predictions", "tracked", "runs", "locked"):
        assert case["left"][part] == whole[part], (part, case["point"], case["after"], case["at"])
    assert not case["orphans"]


def test_the_kills_fell_at_different_points(trainings: dict[str, Any]) -> None:
    cases = trainings["killed"]
    assert all(case["reached"] for case in cases)
    died = [case for case in cases if case["was_killed"]]
    assert len(died) >= len(KILLS) - 1
    reached = {0 if case["at"] == "nothing" else case["at"] for case in died}
    assert 0 in reached  # before the first step was kept
    assert reached - {0, max(reached)}  # within the training
    assert max(reached) == 18  # three epochs of six steps: in what follows the last
    for way in ("cold", "alone", "workers"):
        assert {bool(case[way]) for case in died} == {True, False}, way
