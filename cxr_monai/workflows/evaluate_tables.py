"""Judge predictions from Python, files or tables in memory: what ``cxr-monai evaluate`` does, as values.

evaluation = evaluate_predictions(predictions, "manifest.csv", split="test")
evaluation.findings[["finding", "auroc", "auroc_patient_low", "auroc_patient_high"]]
compare_predictions(old, new, "manifest.csv", margin=0.02)[["finding", "difference", "verdict"]]
"""

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import cast

import pandas as pd

from cxr_monai.data.manifest import Manifest
from cxr_monai.evaluation.assessment import Evaluation
from cxr_monai.evaluation.bootstrap import Intervals
from cxr_monai.evaluation.fitted import COVERAGE, DEFAULT_RULES
from cxr_monai.sharing.trust.open_trusted import open_trusted
from cxr_monai.workflows.evaluate import EvaluationOptions, evaluate_files
from cxr_monai.workflows.predict import Probabilities, predictions_file


def evaluate_predictions(
    predictions: Probabilities,
    manifest: str | Path | Manifest,
    out: str | Path | None = None,
    *,
    split: str | None = None,
    bundle: str | PathLike[str] | None = None,
    fit_on: Probabilities | None = None,
    method: str = "auto",
    rules: Sequence[str] = DEFAULT_RULES,
    coverage: float = COVERAGE,
    prevalence: Mapping[str, float] | float | None = None,
    replicates: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    label_scheme: str | None = None,
    match_names: bool = False,
    force: bool = False,
) -> Evaluation:
    """Judge predictions of any system against a manifest's labels.

    Args:
        predictions: a predictions file, what `predict_images` returned, or a table.
        manifest: labels and patients: a file or a table in memory; the image files are not needed.
        out: also write tables and ``report.html`` into this folder.
        split: report on this part alone; on all images that have a prediction where None.
        bundle: brings calibration and operating points: a folder, an opened bundle, or an installed one's name.
        fit_on: or they are fitted on these predictions of other patients; ``"half"``: on half of these patients.
        method, rules, coverage: of what is fitted, see ``cxr_monai.evaluation.fitted.fit_calibration``.
        prevalence: PPV and NPV elsewhere: one number for all findings, or one for each.
        replicates: draws of all patients, for the intervals.
        level: of the intervals.
        seed: of the draws.
        label_scheme: what the predicted labels are made of, such as ``categories_normal``; as the bundle or the
            predictions say where None.
        match_names: a file name alone tells which image it is.
        force: an earlier evaluation in ``out`` may be written over.

    Returns:
        ``findings``: one row a finding and one of means, with intervals; ``operating_points``, ``calibration``,
        ``subgroups`` and further tables; ``notes``: what a reader must know.

    Raises:
        CxrError: ``predictions-invalid``, ``patients-shared``, ``evaluation-invalid``, ``output-exists`` ...

    >>> evaluate_predictions("predictions.csv", "manifest.csv", split="test").findings  # doctest: +SKIP
    """
    return evaluate_files(
        predictions_file(predictions),
        manifest,
        out,
        split=split,
        bundle=None if bundle is None else open_trusted(bundle, trust_folder=True),
        fit_on=fit_on if fit_on is None or isinstance(fit_on, str) else predictions_file(fit_on),
        label_scheme=label_scheme,
        match_names=match_names,
        options=EvaluationOptions(method, rules, coverage, None, prevalence, Intervals(replicates, level, seed)),
        force=force,
    )[0]


def compare_predictions(
    first: Probabilities,
    second: Probabilities,
    manifest: str | Path | Manifest,
    out: str | Path | None = None,
    *,
    split: str | None = None,
    margin: float | None = None,
    replicates: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    label_scheme: str | None = None,
    match_names: bool = False,
    force: bool = False,
) -> pd.DataFrame:
    """Compare two systems on the same images: which is better, by how much, and is it more than chance.

    Args:
        first: the one in use.
        second: the other one; images that one of them lacks are left out.
        manifest, out, split, replicates, level, seed, label_scheme, match_names, force: as of `evaluate_predictions`.
        margin: of AUROC: is the second not worse by more than that?

    Returns:
        one row a finding and ``mean``: ``first, second, difference`` (second minus first), intervals, p-values,
        ``verdict`` and ``non_inferior``, see ``cxr_monai.evaluation.comparison.compare``.

    Raises:
        CxrError: as of `evaluate_predictions`; ``evaluation-invalid`` for a margin outside (0, 1).

    >>> compare_predictions("old.csv", "new.csv", "manifest.csv", margin=0.02)  # doctest: +SKIP
    """
    evaluation, _ = evaluate_files(
        predictions_file(first),
        manifest,
        out,
        split=split,
        compare=predictions_file(second),
        label_scheme=label_scheme,
        match_names=match_names,
        options=EvaluationOptions(margin=margin, intervals=Intervals(replicates, level, seed)),
        force=force,
    )
    return cast(pd.DataFrame, evaluation.comparison)  # there is one, since there is a second system
