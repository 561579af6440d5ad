"""Conformal answers and sets: by hand, promises kept in simulation, and the curve of abstention."""

import itertools
import json
import math

import numpy as np
import pandas as pd
import pytest

from cxr_monai.errors import Code, EvaluationError
from cxr_monai.evaluation.bootstrap import PatientBootstrap
from cxr_monai.evaluation.conformal import (
    ConformalSets,
    answers,
    conformal_table,
    findings_in_set,
    fit_conformal,
    risk_coverage,
    risk_coverage_area,
)
from cxr_monai.evaluation.proportions import wilson
from cxr_monai.evaluation.sample import Sample

NAN = np.nan


def sample_of(scores: np.ndarray, labels: np.ndarray, patients: np.ndarray | None = None) -> Sample:
    scores, labels = np.atleast_2d(np.asarray(scores, float).T).T, np.atleast_2d(np.asarray(labels, float).T).T
    patients = np.arange(len(scores)) if patients is None else np.asarray(patients)
    table = pd.DataFrame({"image": [f"{i}.png" for i in range(len(scores))], "patient_id": patients.astype(str)})
    return Sample.of(table, [f"F{i}" for i in range(scores.shape[1])], scores, labels)


# thresholds by hand


@pytest.mark.parametrize(
    ("coverage", "present", "absent"),
    [
        # 9 positives 0.1 to 0.9 and 9 negatives: the k-th lowest (highest), k = (1 - coverage) * 10
        (0.9, 0.1, 0.9),
        (0.8, 0.2, 0.8),
        (0.7, 0.3, 0.7),
        (0.75, 0.2, 0.8),
        (0.95, 0.0, 1.0),  # 9 patients are too few to promise it
        (0.51, 0.4, 0.6),
    ],
)
def test_thresholds_are_split_conformals(coverage: float, present: float, absent: float) -> None:
    grid = np.arange(1, 10) / 10
    sets = fit_conformal(sample_of(np.tile(grid, 2), np.repeat([1.0, 0.0], 9)), coverage)
    assert (sets.present[0], sets.absent[0]) == pytest.approx((present, absent), abs=1e-15)
    assert (sets.positive_patients, sets.negative_patients, sets.set_patients) == ((9,), (9,), 9)


def test_a_threshold_is_a_score_itself() -> None:
    random = np.random.default_rng(0)
    scores, labels = random.random(500), (random.random(500) < 0.4).astype(float)
    sets = fit_conformal(sample_of(scores, labels), 0.9)
    assert sets.present[0] in scores[labels == 1]
    assert sets.absent[0] in scores[labels == 0]
    positives = np.sort(scores[labels == 1])
    assert sets.present[0] == positives[math.floor((positives.size + 1) * 0.1 + 1e-9) - 1]
    negatives = np.sort(scores[labels == 0])
    assert sets.absent[0] == negatives[math.ceil((negatives.size + 1) * 0.9 - 1e-9) - 1]


@pytest.mark.parametrize(
    ("low", "present"),
    [
        # nine patients at 80 %: one of nine may go wrong, by patients and by images. Patient 0 has 1 + 8 images
        (
            [0.1] + [0.95] * 8,
            0.2,
        ),  # below 0.2: 1/9 of a patient, 1 of 17 images; below 0.3: 1.11 of patients is too much
        ([0.1] * 9, 0.1),  # below 0.2: one patient, but 9 of 17 images, where 17 / 9 = 1.9 may
        ([0.95] * 9, 0.3),  # below 0.3: one patient (0.2), one image; below 0.4: two patients
    ],
)
def test_a_promise_by_patients_and_by_images(low: list[float], present: float) -> None:
    scores = np.array([*low, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
    sample = sample_of(scores, np.ones(17), np.array([0] * 9 + list(range(1, 9))))
    assert fit_conformal(sample, 0.8).present[0] == present
    # the same for the negatives, turned round
    sample = sample_of(1 - scores, np.zeros(17), np.array([0] * 9 + list(range(1, 9))))
    assert fit_conformal(sample, 0.8).absent[0] == pytest.approx(1 - present)


def test_ties_are_on_the_safe_side() -> None:
    sets = fit_conformal(sample_of(np.repeat([0.2, 0.7], [5, 15]), np.ones(20)), 0.9)
    assert sets.present[0] == 0.2  # 1.1 of 20 may go wrong, not 5
    sets = fit_conformal(sample_of(np.full(30, 0.4), np.repeat([1.0, 0.0], 15)), 0.9)
    assert answers(sets, np.array([[0.4]])).tolist() == [["abstain"]]


@pytest.mark.parametrize("labels", [[NAN] * 30, [0.0] * 30, [1.0] * 30])
def test_what_nothing_is_known_of_is_never_excluded(labels: list[float]) -> None:
    sets = fit_conformal(sample_of(np.linspace(0.1, 0.9, 30), np.array(labels)), 0.9)
    given = answers(sets, np.array([[0.0], [1.0]])).ravel().tolist()
    if labels[0] == 0:
        assert sets.present[0] == 0.0
        assert given == ["abstain", "present"]
    elif labels[0] == 1:
        assert sets.absent[0] == 1.0
        assert given == ["absent", "abstain"]
    else:
        assert given == ["abstain", "abstain"]
    assert (sets.set_threshold == 0) == (labels[0] != 1)


def test_few_positive_patients_are_too_few_for_absent() -> None:
    for patients, least in ((8, 0.0), (9, 0.31)):
        scores = np.concatenate([np.full(patients, 0.31), np.full(50, 0.1)])
        sets = fit_conformal(sample_of(scores, np.repeat([1.0, 0.0], [patients, 50])), 0.9)
        # where the promise can be made, the two separate well and their thresholds meet
        assert sets.present[0] == pytest.approx(least and (0.31 + 0.1) / 2)
        assert answers(sets, np.array([[0.05]]))[0, 0] == ("absent" if least else "abstain")


def test_well_separated_leaves_nothing_open() -> None:
    scores = np.concatenate([np.linspace(0.01, 0.4, 50), np.linspace(0.6, 0.99, 50)])
    labels = np.repeat([0.0, 1.0], 50)
    sets = fit_conformal(sample_of(scores, labels), 0.9)
    assert sets.present == sets.absent
    assert 0.35 < sets.present[0] < 0.65
    np.testing.assert_array_equal(answers(sets, scores[:, None])[:, 0], np.where(labels, "present", "absent"))


def test_the_set_by_hand() -> None:
    # an image counts by the lowest of its present findings: 0.1, 0.2, ..., 0.9; those without any do not count
    lowest = np.arange(1, 10) / 10
    scores = np.concatenate([np.column_stack([lowest, np.full(9, 0.95), np.full(9, 0.99)]), np.full((20, 3), 0.02)])
    labels = np.concatenate([np.tile([1.0, 1.0, NAN], (9, 1)), np.zeros((20, 3))])
    sets = fit_conformal(sample_of(scores, labels), 0.8)
    assert sets.set_threshold == 0.2
    assert sets.set_patients == 9
    np.testing.assert_array_equal(findings_in_set(sets, np.array([[0.1, 0.2, 0.3]])), [[False, True, True]])


def test_answers_by_hand() -> None:
    sets = ConformalSets(0.9, ("A", "B"), (0.3, 0.5), (0.6, 0.5), 0.2, (10, 10), (10, 10), 20)
    given = answers(sets, np.array([[0.29, 0.49], [0.3, 0.5], [0.6, 0.51], [0.61, 1.0]]))
    assert given.tolist() == [
        ["absent", "absent"],
        ["abstain", "abstain"],
        ["abstain", "present"],
        ["present", "present"],
    ]
    with pytest.raises(EvaluationError):
        answers(sets, np.array([[0.5]]))


@pytest.mark.parametrize("coverage", [0, 1, -0.1, 90, NAN])
def test_a_coverage_that_is_none(coverage: float) -> None:
    with pytest.raises(EvaluationError) as caught:
        fit_conformal(sample_of([0.1, 0.9], [0, 1]), coverage)
    assert caught.value.code == Code.EVALUATION_INVALID


# promises


def hospital(random: np.random.Generator, patients: int) -> Sample:
    """Patients with 1 to 6 images that are alike, sicker ones with more; three findings, some labels unknown."""
    many = 1 + random.integers(0, 6, patients)
    ill = random.random((patients, 3)) < np.array([0.3, 0.2, 0.1]) * (0.5 + many / 4)[:, None]
    own = random.normal(0, 1, (patients, 3)) + 1.5 * ill - 1.5
    of = np.repeat(np.arange(patients), many)
    scores = 1 / (1 + np.exp(-own[of] - random.normal(0, 0.5, (of.size, 3))))
    labels = np.where(random.random((of.size, 3)) < 0.1, NAN, ill[of].astype(float))
    return sample_of(scores, labels, of)


def test_promises_are_kept_on_average() -> None:
    """200 validation sets of 60 patients, judged on one patient more each: coverage is at least what was promised."""
    random = np.random.default_rng(0)
    kept: dict[str, list[float]] = {"present": [], "absent": [], "set": []}
    images: dict[str, list[float]] = {"present": [], "absent": []}
    for _ in range(200):
        sets, new = fit_conformal(hospital(random, 60), 0.8), hospital(random, 20)
        given, inside = answers(sets, new.scores), findings_in_set(sets, new.scores)
        for column, (label, wrong) in itertools.product(range(3), ((1, "absent"), (0, "present"))):
            there = new.labels[:, column] == label
            right = pd.Series((given[there, column] != wrong).astype(float)).groupby(new.patients[there]).mean()
            kept["present" if label else "absent"] += right.tolist()
            images["present" if label else "absent"] += (given[there, column] != wrong).tolist()
        has = new.labels == 1
        ill = has.any(1)
        whole = pd.Series((~(has & ~inside).any(1)[ill]).astype(float)).groupby(new.patients[ill]).mean()
        kept["set"] += whole.tolist()
    means = [np.mean(values) for values in (*kept.values(), *images.values())]
    assert all(0.79 < mean < 0.87 for mean in means), means


# stored and read


def test_what_is_stored_comes_back() -> None:
    sets = fit_conformal(hospital(np.random.default_rng(0), 100), 0.9)
    assert ConformalSets.from_json(json.loads(json.dumps(sets.to_json(), allow_nan=False))) == sets


GOOD = {
    "coverage": 0.9,
    "findings": {"A": {"present": 0.2, "absent": 0.5, "positive_patients": 20, "negative_patients": 90}},
    "set": {"threshold": 0.1, "patients": 20},
}


def test_the_form_that_is_read() -> None:
    assert ConformalSets.from_json(GOOD).to_json() == GOOD


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("coverage", {"coverage": 1.5}),
        ("coverage", {"coverage": "0.9"}),
        ("coverage", {"coverage": NAN}),
        ("coverage", {"coverage": None}),
        ("findings", {"findings": []}),
        ("findings", {"findings": None}),
        ("findings", {"findings": {"A": 0.5}}),
        ("set", {"set": {}}),
        ("set", {"set": {"threshold": -0.1, "patients": 3}}),
        ("set", {"set": {"threshold": NAN, "patients": 3}}),
        ("set", {"set": {"threshold": 0.1, "patients": 3.5}}),
        ("set", {"set": {"threshold": 0.1, "patients": -1}}),
        ("A", {"present": 0.6}),  # above absent
        ("A", {"present": NAN}),
        ("A", {"present": "0.1"}),
        ("A", {"absent": 1.2}),
        ("A", {"absent": True}),
        ("A", {"positive_patients": None}),
        ("A", {"positive_patients": True}),
        ("A", {"negative_patients": -2}),
    ],
)
def test_what_are_no_sets(part: str, change: dict) -> None:
    content = json.loads(json.dumps(GOOD))
    (content["findings"]["A"] if part == "A" else content).update(change)
    with pytest.raises(EvaluationError) as caught:
        ConformalSets.from_json(content)
    assert caught.value.code == Code.CALIBRATION_INVALID
    for name in GOOD:
        with pytest.raises(EvaluationError):
            ConformalSets.from_json({key: value for key, value in GOOD.items() if key != name})
    with pytest.raises(EvaluationError):
        ConformalSets.from_json(None)


# the table


def test_table_by_hand() -> None:
    sets = ConformalSets(0.9, ("F0", "F1"), (0.3, 0.4), (0.6, 0.4), 0.35, (10, 10), (10, 10), 20)
    #        patient 0: two images of F0, one missed     1      2     3: nothing known of F0
    scores = np.array([[0.2, 0.5], [0.5, 0.5], [0.7, 0.1], [0.8, 0.3], [0.1, 0.9]])
    labels = np.array([[1.0, 1.0], [1.0, NAN], [1.0, 0.0], [0.0, 0.0], [NAN, 1.0]])
    sample = sample_of(scores, labels, np.array([0, 0, 1, 2, 3]))
    table = conformal_table(sample, sets, PatientBootstrap(sample.patients, 200, 0))
    assert table["finding"].tolist() == ["F0", "F1", "set"]
    assert (table["promised"] == 0.9).all()
    assert table["images"].tolist() == [4, 4, 5]
    assert table["positives"].tolist() == [3, 2, 4]
    # F0: absent, abstain, present, present, absent. F1: present, present, absent, absent, present
    assert table["reached_positives"].tolist() == pytest.approx([(0.5 + 1) / 2, 1, (0.5 + 1 + 1) / 3])
    assert table["reached_positives_by_image"].tolist() == pytest.approx([2 / 3, 1, 3 / 4])
    assert table["reached_negatives"].tolist() == pytest.approx([0, 1, NAN], nan_ok=True)
    assert table["reached"].tolist() == pytest.approx([(0.5 + 1 + 0) / 3, 1, (0.5 + 1 + 1 + 1) / 4])
    assert table["abstained"].tolist() == pytest.approx([1 / 5, 0, NAN], nan_ok=True)
    assert table["present"].tolist() == pytest.approx([2 / 5, 3 / 5, NAN], nan_ok=True)
    assert table["absent"].tolist() == pytest.approx([2 / 5, 2 / 5, NAN], nan_ok=True)
    assert table["present_right"].tolist() == pytest.approx([1 / 2, 1, NAN], nan_ok=True)
    assert table["absent_right"].tolist() == pytest.approx([0, 1, NAN], nan_ok=True)
    assert table["mean_size"].tolist() == pytest.approx([NAN, NAN, (1 + 2 + 1 + 1 + 1) / 5], nan_ok=True)
    assert table["reached_positives_patient_high"][1] == 1
    assert table["reached_positives_patient_low"][1] == pytest.approx(float(wilson(2, 2)[0]))


def test_table_on_other_patients_keeps_its_promise() -> None:
    random = np.random.default_rng(1)
    sets, new = fit_conformal(hospital(random, 2000), 0.9), hospital(random, 2000)
    table = conformal_table(new, sets, PatientBootstrap(new.patients, 200, 0))
    for name in ("reached_positives", "reached_negatives", "reached"):
        rows = table.dropna(subset=[name])
        assert ((rows[f"{name}_patient_low"] <= rows[name]) & (rows[name] <= rows[f"{name}_patient_high"])).all()
    for name in ("reached_positives", "reached_negatives"):
        by_patient, by_image = table[name][:3], table[f"{name}_by_image"][:3]
        assert by_patient.between(0.87, 0.96).all()
        assert by_image.between(0.87, 0.96).all()
        assert np.minimum(by_patient, by_image).between(0.87, 0.93).all()  # one of the two is what sets the threshold
    assert (table[["abstained", "present", "absent"]][:3].sum(axis=1) - 1).abs().max() < 1e-12
    row = table.iloc[3]
    assert 0 < row["mean_size_patient_low"] < row["mean_size"] < row["mean_size_patient_high"] < 3
    part = Sample.of(new.table, new.findings[1:], new.scores[:, 1:], new.labels[:, 1:])  # fewer findings, by name
    fewer = conformal_table(part, sets, PatientBootstrap(new.patients, 200, 0))
    pd.testing.assert_frame_equal(fewer[:2], table[1:3].reset_index(drop=True))


def test_table_without_any_label() -> None:
    sets = fit_conformal(hospital(np.random.default_rng(0), 100), 0.9)
    sample = sample_of(np.full((4, 3), 0.5), np.full((4, 3), NAN))
    table = conformal_table(sample, sets, PatientBootstrap(sample.patients, 50, 0))
    reached = [name for name in table if name.startswith("reached") or "right" in name]
    assert table[reached].isna().all(axis=None)
    assert table["images"].tolist() == [0, 0, 0, 0]


def test_table_of_other_findings() -> None:
    sets = ConformalSets(0.9, ("Mass",), (0.3,), (0.6,), 0.35, (10,), (10,), 20)
    sample = sample_of([0.1, 0.9], [0, 1])
    with pytest.raises(EvaluationError) as caught:
        conformal_table(sample, sets, PatientBootstrap(sample.patients, 10, 0))
    assert caught.value.code == Code.UNKNOWN_FINDING


# abstention


def test_curve_by_hand() -> None:
    # on the logit scale from 1/2: 0.95 and 0.05 are equally sure, then 0.8, then 0.4
    scores, labels = np.array([0.95, 0.05, 0.8, 0.4, 0.99]), np.array([1.0, 1.0, 0.0, 0.0, NAN])
    table = risk_coverage(scores, labels, 0.5)
    assert table["share_answered"].tolist() == [0.5, 0.75, 1]
    assert table["error_rate"].tolist() == pytest.approx([1 / 2, 2 / 3, 2 / 4])
    assert table["sensitivity"].tolist() == pytest.approx([1 / 2, 1 / 2, 1 / 2])
    assert table["specificity"].tolist() == pytest.approx([NAN, 0, 1 / 2], nan_ok=True)
    # in either order the first of two has half an error
    assert risk_coverage_area(scores, labels, 0.5) == pytest.approx((1 / 2 + 1 / 2 + 2 / 3 + 1 / 2) / 4)


def test_area_is_that_of_every_order_on_average() -> None:
    scores, labels = np.array([0.9, 0.9, 0.9, 0.2, 0.2]), np.array([1, 0, 0, 1, 0])
    distance = np.abs(np.log(scores / (1 - scores)))
    areas = []
    for order in itertools.permutations(range(5)):
        if all(distance[a] >= distance[b] - 1e-12 for a, b in itertools.pairwise(order)):
            wrong = (scores >= 0.5) != (labels == 1)
            areas.append(np.mean(np.cumsum(wrong[list(order)]) / np.arange(1, 6)))
    assert len(areas) == 12
    assert risk_coverage_area(scores, labels.astype(float), 0.5) == pytest.approx(np.mean(areas))


def test_the_threshold_moves_what_is_certain() -> None:
    scores, labels = np.array([0.1, 0.5, 0.9]), np.array([0.0, 0.0, 1.0])
    assert risk_coverage(scores, labels, 0.1)["specificity"].isna().tolist() == [True, False, False]
    assert risk_coverage(scores, labels, 0.9)["sensitivity"].isna().tolist() == [True, True, False]


@pytest.mark.parametrize("rows", [1, 7, 100])
def test_rows_are_thinned_and_end_at_everyone(rows: int) -> None:
    random = np.random.default_rng(0)
    scores, labels = random.random(3000), (random.random(3000) < 0.3).astype(float)
    whole, thin = risk_coverage(scores, labels, 0.4, 5000), risk_coverage(scores, labels, 0.4, rows)
    assert len(thin) <= rows
    assert len(whole) == 3000
    assert thin["share_answered"].iloc[-1] == 1
    assert thin["share_answered"].is_monotonic_increasing
    pd.testing.assert_frame_equal(
        thin, whole[whole["share_answered"].isin(thin["share_answered"])].reset_index(drop=True)
    )
    assert risk_coverage_area(scores, labels, 0.4) == pytest.approx(whole["error_rate"].mean())


@pytest.mark.parametrize(("labels", "threshold"), [([NAN, NAN], 0.5), ([0.0, 1.0], NAN), ([], 0.5)])
def test_no_curve(labels: list[float], threshold: float) -> None:
    scores = np.linspace(0.2, 0.8, len(labels))
    table = risk_coverage(scores, np.array(labels), threshold)
    assert len(table) == 0
    assert table.columns.tolist() == ["share_answered", "error_rate", "sensitivity", "specificity"]
    assert math.isnan(risk_coverage_area(scores, np.array(labels), threshold))
