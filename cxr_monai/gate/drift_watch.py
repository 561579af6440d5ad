"""Does today's stream of films still look like the reference? Tests of each window, and charts along them.

    drift = watch(reference, films, windows, findings, thresholds)
    drift.alarms                                # what moved, since when, patients or machine

Two rules raise an alarm, each with its share of the false alarms that are allowed for the whole family of streams: a
window's tests against the reference (`cxr_monai.gate.drift_tests`, Holm's correction) find a large change at once, the
charts (`cxr_monai.gate.drift_charts`) a small one that lasts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cxr_monai.errors import Code, EvaluationError
from cxr_monai.evaluation.comparison import holm
from cxr_monai.evaluation.label_shift import SIGNIFICANT
from cxr_monai.gate.drift_cause import Cause, cause_of
from cxr_monai.gate.drift_charts import ChartRun, ChartStep, ControlCharts
from cxr_monai.gate.drift_streams import FEWEST_OF_REFERENCE, Stream, stream_values, streams_of
from cxr_monai.gate.drift_tests import window_tests
from cxr_monai.gate.drift_windows import Window
from cxr_monai.plurals import be, counted
from cxr_monai.progress import progress_bar

FALSE_ALARM_EVERY = 104
"""Windows between two false alarms, on average: one in two years of weeks. The limits rest on a reference that is a
sample: in simulations with references of their own false alarms are more frequent than this (docs/drift.md)."""
TESTS_SHARE = 1 / 3
"""The share of the false alarms that the tests may raise; the charts may raise the rest."""


SAME_EVENT = 3.0
"""Deviates beyond this in a window with an alarm belong to it: their charts start again, too."""


@dataclass(frozen=True)
class WatchOptions:
    """How a stream is watched.

    Attributes:
        every: windows between two false alarms, on average, by design.
        seed: of the simulated charts.
        limit: of the charts; simulated where None.
    """

    every: float = FALSE_ALARM_EVERY
    seed: int = 0
    limit: float | None = None

    @property
    def level(self) -> float:
        """The level of each window's tests, over all streams."""
        return TESTS_SHARE / self.every


@dataclass(frozen=True)
class Alarm:
    """One window that does not look like the reference.

    Attributes:
        window: its position.
        tests: streams whose test rejects.
        charts: charts beyond their limit.
        since: the position of the window in which it began, as far as the charts tell.
        cause: what changed since.
        codes: films since by the gate's code, the most frequent first.
    """

    window: int
    tests: tuple[str, ...]
    charts: tuple[str, ...]
    since: int
    cause: Cause
    codes: Mapping[str, int]


@dataclass(frozen=True, eq=False)
class Drift:
    """A stream of films beside its reference.

    Attributes:
        streams: what was watched.
        windows: W of them.
        tests: one row a window and stream: ``window, stream, kind, films, reference, value, p, p_holm, alarm``;
            ``value`` and ``reference`` are medians of numbers, shares; empty for levels.
        charts: one row a window and chart: ``window, stream, chart, reference, share, z, up, down, since,
            alarm``; ``reference`` and ``share`` are empty for numbers.
        alarms: in order.
        limit: of the charts.
        options: as they were given.
        reference_films: how many.
        notes: what could not be compared.
    """

    streams: tuple[Stream, ...]
    windows: tuple[Window, ...]
    tests: pd.DataFrame
    charts: pd.DataFrame
    alarms: tuple[Alarm, ...]
    limit: float
    options: WatchOptions
    reference_films: int
    notes: tuple[str, ...]


def watch(
    reference: pd.DataFrame,
    films: pd.DataFrame,
    windows: Sequence[Window],
    findings: Sequence[str],
    thresholds: Mapping[str, float],
    options: WatchOptions | None = None,
) -> Drift:
    """Compare windows of films with a reference.

    Args:
        reference: films as of `cxr_monai.gate.drift_streams`, in the order in which they were taken.
        films: those of the windows.
        windows: of ``films``.
        findings: columns of probabilities.
        thresholds: operating points by finding.
        options: how.

    Raises:
        EvaluationError: ``evaluation-invalid`` for too few films of reference, or no window.
    """
    options = options or WatchOptions()
    if len(reference) < FEWEST_OF_REFERENCE or not windows:
        raise EvaluationError(
            Code.EVALUATION_INVALID,
            f"the reference has {counted(len(reference), 'film')}, and there {be(len(windows))} "
            f"{counted(len(windows), 'window')} to compare with it.",
            fix=f"A reference needs {FEWEST_OF_REFERENCE} films, a window 20.",
        )
    streams, notes = streams_of(reference, findings, thresholds)
    known = stream_values(streams, reference)
    charts = ControlCharts.of(streams, known)
    sizes = [len(window.rows) for window in windows]
    limit = (
        charts.limit(sizes, options.every / (1 - TESTS_SHARE), options.seed) if options.limit is None else options.limit
    )
    run, dependence = ChartRun(charts, limit), charts.of_streams(charts.dependence, len(streams))
    values = stream_values(streams, films)
    tests, steps, alarms = [], [], list[Alarm]()
    for number, window in enumerate(progress_bar(windows, total=len(windows), desc="comparing", unit="windows")):
        fresh = values[window.rows]
        p = window_tests(streams, known, fresh, dependence)
        step, corrected = run.add(fresh), holm(p)
        tests.append(_test_rows(number, streams, known, fresh, p, corrected, options.level))
        steps.append(_chart_rows(number, charts, streams, fresh, step))
        by_test, is_moved = corrected < options.level, step.alarms
        if by_test.any() or is_moved.any():
            is_moved = is_moved | by_test[charts.stream] | (np.abs(step.z) > SAME_EVENT)
        run.settle(is_moved)
        if not is_moved.any():
            continue
        since = _since(number, step, limit, bool(by_test.any()), alarms)
        rows = np.concatenate([each.rows for each in windows[since : number + 1]])
        after = values[rows]
        moved = holm(window_tests(streams, known, after, dependence)) < SIGNIFICANT
        moved |= by_test | (charts.of_streams(step.alarms.astype(float), len(streams)) > 0)
        cause = cause_of(streams, known, after, moved, dependence, options.seed)
        names = tuple(name for name, is_alarm in zip(charts.names, step.alarms, strict=True) if is_alarm)
        ordered = [streams[place].name for place in np.argsort(p, kind="stable") if by_test[place]]
        alarms.append(Alarm(number, tuple(ordered), names, since, cause, _codes(films.iloc[rows])))
    return Drift(
        tuple(streams), tuple(windows), pd.concat(tests, ignore_index=True), pd.concat(steps, ignore_index=True),
        tuple(alarms), limit, options, len(reference), tuple(notes),
    )  # fmt: skip


def _since(number: int, step: ChartStep, limit: float, is_large: bool, alarms: Sequence[Alarm]) -> int:
    """Return the window in which it began.

    That is this window where its tests alone tell (``is_large``), else where a chart left zero, unless this window took
    it over half of the limit; or where the alarm of the window before began.
    """
    grew = step.alarms & (np.abs(step.z) < limit / 2) & (not is_large)
    began = [number, *step.since[grew]]
    if alarms and alarms[-1].window == number - 1:
        began.append(alarms[-1].since)
    return int(min(began))


def _codes(films: pd.DataFrame) -> dict[str, int]:
    codes = films["code"].fillna("") if "code" in films else pd.Series(dtype=str)
    return {str(code): int(count) for code, count in codes[codes != ""].value_counts().items()}


def _test_rows(
    number: int,
    streams: Sequence[Stream],
    reference: np.ndarray,
    films: np.ndarray,
    p: np.ndarray,
    corrected: np.ndarray,
    level: float,
) -> pd.DataFrame:
    return pd.DataFrame({
        "window": number,
        "stream": [stream.name for stream in streams],
        "kind": [str(stream.kind) for stream in streams],
        "films": np.isfinite(films).sum(0),
        "reference": [_middle(stream, reference[:, place]) for place, stream in enumerate(streams)],
        "value": [_middle(stream, films[:, place]) for place, stream in enumerate(streams)],
        "p": p,
        "p_holm": corrected,
        "alarm": corrected < level,
    })  # fmt: skip


def _chart_rows(
    number: int, charts: ControlCharts, streams: Sequence[Stream], films: np.ndarray, step: ChartStep
) -> pd.DataFrame:
    charted = charts.of_films(films)
    counted_films = np.isfinite(charted).sum(0)
    shares = np.where(charts.is_share, np.nansum(charted, axis=0) / np.maximum(counted_films, 1), np.nan)
    return pd.DataFrame({
        "window": number,
        "stream": [streams[place].name for place in charts.stream],
        "chart": list(charts.names),
        "reference": np.where(charts.is_share, np.nanmean(charts.reference, axis=0), np.nan),
        "share": shares,
        "z": step.z,
        "up": step.up,
        "down": step.down,
        "since": step.since,
        "alarm": step.alarms,
    })  # fmt: skip


def _middle(stream: Stream, column: np.ndarray) -> float:
    column = column[np.isfinite(column)]
    if stream.scale == "levels" or not column.size:
        return float("nan")
    return float(np.median(column) if stream.scale == "number" else column.mean())
