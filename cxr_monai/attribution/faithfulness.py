"""Does the network's output depend on what a map points at? Measured by changing the image there.

    curves = deletion_insertion(score, image, heat, baseline_of(image))     # the strongest places first
    area(curves.shares, curves.deletion)                                    # low: what the map points at was needed

Three figures, each of one image and one finding: deletion and insertion (Petsiuk et al. 2018, RISE, arXiv 1806.07421),
infidelity and sensitivity (Yeh et al. 2019, arXiv 1901.09392; Captum's). Whether a map depends on what was learned at
all is another question (``cxr_monai.attribution.randomisation``).

A place is taken away by putting the baseline there: the image blurred until only its broad shading is left, or its mean
grey. Neither is a radiograph, and a network may answer to the edges of the hole. Each figure therefore stands beside a
control that has the same edges: the same map at a random place (`displaced`).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from captum.metrics import infidelity, sensitivity_max
from scipy.ndimage import gaussian_filter

from cxr_monai.errors import Code, SettingError
from cxr_monai.plurals import counted

Score = Callable[[torch.Tensor], torch.Tensor]
"""Images ``[N, C, H, W]`` to one number each ``[N]``."""

BASELINES = ("blur", "mean")
_BLUR = 0.1
"""Standard deviation of the blur, in shares of the image's shorter side: 22 of 224 pixels, 4 cm of a film."""
CURVE_STEPS = 10
_SQUARE = 0.25
"""Side of the squares that infidelity blurs, in shares of the image's shorter side."""
_RADIUS = 0.02
"""Of the noise that sensitivity adds, in shares of the range of the image's values."""
_SAMPLES = 20
_BATCH = 16


@dataclass(frozen=True, eq=False)
class Curves:
    """The score after each share of the pixels was changed, all ``[S + 1]``.

    Attributes:
        shares: of the pixels that were changed, 0 to 1.
        deletion: the strongest places are replaced by the baseline first; begins at the image, ends at the baseline.
        insertion: the strongest places are put onto the baseline first; begins at the baseline, ends at the image.
    """

    shares: np.ndarray
    deletion: np.ndarray
    insertion: np.ndarray


def baseline_of(image: torch.Tensor, kind: str = "blur") -> torch.Tensor:
    """Return the image that replaces the parts that are taken away.

    Args:
        image: float ``[C, H, W]``.
        kind: ``blur`` (a Gaussian of `_BLUR`; the border repeats) or ``mean`` (each channel's mean).

    Returns:
        float ``[C, H, W]``.

    Raises:
        SettingError: ``setting-invalid`` for another kind.
    """
    if kind == "mean":
        return image.mean((-2, -1), keepdim=True).expand_as(image).contiguous()
    if kind == "blur":
        deviation = _BLUR * min(image.shape[-2:])
        blurred = gaussian_filter(image.cpu().numpy(), deviation, mode="nearest", axes=(-2, -1))
        return torch.from_numpy(blurred).to(image)
    raise SettingError(Code.SETTING_INVALID, f"there is no baseline {kind!r}; there are {', '.join(BASELINES)}.")


def displaced(heat: torch.Tensor, seed: int) -> torch.Tensor:
    """Return a map at a random place: rolled around the borders, and mirrored or not; same values, same roughness.

    Args:
        heat: float ``[H, W]``.
        seed: of the place.

    An order of single pixels drawn at random would be no fair control: it covers the whole image with specks, which no
    map of whole places does, and which alone can change a network's mind.
    """
    random = np.random.default_rng(seed)
    turned = heat.flip(-1) if random.random() < 0.5 else heat
    down, across = (int(random.integers(side)) for side in heat.shape)
    return turned.roll((down, across), (0, 1))


def deletion_insertion(
    score: Score,
    image: torch.Tensor,
    heat: torch.Tensor,
    baseline: torch.Tensor,
    steps: int = CURVE_STEPS,
    seed: int = 0,
    batch_size: int = _BATCH,
) -> Curves:
    """Return how the score falls and rises as the strongest places go and come, ``steps`` equal shares of the pixels.

    Args:
        score: RISE takes the finding's probability.
        image, baseline: float ``[C, H, W]``.
        heat: float ``[H, W]``; only the order of its pixels matters. Equal ones are taken in an order drawn at random.
        steps: at least 1.
        seed: of that order.
        batch_size: images at a time.
    """
    if steps < 1:
        raise SettingError(Code.SETTING_INVALID, f"{counted(steps, 'step')}: there must be at least 1.")
    order = _strongest_first(heat, seed)
    place = torch.empty_like(order)
    place[order] = torch.arange(order.numel(), device=order.device)
    place = place.reshape(heat.shape)
    shares = np.linspace(0, 1, steps + 1)
    changed = [place < round(share * order.numel()) for share in shares]
    # both curves begin and end at the image and the baseline
    inner = [torch.where(mask, baseline, image) for mask in changed[1:-1]]
    inner += [torch.where(mask, image, baseline) for mask in changed[1:-1]]
    values = _scored(score, torch.stack([image, baseline, *inner]), batch_size)
    at_image, at_baseline, between = values[:1], values[1:2], values[2:]
    deletion = np.concatenate([at_image, between[: steps - 1], at_baseline])
    return Curves(shares, deletion, np.concatenate([at_baseline, between[steps - 1 :], at_image]))


def area(shares: np.ndarray, values: np.ndarray) -> float:
    """Return the area under a curve over shares 0 to 1 (trapezoids): the score's mean along it, in the score's unit.

    Args:
        shares: float ``[S + 1]``, rising from 0 to 1.
        values: float ``[S + 1]``, the scores.
    """
    return float(np.trapezoid(values, shares))


def unexplained(
    score: Score,
    image: torch.Tensor,
    heat: torch.Tensor,
    baseline: torch.Tensor,
    samples: int = _SAMPLES,
    seed: int = 0,
    batch_size: int = _BATCH,
) -> float:
    """Return Captum's infidelity in shares of what there is to explain: 0 foretells every change, 1 none.

    Squares at random places are replaced by the baseline. The map foretells a fall of the score by its sum within the
    square, times the one factor that fits all squares best (Captum's ``normalize``, since maps have no unit).
    Infidelity is the mean squared error of that; here it is divided by the mean square of the falls, which is the
    infidelity of a map that is 0 everywhere. For a map that is the same everywhere it is the share that varies from
    place to place: no map that knows something should be above that.

    Args:
        score: the logit, of which effects add up.
        image, heat, baseline, batch_size: as for `deletion_insertion`.
        samples: squares.
        seed: of their places; the same for every map.

    Returns:
        in [0, 1]; NaN if no square changes the score.
    """

    squares = _squares(samples, image.shape[-2:], torch.Generator().manual_seed(seed)).to(image)

    def fall_unexplained(attribution: torch.Tensor, normalise: bool) -> float:
        remainder = iter(squares)

        def perturb(inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            masks = torch.stack([next(remainder) for _ in inputs])[:, None].expand_as(inputs)
            return masks, torch.where(masks > 0, baseline, inputs)

        # doubles: the error is a difference of near numbers
        value = infidelity(
            lambda inputs: score(inputs).double(),
            perturb,
            image[None],
            attribution.double().expand_as(image)[None],
            n_perturb_samples=samples,
            max_examples_per_batch=min(batch_size, samples),
            normalize=normalise,
        )
        return float(value)

    total = fall_unexplained(torch.zeros_like(heat), False)
    return min(max(fall_unexplained(heat, True) / total, 0.0), 1.0) if total > 0 else float("nan")


def sensitivity(
    explain: Callable[[torch.Tensor], torch.Tensor],
    image: torch.Tensor,
    radius: float = _RADIUS,
    samples: int = _SAMPLES,
    seed: int = 0,
    batch_size: int = _BATCH,
) -> float:
    """Return Captum's maximum sensitivity: how far noise that nobody sees moves the map, in shares of the map's norm.

    Args:
        explain: images ``[N, C, H, W]`` to maps ``[N, h, w]``.
        image: float ``[C, H, W]``.
        radius: of the uniform noise, in shares of the range of the image's values.
        samples: how often; the figure is the largest.
        seed: of the noise.
        batch_size: images at a time.

    Returns:
        at least 0; NaN where the map is 0 everywhere.
    """
    generator = torch.Generator().manual_seed(seed)
    reach = radius * float(image.max() - image.min())

    def perturb(inputs: torch.Tensor) -> torch.Tensor:
        return inputs + (2 * torch.rand(inputs.shape, generator=generator) - 1).to(inputs) * reach

    def maps(inputs: torch.Tensor | tuple[torch.Tensor, ...]) -> tuple[torch.Tensor]:
        with torch.enable_grad():  # Captum asks without gradients, which most methods need
            grids = explain(inputs if isinstance(inputs, torch.Tensor) else inputs[0])
        return (grids.detach(),)  # in a tuple: Captum would take the first map's rows for several maps

    if float(maps(image[None])[0].abs().max()) == 0:
        return float("nan")
    value = sensitivity_max(
        maps, image[None], perturb, n_perturb_samples=samples, max_examples_per_batch=min(batch_size, samples)
    )
    return float(value)


def _strongest_first(heat: torch.Tensor, seed: int) -> torch.Tensor:
    flat = heat.flatten()
    shuffled = torch.randperm(flat.numel(), generator=torch.Generator().manual_seed(seed)).to(flat.device)
    return shuffled[flat[shuffled].argsort(descending=True, stable=True)]


def _scored(score: Score, images: torch.Tensor, batch_size: int) -> np.ndarray:
    with torch.inference_mode():
        return torch.cat([score(batch) for batch in images.split(batch_size)]).double().cpu().numpy()


def _squares(count: int, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """Return masks ``[count, H, W]``, each 1 in a square that lies within the image, else 0."""
    height, width = shape
    side = max(1, round(_SQUARE * min(height, width)))
    tops = torch.randint(height - side + 1, (count, 1, 1), generator=generator)
    lefts = torch.randint(width - side + 1, (count, 1, 1), generator=generator)
    rows, columns = torch.arange(height)[None, :, None], torch.arange(width)[None, None, :]
    return ((rows >= tops) & (rows < tops + side) & (columns >= lefts) & (columns < lefts + side)).float()
