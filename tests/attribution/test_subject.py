"""Methods tested on networks: every method by name, one of which the right answer is known, and nothing is changed."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from monai.networks.nets import DenseNet
from monai.transforms import Compose
from torch import nn

from cxr_monai.attribution.methods import MAP_METHODS, Method
from cxr_monai.attribution.subject import Subject, cases_of, faithfulness, randomisation, read_some
from cxr_monai.errors import Code, RadiographError, SettingError
from cxr_monai.inference.model import Model, ModelSettings

FLOAT32 = ModelSettings(device="cpu", amp=False)
FINDINGS = ("Mass", "Nodule", "Hernia")


class Planted(nn.Module):
    """Bright places speak for a mass, dark ones for a nodule, on a grid of 8 by 8 for an image of 32 by 32."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(1, 2, 1)
        self.relu = nn.ReLU()
        self.pool = nn.AvgPool2d(4)
        self.whole = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(2, 3)
        with torch.no_grad():
            self.features.weight.copy_(torch.tensor([1.0, -1.0])[:, None, None, None])
            self.features.bias.zero_()
            self.head.weight.copy_(torch.tensor([[40.0, 0.0], [0.0, 40.0], [-1.0, -1.0]]))
            self.head.bias.copy_(torch.tensor([-2.0, -2.0, 0.0]))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.whole(self.pool(self.relu(self.features(images)))).flatten(1))


def subject_of(network: nn.Module, side: int = 32, **options: Any) -> Subject:
    return Subject(Model(network, Compose([]), FINDINGS, (1, side, side), settings=FLOAT32), **options)


@pytest.fixture
def images() -> torch.Tensor:
    """A bright spot at another place of each, on even grey."""
    made = torch.zeros(4, 1, 32, 32)
    for number, (row, column) in enumerate([(4, 4), (20, 8), (8, 20), (20, 20)]):
        made[number, 0, row : row + 8, column : column + 8] = 1
    return made


@pytest.fixture(scope="module")
def dense() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        made = DenseNet(2, 1, 3, init_features=8, growth_rate=4, block_config=(1, 1, 1, 1)).eval()
        nn.init.normal_(made.class_layers.out.weight)
    return made


def cases(images: torch.Tensor, channel: int = 0) -> pd.DataFrame:
    count = len(images)
    names = [f"{number}.png" for number in range(count)]
    return pd.DataFrame(
        {"number": range(count), "image": names, "finding": FINDINGS[channel], "channel": channel, "probability": 0.5}
    )


def test_what_the_network_uses_is_found(images: torch.Tensor) -> None:
    table, curve = faithfulness(
        subject_of(Planted()), images, cases(images), ["cam"], "mean", steps=8, controls=4, samples=12
    )
    assert table["image"].tolist() == ["0.png", "1.png", "2.png", "3.png"]
    assert not table["empty"].any()
    for name in ("deletion", "insertion", "unexplained"):
        assert (table[f"{name}_gain"] > 0).all(), name
    # gains are in the direction of better
    np.testing.assert_allclose(table["deletion_gain"], table["deletion_control"] - table["deletion"])
    np.testing.assert_allclose(table["insertion_gain"], table["insertion"] - table["insertion_control"])
    np.testing.assert_allclose(table["unexplained_gain"], table["unexplained_control"] - table["unexplained"])
    assert table["unexplained"].mean() < 0.5 * table["unexplained_control"].mean()
    assert list(curve.columns) == ["method", "map", "share", "deletion", "insertion"]
    own, control = (curve[curve["map"] == name] for name in ("map", "control"))
    assert (len(own), len(control)) == (9, 9)
    # the spot is a sixteenth of the image: gone after an eighth, and what is left has none of it
    assert own["deletion"].iloc[1] < 0.16 < control["deletion"].iloc[1] < own["deletion"].iloc[0]
    assert own["deletion"].iloc[[0, -1]].tolist() == pytest.approx(control["deletion"].iloc[[0, -1]].tolist())


def test_figures_of_a_case_do_not_depend_on_the_others(images: torch.Tensor) -> None:
    subject, chosen = subject_of(Planted()), cases(images)
    settings: dict[str, Any] = {"steps": 4, "controls": 2, "samples": 3, "seed": 5}
    both = faithfulness(subject, images, chosen.iloc[:2], ["cam", "occlusion"], **settings)[0]
    alone = faithfulness(subject, images, chosen.iloc[:2], ["occlusion"], **settings)[0]
    pd.testing.assert_frame_equal(both[both["method"] == "occlusion"].reset_index(drop=True), alone)


def test_maps_that_are_empty(images: torch.Tensor) -> None:
    subject = subject_of(Planted())  # everything speaks against a hernia
    table, curve = faithfulness(subject, images, cases(images, 2), ["cam"], samples=2)
    assert table["empty"].all()
    assert table[["deletion", "insertion_gain", "unexplained", "sensitivity"]].isna().all(axis=None)
    assert curve.empty
    survived = randomisation(subject, images, cases(images, 2), ["cam"], stages=1, draws=1)
    assert survived["rank_correlation"].isna().all()


def test_without_samples(images: torch.Tensor) -> None:
    table, _ = faithfulness(subject_of(Planted()), images, cases(images), ["cam"], steps=2, controls=1, samples=0)
    assert not [name for name in table if name.startswith(("unexplained", "sensitivity"))]


def test_what_was_learned_is_lost_with_the_weights(images: torch.Tensor) -> None:
    made = randomisation(subject_of(Planted()), images, cases(images), ["cam"], stages=2, draws=4)
    assert list(made.columns) == ["method", "stage", "random_parts", "image", "finding", "rank_correlation", "ssim"]
    assert made["stage"].tolist() == ["head"] * 4 + ["features"] * 4
    assert made["random_parts"].tolist() == [1] * 4 + [2] * 4
    assert made["image"].tolist() == ["0.png", "1.png", "2.png", "3.png"] * 2
    assert made["rank_correlation"].max() < 0.95
    again = randomisation(subject_of(Planted()), images, cases(images), ["cam"], stages=2, draws=4)
    pd.testing.assert_frame_equal(made, again)


@pytest.mark.parametrize("method", MAP_METHODS)
def test_every_method_and_nothing_is_changed(dense: nn.Module, method: str) -> None:
    side = 32 if method == Method.OCCLUSION else 64  # it computes the network 169 times
    images = torch.rand(2, 1, side, side, generator=torch.Generator().manual_seed(0))
    subject, chosen = subject_of(dense, side), cases(images).iloc[:1]
    before = copy.deepcopy(dense.state_dict())
    given, state = images.clone(), torch.random.get_rng_state()

    def hooks() -> int:
        return sum(len(layer._forward_hooks) + len(layer._backward_hooks) for layer in dense.modules())

    had = hooks()
    table, _ = faithfulness(subject, images, chosen, [method], steps=2, controls=1, samples=2)
    assert table["method"].tolist() == [method]
    if not table["empty"].item():
        assert table[["deletion", "insertion", "unexplained", "sensitivity"]].notna().all(axis=None)
        assert randomisation(subject, images, chosen, [method], stages=1, draws=1)["rank_correlation"].notna().all()
    assert all(torch.equal(tensor, before[name]) for name, tensor in dense.state_dict().items())
    assert not any(layer.training for layer in dense.modules())
    assert hooks() == had
    assert torch.equal(images, given)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_the_most_probable_finding_or_those_that_are_named(images: torch.Tensor) -> None:
    subject = subject_of(Planted())
    shown = torch.cat([images[:1], -images[:1]])
    table = cases_of(subject, shown, ["a", "b"])
    assert table["finding"].tolist() == ["Mass", "Nodule"]
    assert table["channel"].tolist() == [0, 1]
    assert table["probability"].tolist() == pytest.approx([1 / (1 + np.exp(2 - 40 / 16))] * 2, abs=1e-5)
    named = cases_of(subject, shown, ["a", "b"], ["Hernia", "Mass"])
    assert named[["number", "image", "finding", "channel"]].to_numpy().tolist() == [
        [0, "a", "Hernia", 2], [0, "a", "Mass", 0], [1, "b", "Hernia", 2], [1, "b", "Mass", 0],
    ]  # fmt: skip
    with pytest.raises(SettingError, match="'Edema'; it knows Mass, Nodule, Hernia") as caught:
        cases_of(subject, shown, ["a", "b"], ["Edema"])
    assert caught.value.code == Code.SETTING_INVALID


def readable(given: dict[str, str]) -> dict[str, Any]:
    """Read a number from a file's name; MONAI wraps what a transform raises."""
    name = Path(given["image"]).name
    try:
        if name.startswith("bad"):
            raise RadiographError(Code.RADIOGRAPH_NOT_AN_IMAGE, "it is none.")
        return {"image": torch.full((1, 2, 2), float(name))}
    except RadiographError as error:
        raise RuntimeError("applying transform") from error


def test_files_are_drawn_and_bad_ones_replaced() -> None:
    model = Model(nn.Identity(), Compose([readable]), FINDINGS, (1, 2, 2), settings=FLOAT32)
    files = [f"/x/{number}" for number in range(10)] + [f"/x/bad{number}" for number in range(10)]
    names = [Path(file).name for file in files]
    images, kept, left_out = read_some(model, files, names, 8, seed=1)
    assert images.shape == (8, 1, 2, 2)
    assert images[:, 0, 0, 0].tolist() == [float(name) for name in kept]
    assert len(set(kept)) == 8
    assert kept != sorted(kept)
    assert left_out
    assert all(name.startswith("bad") for name, *_ in left_out)
    assert {tuple(why) for _, *why in left_out} == {("radiograph-not-an-image", "it is none.")}
    assert read_some(model, files, names, 8, seed=1)[1] == kept
    assert read_some(model, files, names, 8, seed=2)[1] != kept
    assert len(read_some(model, files, names, 99)[1]) == 10
    with pytest.raises(RadiographError, match="it is none"):
        read_some(model, files[10:], names[10:], 3)


def test_methods_that_do_not_fit(images: torch.Tensor) -> None:
    with pytest.raises(SettingError, match="no method 'grad'"):
        subject_of(Planted()).explainer("grad")
    with pytest.raises(SettingError, match=r"no layer 'class_layers\.relu'"):
        subject_of(Planted()).explainer("gradcam")
    assert subject_of(Planted(), target_layer="relu").explainer("gradcam").target_layer == "relu"
