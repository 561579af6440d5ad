"""Films read once more, with what was done to them undone at their full resolution, before any preprocessing.

    seen, logits, mending = mend_films(gate, ("rotation",), reader, forward, films, seen, logits)
    mending                                             # {3: "rotation", 7: ""}

Only where a user asks for it (``--mend``), and only what `cxr_monai.gate.mending` names.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from monai.transforms import Compose

from cxr_monai.errors import Code, SettingError
from cxr_monai.gate.answer import GateVerdict
from cxr_monai.gate.bundle_gate import Gate, ObservedFilms
from cxr_monai.gate.mending import can_mend, swaps_sides, undo_alteration
from cxr_monai.inference.reading import FilmBatch, FilmReader
from cxr_monai.transforms.load_radiograph import LoadRadiographd

Forward = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor | None]]
"""Gives log-odds and the gate's features of images."""


def mend_films(
    gate: Gate,
    mends: Sequence[str],
    reader: FilmReader,
    forward: Forward,
    films: Sequence[Any],
    seen: ObservedFilms,
    logits: torch.Tensor,
) -> tuple[ObservedFilms, torch.Tensor, dict[int, str]]:
    """Undo what films are refused for; each of those is read and predicted once more, no other.

    Args:
        gate: of the bundle.
        mends: what may be undone.
        reader: of films as they are.
        forward: of the network.
        films: N films, as of ``FilmReader.read``.
        seen: what the gate saw of them.
        logits: of them, float32 ``[N, F]``.

    Returns:
        what the gate sees and the log-odds, of films that it takes then as they are then; and row to what was undone,
        empty where it did not help, of each film that was read once more.
    """
    answers = gate.answers(seen)
    rows = [row for row, answer in enumerate(answers) if can_mend(answer, mends)]
    if not rows:
        return seen, logits, {}
    alterations, names = [answers[row].alteration for row in rows], [seen.names[row] for row in rows]
    batch = read_mended(reader, [films[row] for row in rows], names, alterations)
    logits_again, features = forward(batch.images)
    again, mending, logits = batch.for_gate(features), dict.fromkeys(rows, ""), logits.clone()
    for place, (position, answer) in enumerate(zip(batch.readable, gate.answers(again), strict=True)):
        if answer.verdict != GateVerdict.REFUSE:
            row = rows[position]
            mending[row] = ",".join(answers[row].mend)
            seen, logits[row] = seen.with_film(row, again, place), logits_again[position]
    return seen, logits, mending


def read_mended(
    reader: FilmReader, films: Sequence[Any], names: Sequence[str], alterations: Sequence[str]
) -> FilmBatch:
    """Return films as one batch, each as it was before its alteration.

    Args:
        reader: of films as they are.
        films, names: as of ``FilmReader.read``, of at least one film.
        alterations: name of what is undone of each (``Answer.alteration``).

    Raises:
        SettingError: ``setting-invalid`` for a preprocessing that does not read films by ``LoadRadiographd``.
    """
    items = [
        {**(film if isinstance(film, Mapping) else {"image": film}), "image_alteration": alteration}
        for film, alteration in zip(films, alterations, strict=True)
    ]
    steps = list(reader.preprocessing.flatten().transforms)
    load = next((place for place, step in enumerate(steps) if isinstance(step, LoadRadiographd)), None)
    if load is None:
        raise SettingError(
            Code.SETTING_INVALID,
            "the preprocessing does not read films by LoadRadiographd: nothing can be undone before it.",
            fix="Predict without --mend.",
        )
    pipeline = Compose([*steps[: load + 1], _undo, *steps[load + 1 :]])
    mending = replace(reader, preprocessing=pipeline, batch_size=len(items), num_workers=0, shows_progress=False)
    with closing(mending.read(items, names)) as batches:
        return next(batches)


def _undo(film: Mapping[Any, Any]) -> dict[Any, Any]:
    """Undo the alteration of a film that was just read: of its pixels, and its shape and spacing."""
    alteration = film["image_alteration"]
    pixels = undo_alteration(np.asarray(film["image"])[0], alteration)
    spacing = film["image_spacing"]
    if spacing is not None and swaps_sides(alteration):
        spacing = spacing[::-1]
    return {
        **film,
        "image": torch.from_numpy(pixels[None]),
        "image_shape": pixels.shape,
        "image_spacing": spacing,
    }
