"""``report.html`` of ``cxr-monai drift``: an alarm or none, since when, what to look at; then the streams over time.

write_drift_page(report, "OUT")
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cxr_monai.durable import write_durably
from cxr_monai.gate.drift_streams import Stream, StreamKind
from cxr_monai.gate.drift_watch import TESTS_SHARE
from cxr_monai.plurals import counted
from cxr_monai.report import words
from cxr_monai.report.cells import Cell, Table, p_value, whole
from cxr_monai.report.charts import Axis, ChartPanel, ChartPanels, Mark
from cxr_monai.report.drift_words import DriftReport, day, stream_figure
from cxr_monai.report.evaluation_rows import records
from cxr_monai.report.pages.evaluation_page import drawn_panels
from cxr_monai.report.rendering import flat, template

_MOST_CHARTS = 12
_KINDS = {
    StreamKind.ANSWER: "What the gate answers",
    StreamKind.HEADER: "Headers",
    StreamKind.GATE: "Scores of the gate",
    StreamKind.STATISTIC: "Picture statistics",
    StreamKind.POSITIVE: "Positives at the operating point",
    StreamKind.PROBABILITY: "Probabilities",
}


def write_drift_page(report: DriftReport, folder: str | Path) -> Path:
    """Write ``report.html``: one file, nothing is loaded from anywhere.

    Raises:
        StorageError: ``disk-full`` or ``write-failed``.
    """
    page = Path(folder) / "report.html"
    write_durably(page, template("drift.html.j2").render(**_page_content(report)).encode())
    return page


def window_table(report: DriftReport) -> Table:
    """Return the windows, the latest first."""
    rows = []
    for row in records(report.windows())[::-1]:
        first, last = (str(row[moment])[:10] for moment in ("first", "last"))
        rows.append((
            Cell(first, (f"to {last}",) if last != first else ()),
            Cell(whole(row["films"]), (f"{row['pooled']} windows in one",) if row["pooled"] > 1 else ()),
            Cell("alarm" if row["alarm"] else "no", strong=bool(row["alarm"])), Cell(row["cause"] or words.DASH),
            Cell(row["stream"]), Cell(p_value(row["p_holm"])), Cell(words.number(row["largest_sum"], 1)),
        ))  # fmt: skip
    heads = ("Window", "Films", "Alarm", "Cause", "Least like the reference", "p (Holm)", "Largest sum")
    return Table("The windows", heads, tuple(rows))


def stream_table(report: DriftReport) -> Table:
    """Return every stream: the reference, the latest window, its tests and its charts."""
    drift = report.drift
    sums = drift.charts.assign(largest=drift.charts[["up", "down"]].max(axis=1)).groupby("stream")["largest"].max()
    alarms = {row["stream"] for table in (drift.tests, drift.charts) for row in records(table) if row["alarm"]}
    smallest = drift.tests.groupby("stream")["p_holm"].min()
    latest = {row["stream"]: row for row in records(drift.tests) if row["window"] == len(drift.windows) - 1}
    rows = []
    for stream in drift.streams:
        row, is_alarm = latest[stream.name], stream.name in alarms
        was, now = (stream_figure(stream.scale, float(row[part])) for part in ("reference", "value"))
        rows.append((
            Cell(words.heading(stream.name), (str(stream.kind),), is_alarm), Cell(was), Cell(now),
            Cell(p_value(float(row["p_holm"]))), Cell(p_value(float(smallest[stream.name]))),
            Cell(words.number(float(sums[stream.name]), 1), strong=bool(sums[stream.name] > drift.limit)),
        ))  # fmt: skip
    heads = ("Stream", "Reference", "Latest", "p (Holm), latest", "p (Holm), smallest", "Largest sum")
    note = "Numbers are medians. Bold: in alarm in at least one window. A dash: shares of several levels."
    return Table("Every stream", heads, tuple(rows), (note,))


def sum_charts(report: DriftReport) -> ChartPanels:
    """Return the charts' sums over the windows with their limit: those beyond it, else the largest ones."""
    drift = report.drift
    order = drift.charts.groupby("chart", sort=False)[["up", "down"]].max().max(axis=1).sort_values(ascending=False)
    top = max(drift.limit * 1.25, float(min(order.iloc[0], drift.limit * 3)))
    x, y = _window_axis(report), Axis("sum", 0.0, top, ((0.0, "0"), (drift.limit, f"{drift.limit:.1f}")))
    panels = []
    for name in order.index[:_MOST_CHARTS]:
        rows = drift.charts[drift.charts["chart"] == name]
        numbers = rows["window"].to_numpy(float)
        marks = [
            Mark("line", np.array([x.low, x.high]), np.full(2, drift.limit), tone="second", label="limit", dashed=True),
            Mark("line", numbers, rows["up"].to_numpy(float), tone="first", label="upwards"),
            Mark("line", numbers, rows["down"].to_numpy(float), tone="third", label="downwards"),
        ]
        is_alarm = rows["alarm"].to_numpy(bool)
        if is_alarm.any():
            height = rows[["up", "down"]].max(axis=1).to_numpy(float)[is_alarm]
            marks.append(Mark("points", numbers[is_alarm], height, tone="second", label="alarm"))
        panels.append(ChartPanel(words.heading(name), _note(is_alarm), x, y, tuple(marks)))
    about = (
        "Deviations from the reference and the windows before, summed to both sides, of "
        f"{counted(len(order), 'chart')} the {len(panels)} with the largest sums. Where nothing changes, all charts "
        f"together pass the limit once in {drift.options.every / (1 - TESTS_SHARE):.0f} windows, by design."
    )
    return ChartPanels("sums", "Small changes that last", about, tuple(panels))


def stream_charts(report: DriftReport, kind: StreamKind) -> ChartPanels | None:
    """Return the streams of a kind over the windows beside the reference; None where there is none."""
    drift, x = report.drift, _window_axis(report)
    panels = []
    for stream in (stream for stream in drift.streams if stream.kind == kind):
        if stream.scale == "levels":
            panels += _level_panels(report, stream, x)
            continue
        rows = drift.tests[drift.tests["stream"] == stream.name]
        panels.append(_over_time(words.heading(stream.name), stream.scale, rows, x, rows["alarm"].to_numpy(bool)))
    return ChartPanels(str(kind), _KINDS[kind], "", tuple(panels)) if panels else None


def _level_panels(report: DriftReport, stream: Stream, x: Axis) -> list[ChartPanel]:
    rows = report.drift.charts[report.drift.charts["stream"] == stream.name]
    tests = report.drift.tests[report.drift.tests["stream"] == stream.name]
    return [
        _over_time(
            words.heading(str(name)), "share", part.rename(columns={"share": "value"}), x, tests["alarm"].to_numpy(bool)
        )
        for name, part in rows.groupby("chart", sort=False)
    ]


def _over_time(title: str, scale: str, rows: pd.DataFrame, x: Axis, is_alarm: np.ndarray) -> ChartPanel:
    numbers, values = rows["window"].to_numpy(float), rows["value"].to_numpy(float)
    reference = float(rows["reference"].iloc[0])
    ends = np.concatenate([values[np.isfinite(values)], [reference]])
    low, high = float(ends.min()), float(ends.max())
    if scale == "share":
        low, high = 0.0, max(high * 1.1, 0.05)
    else:
        margin = max(0.15 * (high - low), 0.05 * max(abs(high), abs(low)), 1e-3)
        low, high = low - margin, high + margin
    ticks = tuple(
        (place, f"{place:.2g}" if scale == "number" else words.percent(round(place, 2))) for place in (low, high)
    )
    marks = [
        Mark("line", np.array([x.low, x.high]), np.full(2, reference), tone="quiet", label="reference", dashed=True),
        Mark("line", numbers, values, tone="first", label="windows"),
    ]
    if is_alarm.any():
        marks.append(Mark("points", numbers[is_alarm], values[is_alarm], tone="second", label="test in alarm"))
    return ChartPanel(title, _note(is_alarm), x, Axis("", low, high, ticks), tuple(marks))


def _note(is_alarm: np.ndarray) -> str:
    return f"in alarm in {counted(int(is_alarm.sum()), 'window')}" if is_alarm.any() else words.NBSP


def _window_axis(report: DriftReport) -> Axis:
    windows = report.drift.windows
    last = len(windows) - 1
    years = {window.first.year for window in (windows[0], windows[-1])}
    shown = slice(5, None) if len(years) == 1 else slice(2, 7)
    ticks = tuple((float(place), day(windows[place].first)[shown]) for place in sorted({0, last}))
    return Axis("", 0.0 if last else -0.5, float(last) if last else 0.5, ticks)


def _page_content(report: DriftReport) -> dict[str, Any]:
    drift = report.drift
    return {
        "is_alarm": report.is_alarm,
        "headline": report.headline(),
        "look": report.what_to_look_at(),
        "bundle": report.provenance.get("bundle", ""),
        "date": report.provenance.get("date", ""),
        "period": f"{day(drift.windows[0].first)} to {day(drift.windows[-1].last)}",
        "films": counted(sum(len(window.rows) for window in drift.windows), "film"),
        "windows": counted(len(drift.windows), "window"),
        "reference": f"{report.provenance.get('reference', '')} ({counted(drift.reference_films, 'film')})",
        "streams": len(drift.streams),
        "every": f"{drift.options.every:g}",
        "level": f"{drift.options.level:.4f}",
        "limit": f"{drift.limit:.2f}",
        "notes": drift.notes,
        "window_table": window_table(report),
        "sums": drawn_panels(sum_charts(report)),
        "kinds": [drawn for kind in _KINDS if (drawn := drawn_panels(stream_charts(report, kind))) is not None],
        "stream_table": stream_table(report),
        "bookkeeping": flat(dict(report.provenance)),
        "dash": words.DASH,
    }
