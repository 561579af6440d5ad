"""Score maps and their two controls on boxed cases.

    localisation = localise(chosen_on, cases, LocalisationOptions())     # thresholds chosen on the first

The controls are a random map (uniform noise on the map's own grid, enlarged as it is) and a centre map (where the
finding's boxes are on other images). All three have their map thresholds chosen on other images than those that are
scored.
"""

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import pandas as pd

from cxr_monai.attribution.boxed_cases import BoxedCases
from cxr_monai.attribution.localisation import (
    CHOOSING_SIDE,
    FEWEST_CASES,
    MAP_THRESHOLDS,
    POOLED_FINDINGS,
    SIDE,
    centre_boxes,
    centre_map,
    choose_map_thresholds,
    detected_boxes,
    overlaps,
    raster,
    score,
)
from cxr_monai.attribution.localisation_result import Localisation
from cxr_monai.attribution.localisation_tables import FEWEST_PATIENTS, ScoredCases, localisation_tables, score_row
from cxr_monai.evaluation.bootstrap import Intervals
from cxr_monai.evaluation.metrics_table import MEAN
from cxr_monai.progress import progress_bar

RANDOM, CENTRE = "random", "centre"
Seen = Literal["refuse", "skip", "allow"]
_CENTRE_MAPS = 64  # that are kept: one a finding and size of image


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
        intervals: over patients; their seed is also that of the random maps and of the halves.
    """

    split: str | None = None
    findings: Sequence[str] = ()
    seen: Seen = "refuse"
    tolerance: float = 0.0
    draws: int = 5
    side: int = SIDE
    intervals: Intervals = field(default_factory=Intervals)


def localise(
    chosen_on: BoxedCases, cases: BoxedCases, options: LocalisationOptions, notes: Sequence[str] = (), source: str = ""
) -> Localisation:
    """Choose map thresholds on some cases and score others.

    Args:
        chosen_on: cases to choose on.
        cases: cases to score, of the split and findings that ``options`` ask for.
        options: how to score.
        notes: remarks that come before those of the scoring.
        source: description of ``chosen_on``.

    Raises:
        EvaluationError: ``evaluation-invalid``.
    """
    method = cases.store.method
    maps = (method, RANDOM, CENTRE)
    findings = [name for name in cases.store.findings if (cases.table["finding"] == name).any()]
    centres = {name: centre_boxes(chosen_on.boxes, name) for name in {*findings, *chosen_on.table["finding"]}}
    iou = _iou_by_threshold(chosen_on, centres, options)
    chosen = {
        name: choose_map_thresholds(iou[:, number], list(chosen_on.table["finding"]), findings)
        for number, name in enumerate(maps)
    }
    values, detected = _score(cases, centres, chosen, options)
    empty = cases.table.loc[np.isnan(detected[:, 0]), "finding"].value_counts()
    patients = pd.factorize(cases.table["patient_id"])[0]
    channels = cases.table["finding"].map(findings.index).to_numpy()
    scored = ScoredCases(tuple(findings), channels, patients, maps, values)
    tables = localisation_tables(scored, **asdict(options.intervals))
    scores = _with_thresholds(tables.scores, chosen, empty, method)
    return Localisation(
        scores,
        tables.gains,
        _case_table(cases, values, detected, maps),
        options.intervals.level,
        {
            **_provenance(cases),
            "map_thresholds_from": source,
            "in_mean": list(tables.in_mean),
            "tolerance": options.tolerance,
            "random_draws": options.draws,
            "raster": options.side,
            "replicates": options.intervals.replicates,
            "seed": options.intervals.seed,
        },
        (*notes, *_remarks(tables.in_mean, scores, chosen_on)),
    )


def _provenance(cases: BoxedCases) -> dict[str, Any]:
    """Return what was scored: bundle, method, layer and grid of the maps; cases, images, patients and split."""
    store, table = cases.store, cases.table
    splits = table["split"].value_counts().sort_index()
    return {
        "bundle": store.about.get("bundle"),
        "method": store.method,
        "layer": store.about.get("layer"),
        "grid": "x".join(map(str, store.grid(table["image"].iloc[0]).shape[1:])),
        "cases": len(cases),
        "images": int(table["image"].nunique()),
        "patients": int(table["patient_id"].nunique()),
        "split": {str(name or "none"): int(count) for name, count in splits.items()},
    }


def _score(
    cases: BoxedCases,
    centres: Mapping[str, np.ndarray],
    thresholds: Mapping[str, Mapping[str, tuple[float, str]]],
    options: LocalisationOptions,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the Q scores of each of the three maps in each case, and the detected box of the first.

    Returns:
        float64 ``[N, 3, Q]``; float64 ``[N, 4]`` in shares of the image, NaN where the map is 0 everywhere.
    """
    values, detected = [], []
    seed, draws, side = options.intervals.seed, options.draws, options.side
    for heats, boxes, finding in _maps_of_cases(cases, centres, seed, draws, side, "scoring"):
        scores = [
            [score(heat, boxes, (thresholds[name][finding][0],), options.tolerance) for heat in alternatives]
            for name, alternatives in zip(thresholds, heats, strict=True)
        ]
        values.append(
            [np.mean([score_row(draw_scores) for draw_scores in alternatives], axis=0) for alternatives in scores]
        )
        detected.append(scores[0][0].detected[0])
    return np.array(values), np.array(detected)


def _iou_by_threshold(cases: BoxedCases, centres: Mapping[str, np.ndarray], options: LocalisationOptions) -> np.ndarray:
    """Return the IoU of each case's own map, one random map and the centre map, at each of `MAP_THRESHOLDS`.

    Returns:
        float64 ``[N, 3, S]``.
    """

    @lru_cache(maxsize=_CENTRE_MAPS)
    def detected_on_centre(finding: str, shape: tuple[int, int]) -> np.ndarray:
        return detected_boxes(centre_map(centres[finding], shape), MAP_THRESHOLDS)

    iou = []
    seed, side = options.intervals.seed, min(options.side, CHOOSING_SIDE)
    for (actual, random, _), boxes, finding in _maps_of_cases(cases, centres, seed, 1, side, "choosing map thresholds"):
        detected = [detected_boxes(heat, MAP_THRESHOLDS) for heat in (*actual, *random)]
        detected.append(detected_on_centre(finding, actual[0].shape))
        iou.append([overlaps(each, boxes)[0] for each in detected])
    return np.array(iou)


def _maps_of_cases(
    cases: BoxedCases, centres: Mapping[str, np.ndarray], seed: int, draws: int, side: int, description: str
) -> Iterator[tuple[tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]], np.ndarray, str]]:
    """Yield each case's maps on its raster (its own; random ones; the centre map), its boxes and its finding."""
    on_centre = lru_cache(maxsize=_CENTRE_MAPS)(lambda finding, shape: centre_map(centres[finding], shape))
    store = cases.store
    channels = {finding: channel for channel, finding in enumerate(store.findings)}
    rows = progress_bar(
        cases.table[["image", "finding"]].itertuples(index=False, name=None),
        total=len(cases), desc=description, unit="cases",
    )  # fmt: skip
    for image, finding in rows:
        view = store.view(image)
        shape = raster(view.height, view.width, side)
        grid = store.grid(image)[channels[finding]]
        # the same noise for a case whatever else is scored
        random = np.random.default_rng([seed, zlib.crc32(f"{image}\t{finding}".encode())])
        heats = (
            [view.place(grid, store.points, shape)],
            [view.place(random.random(grid.shape), store.points, shape) for _ in range(draws)],
            [on_centre(finding, shape)],
        )
        yield heats, cases.boxes[image, finding], finding


def _with_thresholds(
    scores: pd.DataFrame, chosen: Mapping[str, Mapping[str, tuple[float, str]]], empty: pd.Series, method: str
) -> pd.DataFrame:
    """Return the table with each map's threshold, what it was chosen on, and how many maps are 0 everywhere."""
    keys = list(zip(scores["map"], scores["finding"], strict=True))
    choices = [chosen[name].get(finding, (np.nan, "")) for name, finding in keys]
    counts = [int(empty.sum() if label == MEAN else empty.get(label, 0)) * (name == method) for name, label in keys]
    added = pd.DataFrame(choices, columns=["map_threshold", "chosen_on"])
    added.insert(0, "empty", counts)
    return pd.concat([scores.iloc[:, :4], added, scores.iloc[:, 4:]], axis=1)


def _case_table(cases: BoxedCases, values: np.ndarray, detected: np.ndarray, maps: Sequence[str]) -> pd.DataFrame:
    """Return one row a case: its scores under each map, and the detected box in pixels of the stored image."""
    table = cases.table.copy()
    table.insert(0, "case", np.arange(1, len(table) + 1))
    keys = list(zip(table["image"], table["finding"], strict=True))
    table["boxes"] = [len(cases.boxes[key]) for key in keys]
    table["probability"] = [cases.store.probability(*key) for key in keys]
    for number, name in enumerate(maps):
        prefix = f"{name}_" if number else ""
        for column, figure in enumerate(("pointing", "energy", "iou", "iobb")):
            table[f"{prefix}{figure}"] = values[:, number, column]
    views = [cases.store.view(image) for image in table["image"]]
    size = np.array([(view.width, view.height) for view in views], dtype=float)
    boxes = np.hstack([detected[:, :2] * size, (detected[:, 2:] - detected[:, :2]) * size])
    return table.join(pd.DataFrame(boxes, columns=["x", "y", "width", "height"]))


def _remarks(in_mean: Sequence[str], scores: pd.DataFrame, chosen_on: BoxedCases) -> list[str]:
    findings = [name for name in scores["finding"].unique() if name != MEAN]
    notes = []
    if few := [name for name in findings if name not in in_mean]:
        notes.append(
            f"Fewer than {FEWEST_PATIENTS} patients have boxes of {', '.join(few)}: no intervals of means and gains, "
            "and no part in the mean over findings."
        )
    pooled = scores.loc[scores["chosen_on"] == POOLED_FINDINGS, "finding"].unique()
    if len(pooled):
        notes.append(
            f"Map thresholds of {', '.join(pooled)} were chosen on all findings together: fewer than {FEWEST_CASES} "
            "cases of their own to choose on."
        )
    if lacking := [name for name in findings if not (chosen_on.table["finding"] == name).any()]:
        notes.append(f"No box of {', '.join(lacking)} to choose on: their centre map is that of all findings.")
    if empty := scores[scores["finding"] == MEAN]["empty"].max():
        are = "map is" if empty == 1 else "maps are"
        notes.append(f"{empty:,} {are} 0 everywhere, which counts as a miss in every score.")
    return notes
