"""Score maps and their two controls on boxed cases.

    localisation = localise(chosen_on, cases, LocalisationOptions())     # thresholds chosen on the first

The controls are a random map (uniform noise on the map's own grid, enlarged as it is) and a centre map (where the
finding's boxes are on other images). All three have their map thresholds chosen on other images than those that are
scored.
"""

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import pandas as pd

from cxr_monai.attribution.boxed_cases import BoxedCases
from cxr_monai.attribution.localisation import (
    CHOOSING_SIDE,
    ENOUGH,
    POOLED,
    SHARES,
    SIDE,
    centre_boxes,
    centre_map,
    choose_shares,
    detected_boxes,
    overlaps,
    raster,
    score,
)
from cxr_monai.attribution.localisation_result import Localisation
from cxr_monai.attribution.localisation_tables import FEWEST, Scored, localisation_tables, values_of
from cxr_monai.attribution.map_store import MapStore
from cxr_monai.evaluation.metrics_table import MEAN
from cxr_monai.progress import progress_bar

RANDOM, CENTRE = "random", "centre"
Seen = Literal["refuse", "skip", "allow"]
_BOX = ("x", "y", "width", "height")
_KEPT = 64  # centre maps: one a finding and size of image


@dataclass(frozen=True)
class LocalisationOptions:
    """How to score; the defaults are those of ``cxr-monai maps localise``.

    Attributes:
        split: score this part of the manifest alone.
        findings: score these alone; all that have boxes where empty.
        seen: what to do with images that the model was trained on: refuse all, skip those, or score them, too.
        tolerance: of the pointing game, in pixels of an image whose longer side has 1,024 (15 in the literature).
        draws: random maps a case, whose scores are averaged.
        side: pixels of the longer side of the raster that maps are scored on; their thresholds are chosen on one of at
            most `CHOOSING_SIDE`.
        replicates, level, seed: of the intervals over patients; the seed also of the random maps and of the halves.
    """

    split: str | None = None
    findings: Sequence[str] = ()
    seen: Seen = "refuse"
    tolerance: float = 0.0
    draws: int = 5
    side: int = SIDE
    replicates: int = 1000
    level: float = 0.95
    seed: int = 0


def method_of(store: MapStore) -> str:
    """Return the method that made the maps."""
    return str(store.about.get("method") or "map")


def localise(
    chosen_on: BoxedCases, part: BoxedCases, options: LocalisationOptions, notes: Sequence[str] = (), told: str = ""
) -> Localisation:
    """Choose thresholds on some cases and score others.

    Args:
        chosen_on, part: cases to choose on, cases to score.
        options: ``split``, ``seen`` and ``findings`` have been seen to.
        notes: kept with the result.
        told: what ``chosen_on`` is.

    Raises:
        EvaluationError: ``evaluation-invalid``.
    """
    method = method_of(part.store)
    maps = (method, RANDOM, CENTRE)
    findings = [name for name in part.store.findings if (part.table["finding"] == name).any()]
    centre = {name: centre_boxes(chosen_on.boxes, name) for name in {*findings, *chosen_on.table["finding"]}}
    iou = _iou(chosen_on, centre, options)
    own = list(chosen_on.table["finding"])
    chosen = {name: choose_shares(iou[:, at], own, findings) for at, name in enumerate(maps)}
    values, found = [], []
    for heats, boxes, finding in _heats(part, centre, options.seed, options.draws, options.side, "scoring"):
        scores = [
            [score(heat, boxes, (chosen[name][finding][0],), options.tolerance) for heat in drawn]
            for name, drawn in zip(maps, heats, strict=True)
        ]
        values.append([np.mean([values_of(one) for one in drawn], axis=0) for drawn in scores])
        found.append(scores[0][0].detected[0])
    made, detected = np.array(values), np.array(found)
    empty = part.table.loc[np.isnan(detected[:, 0]), "finding"].value_counts()
    codes = pd.factorize(part.table["patient_id"])[0]
    channels = part.table["finding"].map(findings.index).to_numpy()
    tables = localisation_tables(
        Scored(tuple(findings), channels, codes, maps, made), options.replicates, options.level, options.seed
    )
    scores_table = _with_thresholds(tables.scores, chosen, empty, method)
    cases = _cases(part, made, detected, maps)
    book = {
        "bundle": part.store.about.get("bundle"),
        "method": method,
        "layer": part.store.about.get("layer"),
        "grid": "x".join(map(str, part.store.grid(part.table["image"].iloc[0]).shape[1:])),
        "cases": len(part),
        "images": int(part.table["image"].nunique()),
        "patients": int(codes.max()) + 1,
        "split": {
            str(key or "none"): int(count) for key, count in part.table["split"].value_counts().sort_index().items()
        },
        "map_thresholds_from": told,
        "in_mean": list(tables.in_mean),
        "tolerance": options.tolerance,
        "random_draws": options.draws,
        "raster": options.side,
        "replicates": options.replicates,
        "seed": options.seed,
    }
    return Localisation(
        scores_table,
        tables.gains,
        cases,
        options.level,
        book,
        (*notes, *_remarks(tables.in_mean, scores_table, chosen_on)),
    )


def _iou(part: BoxedCases, centre: Mapping[str, np.ndarray], options: LocalisationOptions) -> np.ndarray:
    """Return the IoU of each case at each of `SHARES`, of its map, one random map and the centre map: ``[N, 3, S]``."""

    @lru_cache(maxsize=_KEPT)
    def in_the_centre(finding: str, shape: tuple[int, int]) -> np.ndarray:
        return detected_boxes(centre_map(centre[finding], shape), SHARES)

    made = []
    side = min(options.side, CHOOSING_SIDE)
    for (own, random, _), boxes, finding in _heats(part, centre, options.seed, 1, side, "choosing map thresholds"):
        found = [detected_boxes(heat, SHARES) for heat in (*own, *random)]
        found.append(in_the_centre(finding, own[0].shape))
        made.append([overlaps(each, boxes)[0] for each in found])
    return np.array(made)


def _heats(
    part: BoxedCases, centre: Mapping[str, np.ndarray], seed: int, draws: int, side: int, doing: str
) -> Iterator[tuple[tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]], np.ndarray, str]]:
    """Yield each case's maps on its raster (its own; random ones; the centre map), its boxes and its finding."""
    in_the_centre = lru_cache(maxsize=_KEPT)(lambda finding, shape: centre_map(centre[finding], shape))
    channel = {finding: at for at, finding in enumerate(part.store.findings)}
    rows = progress_bar(
        part.table[["image", "finding"]].itertuples(index=False, name=None),
        total=len(part), desc=doing, unit="cases",
    )  # fmt: skip
    for image, finding in rows:
        view, points = part.store.view(image), part.store.points
        shape = raster(view.height, view.width, side)
        grid = part.store.grid(image)[channel[finding]]
        # the same noise for a case whatever else is scored
        random = np.random.default_rng([seed, zlib.crc32(f"{image}\t{finding}".encode())])
        heats = (
            [view.place(grid, points, shape)],
            [view.place(random.random(grid.shape), points, shape) for _ in range(draws)],
            [in_the_centre(finding, shape)],
        )
        yield heats, part.boxes[image, finding], finding


def _with_thresholds(
    scores: pd.DataFrame, chosen: Mapping[str, Mapping[str, tuple[float, str]]], empty: pd.Series, method: str
) -> pd.DataFrame:
    """Return the table with each map's threshold, what it was chosen on, and how many maps are 0 everywhere."""
    keys = list(zip(scores["map"], scores["finding"], strict=True))
    thresholds = [chosen[name].get(finding, (np.nan, ""))[0] for name, finding in keys]
    told = [chosen[name].get(finding, (np.nan, ""))[1] for name, finding in keys]
    of = [int(empty.sum() if finding == MEAN else empty.get(finding, 0)) * (name == method) for name, finding in keys]
    return pd.concat(
        [
            scores.iloc[:, :4],
            pd.DataFrame({"empty": of, "map_threshold": thresholds, "chosen_on": told}),
            scores.iloc[:, 4:],
        ],
        axis=1,
    )


def _cases(part: BoxedCases, values: np.ndarray, found: np.ndarray, maps: Sequence[str]) -> pd.DataFrame:
    table = part.table.copy()
    table.insert(0, "case", np.arange(1, len(table) + 1))
    keys = list(zip(table["image"], table["finding"], strict=True))
    table["boxes"] = [len(part.boxes[key]) for key in keys]
    table["probability"] = [part.store.probability(*key) for key in keys]
    for m, name in enumerate(maps):
        lead = f"{name}_" if m else ""
        for q, figure in enumerate(("pointing", "energy", "iou", "iobb")):
            table[f"{lead}{figure}"] = values[:, m, q]
    views = [part.store.view(image) for image in table["image"]]
    size = np.array([(view.width, view.height) for view in views], dtype=float)
    places = np.hstack([found[:, :2] * size, (found[:, 2:] - found[:, :2]) * size])
    return table.join(pd.DataFrame(places, columns=list(_BOX)))


def _remarks(in_mean: Sequence[str], scores: pd.DataFrame, chosen_on: BoxedCases) -> list[str]:
    findings = [name for name in scores["finding"].unique() if name != MEAN]
    few = [name for name in findings if name not in in_mean]
    notes = []
    if few:
        notes.append(
            f"Fewer than {FEWEST} patients have boxes of {', '.join(few)}: no intervals of means and gains, and no part"
            " in the mean over findings."
        )
    pooled = scores.loc[scores["chosen_on"] == POOLED, "finding"].unique()
    if len(pooled):
        notes.append(
            f"Map thresholds of {', '.join(pooled)} were chosen on all findings together: fewer than {ENOUGH} cases of "
            "their own to choose on."
        )
    lacking = [name for name in findings if not (chosen_on.table["finding"] == name).any()]
    if lacking:
        notes.append(f"No box of {', '.join(lacking)} to choose on: their centre map is that of all findings.")
    empty = scores[scores["finding"] == MEAN]["empty"].max()
    if empty:
        are = "map is" if empty == 1 else "maps are"
        notes.append(f"{empty:,} {are} 0 everywhere, which counts as a miss in every score.")
    return notes
