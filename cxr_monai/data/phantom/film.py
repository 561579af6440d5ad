"""From density to a grey film: exposure, scatter, noise, collimation, the side marker.

Real films of the same chest differ more by habitus, exposure and processing than by most findings. The same holds here,
on purpose: mean brightness says next to nothing, structure does.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter

from cxr_monai.data.phantom.anatomy import Field, Grid


@dataclass(frozen=True)
class Exposure:
    """How a film was taken and processed."""

    low: float
    high: float
    gamma: float
    scatter: float
    noise: float
    unevenness: float
    sharpen: float
    border: tuple[float, float, float, float]  # collimated width at left, top, right, bottom
    marker: str  # "L", "R" or none


def sample_grid(rng: np.random.Generator, size: int, view: str) -> Grid:
    """Return the patient's position on the film; bedside films (AP) are less exactly placed.

    Args:
        rng: decides zoom, rotation and shift.
        size: height and width in pixels.
        view: ``PA`` or ``AP``.
    """
    loose = 1.25 if view == "AP" else 1.0
    return Grid(
        size,
        zoom=float(np.clip(rng.normal(1.01, 0.075 * loose), 0.82, 1.22)),
        angle=float(np.deg2rad(rng.normal(0, 2.6 * loose))),
        shift=(float(rng.normal(0, 0.030 * loose)), float(rng.normal(0.0, 0.034 * loose))),
    )


def sample_exposure(rng: np.random.Generator, view: str) -> Exposure:
    """Return one film's exposure and processing.

    Args:
        rng: decides everything but the view.
        view: ``PA`` or ``AP``.
    """
    bedside = view == "AP"
    border = np.where(rng.random(4) < (0.25 if bedside else 0.12), rng.uniform(0.01, 0.06, 4), 0)
    return Exposure(
        low=float(rng.normal(0.06, 0.07)),
        high=float(rng.normal(1.0, 0.10)),
        gamma=float(np.exp(rng.normal(0.0, 0.33))),
        scatter=float(rng.uniform(0.05, 0.4 if bedside else 0.25)),
        noise=float(rng.uniform(0.006, 0.018 if bedside else 0.012)),
        unevenness=float(rng.gamma(4.0, 0.014)),
        sharpen=float(rng.uniform(0.0, 0.8)),
        border=(float(border[0]), float(border[1]), float(border[2]), float(border[3])),
        marker=str(rng.choice(["L", "R", ""], p=[0.45, 0.35, 0.2])),
    )


def clouds(rng: np.random.Generator, cells: int, size: int) -> Field:
    """Return smooth noise of unit variance, float32 ``[size, size]``.

    Args:
        rng: decides the noise.
        cells: about how many ups and downs lie across the image.
        size: height and width in pixels.
    """
    knots = rng.standard_normal((cells + 1, cells + 1)).astype(np.float32)
    return np.asarray(Image.fromarray(knots).resize((size, size), Image.Resampling.BICUBIC), dtype=np.float32)


def develop(density: Field, grid: Grid, exposure: Exposure, rng: np.random.Generator) -> Field:
    """Return the film of a density, float32 ``[H, W]`` in 0 to 1, bright = dense.

    Args:
        density: ``[H, W]``.
        grid: the patient's coordinates of each pixel.
        exposure: of the film.
        rng: gives unevenness and noise.
    """
    size = grid.size
    uneven = clouds(rng, 4, size) + 0.6 * clouds(rng, 9, size)
    film = density + np.float32(exposure.unevenness) * uneven * np.clip(density * 3, 0, 1)
    # scatter is a wide blur, so a small copy of the image carries it
    small = Image.fromarray(film).resize((64, 64), Image.Resampling.BOX)
    blurred = gaussian_filter(np.asarray(small), 5.0)
    haze = np.asarray(Image.fromarray(blurred).resize((size, size), Image.Resampling.BICUBIC), dtype=np.float32)
    film += np.float32(exposure.scatter) * (haze - film) * np.float32(0.6)
    if exposure.sharpen > 0:
        film += np.float32(exposure.sharpen) * (film - gaussian_filter(film, 0.012 * size, truncate=2.5))
    span = max(exposure.high - exposure.low, 0.5)
    film = np.clip((film - np.float32(exposure.low)) * np.float32(1 / span), 0, None)
    # the shoulder of the film's curve: the densest parts crowd together below white
    film = film / (1 + film**4) ** np.float32(0.25)
    film = np.clip(film * np.float32(1.12), 0, 1) ** np.float32(exposure.gamma)
    noise = rng.standard_normal((size, size), dtype=np.float32)
    film += np.float32(exposure.noise) * noise * (0.5 + film)
    _mark(film, exposure, rng)
    return np.clip(film, 0, 1)


def _mark(film: Field, exposure: Exposure, rng: np.random.Generator) -> None:
    """Put the collimator's border and the side marker (a lead letter on its side's shoulder) on the film."""
    size = film.shape[0]
    left, top, right, bottom = (round(width * size) for width in exposure.border)
    film[:top], film[size - bottom :], film[:, :left], film[:, size - right :] = 0.02, 0.02, 0.02, 0.02
    place = rng.uniform(0, 0.03, 2)
    if not exposure.marker:
        return
    tall = max(round(0.06 * size), 7)
    letter = Image.new("L", (tall, tall))
    ImageDraw.Draw(letter).text((tall / 2, tall / 2), exposure.marker, fill=235, anchor="mm", font_size=tall)
    column = round((0.90 + place[0]) * size) if exposure.marker == "L" else round((0.03 + place[0]) * size)
    row = round((0.03 + place[1]) * size)
    patch = film[row : row + tall, column : column + tall]
    np.maximum(patch, np.asarray(letter, dtype=np.float32)[: patch.shape[0], : patch.shape[1]] / 255, out=patch)
