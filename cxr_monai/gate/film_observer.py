"""What a data set adds to each item for the gate: an observation of its pixels, the facts of its header and manifest.

observer = FilmObserver()                               # the argument ``observer`` of a RadiographDataset
dataset[0]["observation"], dataset[0]["header"]         # float32 [OBSERVED], one line of JSON
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from cxr_monai.data.film_header import NO_FACTS, FilmFacts, FilmHeader
from cxr_monai.data.formats.grey import MIN_SIDE
from cxr_monai.gate.alterations import ALTERATIONS
from cxr_monai.gate.duplicates import picture_hash, pixel_digest
from cxr_monai.gate.observation import OBSERVED, observe


class FilmObserver:
    """Observes films as they are read; small, since every process that reads has one.

    Args:
        with_alterations: also observe a copy in every alteration, to fit a gate on.
    """

    def __init__(self, with_alterations: bool = False) -> None:
        self.with_alterations = with_alterations

    def __call__(self, film: Mapping[str, Any]) -> dict[str, Any]:
        """Return the entries of one film.

        Args:
            film: ``image_plane`` float32 ``[1, H, W]`` in [0, 1] and perhaps ``image_header`` and ``film_facts``
                (``cxr_monai.data.film_header``); empty for a file that cannot be read.

        Returns:
            ``observation`` (float32 ``[OBSERVED]``, NaN for a file that cannot be read), ``header``
            (``FilmHeader.to_text``, or empty), ``pixel_digest`` and ``picture_hash`` (hexadecimal, or empty); and
            ``altered`` float32 ``[A, OBSERVED]`` where copies are observed.
        """
        plane = None if "image_plane" not in film else _at_least(np.asarray(film["image_plane"], dtype=np.float32)[0])
        header: FilmHeader | None = film.get("image_header")
        facts: FilmFacts = film.get("film_facts", NO_FACTS)
        if facts != NO_FACTS:
            header = (header or FilmHeader()).completed(facts)
        entries: dict[str, Any] = {
            "observation": _observed(plane),
            "header": "" if header is None else header.to_text(),
            "pixel_digest": "" if plane is None else pixel_digest(plane),
            "picture_hash": "" if plane is None else picture_hash(plane),
        }
        if self.with_alterations:
            copies = [None if plane is None else _as_levels(alteration.of(plane)) for alteration in ALTERATIONS]
            entries["altered"] = torch.stack([_observed(copy) for copy in copies])
        return entries


def _observed(plane: np.ndarray | None) -> torch.Tensor:
    return torch.full((OBSERVED,), torch.nan) if plane is None else torch.from_numpy(observe(plane))


def _at_least(plane: np.ndarray) -> np.ndarray:
    """Return a plane of fewer than 32 rows or columns with each pixel repeated; others as they are."""
    times = -(-MIN_SIDE // min(plane.shape))
    return plane if times == 1 else np.repeat(np.repeat(plane, times, axis=0), times, axis=1)


def _as_levels(plane: np.ndarray) -> np.ndarray:
    """Return a plane in 256 grey levels, as a file of it would have."""
    return (np.rint(np.clip(plane, 0, 1) * 255) / 255).astype(np.float32)
