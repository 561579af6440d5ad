"""The copy for prediction: close to the network in float32, whatever it is made of, or not used at all."""

import copy
import logging

import pytest
import torch
from monai.networks.nets import DenseNet121, EfficientNetBN, SEResNet50
from torch import nn

from cxr_monai.networks.fusion import TOLERANCE, _Convolution, for_prediction, fused
from cxr_monai.networks.inferers import bfloat16_supported

pytestmark = pytest.mark.skipif(
    not bfloat16_supported(torch.device("cpu")), reason="this processor has no bfloat16 instructions"
)


def lived(network: nn.Module, seed: int = 0) -> nn.Module:
    """Give a network batch statistics, scales (some negative) and shifts as a training leaves them."""
    draw = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2, generator=draw)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 1.5, generator=draw)  # type: ignore[union-attr]
            with torch.no_grad():
                module.weight.uniform_(0.3, 1.2, generator=draw)
                module.weight[::7] *= -1
                module.bias.normal_(0, 0.2, generator=draw)
    return network.eval()


def densenet() -> nn.Module:
    return DenseNet121(spatial_dims=2, in_channels=1, out_channels=14, act=("RELU", {"inplace": False}))


@pytest.mark.parametrize(
    "make",
    [
        densenet,
        lambda: SEResNet50(spatial_dims=2, in_channels=1, num_classes=14),
        lambda: EfficientNetBN("efficientnet-b0", pretrained=False, spatial_dims=2, in_channels=1, num_classes=14),
    ],
)
def test_used_or_not_the_probabilities_are_those_of_float32(make) -> None:
    network = lived(make())
    images = torch.randn(3, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    before = copy.deepcopy(network.state_dict())
    with torch.inference_mode():
        made = for_prediction(network, (1, 64, 64))
        difference = (made(images).sigmoid() - network(images).sigmoid()).abs().max()
    assert difference <= 2 * TOLERANCE
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_network_of_linear_layers_stays_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    """A transformer's folded copy would compute in float32, slower than the network itself."""
    network = nn.Sequential(nn.Conv2d(1, 4, 16, 16), nn.Flatten(), nn.Linear(64, 64), nn.Linear(64, 3)).eval()
    with caplog.at_level("INFO", logger="cxr_monai"):
        assert for_prediction(network, (1, 64, 64)) is network
    assert "linear layers, which are not folded" in caplog.text


def test_densenet_is_folded_and_takes_any_batch() -> None:
    network = lived(densenet())
    made = for_prediction(network, (1, 64, 64))
    assert made is not network
    kept = [name for name, module in made.named_modules() if isinstance(module, nn.BatchNorm2d)]
    assert kept == ["network.features.norm5"]  # no convolution stands before or after it
    fused = [name for name, module in made.named_modules() if isinstance(module, _Convolution) and module.relu]
    assert len(fused) == 1 + 58  # the first convolution, and one a dense layer
    transitions = [module for name, module in made.named_modules() if name.startswith("network.features.transition")]
    orders = [kinds(module)[-2:] for module in transitions if isinstance(module, nn.Sequential)]
    assert orders == 3 * [["AvgPool2d", "_Convolution"]]
    images = torch.randn(5, 1, 64, 64, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        whole = made(images)
        parts = torch.cat([made(images[:1]), made(images[1:])])
    torch.testing.assert_close(parts, whole, rtol=0, atol=0.05)
    assert whole.dtype == torch.float32


def kinds(sequence: nn.Module) -> list[str]:
    return [type(part).__name__ for part in sequence.children() if not isinstance(part, nn.Identity)]


@pytest.mark.parametrize(
    ("layers", "left"),
    [
        ([nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()], ["_Convolution"]),
        ([nn.Conv2d(8, 16, 3, stride=2, bias=False), nn.BatchNorm2d(16)], ["_Convolution"]),
        ([nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 16, 1)], ["_Clamp", "_Convolution"]),
        ([nn.Conv2d(8, 16, 1), nn.AvgPool2d(2, 2)], ["AvgPool2d", "_Convolution"]),
        # the border of a padded convolution is 0, not the limit; padded pooling takes in zeros, not the bias
        ([nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 16, 3, padding=1)], ["BatchNorm2d", "ReLU", "_Convolution"]),
        ([nn.Conv2d(8, 16, 1), nn.AvgPool2d(2, 2, padding=1)], ["_Convolution", "AvgPool2d"]),
        ([nn.Conv2d(8, 16, 1), nn.ReLU()], ["_Convolution", "ReLU"]),
    ],
)
def test_each_rule_alone(layers: list[nn.Module], left: list[str]) -> None:
    """By the definitions, in a short sequence: what is folded equals the layers up to bfloat16's eight bits."""
    images = torch.randn(2, 8, 12, 12, generator=torch.Generator().manual_seed(3))
    network = lived(nn.Sequential(*layers))
    made = fused(network)
    (sequence,) = made.children()
    assert kinds(sequence) == left
    assert all(part.inplace for part in sequence.children() if isinstance(part, nn.ReLU))
    with torch.inference_mode():
        expected, given = network(images), made(images)
    assert (given - expected).abs().max() <= 0.02 * expected.abs().max()


class Residual(nn.Module):
    """``images + body(images)``: the body's first ReLU reads what the sum needs too; it is used once more after."""

    def __init__(self, first: nn.Module) -> None:
        super().__init__()
        self.first = first
        relu = nn.ReLU()
        self.body = nn.Sequential(relu, nn.Conv2d(8, 8, 1), relu)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        images = self.first(images)
        return images + self.body(images)


class Backwards(nn.Sequential):
    """A sequence that does not run its parts in order."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        for part in reversed(self):
            images = part(images)
        return images


@pytest.mark.parametrize(
    "network",
    [
        Residual(nn.Identity()),
        Residual(nn.Conv2d(8, 8, 1)),
        Backwards(nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8), nn.ReLU()),
    ],
)
def test_what_others_read_and_what_does_not_follow_is_left_alone(network: nn.Module) -> None:
    network = lived(network)
    images = torch.randn(2, 8, 12, 12, generator=torch.Generator().manual_seed(4))
    with torch.inference_mode():
        expected, given = network(images), fused(network)(images)
    assert (given - expected).abs().max() <= 0.02 * expected.abs().max()


def test_what_cannot_be_folded_is_used_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    parts = [nn.BatchNorm2d(1), nn.ReLU(), nn.Conv2d(1, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 1)]
    network = lived(nn.Sequential(*parts))
    with torch.no_grad():
        network[0].weight.zero_()
    with caplog.at_level(logging.INFO):
        assert for_prediction(network, (1, 16, 16)) is network
    assert "cannot be folded" in caplog.text


def test_a_copy_that_disagrees_is_not_used(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    network = lived(densenet())
    monkeypatch.setattr("cxr_monai.networks.fusion.TOLERANCE", 1e-9)
    with caplog.at_level(logging.INFO):
        assert for_prediction(network, (1, 64, 64)) is network
    assert "differs" in caplog.text
