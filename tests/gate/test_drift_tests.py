"""The tests of one window of films against the reference."""

import numpy as np
import pytest
from scipy.stats import fisher_exact, ks_2samp

from cxr_monai.gate.drift_streams import NOT_STATED, Stream, StreamKind, streams_of
from cxr_monai.gate.drift_tests import kolmogorov_smirnov, share_test, softened, window_tests
from tests.gate.drift_films import FINDINGS, THRESHOLDS, drawn_films


def test_numbers_have_scipys_p_values() -> None:
    random = np.random.default_rng(0)
    reference, window = random.normal(size=150), random.normal(0.3, 1, 40).round(1)
    exact = ks_2samp(reference, window, method="exact").pvalue
    assert kolmogorov_smirnov(reference, window) == pytest.approx(exact, rel=0.1)


def test_a_share_has_fishers_tails() -> None:
    table = np.array([[9, 41], [20, 380]])  # the window's positives and negatives, the reference's
    more = fisher_exact(table, alternative="greater").pvalue
    assert float(share_test(table[:, 0], table[:, 1])) == pytest.approx(2 * more)


def test_levels_are_compared_by_chi_square_and_rare_ones_exactly() -> None:
    stream = Stream("view", StreamKind.HEADER, "view", "levels", ("PA", "AP"))
    known, none = np.repeat([0.0, 1.0], [120, 80])[:, None], np.ones(1)
    common = window_tests([stream], known, np.repeat([0.0, 1.0], [30, 70])[:, None], none)[0]
    # by hand: expected 50 and 50 of 100, 100 and 100 of 200: the sum of squares is 8 + 8 + 4 + 4
    assert common == pytest.approx(9.6e-7, rel=0.01)
    rare = window_tests([stream], known, np.repeat([0.0, 1.0, 2.0], [60, 38, 2])[:, None], none)[0]
    # two films of another view among 300: both in the window by chance in (100 * 99) / (300 * 299)
    assert rare == pytest.approx(3 * 2 * 100 * 99 / (300 * 299), rel=1e-9)


def test_films_that_depend_on_each_other_count_less() -> None:
    assert softened(np.array([0.0455]), np.array([4.0])) == pytest.approx(np.array([0.317]), abs=1e-3)
    assert softened(np.array([0.01]), np.array([1.0])) == pytest.approx(np.array([0.01]))


def test_tests_keep_their_level_where_nothing_changes() -> None:
    films = drawn_films(400, seed=1)
    streams, _ = streams_of(films, FINDINGS, THRESHOLDS)
    pool = np.stack([stream.values(films) for stream in streams], axis=1)
    none, random = np.ones(len(streams)), np.random.default_rng(2)
    p = [
        window_tests(streams, pool[random.integers(400, size=200)], pool[random.integers(400, size=50)], none)
        for _ in range(100)
    ]
    assert (np.array(p) < 0.05).mean() < 0.06


def test_streams_are_those_that_the_reference_has() -> None:
    films = drawn_films(200, seed=1)
    films.loc[:20, "view"] = ""
    films["modality"] = ""
    streams, notes = streams_of(films, FINDINGS, THRESHOLDS)
    by_name = {stream.name: stream for stream in streams}
    assert set(by_name["view"].levels) == {"PA", "AP", NOT_STATED}
    assert {"manufacturer", "age", "score", "mean", "refused", "Effusion", "Effusion positive", "Mass"} <= {*by_name}
    assert not {"modality", "Mass positive"} & {*by_name}
    assert notes == ["Mass is without an operating point: positives are not counted."]
    assert by_name["Effusion positive"].values(films).sum() == (films["Effusion"] >= 0.5).sum()
    other = films.assign(view="LL")
    assert set(by_name["view"].values(other)) == {3.0}


def test_a_reference_without_gate_and_headers_says_so() -> None:
    _, notes = streams_of(drawn_films(200, seed=1)[["image", *FINDINGS]], FINDINGS, {"Mass": 0.5, "Effusion": 0.5})
    assert len(notes) == 2
    assert "headers" in notes[0]
    assert "gate" in notes[1]
