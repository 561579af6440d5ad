"""The chest of a child: the anatomy of an adult, changed by age, continuously up to 18 years.

What differs is what textbooks of paediatric radiology name: the chest is as broad and shorter, the diaphragm higher,
the ribs level, the heart large against the chest (a ratio of 0.6 is usual in the newborn, 0.5 from two years on), the
thymus widens the upper mediastinum of the small ones, and much of the belly with its gas is on the film. The numbers
are set by eye.
"""

from dataclasses import replace

import numpy as np

from cxr_monai.data.phantom.anatomy import LUNG_AIR, Body, Chest

ADULT = 18.0
"""Years from which on a chest is an adult's."""
_THYMUS_UNTIL = 4.0


def youth(age: float) -> float:
    """Return how much of a newborn's proportions a patient has, 1 at birth and 0 from 18 years on.

    >>> [round(youth(age), 2) for age in (0, 6, 12, 15, 18, 50)]
    [1.0, 0.54, 0.19, 0.07, 0.0, 0.0]
    """
    return float(np.clip((ADULT - age) / ADULT, 0, 1) ** 1.5)


def with_proportions_of(body: Body, age: float) -> Body:
    """Return the anatomy with the proportions of an age in years; an adult's is returned as it is."""
    young = youth(age)
    if young == 0:
        return body
    apex, shorter = body.apex + 0.04 * young, 1 - 0.24 * young
    return replace(
        body,
        half_width=body.half_width * (1 + 0.05 * young),
        apex=apex,
        dome=apex + (body.dome - body.apex) * shorter,
        dome_curve=body.dome_curve * (1 - 0.4 * young),
        # the heart grows with the body, the chest faster in the first years
        cardiothoracic=body.cardiothoracic + 0.11 * float(np.exp(-age / 2.5)),
        heart_half_height=body.heart_half_height * (1 - 0.04 * young),
        heart_centre=apex + (body.heart_centre - body.apex) * shorter,
        aorta=body.aorta * (1 - 0.8 * young),
        shoulder=body.shoulder * (1 - 0.5 * young),
        rib_spacing=body.rib_spacing * (1 - 0.2 * young),
        rib_slope=body.rib_slope * (1 - young),
        rib_drop=body.rib_drop * (1 - 0.75 * young),
        vessel_strength=body.vessel_strength * (1 - 0.3 * young),
        depth=body.depth * (1 + 0.1 * young),
    )


def draw_thymus_and_bowel(chest: Chest, age: float, rng: np.random.Generator) -> None:
    """Draw what a child's film shows besides: the thymus, and gas in the belly.

    Args:
        chest: its density, lung and vessels are changed in place.
        age: in years.
        rng: decides how large the thymus is, and where gas lies; the patient's own.
    """
    young, grid, body = youth(age), chest.grid, chest.body
    sizes, places, radii = rng.uniform(0.7, 1.3, 2), rng.random((8, 2)), rng.uniform(0.03, 0.06, (8, 2))
    amount = max(0.0, 1 - age / _THYMUS_UNTIL)
    if amount > 0:
        # a sail: it widens downwards and lies on the heart, its border waved by the ribs
        low = body.heart_centre - 0.25 * body.heart_half_height
        down = np.clip((grid.y - np.float32(body.apex + 0.03)) / np.float32(low - body.apex - 0.03), 0, 1)
        size = np.where(chest.side < 0, np.float32(sizes[0]), np.float32(sizes[1]))
        border = 0.045 + 0.10 * size * amount * np.sqrt(down) + 0.003 * np.sin(grid.y * np.float32(2 * np.pi / 0.05))
        shape = grid.edge(border - chest.a, 0.012) * grid.edge(np.float32(low) - grid.y, 0.03) * (1 - chest.heart)
        shape *= chest.inside * grid.edge(grid.y - np.float32(body.apex + 0.02), 0.05)
        chest.density += 0.62 * LUNG_AIR * np.float32(0.4 + 0.6 * amount) * shape * chest.depth
        chest.lung *= 1 - shape
        chest.vessels *= 1 - 0.8 * shape
    for (across, below), (wide, tall) in zip(places, radii, strict=True):
        x, y = (across - 0.5) * 1.3 * body.half_width, body.dome + 0.10 + 0.24 * below
        radius = np.sqrt(((grid.x - np.float32(x)) / np.float32(wide)) ** 2 + ((grid.y - y) / np.float32(tall)) ** 2)
        chest.density -= np.float32(0.11 * young) * grid.edge((1 - radius) * np.float32(tall), 0.035) * chest.skin
