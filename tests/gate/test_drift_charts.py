"""The charts along windows: deviates, sums, and the limit of the whole family."""

import numpy as np
import pytest

from cxr_monai.gate.drift_charts import (
    ChartRun,
    ControlCharts,
    dependence_of,
    share_deviates,
)
from cxr_monai.gate.drift_streams import stream_values, streams_of
from tests.gate.drift_films import FINDINGS, THRESHOLDS, drawn_films


def charts_of(films: int = 300, seed: int = 1) -> tuple[list, ControlCharts]:
    reference = drawn_films(films, seed)
    streams, _ = streams_of(reference, FINDINGS, THRESHOLDS)
    return streams, ControlCharts.of(streams, stream_values(streams, reference))


def test_levels_have_a_chart_each() -> None:
    _, charts = charts_of()
    assert {"view: PA", "view: AP", "view: another", "score", "refused", "Effusion positive"} <= {*charts.names}


def test_share_deviates_have_mean_zero_and_at_most_deviation_one() -> None:
    random = np.random.default_rng(0)
    for share in (0.002, 0.05, 0.5):
        for films in (20, 200):
            before, count = random.binomial(400, share, 4000), random.binomial(films, share, 4000)
            z = share_deviates(*(np.asarray(part, float) for part in (count, [films] * 4000, before, 400)))
            assert abs(z.mean()) < 0.13
            assert z.std() < 1.03


def test_deviates_are_standard_normal_whatever_the_size_of_the_window() -> None:
    streams, charts = charts_of()
    pool = drawn_films(4000, seed=9)
    values, random = stream_values(streams, pool), np.random.default_rng(3)
    z = []
    for number in range(200):
        known = random.integers(4000, size=300)
        run = ChartRun(ControlCharts.of(streams, values[known]), np.inf)
        z.append(run.add(values[random.integers(4000, size=20 if number % 2 else 200)]).z)
    numbers = ~charts.is_share
    assert np.abs(np.mean(z, axis=0)[numbers]).max() < 0.25
    assert np.std(z, axis=0)[numbers].mean() == pytest.approx(1, abs=0.08)


def test_a_small_change_that_lasts_is_summed_and_dated() -> None:
    streams, charts = charts_of()
    run = ChartRun(charts, 5.0)
    alarm = None
    for week in range(16):
        films = drawn_films(100, seed=50 + week, softer=0.0 if week < 4 else 0.35)
        step = run.add(stream_values(streams, films))
        run.settle(step.alarms)
        place = charts.names.index("sharpness_1")
        if step.alarms[place] and alarm is None:
            alarm = week, int(step.since[place]), float(step.down[place])
    assert alarm is not None
    assert 4 < alarm[0] <= 8
    assert alarm[1] in (3, 4)


def test_a_chart_that_moved_starts_again_and_does_not_learn() -> None:
    streams, charts = charts_of()
    run = ChartRun(charts, 3.0)
    place = charts.names.index("sharpness_1")
    values = stream_values(streams, drawn_films(100, seed=7, softer=2))
    first = run.add(values)
    assert first.alarms[place]
    run.settle(first.alarms)
    second = run.add(values)
    assert second.up[place] == pytest.approx(first.up[place])
    assert second.since[place] == 1


def test_the_limit_keeps_the_familys_false_alarms() -> None:
    """Simulated again, with windows of their own: no more alarms than the limit says."""
    streams, charts = charts_of(200, seed=4)
    limit = charts.limit([20, 60], every=105, seed=0, histories=80)
    pool = stream_values(streams, drawn_films(3000, seed=5))
    random, alarms = np.random.default_rng(6), 0
    for _ in range(20):
        run = ChartRun(ControlCharts.of(streams, pool[random.integers(3000, size=200)]), limit)
        for _ in range(26):
            step = run.add(pool[random.integers(3000, size=random.choice([20, 60]))])
            run.settle(step.alarms)
            alarms += bool(step.alarms.any())
    # 520 windows: 5 expected; 11 or more in one of a hundred
    assert alarms <= 10


def test_dependence_is_one_for_independent_films_and_more_for_films_in_pairs() -> None:
    random = np.random.default_rng(0)
    alone = random.normal(size=(2000, 1))
    pairs = np.repeat(random.normal(size=(1000, 1)), 2, axis=0)
    assert dependence_of(alone)[0] < 1.2
    assert dependence_of(pairs)[0] == pytest.approx(1.9, abs=0.2)
