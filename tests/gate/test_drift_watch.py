"""A stream of films beside its reference: alarms, when it began, and what changed."""

import numpy as np
import pandas as pd
import pytest

from cxr_monai.errors import EvaluationError, UsageError
from cxr_monai.gate.drift_watch import Drift, WatchOptions, watch
from cxr_monai.gate.drift_windows import cut_windows, parse_window
from tests.gate.drift_films import FINDINGS, THRESHOLDS, drawn_films, weekly

OPTIONS = WatchOptions(limit=6.0)
"""About what is simulated for so many streams."""


def watched(weeks: list[pd.DataFrame], reference: int = 400, options: WatchOptions = OPTIONS) -> Drift:
    films = weekly(weeks)
    windows, _ = cut_windows(films, parse_window("7d"))
    return watch(drawn_films(reference, seed=1), films, windows, FINDINGS, THRESHOLDS, options)


def quiet(weeks: int, films: int = 200) -> list[pd.DataFrame]:
    return [drawn_films(films, seed=100 + week) for week in range(weeks)]


def test_a_stream_like_the_reference_raises_no_alarm() -> None:
    drift = watched([*quiet(6), *quiet(3, films=25)])
    assert drift.alarms == ()
    assert len(drift.windows) == 9
    assert set(drift.tests["window"]) == set(range(9))
    assert len(drift.tests) == 9 * len(drift.streams)


def test_a_tenth_of_wrong_films_raises_an_alarm_within_their_week() -> None:
    drift = watched([*quiet(2), drawn_films(200, seed=5, wrong=0.1), drawn_films(200, seed=6)])
    assert [alarm.window for alarm in drift.alarms] == [2]
    (alarm,) = drift.alarms
    assert alarm.tests[0] == "refused"
    assert alarm.since == 2
    assert alarm.cause.name == "machine"
    assert "refused" in alarm.cause.image_streams


def test_another_prevalence_alone_is_named_so() -> None:
    drift = watched([*quiet(2), drawn_films(300, seed=5, prevalence=0.45)])
    (alarm,) = drift.alarms
    assert alarm.cause.name == "prevalence"
    (shift,) = [shift for shift in alarm.cause.prevalences if shift.finding == "Effusion"]
    assert shift.before == pytest.approx(0.2, abs=0.05)
    assert shift.after == pytest.approx(0.45, abs=0.1)
    assert shift.p > 0.05


def test_another_machine_and_another_prevalence_are_both_named() -> None:
    drift = watched([drawn_films(300, seed=5, prevalence=0.45, softer=1.0)])
    assert drift.alarms[0].cause.name == "both"
    assert "sharpness_1" in drift.alarms[0].cause.image_streams


def test_probabilities_that_no_prevalence_explains_are_named_scores() -> None:
    films = drawn_films(300, seed=5)
    for finding in FINDINGS:
        films[finding] = films[finding] * 0.5 + 0.2
    assert watched([films]).alarms[0].cause.name == "scores"


def test_films_that_follow_from_the_prevalence_are_no_other_machine() -> None:
    """A statistic that is larger in films with an effusion moves with their number."""

    def with_fluid(films: pd.DataFrame) -> pd.DataFrame:
        return films.assign(mean=films["mean"] + 0.6 * films["Effusion"])

    films = weekly([with_fluid(drawn_films(400, seed=5, prevalence=0.5))])
    windows, _ = cut_windows(films, parse_window("7d"))
    drift = watch(with_fluid(drawn_films(600, seed=1)), films, windows, FINDINGS, THRESHOLDS, OPTIONS)
    assert drift.alarms[0].cause.name == "prevalence"
    assert "mean" in drift.alarms[0].cause.explained


def test_an_alarm_that_goes_on_began_when_it_began() -> None:
    drift = watched([*quiet(1), *(drawn_films(200, seed=week, wrong=0.15) for week in (5, 6, 7))])
    assert [alarm.window for alarm in drift.alarms] == [1, 2, 3]
    assert {alarm.since for alarm in drift.alarms} == {1}


def test_a_large_change_is_dated_to_its_window_though_a_chart_was_on_its_way() -> None:
    slow = [drawn_films(200, seed=100 + week, softer=-0.2) for week in range(6)]
    drift = watched([*slow, drawn_films(200, seed=5, wrong=0.1, softer=-0.3)], options=WatchOptions(limit=5.5))
    alarm = drift.alarms[-1]
    assert alarm.window == 6
    assert "refused" in alarm.tests
    assert "sharpness_1" in alarm.charts
    assert alarm.since == 6
    assert alarm.codes == {"gate-inverted": 20}


def test_the_charts_limit_is_simulated_and_repeated() -> None:
    options = WatchOptions(every=70)
    limits = [watched(quiet(1, films=60), reference=120, options=options).limit for _ in range(2)]
    assert limits[0] == limits[1]
    assert 4 < limits[0] < 10


def test_too_small_a_reference_is_an_error() -> None:
    with pytest.raises(EvaluationError, match="the reference has 99 films"):
        watched(quiet(1), reference=99)


def test_windows_with_too_few_films_are_judged_with_the_next() -> None:
    films = weekly([drawn_films(size, seed=size) for size in (30, 8, 13, 40, 5)])
    windows, rest = cut_windows(films, parse_window("7d"))
    assert [len(window.rows) for window in windows] == [30, 21, 40]
    assert [window.pooled for window in windows] == [1, 2, 1]
    assert rest == 5
    assert windows[1].first >= pd.Timestamp("2026-01-12")
    assert np.concatenate([window.rows for window in windows]).tolist() == list(range(91))


def test_windows_of_days_begin_on_mondays_and_windows_of_films_anywhere() -> None:
    films = weekly([drawn_films(70, seed=1)], start="2026-01-08")  # a Thursday
    assert [len(window.rows) for window in cut_windows(films, parse_window("7d"))[0]] == [40, 30]
    assert [len(window.rows) for window in cut_windows(films, parse_window("30"))[0]] == [30, 30]


@pytest.mark.parametrize("text", ["0d", "7w", "19", "-7d", "", "1.5d"])
def test_other_windows_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--window"):
        parse_window(text)
