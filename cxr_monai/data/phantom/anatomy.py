"""A frontal chest without findings, drawn from curves on the unit square.

Coordinates are the patient's, not the image's: ``x`` is 0 at the midline and grows towards the right of the image,
which is the patient's left (the heart's side); ``y`` is 0 at the top and 1 at the bottom of a film that fits. A `Grid`
says where each pixel lies in them, so rotation, zoom and shift are a matter of the grid alone and every curve below
stays simple. What is drawn is *density*: how much tissue a ray meets, 0 outside the body and about 1 in the abdomen.
Lungs subtract from it; heart, bones and vessels add to it; `film` turns it into grey levels.

`Body` holds the numbers that differ between patients; findings that change the anatomy (an enlarged heart, a flattened
diaphragm) change those numbers before anything is drawn.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter

Field = np.ndarray
"""A value at each pixel: float32 [H, W]."""

RIGHT, LEFT = -1.0, 1.0
"""The patient's sides, as the sign of ``x``."""

LUNG_AIR = 0.46
"""Density that a full depth of aerated lung takes away."""

_HILUM = (0.075, 0.41)


@dataclass(frozen=True)
class Grid:
    """Where the pixels of a square image lie in the patient's coordinates."""

    size: int
    zoom: float = 1.0
    angle: float = 0.0  # radians, clockwise
    shift: tuple[float, float] = (0.0, 0.0)  # of the patient in the image, in widths of the image
    x: Field = field(init=False, repr=False)
    y: Field = field(init=False, repr=False)

    def __post_init__(self) -> None:
        line = (np.arange(self.size, dtype=np.float32) + np.float32(0.5)) / np.float32(self.size) - np.float32(0.5)
        across, down = line[None, :] - np.float32(self.shift[0]), line[:, None] - np.float32(self.shift[1])
        cos, sin = np.float32(np.cos(self.angle) / self.zoom), np.float32(np.sin(self.angle) / self.zoom)
        object.__setattr__(self, "x", cos * across + sin * down)
        object.__setattr__(self, "y", cos * down - sin * across + np.float32(0.5))

    def to_pixels(self, points: NDArray) -> NDArray:
        """Return pixel coordinates (column, row) of ``points`` [..., 2] given as the patient's (x, y)."""
        x, y = points[..., 0] * self.zoom, (points[..., 1] - 0.5) * self.zoom
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        across, down = cos * x - sin * y + self.shift[0], sin * x + cos * y + self.shift[1]
        return np.stack([across + 0.5, down + 0.5], axis=-1) * self.size

    def edge(self, distance: Field, softness: float = 0.006) -> Field:
        """Return a smooth step from 0 to 1 across a border, 0.5 at distance 0, at least 1.5 pixels wide.

        Args:
            distance: from the border, positive inside.
            softness: width of the border; lengths are in widths of the film.
        """
        width = max(softness, 1.5 / (self.size * self.zoom))
        # the smooth step t * t * (3 - 2 * t), in place: called forty times an image, allocation is what costs
        ramp = distance * np.float32(1 / width)
        ramp += np.float32(0.5)
        np.maximum(ramp, 0, out=ramp)
        np.minimum(ramp, 1, out=ramp)
        square = ramp * ramp
        ramp *= -2
        ramp += 3
        ramp *= square
        return ramp


@dataclass(frozen=True)
class Body:
    """What differs between patients and between breaths. Lengths are in widths of the film."""

    half_width: float = 0.34  # of the thorax inside the ribs, at its widest
    skew: float = 0.0  # turned patient: one hemithorax wider than the other by this fraction
    apex: float = 0.11
    dome: float = 0.70  # height of the patient's left dome
    dome_lift: tuple[float, float] = (0.02, 0.0)  # (right, left), above that
    dome_curve: float = 0.09  # how far the costophrenic angle lies below the dome
    cardiothoracic: float = 0.45
    heart_half_height: float = 0.17
    heart_centre: float = 0.575
    aorta: float = 0.03  # how far the aortic knob stands out
    fat: float = 0.06  # between the ribs and the skin
    shoulder: float = 0.33  # slope of the shoulders
    breast: tuple[float, float] = (0.0, 0.0)  # density, (right, left)
    breast_height: float = 0.6
    rib_spacing: float = 0.062
    rib_strength: float = 0.08
    rib_slope: float = 0.05
    scoliosis: float = 0.0
    midline_shift: float = 0.0  # of the heart and the great vessels, towards the patient's left
    vessel_strength: float = 0.2
    hila: float = 0.13  # density of the large vessels at the lungs' roots
    air: float = 1.0  # of the lungs, relative
    stomach: float = 0.0  # radius of the gas bubble
    rib_drop: float = 0.20  # of the ribs in front, from the wall to the breastbone
    depth: float = 0.68  # of the thorax from back to front, relative to its width

    def width(self, side: Field | float) -> Field:
        """Return the half width of the hemithorax on a side.

        Args:
            side: -1 (the patient's right) or 1.
        """
        return np.asarray(self.half_width * (1 + self.skew * np.asarray(side)), dtype=np.float32)

    def wall(self, y: Field | float, side: Field | float) -> Field:
        """Return the distance of the ribs' inner border from the midline.

        Args:
            y: height, downwards.
            side: -1 (the patient's right) or 1.
        """
        floor = self.dome + self.dome_curve
        up = np.clip((floor - np.asarray(y, dtype=np.float32)) / (floor - self.apex), 0, 1)
        return self.width(side) * np.sqrt(np.maximum(1 - up * up * up, 0))

    def top(self, a: Field | float) -> Field:
        """Return the height of the upper border of the lung.

        Args:
            a: distance from the midline.
        """
        return self.apex + 4 * np.maximum(0.14 - np.asarray(a, dtype=np.float32), 0) ** 2

    def diaphragm(self, a: Field | float, side: Field | float) -> Field:
        """Return the height of the diaphragm.

        Args:
            a: distance from the midline.
            side: -1 (the patient's right) or 1.
        """
        a = np.asarray(a, dtype=np.float32)
        # the two domes meet at the midline without a step
        meet = 0.5 + 0.5 * np.asarray(side) * np.minimum(a / np.float32(0.09), 1)
        lift = np.float32(self.dome_lift[0]) * (1 - meet) + np.float32(self.dome_lift[1]) * meet
        width = self.width(side)
        away = (a - 0.5 * width) / (0.5 * width)
        curve = np.where(away > 0, np.float32(self.dome_curve) + lift, np.float32(0.35 * self.dome_curve))
        return np.float32(self.dome) - lift + curve * away * away

    def heart_border(self, y: Field, side: float) -> Field:
        """Return the distance of the heart's or great vessels' border from the midline.

        Args:
            y: height, downwards.
            side: -1 (the patient's right) or 1.
        """
        total = self.cardiothoracic * 2 * self.half_width
        share, centre = (0.67, self.heart_centre + 0.02) if side == LEFT else (0.33, self.heart_centre)
        base = 0.052 if side == LEFT else 0.058
        q = np.clip(1 - ((y - np.float32(centre)) / np.float32(self.heart_half_height)) ** 2, 0, 1)
        bulge = 0.55 * q + 0.45 * np.sqrt(q) if side == LEFT else 0.75 * q + 0.25 * np.sqrt(q)
        border = base + (share * total - base) * bulge
        if side == LEFT:
            border = border + self.aorta * _bell(y, 0.255, 0.035) + 0.026 * _bell(y, 0.375, 0.06)
        # a shifted heart; the great vessels above it follow by half
        border = border + np.float32(side * self.midline_shift) * (0.5 + 0.5 * np.sqrt(q))
        return border.astype(np.float32, copy=False)


@dataclass
class Chest:
    """A drawn chest: the fields that findings need, and the density that they change."""

    grid: Grid
    body: Body
    side: Field  # -1 or 1
    a: Field  # distance from the midline
    wall: Field
    diaphragm: Field
    inside: Field  # 0 to 1: between the ribs and above the diaphragm, heart included
    lung: Field  # 0 to 1: lung that is seen, heart and mediastinum taken out
    depth: Field  # 0 to 1: how much lung a ray crosses
    heart: Field  # 0 to 1
    skin: Field  # 0 to 1: body
    vessels: Field  # density of the lung's markings, not yet in `density`: findings may take them away
    density: Field


def sample_body(rng: np.random.Generator, age: float, sex: str) -> Body:
    """Return a patient's anatomy; ``age`` in years, ``sex`` "M" or "F"."""
    female = sex == "F"
    child = np.clip((18 - age) / 18, 0, 1)
    old = np.clip((age - 50) / 40, 0, 1)
    fat = rng.gamma(3.0, 0.025) * (1 - 0.6 * child)
    breast = rng.gamma(3.0, 0.035) * (1 - child) if female else rng.gamma(1.0, 0.012)
    # one breast may be missing or lie differently: densities of the two sides differ, with and without disease
    both = breast * np.clip(rng.normal(1, 0.25, 2), 0, 2) * (rng.random(2) > 0.05)
    return Body(
        half_width=float(np.clip(rng.normal(0.338 if female else 0.35, 0.018), 0.29, 0.40)),
        skew=float(rng.normal(0, 0.035)),
        apex=float(rng.normal(0.115, 0.015)),
        dome=float(np.clip(rng.normal(0.71 - 0.03 * child, 0.035), 0.62, 0.79)),
        dome_lift=(float(rng.normal(0.022, 0.012)), float(rng.normal(0, 0.01))),
        dome_curve=float(np.clip(rng.normal(0.10, 0.02), 0.055, 0.15)),
        cardiothoracic=float(np.clip(rng.normal(0.445 + 0.03 * old + 0.03 * child, 0.035), 0.35, 0.51)),
        heart_half_height=float(rng.normal(0.17, 0.012)),
        heart_centre=float(rng.normal(0.575, 0.012)),
        aorta=float(np.clip(rng.normal(0.022 + 0.025 * old, 0.008), 0.005, 0.07)),
        fat=float(np.clip(0.03 + fat, 0.03, 0.22)),
        shoulder=float(rng.uniform(0.22, 0.42)),
        breast=(float(both[0]), float(both[1])),
        breast_height=float(rng.normal(0.60 + 0.05 * old, 0.03)),
        rib_spacing=float(rng.normal(0.063, 0.003)),
        rib_strength=float(rng.uniform(0.05, 0.11) * (1 - 0.3 * old)),
        rib_slope=float(rng.uniform(0.02, 0.09)),
        midline_shift=float(rng.normal(0, 0.012)),
        scoliosis=float(rng.normal(0, 0.008 + 0.01 * old)),
        vessel_strength=float(rng.uniform(0.07, 0.21)),
        hila=float(rng.uniform(0.05, 0.25)),
        air=float(rng.normal(1.0, 0.09)),
        stomach=float(np.clip(rng.normal(0.018, 0.018), 0, 0.05)),
    )


def draw_chest(grid: Grid, body: Body, rng: np.random.Generator) -> Chest:
    """Draw the anatomy.

    Args:
        grid: the patient's coordinates of each pixel.
        body: the anatomy.
        rng: decides the branching of the vessels alone (the patient's own, the same at each study).
    """
    edge = grid.edge
    bend = np.float32(body.scoliosis) * np.sin(grid.y * np.float32(2 * np.pi))
    x, y = grid.x - bend, grid.y
    side = np.where(x < 0, np.float32(-1), np.float32(1))
    a = np.abs(x)
    wall, diaphragm = body.wall(y, side), body.diaphragm(a, side)
    inside = edge(wall - a) * edge(y - body.top(a), 0.01) * edge(diaphragm - y, 0.008)
    heart = edge(np.where(x < 0, body.heart_border(y, RIGHT), body.heart_border(y, LEFT)) - a, 0.01)
    across = np.sqrt(np.clip(1 - (a / np.maximum(wall, np.float32(1e-3))) ** 2, 0, 1))
    depth = inside * (0.5 + 0.5 * across)
    depth *= 1 - 0.8 * _bell(a, 0, 0.04)  # vessels, gullet and spine fill the midline
    lung = inside * (1 - heart)
    skin, density = _soft_tissue(grid, body, a, y)
    density += 0.16 * edge(y - diaphragm, 0.012) * edge(wall + 0.02 - a, 0.12)
    # the heart fills a part of the chest's depth; lung lies before and behind it
    density -= np.float32(LUNG_AIR * body.air) * depth * (1 - 0.62 * heart)
    density += 0.04 * heart * inside
    hila = _bell(a, 0.08, 0.035) * _bell(y - 0.01 * (1 - side), _HILUM[1], 0.055)
    density += np.float32(body.hila) * hila * lung
    _add_spine_and_trachea(density, grid, x, y, inside)
    _add_bones(density, grid, body, a, y, side, wall)
    _add_breasts(density, grid, body, a, y, side)
    _add_stomach(density, grid, body, x, y)
    vessels = np.float32(body.vessel_strength) * draw_vessels(grid, rng) * inside * (1 - 0.7 * heart)
    # markings fade towards the wall
    vessels *= np.clip((wall - a) * np.float32(9), 0.1, 1)
    return Chest(grid, body, side, a, wall, diaphragm, inside, lung, depth, heart, skin, vessels, density)


def _bell(value: Field, centre: float, width: float) -> Field:
    q = (value - np.float32(centre)) * np.float32(1 / width)
    return np.exp(np.float32(-0.5) * q * q)


def _soft_tissue(grid: Grid, body: Body, a: Field, y: Field) -> tuple[Field, Field]:
    """Return the body's silhouette (0 to 1) and the density of its soft tissue: neck, shoulders, trunk and arms."""
    edge = grid.edge
    trunk = body.half_width + body.fat
    armpit = 0.27
    flank = trunk + 0.25 * edge(armpit - y, 0.16) + 0.02 * (y - 0.5)
    away = np.maximum(a - 0.09, 0)
    rise = body.shoulder * away * away / (away + 0.06) - 4 * np.maximum(0.1 - a, 0)  # inside that lies the neck
    shoulders = edge(y + 0.02 - rise, 0.03)
    thickness = np.sqrt(np.clip(1 - (a / flank) ** 2, 0, 1))
    torso = edge(flank - a, 0.01) * shoulders
    arm_inner = trunk + 0.035 + 0.10 * (y - armpit)
    arm = edge(a - arm_inner, 0.02) * edge(y - armpit, 0.1) * (1 - torso)
    skin = np.maximum(torso, arm)
    density = torso * (0.42 + 0.36 * thickness + 0.5 * min(body.fat, 0.2)) + 0.4 * arm
    # the neck is thin, and so are the shoulders' outer parts
    density *= 1 - 0.35 * edge(0.16 - y, 0.22)
    return skin, density.astype(np.float32, copy=False)


def _add_spine_and_trachea(density: Field, grid: Grid, x: Field, y: Field, inside: Field) -> None:
    edge, a = grid.edge, np.abs(x)
    discs = 0.75 + 0.25 * np.cos(y * np.float32(2 * np.pi / 0.052))
    density += (0.07 + 0.03 * discs) * edge(0.036 - a, 0.025)
    density += 0.015 * _bell(a, 0.036, 0.004)  # the vertebrae's cortical borders
    trachea = edge(0.019 - np.abs(x + 0.004), 0.008) * edge(0.345 - y, 0.03)
    bronchi = _bell(y - 0.345 - 0.8 * a, 0, 0.011) * edge(0.07 - a, 0.03) * edge(y - 0.33, 0.02)
    density -= 0.13 * np.maximum(trachea, bronchi)


def _add_bones(density: Field, grid: Grid, body: Body, a: Field, y: Field, side: Field, wall: Field) -> None:
    """Ribs (behind and in front), clavicles, shoulder blades and the heads of the arms' bones."""
    edge = grid.edge
    cage = edge(wall + 0.014 - a, 0.01)
    width = body.width(side)
    u = a / width
    # behind: nearly level, from the spine outwards; in front: steep, and cartilage (unseen) near the sternum
    behind = y - body.apex - body.rib_slope * u * u * u + 0.035 * u * (1 - u)
    front = y - body.apex - 0.05 - body.rib_drop * (1 - u) * (1.25 - 0.5 * u)
    spacing = body.rib_spacing
    ribs = rib_profile(behind, spacing, 10, 0.0105) * edge(a - 0.035, 0.01)
    ribs += 0.75 * rib_profile(front, spacing * 1.12, 7, 0.0115) * edge(u - 0.38, 0.2)
    density += np.float32(body.rib_strength) * ribs * cage * edge(y - body.apex + 0.02, 0.02)
    # the row of ribs seen edge-on along the wall
    density += 0.06 * np.exp(-(((a - wall - 0.004) / np.float32(0.007)) ** 2)) * edge(y - body.apex - 0.03, 0.05)
    along = 0.20 - 0.29 * (a - 0.04) + 0.022 * np.sin((a - 0.04) * np.float32(17)) + 0.06 * (body.apex - 0.11)
    clavicle = np.abs(y - along)
    bone = edge(0.0115 - clavicle, 0.006) * (0.6 + 0.4 * edge(clavicle - 0.006, 0.004))
    density += 0.10 * bone * edge(a - 0.035, 0.015) * edge(0.37 - a, 0.02)
    blade = edge(a - 0.29 - 0.25 * (y - 0.12), 0.014) * edge(0.38 + 0.16 * (y - 0.12) - a, 0.05)
    density += 0.05 * blade * edge(y - 0.13, 0.03) * edge(0.42 - y, 0.1)
    head = np.sqrt((a - 0.455) ** 2 + (y - 0.16) ** 2)
    density += 0.14 * edge(0.042 - head, 0.012)
    shaft = np.abs(a - 0.475 - 0.10 * (y - 0.16))
    density += 0.12 * edge(0.021 - shaft, 0.01) * edge(y - 0.17, 0.03)


def rib_profile(height: Field, spacing: float, count: int, half: float) -> Field:
    """Ribs as a repeating band across ``height``: a body with brighter, thin cortical borders."""
    number = np.clip(np.floor(height * np.float32(1 / spacing)), 0, count - 1)
    off = np.abs(height - (number + np.float32(0.5)) * np.float32(spacing))
    body = np.clip((np.float32(half) - off) * np.float32(1 / 0.005) + np.float32(0.5), 0, 1)
    border = np.exp(-(((off - np.float32(half)) * np.float32(1 / 0.0028)) ** 2))
    return 0.7 * body + 0.5 * border


def _add_breasts(density: Field, grid: Grid, body: Body, a: Field, y: Field, side: Field) -> None:
    amount = np.where(side < 0, np.float32(body.breast[0]), np.float32(body.breast[1]))
    across, down = (a - 0.6 * body.half_width) / 0.155, (y - body.breast_height) / 0.15
    radius = np.sqrt(across * across + down * down)
    # a sharp lower border (the fold), a vanishing upper one
    density += amount * grid.edge(1 - radius, 0.1) * np.clip(0.55 + 0.55 * down, 0, 1)


def _add_stomach(density: Field, grid: Grid, body: Body, x: Field, y: Field) -> None:
    if body.stomach <= 0.008:
        return
    r = np.float32(body.stomach)
    centre = 0.45 * body.half_width
    roof = body.diaphragm(centre, LEFT) + 0.012
    radius = np.sqrt(((x - centre) / (1.5 * r)) ** 2 + ((y - roof - r) / r) ** 2)
    density -= 0.2 * grid.edge(1 - radius, 0.5)


def grow_vessels(rng: np.random.Generator, levels: int = 5, trunks: int = 9) -> NDArray:
    """Return the branching vessels of one lung, from its hilum.

    Args:
        rng: decides every branch.
        levels: of forks.
        trunks: branches at the hilum.

    Returns:
        [n, 5]: start (x, y), end (x, y) and width of each piece, the thinnest first, for a lung at positive x.
    """
    angle = np.linspace(-1.35, 1.45, trunks) + rng.normal(0, 0.08, trunks)
    start = np.tile(np.array(_HILUM), (trunks, 1)) + rng.normal(0, 0.012, (trunks, 2))
    length, width = rng.uniform(0.05, 0.08, trunks), rng.uniform(0.009, 0.014, trunks)
    pieces = []
    for _ in range(levels):
        end = start + length[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        pieces.append(np.column_stack([start, end, width]))
        fork = rng.uniform(0.12, 0.5, (len(angle), 2)) * np.array([-1.0, 1.0])
        angle = (angle[:, None] + fork).ravel()
        start, length, width = np.repeat(end, 2, axis=0), np.repeat(length, 2), np.repeat(width, 2)
        length = length * rng.uniform(0.7, 1.0, len(length))
        width = width * rng.uniform(0.58, 0.78, len(width))
    return np.concatenate(pieces[::-1])


def draw_lines(grid: Grid, pieces: NDArray) -> Field:
    """Draw straight lines, 0 to 1; thin ones are faint.

    Args:
        grid: the patient's coordinates of each pixel.
        pieces: ``[n, 5]`` of :func:`grow_vessels`, later ones over earlier ones.
    """
    canvas = Image.new("L", (2 * grid.size, 2 * grid.size))
    pen = ImageDraw.Draw(canvas)
    ends = (2 * grid.to_pixels(pieces[:, :4].reshape(-1, 2, 2))).reshape(-1, 4).tolist()
    widths = (pieces[:, 4] * (2 * grid.size * grid.zoom)).tolist()
    for points, width in zip(ends, widths, strict=True):
        pen.line(points, fill=round(255 * min(1.0, width)), width=max(1, round(width)))
    return np.asarray(canvas.reduce(2), dtype=np.float32) * np.float32(1 / 255)


def draw_vessels(grid: Grid, rng: np.random.Generator) -> Field:
    """Draw the vessels of both lungs, 0 to 1: broad and dense at the hila, thin and faint towards the periphery.

    Args:
        grid: the patient's coordinates of each pixel.
        rng: decides every branch.
    """
    right, left = grow_vessels(rng), grow_vessels(rng)
    right[:, [0, 2]] *= -1
    right[:, [1, 3]] += 0.02  # the right hilum lies lower
    pieces = np.concatenate([right, left])
    pieces = pieces[np.argsort(pieces[:, 4], kind="stable")]
    drawn = gaussian_filter(draw_lines(grid, pieces), 0.0022 * grid.size, truncate=2.5)
    # a thin vessel is also a shallow one
    return drawn * (0.4 + 0.6 * _bell(np.abs(grid.x), _HILUM[0], 0.07))
