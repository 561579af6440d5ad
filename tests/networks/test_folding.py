"""The copy for prediction: close to the network in float32, whatever it is made of, or not used at all."""

import copy
import logging

import pytest
import torch
from monai.networks.nets import DenseNet121, EfficientNetBN, SEResNet50
from torch import nn

from cxr_monai.networks.folding import TOLERANCE, folded, for_prediction
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


def test_densenet_is_folded_and_takes_any_batch() -> None:
    network = lived(densenet())
    made = for_prediction(network, (1, 64, 64))
    assert made is not network
    assert not any(isinstance(module, nn.BatchNorm2d) for name, module in made.named_modules() if "norm1" in name)
    images = torch.randn(5, 1, 64, 64, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        whole = made(images)
        parts = torch.cat([made(images[:1]), made(images[1:])])
    torch.testing.assert_close(parts, whole, rtol=0, atol=0.05)
    assert whole.dtype == torch.float32


def test_each_rule_alone() -> None:
    """By the definitions, in a sequence of three: what is folded equals the layers up to bfloat16's eight bits."""
    draw = torch.Generator().manual_seed(3)
    images = torch.randn(2, 8, 12, 12, generator=draw)
    for layers in (
        [nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()],
        [nn.Conv2d(8, 16, 3, stride=2, bias=False), nn.BatchNorm2d(16)],
        [nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 16, 1)],
        [nn.Conv2d(8, 16, 1), nn.AvgPool2d(2, 2)],
    ):
        network = lived(nn.Sequential(*layers))
        with torch.inference_mode():
            expected, made = network(images), folded(network)(images)
        assert (made - expected).abs().max() <= 0.02 * expected.abs().max()


def test_what_cannot_be_folded_is_used_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    network = lived(nn.Sequential(nn.BatchNorm2d(1), nn.ReLU(), nn.Conv2d(1, 4, 1), nn.Flatten(), nn.Linear(1024, 2)))
    with torch.no_grad():
        network[0].weight.zero_()
    with caplog.at_level(logging.INFO):
        assert for_prediction(network, (1, 16, 16)) is network
    assert "cannot be folded" in caplog.text


def test_a_copy_that_disagrees_is_not_used(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    network = lived(densenet())
    monkeypatch.setattr("cxr_monai.networks.folding.TOLERANCE", 1e-9)
    with caplog.at_level(logging.INFO):
        assert for_prediction(network, (1, 64, 64)) is network
    assert "differs" in caplog.text
