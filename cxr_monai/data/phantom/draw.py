"""One synthetic radiograph: a patient's anatomy, the findings, the film.

>>> phantom = draw_phantom(seed=1, size=64, findings=["Nodule"])
>>> phantom.pixels.shape, list(phantom.boxes)
((64, 64), ['Nodule'])
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from cxr_monai.data.phantom.anatomy import Body, Field, draw_chest, sample_body
from cxr_monai.data.phantom.child_anatomy import draw_thymus_and_bowel, with_proportions_of, youth
from cxr_monai.data.phantom.film import develop, sample_exposure, sample_grid
from cxr_monai.data.phantom.hospital import USUAL, Hospital
from cxr_monai.data.phantom.lateral import draw_lateral
from cxr_monai.data.phantom.lesions import DRAWING_ORDER, adjust_body, draw_lesion, plan_lesion
from cxr_monai.data.views import AP, LATERAL, PA
from cxr_monai.errors import Code, SettingError
from cxr_monai.labels import NIH14, canonical

# Random streams: each part of a picture has its own, so that a finding more or less changes nothing else.
_BODY, _VESSELS, _POSE, _EXPOSURE, _DEVELOP, _PLAN, _TEXTURE, _GROWTH, _HOSPITAL, _CHILDHOOD = range(10)

_VIEWS = (PA, AP, LATERAL)


@dataclass(frozen=True)
class Phantom:
    """A synthetic radiograph and its truth.

    Attributes:
        pixels: float32 [H, W] in 0 to 1, bright = dense.
        masks: a bool mask [H, W] for each finding drawn; none on a lateral film.
        boxes: ``(x, y, width, height)`` in pixels of the image, the tight box of each mask.
        lungs: bool ``[H, W]``: both lungs in their anatomical outline, so with what a lesion makes opaque in them, and
            without heart and mediastinum.
    """

    pixels: Field
    masks: dict[str, np.ndarray]
    boxes: dict[str, tuple[int, int, int, int]]
    lungs: np.ndarray


def draw_phantom(
    seed: int,
    size: int,
    findings: Sequence[str] = (),
    *,
    patient: int = 1,
    index: int = 0,
    age: float = 50,
    sex: str = "M",
    view: str = "PA",
    hospital: Hospital = USUAL,
    by_age: bool = False,
) -> Phantom:
    """Draw one radiograph.

    Args:
        seed: of the whole collection.
        size: height and width in pixels, at least 32.
        findings: any of the 14 findings.
        patient: number of the patient; decides anatomy and the findings' places, the same at each study.
        index: number of the patient's study; decides position, exposure and noise.
        age: in years.
        sex: "M" or "F".
        view: "PA", "AP" (at the bedside: larger heart, poorer inspiration, looser position) or "LATERAL"
            (`cxr_monai.data.phantom.lateral`: the same anatomy from the side, without masks and boxes).
        hospital: whose look and marker the film has.
        by_age: draw a patient under 18 with the proportions of the age (`cxr_monai.data.phantom.child_anatomy`), not
            as a small adult.

    Raises:
        SettingError: ``setting-invalid`` for a size, sex or view that cannot be drawn.
        ManifestError: ``unknown-finding``.
    """
    _check(size, sex, view)
    present = {canonical(name) for name in findings}

    def stream(*key: int) -> np.random.Generator:
        return np.random.default_rng([seed, patient, *key])

    grid = sample_grid(stream(_POSE, index), size, view)
    body = _breathe(sample_body(stream(_BODY), age, sex), stream(_POSE, index, 1), view)
    is_young = by_age and youth(age) > 0
    body = with_proportions_of(body, age) if is_young else body
    plans = []
    for finding in DRAWING_ORDER:
        if finding in present:
            number = NIH14.index(finding)
            plan = plan_lesion(finding, stream(_PLAN, number))
            growth = float(np.exp(stream(_GROWTH, index, number).normal(0, 0.08)))
            plan = replace(plan, width=plan.width * growth, height=plan.height * growth)
            body = adjust_body(body, plan, grid.zoom)
            plans.append(plan)
    masks: dict[str, np.ndarray] = {}
    if view == LATERAL:
        density, lungs = draw_lateral(grid, body, plans, stream(_VESSELS))
    else:
        chest = draw_chest(grid, body, stream(_VESSELS))
        if is_young:
            draw_thymus_and_bowel(chest, age, stream(_CHILDHOOD))
        lungs = chest.lung > 0.5
        for plan in plans:
            masks[plan.finding] = draw_lesion(chest, plan, stream(_TEXTURE, index, NIH14.index(plan.finding)))
        density = chest.density + chest.vessels
    pixels = develop(density, grid, sample_exposure(stream(_EXPOSURE, index), view), stream(_DEVELOP, index))
    pixels = hospital.print_film(pixels, present, stream(_HOSPITAL, index))
    masks = {finding: masks[finding] for finding in NIH14 if finding in masks}
    return Phantom(pixels, masks, {finding: tight_box(mask) for finding, mask in masks.items()}, lungs)


def tight_box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Return ``(x, y, width, height)`` in pixels of the smallest box around a mask that is not empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1] - columns[0] + 1), int(rows[-1] - rows[0] + 1)


def _breathe(body: Body, rng: np.random.Generator, view: str) -> Body:
    """Return the anatomy as one breath and one view show it."""
    bedside = view == AP
    shallow = float(np.clip(rng.normal(0.035 if bedside else 0.0, 0.03 if bedside else 0.02), -0.04, 0.12))
    magnified = 1.08 if bedside else 1.0
    return replace(
        body,
        dome=body.dome - shallow,
        heart_centre=body.heart_centre - 0.5 * shallow,
        cardiothoracic=float(np.clip(body.cardiothoracic * magnified + 0.4 * max(shallow, 0), 0.35, 0.54)),
        skew=body.skew + float(rng.normal(0, 0.03)),
        midline_shift=body.midline_shift + float(rng.normal(0, 0.015)),
        air=body.air * float(rng.normal(1.0, 0.05)),
    )


def _check(size: int, sex: str, view: str) -> None:
    if size < 32 or size > 4096:
        raise SettingError(
            Code.SETTING_INVALID, f"a phantom of size {size} cannot be drawn; sizes are 32 to 4096 pixels."
        )
    if sex not in ("M", "F"):
        raise SettingError(Code.SETTING_INVALID, f"sex is {sex!r}; allowed are 'M' and 'F'.")
    if view not in _VIEWS:
        raise SettingError(Code.SETTING_INVALID, f"view is {view!r}; allowed are {', '.join(_VIEWS)}.")
