"""The same command started again, another one, and a damaged folder: what a training does with what it finds."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock

from cxr_monai.errors import CxrError
from cxr_monai.networks.weight_loading import load_state_dict
from cxr_monai.training import preflight
from cxr_monai.training.checkpoints import digest, read_checkpoint
from tests.support.bundle_runs import SHIPPED, Phantoms, code_of, content, few, rewrite, train

SETTINGS: dict[str, Any] = {"learning_rate": 0.001, "patience": 50}


@pytest.fixture
def manifest(phantoms: Phantoms, elsewhere: Path) -> Path:
    return rewrite(phantoms.manifest, elsewhere / "few.csv", few)


def run(manifest: Path, out: str = "OUT", **settings: Any) -> dict[str, Any]:
    """Train in the working directory and return the last checkpoint."""
    train(SHIPPED, manifest, output_dir=out, **{**SETTINGS, **settings})
    return read_checkpoint(Path(out) / "checkpoints" / "last.pt")


def test_more_epochs_go_on_where_the_training_ended(manifest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keeps_threads = []

    def choose_threads(step: Any, keep: bool) -> float:
        keeps_threads.append(keep)
        step()
        return 1.0

    monkeypatch.setattr(preflight, "choose_threads", choose_threads)
    whole = run(manifest, "whole", epochs=2)
    run(manifest, epochs=1)
    again = run(manifest, epochs=2)
    assert keeps_threads == [False, False, True]  # however busy the machine is: its bits depend on them
    assert again["progress"]["iteration"] == 4
    assert digest(again) == digest(whole)
    assert content(Path("OUT") / "bundle") == content(Path("whole") / "bundle")


def test_after_its_end_nothing_is_trained(manifest: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = run(manifest)
    results = content(Path("OUT"))
    with caplog.at_level(logging.INFO):
        again = run(manifest)
    assert "has ended at epoch 1" in caplog.text
    assert digest(again) == digest(first)
    after = content(Path("OUT"))
    for name in ("metrics.json", "predictions_val.csv", "bundle/models/model.pt", "checkpoints/last.pt"):
        assert after[name] == results[name]


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"learning_rate": 0.01}, "learning_rate was 0.001, now 0.01"),
        ({"seed": 7}, "seed was 0, now 7"),
        ({"batch_size": 2}, "images a step was 4, now 2"),
        ({"image_size": 64}, "image_size was 32, now 64"),
        ({"labels": ["Effusion"]}, "labels was"),
        ({"train#preprocessing#transforms#4#prob": 0.9}, "train#preprocessing"),
    ],
)
def test_another_training_is_not_taken_for_a_continuation(settings: dict[str, Any], named: str, manifest: Path) -> None:
    run(manifest)
    before = content(Path("OUT"))
    with pytest.raises(CxrError, match=named) as error:
        run(manifest, **settings)
    assert code_of(error) == "resume-differs"
    assert "--restart True" in str(error.value)
    after = content(Path("OUT"))
    assert {name: after.get(name) for name in before} == before


def test_other_images_are_another_training(manifest: Path, phantoms: Phantoms) -> None:
    run(manifest)
    fewer = rewrite(phantoms.manifest, manifest.with_name("fewer.csv"), lambda table: few(table).drop(index=[0]))
    with pytest.raises(CxrError, match=r"train part was 8 images .*, now 7 images") as error:
        run(fewer)
    assert code_of(error) == "resume-differs"


def test_restart_begins_anew(manifest: Path) -> None:
    run(manifest, epochs=2)
    again = run(manifest, epochs=1, learning_rate=0.01, restart=True)
    assert again["progress"]["iteration"] == 2
    assert digest(again) == digest(run(manifest, "other", epochs=1, learning_rate=0.01))


def test_a_damaged_checkpoint_is_told_and_the_one_before_is_used(
    manifest: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = run(manifest, epochs=2)
    last = Path("OUT/checkpoints/last.pt")
    stored = bytearray(last.read_bytes())
    stored[len(stored) // 2] ^= 1
    last.write_bytes(stored)
    with caplog.at_level(logging.WARNING):
        again = run(manifest, epochs=2)
    assert "[checkpoint-damaged]" in caplog.text
    assert digest(again) == digest(whole)
    assert last.with_name("last.pt.damaged").read_bytes() == stored


def test_without_any_good_checkpoint_nothing_is_overwritten(manifest: Path) -> None:
    run(manifest)
    for name in ("last.pt", "previous.pt"):
        Path("OUT/checkpoints", name).write_bytes(b"damaged")
    weights = Path("OUT/bundle/models/model.pt").read_bytes()
    with pytest.raises(CxrError) as error:
        run(manifest)
    assert code_of(error) == "checkpoint-damaged"
    assert Path("OUT/bundle/models/model.pt").read_bytes() == weights


def test_a_lost_bundle_is_made_again_from_the_checkpoint(manifest: Path) -> None:
    run(manifest)
    before = digest(load_state_dict("OUT/bundle/models/model.pt"))
    Path("OUT/bundle/models/model.pt").write_bytes(b"damaged")
    Path("OUT/bundle/configs/inference.json").unlink()
    run(manifest)
    assert digest(load_state_dict("OUT/bundle/models/model.pt")) == before
    assert Path("OUT/bundle/configs/inference.json").is_file()


def test_a_second_training_on_the_same_folder_is_refused(manifest: Path, elsewhere: Path) -> None:
    (elsewhere / "OUT").mkdir()
    with FileLock(elsewhere / "OUT" / "training.lock"), pytest.raises(CxrError) as error:
        run(manifest)
    assert code_of(error) == "output-locked"
    assert not {"bundle", "checkpoints", "tracking"} & {path.name for path in (elsewhere / "OUT").iterdir()}


def test_a_batch_without_a_number_stops_the_run_and_is_named(manifest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cxr_monai.losses import MaskedBCEWithLogitsLoss

    forward = MaskedBCEWithLogitsLoss.forward
    steps = []

    def second_is_nan(self: Any, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        loss = forward(self, input, target)
        if Path("OUT/checkpoints/last.pt").exists():  # there is none yet while the preflight tries batches
            steps.append(len(target))
        return loss * torch.nan if len(steps) == 2 else loss

    with monkeypatch.context() as patched:
        patched.setattr(MaskedBCEWithLogitsLoss, "forward", second_is_nan)
        with pytest.raises(
            CxrError, match=r"the loss is nan in epoch 1, iteration 2, at the batch of .*\.png"
        ) as error:
            run(manifest)
    assert code_of(error) == "not-finite"
    assert read_checkpoint(Path("OUT/checkpoints/last.pt"))["progress"]["iteration"] == 0
    assert digest(run(manifest)) == digest(run(manifest, "whole"))
