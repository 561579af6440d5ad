"""Another exposure and contrast, at random."""

import torch

from cxr_monai.transforms.exposure import RandExposured


def test_exposure_stays_in_range_keeps_order_and_repeats_under_its_seed() -> None:
    ramp = torch.linspace(0, 1, 101).reshape(1, 1, 101)
    exposure = RandExposured("image", prob=1.0).set_random_state(seed=0)
    seen = []
    for _ in range(100):
        pixels = exposure({"image": ramp})["image"]
        assert 0 <= float(pixels.min()) <= float(pixels.max()) <= 1
        assert bool((pixels.diff(dim=-1) >= 0).all())
        assert 0.75 <= exposure.gamma <= 1 / 0.75
        seen.append(pixels)
    assert len({tuple(pixels.flatten().tolist()) for pixels in seen}) == 100
    again = RandExposured("image", prob=1.0).set_random_state(seed=0)
    assert torch.equal(again({"image": ramp})["image"], seen[0])


def test_exposure_by_hand_and_its_probability() -> None:
    ramp = torch.tensor([[[0.0, 0.25, 0.5, 0.75, 1.0]]])
    exposure = RandExposured("image", prob=1.0)
    exposure.randomize = lambda data=None: None  # type: ignore[method-assign]
    exposure._do_transform, exposure.gamma, exposure.low, exposure.high = True, 2.0, 0.25, 0.75
    torch.testing.assert_close(exposure({"image": ramp})["image"], torch.tensor([[[0.0, 0.0, 0.25, 1.0, 1.0]]]))
    never = RandExposured("image", prob=0.0).set_random_state(seed=0)
    assert torch.equal(never({"image": ramp})["image"], ramp)
