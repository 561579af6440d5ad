"""Mixup: blends by hand, unknown labels, and that all of it comes from the generator it is given."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from cxr_monai.errors import SettingError
from cxr_monai.training.mixup import draw_mixup, mixup

NAN = math.nan


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_images_and_labels_are_blended_alike_by_one_share() -> None:
    for seed in range(10):
        share, partners = draw_mixup(6, 0.4, seeded(seed))
        # image i has a 1 at pixel i alone, and finding i alone
        images, labels = mixup(torch.eye(6).reshape(6, 1, 2, 3), torch.eye(6), 0.4, seeded(seed))
        expected = share * torch.eye(6) + (1 - share) * torch.eye(6)[partners]
        torch.testing.assert_close(labels, expected)
        assert torch.equal(images.flatten(1), labels)
        torch.testing.assert_close(labels.sum(1), torch.ones(6))
        torch.testing.assert_close(labels.sum(0), torch.ones(6))  # each is somebody's partner once


def test_labels_by_hand() -> None:
    seed = next(seed for seed in range(100) if draw_mixup(2, 1.0, seeded(seed))[1].tolist() == [1, 0])
    share, other = draw_mixup(2, 1.0, seeded(seed))[0], 1 - draw_mixup(2, 1.0, seeded(seed))[0]
    labels = torch.tensor([[1.0, 1.0, 0.0, 1.0, NAN, 0.0], [0.0, 1.0, 0.0, NAN, NAN, 1.0]])
    blended = mixup(torch.zeros(2, 1, 1, 1), labels, 1.0, seeded(seed))[1]
    expected = torch.tensor([[share, 1, 0, NAN, NAN, other], [other, 1, 0, NAN, NAN, share]])
    torch.testing.assert_close(blended, expected, equal_nan=True)
    assert blended[:, 1:3].tolist() == [[1.0, 0.0]] * 2  # exactly, where both say the same


def test_an_image_that_meets_itself_stays_as_it_is_to_the_last_bit() -> None:
    images, labels = torch.rand(1, 1, 5, 5, generator=seeded(0)), torch.tensor([[1.0, 0.0, NAN]])
    for seed in range(10):
        blended = mixup(images, labels, 0.4, seeded(seed))
        assert torch.equal(blended[0], images)
        torch.testing.assert_close(blended[1], labels, rtol=0, atol=0, equal_nan=True)


def test_what_is_given_stays_as_it_is() -> None:
    images, labels = torch.eye(3).reshape(3, 1, 1, 3), torch.eye(3)
    mixup(images, labels, 1.0, seeded(0))
    assert torch.equal(images.flatten(1), torch.eye(3))
    assert torch.equal(labels, torch.eye(3))


def test_all_that_is_drawn_comes_from_the_generator() -> None:
    before = torch.get_rng_state()
    draws = [draw_mixup(50, 0.4, seeded(seed)) for seed in (1, 1, 2)]
    assert draws[0][0] == draws[1][0] != draws[2][0]
    assert torch.equal(draws[0][1], draws[1][1])
    assert not torch.equal(draws[0][1], draws[2][1])
    assert torch.equal(torch.get_rng_state(), before)  # nothing global was touched
    generator = seeded(1)
    assert draw_mixup(50, 0.4, generator)[0] != draw_mixup(50, 0.4, generator)[0]


@pytest.mark.parametrize("alpha", [0.2, 1.0, 3.0])
def test_shares_have_the_mean_and_variance_of_beta(alpha: float) -> None:
    generator = seeded(0)
    shares = np.array([draw_mixup(2, alpha, generator)[0] for _ in range(4000)])
    variance = 1 / (4 * (2 * alpha + 1))
    assert 0 <= shares.min() <= shares.max() <= 1
    assert shares.mean() == pytest.approx(0.5, abs=5 * math.sqrt(variance / 4000))
    assert shares.var() == pytest.approx(variance, rel=0.1)


def test_channels_last_and_other_types_are_kept() -> None:
    images = torch.rand(4, 3, 5, 5).to(torch.float64).contiguous(memory_format=torch.channels_last)
    blended, labels = mixup(images, torch.eye(4), 0.4, seeded(0))
    assert blended.dtype == torch.float64
    assert labels.dtype == torch.float32
    assert blended.is_contiguous(memory_format=torch.channels_last)


def test_alpha_of_nought_blends_nothing() -> None:
    images, labels = torch.rand(4, 1, 2, 2), torch.eye(4)
    blended = mixup(images, labels, 0, seeded(0))
    assert blended[0] is images
    assert blended[1] is labels


@pytest.mark.parametrize("alpha", [-0.1, math.inf, NAN, "some"])
def test_alpha_outside_its_range(alpha: Any) -> None:
    with pytest.raises(SettingError, match="--mixup") as error:
        mixup(torch.zeros(2, 1, 1, 1), torch.zeros(2, 1), alpha, seeded(0))
    assert error.value.code == "setting-invalid"
