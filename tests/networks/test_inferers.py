"""Running a network: float32 exactly, bfloat16 closely, ten crops as one answer."""

import logging

import pytest
import torch
from torch import nn

from cxr_monai.networks import inferers
from cxr_monai.networks.inferers import AutocastInferer, autocast_dtype, bfloat16_supported

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 3)
        ).eval()


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.rand(4, 1, 16, 16, generator=torch.Generator().manual_seed(1))


def expected(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return network(images.contiguous(memory_format=torch.channels_last))


def test_without_amp_it_is_the_network_exactly(network: nn.Module, images: torch.Tensor) -> None:
    with torch.no_grad():
        logits = AutocastInferer(amp=False)(images, network)
    assert logits.dtype == torch.float32
    assert torch.equal(logits, expected(network, images))


@pytest.mark.skipif(not bfloat16_supported(CPU), reason="this processor has no bfloat16 instructions")
def test_bfloat16_is_float32_outside_and_close(network: nn.Module, images: torch.Tensor) -> None:
    with torch.no_grad():
        logits = AutocastInferer()(images, network)
    exact = expected(network, images)
    assert logits.dtype == torch.float32
    assert not torch.equal(logits, exact)  # it was bfloat16 indeed
    torch.testing.assert_close(logits, exact, rtol=0.02, atol=0.01)


def test_the_network_sees_the_type_that_was_chosen(monkeypatch: pytest.MonkeyPatch, images: torch.Tensor) -> None:
    for supported, dtype in ((True, torch.bfloat16), (False, torch.float32)):
        seen = []

        def look(batch: torch.Tensor, seen: list = seen) -> torch.Tensor:
            seen.append((torch.is_autocast_enabled("cpu"), batch.is_contiguous(memory_format=torch.channels_last)))
            return torch.zeros(len(batch), 1, dtype=torch.bfloat16)

        monkeypatch.setattr(inferers, "bfloat16_supported", lambda device, supported=supported: supported)
        assert autocast_dtype(CPU, amp=True) == dtype
        assert autocast_dtype(CPU, amp=False) == torch.float32
        assert AutocastInferer()(images, look).dtype == torch.float32
        assert seen == [(supported, True)]


@pytest.mark.parametrize("amp", [False, True])
def test_crops_give_the_mean_of_their_logits(network: nn.Module, amp: bool) -> None:
    crops = torch.rand(3, 10, 1, 16, 16, generator=torch.Generator().manual_seed(2))
    inferer = AutocastInferer(amp)
    with torch.no_grad():
        logits = inferer(crops, network)
        one_by_one = torch.stack([inferer(image, network).mean(0) for image in crops])
    assert logits.shape == (3, 3)
    torch.testing.assert_close(logits, one_by_one, rtol=0, atol=1e-6 if not amp else 5e-3)


def test_gradients_flow_in_float32(network: nn.Module, images: torch.Tensor) -> None:
    AutocastInferer()(images, network).sum().backward()
    gradients = [parameter.grad for parameter in network.parameters()]
    network.zero_grad(set_to_none=True)
    assert all(grad is not None and grad.dtype == torch.float32 and grad.isfinite().all() for grad in gradients)


def test_missing_instructions_are_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, network: nn.Module, images: torch.Tensor
) -> None:
    monkeypatch.setattr(inferers, "bfloat16_supported", lambda device: False)
    caplog.set_level(logging.INFO)
    with torch.no_grad():
        inferer = AutocastInferer()
        inferer(images, network)
        inferer(images, network)
        AutocastInferer(amp=False)(images, network)
    assert [record.message for record in caplog.records] == [
        "amp: this cpu has no bfloat16 instructions, computing in float32"
    ]


def test_other_devices_than_cpu_and_cuda_have_none() -> None:
    assert not bfloat16_supported(torch.device("meta"))
    assert isinstance(bfloat16_supported(CPU), bool)
