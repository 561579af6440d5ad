"""What a header says against a film, rule by rule, and what it does not."""

from pathlib import Path
from typing import Any

import pytest

from cxr_monai.bundle.intended_films import IntendedFilms
from cxr_monai.data.film_header import FilmHeader
from cxr_monai.data.radiograph import read_radiograph
from cxr_monai.gate.answer import ACCEPTED
from cxr_monai.gate.header_rules import judge_header

ADULTS = IntendedFilms()
OF_ONE_VIEW = IntendedFilms(views=("PA",))
LATERALS_TOO = IntendedFilms(views=("PA", "AP", "LATERAL"))
EVERY_AGE = IntendedFilms(None)
UP_TO_90 = IntendedFilms(18, 90)
ONE_DEVICE = IntendedFilms(devices=("Acme", "X 100"))

REFUSED: dict[str, tuple[dict[str, Any], IntendedFilms, str, str, str]] = {
    # header, intended, code, value, expected
    "left lateral": ({"view": "LL", "is_lateral": True}, ADULTS, "gate-lateral", "LL", "PA, AP, AP supine"),
    "lateral by its orientation": ({"is_lateral": True}, ADULTS, "gate-lateral", "LATERAL", "PA, AP, AP supine"),
    "AP": ({"view": "AP"}, OF_ONE_VIEW, "gate-view", "AP", "PA"),
    "AP, in more words": ({"view": "AP ERECT"}, OF_ONE_VIEW, "gate-view", "AP", "PA"),
    "lying": ({"view": "AP SUPINE"}, OF_ONE_VIEW, "gate-view", "AP supine", "PA"),
    "oblique": ({"view": "RLO"}, ADULTS, "gate-view", "RLO", "PA, AP, AP supine"),
    "oblique in words": ({"view": "PA OBLIQUE"}, LATERALS_TOO, "gate-view", "PA OBLIQUE", "PA, AP, LATERAL"),
    "decubitus": ({"view": "LLD"}, ADULTS, "gate-view", "LLD", "PA, AP, AP supine"),
    "newborn": ({"age": 0.0}, ADULTS, "gate-child", "0 years", "13 years and over"),
    "one year": ({"age": 1.0}, ADULTS, "gate-child", "1 year", "13 years and over"),
    "child": ({"age": 12.0}, ADULTS, "gate-child", "12 years", "13 years and over"),
    "youth": ({"age": 17.0}, UP_TO_90, "gate-child", "17 years", "18 to 90 years"),
    "older than meant": ({"age": 91.0}, UP_TO_90, "gate-view", "91 years", "18 to 90 years"),
}
REVIEWED: dict[str, tuple[dict[str, Any], IntendedFilms, str, str, str]] = {
    "raw data": ({"intent": "FOR PROCESSING"}, ADULTS, "gate-header", "FOR PROCESSING", "FOR PRESENTATION"),
    "CT": ({"modality": "CT"}, ADULTS, "gate-header", "CT", "CR, DX, DR, RG"),
    "CR, where DX is meant": ({"modality": "CR"}, IntendedFilms(modalities=("DX",)), "gate-header", "CR", "DX"),
    "hand": ({"body_part": "HAND"}, ADULTS, "gate-header", "HAND", "a chest"),
    "small": ({"field_of_view": (240.0, 120.0)}, ADULTS, "gate-cropped", "24 x 12 cm", "20 to 50 cm a side"),
    "smaller": ({"field_of_view": (50.0, 120.0)}, EVERY_AGE, "gate-cropped", "5 x 12 cm", "8 to 50 cm a side"),
    "large": ({"field_of_view": (350.0, 900.0)}, ADULTS, "gate-unlike-training", "35 x 90 cm", "20 to 50 cm a side"),
    "device": ({"manufacturer": "Other", "model": "Z"}, ONE_DEVICE, "gate-header", "Other Z", "Acme, X 100"),
}
ACCEPTED_ONES: dict[str, tuple[dict[str, Any], IntendedFilms]] = {
    "nothing said": ({}, ADULTS),
    "all said": (
        {"modality": "DX", "body_part": "CHEST", "view": "PA", "age": 13.0, "intent": "FOR PRESENTATION",
         "has_burned_in_annotation": False, "field_of_view": (430.0, 350.0), "manufacturer": "Acme", "model": "X 7"},
        ADULTS,
    ),
    "a lateral where they are meant": ({"view": "LL", "is_lateral": True}, LATERALS_TOO),
    "a word of the hospital's own": ({"view": "STEHEND"}, OF_ONE_VIEW),
    "both words": ({"view": "PA ERECT"}, OF_ONE_VIEW),
    "a child where children are meant": ({"age": 0.0}, EVERY_AGE),
    "an unknown part": ({"body_part": "SPECIAL"}, ADULTS),
    "more than the chest": ({"body_part": "CHEST ABDOMEN"}, ADULTS),
    "burned-in text": ({"has_burned_in_annotation": True}, ADULTS),  # a matter of privacy, told in the evidence
    "a small chest": ({"field_of_view": (172.0, 172.0)}, ADULTS),  # RSNA's
    "an infant's field": ({"field_of_view": (180.0, 120.0)}, EVERY_AGE),
    "a tested maker": ({"manufacturer": "ACME", "model": "Z"}, ONE_DEVICE),
    "a tested model": ({"manufacturer": "Other", "model": "x 100"}, ONE_DEVICE),
    "no device told": ({}, ONE_DEVICE),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    _check("refuse", *REFUSED[name])


@pytest.mark.parametrize("name", REVIEWED)
def test_to_be_reviewed(name: str) -> None:
    _check("review", *REVIEWED[name])


def _check(verdict: str, facts: dict[str, Any], intended: IntendedFilms, code: str, value: str, expected: str) -> None:
    answer = judge_header(FilmHeader(**facts), intended)
    assert (answer.verdict, answer.code, answer.value, answer.expected) == (verdict, code, value, expected)
    assert answer.sentence[-1] == "."
    assert f"{answer.evidence}: {value}; expected {expected}" in answer.reason
    assert answer.mend == ()


@pytest.mark.parametrize("name", ACCEPTED_ONES)
def test_accepted(name: str) -> None:
    facts, intended = ACCEPTED_ONES[name]
    assert judge_header(FilmHeader(**facts), intended) == ACCEPTED


def test_a_file_without_a_header_is_accepted() -> None:
    assert judge_header(None, ADULTS) == ACCEPTED


def test_a_refusal_comes_before_what_is_to_be_reviewed() -> None:
    header = FilmHeader(modality="CT", body_part="HAND", intent="FOR PROCESSING", age=3.0, field_of_view=(50.0, 50.0))
    assert judge_header(header, ADULTS).code == "gate-child"
    assert judge_header(header, EVERY_AGE).evidence == "intent"


@pytest.mark.realdata
def test_the_shared_films_are_accepted_and_refused_where_their_age_is_not_meant(realdata: Path) -> None:
    paths = sorted((realdata / "dicom").glob("*.dcm"))
    assert len(paths) == 2
    for path in paths:
        header = read_radiograph(path).header
        assert judge_header(header, ADULTS) == ACCEPTED
        assert judge_header(header, IntendedFilms(63)).code == "gate-child"
