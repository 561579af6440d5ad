"""A gate fitted on small phantoms: what it refuses, why, and that it keeps its promise."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from cxr_monai.data.phantom import draw_phantom
from cxr_monai.errors import Code, GateError
from cxr_monai.gate.alterations import ALTERATIONS
from cxr_monai.gate.answer import GateVerdict
from cxr_monai.gate.film_observer import FilmObserver
from cxr_monai.gate.fitted_gate import AP_VIEW, CHILD, FittedGate, score_inputs
from cxr_monai.gate.fitting import GateMaterial, conformal_limit, fit_gate
from cxr_monai.gate.judging import judge_films
from cxr_monai.gate.observation import edge_directions, mirrored_edges, observe

SIZE, ADULTS, CHILDREN, OTHERS = 64, 130, 20, 40


def film(patient: int, age: float = 50) -> np.ndarray:
    view, sex = ("PA", "AP")[patient % 2], ("F", "M")[patient % 3 % 2]
    pixels = draw_phantom(0, SIZE, patient=patient, age=age, sex=sex, view=view, by_age=True).pixels
    return (np.rint(pixels * 255) / 255).astype(np.float32)


@pytest.fixture(scope="module")
def others() -> list[np.ndarray]:
    """Films of patients that the gate was not fitted on."""
    return [film(1000 + patient) for patient in range(OTHERS)]


@pytest.fixture(scope="module")
def material() -> GateMaterial:
    films = [film(patient) for patient in range(ADULTS)] + [film(500 + patient, 3) for patient in range(CHILDREN)]
    observed = [FilmObserver(with_alterations=True)({"image_plane": plane[None]}) for plane in films]
    is_child = np.arange(ADULTS + CHILDREN) >= ADULTS
    features = np.random.default_rng(0).normal(size=(len(films), 8)).astype(np.float32)
    return GateMaterial(
        np.stack([entry["observation"].numpy() for entry in observed]),
        np.stack([entry["altered"].numpy() for entry in observed]),
        features,
        np.arange(len(films)).astype(str),
        np.ones(len(films), dtype=bool),
        ~is_child,
        {CHILD: is_child, AP_VIEW: np.arange(len(films)) % 2 == 1},
    )


@pytest.fixture(scope="module")
def gate(material: GateMaterial) -> FittedGate:
    return fit_gate(material, ("features",))


def reasons(gate: FittedGate, films: list[np.ndarray]) -> Counter[str]:
    """Count the codes of refused and reviewed films; ``accept`` of the others."""
    observations = np.stack([observe(np.ascontiguousarray(plane, dtype=np.float32)) for plane in films])
    answers = judge_films(gate, observations, gate.scores(observations))
    return Counter(str(answer.code or GateVerdict.ACCEPT) for answer in answers)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("inverted", Code.GATE_INVERTED),
        ("turned by 90 degrees", Code.GATE_ROTATED),
        ("turned by 180 degrees", Code.GATE_ROTATED),
        ("turned by 180 degrees, mirrored", Code.GATE_ROTATED),
        ("tilted to the left", Code.GATE_ROTATED),
        ("mirrored", Code.GATE_MIRRORED),
        ("the upper half alone", Code.GATE_CROPPED),
        ("the left half alone", Code.GATE_CROPPED),
        ("much blurred", Code.GATE_BLURRED),
        ("too bright", Code.GATE_CLIPPED),
    ],
)
def test_what_was_done_to_a_film_is_told(gate: FittedGate, others: list[np.ndarray], name: str, code: Code) -> None:
    alteration = next(alteration for alteration in ALTERATIONS if alteration.name == name)
    told = reasons(gate, [alteration.of(plane) for plane in others])
    assert told[str(code)] >= 0.8 * OTHERS, told


def test_good_films_of_other_patients_pass(gate: FittedGate, others: list[np.ndarray]) -> None:
    assert reasons(gate, others)[GateVerdict.ACCEPT] >= 0.85 * OTHERS  # of 5 % to be reviewed


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random((SIZE, SIZE))


def nearly_black(seed: int) -> np.ndarray:
    return noise(seed) / 50


def stripes(seed: int) -> np.ndarray:
    return np.tile(np.sin(np.arange(SIZE) * (0.2 + seed / 20)) / 2 + 0.5, (SIZE, 1))


@pytest.mark.parametrize("draw", [noise, nearly_black, stripes])
def test_other_pictures_are_refused_without_an_absurd_reason(
    gate: FittedGate, draw: Callable[[int], np.ndarray]
) -> None:
    told = reasons(gate, [draw(seed) for seed in range(10)])
    assert set(told) <= {str(Code.GATE_NOT_A_RADIOGRAPH), str(Code.GATE_UNLIKE_TRAINING)}, told


def test_children_are_told_from_adults(gate: FittedGate, others: list[np.ndarray]) -> None:
    children = np.stack([observe(film(2000 + patient, 3)) for patient in range(20)])
    adults = np.stack([observe(plane) for plane in others])
    assert np.median(gate.scores(children)[CHILD]) > np.quantile(gate.scores(adults)[CHILD], 0.95)


def test_of_the_same_films_it_is_the_same(gate: FittedGate, material: GateMaterial) -> None:
    again = fit_gate(material, ("features",))
    assert again.limits == gate.limits
    np.testing.assert_array_equal(again.heads["alteration"].weights, gate.heads["alteration"].weights)


def test_nothing_of_a_single_film_is_stored(gate: FittedGate, material: GateMaterial) -> None:
    parts = [*gate.distances.values(), *gate.heads.values(), gate.likeness]
    arrays = [array for part in parts if part is not None for array in part.tensors().values()]
    assert not [array.shape for array in arrays if len(material.observations) in array.shape]
    # no row is a film: neither as it was observed nor as deviations from the mean
    for inputs in (inputs for inputs in score_inputs(material.observations).values() if inputs.shape[1] > 200):
        films = inputs - inputs.mean(0)
        films /= np.linalg.norm(films, axis=1, keepdims=True) + 1e-9
        for array in arrays:
            rows = [matrix for matrix in (array, array.T) if array.ndim == 2 and matrix.shape[1] == films.shape[1]]
            for matrix in rows:
                directions = matrix / (np.linalg.norm(matrix, axis=1, keepdims=True) + 1e-9)
                assert np.abs(directions @ films.T).max() < 0.9


def test_a_film_between_two_limits_is_reviewed(gate: FittedGate, others: list[np.ndarray]) -> None:
    observations = np.stack([observe(plane) for plane in others])
    scores = gate.scores(observations)
    verdicts = [answer.verdict for answer in judge_films(gate, observations, scores)]
    worst = gate.worst(scores)
    for verdict, value in zip(verdicts, worst, strict=True):
        expected = GateVerdict.ACCEPT if value <= gate.limits["review"] else GateVerdict.REVIEW
        assert verdict == (GateVerdict.REFUSE if value > gate.limits["refuse"] else expected)


@pytest.mark.parametrize("films", [10, 12])
def test_an_attribute_of_too_few_films_for_every_fold_has_no_classifier(material: GateMaterial, films: int) -> None:
    few = fit_gate(material.take(np.r_[0:60, ADULTS : ADULTS + films]))
    assert CHILD not in few.heads  # scored on some folds alone it could not be limited
    assert set(few.scales) == {*few.heads, *few.distances}
    few.scores(material.observations)


def test_a_score_that_is_no_number_never_passes(gate: FittedGate, others: list[np.ndarray]) -> None:
    """As of a network whose features overflow."""
    observations = np.stack([observe(plane) for plane in others])
    answers = judge_films(gate, observations, gate.scores(observations, np.full((OTHERS, 8), np.nan, dtype="f4")))
    assert {answer.verdict for answer in answers} == {GateVerdict.REFUSE}
    by_network = [answer.value for answer in answers if answer.evidence == "network_distance"]
    assert len(by_network) > OTHERS / 2
    assert set(by_network) == {"inf"}


def test_features_that_are_no_numbers_are_an_error(material: GateMaterial) -> None:
    assert material.features is not None
    features = np.where(np.arange(8) == 3, np.nan, material.features)
    with pytest.raises(GateError, match="no numbers") as caught:
        fit_gate(replace(material, features=features))
    assert caught.value.code == Code.GATE_MISSING


def test_too_few_films_are_an_error(material: GateMaterial) -> None:
    with pytest.raises(GateError) as caught:
        fit_gate(material.take(np.arange(19)))
    assert caught.value.code == Code.GATE_MISSING


def test_a_further_score_exceeds_the_limit_as_rarely_as_promised() -> None:
    random = np.random.default_rng(0)
    draws = random.exponential(size=(4000, 200))
    exceeded = np.mean([row[-1] > conformal_limit(row[:-1], 0.05) for row in draws])
    assert exceeded == pytest.approx(0.05, abs=4 * np.sqrt(0.05 * 0.95 / 4000))


def test_with_too_few_scores_the_limit_is_the_largest() -> None:
    assert conformal_limit(np.array([3.0, 1.0, 2.0]), 0.01) == 3.0


def test_the_edges_of_the_mirror_image_need_no_picture() -> None:
    picture = np.random.default_rng(0).random((64, 64)).astype(np.float32)
    expected = edge_directions(np.ascontiguousarray(picture[:, ::-1]))
    np.testing.assert_allclose(mirrored_edges(edge_directions(picture)[None])[0], expected, atol=1e-5)


def test_contrast_and_brightness_do_not_change_directions_of_edges() -> None:
    picture = np.random.default_rng(0).random((64, 64)).astype(np.float32)
    np.testing.assert_allclose(edge_directions(picture * 0.25 + 0.5), edge_directions(picture), atol=1e-3)
    inverted = edge_directions(1 - picture).reshape(8, 64)  # opposite directions are exchanged
    np.testing.assert_allclose(np.roll(inverted, 4, axis=0).ravel(), edge_directions(picture), atol=1e-5)
