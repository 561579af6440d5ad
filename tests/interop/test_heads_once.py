"""Every exported thing gives through its own configuration what ``predict --raw`` gives: the head is applied once."""

import json
import zipfile
from pathlib import Path

import numpy as np
import onnx
import torch
from monai.bundle import ConfigParser
from onnxruntime import InferenceSession
from scipy.special import expit, softmax

from cxr_monai.bundle.bundle_folder import Bundle
from cxr_monai.networks.weight_loading import load_weights
from tests.interop.exported import Exported, assert_near, opened, through, through_onnx


def test_torchscript_through_the_configuration_inside_it(exported: Exported, films: list[Path]) -> None:
    network, _, config, _ = opened(exported.files / "model.ts")
    assert_near(through(config, network, films), exported.raw)


def test_either_file_of_a_folder_that_holds_both(exported: Exported, films: list[Path]) -> None:
    config = json.loads((exported.zoo / "configs" / "inference.json").read_text())
    definition = Bundle.open(exported.zoo).parser().get_parsed_content("network_def")
    bare = load_weights(definition, exported.zoo / "models" / "model.pt").eval()
    for network in (torch.jit.load(str(exported.zoo / "models" / "model.ts")), bare):
        assert_near(through(config, network, films), exported.raw)
    # and a model.ts that somebody lays beside the model.pt of the bundle it was made of
    own = json.loads((exported.bundle / "configs" / "inference.json").read_text())
    assert_near(through(own, torch.jit.load(str(exported.files / "model.ts")), films), exported.raw)


def test_torchscript_alone_says_what_it_gives(exported: Exported, films: list[Path]) -> None:
    """Followed by the words of the file alone, with NumPy."""
    network, metadata, config, contract = opened(exported.files / "model.ts")
    said = metadata["exported"]
    assert said["kind"] == "logits"
    assert said["head_included"] is contract["gives"]["head_included"] is False
    assert said["calibrated"] is False
    assert said["labels"] == list(exported.raw)
    assert (said["input"]["shape"][1:], said["normalisation"]["name"]) == ([1, 32, 32], "imagenet")
    images = torch.stack(
        [ConfigParser(config).get_parsed_content("preprocessing")({"image": f})["image"] for f in films]
    )
    with torch.no_grad():
        outputs = network(images).numpy().astype(float)
    if said["head"] == "softmax":
        assert said["probabilities"] == "softmax over all outputs of an image"
        p = softmax(outputs, axis=1)
    else:
        p = expit(outputs)
        for label, above in said["never_more_probable_than"].items():
            p[:, said["labels"].index(label)] *= expit(outputs[:, said["labels"].index(above)])
    assert_near(dict(zip(said["labels"], p.T, strict=True)), exported.raw)


def test_onnx_alone_says_what_it_gives(exported: Exported, films: list[Path]) -> None:
    model = onnx.load(str(exported.files / "model.onnx"))
    said = {entry.key: entry.value for entry in model.metadata_props}
    labels = json.loads(said["labels"])
    assert labels == list(exported.raw)
    assert (said["kind"], said["outputs"], said["head_included"]) == ("logits", "log_odds", "true")
    assert said["probabilities"] == "sigmoid(output) of each label's own output"
    assert [output.name for output in model.graph.output] == [said["outputs"]]
    assert json.loads(said["input"])["shape"] == ["batch", 1, 32, 32]
    scale = json.loads(said["normalisation"])
    assert np.allclose([scale["scale"], scale["shift"]], [[1 / 0.226], [-0.449 / 0.226]], atol=1e-6)
    assert json.loads(said["preprocessing"])[0]["step"] == "LoadRadiographd"
    session = InferenceSession(str(exported.files / "model.onnx"), providers=["CPUExecutionProvider"])
    assert session.get_modelmeta().custom_metadata_map == said
    assert_near(through_onnx(exported.files / "model.onnx", exported.bundle, films), exported.raw)


def test_contract_beside_says_of_each_file_what_it_gives(exported: Exported) -> None:
    files = json.loads((exported.files / "contract.json").read_text())["files"]
    assert {name: (of["gives"]["outputs"], of["gives"]["head_included"]) for name, of in files.items()} == {
        "model.ts": ("outputs", False),
        "model.onnx": ("log_odds", True),
    }


def test_files_inside_torchscript_lie_where_clients_look(exported: Exported) -> None:
    """MONAI Deploy reads ``NAME/extra/metadata.json`` of the archive by the file's own name."""
    with zipfile.ZipFile(exported.files / "model.ts") as archive:
        names = set(archive.namelist())
    assert names >= {f"model/extra/{name}.json" for name in ("metadata", "inference", "contract")}
