"""One map against its boxes, by hand; the controls; the choice of thresholds; tables with intervals."""

import math

import numpy as np
import pytest
from scipy import ndimage

from cxr_monai.attribution.localisation import (
    POOLED_FINDINGS,
    centre_boxes,
    centre_map,
    choose_map_thresholds,
    coverage,
    detected_boxes,
    overlaps,
    raster,
    score,
)
from cxr_monai.attribution.localisation_tables import (
    SCORES,
    ScoredCases,
    localisation_tables,
    paired_difference,
    score_row,
)
from cxr_monai.errors import EvaluationError
from cxr_monai.evaluation.proportions import wilson

HEAT = np.array([
    [0, 0, 0, 0, 0, 0, 0, 8],
    [0, 2, 4, 0, 0, 0, 0, 0],
    [0, 4, 10, 6, 0, 0, 0, 0],
    [0, 0, 0, 0, 5, 0, 0, 0],
], dtype=np.float32)  # fmt: skip
"""4 by 8; the part that holds the maximum touches the 5 by a corner, and not the 8."""


def box(left: float, top: float, right: float, bottom: float) -> list[float]:
    """Pixels of HEAT to shares."""
    return [left / 8, top / 4, right / 8, bottom / 4]


def test_by_hand() -> None:
    # cut at 0.4: 4, 4, 10, 6, 5 and apart the 8: columns 1 to 4, rows 1 to 3; at 0.6: 10, 6; at 1: the pixel alone
    scores = score(HEAT, np.array([box(1, 1, 4, 3)]), [0.4, 0.6, 1.0])
    np.testing.assert_allclose(scores.detected, [box(1, 1, 5, 4), box(2, 2, 4, 3), box(2, 2, 3, 3)])
    np.testing.assert_allclose(scores.iou, [6 / 12, 2 / 6, 1 / 6])
    np.testing.assert_allclose(scores.iobb, [6 / 12, 1, 1])
    assert scores.pointing == 1
    assert scores.energy == pytest.approx(26 / 39)


def test_a_box_that_cuts_pixels_has_its_part_of_their_energy() -> None:
    scores = score(HEAT, np.array([box(1.5, 1, 2.25, 2.5)]), [0.5])
    assert scores.energy == pytest.approx((0.5 * 2 + 0.25 * 4 + 0.5 * (0.5 * 4 + 0.25 * 10)) / 39)


def test_whole_numbers_and_several_boxes_have_the_same_energy_as_one() -> None:
    cut = box(1.5, 1, 2.25, 2.5)
    expected = score(HEAT, np.array([cut]), [0.5]).energy
    assert score(HEAT.astype(int), np.array([cut]), [0.5]).energy == pytest.approx(expected)
    assert score(HEAT, np.array([cut, cut]), [0.5]).energy == pytest.approx(expected)


@pytest.mark.parametrize(
    ("boxes", "tolerance", "hit"),
    [
        ([box(2, 2, 3, 3)], 0, 1),
        ([box(2.6, 2, 3.6, 3)], 0, 0),  # the pixel's middle counts, not its area
        ([box(0, 0, 1, 1), box(2, 2, 3, 3)], 0, 1),  # any box does
        ([box(3, 2, 4, 3)], 0, 0),
        ([box(3, 2, 4, 3)], 63.9, 0),  # half a pixel of 8 is 64 of 1,024
        ([box(3, 2, 4, 3)], 64, 1),
        ([box(3, 3, 4, 4)], 90.4, 0),  # to the corner it is as far as the diagonal
        ([box(3, 3, 4, 4)], 90.6, 1),
    ],
)
def test_pointing(boxes: list[list[float]], tolerance: float, hit: float) -> None:
    assert score(HEAT, np.array(boxes), [0.5], tolerance).pointing == hit


def test_several_largest_points_hit_by_their_share() -> None:
    heat = np.zeros((4, 8))
    heat[1, [1, 2, 6, 7]] = 3
    assert score(heat, np.array([box(0, 0, 2, 4)]), [0.5]).pointing == 0.25
    np.testing.assert_allclose(score(heat, np.array([box(0, 0, 2, 4)]), [0.5]).detected, [box(1, 1, 3, 2)])
    assert score(np.ones((4, 8)), np.array([box(0, 0, 2, 2)]), [0.5]).pointing == 4 / 32


def test_several_boxes_are_one_case_and_the_best_counts() -> None:
    boxes = np.array([box(1, 1, 4, 3), box(2, 2, 4, 3), box(6, 0, 8, 1)])
    scores = score(HEAT, boxes, [0.6])
    assert scores.iou[0] == pytest.approx(1)
    assert scores.energy == pytest.approx((26 + 8) / 39)  # the union: nothing counts twice


def test_iou_and_iobb_may_be_best_with_different_boxes() -> None:
    detected = np.array([[0.2, 0.2, 0.4, 0.4]])
    boxes = np.array([[0.1, 0.1, 0.9, 0.9], [0.22, 0.22, 0.4, 0.4]])
    iou, iobb = overlaps(detected, boxes)
    assert iou[0] == pytest.approx(0.81)
    assert iobb[0] == pytest.approx(1)
    assert [float(each[0]) for each in overlaps(detected, boxes[:1])] == pytest.approx([0.04 / 0.64, 1])
    assert [float(each[0]) for each in overlaps(detected, np.array([[0.5, 0.5, 1, 1]]))] == [0, 0]


def test_an_empty_map_points_nowhere() -> None:
    scores = score(np.zeros((4, 8)), np.array([box(0, 0, 8, 4)]), [0.3, 0.5])
    assert (scores.pointing, scores.energy) == (0, 0)
    np.testing.assert_array_equal([scores.iou, scores.iobb], np.zeros((2, 2)))
    assert np.isnan(scores.detected).all()


def test_detected_boxes_are_those_of_plain_labelling_in_any_order_of_thresholds() -> None:
    random = np.random.default_rng(0)
    shares = [0.7, 0.1, 0.95, 0.3, 0.5]
    for _ in range(30):
        heat = ndimage.zoom(random.random((5, 7)), 6, order=1, grid_mode=True, mode="nearest")
        expected = []
        for share in shares:
            parts, _ = ndimage.label(heat >= share * heat.max(), np.ones((3, 3)))
            rows, columns = np.nonzero(parts == parts.flat[heat.argmax()])
            edges = columns.min() / 42, rows.min() / 30, (columns.max() + 1) / 42, (rows.max() + 1) / 30
            expected.append(edges)
        np.testing.assert_array_equal(detected_boxes(heat, shares), expected)


def test_scores_do_not_depend_on_the_maps_unit() -> None:
    random = np.random.default_rng(1)
    heat, boxes = random.random((20, 30)), np.array([[0.2, 0.3, 0.6, 0.7]])
    first, second = score(heat, boxes), score(heat * 1e-6, boxes)
    assert first.energy == pytest.approx(second.energy)
    np.testing.assert_allclose(first.detected, second.detected)


@pytest.mark.parametrize(
    ("heat", "boxes", "shares"),
    [
        (np.array([[1.0, -0.1]]), [[0, 0, 1, 1]], [0.5]),
        (np.array([[1.0, np.nan]]), [[0, 0, 1, 1]], [0.5]),
        (np.ones((2, 2, 2)), [[0, 0, 1, 1]], [0.5]),
        (np.ones((2, 2)), np.zeros((0, 4)), [0.5]),
        (np.ones((2, 2)), [[0, 0, 1, 1]], [0.5, 0]),
        (np.ones((2, 2)), [[0, 0, 1, 1]], [1.1]),
    ],
)
def test_what_cannot_be_scored(heat: np.ndarray, boxes: list, shares: list[float]) -> None:
    with pytest.raises(EvaluationError):
        score(heat, np.array(boxes), shares)


@pytest.mark.parametrize(
    ("height", "width", "shape"),
    [(1024, 1024, (256, 256)), (2000, 1000, (256, 128)), (100, 200, (100, 200)), (3, 4000, (1, 256))],
)
def test_the_raster_keeps_the_images_form_and_never_enlarges(height: int, width: int, shape: tuple[int, int]) -> None:
    assert raster(height, width) == shape


def test_coverage_is_exact() -> None:
    boxes = np.array([[0.1, 0.25, 0.65, 0.9], [0.3, 0.0, 0.35, 1.0]])
    covered = coverage(boxes[:1], (4, 5))
    assert covered.sum() / 20 == pytest.approx(0.55 * 0.65)
    assert covered[1].tolist() == pytest.approx([0.5, 1, 1, 0.25, 0])
    assert coverage(boxes, (4, 5)).max() <= 1


def test_the_centre_map_is_the_mean_of_the_masks() -> None:
    boxes = np.array([[0, 0, 0.5, 0.5], [0.25, 0, 0.75, 1]])
    expected = (coverage(boxes[:1], (4, 4)) + coverage(boxes[1:], (4, 4))) / 2
    np.testing.assert_allclose(centre_map(boxes, (4, 4)), expected)
    by_case = {("a", "Mass"): boxes[:1], ("b", "Mass"): boxes[1:], ("a", "Nodule"): boxes[1:]}
    np.testing.assert_array_equal(centre_boxes(by_case, "Mass"), boxes)
    assert len(centre_boxes(by_case, "Hernia")) == 3  # of all findings where it has none


def test_each_finding_has_the_threshold_that_is_best_for_it_and_rare_ones_that_of_all() -> None:
    findings = ["Mass"] * 10 + ["Nodule"] * 9
    iou = np.array([[0.1, 0.3, 0.3]] * 10 + [[0.9, 0.1, 0.2]] * 9)
    chosen = choose_map_thresholds(iou, findings, ["Mass", "Nodule", "Hernia"], (0.2, 0.5, 0.8))
    # all together: (1 + 8.1) / 19, (3 + 0.9) / 19, (3 + 1.8) / 19
    assert chosen == {"Mass": (0.5, "Mass"), "Nodule": (0.2, POOLED_FINDINGS), "Hernia": (0.2, POOLED_FINDINGS)}
    with pytest.raises(EvaluationError, match="no case"):
        choose_map_thresholds(np.zeros((0, 3)), [], ["Mass"], (0.2, 0.5, 0.8))


def test_values_of_a_case() -> None:
    scores = score(HEAT, np.array([box(1, 1, 4, 3)]), [0.4, 0.6])
    values = dict(zip(SCORES, score_row(scores, 0), strict=True))
    assert values["iou"] == 0.5
    assert values["iou_above_0.4"] == 1
    assert values["iou_above_0.5"] == 0  # 0.5 is not above 0.5
    assert values["iobb_above_0.5"] == 0
    assert dict(zip(SCORES, score_row(scores, 1), strict=True))["iobb_above_0.9"] == 1


def made(values: np.ndarray, channels: np.ndarray, patients: np.ndarray, findings: tuple[str, ...]) -> ScoredCases:
    """Cases with pointing and energy given, ``[N, M, 2]``; the other scores are 0."""
    full = np.zeros((*values.shape[:2], len(SCORES)))
    full[..., 0], full[..., SCORES.index("energy")] = values[..., 0], values[..., 1]
    return ScoredCases(findings, channels, patients, ("cam", "random", "centre")[: values.shape[1]], full)


def cases(count: int, seed: int = 0, findings: int = 2) -> ScoredCases:
    random = np.random.default_rng(seed)
    channels = np.repeat(np.arange(findings), count)
    hits = random.random((count * findings, 3)) < np.array([0.8, 0.1, 0.4])
    values = np.stack([hits.astype(float), np.clip(hits * 0.5 + random.random(hits.shape) * 0.4, 0, 1)], axis=-1)
    return made(values, channels, random.permutation(count * findings) // 2, ("Mass", "Nodule")[:findings])


def test_figures_and_their_mean_are_macro() -> None:
    values = np.zeros((18, 1, 2))
    values[:6, 0] = (1, 0.6)
    values[6:9, 0] = (1, 0.2)
    tables = localisation_tables(made(values, np.repeat([0, 1], [6, 12]), np.arange(18), ("Mass", "Nodule")), 200)
    table = tables.scores.set_index("finding")
    assert table["pointing"].tolist() == [1, 0.25, 0.625]  # not 9 of 18
    assert table["energy"].tolist() == pytest.approx([0.6, 0.05, 0.325])
    assert table["cases"].tolist() == [6, 12, 18]
    assert tables.in_mean == ("Mass", "Nodule")
    assert tables.gains.empty


def test_shares_of_single_images_have_wilsons_interval() -> None:
    values = np.zeros((40, 1, 2))
    values[:30, 0, 0] = 1
    table = localisation_tables(made(values, np.zeros(40, int), np.arange(40), ("Mass",)), 500).scores
    low, high = wilson(30, 40)
    assert table.loc[0, ["pointing_low", "pointing_high"]].tolist() == pytest.approx([float(low), float(high)])
    assert table.loc[1, ["pointing_low", "pointing_high"]].tolist() == pytest.approx([float(low), float(high)])


def test_the_mean_rests_on_its_smallest_finding() -> None:
    values = np.ones((206, 1, 2))
    table = localisation_tables(
        made(values, np.repeat([0, 1], [6, 200]), np.arange(206), ("Mass", "Nodule")), 50
    ).scores
    worth = 2**2 / (1 / 6 + 1 / 200)  # Kish's number, each finding weighing the same; 206 if each case did
    assert table["pointing_low"].iloc[-1] == pytest.approx(float(wilson(worth, worth)[0]))


def test_images_of_one_patient_are_no_independent_evidence() -> None:
    values = np.zeros((60, 1, 2))
    values[:45, 0] = (1, 0.7)
    apart = localisation_tables(made(values, np.zeros(60, int), np.arange(60), ("Mass",)), 500).scores.iloc[0]
    alike = localisation_tables(made(values, np.zeros(60, int), np.arange(60) // 5, ("Mass",)), 500).scores.iloc[0]
    for figure in ("pointing", "energy"):
        wider = (alike[f"{figure}_high"] - alike[f"{figure}_low"]) / (apart[f"{figure}_high"] - apart[f"{figure}_low"])
        assert wider > 1.7


def test_all_alike_has_an_interval_of_some_width() -> None:
    values = np.zeros((12, 2, 2))
    values[:, 0, 0] = 1
    scored = made(values, np.zeros(12, int), np.arange(12), ("Mass",))
    tables = localisation_tables(scored, 200)
    gain = tables.gains[(tables.gains["finding"] == "Mass") & (tables.gains["score"] == "pointing")].iloc[0]
    low, high = wilson(12, 12)[0], wilson(0, 12)[1]
    assert gain["gain"] == 1
    assert gain["low"] == pytest.approx(1 - math.hypot(1 - low, high))  # Newcombe's, uncorrelated
    assert gain["high"] == 1


def test_gains_are_paired() -> None:
    random = np.random.default_rng(3)
    values = np.zeros((50, 2, 2))
    values[:, 0, 1] = random.random(50) * 0.8
    values[:, 1, 1] = values[:, 0, 1] + 0.05  # always a little better: certain, though both spread widely
    values[:, :, 0] = (random.random(50) < 0.5)[:, None]
    tables = localisation_tables(made(values, np.zeros(50, int), np.arange(50), ("Mass",)), 300)
    gains = tables.gains[tables.gains["finding"] == "Mass"].set_index("score")
    assert gains.loc["energy", ["gain", "low", "high"]].tolist() == pytest.approx([-0.05] * 3)
    assert gains.loc["pointing", "gain"] == 0
    assert gains.loc["pointing", "high"] < 0.05  # the same hits; unpaired it would be 0.19
    assert gains.loc["pointing", "low"] > -0.05


def test_few_patients_have_no_interval_of_means_and_no_part_in_the_mean() -> None:
    values = np.random.default_rng(0).random((25, 2, 2))
    values[..., 0] = values[..., 0] > 0.5
    channels, patients = np.repeat([0, 1], [20, 5]), np.append(np.arange(20), np.arange(5))
    tables = localisation_tables(made(values, channels, patients, ("Mass", "Hernia")), 200)
    assert tables.in_mean == ("Mass",)
    by = tables.scores[tables.scores["map"] == "cam"].set_index("finding")
    assert np.isnan(by.loc["Hernia", ["energy_low", "energy_high"]].astype(float)).all()
    assert by.loc["Hernia", "pointing_low"] < by.loc["Hernia", "pointing"] < by.loc["Hernia", "pointing_high"]
    assert by.loc["mean", "pointing"] == by.loc["Mass", "pointing"]
    assert by.loc["mean", "cases"] == 20
    assert tables.gains[tables.gains["finding"] == "Hernia"][["low", "high"]].isna().all(axis=None)
    assert tables.gains[tables.gains["finding"] == "Mass"][["low", "high"]].notna().all(axis=None)


def test_nothing_but_few() -> None:
    values = np.ones((3, 2, 2))
    tables = localisation_tables(made(values, np.zeros(3, int), np.arange(3), ("Mass",)), 50)
    assert tables.in_mean == ()
    assert np.isnan(tables.scores.set_index("finding").loc["mean", "pointing"].astype(float)).all()


def test_the_same_seed_gives_the_same_and_rows_may_come_in_any_order() -> None:
    scored = cases(30)
    order = np.random.default_rng(9).permutation(60)
    again = ScoredCases(
        scored.findings, scored.channels[order], scored.patients[order], scored.maps, scored.values[order]
    )
    first, second = localisation_tables(scored, 100, seed=4), localisation_tables(again, 100, seed=4)
    for ours, theirs in ((first.scores, second.scores), (first.gains, second.gains)):
        numbers = ours.select_dtypes("number")
        np.testing.assert_allclose(numbers, theirs[numbers.columns], atol=1e-12)


@pytest.mark.parametrize("level", [0.0, 1.0, 95])
def test_a_level_that_is_none(level: float) -> None:
    with pytest.raises(EvaluationError):
        localisation_tables(cases(10), 10, level)


def test_newcombes_own_example() -> None:
    """Newcombe 1998, table II: of 50 pairs 36 both, 12 the first alone, 2 the second alone; method 10."""
    first, second = (tuple(np.array(end) for end in (hits / 50, *wilson(hits, 50))) for hits in (48, 38))
    phi = (36 * 0 - 12 * 2) / math.sqrt(48 * 2 * 38 * 12)
    low, high = paired_difference(first, second, phi)
    assert (float(low), float(high)) == pytest.approx((0.0569, 0.3404), abs=5e-5)


def test_intervals_hold_the_truth() -> None:
    """80 samples of 2 findings with 12 patients each of one or two images; all four kinds of interval together."""
    random = np.random.default_rng(2)
    inside = []
    for sample in range(80):
        patients = np.repeat(np.arange(24), random.integers(1, 3, 24))
        own = np.stack([random.beta(4 * p, 4 * (1 - p), 24) for p in (0.9, 0.4)], axis=1)[patients]
        values = np.stack([(random.random(own.shape) < own).astype(float), own * 0.6], axis=-1)
        tables = localisation_tables(
            made(values, (patients >= 12).astype(int), patients, ("Mass", "Nodule")), 120, seed=sample
        )
        row = tables.scores[(tables.scores["finding"] == "mean") & (tables.scores["map"] == "cam")].iloc[0]
        gain = tables.gains[tables.gains["finding"] == "mean"].set_index("score")
        inside.append([
            row["pointing_low"] <= 0.9 <= row["pointing_high"],
            row["energy_low"] <= 0.54 <= row["energy_high"],
            gain.loc["pointing", "low"] <= 0.5 <= gain.loc["pointing", "high"],
            gain.loc["energy", "low"] <= 0.3 <= gain.loc["energy", "high"],
        ])  # fmt: skip
    share = np.mean(inside, axis=0)
    assert (share >= 0.87).all(), share
    assert (share < 1).any(), share
