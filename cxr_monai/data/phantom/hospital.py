"""What differs between hospitals of phantoms: how common each finding is, how films look, a marker that gives one away.

    Hospital(prevalence={"Mass": 0.3}, look=Look(gamma=1.4, contrast=0.8, noise=0.02))
    Hospital(marker=("Mass", 0.9))      # a letter in a corner of 9 in 10 films with a mass, and of 1 in 10 without

A network that is trained at one hospital and tested at another meets a planted, known shift; one that is trained with a
marker may learn the letter instead of the lesion, as networks learned the tokens of real hospitals (Zech 2018,
doi 10.1371/journal.pmed.1002683).
"""

import math
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from cxr_monai.data.phantom.anatomy import Field
from cxr_monai.data.phantom.cohort import PREVALENCE
from cxr_monai.data.phantom.film_mix import FilmMix
from cxr_monai.errors import Code, SettingError
from cxr_monai.labels import canonical

MARKER_LETTER = "P"
"""Of the planted marker: unlike the side markers, which are L and R and stand in an upper corner."""

_MARKER_TALL, _MARKER_EDGE = 0.08, 0.02  # its height and its distance from the edge, in heights of the film


@dataclass(frozen=True)
class Look:
    """How a hospital's films are processed, the same for all of them; ``p`` is a film's grey in [0, 1].

    Attributes:
        gamma: ``p ** gamma``, above 0: above 1 darkens the middle greys, below 1 brightens them.
        contrast: ``0.5 + contrast * (p - 0.5)``, above 0, clipped to [0, 1].
        noise: standard deviation of normal noise that is added to each pixel, at least 0.

    Raises:
        SettingError: ``setting-invalid``.
    """

    gamma: float = 1.0
    contrast: float = 1.0
    noise: float = 0.0

    def __post_init__(self) -> None:
        _check("gamma", self.gamma, 0.05, 20)
        _check("contrast", self.contrast, 0.05, 20)
        _check("noise", self.noise, 0, 1)

    def apply(self, pixels: Field, rng: np.random.Generator) -> Field:
        """Return the processed film, float32 ``[H, W]`` in [0, 1].

        Args:
            pixels: float32 ``[H, W]`` in [0, 1].
            rng: gives the noise.
        """
        film = pixels ** np.float32(self.gamma)
        film = np.clip(np.float32(0.5) + np.float32(self.contrast) * (film - np.float32(0.5)), 0, 1)
        noise = rng.standard_normal(film.shape, dtype=np.float32)
        return np.clip(film + np.float32(self.noise) * noise, 0, 1)


@dataclass(frozen=True)
class Hospital:
    """Where phantoms come from; without arguments, the usual ones.

    Attributes:
        prevalence: expected share of images with a finding, in [0, 1], for those that differ from ``PREVALENCE``.
        look: of the films.
        marker: a finding and a share in [0, 1]: a letter on black is in the lower left corner of that share of films
            with the finding, and of ``1 - share`` of those without it; 0.5 says nothing, 1 tells all. None: no letter.
        mix: laterals, children, and when films are taken.

    Raises:
        SettingError: ``setting-invalid`` for a share outside [0, 1].
        ManifestError: ``unknown-finding``.
    """

    prevalence: Mapping[str, float] = field(default_factory=dict)
    look: Look = field(default_factory=Look)
    marker: tuple[str, float] | None = None
    mix: FilmMix = field(default_factory=FilmMix)

    def __post_init__(self) -> None:
        shares = {canonical(name): float(share) for name, share in self.prevalence.items()}
        for finding, share in shares.items():
            _check(f"the prevalence of {finding}", share, 0, 1)
        object.__setattr__(self, "prevalence", shares)
        if self.marker is not None:
            _check("the marker's share", self.marker[1], 0, 1)
            object.__setattr__(self, "marker", (canonical(self.marker[0]), float(self.marker[1])))

    @property
    def prevalences(self) -> dict[str, float]:
        """Expected share of images with each of the 14 findings."""
        return {**PREVALENCE, **self.prevalence}

    def print_film(self, pixels: Field, findings: Container[str], rng: np.random.Generator) -> Field:
        """Return a film as it leaves this hospital: its look, then its marker.

        Args:
            pixels: float32 ``[H, W]`` in [0, 1].
            findings: that the film shows.
            rng: decides noise and marker.
        """
        if self.look != Look():
            pixels = self.look.apply(pixels, rng)
        if self.marker is not None:
            finding, share = self.marker
            if rng.random() < (share if finding in findings else 1 - share):
                pixels = _with_letter(pixels)
        return pixels

    def settings(self) -> dict[str, Any]:
        """Return what differs from the usual phantoms, for ``phantom.json``."""
        described: dict[str, Any] = {}
        if self.prevalence:
            described["prevalence"] = dict(self.prevalence)
        if self.look != Look():
            described["look"] = {"gamma": self.look.gamma, "contrast": self.look.contrast, "noise": self.look.noise}
        if self.marker is not None:
            described["marker"] = dict([self.marker])
        return described | self.mix.settings()


def _with_letter(pixels: Field) -> Field:
    size = pixels.shape[0]
    tall, edge = max(round(_MARKER_TALL * size), 7), round(_MARKER_EDGE * size)
    letter = Image.new("L", (tall, tall))
    ImageDraw.Draw(letter).text((tall / 2, tall / 2), MARKER_LETTER, fill=255, anchor="mm", font_size=tall)
    film = pixels.copy()
    # on a black square: whatever lies under it, the letter is seen
    film[size - edge - tall : size - edge, edge : edge + tall] = np.asarray(letter, dtype=np.float32) / 255
    return film


def _check(name: str, value: float, low: float, high: float) -> None:
    if not (isinstance(value, int | float) and math.isfinite(value) and low <= value <= high):
        raise SettingError(Code.SETTING_INVALID, f"{name} is {value}; allowed are {low:g} to {high:g}.")


USUAL = Hospital()
"""The phantoms that ``cxr-monai phantom`` makes without further options."""
