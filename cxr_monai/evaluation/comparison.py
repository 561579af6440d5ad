"""Two systems on the same images: which is better, by how much, and is the difference more than chance.

    table = compare(old, new, PatientBootstrap(old.patients))              # one row a finding, and 'mean'
    table[["finding", "difference", "patient_low", "patient_high", "verdict"]]
    compare(old, new, bootstrap, margin=0.01)["non_inferior"]              # new may be worse by less than 0.01

A difference is always second minus first. Two tests stand side by side: DeLong's paired test, which takes images for
independent, and the paired bootstrap of whole patients, which does not. The verdict goes by the second.

The bootstrap's interval is ``difference +- z * se`` and its p-value ``2 * P(Z > |difference| / se)``, where ``se`` is
the standard deviation of the replicates (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapters 6 and
13). The share of replicates beyond zero is not used: with 1,000 replicates it cannot fall below 0.002, which no
correction for more than 25 tests would leave under 0.05. Interval and p-value so agree with each other.
"""

import numpy as np
import pandas as pd
from scipy.stats import norm
from sklearn.metrics import average_precision_score

from cxr_monai.errors import Code, EvaluationError
from cxr_monai.evaluation.auroc import check_level, delong_paired
from cxr_monai.evaluation.bootstrap import ENOUGH, PatientBootstrap
from cxr_monai.evaluation.metrics_table import MEAN
from cxr_monai.evaluation.sample import Sample
from cxr_monai.plurals import counted

BETTER, WORSE, NOT_DISTINGUISHABLE, TOO_FEW = "better", "worse", "not distinguishable", "too few to say"
MINIMUM_PATIENTS = 20  # with the finding, and as many without it: fewer cannot tell a likely difference from chance


def compare(
    first: Sample,
    second: Sample,
    bootstrap: PatientBootstrap,
    level: float = 0.95,
    margin: float | None = None,
    minimum_positives: int = MINIMUM_PATIENTS,
) -> pd.DataFrame:
    """Compare two systems' AUROC and average precision per finding and on average.

    Args:
        first, second: the same images in the same order with the same labels and findings (findings in any order).
        bootstrap: made of ``first.patients``.
        level: of the intervals; ``1 - level`` is where a verdict is reached.
        margin: of non-inferiority, on the AUROC's scale, such as 0.01.
        minimum_positives: patients with the finding, and patients without it, below which there is no verdict.

    Returns:
        one row a finding, in the first's order, and a last row ``mean``:

        - ``finding, images, positives, positive_patients``: images with a known label; in the mean's row all images,
          the sum of positives, and the patients with any finding;
        - ``first, second, difference``: AUROC; NaN without a positive or a negative. The mean is over the findings that
          have one;
        - ``low, high, p``: DeLong's paired interval and test; in the mean's row those of the bootstrap, since DeLong's
          test is of one finding;
        - ``patient_low, patient_high, patient_p``: the paired bootstrap of patients;
        - ``p_holm, patient_p_holm``: corrected by `holm` over the findings; the mean is one test and stays as it is;
        - ``verdict``: ``better``, ``worse`` (the second is, by ``patient_p_holm``), ``not distinguishable``, or
          ``too few to say``;
        - ``non_inferior``: ``patient_low > -margin`` (one-sided at ``(1 - level) / 2`` and not corrected, since it is
          asked of each finding; NA without a margin or with too few patients);
        - ``average_precision_first, average_precision_second, average_precision_difference`` and its
          ``average_precision_patient_low, average_precision_patient_high``.

    Raises:
        EvaluationError: ``evaluation-invalid`` if images, patients, labels or findings differ, or for a level outside
            (0, 1) or a margin that is not in (0, 1).
    """
    check_level(level)
    if margin is not None and not 0 < margin < 1:
        raise EvaluationError(
            Code.EVALUATION_INVALID,
            f"the margin of non-inferiority is {margin}; it is an AUROC difference between 0 and 1.",
            fix="Choose it before looking at the results, such as 0.01.",
        )
    second = _aligned(first, second)
    labels, columns = first.labels, range(len(first.findings))
    delong = [delong_paired(first.scores[:, c], second.scores[:, c], labels[:, c], level) for c in columns]
    table = pd.DataFrame(
        {
            "finding": [*first.findings, MEAN],
            "images": [*(~np.isnan(labels)).sum(axis=0), len(labels)],
            "positives": [*(labels == 1).sum(axis=0), (labels == 1).sum()],
            "positive_patients": [
                *patients_with(labels == 1, first.patients),
                patients_with_any(labels == 1, first.patients),
            ],
            "first": with_mean(np.array([test.first for test in delong])),
            "second": with_mean(np.array([test.second for test in delong])),
        }
    )
    table["difference"] = table["second"] - table["first"]
    rankings = [bootstrap.rankings(sample.scores, labels) for sample in (first, second)]
    difference = table["difference"].to_numpy()
    low, high, p = difference_test(with_mean(rankings[1].auroc - rankings[0].auroc, difference[:-1]), difference, level)
    for name, bootstrapped in (("low", low), ("high", high), ("p", p)):
        table[name] = [*(getattr(test, name) for test in delong), bootstrapped[-1]]
    table["patient_low"], table["patient_high"], table["patient_p"] = low, high, p
    for name in ("p", "patient_p"):
        table[f"{name}_holm"] = [*holm(table[name].to_numpy()[:-1]), table[name].iloc[-1]]
    fewest = np.minimum(patients_with(labels == 1, first.patients), patients_with(labels == 0, first.patients))
    decidable = np.append(fewest, fewest.max(initial=0)) >= minimum_positives
    decidable &= ~np.isnan(p)
    sign = np.where(table["patient_p_holm"] < 1 - level, np.sign(table["difference"]), 0)
    verdicts = np.array([WORSE, NOT_DISTINGUISHABLE, BETTER], dtype=object)[sign.astype(int) + 1]
    table["verdict"] = pd.Series(np.where(decidable, verdicts, TOO_FEW), dtype="str")
    non_inferior = low > -(np.inf if margin is None else margin)
    table["non_inferior"] = pd.array(non_inferior, dtype="boolean")
    table.loc[~decidable | (margin is None), "non_inferior"] = pd.NA
    precisions = [with_mean(_average_precisions(sample.scores, labels)) for sample in (first, second)]
    table["average_precision_first"], table["average_precision_second"] = precisions
    difference = precisions[1] - precisions[0]
    table["average_precision_difference"] = difference
    replicates = with_mean(rankings[1].average_precision - rankings[0].average_precision, difference[:-1])
    low, high, _ = difference_test(replicates, difference, level)
    table["average_precision_patient_low"], table["average_precision_patient_high"] = low, high
    return table


def difference_test(
    replicates: np.ndarray, estimate: np.ndarray, level: float = 0.95
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return low, high and two-sided p ``[K]`` of K differences, from the standard deviation of their replicates.

    Args:
        replicates: float ``[R, K]`` of the differences; NaN where a replicate has none.
        estimate: float ``[K]``, on the sample itself, in [-1, 1].
        level: of the intervals.

    Returns:
        the interval, within [-1, 1], and the p-value; NaN where fewer than nine tenths of the replicates have a value.
        Where no replicate differs from another, the interval has no width and p is 1 for a difference of zero (the two
        are one ranking), else NaN: such a sample shows no variation to judge a difference by.
    """
    estimate = np.asarray(estimate, float)
    error = np.where(np.isnan(estimate), np.nan, standard_error(replicates))
    half = norm.ppf((1 + level) / 2) * error
    z = np.divide(np.abs(estimate), error, out=np.full(estimate.shape, np.nan), where=error > 0)
    p = np.where((error == 0) & (np.abs(estimate) < 1e-12), 1.0, 2 * norm.sf(z))
    return np.clip(estimate - half, -1, 1), np.clip(estimate + half, -1, 1), p


def standard_error(replicates: np.ndarray) -> np.ndarray:
    """Return the standard deviation ``[K]`` of replicates ``[R, K]``; NaN where under nine tenths have a value."""
    replicates = np.asarray(replicates, float)
    defined = ~np.isnan(replicates)
    count = defined.sum(axis=0)
    enough = count >= max(2, ENOUGH * len(replicates))
    count = np.maximum(count, 2)
    mean = np.where(defined, replicates, 0).sum(axis=0) / count
    squares = np.where(defined, replicates - mean, 0) ** 2
    error = np.where(enough, np.sqrt(squares.sum(axis=0) / (count - 1)), np.nan)
    # what rounding leaves of replicates that are all the same
    error[error < 1e-12] = 0.0
    return error


def holm(p: np.ndarray) -> np.ndarray:
    """Return p-values corrected for multiple testing: the chance of any false positive stays below 0.05 at p < 0.05.

    Source: Holm 1979, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6,
    65-70, https://www.jstor.org/stable/4615733. It holds however the tests depend on one another.

    Args:
        p: float ``[K]``; NaN is no test and stays NaN.

    Returns:
        float ``[K]``, in [0, 1], in the order of ``p``.

    >>> holm(np.array([0.01, 0.04, np.nan, 0.03])).round(3)
    array([0.03, 0.06,  nan, 0.06])
    """
    p = np.asarray(p, dtype=float)
    adjusted = np.full(p.shape, np.nan)
    tests = np.flatnonzero(~np.isnan(p))
    ascending = tests[np.argsort(p[tests], kind="stable")]
    factors = np.arange(ascending.size, 0, -1)
    adjusted[ascending] = np.minimum(np.maximum.accumulate(factors * p[ascending]), 1.0)
    return adjusted


def patients_with(images: np.ndarray, patients: np.ndarray) -> np.ndarray:
    """Return the number of patients with at least one marked image, for each of F findings: int ``[F]``.

    Args:
        images: bool ``[N, F]``; True marks an image.
        patients: int ``[N]``, patient codes.

    >>> patients_with(np.array([[True], [True], [False]]), np.array([0, 0, 1]))
    array([1])
    """
    if not len(patients):
        return np.zeros(images.shape[1], dtype=int)
    columns = (np.bincount(patients[images[:, column]]) for column in range(images.shape[1]))
    return np.array([np.count_nonzero(counts) for counts in columns], dtype=int)


def patients_with_any(images: np.ndarray, patients: np.ndarray) -> int:
    """Return the number of patients with a marked image for at least one finding.

    Args:
        images: bool ``[N, F]``; True marks an image.
        patients: int ``[N]``, patient codes.
    """
    return int(patients_with(images.max(axis=1, keepdims=True, initial=False), patients)[0])


def with_mean(values: np.ndarray, estimate: np.ndarray | None = None) -> np.ndarray:
    """Append the mean of the findings that have a value: ``[..., F]`` to ``[..., F + 1]``; NaN where none has.

    Args:
        values: the figures on the sample ``[F]``, or their replicates ``[R, F]``.
        estimate: for replicates, the figures on the sample ``[F]``. It stands in where a replicate has no positive of a
            rare finding: leaving that finding out would compare means of different findings.

    >>> with_mean(np.array([0.8, np.nan, 0.6])).round(2)
    array([0.8, nan, 0.6, 0.7])
    """
    defined = ~np.isnan(values if estimate is None else estimate)
    if not defined.any():
        return np.concatenate([values, np.full((*values.shape[:-1], 1), np.nan)], axis=-1)
    filled = values if estimate is None else np.where(np.isnan(values), estimate, values)
    return np.concatenate([values, filled[..., defined].mean(axis=-1, keepdims=True)], axis=-1)


def _average_precisions(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return scikit-learn's average precision of F findings ``[F]``; NaN without a positive or without a negative."""
    values = np.full(scores.shape[1], np.nan)
    for column in range(scores.shape[1]):
        is_known = ~np.isnan(labels[:, column])
        truth = labels[is_known, column]
        if 0 < truth.sum() < truth.size:
            values[column] = average_precision_score(truth, scores[is_known, column])
    return values


def _aligned(first: Sample, second: Sample) -> Sample:
    """Return the second with the first's order of findings.

    Raises:
        EvaluationError: the two are not of the same images, patients, labels and findings.
    """

    def refuse(message: str, fix: str) -> EvaluationError:
        return EvaluationError(Code.EVALUATION_INVALID, f"the two systems cannot be compared: {message}.", fix=fix)

    if set(first.findings) != set(second.findings):
        raise refuse(
            f"the first predicts {', '.join(first.findings)}; the second {', '.join(second.findings)}",
            "Compare the findings that both predict.",
        )
    if len(first) != len(second):
        raise refuse(f"{counted(len(first), 'image')} against {len(second):,}", "Give both the images that both have.")
    for column in ("image", "patient_id"):
        first_values, second_values = (sample.table[column].to_numpy() for sample in (first, second))
        differ = np.flatnonzero(first_values != second_values)
        if differ.size:
            row = differ[0]
            raise refuse(
                f"in row {row} {column} is {first_values[row]!r} in the first and {second_values[row]!r} in the second",
                "Give both the same images in the same order, from one manifest.",
            )
    order = [second.findings.index(finding) for finding in first.findings]
    labels = second.labels[:, order]
    if not np.array_equal(first.labels, labels, equal_nan=True):
        first_values, second_values = np.nan_to_num(first.labels, nan=-1), np.nan_to_num(labels, nan=-1)
        odd = [
            f"{name} ({count:,})"
            for name, count in zip(first.findings, (first_values != second_values).sum(0), strict=True)
            if count
        ]
        raise refuse(f"labels differ: {', '.join(odd)}", "Join both to the same manifest: one version of the labels.")
    return Sample(
        first.table, first.findings, second.scores[:, order], first.labels, first.patients, first.ranking_only
    )
