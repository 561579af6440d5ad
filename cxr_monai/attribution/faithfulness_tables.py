"""Faithfulness of attribution methods: figures of each method with intervals over patients.

    tested = measure_faithfulness(subject, images, cases, patients, FaithfulnessOptions(methods=("cam", "occlusion")))
    tested.methods[["method", "deletion_gain", "survival", "verdict"]]

A method fails, and is said to explain nothing, if its maps survive when weights are drawn anew
(``cxr_monai.attribution.randomisation``).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from cxr_monai.attribution.case_means import few_note, mean_table
from cxr_monai.attribution.randomisation import SURVIVED
from cxr_monai.attribution.subject import Subject, faithfulness, randomisation
from cxr_monai.errors import Code, EvaluationError
from cxr_monai.evaluation.bootstrap import Intervals
from cxr_monai.plurals import be, counted

DEPENDS, EXPLAINS_NOTHING = "depends on the weights", "explains nothing"
_MEASURES = ("deletion", "insertion", "unexplained", "sensitivity")
_SETTINGS = ("target_layer", "map_stride", "baseline", "steps", "controls", "samples", "stages", "draws")
_UNDECIDED = "undecided: no map differs from place to place"


@dataclass(frozen=True)
class FaithfulnessOptions:
    """How to test; the defaults are those of ``cxr-monai maps faithful``.

    Attributes:
        methods: names.
        findings: whose maps, on every image; where empty, that of the most probable finding of each image.
        count: images, drawn at random.
        map_stride, target_layer: as of ``cxr-monai explain``.
        baseline: what replaces a place that is taken away, ``blur`` or ``mean``.
        steps: of the curves.
        controls: random places that each map is moved to.
        samples: of infidelity and sensitivity; 0 leaves both out.
        stages: of randomised weights; 0 leaves them out.
        draws: of each stage's weights.
        intervals: over patients; their seed is also that of all else that is drawn.
        any_modality: read DICOM files whatever their headers state about their content.
    """

    methods: Sequence[str] = ("cam",)
    findings: Sequence[str] = ()
    count: int = 24
    map_stride: int | None = None
    target_layer: str | None = None
    baseline: str = "blur"
    steps: int = 10
    controls: int = 3
    samples: int = 10
    stages: int = 4
    draws: int = 5
    intervals: Intervals = field(default_factory=Intervals)
    any_modality: bool = False


@dataclass(frozen=True, eq=False)
class Faithfulness:
    """The results of the faithfulness tests of some methods.

    Attributes:
        methods: one row a method: ``method, cases, patients, empty`` and of each measure its mean, ``_low`` and
            ``_high``: ``deletion, insertion, unexplained``, each with ``_control`` and ``_gain``; ``sensitivity``;
            ``survival`` (the highest mean rank correlation of all stages), ``survival_stage`` and ``verdict``.
        stages: one row a method and stage: ``method, stage, random_parts, cases, patients``, means of
            ``rank_correlation`` and ``ssim``; None where weights were left alone.
        curves: ``method, map, share, deletion, insertion``, means over cases.
        cases: one row a method and case.
        level: of the intervals.
        provenance: of the figures: bundle, methods, settings.
        notes: remarks, in full sentences.
    """

    methods: pd.DataFrame
    stages: pd.DataFrame | None
    curves: pd.DataFrame
    cases: pd.DataFrame
    level: float
    provenance: dict[str, Any]
    notes: tuple[str, ...]


def measure_faithfulness(
    subject: Subject,
    images: Any,
    cases: pd.DataFrame,
    patients: pd.Series,
    options: FaithfulnessOptions,
    notes: Sequence[str] = (),
) -> Faithfulness:
    """Test methods on the cases of some images.

    Args:
        subject, images, cases: see ``cxr_monai.attribution.subject``.
        patients: of each image, indexed by image.
        options: how to test.
        notes: remarks that come first.

    Raises:
        EvaluationError: ``maps-invalid`` if every map is 0 everywhere.
        SettingError: as the methods.
    """
    seed = options.intervals.seed
    tested, curves = faithfulness(
        subject, images, cases, options.methods, options.baseline, options.steps, options.controls, options.samples,
        seed,
    )  # fmt: skip
    if tested["empty"].all():
        raise EvaluationError(
            Code.MAPS_INVALID,
            f"all {counted(len(tested), 'map')} {be(len(tested))} 0 everywhere: nothing "
            "speaks for these findings in these images.",
            fix="Name findings that some of the images have with --finding, or test more images with --count.",
        )
    measures = [name for name in map(str, tested) if name.startswith(_MEASURES)]
    methods = mean_table(tested, "method", measures, patients, options.intervals)
    methods.insert(3, "empty", methods["method"].map(tested.groupby("method")["empty"].sum()).astype(int))
    stages = None
    if options.stages:
        survived = randomisation(subject, images, cases, options.methods, options.stages, options.draws, seed)
        stages = _stage_table(survived, patients, options.intervals)
        methods = methods.join(_verdict_table(stages).set_index("method"), on="method")
    provenance = {
        "methods": list(options.methods),
        "findings": list(dict.fromkeys(cases["finding"])),
        **{name: getattr(options, name) for name in _SETTINGS},
        "seed": seed,
    }
    notes = (*notes, *_remarks(methods))
    return Faithfulness(methods, stages, curves, tested, options.intervals.level, provenance, notes)


def _stage_table(survived: pd.DataFrame, patients: pd.Series, intervals: Intervals) -> pd.DataFrame:
    """Return the mean similarity of maps before and after randomisation, one row a method and stage."""
    tables = []
    for method, cases in survived.groupby("method", sort=False):
        table = mean_table(cases, "stage", ["rank_correlation", "ssim"], patients, intervals)
        table.insert(0, "method", method)
        table.insert(2, "random_parts", table["stage"].map(cases.groupby("stage")["random_parts"].first()).astype(int))
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def _verdict_table(stages: pd.DataFrame) -> pd.DataFrame:
    """Return of each method the stage at which its maps survived most, and whether that is too much."""
    rows = []
    for method, table in stages.groupby("method", sort=False):
        if table["rank_correlation"].isna().all():
            rows.append((method, np.nan, "", _UNDECIDED))
            continue
        most = table.iloc[int(np.nanargmax(table["rank_correlation"]))]
        survival = float(most["rank_correlation"])
        rows.append((method, survival, most["stage"], EXPLAINS_NOTHING if survival > SURVIVED else DEPENDS))
    return pd.DataFrame(rows, columns=["method", "survival", "survival_stage", "verdict"])


def _remarks(methods: pd.DataFrame) -> list[str]:
    notes = [
        f"{row['method']} explains nothing here: its maps stay as they were (rank correlation {row['survival']:.2f}, "
        f"over {SURVIVED:g}) when weights are drawn anew down to {row['survival_stage']}."
        for row in methods.to_dict(orient="records")
        if row.get("verdict") == EXPLAINS_NOTHING
    ]
    empty = methods["empty"].sum()
    if empty:
        notes.append(
            f"{counted(empty, 'map')} {be(empty)} 0 everywhere: nothing speaks for the finding. They are in no figure."
        )
    return notes + few_note(methods["patients"])
