"""The estimate of hours and memory, against numbers by hand and the one training that is on record."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch
from monai.networks.nets import DenseNet121

from tests.support.bundle_runs import process_as_it_was

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("estimate_cost", ROOT / "scripts" / "estimate_cost.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["estimate_cost"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    with process_as_it_was():  # an estimate begins as a training does
        yield module
    del sys.modules["estimate_cost"]


def settings(recipe: str, **changed: object) -> dict[str, object]:
    content = json.loads((ROOT / "recipes" / f"{recipe}.json").read_text(encoding="utf-8"))
    return {**content["base"], **next(iter(content["variants"].values())), **changed}


def test_a_convolution_is_counted_as_by_hand(script) -> None:
    with torch.device("meta"):
        network = torch.nn.Conv2d(2, 3, kernel_size=3, padding=1, bias=False)
    forward = script.work(network, (2, 8, 8), trains=False, batch=4)
    image, made, weights = 2 * 64 * 4, 3 * 64 * 4, 2 * 3 * 9 * 4  # bytes
    assert forward.operations == ((2 * 64 * 2 * 3 * 9, image + made + weights / 4),)
    assert forward.kept == 0
    training = script.work(network, (2, 8, 8), trains=True, batch=4)
    # no gradient of the images is asked for: one product forward, one for the gradient of the weights
    assert sum(flops for flops, _ in training.operations) == 2 * forward.operations[0][0]
    assert training.kept == image  # the weights are there anyway


def test_an_operation_takes_the_longer_of_its_products_and_its_numbers(script) -> None:
    gpu = script.Gpu(tflops=1, bandwidth=1, memory=1)
    assert script.Work(((3e12, 1e9), (1e12, 5e9)), kept=0).seconds(gpu) == pytest.approx(3 + 5)


def test_the_training_on_record(script) -> None:
    """zoogzog's README: about 22 hours on a P100, which is where the efficiency comes from."""
    made = script.estimate(settings("zoogzog"), 10, script.GPUS["P100"])
    assert made["hours"] == pytest.approx(22, rel=0.06)
    assert made["fits"]
    assert made["cache_GB"] == pytest.approx((78468 * 1024**2 + 11219 * 256**2) / 1e9)


def test_hours_and_memory_follow_the_settings(script) -> None:
    small = {"image_size": 64, "batch_size": 8, "epochs": 4, "network_def#block_config": [1, 1, 1, 1]}
    network = DenseNet121(spatial_dims=2, in_channels=3, out_channels=14, block_config=(1, 1, 1, 1))
    parameters = sum(parameter.numel() for parameter in network.parameters())
    gpu = script.GPUS["A100"]
    base = script.estimate(settings("chexnet", **small), 1, gpu, images=(8000, 0, 0))
    once = 8000 * script.DECODING / 8 / 3600  # hours of decoding, whatever the epochs
    longer = script.estimate(settings("chexnet", **{**small, "epochs": 8}), 1, gpu, images=(8000, 0, 0))
    assert longer["hours"] - once == pytest.approx(2 * (base["hours"] - once))
    parts = script.estimate(settings("chexnet", accumulate=2, **small), 1, gpu, images=(8000, 0, 0))
    wide = script.estimate(settings("chexnet", **{**small, "batch_size": 16}), 1, gpu, images=(8000, 0, 0))
    # half of a batch's activations less, a batch's more
    assert wide["memory_GB"] - base["memory_GB"] == pytest.approx(2 * (base["memory_GB"] - parts["memory_GB"]))
    average = script.estimate(settings("chexnet", **{**small, "ema_decay": 0.99}), 1, gpu, images=(8000, 0, 0))
    assert average["memory_GB"] - base["memory_GB"] == pytest.approx(4 * parameters / 1e9)
    one_core = script.estimate(settings("chexnet", **small), 1, gpu, images=(8000, 0, 0), workers=1)
    assert one_core["images/s"] == pytest.approx(1 / script.CHANGING)  # slower than the GPU with so small images


def test_a_recipe_may_have_comments_anywhere(
    script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    variants = {"_desc_": "two", "a": {"_desc_": "small", "image_size": 32}, "b": {"image_size": 64}}
    base = {"network_def#in_channels": 3, "network_def": "EfficientNet-B0"}
    recipe = {"variants": variants, "base": base, "evaluate_overlay": "ten_crop.json"}
    (tmp_path / "r.json").write_text(json.dumps(recipe))
    seen = []
    monkeypatch.setattr(script, "estimate", lambda *given: seen.append(given[:2]) or {"hours": 1.0})
    monkeypatch.setattr(sys, "argv", ["estimate_cost.py", str(tmp_path / "r.json")])
    assert script.main() == 0
    assert seen == [({**base, "image_size": size}, 10) for size in (32, 64)]
    assert [line.split()[:2] for line in capsys.readouterr().out.splitlines()[-2:]] == [["r", "a"], ["r", "b"]]


def test_what_is_not_estimated_is_said(script) -> None:
    with pytest.raises(SystemExit, match="amp is False"):
        script.estimate(settings("chexnet", amp=False), 1, script.GPUS["A100"])
