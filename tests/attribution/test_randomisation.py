"""Weights drawn anew: which ones, that the network itself stays as it is, and which maps survive."""

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import nn

from cxr_monai.attribution.randomisation import SURVIVED, Stage, cascade, randomised, some_stages, survival
from cxr_monai.errors import Code, SettingError


class Scaled(nn.Module):
    """A parameter without ``reset_parameters``."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor([1.0, 2.0, 3.0, 6.0]))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images * self.factor[:, None, None]


class Small(nn.Module):
    """A backbone of three parts and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential()
        self.features.add_module("conv0", nn.Conv2d(1, 4, 3, padding=1))
        self.features.add_module("norm0", nn.BatchNorm2d(4))
        self.features.add_module("act", nn.ReLU())
        self.features.add_module("scale", Scaled())
        self.head = nn.Linear(4, 2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(images).mean((-2, -1)))


@pytest.fixture
def network() -> Small:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = Small()
        made(torch.randn(8, 1, 6, 6))  # batch statistics that are no longer 0 and 1
    return made.eval()


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(3, 1, 6, 6, generator=torch.Generator().manual_seed(1))


ALL = ("head", "features.scale", "features.norm0", "features.conv0")


def test_cascade_goes_from_the_head_to_the_input(network: Small) -> None:
    stages = cascade(network)
    assert [stage.name for stage in stages] == list(ALL)
    assert [stage.parts for stage in stages] == [ALL[: count + 1] for count in range(4)]
    assert cascade(nn.Conv2d(1, 1, 1)) == [Stage("network", ("network",))]
    with pytest.raises(SettingError, match="ReLU has no weights") as caught:
        cascade(nn.ReLU())
    assert caught.value.code == Code.SETTING_INVALID


@pytest.mark.parametrize("count", range(1, 5))
def test_only_the_parts_of_a_stage_change(network: Small, images: torch.Tensor, count: int) -> None:
    parts = ALL[:count]
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    made = randomised(network, parts, images, seed=0)
    for name, tensor in made.state_dict().items():
        part = next(part for part in ALL if name.startswith(part))
        constant = name.endswith(("num_batches_tracked", "norm0.weight", "norm0.bias"))  # 1 and 0 before a training
        assert torch.equal(tensor, before[name]) == (part not in parts) or constant, name
    assert not made.training
    # the network itself
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert not any(layer.training for layer in network.modules())
    assert made.features.norm0.momentum == network.features.norm0.momentum == 0.1


def test_a_network_that_is_being_trained_stays_so(network: Small, images: torch.Tensor) -> None:
    network.train()
    assert not randomised(network, ALL, images, 0).training
    assert all(layer.training for layer in network.modules())


def test_draws_repeat_and_leave_the_random_state_alone(network: Small, images: torch.Tensor) -> None:
    state = torch.random.get_rng_state()
    heads = [randomised(network, ALL[:1], images, seed).head.weight for seed in (0, 0, 1)]
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])


def test_the_draw_is_not_the_one_that_the_network_began_with(images: torch.Tensor) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = nn.Conv2d(1, 1, 3)
    assert not torch.equal(randomised(made, ["network"], images, 0).weight, made.weight)


def test_batch_normalisation_fits_the_new_weights(network: Small, images: torch.Tensor) -> None:
    made = randomised(network, ALL, images, 3)
    shown = made.features.conv0(torch.cat([images, images.flip(-1)]))
    torch.testing.assert_close(made.features.norm0.running_mean, shown.mean((0, 2, 3)))
    torch.testing.assert_close(made.features.norm0.running_var, shown.var((0, 2, 3)))
    # one whose part is not drawn keeps what it has learned
    kept = randomised(network, ALL[:2], images, 3)
    assert torch.equal(kept.features.norm0.running_var, network.features.norm0.running_var)


def test_parameters_without_their_own_draw(network: Small, images: torch.Tensor) -> None:
    factors = torch.stack(
        [randomised(network, ALL[:2], images, seed).features.scale.factor.detach() for seed in range(400)]
    )
    assert float(factors.mean()) == pytest.approx(3, abs=0.2)  # of 1, 2, 3, 6
    assert float(factors.std()) == pytest.approx(3.5**0.5, abs=0.1)


@pytest.mark.parametrize(
    ("count", "names"),
    [(1, [3]), (2, [0, 3]), (3, [0, 2, 3]), (4, [0, 1, 2, 3]), (9, [0, 1, 2, 3])],
)
def test_some_stages(network: Small, count: int, names: list[int]) -> None:
    stages = cascade(network)
    assert some_stages(stages, count) == [stages[at] for at in names]


def test_maps_that_ignore_the_network_survive(network: Small, images: torch.Tensor) -> None:
    def explain(made: nn.Module) -> Mapping[str, np.ndarray]:
        seen = images[:, 0].numpy().copy()
        seen[2] = 0
        with torch.inference_mode():
            features = made.features(images)
            learned = torch.einsum("c,bchw->bhw", made.head.weight[0], features).clamp(min=0).numpy()
        return {"image": seen, "learned": learned}

    stages = some_stages(cascade(network), 2)
    tables = list(survival(explain, network, images, stages, draws=6, seed=1))
    assert [(table["stage"].unique().tolist(), table["draw"].unique().tolist()) for table in tables] == [
        ([stage.name], [draw]) for stage in stages for draw in range(6)
    ]
    assert tables[0]["random_parts"].eq(1).all()
    assert tables[-1]["random_parts"].eq(4).all()
    one = tables[0]
    assert list(zip(one["method"], one["case"], strict=True)) == [
        (m, c) for m in ("image", "learned") for c in range(3)
    ]
    every = {
        method: np.concatenate([table.loc[table["method"] == method, "rank_correlation"] for table in tables])
        for method in ("image", "learned")
    }
    assert np.isnan(every["image"][2::3]).all()  # empty: nothing that could survive
    assert np.nanmin(every["image"]) == pytest.approx(1)
    assert np.nanmean(every["learned"]) < SURVIVED < np.nanmean(every["image"])
    ssim = one.loc[one["method"] == "image", "ssim"].to_numpy()
    assert ssim[:2] == pytest.approx(1, abs=1e-5)
    assert np.isnan(ssim[2])
