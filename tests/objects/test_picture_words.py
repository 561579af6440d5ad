"""The words of a picture: what was reached, what has no map, what is not calibrated, and nothing of the patient."""

from dataclasses import replace

import numpy as np
import pytest

from cxr_monai.objects import FindingResult
from cxr_monai.objects.picture_words import Emphasis, finding_words, picture_words
from tests.support.film_results import ACCEPTED, HEADER, NO_GATE, REFUSED, REVIEWED, film_result

MAP = np.ones((4, 3), np.float32)


def texts(result):
    return [line.text for line in picture_words(result)]


def one(**values):
    return replace(FindingResult("Mass", 0.9, 0.5, True, MAP), **values)


def test_findings_over_their_points_are_named_and_those_without_a_map_told():
    findings = [one(), one(finding="Nodule", class_map=0 * MAP), one(finding="Edema", probability=0.2)]
    lines = texts(film_result(findings))
    assert lines[0] == "At or over the operating point (youden): 2 of 3 findings: Mass, Nodule."
    assert "Nodule: probability 0.90, operating point 0.50: no map" in lines
    assert not any("Edema" in line for line in lines)


def test_a_film_without_any_says_so_and_what_was_looked_for():
    lines = texts(film_result([one(probability=0.1), one(finding="Nodule", probability=0.2)]))
    assert lines[:2] == ["No finding reached its operating point (youden).", "Looked for: Mass, Nodule."]


def test_without_operating_points_nothing_is_reached_and_every_value_stands_there():
    result = film_result([one(threshold=None, is_calibrated=False), one(finding="Edema", threshold=None)])
    lines = picture_words(replace(result, model=replace(result.model, rule="")))
    assert [line.text for line in lines[:3]] == [
        "Without an operating point, so neither reached nor not:",
        "Mass: score 0.90 (not calibrated)",
        "Edema: probability 0.90",
    ]
    assert [line.is_entry for line in lines[:4]] == [False, True, True, False]
    assert not any("reached its" in line.text for line in lines)


@pytest.mark.parametrize("is_calibrated", [True, False])
def test_a_value_is_a_probability_only_where_it_is_calibrated(is_calibrated):
    lines = texts(film_result([one(is_calibrated=is_calibrated)])) + finding_words(one(is_calibrated=is_calibrated))
    assert any("probability 0.90" in line for line in lines) == is_calibrated
    assert any("no frequency" in line for line in lines) != is_calibrated


def test_a_refused_film_has_its_reason_and_no_probability():
    lines = picture_words(film_result([], gate=REFUSED))
    assert lines[0].text == "No answer about this film: it was refused."
    assert lines[1].text == "Gate, refuse: A lateral film: not for this model (view: L; expected PA)."
    assert lines[1].emphasis == Emphasis.WARNING
    assert not any(character.isdigit() for line in lines[:3] for character in line.text)


def test_a_film_without_answers_that_was_not_refused_is_not_called_so():
    lines = texts(film_result([], gate=ACCEPTED))
    assert lines[0] == "No answer about this film."


@pytest.mark.parametrize(
    ("gate", "words"),
    [
        (REVIEWED, "Gate, review: The film is turned (rotated: 4; expected 0)."),
        (NO_GATE, "Gate: The bundle has no gate."),
        (ACCEPTED, "Gate: accepted, a film like those that the model was trained on."),
    ],
)
def test_what_the_gate_says_is_there(gate, words):
    assert words in texts(film_result(gate=gate))


def test_why_there_are_no_maps_is_told_where_one_is_missing():
    result = replace(film_result([one(class_map=None)]), no_maps="This network has no maps.")
    assert "No maps: This network has no maps." in texts(result)


def test_the_model_is_named_with_what_was_set_and_remarks_are_told():
    result = film_result()
    result = replace(result, model=replace(result.model, settings=("raw",)), remarks=["nearly black"])
    assert texts(result)[-2:] == [
        "About the film: nearly black",
        "Model chest_demo 0.4.2, sha256 0123456789ab (raw), by cxr-monai 1.0. Findings that the model does not know "
        "are not looked for.",
    ]


def test_nothing_of_the_patient_is_among_the_words():
    for result in (film_result(), film_result([], gate=REFUSED)):
        words = " ".join(texts(result))
        for keyword in ("PatientName", "PatientID", "AccessionNumber", "StudyDate", "SOPInstanceUID"):
            assert str(HEADER[keyword]) not in words


@pytest.mark.parametrize(
    ("value", "point", "words"),
    [
        (0.714, 0.35, "probability 0.71, operating point 0.35"),
        (0.3504, 0.3498, "probability 0.3504, operating point 0.3498"),
        (0.004, 0.002, "probability 0.004, operating point 0.002"),
        (1.0, 0.5, "probability 1.00, operating point 0.50"),
        (0.0, 0.0, "probability 0.00, operating point 0.00"),
        (0.9999, None, "probability 0.9999"),
    ],
)
def test_numbers_have_as_many_decimals_as_tell_them_apart(value, point, words):
    assert finding_words(FindingResult("Mass", value, point, True))[1] == words
