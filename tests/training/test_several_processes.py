"""What several processes count is in the checkpoint of the first, and right in each of them when it is loaded."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.bundle_runs import plain_environment

SCRIPT = Path(__file__).with_name("two_processes.py")


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    words = [sys.executable, str(SCRIPT), str(tmp_path_factory.mktemp("two"))]
    environment = plain_environment() | {"PYTHONPATH": str(SCRIPT.parents[2])}
    process = subprocess.run(words, capture_output=True, text=True, timeout=300, env=environment)
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


def test_the_training_loss_of_a_resumed_epoch(ranks: list[dict[str, Any]]) -> None:
    """Sums 1*2 + 2*2 + 5*1 + 8*2 = 27 of 7 images before; 4*2 + 16*2 = 40 of 4 after: 67 / 11."""
    for rank in ranks:
        assert rank["states"][0] == {"sum": 27.0, "images": 7}
        assert rank["uninterrupted"] == rank["resumed"] == 67 / 11


def test_files_left_out_by_another_process_are_not_forgotten(ranks: list[dict[str, Any]]) -> None:
    for rank in ranks:
        assert rank["states"][1] == {"seen": 8, "errors": [["10a.png", "decode-failed", "torn"]], "told": False}
        assert (rank["seen"], rank["errors"]) == (12, ["10a.png"])


def test_one_averaged_network_is_validated(ranks: list[dict[str, Any]]) -> None:
    """The first update takes over the weights as they are; each process had its own batch statistics."""
    assert [rank["average"] for rank in ranks] == [[1.0, 1.0], [2.0, 1.0]]


def test_all_processes_hear_of_a_signal_to_one(ranks: list[dict[str, Any]]) -> None:
    assert [rank["highest"] for rank in ranks] == [[15, 1], [15, 1]]
