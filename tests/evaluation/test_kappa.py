"""Kappa against scikit-learn, against the published example, and where it has no value."""

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from cxr_monai.evaluation.bootstrap import PatientBootstrap
from cxr_monai.evaluation.kappa import cohen_kappa, fleiss_kappa

NAN = np.nan


def test_cohen_is_scikit_learns_and_leaves_the_unknown_out() -> None:
    random = np.random.default_rng(0)
    first = (random.random(300) < 0.3).astype(float)
    second = np.where(random.random(300) < 0.8, first, 1 - first)
    bootstrap = PatientBootstrap(np.arange(300) // 2, 400)
    kappa = cohen_kappa(first, second, bootstrap)
    assert kappa.value == pytest.approx(cohen_kappa_score(first, second))
    assert kappa.low < kappa.value < kappa.high
    first[:10] = NAN
    second[5:20] = NAN
    expected = cohen_kappa_score(first[20:], second[20:])
    assert cohen_kappa(first, second, bootstrap).value == pytest.approx(expected)


@pytest.mark.parametrize(
    ("first", "second"),
    [([0.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 1.0]), ([1.0] * 4, [1.0] * 4), ([NAN] * 4, [0.0, 1.0, 0.0, 1.0])],
)
def test_cohen_has_no_value_where_one_side_never_changes(first: list[float], second: list[float]) -> None:
    kappa = cohen_kappa(np.array(first), np.array(second), PatientBootstrap(np.arange(4), 20))
    assert np.isnan([kappa.value, kappa.low, kappa.high]).all()


def test_cohen_has_no_interval_without_an_image_that_both_call_present() -> None:
    first, second = np.zeros(40), np.zeros(40)
    first[:4], second[4:8] = 1, 1
    kappa = cohen_kappa(first, second, PatientBootstrap(np.arange(40), 50))
    assert kappa.value == pytest.approx(-1 / 9)
    assert np.isnan([kappa.low, kappa.high]).all()


def test_fleiss_of_a_table_computed_by_hand() -> None:
    # five readers; agreeing pairs of ten: 10, 6, 4, 10, 4
    votes = np.array([[1] * 5, [1, 1, 1, 1, 0], [1, 1, 1, 0, 0], [0] * 5, [1, 1, 0, 0, 0]], dtype=float)
    share = 14 / 25
    chance = share**2 + (1 - share) ** 2
    kappa = fleiss_kappa(votes, PatientBootstrap(np.arange(5), 50))
    assert kappa.value == pytest.approx(((1 + 0.6 + 0.4 + 1 + 0.4) / 5 - chance) / (1 - chance))


def test_fleiss_of_two_readers_is_scotts_pi_and_lone_readers_do_not_count() -> None:
    random = np.random.default_rng(1)
    votes = (random.random((200, 1)) < 0.4).astype(float).repeat(2, axis=1)
    votes[:40, 1] = 1 - votes[:40, 1]
    share = votes.mean()
    chance = share**2 + (1 - share) ** 2
    expected = ((votes[:, 0] == votes[:, 1]).mean() - chance) / (1 - chance)
    alone = np.column_stack([np.ones(50), np.full(50, NAN)])
    kappa = fleiss_kappa(np.vstack([votes, alone]), PatientBootstrap(np.arange(250), 100))
    assert kappa.value == pytest.approx(expected)
    assert kappa.low < expected < kappa.high


def test_fleiss_of_readers_who_all_agree_is_one() -> None:
    votes = np.array([[1, 1, NAN], [0, NAN, 0], [0, 0, 0]])
    assert fleiss_kappa(votes, PatientBootstrap(np.arange(3), 20)).value == 1
