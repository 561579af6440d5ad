"""What a change of the films does to a network: to its probabilities, and to how well it tells findings.

    effects = change_effects(sample, {"without the lungs": probabilities}, Intervals())
    effects[["change", "finding", "auroc", "auroc_changed", "difference_low", "difference_high"]]

The two AUROCs are of the same images, so their difference has a paired interval: both are computed in the same draws of
patients.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from cxr_monai.evaluation.assessment import mean_interval
from cxr_monai.evaluation.auroc import auroc
from cxr_monai.evaluation.bootstrap import Intervals, PatientBootstrap, bootstrap_interval
from cxr_monai.evaluation.comparison import difference_test, with_mean
from cxr_monai.evaluation.metrics_table import MEAN
from cxr_monai.evaluation.sample import Sample


def change_effects(
    sample: Sample, changed: Mapping[str, np.ndarray], intervals: Intervals | None = None
) -> pd.DataFrame:
    """Return the effect of each change on each finding.

    Args:
        sample: the probabilities of the films as they are.
        changed: those of the same films after each change, float ``[N, F]`` in [0, 1].
        intervals: of the bootstrap of patients.

    Returns:
        for each change one row a finding and one ``mean`` (over the findings that have an AUROC):

        - ``change, finding, images`` (with a known label), ``positives``;
        - ``auroc``, and ``auroc_changed, auroc_changed_low, auroc_changed_high``: NaN without a positive or a negative;
        - ``difference, difference_low, difference_high``: changed minus unchanged, with the paired interval;
        - ``probability_change``: mean of changed minus unchanged, over all N images, labelled or not;
        - ``probability_change_absolute``: mean of its size.
    """
    intervals = intervals or Intervals()
    bootstrap = PatientBootstrap(sample.patients, intervals.replicates, intervals.seed)
    usual = bootstrap.rankings(sample.scores, sample.labels).auroc
    before = _aurocs(sample.scores, sample.labels)
    known = ~np.isnan(sample.labels)
    tables = []
    for change, scores in changed.items():
        scores = np.asarray(scores, dtype=float)
        ranking = bootstrap.rankings(scores, sample.labels)
        after = _aurocs(scores, sample.labels)
        rests_on = ranking.auroc_effective
        low, high = bootstrap_interval(ranking.auroc, intervals.level, after, effective=rests_on)
        _, *mean_ends = mean_interval(after, ranking.auroc, rests_on, np.ones(len(after)), intervals.level)
        difference = with_mean(after - before)
        paired = with_mean(ranking.auroc - usual, after - before)
        difference_low, difference_high, _ = difference_test(paired, difference, intervals.level)
        moved = scores - sample.scores
        tables.append(
            pd.DataFrame(
                {
                    "change": change,
                    "finding": [*sample.findings, MEAN],
                    "images": [*known.sum(0), len(sample)],
                    "positives": [*(sample.labels == 1).sum(0), (sample.labels == 1).sum()],
                    "auroc": with_mean(before),
                    "auroc_changed": with_mean(after),
                    "auroc_changed_low": np.append(low, mean_ends[0]),
                    "auroc_changed_high": np.append(high, mean_ends[1]),
                    "difference": difference,
                    "difference_low": difference_low,
                    "difference_high": difference_high,
                    "probability_change": with_mean(moved.mean(0)),
                    "probability_change_absolute": with_mean(np.abs(moved).mean(0)),
                }
            )
        )
    return pd.concat(tables, ignore_index=True)


def _aurocs(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return np.array([auroc(scores[:, column], labels[:, column]) for column in range(scores.shape[1])])
