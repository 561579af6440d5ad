"""What a watched stream of films says, in sentences: an alarm or none, since when, what to look at.

report = DriftReport(drift, provenance)
report.headline(), report.what_to_look_at()
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from cxr_monai.gate.drift_cause import BOTH, MACHINE, PREVALENCE_ALONE, Cause
from cxr_monai.gate.drift_watch import Alarm, Drift
from cxr_monai.plurals import be, counted, out_of
from cxr_monai.report import words
from cxr_monai.report.evaluation_rows import records

_SHOWN = 8
_LOOK = {
    MACHINE: "The films changed: look at the machine, its settings, the export, and at which films are sent.",
    BOTH: "The films changed, and the patients too, as far as can be seen: look at the machine, its settings and the "
    "export first; the estimated prevalences may follow from them.",
    PREVALENCE_ALONE: "The patients changed, as far as can be seen: another prevalence explains the probabilities, and "
    "the films look as before. Operating points keep their sensitivity and specificity; predictive values change.",
}
_SCORES = (
    "The probabilities changed, no other prevalence explains them, and the films look as before: look at what computes "
    "them (runtime, precision, weights), and at whether other patients are filmed."
)


@dataclass(frozen=True, eq=False)
class DriftReport:
    """A stream beside its reference, with where it comes from.

    Attributes:
        drift: the result.
        provenance: bundle, reference, settings.
        since: alarms of windows that end before this time do not count; None: all count.
    """

    drift: Drift
    provenance: Mapping[str, Any]
    since: pd.Timestamp | None = None

    @property
    def alarms(self) -> tuple[Alarm, ...]:
        """The alarms that count."""
        last = [self.drift.windows[alarm.window].last for alarm in self.drift.alarms]
        counts = [self.since is None or time >= self.since for time in last]
        return tuple(alarm for alarm, is_counted in zip(self.drift.alarms, counts, strict=True) if is_counted)

    @property
    def is_alarm(self) -> bool:
        """Whether any alarm counts."""
        return bool(self.alarms)

    @property
    def began(self) -> pd.Timestamp | None:
        """When the change of the latest alarm began; None without one."""
        return self.drift.windows[self.alarms[-1].since].first if self.alarms else None

    @property
    def cause(self) -> str:
        """The cause of the latest alarm; empty without one."""
        return self.alarms[-1].cause.name if self.alarms else ""

    def windows(self) -> pd.DataFrame:
        """Return a row a window: ``window, first, last, films, pooled, alarm, cause, stream, p_holm, largest_sum``.

        ``stream`` is the one with the smallest p-value, ``p_holm``; ``largest_sum`` that of the charts.
        """
        drift, alarms = self.drift, {alarm.window: alarm for alarm in self.drift.alarms}
        tests = drift.tests.loc[drift.tests.groupby("window")["p_holm"].idxmin()].set_index("window")
        sums = drift.charts.groupby("window")[["up", "down"]].max().max(axis=1)
        rows = [
            {
                "window": number,
                "first": window.first.isoformat(),
                "last": window.last.isoformat(),
                "films": len(window.rows),
                "pooled": window.pooled,
                "alarm": number in alarms,
                "cause": alarms[number].cause.name if number in alarms else "",
                "stream": tests.loc[number, "stream"],
                "p_holm": tests.loc[number, "p_holm"],
                "largest_sum": sums[number],
            }
            for number, window in enumerate(drift.windows)
        ]
        return pd.DataFrame(rows)

    def headline(self) -> str:
        """Return whether there is an alarm, and since when, as a sentence."""
        windows = len(self.drift.windows)
        if not self.alarms:
            return f"No alarm: {counted(windows, 'window')} {be(windows)} like the reference, as far as can be seen."
        latest = self.alarms[-1]
        text = f"Alarm: since {day(self.began)} the stream differs from the reference."
        if latest.window < windows - 1:
            text += f" The last alarm is of the window of {day(self.drift.windows[latest.window].first)}."
        return f"{text} {out_of(len(self.alarms), windows, 'window')} {be(windows)} in alarm."

    def what_to_look_at(self) -> list[str]:
        """Return what moved in the latest alarm, and what to do about it; nothing without one."""
        if not self.alarms:
            return []
        alarm = self.alarms[-1]
        sentences = [_LOOK.get(alarm.cause.name, _SCORES), *prevalence_sentences(alarm.cause)]
        if alarm.cause.image_streams:
            sentences.append(f"Of the films: {_some(alarm.cause.image_streams)} moved.")
        if alarm.cause.explained:
            sentences.append(f"Follows from the prevalence: {_some(alarm.cause.explained)}.")
        if alarm.codes:
            counts = [f"{code} {count:,}" for code, count in alarm.codes.items()]
            sentences.append(f"What the gate says of films since: {_some(counts)}.")
        sentences += self._streams(alarm)
        return sentences

    def _streams(self, alarm: Alarm) -> list[str]:
        """Return a sentence a stream whose test rejects: what it was and what it is."""
        rows = {row["stream"]: row for row in records(self.drift.tests) if row["window"] == alarm.window}
        sentences = []
        for name in alarm.tests[:_SHOWN]:
            row = rows[name]
            if row["value"] == row["value"]:
                stream = next(stream for stream in self.drift.streams if stream.name == name)
                was, now = (stream_figure(stream.scale, row[part]) for part in ("reference", "value"))
                sentences.append(f"{words.heading(name)}: {was} in the reference, {now} now.")
            else:
                sentences.append(f"{words.heading(name)}: other shares than in the reference.")
        return sentences


def prevalence_sentences(cause: Cause) -> list[str]:
    """Return a sentence a finding whose probabilities moved: the prevalence that explains them best, and whether."""
    return [
        f"{words.heading(shift.finding)}: a prevalence of {words.percent(round(shift.after, 3))} instead of "
        f"{words.percent(round(shift.before, 3))} explains its probabilities best"
        + ("." if shift.p >= 0.05 else ", and does not explain them.")
        for shift in cause.prevalences
    ]


def stream_figure(scale: str, figure: float) -> str:
    """Return a stream's figure: a share in percent, else a number.

    >>> stream_figure("share", 0.125).replace(words.NBSP, " "), stream_figure("number", 0.1234)
    ('12.5 %', '0.123')
    """
    return words.percent(figure, 1) if scale == "share" else words.number(figure)


def day(moment: pd.Timestamp | None) -> str:
    """Return the day of a time; a dash for none."""
    return words.DASH if moment is None else moment.date().isoformat()


def _some(names: Any) -> str:
    names = list(names)
    shown = names[:_SHOWN]
    return words.and_list(shown) if len(names) <= _SHOWN else f"{', '.join(shown)} and {len(names) - _SHOWN} more"
