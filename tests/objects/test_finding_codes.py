"""Codes of findings and concepts: check digits, and DICOM's own dictionaries."""

import re
from pathlib import Path

import pytest
from pydicom.sr._concepts_dict import concepts

from cxr_monai.errors import Code
from cxr_monai.labels import NIH14
from cxr_monai.objects import finding_codes
from cxr_monai.objects.finding_codes import CodedTerm, code_of_finding, code_of_gate_reason

TABLE = [
    *(value for value in vars(finding_codes).values() if isinstance(value, CodedTerm)),
    *(graded.code for graded in finding_codes.FINDING_CODES.values()),
    *finding_codes.GATE_ANSWERS.values(),
]
GATE_REASONS = [code for code in Code if code.startswith("gate-")]

# Verhoeff's check digit: multiplication and permutation of the dihedral group D5
TIMES = [
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9], [1, 2, 3, 4, 0, 6, 7, 8, 9, 5], [2, 3, 4, 0, 1, 7, 8, 9, 5, 6],
    [3, 4, 0, 1, 2, 8, 9, 5, 6, 7], [4, 0, 1, 2, 3, 9, 5, 6, 7, 8], [5, 9, 8, 7, 6, 0, 4, 3, 2, 1],
    [6, 5, 9, 8, 7, 1, 0, 4, 3, 2], [7, 6, 5, 9, 8, 2, 1, 0, 4, 3], [8, 7, 6, 5, 9, 3, 2, 1, 0, 4],
    [9, 8, 7, 6, 5, 4, 3, 2, 1, 0],
]  # fmt: skip
PERMUTED = [
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9], [1, 5, 7, 6, 2, 8, 3, 0, 9, 4], [5, 8, 0, 3, 7, 9, 6, 1, 4, 2],
    [8, 9, 1, 6, 0, 4, 3, 5, 2, 7], [9, 4, 5, 3, 1, 2, 6, 8, 7, 0], [4, 2, 8, 6, 5, 7, 3, 9, 0, 1],
    [2, 7, 9, 3, 8, 0, 6, 4, 1, 5], [7, 0, 4, 6, 9, 1, 3, 2, 5, 8],
]  # fmt: skip


def check_digit_holds(code: str) -> bool:
    check = 0
    for place, digit in enumerate(reversed(code)):
        check = TIMES[check][PERMUTED[place % 8][int(digit)]]
    return check == 0


def test_the_check_digit_tells_right_codes_from_wrong_ones() -> None:
    assert check_digit_holds("233604007")
    assert not check_digit_holds("95436003")  # in public code, for consolidation
    assert not check_digit_holds("78381009")  # in public code, for pleural thickening


@pytest.mark.parametrize("code", [code for code in TABLE if code.scheme == "SCT"], ids=lambda code: code.meaning)
def test_snomed_codes_have_their_check_digit(code: CodedTerm) -> None:
    assert check_digit_holds(code.value)


def meanings_in_dicom(code: CodedTerm) -> set[str]:
    """Return the meanings that DICOM's dictionaries give a code; none where they do not have it."""
    by_keyword = concepts.get(code.scheme, {})
    return {terms[code.value][0] for terms in by_keyword.values() if code.value in terms}


@pytest.mark.parametrize("code", TABLE, ids=lambda code: code.meaning)
def test_codes_and_meanings_are_those_of_dicom(code: CodedTerm) -> None:
    meanings = meanings_in_dicom(code)
    assert not meanings or code.meaning in meanings or code == finding_codes.SOURCE_IMAGE  # "Source (attribute)" there
    assert code.scheme != "DCM" or meanings, "a code of DICOM's that DICOM does not have"


@pytest.mark.parametrize("finding", NIH14)
def test_grades_of_findings_say_what_can_be_checked_here(finding: str) -> None:
    code, grade = finding_codes.FINDING_CODES[finding]
    assert code_of_finding(finding) == code
    assert (grade == "A") == bool(meanings_in_dicom(code))
    assert (grade == "C") == (code.scheme == finding_codes.PRIVATE_SCHEME)


def test_no_two_concepts_have_one_code() -> None:
    named = [code_of_gate_reason(code) for code in GATE_REASONS]
    sites = [code_of_finding(name) for name in ("Lung", "lung", "Pleural", "Normal", "x" * 90, "x" * 91)]
    codes = [(code.scheme, code.value) for code in {*TABLE, *named, *sites}]
    assert len(codes) == len(set(codes)) == len(set(TABLE)) + len(named) + len(sites)


@pytest.mark.parametrize(
    "code",
    [
        *TABLE,
        *map(code_of_gate_reason, GATE_REASONS),
        *map(code_of_finding, ("Lung", "a" * 99, "a\\b\nc", "Narbe ä", "", " ")),
    ],
    ids=str,
)
def test_codes_fit_their_attributes(code: CodedTerm) -> None:
    assert re.fullmatch(r"[!-~]{1,16}", code.value)
    assert 1 <= len(code.meaning) <= 64
    assert code.meaning.isprintable()
    assert "\\" not in code.meaning
    assert code.meaning == code.meaning.strip()


def test_reasons_of_the_gate_keep_their_name() -> None:
    assert {code_of_gate_reason(code).meaning for code in GATE_REASONS} == set(GATE_REASONS)


def test_the_page_of_codes_is_the_table() -> None:
    page = (Path(__file__).parents[2] / "docs" / "dicom-codes.md").read_text("utf-8")
    for finding, (code, grade) in finding_codes.FINDING_CODES.items():
        assert f"| {finding} | {code.scheme} | {code.value} | {code.meaning} | {grade} |\n" in page
    for code in {code for code in TABLE if code.scheme == finding_codes.PRIVATE_SCHEME}:
        assert f"| {code.value} | {code.meaning} |" in page
    assert page.count("99CXRMONAI | ") == 1  # pleural thickening
