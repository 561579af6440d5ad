"""Exported networks give what the bundle gives, in any batch size, for every head and for ensembles; and say how."""

import json
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnxruntime import InferenceSession
from PIL import Image
from scipy.special import expit, logit

from cxr_monai.bundle.bundle_folder import Bundle
from cxr_monai.bundle.ensembling import ensemble_bundle
from cxr_monai.cli import main
from cxr_monai.errors import BundleError, Code, CxrError, SettingError, UsageError, WeightsError
from cxr_monai.evaluation.calibration import Calibrator
from cxr_monai.evaluation.fitted import Fitted
from cxr_monai.inference.model import Model
from cxr_monai.networks.heads import Head, classification_head
from cxr_monai.schemes import label_scheme
from cxr_monai.sharing.export import network_export as module
from cxr_monai.sharing.export.network_export import (
    BATCHES,
    EXPORT_TOLERANCE,
    export,
    images,
    largest_output_difference,
    shape_of,
)
from tests.support.tiny_bundles import LABELS, SIZE, tiny_bundle, tiny_network

CASES: dict[str, dict[str, Any]] = {
    "sigmoid": {},
    "softmax": {"head": "softmax", "labels": ["Mass", "Normal"], "label_scheme": "findings_normal"},
    "categories": {"labels": ["Lung", "Normal"], "label_scheme": "categories_normal"},
    "hierarchical": {"head": "hierarchical", "labels": ["Pleural", "Effusion"], "label_scheme": "hierarchy"},
}


def made(case: str, folder: Path) -> Path:
    if case == "ensemble":
        members = [tiny_bundle(folder / str(seed), seed) for seed in (0, 1)]
        return ensemble_bundle(members, folder / "bundle").root
    settings = CASES[case]
    bundle = tiny_bundle(folder / "bundle", 0, **settings)
    if "label_scheme" in settings:
        path = bundle / "configs" / "metadata.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"label_scheme": settings["label_scheme"]}))
    return bundle


def expected(case: str, batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The network's outputs and the log-odds, by the networks and heads themselves."""
    if case == "ensemble":
        mean = (tiny_network(0)(batch) + tiny_network(1)(batch)) / 2
        return mean, mean
    outputs = tiny_network(0)(batch)
    labels = CASES[case].get("labels", LABELS)
    groups = label_scheme(CASES[case].get("label_scheme", "findings")).groups
    return outputs, classification_head(CASES[case].get("head", "sigmoid"), labels, groups)(outputs)


@pytest.mark.parametrize("case", [*CASES, "ensemble"])
def test_torchscript_gives_the_outputs_and_onnx_the_log_odds_in_any_batch(case: str, tmp_path: Path) -> None:
    bundle = made(case, tmp_path)
    told = export(bundle, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"model.ts", "model.onnx", "contract.json"}
    assert max(told.values()) <= EXPORT_TOLERANCE
    script = torch.jit.load(str(tmp_path / "out" / "model.ts"))
    session = InferenceSession(str(tmp_path / "out" / "model.onnx"), providers=["CPUExecutionProvider"])
    for count in (1, 2, 3, 5):
        batch = torch.rand(count, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(count))
        with torch.no_grad():
            outputs, right = expected(case, batch)
            assert torch.allclose(script(batch), outputs, rtol=0, atol=EXPORT_TOLERANCE)
        (values,) = session.run(["log_odds"], {"image": batch.numpy()})
        assert np.allclose(values, right.numpy(), rtol=0, atol=EXPORT_TOLERANCE)
        assert right.shape == (count, 2)
    told_of_output = json.loads((tmp_path / "out" / "contract.json").read_text())["output"]
    assert told_of_output["labels"] == list(Bundle.open(bundle).labels)
    assert told_of_output["probabilities_add_up_to_1"] is (case == "softmax")
    assert told_of_output["never_more_probable_than"] == ({"Effusion": "Pleural"} if case == "hierarchical" else {})
    if case == "softmax":
        assert np.allclose(expit(values).sum(1), 1, atol=1e-5)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_whoever_follows_the_contract_gets_what_the_bundle_predicts(tmp_path: Path) -> None:
    """Preprocessing and calibration by the contract's words and numbers alone, against ``predict``."""
    bundle = tiny_bundle(tmp_path / "bundle", 0)
    steps = {"Effusion": (Calibrator("platt", {"slope": 0.5, "intercept": -1.0}),), "Mass": ()}
    fitted = Fitted(steps, {"Effusion": {"youden": 0.3}}, {}, {}, fitted_on={"images": 9})
    fitted.write(bundle / "models" / "calibration.json")
    assert main(["bundle", "export", str(bundle), "--out", str(tmp_path / "out"), "--format", "onnx"]) == 0
    pixels = np.random.default_rng(0).integers(0, 256, (37, 60), dtype=np.uint8)  # 8/7 of 32 is 37: nothing to resample
    Image.fromarray(pixels).save(tmp_path / "a.png")

    contract = json.loads((tmp_path / "out" / "contract.json").read_text())
    assert contract["input"]["shape"] == ["batch", 1, SIZE, SIZE]
    assert "shorter side has 37 pixels" in contract["preprocessing"][1]["does"]
    middle = pixels[2:34, 14:46].astype("float32") / 255
    given = middle * contract["normalisation"]["scale"][0] + contract["normalisation"]["shift"][0]
    session = InferenceSession(str(tmp_path / "out" / "model.onnx"), providers=["CPUExecutionProvider"])
    (values,) = session.run(None, {contract["input"]["name"]: given[None, None].astype("float32")})
    (step,) = contract["calibration"]["labels"]["Effusion"]["steps"]
    assert contract["calibration"]["methods"] == {"platt": "p becomes sigmoid(slope * logit(p) + intercept)"}
    p = expit(values[0].astype(float))
    p[0] = expit(step["parameters"]["slope"] * logit(p[0]) + step["parameters"]["intercept"])

    row = Model.open(bundle, amp=False).predict([tmp_path / "a.png"], num_workers=0).table.iloc[0]
    assert np.allclose(p, row[list(LABELS)].to_numpy(float), atol=1e-5)
    assert contract["calibration"]["labels"]["Effusion"]["operating_points"] == {"youden": {"threshold": 0.3}}
    assert contract["calibration"]["fitted_on"] == {"images": 9}


def test_nothing_of_this_machine_goes_along_and_the_bundles_own_text_does(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "bundle", 0)
    export(bundle, tmp_path / "out")
    for path in (tmp_path / "out").iterdir():
        content = path.read_bytes()
        for place in (Path(torch.__file__).parents[1], Path(module.__file__).parents[2], tmp_path):
            assert str(place).encode() not in content, path.name
    with zipfile.ZipFile(tmp_path / "out" / "model.ts") as archive:
        inside = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    assert json.loads(inside["extra/metadata.json"])["name"] == Bundle.open(bundle).metadata["name"]
    assert json.loads(inside["extra/inference.json"])["labels"] == list(LABELS)


def test_a_file_that_differs_is_not_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = tiny_bundle(tmp_path / "bundle", 0)
    monkeypatch.setattr(module, "_RUNTIMES", {".ts": lambda file: lambda batch: tiny_network(0)(batch) + 2e-4})
    with pytest.raises(BundleError, match=r"model\.ts differs by 0\.0002") as caught:
        export(bundle, tmp_path / "out", ["torchscript"])
    assert caught.value.code == Code.EXPORT_DIFFERS
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        (lambda batch: batch + 0.25, 0.25),
        (lambda batch: batch * torch.nan, torch.inf),
        (lambda batch: batch[:1], torch.inf),
    ],
)
def test_differences(other: Any, difference: float) -> None:
    assert largest_output_difference(lambda batch: batch, other, [torch.ones(1, 2), torch.ones(3, 2)]) == difference


def test_compared_images_are_random_over_the_input_range_in_two_batch_sizes(tmp_path: Path) -> None:
    bundle = Bundle.open(tiny_bundle(tmp_path / "bundle", 0))
    batches = images(bundle, shape_of(bundle))
    assert [tuple(batch.shape) for batch in batches] == [(count, 1, SIZE, SIZE) for count in BATCHES]
    low, high = bundle.metadata["network_data_format"]["inputs"]["image"]["value_range"]
    for batch in batches:
        assert low <= batch.min() < low + 0.3 * (high - low)
        assert high - 0.3 * (high - low) < batch.max() <= high
    assert not torch.equal(batches[1][0], batches[1][1])


def test_what_cannot_be_exported_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = tiny_bundle(tmp_path / "bundle", 0)

    def refused(kind: type[CxrError], code: Code, out: Path, *formats: str) -> None:
        with pytest.raises(kind) as caught:
            export(bundle, out, formats or module.FORMATS)
        assert caught.value.code == code

    refused(UsageError, Code.OUTPUT_EXISTS, tmp_path)
    refused(UsageError, Code.OUTPUT_EXISTS, bundle / "exported")
    refused(SettingError, Code.SETTING_INVALID, tmp_path / "out", "tensorrt")
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    refused(SettingError, Code.RUNTIME_MISSING, tmp_path / "out", "onnx")
    (bundle / "models" / "model.pt").unlink()
    refused(WeightsError, Code.WEIGHTS_MISSING, tmp_path / "out", "torchscript")
    assert main(["bundle", "export", str(bundle), "--out", str(tmp_path / "out"), "--url", "https://a.org"]) == 2
    assert re.search(r"--format zoo", capsys.readouterr().err)
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_a_bundle_from_before_there_were_heads(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "bundle", 0)
    for path in (bundle / "configs").glob("*.json"):
        config = json.loads(path.read_text())
        config.pop("head_def", None)
        if "inferer" in config:
            config["inferer"].pop("head", None)
        path.write_text(json.dumps(config))
    assert export(bundle, tmp_path / "out", ["torchscript"])["model.ts"] <= EXPORT_TOLERANCE
    contract = json.loads((tmp_path / "out" / "contract.json").read_text())
    assert contract["output"]["labels"] == list(LABELS)
    assert Head().within == contract["output"]["never_more_probable_than"]
