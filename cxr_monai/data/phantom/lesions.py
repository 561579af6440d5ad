"""How each of the 14 findings looks: one function a finding.

A finding is first planned (`plan_lesion`: its side, size and place), then may change the anatomy before anything is
drawn (`adjust_body`), then is drawn into the chest's density (`draw_lesion`), which returns its mask: the pixels that a
reader would outline. Plans come from a patient's own random stream, so that a finding seen again at a follow-up is the
same one.

Sizes follow NIH's hand-drawn boxes (``BBox_List_2017.csv``) for the eight findings that have some; the quartiles below
are of that table, in 1/1024 of the image. The other six are set by eye.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import gaussian_filter

from cxr_monai.data.phantom.anatomy import LEFT, LUNG_AIR, RIGHT, Body, Chest, Field, draw_lines, grow_vessels
from cxr_monai.data.phantom.film import clouds

# finding: (lower quartile, median, upper quartile) of the width, of the height, correlation of their logarithms
_SIZES: dict[str, tuple[tuple[float, float, float], tuple[float, float, float], float]] = {
    "Atelectasis": ((128, 171, 245), (83, 118, 186), 0.3),
    "Cardiomegaly": ((445, 478, 512), (344, 382, 416), 0.5),
    "Effusion": ((157, 208, 265), (158, 277, 461), 0.3),
    "Infiltration": ((194, 228, 262), (192, 265, 394), 0.5),
    "Mass": ((96, 120, 170), (102, 141, 232), 0.85),
    "Nodule": ((55, 70, 87), (56, 68, 80), 0.85),
    "Pneumonia": ((190, 229, 265), (194, 275, 378), 0.6),
    "Pneumothorax": ((130, 201, 262), (120, 206, 299), 0.5),
    "Consolidation": ((150, 190, 235), (150, 200, 270), 0.6),
    "Pleural_Thickening": ((44, 58, 76), (200, 280, 370), 0.2),
    "Hernia": ((150, 190, 230), (140, 175, 215), 0.7),
}


@dataclass(frozen=True)
class Plan:
    """Side, size, place and strength of one finding in one patient."""

    finding: str
    side: float  # -1: the patient's right, 1: left
    width: float  # of its box, in widths of the film
    height: float
    across: float  # 0 to 1: from the midline to the wall
    down: float  # 0 to 1: from the highest place it may have to the lowest
    strength: float  # 0.75 to 1.25


def plan_lesion(finding: str, rng: np.random.Generator) -> Plan:
    """Return a finding's side, size and place.

    Args:
        finding: one of the 14.
        rng: the same amount is always taken from it.
    """
    z = rng.standard_normal(2)
    across, down, side, strength = rng.random(4)
    width = height = 0.0
    if finding in _SIZES:
        widths, heights, correlation = _SIZES[finding]
        z[1] = correlation * z[0] + np.sqrt(1 - correlation**2) * z[1]
        width, height = _from_quartiles(widths, z[0]), _from_quartiles(heights, z[1])
    return Plan(finding, LEFT if side < 0.45 else RIGHT, width, height, across, down, 0.8 + 0.4 * strength)


def _from_quartiles(quartiles: tuple[float, float, float], z: float) -> float:
    """Return the size at the normal deviate ``z`` of a two-sided log-normal with these quartiles, tails cut off."""
    low, middle, high = np.log(quartiles)
    z = float(np.clip(z, -1.7, 1.7))
    return float(np.exp(middle + z / 0.6745 * (high - middle if z > 0 else middle - low)) / 1024)


def adjust_body(body: Body, plan: Plan, zoom: float) -> Body:
    """Return the anatomy as the finding changes it.

    Args:
        body: the anatomy without the finding.
        plan: of the finding.
        zoom: of the film, in whose widths the plan's sizes are.
    """
    lift = list(body.dome_lift)
    side_index = 0 if plan.side == RIGHT else 1
    if plan.finding == "Cardiomegaly":
        ratio = plan.width / zoom / (2 * body.half_width)
        half = plan.height / zoom / 2
        centre = body.heart_centre + 0.3 * (body.heart_half_height - half)
        return replace(
            body, cardiothoracic=float(np.clip(ratio, 0.55, 0.80)), heart_half_height=half, heart_centre=centre
        )
    if plan.finding == "Emphysema":
        return replace(
            body,
            dome=min(body.dome + 0.02 * plan.strength, 0.79),
            dome_lift=(0.006, 0.0),
            dome_curve=body.dome_curve * 0.35,
            cardiothoracic=body.cardiothoracic * 0.9,
            air=body.air * 1.02,
            vessel_strength=body.vessel_strength * 0.5,
            rib_spacing=body.rib_spacing * 1.08,
            rib_slope=body.rib_slope * 0.3,
        )
    if plan.finding == "Fibrosis":
        return replace(body, dome=body.dome - 0.02)
    if plan.finding == "Atelectasis":
        lift[side_index] += 0.02 + 0.02 * plan.strength
        return replace(body, dome_lift=(lift[0], lift[1]))
    return body


def draw_lesion(chest: Chest, plan: Plan, rng: np.random.Generator) -> np.ndarray:
    """Draw a finding; return its mask, bool ``[H, W]``, never empty.

    Args:
        chest: its density and vessels are changed in place.
        plan: of the finding.
        rng: of the texture.
    """
    shape = _DRAW[plan.finding](chest, plan, rng)
    mask = (shape > 0.5) & (chest.skin > 0.5)
    if not mask.any():
        mask.flat[int(np.argmax(shape * chest.skin))] = True
    return mask


def _fill(chest: Chest, shape: Field, amount: float) -> None:
    """Replace a share of the lung's air, 0 to 1, by tissue."""
    chest.density += np.float32(amount * LUNG_AIR) * shape * chest.depth * (1 - 0.6 * chest.heart)


def _place(chest: Chest, plan: Plan, high: float = 0.0, low_lying: float = 1.0) -> tuple[Field, Field]:
    """Return coordinates relative to the lesion's centre, in half widths and half heights of its box.

    The box lies within the lung where it fits, below the share ``high`` of the lung's height; ``low_lying`` above 1
    makes the lower places commoner.
    """
    body, side = chest.body, plan.side
    half_w, half_h = plan.width / chest.grid.zoom / 2, plan.height / chest.grid.zoom / 2
    top, bottom = body.apex + 0.03, float(body.diaphragm(0.22, side))
    first, last = top + high * (bottom - top) + half_h, bottom - half_h
    y = first + plan.down ** (1 / low_lying) * (last - first) if last > first else (first + last) / 2
    inner = max(0.06, float(body.heart_border(np.array(y), side)) - 0.02)
    outer = float(body.wall(y, side)) - 0.012
    near, far = inner + half_w, outer - half_w
    a = near + plan.across * (far - near) if far > near else outer - half_w
    signed = chest.a * chest.side * side  # distance from the midline towards the lesion's side
    return (signed - np.float32(a)) / np.float32(half_w), (chest.grid.y - np.float32(y)) / np.float32(half_h)


def _soft(chest: Chest, inside: Field, plan: Plan, softness: float) -> Field:
    """Turn 1 - radius into 0 to 1 with a border of ``softness`` in widths of the film."""
    scale = min(plan.width, plan.height) / chest.grid.zoom / 2
    return chest.grid.edge(inside * np.float32(scale), softness)


def _atelectasis(chest: Chest, plan: Plan, rng: np.random.Generator) -> Field:
    """Plates at the base, or a collapsed segment with a straight border; `adjust_body` lifts the diaphragm."""
    # the tapering ends are not seen: a little more makes the box as large as planned
    plan = replace(plan, width=1.07 * plan.width, height=1.12 * plan.height)
    across, down = _place(chest, plan, high=0.35, low_lying=2.5)
    ellipse = 1 - np.sqrt(across * across + down * down)
    if plan.height > 0.95 * plan.width:
        fissure = _soft(chest, down + 0.5 * across + np.float32(0.25), plan, 0.01)
        shape = _soft(chest, ellipse + np.float32(0.12), plan, 0.03) * fissure * chest.lung
        _fill(chest, shape, 0.72 * plan.strength)
        chest.vessels *= 1 - 0.7 * shape
        return shape
    tilt = np.float32(rng.choice([-1, 1]) * rng.uniform(0.45, 0.8))
    bands = np.zeros_like(across)
    half_h = plan.height / chest.grid.zoom / 2
    for offset in rng.uniform(-0.25, 0.25) + np.array([-0.55, 0.0, 0.55])[: 3 if half_h > 0.045 else 2]:
        off = (down - tilt * across - np.float32(offset) + 0.08 * across * across) * np.float32(half_h)
        bands = np.maximum(bands, np.exp(-((off / np.float32(0.0075)) ** 2)))
    shape = bands * _soft(chest, ellipse + np.float32(0.12), plan, 0.02) * chest.lung
    chest.density += np.float32(0.30 * plan.strength) * shape
    return np.minimum(shape * 1.6, 1)


def _cardiomegaly(chest: Chest, plan: Plan, rng: np.random.Generator) -> Field:
    """The heart itself, which `adjust_body` has widened."""
    body = chest.body
    top = np.float32(body.heart_centre - body.heart_half_height)
    return chest.heart * chest.inside * chest.grid.edge(chest.grid.y - top)


def _effusion(chest: Chest, plan: Plan, rng: np.random.Generator) -> Field:
    """Fluid: hides the costophrenic angle, its upper border rises towards the wall (meniscus)."""
    body, side = chest.body, plan.side
    # the thin edges of the fluid are not seen: a little more of it makes the box as large as planned
    width, height = 1.45 * plan.width / chest.grid.zoom, plan.height / chest.grid.zoom + 0.035
    outer = float(body.width(side))
    bottom = float(body.diaphragm(outer, side))
    medial = max(outer - width, 0.03)
    end = max(float(body.diaphragm(medial, side)), bottom - height + 0.01)
    u = np.clip((chest.wall - chest.a) / np.float32(outer - medial), 0, 1)
    level = np.float32(bottom - height) + np.float32(end - bottom + height) * (0.35 * np.sqrt(u) + 0.65 * u**2)
    on_side = chest.grid.edge(chest.a * chest.side * side)
    shape = chest.inside * on_side * chest.grid.edge(chest.grid.y - level, 0.018) * (1 - 0.7 * chest.heart)
    shape *= chest.grid.edge(chest.a - np.float32(medial), 0.02)
    _fill(chest, shape, 0.95)
    chest.vessels *= 1 - shape
    return shape


def _infiltration(chest: Chest, plan: Plan, rng: np.random.Generator) -> Field:
    """Patchy and ill-defined: mottles that fade out."""
    across, down = _place(chest, plan, low_lying=2.0)
    ellipse = _soft(chest, 1.05 - np.sqrt(across * across + down * down), plan, 0.05)
    mottles = np.clip(0.45 + 0.75 * clouds(rng, 26, chest.grid.size), 0, 1.6)
    shape = ellipse * chest.lung
    _fill(chest, shape * mottles, 0.40 * plan.strength)
    return shape


def _rounded(chest: Chest, plan: Plan, rng: np.random.Generator, lobes: float, high: float = 0.05) -> Field:
    across, down = _place(chest, plan, high=high, low_lying=1.3)
    radius = np.sqrt(across * across + down * down)
    angle = np.arctan2(down, across)
    wave = sum(
        rng.normal(0, lobes / order) * np.cos(order * angle + np.float32(rng.uniform(0, 6.28))) for order in (2, 3, 5)
    )
    return 1 - radius * (1 - wave)


def _mass(chest: Chest, plan: Plan, rng: np.random.Generator) -> Field:
    """A large round opacity, dense, lobulated."""
    inside = _rounded(chest, plan, rng, 0.08)
    shape = _soft(chest, inside, plan, 0.01) * chest.inside
    bulk = np.sqrt(np.clip(inside * 2.5, 0, 1))
    chest.density += np.float32(0.38 * plan.strength) * shape * (0.55 + 0.45 * bulk)
    chest.vessels *= 1 - shape
    return shape


def _nodule(chest: Chest, plan: Plan, rng: np.random.Generator) -> Field:
    """Small, round, sharply bordered."""
    inside = _rounded(chest, plan, rng, 0.04)
    shape = _soft(chest, inside, plan, 0.007) * chest.inside
    chest.density += np.float32(0.43 * plan.strength) * shape * (0.5 + 0.5 * np.sqrt(np.clip(inside * 1.5, 0, 1)))
    chest.vessels *= 1 - shape
    return shape


def _pneumonia(chest: Chest, plan: Plan, rng: np.random.Generator) -> Field:
    """A segment's opacity with a straight border at the fissure and dark branching air in it (air bronchograms)."""
    across, down = _place(chest, plan, high=0.15, low_lying=2.0)
    ellipse = _soft(chest, 1.1 - np.sqrt(across * across + down * down), plan, 0.035)
    fissure = _soft(chest, rng.choice([-1.0, 1.0]) * (down + 0.35 * across) + 0.6, plan, 0.008)
    shape = ellipse * fissure * chest.lung
    _fill(chest, shape, 0.56 * plan.strength)
    chest.vessels *= 1 - shape
    tubes = grow_vessels(rng, levels=4, trunks=5)
    half_w, half_h = plan.width / chest.grid.zoom / 2, plan.height / chest.grid.zoom / 2
    tubes[:, 4] = np.maximum(0.75 * tubes[:, 4], 0.005)
    # the tree enters the lesion from the hilum's side and spreads through it
    centre = np.argmin(across * across + down * down)
    x, y = float(chest.grid.x.flat[centre]) - plan.side * 0.75 * half_w, float(chest.grid.y.flat[centre])
    tubes[:, [0, 2]] = x + plan.side * (tubes[:, [0, 2]] - 0.075) * (half_w / 0.11)
    tubes[:, [1, 3]] = y + (tubes[:, [1, 3]] - 0.41) * (half_h / 0.15)
    air = gaussian_filter(draw_lines(chest.grid, tubes), 0.002 * chest.grid.size, truncate=2.5)
    chest.density -= np.float32(0.30 * plan.strength) * air * shape
    return shape


def _pneumothorax(chest: Chest, plan: Plan, rng: np.random.Generator) -> Field:
    """Air outside the lung: a dark rim without markings at the apex and side, ended by the thin line of the pleura."""
    body, side = chest.body, plan.side
    width, height = plan.width / chest.grid.zoom, plan.height / chest.grid.zoom
    y, a, edge = chest.grid.y, chest.a, chest.grid.edge
    top, height = body.apex, height + 0.03  # the rim's thin end is not seen
    gap = np.float32(min(0.25 * width + 0.12 * height, 0.13))
    reach = np.float32(float(body.wall(top + min(height, 0.5), side)))
    below = np.clip((np.float32(top + height) - y) / np.float32(max(0.6 * height, 0.03)), 0, 1)
    medial = np.clip((a - (reach - np.float32(width))) / np.float32(max(0.4 * width, 0.02)), 0, 1)
    margin = gap * np.sqrt(below) * np.sqrt(medial)
    from_wall = np.minimum(chest.wall - a, y - body.top(a))
    on_side = edge(a * chest.side * side, 0.004)
    shape = edge(margin - from_wall - 0.002, 0.006) * chest.inside * on_side
    shape *= np.minimum(below * 20, 1) * np.minimum(medial * 20, 1)
    line = np.exp(-(((from_wall - margin) / np.float32(0.0055)) ** 2)) * chest.inside * on_side
    line *= (margin > 0.012) * (1 - 0.6 * chest.heart)
    chest.vessels *= 1 - shape
    chest.density -= np.float32(0.20 * plan.strength) * shape * np.sqrt(chest.depth)
    chest.density += np.float32(0.24 * plan.strength) * line
    return shape


def _consolidation(chest: Chest, plan: Plan, rng: np.random.Generator) -> Field:
    """Dense and even: hides the vessels."""
    across, down = _place(chest, plan, low_lying=2.0)
    ragged = 0.2 * clouds(rng, 16, chest.grid.size)
    shape = _soft(chest, 1.05 - np.sqrt(across * across + down * down) + ragged, plan, 0.04) * chest.lung
    _fill(chest, shape, 0.68 * plan.strength)
    chest.vessels *= 1 - shape
    return shape


def _edema(chest: Chest, plan: Plan, rng: np.random.Generator) -> Field:
    """Bat's wings of haze around both hila, blurred vessels, and Kerley's short lines at the lateral bases."""
    grid, body = chest.grid, chest.body
    q = ((chest.a - 0.11) / 0.105) ** 2 + ((grid.y - 0.46) / 0.15) ** 2
    wings = np.exp(-0.5 * q * np.sqrt(q)) * chest.inside
    grain = np.clip(0.7 + 0.7 * clouds(rng, 40, grid.size), 0, 2)
    _fill(chest, wings * grain, 0.30 * plan.strength)
    chest.vessels *= 1 + 0.4 * wings
    lines = []
    for side in (RIGHT, LEFT):
        floor = float(body.diaphragm(body.half_width, side))
        for y in np.linspace(floor - 0.20, floor - 0.03, 13) + rng.normal(0, 0.0035, 13):
            outer = float(body.wall(y, side)) - 0.004
            length = rng.uniform(0.02, 0.055)
            lines.append((side * outer, y, side * (outer - length), y + rng.normal(0, 0.005), 0.0042))
    kerley = draw_lines(grid, np.array(lines)) * chest.inside
    chest.density += np.float32(0.26 * plan.strength) * kerley
    return np.maximum(wings * 1.3, kerley)


def _emphysema(chest: Chest, plan: Plan, rng: np.random.Generator) -> Field:
    """Overinflated: `adjust_body` has flattened the diaphragm and thinned the vessels; here come thin-walled bullae."""
    grid, body = chest.grid, chest.body
    for _ in range(int(rng.integers(3, 7))):
        side = rng.choice([RIGHT, LEFT])
        radius, y = rng.uniform(0.025, 0.05), body.apex + rng.uniform(0.06, 0.3)
        a = rng.uniform(0.1, max(float(body.wall(y, side)) - radius, 0.11))
        distance = np.sqrt((chest.a * chest.side - np.float32(side * a)) ** 2 + (grid.y - np.float32(y)) ** 2)
        hole = grid.edge(np.float32(radius) - distance, 0.008) * chest.lung
        wall = np.exp(-(((distance - np.float32(radius)) / np.float32(0.004)) ** 2)) * chest.lung
        chest.vessels *= 1 - hole
        chest.density += 0.06 * wall - 0.05 * hole
    return chest.lung


def _fibrosis(chest: Chest, plan: Plan, rng: np.random.Generator) -> Field:
    """A net of fine lines (reticular pattern), at the bases and the periphery of both lungs."""
    grid, body = chest.grid, chest.body
    start = body.apex + (0.35 + 0.25 * plan.down) * (body.dome - body.apex)
    region = grid.edge(grid.y - np.float32(start) + 0.35 * np.maximum(chest.a - 0.2, 0), 0.10) * chest.lung
    region *= grid.edge(chest.a - 0.12, 0.12)
    net = np.exp(-((clouds(rng, 60, grid.size) / np.float32(0.4)) ** 2))
    uneven = np.clip(1 + 0.5 * clouds(rng, 14, grid.size), 0.2, 2)
    chest.density += np.float32(0.16 * plan.strength) * region * uneven * (net - 0.25)
    return region


def _pleural_thickening(chest: Chest, plan: Plan, rng: np.random.Generator) -> Field:
    """A dense band along the side wall, or a cap over the apex, with an uneven inner border."""
    body, grid = chest.body, chest.grid
    thick, height = plan.width / grid.zoom, plan.height / grid.zoom
    uneven = 1 + 0.25 * clouds(rng, 16, grid.size)
    on_side = grid.edge(chest.a * chest.side * plan.side)
    if plan.across < 0.2:
        depth = np.minimum(chest.wall - chest.a, grid.y - body.top(chest.a))
        along = np.clip((body.apex + 0.6 * height - grid.y) / np.float32(0.3 * height), 0, 1)
    else:
        depth = chest.wall - chest.a
        first, last = body.apex + 0.10, body.dome + 0.5 * body.dome_curve - height
        y = first + plan.down * max(last - first, 0)
        along = np.clip((0.5 * height - np.abs(grid.y - np.float32(y + 0.5 * height))) / np.float32(0.2 * height), 0, 1)
    shape = grid.edge(np.float32(thick) * uneven * np.sqrt(along) - depth - 0.004, 0.008) * chest.inside * on_side
    chest.density += np.float32(0.38 * plan.strength) * shape
    chest.vessels *= 1 - shape
    return shape


def _hernia(chest: Chest, plan: Plan, rng: np.random.Generator) -> Field:
    """The stomach behind the heart: a round wall with gas above a level of fluid."""
    body, grid = chest.body, chest.grid
    half_w, half_h = plan.width / grid.zoom / 2, plan.height / grid.zoom / 2
    x = np.float32(0.05 * (plan.across - 0.3))
    y = np.float32(body.dome + 0.25 * body.dome_curve - 0.9 * half_h)
    radius = np.sqrt(((chest.a * chest.side - x) / np.float32(half_w)) ** 2 + ((grid.y - y) / np.float32(half_h)) ** 2)
    scale = np.float32(min(half_w, half_h))
    shape = grid.edge((1 - radius) * scale, 0.008) * chest.skin
    wall = np.exp(-(((1 - radius) * scale / np.float32(0.007)) ** 2))
    gas = shape * grid.edge(y + np.float32(0.1 * half_h) - grid.y, 0.004)
    chest.density += 0.10 * wall + 0.12 * shape - np.float32(0.33 * plan.strength) * gas
    chest.vessels *= 1 - shape
    return shape


# in the order of drawing: what replaces lung comes after what changes it
_DRAW: dict[str, Callable[[Chest, Plan, np.random.Generator], Field]] = {
    "Emphysema": _emphysema,
    "Edema": _edema,
    "Fibrosis": _fibrosis,
    "Infiltration": _infiltration,
    "Pneumonia": _pneumonia,
    "Consolidation": _consolidation,
    "Atelectasis": _atelectasis,
    "Mass": _mass,
    "Nodule": _nodule,
    "Pneumothorax": _pneumothorax,
    "Pleural_Thickening": _pleural_thickening,
    "Cardiomegaly": _cardiomegaly,
    "Hernia": _hernia,
    "Effusion": _effusion,
}

DRAWING_ORDER: tuple[str, ...] = tuple(_DRAW)
