"""Does the stream of films still look like the reference? Predictions in; a page, tables and one JSON out.

report, written = drift_files("OUT/bundle", ["predictions/"], "drift", DriftOptions(reference="first:4"))
report.is_alarm                                     # the command's exit status is 3 then
"""

import importlib.metadata
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path

import pandas as pd

from cxr_monai.attribution.result_tables import write_result_tables
from cxr_monai.bundle.bundle_folder import Bundle
from cxr_monai.durable import write_durably
from cxr_monai.errors import Code, UsageError
from cxr_monai.evaluation.evaluation_folder import json_rows
from cxr_monai.evaluation.fitted import read_calibration
from cxr_monai.gate.drift_watch import FALSE_ALARM_EVERY, WatchOptions, watch
from cxr_monai.gate.drift_windows import WindowLength, cut_windows, parse_window
from cxr_monai.outputs import result_folder
from cxr_monai.plurals import be, counted
from cxr_monai.report.drift_words import DriftReport
from cxr_monai.report.pages.drift_page import write_drift_page
from cxr_monai.training.tracking import MLflowTracker
from cxr_monai.workflows.drift_films import FilmTable, read_evidence_films, with_times

DRIFT_FILE = "drift.json"
"""The file that is written last: where it is, the result is complete."""
_BESIDE = ("windows.csv", "streams.csv", "charts.csv", "report.html")
_FIRST = "first:"


@dataclass(frozen=True)
class DriftOptions:
    """How a stream of films is watched.

    Attributes:
        reference: predictions of the reference's films, files or folders; or ``first:4``, the first four windows.
        window: ``7d``, or a number of films.
        time_column, manifest, match_names: see `cxr_monai.workflows.drift_films.with_times`.
        since: alarms of windows that end before this time are shown and do not count.
        every: windows between two false alarms, on average, by design.
        seed: of the simulation.
    """

    reference: str | Path | Sequence[str | Path]
    window: str = "7d"
    time_column: str | None = None
    manifest: str | Path | None = None
    match_names: bool = False
    since: str | None = None
    every: float = FALSE_ALARM_EVERY
    seed: int = 0


def drift_files(
    bundle: str | Path, predictions: Sequence[str | Path], out: str | Path, options: DriftOptions, force: bool = False
) -> tuple[DriftReport, list[Path]]:
    """Compare a stream of films with a reference and write everything into a folder.

    Args:
        bundle: that made the predictions; its operating points are used.
        predictions: its files, with the gate's evidence beside them, or folders of them.
        out: the folder, for ``report.html``, ``windows.csv``, ``streams.csv``, ``charts.csv`` and ``drift.json``.
        options: how.
        force: an earlier result may be written over.

    Returns:
        the result and the files that were written.

    Raises:
        UsageError: ``output-exists``; ``usage`` for a window or a date that is none.
        EvaluationError: ``predictions-invalid``; ``evaluation-invalid`` for several bundles, no times, too few films.
        BundleError: if ``bundle`` is none.
    """
    length, since = parse_window(options.window), _since(options.since)
    with result_folder(out, DRIFT_FILE, force, _BESIDE) as folder:
        opened = Bundle.open(bundle)
        report = replace(_watch(opened, predictions, options, length), since=since)
        paths = _write(report, folder)
    return report, [Path(out) / path.relative_to(folder) for path in paths]


def _watch(
    bundle: Bundle, predictions: Sequence[str | Path], options: DriftOptions, length: WindowLength
) -> DriftReport:
    films = with_times(
        read_evidence_films(predictions, bundle.digest, options.time_column),
        options.time_column, options.manifest, options.match_names,
    )  # fmt: skip
    windows, rest = cut_windows(films.table, length)
    notes = list(films.notes)
    if rest:
        notes.append(f"{counted(rest, 'film')} at the end {be(rest)} too few to be judged yet.")
    if pooled := sum(window.pooled > 1 for window in windows):
        notes.append(f"{counted(pooled, 'window')} {be(pooled)} made of several: one alone had too few films.")
    first = _first_windows(options.reference)
    if first is None:
        reference, words = _reference(options, bundle)
        notes += [f"Reference: {note}" for note in reference.notes]
        notes += _overlap(reference, films)
        known = reference.table
        if "gate" in reference.table and "gate" not in films.table:
            notes.append(
                "The stream's films have no evidence of a gate (--gate off?): probabilities alone are watched."
            )
        if reference.calibrated != films.calibrated:
            raise UsageError(Code.USAGE, "--reference: calibrated predictions cannot be compared with raw ones.")
    else:
        known = films.table.iloc[[row for window in windows[:first] for row in window.rows]].reset_index(drop=True)
        windows, words = windows[first:], f"the first {counted(first, 'window')} of the stream"
    thresholds, more = _thresholds(bundle, films)
    if not films.calibrated:
        more.append("The probabilities are not calibrated: a prevalence that is estimated from them is a rough hint.")
    drift = watch(
        known, films.table, windows, films.findings, thresholds, WatchOptions(every=options.every, seed=options.seed)
    )
    provenance = {
        "bundle": bundle.title,
        "digest": bundle.digest,
        "reference": words,
        "reference_films": len(known),
        "films": len(films.table),
        "window": str(length),
        "false_alarm_every": options.every,
        "seed": options.seed,
        "date": time.strftime("%Y-%m-%d"),
        "version": importlib.metadata.version("cxr-monai"),
    }
    return DriftReport(replace(drift, notes=(*notes, *more, *drift.notes)), provenance)


def _first_windows(reference: str | Path | Sequence[str | Path]) -> int | None:
    if not isinstance(reference, str) or not reference.startswith(_FIRST):
        return None
    number = reference.removeprefix(_FIRST)
    if not number.isdigit() or int(number) < 1:
        raise UsageError(Code.USAGE, f"--reference {reference}: a number of windows, such as first:4.")
    return int(number)


def _reference(options: DriftOptions, bundle: Bundle) -> tuple[FilmTable, str]:
    paths = [options.reference] if isinstance(options.reference, str | Path) else list(options.reference)
    reference = read_evidence_films(paths, bundle.digest, options.time_column)
    if "taken_on" in reference.table and (reference.table["taken_on"].fillna("") != "").all():
        reference = with_times(reference)
    return reference, ", ".join(Path(path).name for path in paths)


def _overlap(reference: FilmTable, films: FilmTable) -> list[str]:
    key = "pixel_digest" if {"pixel_digest"} <= {*reference.table} & {*films.table} else "image"
    shared = int(films.table[key].isin(reference.table[key]).sum())
    return [f"{counted(shared, 'film')} of the stream {be(shared)} in the reference, too."] if shared else []


def _thresholds(bundle: Bundle, films: FilmTable) -> tuple[dict[str, float], list[str]]:
    """Return the operating point of each finding that has one, and a sentence where none can be used."""
    fitted = read_calibration(bundle.calibration, bundle.labels)
    if fitted is None or not any(fitted.points.values()):
        return {}, ["The bundle has no operating points ('cxr-monai calibrate'): positives are not counted."]
    if fitted.calibrates and not films.calibrated:
        return {}, [
            "Operating points lie on the calibrated scale, and these predictions are raw: positives are not counted."
        ]
    return {name: next(iter(points.values())) for name, points in fitted.points.items() if points}, []


def _since(text: str | None) -> pd.Timestamp | None:
    if text is None:
        return None
    try:
        return pd.Timestamp(datetime.fromisoformat(text)).tz_localize(None)
    except ValueError:
        raise UsageError(Code.USAGE, f"--since {text}: a date, such as 2026-11-23.") from None


def _write(report: DriftReport, folder: Path) -> list[Path]:
    tables = {"windows": report.windows(), "streams": report.drift.tests, "charts": report.drift.charts}
    paths = [*write_result_tables(tables, folder), write_drift_page(report, folder)]
    drift = report.drift
    content = {
        "alarm": report.is_alarm,
        "alarm_since": None if report.began is None else report.began.isoformat(),
        "cause": report.cause,
        "alarms": [asdict(alarm) for alarm in drift.alarms],
        "limit": drift.limit,
        "level": drift.options.level,
        "provenance": dict(report.provenance),
        "notes": list(drift.notes),
        **{name: json_rows(table) for name, table in tables.items()},
    }
    write_durably(folder / DRIFT_FILE, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())
    return [*paths, folder / DRIFT_FILE]


def track_drift(experiment: str, out: str | Path, report: DriftReport, paths: Sequence[Path]) -> str:
    """Log a watched stream as an MLflow run, a step a window; a server that is away is a warning.

    Args:
        experiment: MLflow's.
        out: the folder of the result.
        report: the result.
        paths: files to log.

    Returns:
        the link to the run, or the command that shows it.
    """
    settings = {key: str(value) for key, value in report.provenance.items()}
    tracker = MLflowTracker(experiment, str(out), kind="drift", configuration=settings)
    tracker.start()
    names = {"films": "films", "alarm": "alarm", "smallest_p": "p_holm", "largest_sum": "largest_sum"}
    for row in json_rows(report.windows()):
        tracker.metrics({f"drift/{name}": float(row[key]) for name, key in names.items()}, step=row["window"])
    tracker.files(paths, "pictures")
    tracker.finish()
    return tracker.where()
