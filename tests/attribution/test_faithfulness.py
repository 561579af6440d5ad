"""Changing the image where a map points, on scores of which the answer is known."""

import numpy as np
import pytest
import torch

from cxr_monai.attribution.faithfulness import (
    area,
    baseline_of,
    deletion_insertion,
    displaced,
    sensitivity,
    unexplained,
)
from cxr_monai.errors import Code, SettingError

IMAGE = torch.tensor([[[4.0, 3.0], [2.0, 1.0]]])
NOTHING = torch.zeros(1, 2, 2)


def total(images: torch.Tensor) -> torch.Tensor:
    return images.sum((1, 2, 3))


@pytest.mark.parametrize(
    ("heat", "deletion", "insertion"),
    [
        ([[4.0, 3.0], [2.0, 1.0]], [10, 6, 3, 1, 0], [0, 4, 7, 9, 10]),
        ([[1.0, 2.0], [3.0, 4.0]], [10, 9, 7, 4, 0], [0, 1, 3, 6, 10]),
        ([[0.0, 9e9], [-1.0, 1e-9]], [10, 7, 6, 2, 0], [0, 3, 4, 8, 10]),  # only the order counts
    ],
)
@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_curves_by_hand(
    heat: list[list[float]], deletion: list[float], insertion: list[float], batch_size: int
) -> None:
    made = deletion_insertion(total, IMAGE, torch.tensor(heat), NOTHING, steps=4, batch_size=batch_size)
    np.testing.assert_allclose(made.shares, [0, 0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(made.deletion, deletion)
    np.testing.assert_allclose(made.insertion, insertion)


def test_area_by_hand() -> None:
    made = deletion_insertion(total, IMAGE, IMAGE[0], NOTHING, steps=4)
    assert area(made.shares, made.deletion) == pytest.approx((10 / 2 + 6 + 3 + 1 + 0) / 4)
    assert area(made.shares, made.insertion) == pytest.approx((0 + 4 + 7 + 9 + 10 / 2) / 4)
    assert area(np.array([0, 1.0]), np.array([0.3, 0.3])) == pytest.approx(0.3)


def test_one_step_is_the_image_and_the_baseline() -> None:
    made = deletion_insertion(total, IMAGE, IMAGE[0], NOTHING, steps=1)
    assert (list(made.deletion), list(made.insertion)) == ([10, 0], [0, 10])
    with pytest.raises(SettingError, match="at least 1"):
        deletion_insertion(total, IMAGE, IMAGE[0], NOTHING, steps=0)


def test_all_channels_of_a_place_go_together() -> None:
    image = torch.cat([IMAGE, 10 * IMAGE])
    made = deletion_insertion(total, image, IMAGE[0], torch.zeros(2, 2, 2), steps=4)
    np.testing.assert_allclose(made.deletion, [110, 66, 33, 11, 0])


def test_equal_places_are_taken_in_an_order_drawn_at_random() -> None:
    image = torch.arange(16.0).reshape(1, 4, 4)
    heat = torch.ones(4, 4)
    orders = [
        tuple(deletion_insertion(total, image, heat, torch.zeros(1, 4, 4), 4, seed).deletion) for seed in range(5)
    ]
    assert len(set(orders)) == 5
    assert orders[0] == tuple(deletion_insertion(total, image, heat, torch.zeros(1, 4, 4), 4, 0).deletion)
    # never in reading order, which would favour a corner
    assert orders[0][1] != 120 - (0 + 1 + 2 + 3)
    heat[0, 0] = 2  # and the strongest is still the first
    assert (
        deletion_insertion(lambda images: images[:, 0, 0, 0], image + 1, heat, torch.zeros(1, 4, 4), 16).deletion[1]
        == 0
    )


def test_baselines() -> None:
    image = torch.rand(2, 20, 30, generator=torch.Generator().manual_seed(0))
    mean = baseline_of(image, "mean")
    assert mean.shape == image.shape
    torch.testing.assert_close(mean, image.mean((1, 2))[:, None, None].expand_as(image))
    blurred = baseline_of(image)
    assert 0 < float(blurred.std()) < float(image.std()) / 3
    flat = torch.full((1, 20, 30), 0.7)
    torch.testing.assert_close(baseline_of(flat), flat)  # also at the border
    apart = torch.stack([torch.zeros(20, 30), image[1]])
    assert not baseline_of(apart)[0].any()  # channels don't mix
    spot = torch.zeros(1, 41, 41)
    spot[0, 20, 20] = 1  # a Gaussian of a tenth of the shorter side, 4.1 pixels
    assert float(baseline_of(spot)[0, 20, 20]) == pytest.approx(1 / (2 * np.pi * 4.1**2), rel=0.02)
    with pytest.raises(SettingError, match="blur, mean") as caught:
        baseline_of(image, "black")
    assert caught.value.code == Code.SETTING_INVALID


def test_moved_maps_are_the_same_map_elsewhere() -> None:
    heat = torch.arange(15 * 21.0).reshape(15, 21)
    made = [displaced(heat, seed) for seed in range(20)]
    assert torch.equal(made[3], displaced(heat, 3))
    for one in made:
        assert torch.equal(one.flatten().sort().values, heat.flatten())
        # neighbours stay neighbours: a row's steps are 1 or -1, but for the seams
        steps = one.diff(dim=1).abs()
        assert ((steps == 1).sum(1) >= 19).all()
    assert len({float(one[0, 0]) for one in made}) > 15
    assert len({bool(one[5, 5] < one[5, 6]) for one in made}) == 2  # mirrored or not


def weights() -> torch.Tensor:
    made = torch.zeros(1, 32, 32)
    made[0, 4:12, 18:28] = torch.rand(8, 10, generator=torch.Generator().manual_seed(2))
    return made


@pytest.mark.parametrize("unit", [1.0, 1e-3, 1e3])
def test_a_linear_score_is_foretold_by_its_own_weights(unit: float) -> None:
    image, nothing = torch.ones(1, 32, 32), torch.zeros(1, 32, 32)

    def score(images: torch.Tensor) -> torch.Tensor:
        return (images * weights()).sum((1, 2, 3))

    own = unexplained(score, image, unit * weights()[0], nothing, samples=30)
    elsewhere = unexplained(score, image, unit * weights()[0].roll((16, 12), (0, 1)), nothing, samples=30)
    assert own == pytest.approx(0, abs=1e-6)
    assert 0.6 < elsewhere <= 1


def test_nothing_to_explain() -> None:
    image = torch.rand(1, 16, 16)
    assert np.isnan(unexplained(lambda images: torch.ones(len(images)), image, image[0], torch.zeros_like(image)))
    empty = unexplained(total, image, torch.zeros(16, 16), torch.zeros_like(image))
    assert empty == pytest.approx(1)  # a map that is 0 everywhere foretells nothing


def test_squares_are_the_same_for_every_map_and_whatever_the_batch() -> None:
    image, nothing = torch.ones(1, 32, 32), torch.zeros(1, 32, 32)
    heat = torch.rand(32, 32, generator=torch.Generator().manual_seed(3))

    def score(images: torch.Tensor) -> torch.Tensor:
        return (images * weights()).sum((1, 2, 3)) ** 2

    state = torch.random.get_rng_state()
    one, again, *batches = (
        unexplained(score, image, heat, nothing, samples=40, seed=1, batch_size=size) for size in (100, 100, 40, 16, 7)
    )
    assert one == again
    assert batches == pytest.approx([one] * 3, rel=1e-5)
    assert abs(unexplained(score, image, heat, nothing, samples=40, seed=2) - one) > 1e-3
    assert torch.equal(torch.random.get_rng_state(), state)


def test_sensitivity() -> None:
    image = torch.rand(1, 12, 12, generator=torch.Generator().manual_seed(4))

    def itself(images: torch.Tensor) -> torch.Tensor:
        return images[:, 0]

    # the map is the image: noise of at most 2 % of the range moves it by about 2 % / sqrt(3) of that, over the norm
    reach = 0.02 * float(image.max() - image.min())
    made = sensitivity(itself, image, samples=6)
    assert made == pytest.approx(reach / 3**0.5 * 12 / float(image.norm()), rel=0.2)
    assert sensitivity(itself, image, radius=0.04, samples=6) == pytest.approx(2 * made, rel=1e-4)
    assert sensitivity(itself, image, samples=6, batch_size=2) == pytest.approx(made)  # the largest over all batches
    assert sensitivity(lambda images: torch.ones(len(images), 5, 4), image, samples=6) == 0
    assert np.isnan(sensitivity(lambda images: torch.zeros(len(images), 5, 4), image, samples=6))


def test_sensitivity_of_methods_that_need_gradients() -> None:
    def gradient(images: torch.Tensor) -> torch.Tensor:
        given = images.clone().requires_grad_()
        return torch.autograd.grad((given**2).sum(), given)[0][:, 0]

    image = torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(5))
    state = torch.random.get_rng_state()
    # twice the image, in shares of its norm: as the image itself
    assert sensitivity(gradient, image) == pytest.approx(sensitivity(lambda images: images[:, 0], image), rel=1e-4)
    assert torch.equal(torch.random.get_rng_state(), state)
