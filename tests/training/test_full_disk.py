"""A disk that fills while a training is at work: a code, the folder that was given, a whole checkpoint, a way on."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cxr_monai.bundle.trained import TrainedBundle
from cxr_monai.errors import StorageError
from cxr_monai.training.checkpoints import Checkpoints, digest, read_checkpoint
from cxr_monai.training.ignite_metrics import FindingMetrics
from cxr_monai.training.journal import Journal
from tests.support.bundle_runs import SHIPPED, Phantoms, few, rewrite, train
from tests.support.small_disks import fill, make_room, small_disk
from tests.training.killing import SETTINGS

MEGABYTES = 8 << 20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "disk").mkdir()
    with small_disk(tmp_path / "disk", MEGABYTES) as place:
        yield place


@pytest.fixture(scope="module")
def manifest(phantoms: Phantoms, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rewrite(phantoms.manifest, tmp_path_factory.mktemp("few") / "few.csv", few)


@pytest.fixture(scope="module")
def whole(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The last checkpoint of a training on a disk with room."""
    return run(manifest, tmp_path_factory.mktemp("whole") / "OUT")


def run(manifest: Path, out: Path | str, **settings: Any) -> str:
    """Train two epochs of four steps; returns the digest of the last checkpoint."""
    common = {"batch_size": 2, "patience": 500, "epochs": 2, "cache_dir": "none", **settings}
    train(SHIPPED, manifest, **{**SETTINGS, "output_dir": str(out), **common})
    return digest(read_checkpoint(Path(out) / "checkpoints" / "last.pt"))


@pytest.mark.parametrize(
    ("kind", "method", "call", "epochs"),
    [
        (FindingMetrics, "update", 2, 0),  # in the first validation
        (Checkpoints, "save", 2, 1),
        (TrainedBundle, "save_weights", 2, 1),  # the best weights are whole, their checkpoint is not
    ],
)
def test_a_disk_that_fills_during_a_training(
    kind: type, method: str, call: int, epochs: int, disk: Path, manifest: Path, whole: str, elsewhere: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    original, calls = getattr(kind, method), []

    def filling(self: Any, *arguments: Any) -> Any:
        result = original(self, *arguments)
        calls.append(1)
        if len(calls) == call:
            fill(disk)
        return result

    with monkeypatch.context() as patched:
        patched.setattr(kind, method, filling)
        with pytest.raises(StorageError, match="No space left on device") as caught:
            run(manifest, disk / "OUT")
    assert caught.value.code == "disk-full"
    assert str(caught.value.where).startswith(str(disk / "OUT"))
    assert ".part" not in str(caught.value)
    left = [path for path in disk.rglob("*") if ".part" in path.name]
    assert left == []
    last = disk / "OUT" / "checkpoints" / "last.pt"
    assert read_checkpoint(last)["progress"]["iteration"] == 4 * epochs
    make_room(disk)
    assert run(manifest, disk / "OUT") == whole
    events = Journal(disk / "OUT" / "tracking" / "training.jsonl").events
    assert [event["step"] for event in events if event["key"].startswith("epoch ")] == [1, 2]
    assert [event["status"] for event in events if event["kind"] == "status"][-1] == "FINISHED"
