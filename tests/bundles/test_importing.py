"""Other people's weights as a bundle: what it predicts is what the original gives on its own preprocessing."""

import json
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from cxr_monai.bundle.bundle_folder import Bundle
from cxr_monai.bundle.importing import import_bundle
from cxr_monai.cli import main
from cxr_monai.errors import Code, CxrError
from cxr_monai.inference.model import Model
from cxr_monai.labels import NIH14
from cxr_monai.networks.foreign import XRV_TARGETS
from cxr_monai.sharing.inspection.bundle_inspection import inspect_bundle
from tests.networks.originals import chexnet_old, forward, state_dict, torchxrayvision
from tests.support.bundle_runs import CONFIGS, Phantoms, few, read, rewrite, run, train


def save(state: dict[str, torch.Tensor], path: Path) -> Path:
    torch.save({"epoch": 1, "state_dict": state}, path)
    return path


def picture(path: Path, height: int, width: int) -> np.ndarray:
    """An 8-bit radiograph of a size that the original need not resample."""
    pixels = np.random.default_rng(0).integers(0, 256, (height, width), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


@pytest.fixture(scope="module")
def chexnet_state() -> dict[str, torch.Tensor]:
    return state_dict(3, 14)


@pytest.fixture(scope="module")
def chexnet(chexnet_state: dict[str, torch.Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("chexnet")
    import_bundle(save(chexnet_old(chexnet_state), home / "m-1.pth.tar"), home / "bundle")
    return home / "bundle"


def probabilities(bundle: Path, image: Path) -> torch.Tensor:
    table = Model.open(bundle, amp=False).predict([image]).table
    return torch.tensor(table.iloc[0, 1:].to_list())


def test_chexnet_predicts_as_the_original(
    chexnet: Path, chexnet_state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    """Its preprocessing by hand: shorter side 256, the middle 224 pixels, ImageNet's constants, grey as RGB."""
    pixels = picture(tmp_path / "a.png", 256, 300)
    middle = torch.from_numpy(pixels[16:240, 38:262].astype("float32") / 255)
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    given = (middle - mean[:, None, None]) / deviation[:, None, None]
    expected = forward(chexnet_state, given[None])[0].sigmoid()
    torch.testing.assert_close(probabilities(chexnet, tmp_path / "a.png"), expected, rtol=0, atol=1e-5)
    assert expected.std() > 0.05


def test_torchxrayvision_predicts_as_the_original(tmp_path: Path) -> None:
    """Its preprocessing by hand: the middle square, [0, 255] stretched to [-1024, 1024]; its sigmoids by name."""
    state = state_dict(1, 18)
    state["features.conv0.weight"] /= 512  # as weights that have learned from such pixels
    record = import_bundle(save(torchxrayvision(state), tmp_path / "w.pt"), tmp_path / "bundle")
    pixels = picture(tmp_path / "a.png", 224, 260)
    given = torch.from_numpy((2 * (pixels[:, 18:242].astype("float32") / 255) - 1) * 1024)
    expected = forward(state, given[None, None])[0].sigmoid()
    kept = [index for index, name in enumerate(XRV_TARGETS) if name not in ("Hernia", "Fracture")]
    torch.testing.assert_close(
        probabilities(tmp_path / "bundle", tmp_path / "a.png"), expected[kept], rtol=0, atol=1e-5
    )
    assert expected.std() > 0.05
    bundle = Bundle.open(tmp_path / "bundle")
    assert bundle.labels == tuple(XRV_TARGETS[index] for index in kept)
    assert "Enlarged Cardiomediastinum" in bundle.labels
    image = bundle.metadata["network_data_format"]["inputs"]["image"]
    assert (image["value_range"], image["num_channels"]) == ([-1024, 1024], 1)
    assert any(line.startswith("op_threshs") for line in record["left_out"])
    assert any("output 13, never trained, output 15, never trained" in line for line in record["left_out"])


def test_the_bundle_says_what_its_weights_mean(chexnet: Path) -> None:
    for config in CONFIGS:
        content = read(chexnet, config)
        assert content["labels"] == list(NIH14)
        assert (content["image_size"], content["normalisation"]) == (224, "imagenet")
        assert content["network_def"]["in_channels"] == 3
        assert content["network_def"]["_target_"] == "DenseNet"
    assert read(chexnet, "train")["validate"]["preprocessing"] == read(chexnet, "inference")["preprocessing"]
    assert Bundle.open(chexnet).metadata["network_data_format"]["inputs"]["image"]["num_channels"] == 3


def test_where_it_came_from_stands_in_it(chexnet: Path, chexnet_state: dict[str, torch.Tensor]) -> None:
    record = json.loads((chexnet / "docs" / "import.json").read_text("utf-8"))
    assert inspect_bundle(chexnet).refused == ()
    file = chexnet.parent / "m-1.pth.tar"
    assert (record["file"], record["kind"], record["labels"]) == ("m-1.pth.tar", "chexnet", list(NIH14))
    assert record["sha256"] == sha256(file.read_bytes()).hexdigest()
    named = {name for name in chexnet_state if not name.endswith("num_batches_tracked")}
    assert len(record["loaded"]) == len(named)
    assert "counters of batches" in record["anew"][0]
    assert str(chexnet.parent) not in json.dumps(record)


def test_monai_runs_it_and_training_goes_on_from_it(chexnet: Path, phantoms: Phantoms, elsewhere: Path) -> None:
    image = phantoms.files("test")[0]
    (elsewhere / "images").mkdir()
    (elsewhere / "images" / image.name).write_bytes(image.read_bytes())
    run(chexnet, "inference", dataset_dir=str(elsewhere / "images"), output_dir="out", batch_size=1, num_workers=0)
    assert list(pd.read_csv("out/predictions.csv").columns) == ["image", *NIH14]
    manifest = rewrite(phantoms.manifest, elsewhere / "few.csv", few)
    settings = {"labels": "Hernia,Mass", "network_def#out_channels": 2}
    train(chexnet, manifest, init_weights=str(chexnet / "models" / "model.pt"), **settings)
    child = Bundle.open("OUT/bundle")
    assert child.labels == ("Hernia", "Mass")
    assert child.metadata["network_data_format"]["inputs"]["image"]["num_channels"] == 3


def test_labels_choose_and_rows_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = state_dict(3, 3)
    file = save(chexnet_old(state), tmp_path / "w.pth")
    command = ["bundle", "import", str(file), str(tmp_path / "made")]
    assert main(command) == 2
    assert "3 outputs, and nothing tells what they stand for. Name them all" in capsys.readouterr().err
    assert main([*command, "--rows", "Mass,Nodule"]) == 2
    assert "--rows names 2" in capsys.readouterr().err
    assert main([*command, "--rows", "Mass,Nodule,Silicosis", "--labels", "Hernia"]) == 2
    assert "no output for Hernia; it has Mass, Nodule, Silicosis" in capsys.readouterr().err
    assert not (tmp_path / "made").exists()
    assert main([*command, "--rows", "Mass,Nodule,Silicosis", "--labels", "Silicosis,Mass"]) == 0
    told = capsys.readouterr().out
    assert "left out: class_layers.out: the outputs of Nodule" in told
    weights = torch.load(tmp_path / "made" / "models" / "model.pt", weights_only=True)
    assert torch.equal(weights["class_layers.out.bias"], state["classifier.bias"][[2, 0]])
    assert Bundle.open(tmp_path / "made").labels == ("Silicosis", "Mass")
    assert main(command) == 2
    assert "output-exists" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("state", "kind", "complaint"),
    [
        (lambda: state_dict(3, 1000), "auto", "ImageNet's 1000 classes.*--init_weights"),
        (lambda: state_dict(3, 14), "auto", "a DenseNet of torchvision: it is no network for radiographs"),
        (lambda: state_dict(3, 18), "torchxrayvision", "takes 3 channels; one of the kind torchxrayvision takes 1"),
        (lambda: {"class_layers.out.weight": torch.zeros(2, 2), **state_dict(1, 2)}, "auto", "MONAI's own names"),
        (lambda: {"fc.weight": torch.zeros(2)}, "auto", "another network"),
        (
            lambda: {n: t for n, t in state_dict(3, 14).items() if "classifier" not in n},
            "chexnet",
            "not one linear layer",
        ),
        (lambda: {**state_dict(3, 14), "features.conv0.weight": torch.zeros(8)}, "chexnet", r"has the shape \[8\]"),
        (
            lambda: {**state_dict(1, 18), "op_threshs": torch.full((18,), torch.nan)},
            "auto",
            "trained for none of its targets",
        ),
        (
            lambda: {**state_dict(3, 14), "features.norm5.running_var": torch.full((17,), torch.nan)},
            "chexnet",
            "1 tensor holds NaN or infinite numbers, such as features.norm5.running_var",
        ),
    ],
)
def test_what_makes_no_bundle(state: object, kind: str, complaint: str, tmp_path: Path) -> None:
    file = save(state(), tmp_path / "w.pth")  # type: ignore[operator]
    with pytest.raises(CxrError, match=complaint) as caught:
        import_bundle(file, tmp_path / "made", kind)
    assert caught.value.code == Code.WEIGHTS_MISMATCH
    assert [path.name for path in tmp_path.iterdir()] == ["w.pth"]
