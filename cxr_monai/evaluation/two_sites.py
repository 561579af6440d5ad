"""One model's predictions at two sites, home and there, with draws of both sites' patients.

    sites = TwoSites.of(home, there, Intervals(1000, 0.95, seed=0))
    sites.findings                                     # that both sites label
    sites.home_draws.ranking(*sites.home.column("Mass"))

Home is where the model was trained or last judged: images that it was not trained on. The sites share no patient, so
their draws are independent of each other; everything computed at one site with one `TwoSites` is paired.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cxr_monai.errors import Code, EvaluationError
from cxr_monai.evaluation.assessment import joint_effective
from cxr_monai.evaluation.auroc import check_level
from cxr_monai.evaluation.bootstrap import Intervals, PatientBootstrap, bootstrap_interval
from cxr_monai.evaluation.sample import Sample


@dataclass(frozen=True, eq=False)
class TwoSites:
    """Two samples of one model with their draws.

    Attributes:
        home, there: the samples.
        findings: names that both have, in home's order.
        home_draws, there_draws: R replicates of each site's patients.
        level: of the intervals.
    """

    home: Sample
    there: Sample
    findings: tuple[str, ...]
    home_draws: PatientBootstrap
    there_draws: PatientBootstrap
    level: float

    @classmethod
    def of(cls, home: Sample, there: Sample, intervals: Intervals | None = None) -> "TwoSites":
        """Return the sites with their draws (`draws_of`).

        Raises:
            EvaluationError: ``evaluation-invalid`` for no common finding, no image, or a level outside (0, 1).
        """
        intervals = intervals or Intervals()
        check_level(intervals.level)
        findings = tuple(name for name in home.findings if name in there.findings)
        if not findings:
            raise EvaluationError(
                Code.EVALUATION_INVALID,
                f"the sites have no finding in common: home has {', '.join(home.findings)}; the other"
                f" {', '.join(there.findings)}.",
                fix="Compare samples of one model whose labels have a finding in common.",
            )
        draws = (draws_of(home, intervals), draws_of(there, intervals))
        return cls(home, there, findings, *draws, intervals.level)


def draws_of(sample: Sample, intervals: Intervals) -> PatientBootstrap:
    """Draw a sample's patients.

    The seed is that of the intervals and the sample's own images: two samples are drawn independently of one another,
    and one sample always alike, whatever it is compared with.
    """
    images = hashlib.sha256("\n".join([str(intervals.seed), *sample.table["image"]]).encode()).digest()
    return PatientBootstrap(sample.patients, intervals.replicates, int.from_bytes(images[:8]))


def drawn_prevalence(labels: np.ndarray, draws: PatientBootstrap) -> np.ndarray:
    """Return the share of positives among known labels: float64 ``[1 + R]``, of the sample and of each replicate.

    Args:
        labels: float ``[N]``; 1 present, 0 absent, NaN unknown (left out).
        draws: of the sample's patients.
    """
    codes = np.where(np.isnan(labels), -1, labels == 1).astype(int)
    counts = np.vstack([np.bincount(codes[codes >= 0], minlength=2), draws.tallies(codes, 2)])
    known = counts.sum(axis=1)
    return np.divide(counts[:, 1], known, out=np.full(len(counts), np.nan), where=known > 0)


@dataclass(frozen=True, eq=False)
class Figure:
    """A figure of one finding with its replicates; figures of the same draws can be subtracted.

    Attributes:
        value: on the samples; NaN where undefined.
        replicates: float ``[R]``.
        effective: how many equal patients it rests on (`bootstrap.effective_patients`).
    """

    value: float
    replicates: np.ndarray
    effective: float

    def __sub__(self, other: "Figure") -> "Figure":
        replicates = self.replicates - other.replicates
        variances = np.array([_variance(figure.replicates) for figure in (self, other)])
        effective = joint_effective(variances, np.array([self.effective, other.effective]))
        return Figure(self.value - other.value, replicates, effective)

    def times(self, factor: float) -> "Figure":
        """Return it times a factor."""
        return Figure(factor * self.value, factor * self.replicates, self.effective)

    @classmethod
    def combined(cls, terms: "Sequence[tuple[float, Figure]]") -> "Figure":
        """Return a sum of figures with factors, of the same draws; it rests on as few patients as any of them."""
        value = sum(factor * figure.value for factor, figure in terms)
        replicates = np.sum([factor * figure.replicates for factor, figure in terms], axis=0)
        return cls(float(value), replicates, min(figure.effective for _, figure in terms))

    def interval(self, level: float) -> tuple[float, float]:
        """Return the ends of the expanded percentile interval; NaN with values in under nine tenths of the draws."""
        low, high = bootstrap_interval(self.replicates, level, self.value, effective=self.effective)
        return float(np.clip(low, -1, 1)), float(np.clip(high, -1, 1))


def _variance(replicates: np.ndarray) -> float:
    defined = replicates[~np.isnan(replicates)]
    return float(defined.var()) if defined.size else 0.0
