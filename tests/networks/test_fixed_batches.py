"""However many images are asked for, the network computes the same number at a time."""

import pytest
import torch
from torch import nn

from cxr_monai.networks.fixed_batches import FixedBatches, fixed_batch_size, in_fixed_batches


class Recorder(nn.Module):
    """Sums each image, and records the shapes that it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.shapes.append(tuple(images.shape))
        assert images.is_contiguous(memory_format=torch.channels_last)
        return images.sum((1, 2, 3))[:, None]


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((1, 224, 224), 4),
        ((3, 224, 224), 4),
        ((1, 256, 256), 3),
        ((1, 320, 320), 1),
        ((1, 1024, 1024), 1),
        ((1, 112, 112), 16),
        ((1, 128, 128), 12),
        ((1, 64, 64), 16),
    ],
)
def test_four_images_of_224_pixels_at_a_time(shape: tuple[int, int, int], size: int) -> None:
    assert fixed_batch_size(shape) == size


@pytest.mark.parametrize("count", [1, 3, 4, 5, 8, 9])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_call_has_the_same_shape_and_every_image_its_own_output(count: int, channels: int) -> None:
    images = torch.arange(count * channels * 4, dtype=torch.float32).reshape(count, channels, 2, 2)
    network = Recorder()
    assert torch.equal(in_fixed_batches(network, images, 4), images.sum((1, 2, 3))[:, None])
    assert network.shapes == [(4, channels, 2, 2)] * -(-count // 4)


def test_outputs_may_be_several_tensors() -> None:
    images = torch.rand(5, 1, 2, 2)
    logits, maps = in_fixed_batches(lambda some: (some.sum((1, 2, 3)), some * 2), images, 2)
    assert torch.equal(logits, images.sum((1, 2, 3)))
    assert torch.equal(maps, images * 2)


def test_a_network_behind_it() -> None:
    network = Recorder()
    images = torch.rand(3, 1, 224, 224)
    assert torch.equal(
        FixedBatches(network, images.shape)(images), network(images.contiguous(memory_format=torch.channels_last))
    )
    assert network.shapes[0] == (4, 1, 224, 224)
