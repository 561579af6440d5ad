"""What a gate refuses, and how the figures change without the films that it refuses.

    tables = gate_tables(films, thresholds={"Mass": 0.3})
    tables.findings             # are films with the finding refused more often than films without it?
    tables.codes, tables.groups # how many are refused, by reason and by sex, age, view and source
    tables.figures              # AUROC, sensitivity and specificity of all films, and of those that are let through

A gate that refuses the sick is a harm that no figure of the remaining films shows, so the labels of refused films are
counted whether these have predictions or not. That films with a finding are refused more, or less, often is said where
two tests agree: Fisher's exact test over films, corrected by Holm over the findings, and the interval of the
difference from whole patients, whose films are refused together.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy.stats import fisher_exact

from cxr_monai.evaluation.auroc import auroc
from cxr_monai.evaluation.bootstrap import Intervals, PatientBootstrap
from cxr_monai.evaluation.comparison import (
    MINIMUM_PATIENTS,
    TOO_FEW,
    difference_test,
    holm,
    patients_with,
    with_mean,
)
from cxr_monai.evaluation.gate_table import ACCEPT, REFUSE, REVIEW, JudgedFilms
from cxr_monai.evaluation.groups import groups, ordered
from cxr_monai.evaluation.metric_names import metric_name
from cxr_monai.evaluation.metrics_table import MEAN
from cxr_monai.evaluation.proportions import patient_wilson

ANY_FINDING = "any finding"
"""The row of films with any positive label against films with none."""
MORE_OFTEN, LESS_OFTEN, NOT_SHOWN = "refused more often", "refused less often", "no evidence of a difference"
RISES, FALLS = "higher", "lower"
LET_THROUGH, ACCEPTED_ALONE = "let through", "accepted"
GATED_BY = ("sex", "age", "view", "source")
"""The groups that refused films are counted in."""


@dataclass(frozen=True, eq=False)
class GateTables:
    """What a gate does on labelled films; a table is empty where there is nothing to say.

    Attributes:
        codes: ``gate, code, images, share, low, high``: how many films get each answer, for each reason; the rows of
            one verdict without a code are all its films.
        findings: one row a finding, and `ANY_FINDING`: ``images, positives, positives_refused, positives_share,
            positives_low, positives_high``, the same of ``negatives``, ``difference`` (positives minus negatives) with
            ``patient_low, patient_high``, ``p`` and ``p_holm`` (Fisher's exact test over films), ``prevalence``,
            ``prevalence_let_through`` and ``verdict``.
        groups: ``attribute, group, images, refused, refused_share, refused_low, refused_high``, the same of
            ``reviewed``.
        figures: ``kept`` (`LET_THROUGH`: all but refused films; `ACCEPTED_ALONE`), ``finding, figure`` (auroc,
            sensitivity, specificity), ``images, kept_images, positives, positives_lost, all, without, difference,
            patient_low, patient_high, p, p_holm, verdict``; empty where refused films have no predictions.
    """

    codes: pd.DataFrame = field(default_factory=pd.DataFrame)
    findings: pd.DataFrame = field(default_factory=pd.DataFrame)
    groups: pd.DataFrame = field(default_factory=pd.DataFrame)
    figures: pd.DataFrame = field(default_factory=pd.DataFrame)


def gate_tables(
    films: JudgedFilms, thresholds: Mapping[str, float] | None = None, intervals: Intervals | None = None
) -> GateTables:
    """Return what a gate does on labelled films.

    Args:
        films: of `cxr_monai.evaluation.gate_table.judged_films`.
        thresholds: of findings that have an operating point.
        intervals: of the bootstrap over patients.
    """
    intervals = intervals or Intervals()
    bootstrap = PatientBootstrap(films.sample.patients, intervals.replicates, intervals.seed)
    figures = pd.DataFrame()
    if films.is_predicted.all() and (films.verdicts != ACCEPT).any():
        parts = [_figures(films, kept, thresholds or {}, bootstrap, intervals.level) for kept in _kept(films)]
        figures = pd.concat(parts, ignore_index=True)
    return GateTables(
        _codes(films, bootstrap, intervals.level),
        _by_finding(films, bootstrap, intervals.level),
        _by_group(films, bootstrap, intervals.level),
        figures,
    )


def gate_metrics(codes: pd.DataFrame, figures: pd.DataFrame, part: str = "") -> dict[str, float]:
    """Return what MLflow gets of a gate: shares refused and to be reviewed, mean AUROC without the refused films.

    Args:
        codes, figures: of :class:`GateTables`; empty where no film was judged.
        part: of the split.
    """
    if codes.empty:
        return {}
    shares = codes[codes["code"] == ""].set_index("gate")["share"]
    values = {
        metric_name(f"gate_{name}", part=part): float(shares[verdict])
        for name, verdict in (("refused", REFUSE), ("reviewed", REVIEW))
    }
    if len(figures):
        mean = figures[(figures["kept"] == LET_THROUGH) & (figures["finding"] == MEAN) & (figures["figure"] == "auroc")]
        values |= {metric_name("auroc_let_through", MEAN, part=part): float(value) for value in mean["without"]}
    return values


def _kept(films: JudgedFilms) -> list[str]:
    """Return the parts that differ from all films, and from one another."""
    return [LET_THROUGH] * bool(films.is_refused.any()) + [ACCEPTED_ALONE] * bool(films.is_reviewed.any())


def _codes(films: JudgedFilms, bootstrap: PatientBootstrap, level: float) -> pd.DataFrame:
    rows = [(verdict, "") for verdict in (ACCEPT, REVIEW, REFUSE)]
    counts = pd.Series(list(zip(films.verdicts.tolist(), films.codes.tolist(), strict=True))).value_counts()
    named = [pair for pair in counts.index if pair[0] != ACCEPT and pair[1]]
    rows += sorted(named, key=lambda pair: (pair[0] != REFUSE, -counts[pair], pair[1]))
    hits = np.column_stack([
        (films.verdicts == verdict) & ((films.codes == code) if code else True) for verdict, code in rows
    ])  # fmt: skip
    low, high = patient_wilson(hits, np.ones(hits.shape), bootstrap, level)
    return pd.DataFrame({
        "gate": [verdict for verdict, _ in rows], "code": [code for _, code in rows], "images": hits.sum(0),
        "share": hits.mean(0), "low": low, "high": high,
    })  # fmt: skip


def _by_finding(films: JudgedFilms, bootstrap: PatientBootstrap, level: float) -> pd.DataFrame:
    labels, refused = films.sample.labels, films.is_refused[:, None]
    any_known = ~np.isnan(labels).all(axis=1, keepdims=True)
    with_any = np.where(any_known, (labels == 1).any(axis=1, keepdims=True).astype(float), np.nan)
    labels = np.hstack([labels, with_any])
    positive, negative = labels == 1, labels == 0
    patients = films.sample.patients
    table = pd.DataFrame({"finding": [*films.sample.findings, ANY_FINDING], "images": (positive | negative).sum(0)})
    for name, side in (("positives", positive), ("negatives", negative)):
        table[name], table[f"{name}_refused"] = side.sum(0), (side & refused).sum(0)
        with np.errstate(invalid="ignore"):
            table[f"{name}_share"] = table[f"{name}_refused"] / table[name].replace(0, np.nan)
        table[f"{name}_low"], table[f"{name}_high"] = patient_wilson(side & refused, side, bootstrap, level)
    table["difference"] = table["positives_share"] - table["negatives_share"]
    size = labels.shape[1]
    draws = bootstrap.sums(np.hstack([positive & refused, positive, negative & refused, negative]))
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = [draws[:, at * size : (at + 1) * size] for at in range(4)]
        replicates = shares[0] / shares[1] - shares[2] / shares[3]
        for name, kept in (("prevalence", True), ("prevalence_let_through", ~refused)):
            table[name] = (positive & kept).sum(0) / ((positive | negative) & kept).sum(0)
    low, high, _ = difference_test(replicates, table["difference"].to_numpy(), level)
    table["patient_low"], table["patient_high"] = low, high
    counts = table[["positives", "positives_refused", "negatives", "negatives_refused"]].to_numpy()
    table["p"] = [_exact(*row) for row in counts]
    table["p_holm"] = [*holm(table["p"].to_numpy()[:-1]), table["p"].iloc[-1]]
    enough = np.minimum(patients_with(positive, patients), patients_with(negative, patients)) >= MINIMUM_PATIENTS
    is_significant = table["p_holm"].to_numpy() < 1 - level
    table["verdict"] = np.select(
        [~enough, is_significant & (low > 0), is_significant & (high < 0)],
        [TOO_FEW, MORE_OFTEN, LESS_OFTEN],
        NOT_SHOWN,
    ).astype(object)
    return table


def _exact(positives: int, positives_refused: int, negatives: int, negatives_refused: int) -> float:
    """Return the p-value of Fisher's exact test of refused against present; NaN without a positive or a negative."""
    if not positives or not negatives:
        return float("nan")
    table = [[positives_refused, positives - positives_refused], [negatives_refused, negatives - negatives_refused]]
    return float(fisher_exact(table).pvalue)


def _by_group(films: JudgedFilms, bootstrap: PatientBootstrap, level: float) -> pd.DataFrame:
    rows, members = [], []
    for attribute, names in groups(films.sample, GATED_BY).items():
        for group in ordered(attribute, names):
            rows.append((attribute, group))
            members.append((names == group).to_numpy())
    if not rows:
        return pd.DataFrame()
    inside = np.column_stack(members)
    table = pd.DataFrame(rows, columns=["attribute", "group"])
    table["images"] = inside.sum(0)
    for name, has in (("refused", films.is_refused), ("reviewed", films.is_reviewed)):
        hits = inside & has[:, None]
        table[name] = hits.sum(0)
        table[f"{name}_share"] = table[name] / table["images"]
        table[f"{name}_low"], table[f"{name}_high"] = patient_wilson(hits, inside, bootstrap, level)
    return table


def _figures(
    films: JudgedFilms, kept: str, thresholds: Mapping[str, float], bootstrap: PatientBootstrap, level: float
) -> pd.DataFrame:
    """Return each figure of all films and of those that are kept, with the paired difference over patients."""
    sample = films.sample
    is_kept = (films.verdicts == ACCEPT) if kept == ACCEPTED_ALONE else ~films.is_refused
    areas = [
        np.array([auroc(sample.scores[rows, at], sample.labels[rows, at]) for at in range(len(sample.findings))])
        for rows in (np.ones(len(sample), dtype=bool), is_kept)
    ]
    rankings = [bootstrap.rankings(sample.scores, sample.labels, rows).auroc for rows in (None, is_kept)]
    shared = ~np.isnan(areas[0]) & ~np.isnan(areas[1])
    areas, rankings = ([np.where(shared, values, np.nan) for values in pair] for pair in (areas, rankings))
    all_areas, without = (with_mean(values) for values in areas)
    replicates = with_mean(rankings[1] - rankings[0], (areas[1] - areas[0]))
    parts = [_compared("auroc", [*sample.findings, MEAN], all_areas, without, replicates, level)]
    columns = [at for at, name in enumerate(sample.findings) if np.isfinite(thresholds.get(name, np.nan))]
    if columns:
        names = [sample.findings[at] for at in columns]
        called = sample.scores[:, columns] >= np.array([thresholds[name] for name in names])
        labels = sample.labels[:, columns]
        for figure, side, right in (("sensitivity", labels == 1, called), ("specificity", labels == 0, ~called)):
            parts.append(_compared(figure, names, *_shares(side, right, is_kept, bootstrap), level))
    table = pd.concat(parts, ignore_index=True)
    counts = pd.DataFrame({
        "finding": [*sample.findings, MEAN],
        "images": [*(~np.isnan(sample.labels)).sum(0), len(sample)],
        "kept_images": [*(~np.isnan(sample.labels[is_kept])).sum(0), int(is_kept.sum())],
        "positives": [*(sample.labels == 1).sum(0), int((sample.labels == 1).sum())],
        "positives_lost": [*(sample.labels[~is_kept] == 1).sum(0), int((sample.labels[~is_kept] == 1).sum())],
    })  # fmt: skip
    table = table[["finding", "figure"]].merge(counts, on="finding", how="left").join(table.iloc[:, 2:])
    sides = [patients_with(sample.labels[is_kept] == value, sample.patients[is_kept]) for value in (0, 1)]
    fewest = np.minimum(*sides)
    enough = dict(zip([*sample.findings, MEAN], [*fewest, fewest.max(initial=0)], strict=True))
    is_few = table["finding"].map(enough).to_numpy() < MINIMUM_PATIENTS
    table["verdict"] = np.where(is_few | table["difference"].isna(), TOO_FEW, table["verdict"])
    table.insert(0, "kept", kept)
    return table


def _shares(
    side: np.ndarray, right: np.ndarray, is_kept: np.ndarray, bootstrap: PatientBootstrap
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the share that is right of all and of the kept, ``[K]``, and the replicates of their difference."""
    kept, size = is_kept[:, None], side.shape[1]
    sums = np.hstack([side & right, side, side & right & kept, side & kept])
    draws = bootstrap.sums(sums)
    with np.errstate(invalid="ignore", divide="ignore"):
        everything, without = (sums.sum(0)[at : at + size] / sums.sum(0)[at + size : at + 2 * size]
                               for at in (0, 2 * size))  # fmt: skip
        drawn, drawn_without = (draws[:, at : at + size] / draws[:, at + size : at + 2 * size] for at in (0, 2 * size))
    return everything, without, drawn_without - drawn


def _compared(
    figure: str, names: list[str], everything: np.ndarray, without: np.ndarray, replicates: np.ndarray, level: float
) -> pd.DataFrame:
    difference = without - everything
    low, high, p = difference_test(replicates, difference, level)
    one = [name == MEAN for name in names]
    corrected = np.where(one, p, holm(np.where(one, np.nan, p)))
    sign = np.where(corrected < 1 - level, np.sign(difference), 0)
    return pd.DataFrame({
        "finding": names, "figure": figure, "all": everything, "without": without, "difference": difference,
        "patient_low": low, "patient_high": high, "p": p, "p_holm": corrected,
        "verdict": np.array([FALLS, NOT_SHOWN, RISES], dtype=object)[np.nan_to_num(sign).astype(int) + 1],
    })  # fmt: skip
