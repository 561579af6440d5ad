"""The tables that answer an experiment's question: each variant's AUROCs, and its difference to the baseline.

    tables = tabulate(result, "test")
    tables.comparison[["variant", "mean_auroc", "difference", "low", "high"]]

All variants are judged on the same images with the same labels, and every replicate of the bootstrap draws the same
patients for all of them, so differences are paired. With several seeds an AUROC is the mean over the seeds of each
network's own: what one training of these settings is worth. (Averaging their predictions would judge an ensemble, which
rewards settings whose networks disagree.)

An interval of a difference has two sources. Patients: the standard deviation of the replicates of the seeds' mean.
Random weights, order and views: the standard deviation of the seeds' differences by the root of their number; with one
seed it is not known, and the interval holds the choice of patients alone. Both add up as variances, with Student's
quantile for the degrees of freedom of Satterthwaite 1946 (doi:10.2307/3002019), of which patients have very many and S
seeds S - 1. That other patients might have been trained on is in neither.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import norm
from scipy.stats import t as student

from cxr_monai.data.joining import without
from cxr_monai.errors import Code, EvaluationError
from cxr_monai.evaluation.assessment import mean_interval
from cxr_monai.evaluation.bootstrap import PatientBootstrap, bootstrap_interval
from cxr_monai.evaluation.comparison import MINIMUM_PATIENTS, holm, patients_with, standard_error, with_mean
from cxr_monai.evaluation.metrics_table import MEAN, finding_table
from cxr_monai.evaluation.predictions import PredictionsFile, join
from cxr_monai.evaluation.sample import Sample
from cxr_monai.plurals import counted
from cxr_monai.studies.plan import ExperimentResult


@dataclass(frozen=True, eq=False)
class Tables:
    """The tables of an experiment.

    Attributes:
        study: one row a variant, seed and finding (and ``mean``): ``variant, seed, finding, auroc, positives, low,
            high``; the interval is of that network, over patients.
        findings: one row a finding, and ``mean``: ``finding, positives`` and a column a variant, its AUROC; NaN where a
            finding has no positive or no negative, and for a variant that failed.
        comparison: one row a variant: ``variant, mean_auroc, difference, low, high, p, p_holm, patient_error,
            seed_error, seconds, image_passes``. The difference is variant minus baseline, NaN in the baseline's row;
            ``p_holm`` is corrected for the number of variants; the errors are the two sources of the interval.
        differences: one row a variant and finding: ``variant, finding, auroc, difference, low, high, p, p_holm``;
            corrected for the number of findings of the variant.
        published: one row a variant and finding: ``variant, source, finding, auroc``, as published; None without any.
        notes: sentences for the reader.
    """

    study: pd.DataFrame
    findings: pd.DataFrame
    comparison: pd.DataFrame
    differences: pd.DataFrame
    published: pd.DataFrame | None
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class _Areas:
    """AUROCs of one variant, each finding's and their mean: ``[S, F + 1]``, and their replicates ``[R, F + 1]``, mean
    over the seeds."""

    values: np.ndarray
    replicates: np.ndarray


def tabulate(result: ExperimentResult, split: str | None, replicates: int = 1000, level: float = 0.95) -> Tables:
    """Return the tables of an experiment.

    Args:
        result: predictions of at least one variant.
        split: the part of the manifest that is judged; None for all that is predicted.
        replicates: draws of all patients.
        level: of the intervals.

    Raises:
        EvaluationError: ``predictions-invalid`` if no image was predicted by all.
        ManifestError: as ``cxr_monai.evaluation.predictions.join``.
    """
    samples, left_out = _in_common(result, split)
    first = next(iter(samples.values()))[0]
    bootstrap = PatientBootstrap(first.patients, replicates, progress=True)
    areas, rows = {}, []
    for variant, seeds in samples.items():
        mean_replicates, values = np.zeros((replicates, len(result.findings) + 1)), []
        for seed, sample in zip(result.plan.seeds, seeds, strict=True):
            table = finding_table(sample.scores, sample.labels, sample.findings)
            ranking = bootstrap.rankings(sample.scores, sample.labels)
            auroc = table["auroc"].to_numpy()
            low, high = bootstrap_interval(ranking.auroc, level, auroc[:-1], effective=ranking.auroc_effective)
            equal = np.ones(len(result.findings))
            _, *ends = mean_interval(auroc[:-1], ranking.auroc, ranking.auroc_effective, equal, level)
            seed_table = table[["finding", "auroc", "positives"]].assign(low=[*low, ends[0]], high=[*high, ends[1]])
            seed_table.insert(0, "variant", variant)
            seed_table.insert(1, "seed", seed)
            rows.append(seed_table)
            values.append(auroc)
            mean_replicates += with_mean(ranking.auroc, auroc[:-1]) / len(seeds)
        areas[variant] = _Areas(np.array(values), mean_replicates)
    study = pd.concat(rows, ignore_index=True)
    findings = study.loc[study["variant"] == study["variant"].iloc[0], ["finding", "positives"]]
    findings = findings.head(len(result.findings) + 1).reset_index(drop=True)
    for variant in result.plan.variants:
        findings[variant] = areas[variant].values.mean(axis=0) if variant in areas else np.nan
    differences = _differences(result, areas, level)
    return Tables(
        study,
        findings,
        _comparison(result, differences),
        differences.drop(columns=["patient_error", "seed_error"]),
        _published(result),
        (*result.notes, *_notes(result, first, level, split), *left_out),
    )


def _in_common(result: ExperimentResult, split: str | None) -> tuple[dict[str, list[Sample]], list[str]]:
    """Return the predictions of each variant and seed, all of the same images, and a sentence on those left out."""
    samples_by_variant = {
        variant: [_sample(table, result, split) for table in seeds] for variant, seeds in result.predictions.items()
    }
    every = [set(sample.table["image"]) for seeds in samples_by_variant.values() for sample in seeds]
    shared, seen = set.intersection(*every), set.union(*every)
    if not shared:
        raise EvaluationError(
            Code.PREDICTIONS_INVALID,
            f"none of the {counted(len(seen), 'predicted image')} was predicted by every network.",
        )
    samples = {
        variant: [sample.take(sample.table["image"].isin(shared)) for sample in seeds]
        for variant, seeds in samples_by_variant.items()
    }
    left_out = sorted(seen - shared)
    return samples, without(left_out, len(seen), "predicted images", "prediction by every network")


def _sample(table: pd.DataFrame, result: ExperimentResult, split: str | None) -> Sample:
    return join(PredictionsFile(table[["image", *result.findings]]), result.truth, split, result.findings)[0]


def _differences(result: ExperimentResult, areas: dict[str, _Areas], level: float) -> pd.DataFrame:
    names, base = [*result.findings, MEAN], areas.get(result.plan.baseline)
    parts = []
    for variant, variant_areas in areas.items():
        part = pd.DataFrame({"variant": variant, "finding": names, "auroc": variant_areas.values.mean(axis=0)})
        if base is None or variant == result.plan.baseline:
            test = np.full((6, len(names)), np.nan)
        else:
            test = difference_over_seeds(
                variant_areas.replicates - base.replicates, variant_areas.values - base.values, level
            )
        columns = ["difference", "low", "high", "p", "patient_error", "seed_error"]
        part[columns] = test.T
        part.insert(7, "p_holm", [*holm(part["p"].to_numpy()[:-1]), part["p"].iloc[-1]])
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def difference_over_seeds(replicates: np.ndarray, by_seed: np.ndarray, level: float = 0.95) -> np.ndarray:
    """Test K differences that have been seen with S seeds.

    Args:
        replicates: ``[R, K]``, of the mean over the seeds.
        by_seed: ``[S, K]``, the differences.
        level: of the intervals.

    Returns:
        ``[6, K]``: difference, low, high, two-sided p, the standard error by patients, and that by seeds (NaN with one
        seed). All but the difference are NaN where under nine tenths of the replicates have a value. Where neither
        source shows any variation, p is 1 for a difference of zero, else NaN.
    """
    seeds, difference = len(by_seed), by_seed.mean(axis=0)
    patients = np.where(np.isnan(difference), np.nan, standard_error(replicates))
    weights = by_seed.std(axis=0, ddof=1) / np.sqrt(seeds) if seeds > 1 else np.full(len(difference), np.nan)
    error = np.hypot(patients, np.nan_to_num(weights))
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = error**4 / (np.nan_to_num(weights) ** 4 / max(1, seeds - 1))
        z = np.abs(difference) / error
    few = np.isfinite(freedom)
    freedom = np.where(few, freedom, 1.0)
    half = error * np.where(few, student.ppf((1 + level) / 2, freedom), norm.ppf((1 + level) / 2))
    p = 2 * np.where(few, student.sf(z, freedom), norm.sf(z))
    p = np.where(error > 0, p, np.where((error == 0) & (difference == 0), 1.0, np.nan))
    low, high = np.clip(difference - half, -1, 1), np.clip(difference + half, -1, 1)
    return np.array([difference, low, high, p, patients, weights])


def _comparison(result: ExperimentResult, differences: pd.DataFrame) -> pd.DataFrame:
    means = differences[differences["finding"] == MEAN].rename(columns={"auroc": "mean_auroc"})
    table = result.costs[["variant"]].merge(means.drop(columns="finding"), how="left", on="variant")
    table["p_holm"] = holm(table["p"].to_numpy(dtype=float))
    table = table.merge(result.costs, on="variant")
    table["variant"] = pd.Categorical(table["variant"], list(result.plan.variants))
    return table.sort_values("variant", ignore_index=True).astype({"variant": "str"})


def _published(result: ExperimentResult) -> pd.DataFrame | None:
    rows = [
        (variant, published.source, finding, value)
        for variant, published in result.plan.published.items()
        for finding, value in published.auroc.items()
    ]
    return pd.DataFrame(rows, columns=["variant", "source", "finding", "auroc"]) if rows else None


def _notes(result: ExperimentResult, sample: Sample, level: float, split: str | None) -> Sequence[str]:
    """Return the sentences that a reader needs to judge the figures."""
    plan, patients = result.plan, int(sample.patients.max()) + 1
    judged_on = f"out-of-fold predictions ({plan.folds} folds)" if split is None else f"the {split} part"
    if plan.leave_out:
        judged_on = "every source, predicted by networks that have not seen it"
    notes = [
        f"Judged on {judged_on}: {counted(len(sample), 'image')} of "
        f"{counted(patients, 'patient')}, the same for all variants."
    ]
    fewest = np.minimum(*(patients_with(sample.labels == value, sample.patients) for value in (0, 1)))
    rare = [f"{name} ({few})" for name, few in zip(sample.findings, fewest, strict=True) if few < MINIMUM_PATIENTS]
    if rare:
        notes.append(
            f"Fewer than {MINIMUM_PATIENTS} patients with, or without: {', '.join(rare)}. These AUROCs mean little."
        )
    if len(plan.variants) > 1:
        notes.append(f"Differences are to {plan.baseline}; intervals are at {level:.0%}.")
        notes.append(
            "With one seed the intervals hold the choice of patients alone; another seed may well give a difference "
            "outside of them. Several seeds (--seeds 0,1,2) take that in."
            if len(plan.seeds) == 1
            else f"Figures are means over {counted(len(plan.seeds), 'seed')}; intervals "
            "hold the choice of patients and of seeds."
        )
    if len(plan.variants) > 2:
        notes.append(
            f"With {len(plan.variants) - 1} comparisons one interval may miss zero by chance; p_holm in comparison.csv "
            "is corrected for that. What is chosen here looks better here than it is: confirm it on other patients."
        )
    not_shared = [f"{name} ({', '.join(lost)})" for name in result.predictions if (lost := _others(result, name))]
    if not_shared:
        notes.append(f"Not compared, since not every variant has them: {'; '.join(not_shared)}.")
    notes += [f"{variant} failed and is left out: {lines.splitlines()[-1]}" for variant, lines in result.failed.items()]
    if plan.baseline in result.failed:
        notes.append(f"The baseline {plan.baseline} failed, so there are no differences.")
    return notes


def _others(result: ExperimentResult, variant: str) -> list[str]:
    return [name for name in result.predictions[variant][0].columns[1:] if name not in result.findings]
