"""Maps against what is known of them: GradCAM's closed form for pooling plus one linear layer, and a linear network."""

import copy
from typing import Any

import pytest
import torch
from monai.networks.nets import DenseNet
from monai.visualize import GradCAM
from torch import nn

from cxr_monai.attribution.methods import (
    EARLY,
    LAST,
    MAP_METHODS,
    Method,
    check_layer,
    explain_with,
    without_in_place,
)
from cxr_monai.cli import explain as cli
from cxr_monai.errors import Code, SettingError

SIZE = 96
CHANNELS = range(4)
GRADIENTS = [name for name in MAP_METHODS if name not in (Method.CAM, Method.OCCLUSION)]


def densenet(**settings: Any) -> DenseNet:
    """Return a DenseNet of DenseNet121's parts and names with fewer layers and channels."""
    small = {"init_features": 16, "growth_rate": 8, "block_config": (2, 4, 4, 2)}
    return DenseNet(spatial_dims=2, in_channels=1, out_channels=4, **small, **settings).eval()


@pytest.fixture(scope="module")
def network() -> nn.Module:
    """A DenseNet as MONAI makes it, activations in place; its classifier's weights are drawn wide: findings differ."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        built = densenet()
        nn.init.normal_(built.class_layers.out.weight)
    return built


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.rand(2, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def class_maps(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """[B, F, h, w]: what each place of the last grid adds to each finding's logit, times the places."""
    with torch.no_grad():
        relu_features = network.features(images).relu()
        return torch.einsum("kc,bchw->bkhw", network.class_layers.out.weight, relu_features)


def scale_to_maximum(heat: torch.Tensor) -> torch.Tensor:
    """Return a map in [0, 1], 1 at its maximum; all 0 stays all 0."""
    maximum = heat.max()
    return heat / maximum if maximum > 0 else heat


def shares(maps: torch.Tensor) -> torch.Tensor:
    return torch.stack([torch.stack([scale_to_maximum(heat) for heat in row]) for row in maps])


@pytest.mark.parametrize("method", [Method.CAM, Method.GRADCAM, Method.LAYER_GRADCAM])
def test_cam_and_both_gradcams_are_the_class_maps_after_relu(
    network: nn.Module, images: torch.Tensor, class_maps: torch.Tensor, method: Method
) -> None:
    maps = explain_with(method, network, images, CHANNELS)
    assert maps.shape == (2, 4, 3, 3)
    torch.testing.assert_close(shares(maps), shares(class_maps.relu()), rtol=0, atol=1e-5)


def test_cam_is_in_the_logits_unit(network: nn.Module, images: torch.Tensor, class_maps: torch.Tensor) -> None:
    torch.testing.assert_close(explain_with("cam", network, images, CHANNELS), class_maps.relu(), rtol=0, atol=1e-4)


def test_all_maps_of_one_pass_are_monais_gradcam_enlarged_by_monai(network: nn.Module, images: torch.Tensor) -> None:
    maps = explain_with("cam", network, images[:1], CHANNELS)
    camera = GradCAM(without_in_place(network).requires_grad_(), LAST, postprocessing=lambda heat: heat)
    for channel in CHANNELS:
        theirs = camera(x=images[:1], class_idx=channel)[0, 0].detach()
        ours = nn.functional.interpolate(maps[:, [channel]], (SIZE, SIZE), mode="bilinear", align_corners=False)[0, 0]
        torch.testing.assert_close(scale_to_maximum(ours), scale_to_maximum(theirs), rtol=0, atol=1e-5)


def test_in_place_activations_do_not_falsify_gradients(network: nn.Module, images: torch.Tensor) -> None:
    assert any(getattr(layer, "inplace", False) for layer in network.modules())
    outside = densenet(act=("RELU", {"inplace": False}))
    outside.load_state_dict(network.state_dict())
    # the gradient that autograd itself gives, without any hook
    features = outside.features[:5](images[:1]).detach().requires_grad_()
    outside.class_layers(outside.features[5:](features))[0, 2].backward()
    assert list(dict(outside.features.named_children()))[4] == "denseblock1"
    expected = (features * features.grad).clamp(min=0).sum(1).detach()
    made = explain_with(Method.LAYERCAM, network, images[:1], [2], "features.denseblock1")
    torch.testing.assert_close(made[:, 0], expected, rtol=1e-3, atol=1e-6 * float(expected.max()))


@pytest.mark.parametrize("method", list(MAP_METHODS))
def test_every_method_leaves_network_images_and_hooks_as_they_were(
    network: nn.Module, images: torch.Tensor, method: str
) -> None:
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    side = 32 if method == Method.OCCLUSION else 64  # it computes the network 169 times
    small = images[:, :, :side, :side].clone()
    kept = small.clone()
    maps = explain_with(method, network, small, [1])
    assert maps.shape[:2] == (2, 1)
    assert maps.dtype == torch.float32
    assert not maps.requires_grad
    assert float(maps.min()) >= 0
    assert float(maps.max()) > 0
    assert torch.equal(small, kept)
    assert not small.requires_grad
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert not network.training
    assert any(getattr(layer, "inplace", False) for layer in network.modules())
    for layer in network.modules():
        assert not any((layer._forward_hooks, layer._forward_pre_hooks, layer._backward_hooks))
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize(
    "method", [name for name in MAP_METHODS if name not in (Method.OCCLUSION, "integrated_gradients")]
)
def test_a_map_belongs_to_its_image_and_its_finding(network: nn.Module, images: torch.Tensor, method: str) -> None:
    small = images[:, :, :64, :64]
    together = explain_with(method, network, small, [0, 3])
    alone = explain_with(method, network, small[1:], [3])
    torch.testing.assert_close(shares(together)[1:, 1:], shares(alone), rtol=0, atol=1e-4)
    assert (shares(together)[1, 0] - shares(together)[1, 1]).abs().max() > 0.02


def test_a_map_of_a_finding_that_nothing_speaks_for_is_nought(network: nn.Module, images: torch.Tensor) -> None:
    changed = copy.deepcopy(network)
    with torch.no_grad():
        changed.class_layers.out.weight[0] = -1
    for method in (Method.CAM, Method.GRADCAM):
        assert torch.equal(explain_with(method, changed, images, [0]), torch.zeros(2, 1, 3, 3))


def test_cam_times_layercam_is_their_product_on_the_finer_grid(network: nn.Module, images: torch.Tensor) -> None:
    made = explain_with(Method.CAM_LAYERCAM, network, images[:1], [2])
    fine = explain_with(Method.LAYERCAM, network, images[:1], [2], EARLY)
    assert made.shape == fine.shape == (1, 1, 24, 24)
    coarse = explain_with(Method.CAM, network, images[:1], [2])
    # the places of the fine grid, by hand: 4 pixels apart from half a pixel on, the coarse 32 apart from 14.5 on
    at = torch.clamp((0.5 + 4 * torch.arange(24) - 14.5) / 32, 0, 2)
    below = at.long().clamp(max=1)
    row = torch.zeros(24, 3)
    row[torch.arange(24), below] = 1 - (at - below)
    row[torch.arange(24), below + 1] += at - below
    enlarged = row @ coarse @ row.T
    torch.testing.assert_close(made, shares(enlarged) * shares(fine), rtol=0, atol=1e-5)


class _Linear(nn.Module):
    """Logit 1 is twice the centre of 7x7 minus three times a corner."""

    def __init__(self) -> None:
        super().__init__()
        self.flat, self.out = nn.Flatten(), nn.Linear(49, 2, bias=False)
        nn.init.zeros_(self.out.weight)
        with torch.no_grad():
            self.out.weight[1, 24], self.out.weight[1, 0] = 2.0, -3.0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.out(self.flat(images))


def test_integrated_gradients_of_a_linear_network_by_hand() -> None:
    # weight times (pixel - mean grey), the positive part
    pixels = torch.zeros(1, 1, 7, 7)
    pixels[0, 0, 3, 3], pixels[0, 0, 0, 0] = 0.49, 0.49  # mean grey 0.02
    made = explain_with(Method.INTEGRATED_GRADIENTS, _Linear(), pixels, [1, 0])
    expected = torch.zeros(7, 7)
    expected[3, 3] = 2 * (0.49 - 0.02)
    torch.testing.assert_close(made[0, 0], expected)
    assert torch.equal(made[0, 1], torch.zeros(7, 7))


def test_occlusion_of_a_linear_network_by_hand() -> None:
    # at 7x7 a patch has 2x2 pixels and moves by one; each pixel has the mean fall of the patches that cover it
    pixels = torch.zeros(1, 1, 7, 7)
    pixels[0, 0, 3, 3] = 0.49  # mean grey 0.01: covering the centre costs 2 * 0.48
    made = explain_with(Method.OCCLUSION, _Linear(), pixels, [1])[0, 0]
    assert made[3, 3] == pytest.approx(0.96, abs=1e-5)
    assert made[2, 2] == pytest.approx(0.96 / 4, abs=1e-5)
    assert made[2, 3] == pytest.approx(0.96 / 2, abs=1e-5)
    assert torch.equal(made[5:], torch.zeros(2, 7))


def test_the_command_lists_every_method() -> None:
    assert list(cli.METHOD_SUMMARIES) == list(MAP_METHODS) == list(Method)
    for name, method in MAP_METHODS.items():
        assert all(text.endswith(".") for text in (method.shows, method.not_shown)), name
        assert method.source, name


@pytest.mark.parametrize("name", ["grad-cam", "", "CAM"])
def test_an_unknown_method_lists_all(network: nn.Module, images: torch.Tensor, name: str) -> None:
    with pytest.raises(SettingError, match=r"cam, gradcam, .*occlusion") as caught:
        explain_with(name, network, images, [0])
    assert caught.value.code == Code.SETTING_INVALID


@pytest.mark.parametrize("method", GRADIENTS)
def test_an_unknown_layer_lists_the_last_activations(network: nn.Module, images: torch.Tensor, method: str) -> None:
    if MAP_METHODS[method].layer is None:
        return
    with pytest.raises(SettingError, match=r"'class_layers\.rel'") as caught:
        explain_with(method, network, images, [0], "class_layers.rel")
    assert caught.value.code == Code.SETTING_INVALID
    assert "class_layers.relu" in str(caught.value)
    assert "--target_layer" in str(caught.value)


def test_a_network_without_activations_has_none_to_list() -> None:
    with pytest.raises(SettingError, match="are none"):
        check_layer(nn.Sequential(nn.Linear(1, 1)), "1")


def test_one_image_without_a_batch_is_refused(network: nn.Module, images: torch.Tensor) -> None:
    with pytest.raises(SettingError, match=r"\[B, C, H, W\]"):
        explain_with("cam", network, images[0], [0])
