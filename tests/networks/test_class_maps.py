"""Class maps against what they are by definition: a map's mean is the logit, and old places stay what they were."""

import pytest
import torch
from monai.networks.nets import DenseNet, DenseNet121, EfficientNetBN, SEResNet50, resnet18
from torch import nn

from cxr_monai.errors import Code, SettingError
from cxr_monai.networks.class_maps import ClassMaps, features_before, find_classifier_tail, grid_points

POOLING = "class_layers.pool"


def densenet() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = DenseNet(2, 1, 3, init_features=8, growth_rate=4, block_config=(2, 2, 2, 2)).eval()
        for layer in made.modules():
            if isinstance(layer, nn.BatchNorm2d):  # as after a training: nothing is the identity
                layer.running_mean.uniform_(-0.3, 0.3)  # type: ignore[union-attr, operator]
                layer.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr, operator]
        nn.init.normal_(made.class_layers.out.weight)
        nn.init.normal_(made.class_layers.out.bias)
    return made


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return densenet()


def image(side: int, count: int = 2) -> torch.Tensor:
    return torch.rand(count, 1, side, side, generator=torch.Generator().manual_seed(side))


@pytest.mark.parametrize("side", [64, 72, 80, 112])  # the last three are no multiples of 32: pooling drops borders
@pytest.mark.parametrize("stride", [None, 16, 8])
@torch.inference_mode()
def test_logits_are_the_networks_own_on_every_grid(network: nn.Module, side: int, stride: int | None) -> None:
    maps_of = ClassMaps(network, (1, side, side), stride)
    images = image(side)
    logits, maps = maps_of(images)
    torch.testing.assert_close(logits, network(images), rtol=0, atol=1e-4)
    assert maps.shape[:2] == (2, 3)
    assert maps_of.stride == (stride or 32)
    if stride is None:
        own = maps.mean((-2, -1)) + network.class_layers.out.bias
        torch.testing.assert_close(own, logits, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("stride", "first", "every", "side"), [(16, 1, 2, 5), (8, 2, 4, 9)])
@torch.inference_mode()
def test_a_finer_map_has_the_old_values_at_the_old_places_and_others_between(
    network: nn.Module, stride: int, first: int, every: int, side: int
) -> None:
    images = image(64)
    _, old = ClassMaps(network, (1, 64, 64))(images)
    finer = ClassMaps(network, (1, 64, 64), stride)
    _, new = finer(images)
    assert new.shape[-2:] == (side, side)
    torch.testing.assert_close(new[..., first::every, first::every][..., :2, :2], old, rtol=0, atol=1e-4)
    own, _ = ClassMaps(network, (1, 64, 64)).points
    assert finer.points[0] + first * finer.points[1] == pytest.approx(own)
    assert new[..., :-1, :].sub(new[..., 1:, :]).abs().max() > 1e-3


@torch.inference_mode()
def test_between_the_old_places_stands_what_a_moved_image_has_at_them() -> None:
    parts = [nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2), nn.Conv2d(4, 5, 3, padding=1), nn.ReLU()]
    net = nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 2)).eval()
    generator = torch.Generator().manual_seed(0)
    for layer in (net[0], net[3], net[7]):
        layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator))
    wide = image(34, 1)
    finer = ClassMaps(net, (1, 32, 32), 1)
    _, fine = finer(wide[..., :32, :32])
    for down, across in ((0, 0), (1, 0), (0, 1), (1, 1)):
        _, moved = ClassMaps(net, (1, 32, 32))(wide[..., down : 32 + down, across : 32 + across])
        between = fine[..., finer._first + down :: 2, finer._first + across :: 2]
        inside = (..., slice(2, 12), slice(2, 12))  # away from the borders, which have moved too
        torch.testing.assert_close(between[inside], moved[inside], rtol=0, atol=1e-5)


@pytest.mark.parametrize("side", [64, 80])
def test_folded_for_speed_it_says_nearly_the_same(network: nn.Module, side: int) -> None:
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("this processor has no bfloat16 instructions")
    with torch.inference_mode():
        for stride in (None, 16):
            exact = ClassMaps(network, (1, side, side), stride)(image(side))
            fast = ClassMaps(network, (1, side, side), stride, fast=True)(image(side))
            for one, other in zip(exact, fast, strict=True):
                assert (one - other).abs().max() < 0.03 * one.abs().max()
                assert other.dtype == torch.float32


def test_the_network_is_left_as_it_was(network: nn.Module) -> None:
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    strides = [layer.stride for layer in network.modules() if hasattr(layer, "stride")]
    network.train()
    try:
        ClassMaps(network, (1, 64, 64), 8)
        assert network.training
    finally:
        network.eval()
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert [layer.stride for layer in network.modules() if hasattr(layer, "stride")] == strides
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in network.modules())


@pytest.mark.parametrize(
    ("made", "pooling", "linear", "side"),
    [
        (lambda: DenseNet121(2, 1, 2), "class_layers.pool", "class_layers.out", 2),
        (lambda: resnet18(spatial_dims=2, n_input_channels=1, num_classes=2), "avgpool", "fc", 4),
        (lambda: SEResNet50(spatial_dims=2, in_channels=1, num_classes=2), "adaptive_avg_pool", "last_linear", 2),
        (lambda: EfficientNetBN("efficientnet-b0", False, spatial_dims=2, in_channels=1, num_classes=2), "_avg_pooling",
         "_fc", 2),
    ],
)  # fmt: skip
def test_the_head_of_monais_networks_is_found(made: object, pooling: str, linear: str, side: int) -> None:
    head = find_classifier_tail(made().eval(), (1, 64, 64))  # type: ignore[operator]
    assert (head.pooling, head.linear, head.side) == (pooling, linear, side)


@pytest.mark.parametrize(
    "other",
    [
        nn.Sequential(nn.Conv2d(1, 3, 3), nn.Flatten(), nn.Linear(3 * 62 * 62, 2)),
        nn.Sequential(nn.Conv2d(1, 3, 3), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(3, 2)),
        nn.Sequential(nn.Conv2d(1, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.ReLU(), nn.Linear(3, 2)),
        nn.Sequential(nn.Conv2d(1, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2), nn.Softmax(1)),
    ],
)
def test_another_end_is_refused_with_what_is_possible(other: nn.Sequential) -> None:
    nn.init.constant_(other[0].bias, -5)  # of features that are all above 0 a ReLU would change nothing
    with pytest.raises(SettingError, match="does not end in global average pooling") as caught:
        ClassMaps(other, (1, 64, 64))
    assert caught.value.code == Code.SETTING_INVALID
    assert "occlusion" in str(caught.value)


@pytest.mark.parametrize("stride", [0, -8, 7, 64, 3])
def test_a_stride_that_is_not_there_lists_those_that_are(network: nn.Module, stride: int) -> None:
    with pytest.raises(SettingError, match="32, 16, 8, 4") as caught:
        ClassMaps(network, (1, 64, 64), stride)
    assert caught.value.code == Code.SETTING_INVALID


def test_a_network_that_would_compute_something_else_is_refused() -> None:
    made = SEResNet50(spatial_dims=2, in_channels=1, num_classes=2).eval()  # its gates pool over the whole grid
    with pytest.raises(SettingError, match="computes something else"):
        ClassMaps(made, (1, 64, 64), 16)


@pytest.mark.parametrize(
    ("side", "grid", "first"), [(224, 7, 14.5), (224, 14, 6.5), (224, 28, 2.5), (224, 56, 0.5), (112, 3, 14.5)]
)
def test_densenets_points_by_hand(network: nn.Module, side: int, grid: int, first: float) -> None:
    # 2x2 average pooling moves the middle by half a step of its input: 2 + 4 + 8 pixels
    place, step = grid_points(network, (1, side, side), grid)
    assert place * side == pytest.approx(first)
    assert step == pytest.approx(32 / side if grid in (7, 3) else 1 / grid)


def test_points_lie_in_the_middle_of_what_they_are_computed_from() -> None:
    parts = [
        nn.Conv2d(1, 1, 7, stride=2, padding=3),
        nn.MaxPool2d(3, 2, 1),
        nn.Conv2d(1, 1, 3, padding=1),
        nn.AvgPool2d(2),
    ]
    net = nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 1)).eval()
    for layer in (net[0], net[2]):
        nn.init.constant_(layer.weight, 1.0)
    net[1] = nn.AvgPool2d(3, 2, 1)  # the same geometry, and a gradient that does not choose
    pixels = torch.zeros(1, 1, 64, 64, requires_grad=True)
    features_before(net, "4", pixels)[0, 0, 4, 3].backward()
    gradient = pixels.grad
    assert gradient is not None
    weight = gradient[0, 0]
    middle = (torch.arange(64) + 0.5).double()
    first, step = grid_points(net, (1, 64, 64), 8)
    row = float((weight.sum(1).double() * middle).sum() / weight.sum())
    column = float((weight.sum(0).double() * middle).sum() / weight.sum())
    assert row == pytest.approx((first + 4 * step) * 64)
    assert column == pytest.approx((first + 3 * step) * 64)
