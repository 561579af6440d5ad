"""Settings: what a value may be, what an override changes in the bundle that is left, where first weights come from."""

import threading
from collections.abc import Iterator
from functools import partial
from hashlib import sha256
from http.server import HTTPServer
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pandas as pd
import pytest
import torch
from monai.networks.nets import DenseNet121, EfficientNetBN

from cxr_monai.bundle.bundle_folder import Bundle
from cxr_monai.bundle.intended_films import IntendedFilms
from cxr_monai.errors import CxrError
from cxr_monai.labels import parse_labels
from cxr_monai.networks.foreign import recognise
from cxr_monai.networks.weight_loading import (
    IMAGENET,
    download_imagenet,
    initialise_network,
    load_state_dict,
    load_weights,
)
from tests.bundles.test_verify import Silent
from tests.support.bundle_runs import (
    CONFIGS,
    SHIPPED,
    Phantoms,
    Trained,
    code_of,
    few,
    no_pictures,
    our_errors,
    process_as_it_was,
    read,
    rewrite,
    run,
    train,
    workflow,
)

# ---------------------------------------------------------------- values


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("epochs", 0),
        ("epochs", 1.5),
        ("epochs", "many"),
        ("image_size", 16),
        ("image_size", "large"),
        ("batch_size", 0),
        ("batch_size", True),
        ("learning_rate", 0),
        ("learning_rate", "fast"),
        ("minimum_age", -1),
        ("minimum_age", 200),
        ("minimum_age", "adults"),
        ("num_workers", -1),
        ("seed", -1),
        ("patience", 0),
        ("horizontal_flip", -0.1),
        ("amp", "no"),
        ("horizontal_flip", 1.5),
        ("val_interval", 0),
        ("margin", 0.9),
    ],
)
def test_value_out_of_range(setting: str, value: Any, elsewhere: Path) -> None:
    with process_as_it_was(), pytest.raises(CxrError, match=f"--{setting} {value!r}") as error, our_errors():
        workflow(SHIPPED, "train", **{setting: value}).initialize()
    assert code_of(error) == "setting-invalid"


@pytest.mark.parametrize(
    ("setting", "value", "code"),
    [
        ("normalisation", "z_score", "setting-invalid"),
        ("augmentation", "strong", "setting-invalid"),
        ("select", "auroc", "setting-invalid"),
        ("labels", "Pneumonia,Broken_Rib", "unknown-finding"),
        ("labels", "Pneumonia,Pneumonia", "unknown-finding"),
        ("labels", "", "unknown-finding"),
        ("init_weights", "imagnet", "weights-missing"),
        ("network_def#in_channels", 2, "setting-invalid"),
        ("network_def#out_channels", 7, "setting-invalid"),
    ],
)
def test_value_that_does_not_exist(setting: str, value: Any, code: str, phantoms: Phantoms, elsewhere: Path) -> None:
    manifest = rewrite(phantoms.manifest, elsewhere / "few.csv", few)
    with pytest.raises(CxrError) as error:
        train(SHIPPED, manifest, **{setting: value})
    assert code_of(error) == code


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("Pneumonia", ["Pneumonia"]),
        ("pneumonia, Effusion", ["Pneumonia", "Effusion"]),
        (["Hernia", "Mass"], ["Hernia", "Mass"]),
        (("Mass",), ["Mass"]),
    ],
)
def test_labels_of_the_command_line(given: Any, expected: list[str]) -> None:
    assert parse_labels(given) == expected


def test_output_is_never_the_bundle_it_starts_from(shipped_copy: Path, phantoms: Phantoms, elsewhere: Path) -> None:
    (elsewhere / "OUT").mkdir()
    bundle = shipped_copy.rename(elsewhere / "OUT" / "bundle")
    with pytest.raises(CxrError) as error:
        train(bundle, phantoms.manifest)
    assert code_of(error) == "output-exists"


def test_path_that_monai_would_change_is_refused(phantoms: Phantoms, elsewhere: Path) -> None:
    manifest = rewrite(phantoms.manifest, elsewhere / "few.csv", few)
    with pytest.raises(CxrError, match="#") as error:
        train(SHIPPED, manifest, output_dir="OUT#1")
    assert code_of(error) == "setting-invalid"


# ---------------------------------------------------------------- what an override changes in the bundle that is left


@pytest.fixture(scope="module")
def overridden(phantoms: Phantoms, tmp_path_factory: pytest.TempPathFactory, tracking_store: str) -> Path:
    """The bundle of a training with other labels (a tuple, as fire reads ``A,B``), size, channels, and so on."""
    home = tmp_path_factory.mktemp("overridden")
    manifest = rewrite(phantoms.manifest, home / "few.csv", few)
    train(
        SHIPPED, manifest,
        labels=("Pneumonia", "Effusion"), image_size=40, margin=1.0, normalisation="minus_one_one",
        views="PA,AP", minimum_age=21,
        augmentation="random_resized_crop", select="loss", output_dir=str(home / "OUT"), tracking_uri=tracking_store,
        **{"network_def#in_channels": 3, "train#preprocessing#transforms#1#margin": 2.0},
    )  # fmt: skip
    return home / "OUT" / "bundle"


@pytest.mark.parametrize("config", CONFIGS)
def test_every_configuration_has_the_overrides(config: str, overridden: Path) -> None:
    content = read(overridden, config)
    assert content["labels"] == ["Pneumonia", "Effusion"]
    assert content["image_size"] == 40
    assert content["margin"] == 1.0
    assert content["normalisation"] == "minus_one_one"
    assert content["network_def"]["in_channels"] == 3
    assert content["network_def"]["out_channels"] == 2


def test_metadata_has_the_overrides(overridden: Path) -> None:
    formats = read(overridden, "metadata")["network_data_format"]
    image, pred = formats["inputs"]["image"], formats["outputs"]["pred"]
    assert image["spatial_shape"] == [40, 40]
    assert image["num_channels"] == 3
    assert pred["num_channels"] == 2
    assert pred["channel_def"] == {"0": "Pneumonia", "1": "Effusion"}


def test_metadata_tell_which_films_it_is_meant_for(overridden: Path) -> None:
    assert Bundle.open(overridden).intended_films == IntendedFilms(21, views=("PA", "AP"))


def test_metadata_describes_the_input_that_was_trained_on(overridden: Path) -> None:
    image = read(overridden, "metadata")["network_data_format"]["inputs"]["image"]
    assert len(image["channel_def"]) == image["num_channels"]
    assert image["value_range"] == [-1, 1]


def test_bundle_with_overrides_needs_none_of_them_again(overridden: Path, phantoms: Phantoms, elsewhere: Path) -> None:
    assert Bundle.open(overridden).labels == ("Pneumonia", "Effusion")
    run(overridden, "evaluate", manifest=str(phantoms.manifest), output_dir="out", batch_size=8)
    assert list(pd.read_csv(elsewhere / "out" / "predictions.csv").columns) == ["image", "Pneumonia", "Effusion"]
    run(overridden, "explain", manifest=str(phantoms.manifest), output_dir="out", count=1, methods="gradcam")
    assert (elsewhere / "out" / "explanations" / "sheet.png").is_file()


def test_training_goes_on_from_the_bundle_with_overrides(overridden: Path, phantoms: Phantoms, elsewhere: Path) -> None:
    manifest = rewrite(phantoms.manifest, elsewhere / "few.csv", few)
    settings = {"batch_size": 4, "epochs": 1, "init_weights": str(overridden / "models" / "model.pt")}
    with no_pictures():
        run(overridden, "train", manifest=str(manifest), output_dir="OUT", num_workers=0, **settings)
    assert Bundle.open(elsewhere / "OUT" / "bundle").labels == ("Pneumonia", "Effusion")
    assert read(elsewhere / "OUT" / "bundle", "inference")["image_size"] == 40
    assert Bundle.open(elsewhere / "OUT" / "bundle").intended_films == IntendedFilms(21, views=("PA", "AP"))


def test_another_validation_pipeline_is_refused(phantoms: Phantoms, elsewhere: Path) -> None:
    """``inference.json`` would feed the network something else than it was validated on."""
    manifest = rewrite(phantoms.manifest, elsewhere / "few.csv", few)
    with pytest.raises(CxrError, match="validate#preprocessing") as error:
        train(SHIPPED, manifest, **{"validate#preprocessing#transforms#1#margin": 1.0})
    assert code_of(error) == "bundle-disagrees"


def test_weights_of_other_findings_or_channels(trained: Trained, phantoms: Phantoms, elsewhere: Path) -> None:
    weights = elsewhere / "other.pt"
    torch.save(network(3, 2).state_dict(), weights)
    with pytest.raises(CxrError, match="the weights belong to another network") as error:
        run(trained.bundle, "evaluate", manifest=str(phantoms.manifest), output_dir="out", weights=str(weights))
    assert code_of(error) == "weights-mismatch"
    assert "features.conv0.weight is [64, 3, 7, 7], the network's is [64, 1, 7, 7]" in str(error.value)
    assert not (elsewhere / "out" / "predictions.csv").exists()


# ---------------------------------------------------------------- first weights


def network(channels: int = 1, findings: int = 14) -> DenseNet121:
    return DenseNet121(spatial_dims=2, in_channels=channels, out_channels=findings, act=("RELU", {"inplace": False}))


def torchvision_style(source: DenseNet121, old: bool) -> dict[str, torch.Tensor]:
    """MONAI's state dictionary under torchvision's names; the old ones (before 2019) lack the batch counters."""
    renamed = {}
    for name, tensor in source.state_dict().items():
        if old and name.endswith("num_batches_tracked"):
            continue
        for part in ("norm1", "conv1", "norm2", "conv2"):
            name = name.replace(f"layers.{part}.", f"{part[:-1]}.{part[-1]}." if old else f"{part}.")
        renamed[name.replace("class_layers.out.", "classifier.")] = tensor
    return renamed


@pytest.fixture(scope="module")
def imagenet() -> DenseNet121:
    """A network that stands for ImageNet's: RGB, 1000 classes, running statistics that are not the initial ones."""
    torch.manual_seed(5)
    made = network(3, 1000).train()
    with torch.no_grad():
        made(torch.rand(4, 3, 32, 32))
    return made.eval()


def features(model: DenseNet121, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model.eval().features(images)


@pytest.mark.parametrize("old", [False, True], ids=["norm1", "norm.1"])
@pytest.mark.parametrize("channels", [1, 3])
def test_torchvision_weights_give_the_same_features(
    old: bool, channels: int, imagenet: DenseNet121, tmp_path: Path
) -> None:
    """A grey image through the one-channel network is the same image repeated three times through the original."""
    file = tmp_path / "densenet121.pth"
    torch.save(torchvision_style(imagenet, old), file)
    made = initialise_network(network(channels), file)
    grey = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    expected = features(imagenet, grey.expand(-1, 3, -1, -1))
    given = features(made, grey.expand(-1, channels, -1, -1))
    torch.testing.assert_close(given, expected, rtol=1e-4, atol=1e-4)
    assert expected.abs().mean() > 0.01
    summed = imagenet.state_dict()["features.conv0.weight"].sum(1, keepdim=True)
    if channels == 1:
        assert torch.equal(made.state_dict()["features.conv0.weight"], summed)


def test_torchvision_names_map_one_to_one(imagenet: DenseNet121) -> None:
    own = imagenet.state_dict()
    assert set(recognise(torchvision_style(imagenet, old=False), "w.pth").state) == set(own)
    counters = {name for name in own if name.endswith("num_batches_tracked")}
    assert set(recognise(torchvision_style(imagenet, old=True), "w.pth").state) == set(own) - counters


def test_what_was_adapted_is_said(imagenet: DenseNet121, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    torch.save(torchvision_style(imagenet, old=False), tmp_path / "w.pth")
    with caplog.at_level("INFO", logger="cxr_monai"):
        initialise_network(network(), tmp_path / "w.pth")
    assert "1 adapted, 2 left out" in caplog.text
    assert "summed over RGB" in caplog.text
    assert "class_layers.out.weight [1000, 1024]" in caplog.text


def test_none_says_so(caplog: pytest.LogCaptureFixture) -> None:
    before = network()
    state = {name: tensor.clone() for name, tensor in before.state_dict().items()}
    with caplog.at_level("INFO", logger="cxr_monai"):
        after = initialise_network(before, "none").state_dict()
    assert all(torch.equal(state[name], after[name]) for name in state)
    assert "random weights" in caplog.text


def test_classifier_that_starts_anew_knows_the_prevalences(imagenet: DenseNet121, tmp_path: Path) -> None:
    torch.save(torchvision_style(imagenet, old=False), tmp_path / "w.pth")
    prevalences = [0.1, 0.5, float("nan"), 0.0]
    for source in ("none", tmp_path / "w.pth"):
        bias = initialise_network(network(findings=4), source, prevalences=prevalences).class_layers.out.bias
        torch.testing.assert_close(bias.sigmoid(), torch.tensor([0.1, 0.5, 0.5, 0.001]))


def test_checkpoint_is_taken_whole(trained: Trained) -> None:
    last = trained.out / "checkpoints" / "last.pt"  # {"model": ..., "optimizer": ..., ...}
    made = initialise_network(network(), last, prevalences=[0.3] * 14).state_dict()
    best = torch.load(trained.bundle / "models" / "model.pt", weights_only=True)
    assert all(torch.equal(made[name], best[name]) for name in best)


@pytest.mark.parametrize(
    ("made", "complaint"),
    [
        (lambda: network(1, 2), r"class_layers\.out\.weight is \[14, 1024\], the network's is \[2, 1024\]"),
        (lambda: network(3), r"features\.conv0\.weight is \[64, 1, 7, 7\], the network's is \[64, 3, 7, 7\]"),
        (lambda: EfficientNetBN("efficientnet-b0", pretrained=False, num_classes=14), "and [0-9]+ more"),
    ],
    ids=["labels", "channels", "network"],
)
def test_weights_of_another_network(made: Any, complaint: str, trained: Trained) -> None:
    with pytest.raises(CxrError, match=complaint) as error:
        load_weights(made(), trained.bundle / "models" / "model.pt")
    assert code_of(error) == "weights-mismatch"


def test_checkpoint_of_another_network_starts_no_training(trained: Trained) -> None:
    with pytest.raises(CxrError) as error:
        initialise_network(network(3), trained.bundle / "models" / "model.pt")
    assert code_of(error) == "weights-mismatch"


class Evil:
    """Runs code where it is unpickled."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return Path.touch, (Path("evil-was-here"),)  # type: ignore[return-value]


def test_pickled_objects_are_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"model": Evil()}, tmp_path / "evil.pt")
    for call in (
        lambda: load_state_dict(tmp_path / "evil.pt"),
        lambda: initialise_network(network(), tmp_path / "evil.pt"),
    ):
        with pytest.raises(CxrError, match="pickled Python objects") as error:
            call()
        assert code_of(error) == "weights-unsafe"
    assert not (tmp_path / "evil-was-here").exists()


@pytest.mark.parametrize("content", [[1, 2], {}, {"epoch": 3}, {"model": {"epoch": 3}}])
def test_file_without_tensors(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(CxrError, match="no state dictionary") as error:
        load_state_dict(tmp_path / "w.pt")
    assert code_of(error) == "weights-mismatch"


def test_truncated_weights(trained: Trained, tmp_path: Path) -> None:
    whole = (trained.bundle / "models" / "model.pt").read_bytes()
    (tmp_path / "half.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CxrError) as error:
        load_state_dict(tmp_path / "half.pt")
    assert code_of(error) in ("weights-mismatch", "weights-unsafe")
    assert "damaged" in str(error.value)


# ---------------------------------------------------------------- the download


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A server on the loopback with one file of weights."""
    (tmp_path / "www").mkdir()
    torch.save({"a": torch.ones(3)}, tmp_path / "www" / "weights.pth")
    with HTTPServer(("127.0.0.1", 0), partial(Silent, directory=str(tmp_path / "www"))) as made:
        thread = threading.Thread(target=partial(made.serve_forever, poll_interval=0.05))
        thread.start()
        yield f"http://127.0.0.1:{made.server_port}"
        made.shutdown()
        thread.join()


def test_download_is_kept_once_its_checksum_is_right(server: str, tmp_path: Path) -> None:
    source = tmp_path / "www" / "weights.pth"
    prefix = sha256(source.read_bytes()).hexdigest()[:8]
    kept = download_imagenet(tmp_path / "cache", f"{server}/weights.pth", prefix)
    assert kept.read_bytes() == source.read_bytes()
    assert list((tmp_path / "cache").iterdir()) == [kept]
    source.unlink()
    assert download_imagenet(tmp_path / "cache", f"{server}/weights.pth", prefix) == kept  # no second download


def test_download_with_a_wrong_checksum_is_not_kept(server: str, tmp_path: Path) -> None:
    with pytest.raises(CxrError, match="it must begin 00000000") as error:
        download_imagenet(tmp_path / "cache", f"{server}/weights.pth", "00000000")
    assert code_of(error) == "checksum-mismatch"
    assert list((tmp_path / "cache").iterdir()) == []


def test_kept_file_that_was_damaged_is_not_used(server: str, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "weights.pth").write_bytes(b"half of it")
    with pytest.raises(CxrError) as error:
        download_imagenet(tmp_path / "cache", f"{server}/weights.pth", "a639ec97")
    assert code_of(error) == "checksum-mismatch"


@pytest.mark.parametrize("path", ["nothing.pth", None], ids=["404", "nobody"])
def test_no_network_says_what_to_do(path: str | None, server: str, tmp_path: Path) -> None:
    url = f"{server}/{path}" if path else "http://127.0.0.1:9/densenet121-a639ec97.pth"  # 404, and nobody listens
    with pytest.raises(CxrError) as error:
        download_imagenet(tmp_path / "cache", url, "a639ec97")
    assert code_of(error) == "download-failed"
    assert "--init_weights none" in str(error.value)
    assert "fetch the file elsewhere" in str(error.value)
    assert list((tmp_path / "cache").iterdir()) == []
    if isinstance(error.value.__cause__, HTTPError):
        error.value.__cause__.close()


def test_refused_download_closes_its_connection(server: str, tmp_path: Path) -> None:
    with pytest.raises(CxrError) as error:
        download_imagenet(tmp_path / "cache", f"{server}/nothing.pth", "a639ec97")
    cause = error.value.__cause__
    assert isinstance(cause, HTTPError)
    was_closed = cause.closed
    cause.close()
    assert was_closed


def test_training_from_imagenet_without_a_network(
    phantoms: Phantoms, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(IMAGENET, "DenseNet121", ("http://127.0.0.1:9/densenet121.pth", "a639ec97"))
    monkeypatch.setenv("TORCH_HOME", str(elsewhere / "torch"))
    manifest = rewrite(phantoms.manifest, elsewhere / "few.csv", few)
    with pytest.raises(CxrError, match="could not be fetched") as error:
        train(SHIPPED, manifest, init_weights="imagenet", network_def=read(SHIPPED, "train")["network_def"])
    assert code_of(error) == "download-failed"
    assert not (elsewhere / "OUT" / "bundle").exists()
