"""Maps against what is known of them: GradCAM's closed form for pooling plus one linear layer, and a linear network."""

import pytest
import torch
from monai.networks.nets import DenseNet121
from torch import nn

from cxr_monai.errors import Code, SettingError
from cxr_monai.explain.maps import METHODS, Method, check_network, gradcam, integrated_gradients, scale_to_maximum

LAYER = "class_layers.relu"
SIZE = 96


@pytest.fixture(scope="module")
def network() -> nn.Module:
    """DenseNet121 with random weights; its classifier's are drawn wide, so that findings differ."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        built = DenseNet121(spatial_dims=2, in_channels=1, out_channels=4, act=("RELU", {"inplace": False})).eval()
        nn.init.normal_(built.class_layers.out.weight)
    return built


@pytest.fixture(scope="module")
def image() -> torch.Tensor:
    return torch.rand(1, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def class_maps(network: nn.Module, image: torch.Tensor) -> torch.Tensor:
    """[1, F, h, w]: what each place of the last grid adds to each finding's logit, times the places."""
    with torch.no_grad():
        relu_features = network.features(image).relu()
        return torch.einsum("kc,bchw->bkhw", network.class_layers.out.weight, relu_features)


@pytest.mark.parametrize("channel", range(4))
def test_gradcam_is_the_class_map_after_relu_and_upsampling(
    network: nn.Module, image: torch.Tensor, class_maps: torch.Tensor, channel: int
) -> None:
    heat = gradcam(network, image, channel, LAYER)
    assert heat.shape == (SIZE, SIZE)
    assert not heat.requires_grad
    positive = class_maps[:, [channel]].relu()
    assert positive.max() > 0
    expected = nn.functional.interpolate(positive, size=(SIZE, SIZE), mode="bilinear", align_corners=False)[0, 0]
    torch.testing.assert_close(scale_to_maximum(heat), scale_to_maximum(expected), rtol=0, atol=1e-5)


def test_gradcam_differs_between_findings(network: nn.Module, image: torch.Tensor) -> None:
    maps = [scale_to_maximum(gradcam(network, image, channel, LAYER)) for channel in range(4)]
    for first in range(4):
        for second in range(first):
            assert (maps[first] - maps[second]).abs().max() > 0.1


def test_gradcam_of_a_finding_that_nothing_speaks_for_is_nought(network: nn.Module, image: torch.Tensor) -> None:
    weight = network.class_layers.out.weight.detach().clone()
    try:
        with torch.no_grad():
            network.class_layers.out.weight[0] = -1
        heat = gradcam(network, image, 0, LAYER)
    finally:
        with torch.no_grad():
            network.class_layers.out.weight.copy_(weight)
    assert torch.equal(heat, torch.zeros(SIZE, SIZE))


def test_a_map_leaves_the_network_as_it_was(network: nn.Module, image: torch.Tensor) -> None:
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    gradcam(network, image, 0, LAYER)
    integrated_gradients(network, image[..., :64, :64], 0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert not network.training


@pytest.mark.parametrize(
    "method",
    list(Method),
)
def test_maps_leave_no_further_hooks_behind(network: nn.Module, image: torch.Tensor, method: Method) -> None:
    def hooks() -> int:
        return sum(len(layer._forward_hooks) + len(layer._backward_hooks) for layer in network.modules())

    METHODS[method](network, image[..., :64, :64], 0, LAYER)
    before = hooks()
    METHODS[method](network, image[..., :64, :64], 0, LAYER)
    assert hooks() == before


def test_integrated_gradients_have_the_images_shape_and_are_not_negative(
    network: nn.Module, image: torch.Tensor
) -> None:
    pixels = image[..., :64, :72]
    heat = integrated_gradients(network, pixels, 2, LAYER)
    assert heat.shape == (64, 72)
    assert heat.dtype == torch.float32
    assert float(heat.min()) >= 0
    assert float(heat.max()) > 0
    assert not heat.requires_grad


def test_integrated_gradients_of_a_linear_network_by_hand() -> None:
    # weight times (pixel - mean grey), the positive part, averaged over 5x5 (fewer at the border)
    linear = nn.Sequential(nn.Flatten(), nn.Linear(49, 2, bias=False)).eval()
    with torch.no_grad():
        linear[1].weight.zero_()
        linear[1].weight[1, 24] = 2.0  # the centre of 7x7, for channel 1 alone
        linear[1].weight[1, 0] = -3.0
    pixels = torch.zeros(1, 1, 7, 7)
    pixels[0, 0, 3, 3], pixels[0, 0, 0, 0] = 0.49, 0.49  # mean grey 0.02
    heat = integrated_gradients(linear, pixels, 1)
    expected = torch.zeros(7, 7)
    expected[1:6, 1:6] = 2 * (0.49 - 0.02)  # the corner speaks against the finding: clamped
    windows = torch.tensor([3.0, 4, 5, 5, 5, 4, 3])
    expected /= windows[:, None] * windows
    torch.testing.assert_close(heat, expected)
    assert torch.equal(integrated_gradients(linear, pixels, 0), torch.zeros(7, 7))


def test_every_method_is_in_the_table() -> None:
    assert list(METHODS) == list(Method) == ["gradcam", "integrated_gradients"]


def test_a_good_network_passes(network: nn.Module) -> None:
    check_network(network, LAYER)


def test_an_unknown_layer_lists_the_last_activations(network: nn.Module) -> None:
    with pytest.raises(SettingError, match=r"'class_layers\.rel'") as caught:
        check_network(network, "class_layers.rel")
    assert caught.value.code == Code.SETTING_INVALID
    assert "class_layers.relu" in str(caught.value)
    assert "--target_layer" in str(caught.value)
    with pytest.raises(SettingError, match="are none"):
        check_network(nn.Sequential(nn.Linear(1, 1)), "1")


def test_activations_in_place_are_refused() -> None:
    with pytest.raises(SettingError, match="in place") as caught:
        check_network(DenseNet121(spatial_dims=2, in_channels=1, out_channels=1), LAYER)
    assert caught.value.code == Code.SETTING_INVALID
    assert '"inplace": false' in str(caught.value)


@pytest.mark.parametrize(
    ("heat", "scaled"), [([0.0, 2.0, 4.0], [0.0, 0.5, 1.0]), ([0.0, 0.0], [0.0, 0.0]), ([3e-9, 0.0], [1.0, 0.0])]
)
def test_scale_to_maximum(heat: list[float], scaled: list[float]) -> None:
    assert scale_to_maximum(torch.tensor(heat)).tolist() == scaled
