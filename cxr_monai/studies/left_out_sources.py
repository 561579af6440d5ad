"""Leave one source out: every source predicted by a network that has seen none of its collection of films.

    manifest, notes = prepare_sources(manifest)            # 'fold' numbers the groups of sources
    source_manifest(manifest, 0, 2, "fold0.csv")           # the first group is tested, the others train and validate
    tables = finish_sources(jobs, manifest, findings, "OUT")    # predictions_held_out.csv, metrics_by_source.csv

Sources that share films (`cxr_monai.data.overlaps`: NIH and RSNA) are left out together: a network that has seen one
has seen the other's patients. All images of what is left out are tested. Of the others the training part trains and the
validation part chooses the best epoch; their test part stays unused. No bundle comes of it: what is delivered is
trained on all sources.
"""

import logging
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import pandas as pd

from cxr_monai.data.manifest import Manifest, SplitRecord, split_digest, write_manifest
from cxr_monai.data.overlaps import overlap_of
from cxr_monai.durable import write_durably
from cxr_monai.errors import Code, SplitError
from cxr_monai.evaluation.metrics_table import finding_table
from cxr_monai.evaluation.predictions import PredictionsFile, join
from cxr_monai.studies.folds import write_out_of_fold
from cxr_monai.studies.plan import Job

HELD_OUT, BY_SOURCE = "predictions_held_out", "metrics_by_source.csv"
SCHEME = "leave-one-source-out"

logger = logging.getLogger(__name__)


def source_groups(sources: Sequence[str]) -> list[tuple[str, ...]]:
    """Return sources in groups that share no films with each other, in the order of their first.

    >>> source_groups(["nih", "chexpert", "rsna"])
    [('nih', 'rsna'), ('chexpert',)]
    """
    groups: list[list[str]] = []
    for source in dict.fromkeys(sources):
        sharing = [group for group in groups if any(source == other or overlap_of(source, other) for other in group)]
        merged = [*(name for group in sharing for name in group), source]
        place = groups.index(sharing[0]) if sharing else len(groups)
        groups = [group for group in groups if group not in sharing]
        groups.insert(place, merged)
    return [tuple(group) for group in groups]


def prepare_sources(manifest: Manifest) -> tuple[Manifest, list[str]]:
    """Return a manifest whose ``fold`` numbers the groups of sources, and notes for the user.

    Args:
        manifest: of several sources, each with a training and a validation part.

    Raises:
        SplitError: ``split-invalid`` for a single group of sources, or if without one of them nothing is left to train
            or to validate on.
    """
    groups = source_groups(list(manifest.table["source"].unique()))
    if len(groups) < 2:
        raise SplitError(
            Code.SPLIT_INVALID,
            f"one source is left out in turn, and all images are of {_title(groups[0])}.",
            fix="Give several manifests: --manifest A.csv,B.csv; name those whose source tells nothing: north=A.csv.",
        )
    number_of = {source: number for number, group in enumerate(groups) for source in group}
    folds = manifest.table["source"].map(number_of).astype("Int64")
    manifest = replace(manifest, table=manifest.table.assign(fold=folds))
    for number, group in enumerate(groups):
        parts = manifest.table.loc[folds != number, "split"]
        lacking = [part for part in ("train", "val") if not (parts == part).any()]
        if lacking:
            raise SplitError(
                Code.SPLIT_INVALID,
                f"without {_title(group)} the manifests have no images in the split {' and '.join(lacking)}.",
                fix="Split every manifest: cxr-monai split A.csv --scheme random.",
            )
    unused = int((manifest.table["split"] == "test").sum())
    together = [_title(group) for group in groups if len(group) > 1]
    notes = [f"Left out in turn: {', '.join(map(_title, groups))}."]
    notes += [f"{name} are left out together, since they have films in common." for name in together]
    if unused:
        notes.append(f"Images of the test parts ({unused:,}) are tested with their source, and train no network.")
    for note in notes:
        logger.info("%s", note)
    return manifest, notes


def source_manifest(manifest: Manifest, fold: int, k: int, path: str | Path) -> None:
    """Write the manifest in which one group of sources is tested and the others train and validate.

    Args:
        manifest: of `prepare_sources`.
        fold: the group, 0 to k - 1.
        k: how many there are.
        path: of the CSV.
    """
    tested = manifest.table["fold"] == fold
    split = manifest.table["split"].replace("test", "").mask(tested, "test").astype("str")
    table = manifest.table.assign(split=split)
    details = {
        "groups": k,
        "held_out": sorted(manifest.table.loc[tested, "source"].unique()),
        "fold_digest": split_digest(table, "fold"),
        "before": asdict(manifest.split) if manifest.split else None,
    }
    record = SplitRecord(SCHEME, None, split_digest(table), details)
    write_manifest(replace(manifest, table=table, split=record), path)


def finish_sources(
    jobs: Sequence[Job], manifest: Manifest, findings: Sequence[str], out: str | Path
) -> tuple[list[Path], list[str]]:
    """Write the predictions of every source by the networks that have not seen it, and its figures.

    Args:
        jobs: all trainings that ended, of every variant whole.
        manifest: of `prepare_sources`, with the labels that were trained on.
        findings: the labels to judge.
        out: the experiment's folder.

    Returns:
        ``predictions_held_out.csv`` (of several variants ``predictions_held_out_VARIANT.csv``) and
        ``metrics_by_source.csv``: ``variant, source, finding, images, positives, auroc, average_precision``, NaN where
        a source has no positive or no negative; and sentences for the reader.

    Raises:
        EvaluationError: as `cxr_monai.studies.folds.out_of_fold`.
    """
    variants = list(dict.fromkeys(job.variant for job in jobs))
    tables, paths, notes = [], [], list[str]()
    for variant in variants:
        end = "" if len(variants) == 1 else f"_{variant}"
        path = Path(out) / f"{HELD_OUT}{end}.csv"
        file, more = write_out_of_fold([job for job in jobs if job.variant == variant], manifest, path)
        sample, _ = join(PredictionsFile(file.table, file.about, path), manifest, None, findings)
        for source in sorted(sample.table["source"].unique()):
            part = sample.take(sample.table["source"] == source)
            table = finding_table(part.scores, part.labels, part.findings)
            tables.append(table.assign(variant=variant, source=source or "no source"))
        paths.append(path)
        notes += more
    metrics = pd.concat(tables, ignore_index=True)
    metrics = metrics[["variant", "source", *metrics.columns.drop(["variant", "source"])]]
    write_durably(Path(out) / BY_SOURCE, metrics.to_csv(index=False, float_format="%.4f").encode())
    means = metrics[metrics["finding"] == "mean"].dropna(subset="auroc")
    notes += [
        f"{row['variant']}, {row['source']} left out: mean AUROC {row['auroc']:.3f}."
        for row in means.to_dict(orient="records")
    ]
    return [*paths, Path(out) / BY_SOURCE], notes


def _title(group: Sequence[str]) -> str:
    return " and ".join(source or "no source" for source in group)
