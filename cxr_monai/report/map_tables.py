"""What the tables of maps have in common: means with intervals over patients, whose image is whose, an MLflow run.

    patients, told, notes = patients_of(images, manifest)
    means(cases, "finding", ["rank_correlation"], patients)      # one row a finding: cases, patients, mean, low, high

Cases are images with a finding. Several of one patient are no independent evidence, so whole patients are drawn.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cxr_monai.attribution.localisation_tables import FEWEST
from cxr_monai.data.joining import join_on_image
from cxr_monai.data.manifest import Manifest
from cxr_monai.durable import write_durably
from cxr_monai.evaluation.bootstrap import PatientBootstrap, effective_patients, interval
from cxr_monai.evaluation.metrics_table import MEAN


def rows_of(images: Sequence[str], manifest: Manifest) -> tuple[pd.DataFrame, list[str]]:
    """Return the manifest's rows, indexed by the images' own names and in their order, and what was left out.

    Raises:
        ManifestError: ``manifest-invalid`` if it has none of them; ``images-ambiguous``.
    """
    named = pd.DataFrame({"image": list(dict.fromkeys(images))})
    by_side = join_on_image(
        manifest.table, named.assign(named=named["image"]), by_name=manifest.by_name, root=manifest.root
    )
    rows = by_side.table.set_index("named").rename_axis("image").drop(columns="image")
    there = set(rows.index)
    return rows.loc[[name for name in named["image"] if name in there]], by_side.notes("images", "the manifest")


def patients_of(images: Sequence[str], manifest: Manifest | None) -> tuple[pd.Series, str, list[str]]:
    """Return the patient of each image, indexed by image, what the intervals therefore hold for, and what is left out.

    Without a manifest each image counts as a patient of its own. Images that a manifest lacks are left out.

    Raises:
        ManifestError: as `rows_of`.
    """
    if manifest is None:
        named = list(dict.fromkeys(images))
        told = "images: no manifest was given, so several of one patient are taken for independent"
        return pd.Series(named, index=pd.Index(named, name="image"), name="patient_id"), told, []
    rows, notes = rows_of(images, manifest)
    return rows["patient_id"], "patients", notes


def means(
    cases: pd.DataFrame,
    by: str,
    measures: Sequence[str],
    patients: pd.Series,
    replicates: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    mean: bool = False,
) -> pd.DataFrame:
    """Return the mean of each measure in each group of cases.

    Args:
        cases: ``image``, the column ``by``, and the measures (NaN: left out); at least one row.
        by: what makes the groups, such as ``finding``.
        measures: columns.
        patients: of `patients_of`; cases of images that are not in it are left out.
        replicates, level, seed: of the bootstrap over patients.
        mean: add a row ``mean``: over the groups that have a value, all of the same weight.

    Returns:
        ``by, cases, patients`` (of the first measure) and of each measure X ``X, X_low, X_high``; no interval where
        fewer than `FEWEST` patients have a value.
    """
    cases = cases[cases["image"].isin(patients.index)]
    groups = list(dict.fromkeys(cases[by]))
    codes = pd.factorize(cases["image"].map(patients))[0]
    inside = (cases[by].to_numpy()[:, None] == np.array(groups, dtype=object)).astype(float)
    bootstrap = PatientBootstrap(codes, replicates, seed)
    table = pd.DataFrame({by: [*groups, MEAN] if mean else groups})
    for name in measures:
        values = cases[name].to_numpy(float)[:, None]
        known = inside * ~np.isnan(values)
        figure, draws = _ratios(np.where(known > 0, values, 0), known, bootstrap)
        weights = known
        if mean:
            defined = ~np.isnan(figure)
            # a replicate without a case of a rare group would be a mean of other groups: its own figure stands in
            filled = np.where(np.isnan(draws), figure, draws)[:, defined]
            draws = np.column_stack([draws, filled.mean(1) if defined.any() else np.full(len(draws), np.nan)])
            figure = np.append(figure, figure[defined].mean() if defined.any() else np.nan)
            weights = np.column_stack([known, (known / np.maximum(known.sum(0), 1)).sum(1)])
        if name == measures[0]:
            table["cases"] = (weights > 0).sum(0)
            table["patients"] = [np.unique(codes[column > 0]).size for column in weights.T]
        table[name], table[f"{name}_low"], table[f"{name}_high"] = _ends(figure, draws, weights, codes, level)
    return table


def shares(
    cases: pd.DataFrame,
    by: str,
    numerator: str,
    denominator: str,
    patients: pd.Series,
    replicates: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Return the sum of one column over the sum of another in each group, and in ``all`` cases.

    Args:
        cases: ``image``, the column ``by`` and the two, at least 0 and known; at least one row.
        by, patients, replicates, level, seed: as for `means`.

    Returns:
        ``by, cases, patients``, the means of both columns, and ``share, low, high``.
    """
    cases = cases[cases["image"].isin(patients.index)]
    groups = list(dict.fromkeys(cases[by]))
    codes = pd.factorize(cases["image"].map(patients))[0]
    inside = (cases[by].to_numpy()[:, None] == np.array(groups, dtype=object)).astype(float)
    inside = np.column_stack([inside, np.ones(len(cases))])
    above, below = (inside * cases[name].to_numpy(float)[:, None] for name in (numerator, denominator))
    figure, draws = _ratios(above, below, PatientBootstrap(codes, replicates, seed))
    low, high = _ends(figure, draws, inside, codes, level)[1:]
    count = inside.sum(0)
    return pd.DataFrame(
        {
            by: [*groups, "all"],
            "cases": count.astype(int),
            "patients": [np.unique(codes[column > 0]).size for column in inside.T],
            numerator: above.sum(0) / count,
            denominator: below.sum(0) / count,
            "share": figure,
            "low": low,
            "high": high,
        }
    )


def _ratios(above: np.ndarray, below: np.ndarray, bootstrap: PatientBootstrap) -> tuple[np.ndarray, np.ndarray]:
    """Return the ratios of two sums over cases ``[K]``, and in each replicate ``[R, K]``; NaN where the lower is 0."""
    sums = np.vstack([np.hstack([above, below]).sum(0), bootstrap.sums(np.hstack([above, below]))])
    tops, bottoms = np.split(sums, 2, axis=1)
    ratios = np.divide(tops, bottoms, out=np.full(tops.shape, np.nan), where=bottoms > 0)
    return ratios[0], ratios[1:]


def _ends(
    figure: np.ndarray, draws: np.ndarray, weights: np.ndarray, codes: np.ndarray, level: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rests_on = np.array([effective_patients(codes, column) for column in weights.T])
    low, high = interval(draws, level, figure, effective=rests_on)
    few = np.array([np.unique(codes[column > 0]).size < FEWEST for column in weights.T])
    return figure, np.where(few, np.nan, low), np.where(few, np.nan, high)


def few_note(patients: pd.Series) -> list[str]:
    """Return the sentence on figures without interval, if there are any; ``patients`` of each figure."""
    few = bool((patients < FEWEST).any())
    return [f"Where a figure rests on fewer than {FEWEST} patients, it has no interval."] if few else []


def write_tables(tables: Mapping[str, pd.DataFrame], folder: str | Path) -> list[Path]:
    """Write ``<name>.csv`` of each, four decimals, empty where undefined; returns the files."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, table in tables.items():
        written.append(folder / f"{name}.csv")
        write_durably(written[-1], table.to_csv(index=False, float_format="%.4f").encode())
    return written


def write_book(path: Path, level: float, book: Mapping[str, Any], notes: Sequence[str]) -> None:
    """Write what figures were made of as JSON; in it stands, when all files are there, the mark of completion."""
    content = {"level": level, "book": dict(book), "notes": list(notes)}
    write_durably(path, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())


def track(
    experiment: str,
    out: str | Path,
    kind: str,
    settings: Mapping[str, Any],
    figures: Mapping[str, float],
    written: Sequence[Path],
) -> str:
    """Log tables and pictures as an MLflow run and return what shows it.

    Files whose names end in ``cases.csv`` name images, and are not logged.

    Args:
        experiment: MLflow's.
        out: the folder of the results.
        kind: ``faithfulness`` or ``agreement``.
        settings: what makes the figures.
        figures: by name, such as ``rank_correlation_Mass``.
        written: files.
    """
    from cxr_monai.training.tracking import Tracker

    settings = {key: str(value) for key, value in settings.items() if value is not None}
    tracker = Tracker(experiment, str(out), kind=kind, configuration=settings)
    tracker.start()
    tracker.metrics(figures)
    for path in written:
        if not path.name.endswith("cases.csv"):
            tracker.file(path, "pictures" if path.suffix == ".png" else None)
    tracker.finish()
    return tracker.where()


def figures_of(table: pd.DataFrame, by: str, measures: Sequence[str]) -> dict[str, float]:
    """Return ``rank_correlation_Mass``, ``rank_correlation_Mass_low``, ... of a table of `means`."""
    return {
        f"{name}_{row[by]}{end}": float(row[f"{name}{end}"])
        for row in table.to_dict(orient="records")
        for name in measures
        for end in ("", "_low", "_high")
    }
