"""Two manifests' labels of the same images compared: tables, a page, and one model's AUROC by each.

compare_label_files("nih.csv", "nih_rsna.csv", "labels", predictions="p.csv")
"""

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from cxr_monai.attribution.result_tables import write_result_tables
from cxr_monai.data.manifest import Manifest, read_manifest
from cxr_monai.durable import write_durably
from cxr_monai.evaluation.bootstrap import Intervals
from cxr_monai.evaluation.evaluation_folder import json_rows
from cxr_monai.evaluation.label_agreement import (
    LabelComparison,
    agreement_of_labels,
    aurocs_by_source,
    compared_findings,
    join_sources,
    label_pairs,
)
from cxr_monai.evaluation.predictions import PredictionsFile, join, read_predictions
from cxr_monai.evaluation.readers import compare_readers, read_readers, reader_agreement
from cxr_monai.evaluation.sample import Sample
from cxr_monai.labels import spelling
from cxr_monai.outputs import result_folder
from cxr_monai.progress import progress_bar
from cxr_monai.report.pages.label_page import write_label_page

LABELS_FILE = "labels.json"
"""The file that is written last: where it is, the comparison is complete."""
_BESIDE = ("label_agreement.csv", "label_auroc.csv", "readers.csv", "reader_agreement.csv", "report.html")
_INTERVALS = Intervals()


def compare_label_files(
    first: str | Path | Manifest,
    second: str | Path | Manifest,
    out: str | Path | None = None,
    *,
    predictions: str | Path | PredictionsFile | None = None,
    findings: Sequence[str] = (),
    match_names: bool = False,
    intervals: Intervals = _INTERVALS,
    force: bool = False,
) -> tuple[LabelComparison, list[Path]]:
    """Compare two sources of labels on the images that both have, the second being the reference.

    Args:
        first, second: manifests; the image files are not needed.
        out: a folder for ``label_agreement.csv``, ``label_auroc.csv``, ``report.html`` and ``labels.json``: all of
            them, or what was there before stays; None writes nothing.
        predictions: of any system, for its AUROC by each source.
        findings: these alone, a composite's name standing for all of its comparisons; all that can be compared where
            empty.
        match_names: a file name alone tells which image it is.
        intervals: over patients.
        force: an earlier comparison in the folder may be written over.

    Returns:
        the comparison, and the files that were written.

    Raises:
        UsageError: ``output-exists``.
        StorageError: ``disk-full`` or ``write-failed``.
        ManifestError: whatever is wrong with a manifest; ``manifest-invalid`` if they have no image in common.
        EvaluationError: ``unknown-finding``, ``predictions-invalid``, ``evaluation-invalid``.
    """
    inputs = first, second, predictions, findings, match_names, intervals
    if out is None:
        return _compare(*inputs), []
    with result_folder(out, LABELS_FILE, force, _BESIDE) as folder:
        comparison = _compare(*inputs)
        paths = _write(comparison, folder)
    return comparison, [Path(out) / path.relative_to(folder) for path in paths]


def _compare(
    first: str | Path | Manifest,
    second: str | Path | Manifest,
    predictions: str | Path | PredictionsFile | None,
    findings: Sequence[str],
    match_names: bool,
    intervals: Intervals,
) -> LabelComparison:
    with progress_bar(total=3 + (predictions is not None), desc="comparing labels", unit="parts") as bar:
        manifests = []
        for source in (first, second):
            manifests.append(source if isinstance(source, Manifest) else read_manifest(source, check_files=False))
            bar.update()
        wanted = [spelling(name) for name in findings]
        pairs = label_pairs(compared_findings(manifests[0]), compared_findings(manifests[1]), wanted)
        sources = join_sources(manifests[0], manifests[1], match_names)
        agreement = agreement_of_labels(sources, pairs, intervals)
        notes, auroc, file = list(sources.notes), None, None
        bar.update()
        if predictions is not None:
            file = predictions if isinstance(predictions, PredictionsFile) else read_predictions(predictions)
            auroc, left_out = aurocs_by_source(sources, file, pairs, intervals)
            notes += left_out
            bar.update()
    names = source_names((first, second), manifests)
    book = {
        "first": {"manifest": _file_name(first), "label_version": manifests[0].label_version},
        "second": {"manifest": _file_name(second), "label_version": manifests[1].label_version},
        "predictions": None if file is None or file.path is None else file.path.name,
        "bundle": None if file is None else file.about.get("bundle"),
        "images": len(sources.table),
        "patients": int(sources.patients.max()) + 1,
        "replicates": intervals.replicates,
        "date": time.strftime("%Y-%m-%d"),
    }
    readers = {
        name: _readers_of(source, manifest, file, intervals, match_names)
        for name, source, manifest in zip(names, (first, second), manifests, strict=True)
    }
    by_source = {name: tables for name, tables in readers.items() if tables is not None}
    return LabelComparison(names, agreement, auroc, intervals.level, book, tuple(notes), by_source)


def _readers_of(
    source: str | Path | Manifest,
    manifest: Manifest,
    predictions: PredictionsFile | None,
    intervals: Intervals,
    match_names: bool,
) -> tuple[pd.DataFrame, pd.DataFrame] | None:
    """Return a source's readers beside the model (empty without one) and their agreement; None where it has none."""
    readers = None if isinstance(source, Manifest) else read_readers(source)
    if readers is None:
        return None
    by_name = manifest.by_name or match_names
    points = pd.DataFrame()
    if predictions is not None:
        sample, _ = join(predictions, replace(manifest, key="name") if by_name else manifest, some=True)
        points = compare_readers(sample, readers, by_name, intervals)
    labels = manifest.labels()
    everybody = Sample.of(manifest.table, manifest.findings, np.zeros(labels.shape), labels)
    return points, reader_agreement(everybody, readers, by_name, intervals)


def source_names(sources: Sequence[str | Path | Manifest], manifests: Sequence[Manifest]) -> tuple[str, str]:
    """Return what two sources are called: their label versions, or their files' names where those are the same.

    Args:
        sources: as they were given.
        manifests: the same, read.
    """
    versions = [manifest.label_version for manifest in manifests]
    files = [_file_name(source) for source in sources]
    if versions[0] != versions[1]:
        return versions[0], versions[1]
    if None in files or files[0] == files[1]:
        return f"{versions[0]} (first)", f"{versions[1]} (second)"
    return str(files[0]), str(files[1])


def _file_name(source: str | Path | Manifest) -> str | None:
    return None if isinstance(source, Manifest) else Path(source).name


def _write(comparison: LabelComparison, folder: Path) -> list[Path]:
    tables: dict[str, pd.DataFrame] = {"label_agreement": comparison.agreement}
    if comparison.auroc is not None:
        tables["label_auroc"] = comparison.auroc
    for place, name in enumerate(("readers", "reader_agreement")):
        parts = [tables_of[place].assign(source=source) for source, tables_of in comparison.readers.items()]
        if parts and not (whole := pd.concat(parts, ignore_index=True)).empty:
            tables[name] = whole
    paths = [*write_result_tables(tables, folder), write_label_page(comparison, folder)]
    content = {
        "level": comparison.level,
        "sources": list(comparison.names),
        "book": dict(comparison.book),
        "notes": list(comparison.notes),
        **{name: json_rows(table) for name, table in tables.items()},
    }
    write_durably(folder / LABELS_FILE, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())
    return [*paths, folder / LABELS_FILE]
