"""A lateral chest radiograph of the patient that the frontal films show, drawn from the same anatomy.

As `cxr_monai.data.phantom.anatomy`, in coordinates of the same film: ``x`` is 0 halfway between back and breastbone and
grows towards the front (the patient faces the right of the image: DICOM's Patient Orientation ``A\\F``), ``y`` grows
downwards. The two lungs lie over each other, each above its own diaphragm; before the heart's base and behind the heart
both are seen through each other and nothing else (the retrosternal and the retrocardiac clear spaces).

Of findings it shows a large heart, flat diaphragms, fluid in the sulcus behind, masses and nodules. The others have no
sign of their own here, and none has a mask or a box: their plans are those of frontal films.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from cxr_monai.data.phantom.anatomy import (
    LUNG_AIR,
    RIGHT,
    Body,
    Field,
    Grid,
    draw_lines,
    grow_vessels,
    rib_profile,
)
from cxr_monai.data.phantom.lesions import Plan

_HILUM = (0.0, 0.42)
_ARCH = (-0.015, 0.335, 0.072)  # of the aorta: centre x, y, radius


@dataclass(frozen=True)
class _Side:
    """The borders of a chest that is seen from its side, at each pixel."""

    grid: Grid
    body: Body
    depth: float  # half of the distance from back to breastbone
    back: Field  # the ribs' inner border behind, x at each y
    front: Field  # behind the breastbone
    spine: Field  # middle of the vertebral bodies, x at each y
    domes: tuple[Field, Field]  # y of the right and left diaphragm at each x

    @classmethod
    def of(cls, grid: Grid, body: Body) -> "_Side":
        x, y, depth = grid.x, grid.y, body.half_width * body.depth
        floor = body.dome + body.dome_curve + 0.04
        down = np.clip((y - np.float32(body.apex)) / np.float32(floor - body.apex), 0, 1)
        back = -depth * (0.35 + 0.75 * np.sin(np.pi * (0.15 + 0.5 * down)))
        front = depth * (0.2 + 0.85 * down ** np.float32(0.7))
        behind = np.maximum(0.15 * depth - x, 0) / depth
        ahead = np.maximum(x - 0.15 * depth, 0) / depth
        curve = (body.dome_curve + 0.05) * behind * behind + 0.5 * body.dome_curve * ahead * ahead
        domes = tuple(
            (np.float32(body.dome - lift) + curve).astype(np.float32)
            for lift in (body.dome_lift[0] + 0.008, body.dome_lift[1] - 0.008)
        )
        return cls(grid, body, depth, back, front, back + np.float32(0.27 * depth), (domes[0], domes[1]))

    def lung(self, dome: Field) -> Field:
        """Return a lung, 0 to 1, above its diaphragm."""
        x, y, edge = self.grid.x, self.grid.y, self.grid.edge
        top = self.body.apex + 1.6 * (x + 0.25 * self.depth) ** 2
        return edge(x - self.back) * edge(self.front - x) * edge(y - top, 0.012) * edge(dome - y, 0.008)


def draw_lateral(grid: Grid, body: Body, plans: Sequence[Plan], rng: np.random.Generator) -> tuple[Field, np.ndarray]:
    """Draw a chest from its side.

    Args:
        grid: the patient's coordinates of each pixel.
        body: the anatomy, as the findings have changed it.
        plans: of the findings.
        rng: decides the branching of the vessels, and how far in front a mass lies.

    Returns:
        the density, float32 ``[H, W]``; and both lungs without the heart, bool ``[H, W]``.
    """
    side, edge = _Side.of(grid, body), grid.edge
    right, left = (side.lung(dome) for dome in side.domes)
    lungs, heart = (right + left) / 2, _heart(side)
    density = _trunk(side)
    below = sum(edge(grid.y - dome, 0.012) for dome in side.domes) / 2
    density += 0.16 * below * edge(grid.x - side.back + 0.02, 0.03) * edge(side.front + 0.02 - grid.x, 0.03)
    across = np.clip((grid.x - side.back) * (side.front - grid.x) / np.float32(side.depth**2), 0, 1)
    depth = lungs * (0.55 + 0.45 * np.sqrt(across))
    density -= np.float32(1.12 * LUNG_AIR * body.air) * depth * (1 - 0.60 * heart)
    density += 0.05 * heart * lungs
    _add_vessels_of_the_middle(density, side, lungs)
    _add_bones_from_the_side(density, side)
    _add_gas(density, side)
    pieces = [grow_vessels(rng) for _ in range(2)]
    for sign, tree in zip((1, -1), pieces, strict=True):
        tree[:, [0, 2]] = sign * (tree[:, [0, 2]] - 0.075)
    drawn = gaussian_filter(draw_lines(grid, np.concatenate(pieces)), 0.0022 * grid.size, truncate=2.5)
    density += np.float32(0.9 * body.vessel_strength) * drawn * lungs * (1 - 0.7 * heart)
    for plan in plans:
        _add_finding(density, side, plan, (right, left), float(rng.random()))
    return density.astype(np.float32, copy=False), (lungs * (1 - heart)) > 0.5


def _heart(side: _Side) -> Field:
    grid, body = side.grid, side.body
    half = 0.78 * body.cardiothoracic * body.half_width
    x, y = grid.x - np.float32(0.36 * side.depth), grid.y - np.float32(body.heart_centre + 0.035)
    # its axis runs from behind above to the front below
    along, over = 0.86 * y + 0.5 * x, 0.86 * x - 0.5 * y
    radius = np.sqrt((along / (1.02 * body.heart_half_height)) ** 2 + (over / half) ** 2)
    return grid.edge((1 - radius) * np.float32(half), 0.012)


def _trunk(side: _Side) -> Field:
    """Return the density of the soft tissue: trunk, neck, shoulders and the arms, which are held up."""
    grid, body, edge = side.grid, side.body, side.grid.edge
    x, y = grid.x, grid.y
    bust = body.breast_height - 0.02
    breast = float(np.mean(body.breast)) * np.exp(-(((y - bust) / np.float32(0.1)) ** 2))
    skin_front = side.front + np.float32(0.022 + 0.75 * body.fat) + breast
    skin_back = side.back - np.float32(0.035 + 0.45 * body.fat)
    inside = edge(skin_front - x, 0.012) * edge(x - skin_back, 0.012)
    middle, half = (skin_front + skin_back) / 2, (skin_front - skin_back) / 2
    thickness = np.sqrt(np.clip(1 - ((x - middle) / np.maximum(half, np.float32(1e-3))) ** 2, 0, 1))
    # above it the neck, and the shoulders with the arms, which are held up and forwards
    neck = edge(0.085 - np.abs(x + 0.03), 0.03)
    collar = np.float32(body.apex + 0.01)
    trunk = np.minimum(inside * edge(y - collar, 0.12) + neck * edge(collar - y, 0.12), 1)
    shoulders = np.sqrt(((x + 0.04) / np.float32(1.05 * side.depth)) ** 2 + ((y - 0.17) / np.float32(0.13)) ** 2)
    shoulder = edge((1 - shoulders) * np.float32(0.13), 0.05)
    along, off = _along(x, y, (-0.02, 0.15), (0.30, -0.06))
    arm = edge(0.055 - off, 0.02) * edge(along, 0.05)
    bone = edge(0.017 - off, 0.008) * edge(along - 0.02, 0.03)
    density = trunk * (0.44 + 0.46 * thickness * edge(y - 0.10, 0.25) + 0.4 * min(body.fat, 0.2))
    upper = 0.38 * np.maximum(shoulder, arm) + 0.12 * shoulder * np.exp(-(shoulders**2)) + 0.10 * bone
    return np.maximum(density + 0.55 * upper * trunk, upper).astype(np.float32)


def _along(x: Field, y: Field, start: tuple[float, float], end: tuple[float, float]) -> tuple[Field, Field]:
    """Return how far each pixel lies along a line from its start, and its distance from the line."""
    across, down = end[0] - start[0], end[1] - start[1]
    length = float(np.hypot(across, down))
    right, below = (x - np.float32(start[0])) / np.float32(length), (y - np.float32(start[1])) / np.float32(length)
    return right * across + below * down, np.abs(right * down - below * across)


def _add_vessels_of_the_middle(density: Field, side: _Side, lungs: Field) -> None:
    """Aorta, hila, and the windpipe between them."""
    grid, body, edge = side.grid, side.body, side.grid.edge
    x, y = grid.x, grid.y
    centre_x, centre_y, radius = _ARCH
    away = np.sqrt((x - np.float32(centre_x)) ** 2 + (y - np.float32(centre_y)) ** 2)
    wide = np.float32(0.022 + 0.25 * body.aorta)
    arch = edge(wide - np.abs(away - np.float32(radius)), 0.012) * edge(np.float32(centre_y + 0.02) - y, 0.03)
    rising = edge(wide - np.abs(x - np.float32(centre_x + radius) - 0.25 * (y - centre_y)), 0.012)
    rising *= edge(y - np.float32(centre_y), 0.03) * edge(np.float32(body.heart_centre) - y, 0.05)
    falling = edge(wide - np.abs(x - side.spine - 0.055), 0.015) * edge(y - np.float32(centre_y), 0.04)
    density += 0.11 * np.maximum(arch, rising) * lungs + 0.045 * falling * lungs
    hila = np.exp(-(((x - _HILUM[0]) / np.float32(0.035)) ** 2 + ((y - _HILUM[1]) / np.float32(0.035)) ** 2))
    density += np.float32(0.10 + 0.6 * body.hila) * hila * lungs
    windpipe = edge(0.016 - np.abs(x - 0.032 + 0.13 * (y - 0.05)), 0.007) * edge(0.40 - y, 0.02)
    bronchus = edge(0.013 - np.sqrt((x + 0.012) ** 2 + (y - 0.415) ** 2), 0.006)
    density -= 0.14 * np.maximum(windpipe, bronchus)


def _add_bones_from_the_side(density: Field, side: _Side) -> None:
    """Vertebral bodies, breastbone, the ribs of both sides, shoulder blades."""
    grid, body, edge = side.grid, side.body, side.grid.edge
    x, y = grid.x, grid.y
    spacing = np.float32(0.9 * body.rib_spacing)
    phase = y / spacing - np.floor(y / spacing)
    disc = np.exp(-(((phase - 0.5) / np.float32(0.11)) ** 2))
    plate = np.exp(-(((np.abs(phase - 0.5) - 0.2) / np.float32(0.05)) ** 2))
    off = np.abs(x - side.spine)
    half = np.float32(0.125 * side.depth)
    column = edge(half - off, 0.006)
    density += column * (0.17 - 0.10 * disc + 0.05 * plate)
    density += 0.05 * np.exp(-(((off - half) / np.float32(0.004)) ** 2)) * (1 - disc)
    density += 0.06 * edge(np.float32(0.1 * side.depth) - np.abs(x - side.spine + 0.22 * side.depth), 0.02) * (1 - disc)
    bone = np.abs(x - side.front - 0.010)
    sternum = edge(0.011 - bone, 0.005) * (0.7 + 0.5 * edge(bone - 0.006, 0.004))
    density += 0.15 * sternum * edge(y - body.apex - 0.06, 0.02) * edge(np.float32(body.dome - 0.06) - y, 0.03)
    cage = edge(x - side.back + 0.016, 0.01) * edge(side.front + 0.006 - x, 0.01) * edge(y - body.apex, 0.02)
    slope = np.float32(0.42 * body.rib_drop / 0.20)
    for moved, share in ((0.0, 0.8), (0.017, 0.55)):
        height = y - np.float32(body.apex + moved) - slope * (x - side.back) - 0.25 * (x - side.back) ** 2
        ribs = rib_profile(height, 1.05 * body.rib_spacing, 9, 0.0085)
        density += np.float32(share * body.rib_strength) * ribs * cage * edge(side.front - 0.06 - x, 0.08)
    for moved in (0.0, 0.035):
        blade = np.abs(x - side.back - np.float32(0.01 + moved) - 0.12 * (y - 0.15))
        density += 0.06 * edge(0.006 - blade, 0.006) * edge(y - 0.12, 0.03) * edge(0.40 - y, 0.04)


def _add_gas(density: Field, side: _Side) -> None:
    """The stomach's bubble, below the left diaphragm."""
    if side.body.stomach <= 0.008:
        return
    grid, radius = side.grid, np.float32(side.body.stomach)
    roof = np.float32(side.body.dome - side.body.dome_lift[1] + 0.025)
    bubble = np.sqrt((grid.x / (1.6 * radius)) ** 2 + ((grid.y - roof - radius) / radius) ** 2)
    density -= 0.2 * grid.edge(1 - bubble, 0.5)


def _add_finding(density: Field, side: _Side, plan: Plan, lungs: tuple[Field, Field], forwards: float) -> None:
    grid, body, edge = side.grid, side.body, side.grid.edge
    number = 0 if plan.side == RIGHT else 1
    if plan.finding == "Effusion":
        height = np.float32(0.35 * plan.height / grid.zoom + 0.03)
        level = np.float32(body.dome + body.dome_curve + 0.04) - height
        near = np.minimum(np.maximum(grid.x - side.back, 0), np.maximum(side.front - grid.x, 0))
        shape = lungs[number] * edge(grid.y - level + 0.05 * np.exp(-near / np.float32(0.03)), 0.015)
        density += np.float32(0.5 * LUNG_AIR) * shape
    if plan.finding in ("Mass", "Nodule"):
        radius = np.float32((plan.width + plan.height) / 4 / grid.zoom)
        y = np.float32(body.apex + 0.08 + plan.down * (body.dome - body.apex - 0.16))
        x = np.float32((0.1 + 0.7 * forwards) * side.depth - 0.5 * side.depth)
        inside = 1 - np.sqrt((grid.x - x) ** 2 + (grid.y - y) ** 2) / radius
        bulk = np.sqrt(np.clip(1.5 * inside, 0, 1))
        density += np.float32(0.34 * plan.strength) * edge(inside * radius, 0.008) * (0.5 + 0.5 * bulk)
