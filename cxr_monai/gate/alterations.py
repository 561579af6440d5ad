"""What can have been done to a film: turned, mirrored, inverted, cut off, blurred, wrongly exposed; and how to undo it.

    for alteration in ALTERATIONS:
        altered = alteration.of(plane)                  # [H, W] in [0, 1], a film as it would have arrived

The gate learns from altered copies of the training's films, without any label, what each looks like
(`cxr_monai.gate.linear_head`). Turning, mirroring and inverting can be undone: ``mends`` tells how.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter, rotate

from cxr_monai.errors import Code


@dataclass(frozen=True)
class Alteration:
    """One thing that can have been done to a film.

    Attributes:
        name: such as ``turned by 90 degrees, mirrored``.
        code: the gate's, for a film that looks like it.
        of: makes such a film, float32 ``[H, W]`` in [0, 1], of one as it should be.
        undo: makes the film as it should be of such a film; None where it cannot be undone.
    """

    name: str
    code: Code
    of: Callable[[np.ndarray], np.ndarray]
    undo: Callable[[np.ndarray], np.ndarray] | None = None


def _geometry(quarters: int, is_mirrored: bool, is_inverted: bool) -> Alteration:
    def alter(plane: np.ndarray) -> np.ndarray:
        turned = np.rot90(plane[:, ::-1] if is_mirrored else plane, quarters)
        return 1 - turned if is_inverted else turned

    def undo(plane: np.ndarray) -> np.ndarray:
        straight = np.rot90(1 - plane if is_inverted else plane, -quarters)
        return straight[:, ::-1] if is_mirrored else straight

    names = [f"turned by {90 * quarters} degrees"] * bool(quarters)
    names += ["mirrored"] * is_mirrored + ["inverted"] * is_inverted
    code = Code.GATE_INVERTED if is_inverted else Code.GATE_ROTATED if quarters else Code.GATE_MIRRORED
    return Alteration(", ".join(names), code, alter, undo)


def _tilted(degrees: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda plane: np.clip(rotate(plane, degrees, reshape=False, order=1, mode="constant"), 0, 1)


def _cut(top: float, bottom: float, left: float, right: float) -> Callable[[np.ndarray], np.ndarray]:
    def cut(plane: np.ndarray) -> np.ndarray:
        height, width = plane.shape
        part = plane[round(top * height) : round(bottom * height), round(left * width) : round(right * width)]
        return _enlarged(part, min(plane.shape))

    return cut


def _enlarged(plane: np.ndarray, shortest: int) -> np.ndarray:
    scale = shortest / min(plane.shape)
    size = (round(plane.shape[1] * scale), round(plane.shape[0] * scale))
    return np.asarray(Image.fromarray(np.ascontiguousarray(plane)).resize(size, Image.Resampling.BILINEAR))


def _blurred(share: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda plane: gaussian_filter(plane, share * min(plane.shape))


def _exposed(curve: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    # spread within their grey levels first: a curve would leave gaps between these, which no film exposed so has
    def expose(plane: np.ndarray) -> np.ndarray:
        spread = (_random_of(plane).random(plane.shape, dtype=np.float32) - 0.5) / 255
        return curve(np.clip(plane + spread, 0, 1))

    return expose


def _noisy(deviation: float) -> Callable[[np.ndarray], np.ndarray]:
    def add(plane: np.ndarray) -> np.ndarray:
        return np.clip(plane + _random_of(plane).normal(0, deviation, plane.shape), 0, 1).astype(np.float32)

    return add


def _random_of(plane: np.ndarray) -> np.random.Generator:
    """Return a generator that is the same for the same film."""
    return np.random.default_rng(round(1e6 * float(plane.mean())))


GEOMETRY = tuple(
    _geometry(quarters, is_mirrored, is_inverted)
    for is_inverted in (False, True)
    for is_mirrored in (False, True)
    for quarters in range(4)
    if quarters or is_mirrored or is_inverted
)
"""The fifteen ways in which a film can be turned by quarters, mirrored and inverted."""

ALTERATIONS = (
    *GEOMETRY,
    Alteration("tilted to the left", Code.GATE_ROTATED, _tilted(15)),
    Alteration("tilted to the right", Code.GATE_ROTATED, _tilted(-15)),
    Alteration("the upper half alone", Code.GATE_CROPPED, _cut(0, 0.5, 0, 1)),
    Alteration("the lower half alone", Code.GATE_CROPPED, _cut(0.5, 1, 0, 1)),
    Alteration("the left half alone", Code.GATE_CROPPED, _cut(0, 1, 0, 0.5)),
    Alteration("the right half alone", Code.GATE_CROPPED, _cut(0, 1, 0.5, 1)),
    Alteration("the middle alone", Code.GATE_CROPPED, _cut(0.25, 0.75, 0.25, 0.75)),
    Alteration("blurred", Code.GATE_BLURRED, _blurred(0.0125)),
    Alteration("much blurred", Code.GATE_BLURRED, _blurred(0.025)),
    Alteration("too bright", Code.GATE_CLIPPED, _exposed(lambda plane: np.clip(plane * 2.2, 0, 1))),
    Alteration("too dark", Code.GATE_CLIPPED, _exposed(lambda plane: np.clip(plane * 1.6 - 0.6, 0, 1))),
    Alteration("pale", Code.GATE_CLIPPED, _exposed(lambda plane: plane**0.25)),
    Alteration("dark", Code.GATE_CLIPPED, _exposed(lambda plane: plane**4)),
    Alteration("noisy", Code.GATE_BLURRED, _noisy(0.15)),
)
