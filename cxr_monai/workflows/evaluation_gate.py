"""What a gate says of the films of an evaluation: found beside the predictions, joined to labels, counted.

films, notes = films_judged(file, None, sample, manifest, "test")   # None where no film was judged
evaluation = with_gate_tables(evaluation, films, intervals)
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from cxr_monai.data.manifest import Manifest
from cxr_monai.data.view_selection import BEST_FRONTAL
from cxr_monai.evaluation.assessment import Evaluation
from cxr_monai.evaluation.bootstrap import Intervals
from cxr_monai.evaluation.gate_effects import gate_tables
from cxr_monai.evaluation.gate_table import JudgedFilms, gate_table_beside, judged_films, read_gate_table
from cxr_monai.evaluation.predictions import PredictionsFile
from cxr_monai.evaluation.sample import Sample
from cxr_monai.report.evaluation_rows import chosen_points
from cxr_monai.report.gate_section import gate_harms


def films_judged(
    file: PredictionsFile, gate_table: str | Path | None, sample: Sample, manifest: Manifest, split: str | None
) -> tuple[JudgedFilms | None, list[str]]:
    """Return the labelled films that a gate judged, and sentences on what is missing.

    Args:
        file: the predictions.
        gate_table: a table that is named; that of predictions in memory, or beside their file, where None.
        sample: the films that are evaluated.
        manifest: their labels; its ``views`` are those that are evaluated.
        split: the part that is evaluated; all where None.

    Raises:
        EvaluationError: ``predictions-invalid`` for a table that is none, or is of other films.
    """
    gate = file.gate if gate_table is None else read_gate_table(gate_table)
    gate = gate_table_beside(file.path) if gate is None else gate
    if gate is None:
        return None, []
    views = manifest.views.split(", ") if manifest.views and manifest.views != BEST_FRONTAL else []
    return judged_films(gate, sample, manifest, split, views)


def with_gate_tables(evaluation: Evaluation, films: JudgedFilms, intervals: Intervals) -> Evaluation:
    """Return an evaluation with what a gate does on its films; the thresholds are those that the report speaks of.

    Args:
        evaluation: of the same films.
        films: of :func:`films_judged`.
        intervals: of the bootstrap over patients.
    """
    thresholds = {finding: float(point["threshold"]) for finding, point in chosen_points(evaluation).items()}
    tables = gate_tables(films.with_scores_of(evaluation.sample), thresholds, intervals)
    return replace(
        evaluation,
        gate_codes=tables.codes,
        gate_findings=tables.findings,
        gate_groups=tables.groups,
        gate_figures=tables.figures,
        notes=(*evaluation.notes, *gate_harms(tables.findings)),
        book={**evaluation.book, "gate": _provenance(evaluation.book, films)},
    )


def _provenance(book: Mapping[str, Any], films: JudgedFilms) -> dict[str, Any]:
    return {
        **(book.get("gate") or {}),
        "films": len(films.sample),
        "refused": int(films.is_refused.sum()),
        "refused without a prediction": int((~films.is_predicted).sum()),
        "to be reviewed": int(films.is_reviewed.sum()),
    }
