"""The structured report of a film: what it says, read back by highdicom and others; the same film, the same bytes."""

import logging
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from highdicom.sr import Comprehensive3DSR, MeasurementsAndQualitativeEvaluations, srread
from pydicom import Dataset, dcmread
from pydicom.config import disable_value_validation
from pydicom.uid import Comprehensive3DSRStorage

from cxr_monai.data.formats.dicom_reader import without_dicom_warnings
from cxr_monai.labels import NIH14
from cxr_monai.objects import (
    FilmResult,
    FindingResult,
    GateResult,
    ResultKind,
    SourceFilm,
    is_result_of_ours,
    result_objects,
)
from cxr_monai.objects.finding_codes import CodedTerm, code_of_finding
from cxr_monai.objects.structured_report import build_report
from tests.support.dicom_validators import dump_of_report, errors_of_dciodvfy, errors_of_pixelmed
from tests.support.film_results import (
    BARE_HEADER,
    HEADER,
    MODEL,
    NO_GATE,
    REFUSED,
    REVIEWED,
    film_content,
    film_result,
    nih_findings,
)
from tests.support.work import counted

SITES = [FindingResult("Narbe, ältere", 0.25, 0.5), FindingResult("x" * 90, 1 / 3)]


def read(result: FilmResult) -> Comprehensive3DSR:
    return srread(BytesIO(build_report(result).content))


def groups_of(result: FilmResult) -> list[MeasurementsAndQualitativeEvaluations]:
    return read(result).content.get_image_measurement_groups()


def term(item: Dataset) -> CodedTerm:
    return CodedTerm(item.value, item.scheme_designator, item.meaning)


def test_highdicom_reads_probabilities_and_thresholds_exactly() -> None:
    findings = nih_findings()
    groups = groups_of(film_result(findings))
    assert [term(group.finding_type) for group in groups] == [code_of_finding(name) for name in NIH14]
    for group, finding in zip(groups, findings, strict=True):
        values = {item.name.meaning: item.value for item in group.get_measurements()}
        expected = {} if finding.threshold is None else {"Threshold Value": finding.threshold}
        assert values == {"Probability": finding.probability, **expected}
        assert all(item.unit.value == "1" for item in group.get_measurements())


def test_no_probability_stands_without_its_meaning() -> None:
    groups = groups_of(film_result())
    evaluations = [
        {item.name.meaning: item.value.meaning for item in group.get_qualitative_evaluations()} for group in groups
    ]
    reached = [evaluation["Operating point reached"] for evaluation in evaluations]
    assert reached == ["Yes", "Yes", "No operating point", *["No"] * 11]
    calibrated = [evaluation["Probability is calibrated"] for evaluation in evaluations]
    assert calibrated == ["Yes" if finding.is_calibrated else "No" for finding in nih_findings()]
    assert {evaluation["Answer of the gate about the film"] for evaluation in evaluations} == {"Film accepted"}


def test_every_group_refers_to_the_film_and_has_a_name_of_its_own() -> None:
    groups = groups_of(film_result())
    for group in groups:
        (image,) = group.source_images
        assert image.referenced_sop_instance_uid == HEADER["SOPInstanceUID"]
        assert image.referenced_sop_class_uid == HEADER["SOPClassUID"]
    assert len({group.tracking_uid for group in groups}) == 14
    assert groups[0].tracking_identifier == "Atelectasis by chest_demo"


def test_the_report_says_which_model_and_that_nobody_verified_it() -> None:
    report = read(film_result())
    assert report.SOPClassUID == Comprehensive3DSRStorage
    assert (report.VerificationFlag, report.PreliminaryFlag, report.CompletionFlag) == (
        "UNVERIFIED", "PRELIMINARY", "COMPLETE",
    )  # fmt: skip
    (equipment,) = report.ContributingEquipmentSequence
    assert equipment.PurposeOfReferenceCodeSequence[0].CodeValue == "109102"
    assert (equipment.Manufacturer, equipment.ManufacturerModelName) == ("cxr-monai", "chest_demo")
    assert MODEL.digest in equipment.SoftwareVersions
    (observer,) = report.content.get_observer_contexts()
    assert observer.observer_identifying_attributes.uid == equipment.DeviceUID == report.DeviceUID
    (series,) = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    assert series.SeriesInstanceUID == HEADER["SeriesInstanceUID"]
    assert series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == HEADER["SOPInstanceUID"]
    assert series.ReferencedSOPSequence[0].ReferencedSOPClassUID == HEADER["SOPClassUID"]
    assert is_result_of_ours(report)


def texts_of(result: FilmResult) -> dict[str, str]:
    """Return codes and texts of the report's Qualitative Evaluations, by name."""
    container = read(result).ContentSequence[-1]
    assert container.ConceptNameCodeSequence[0].CodeValue == "C0034375"
    return {
        item.ConceptNameCodeSequence[0].CodeValue: str(item.get("TextValue") or item.ConceptCodeSequence[0].CodeMeaning)
        for item in container.ContentSequence
    }


def test_a_refused_film_has_the_reason_and_no_probability() -> None:
    result = film_result([], gate=REFUSED)
    texts = texts_of(result)
    assert texts["GATE-ANSWER"] == "Film refused: no answer about findings"
    assert texts["GATE-REASON"] == "gate-lateral"
    assert texts["GATE-SENTENCE"] == "A lateral film: not for this model."
    assert texts["GATE-EVIDENCE"] == "view: L; expected PA"
    assert groups_of(result) == []
    content = build_report(result).content
    assert b"Probability" not in content
    assert b"122157" not in content


@pytest.mark.parametrize(
    ("gate", "answer", "sentence"),
    [
        (REVIEWED, "Film to be looked at by a person first", "The film is turned."),
        (NO_GATE, "Film not checked by a gate", "The bundle has no gate."),
    ],
)
def test_the_gates_answer_stands_with_the_findings(gate: GateResult, answer: str, sentence: str) -> None:
    result = film_result(gate=gate)
    assert texts_of(result)["GATE-ANSWER"] == answer
    assert texts_of(result)["GATE-SENTENCE"] == sentence
    (evaluation,) = [
        item for item in groups_of(result)[3].get_qualitative_evaluations() if item.name.value == "GATE-ANSWER"
    ]
    assert evaluation.value.meaning == answer


def test_remarks_and_what_it_is_not_are_said() -> None:
    texts = texts_of(replace(film_result(), remarks=("The film is small.",)))
    assert texts["FILM-REMARK"] == "The film is small."
    assert "not a medical device" in texts["121106"]


def test_the_same_film_gives_the_same_bytes_and_others_other_uids() -> None:
    result = film_result()
    first = build_report(result)
    assert build_report(film_result()).content == first.content  # whenever it is built
    corrected = build_report(film_result(header={**HEADER, "PatientID": "P2"}))
    other_bundle = build_report(film_result(model=replace(MODEL, digest="f" * 64)))
    other_rule = build_report(film_result(model=replace(MODEL, rule="screening")))
    assert len({report.uid for report in (first, corrected, other_bundle, other_rule)}) == 4
    headers = [dcmread(BytesIO(report.content)) for report in (first, corrected, other_bundle)]
    series = [header.SeriesInstanceUID for header in headers]
    assert series[0] == series[1] != series[2]
    assert headers[0].DeviceUID == headers[1].DeviceUID != headers[2].DeviceUID


@pytest.mark.parametrize(
    ("dates", "moment"),
    [
        ({}, ("20260102", "101500")),
        ({"AcquisitionDate": "20260101", "AcquisitionTime": "080910.5"}, ("20260101", "080910")),
        ({"ContentDate": "no date"}, ("20260102", "101112")),
        ({"ContentTime": ""}, ("20260102", "000000")),
        ({"ContentDate": "", "StudyDate": ""}, ("19000101", "000000")),
        ({"ContentDate": "00010101"}, ("00010101", "101500")),
    ],
)
def test_dates_are_the_films(dates: dict[str, str], moment: tuple[str, str], recwarn: Any) -> None:
    content = film_content({**HEADER, **dates}) if "no date" not in dates.values() else _with_bytes(b"20260102", dates)
    report = dcmread(BytesIO(build_report(replace(film_result(), source=SourceFilm.read(content))).content))
    assert (report.ContentDate, report.ContentTime[:6]) == moment


def _with_bytes(old: bytes, values: dict[str, str]) -> bytes:
    """Return a film whose content date, of the same length, is none."""
    content = film_content()
    place = content.index(b"\x08\x00\x23\x00DA")
    return content[:place] + content[place:].replace(old, values["ContentDate"].encode().ljust(8), 1)


ODD_HEADERS: dict[str, dict[str, Any]] = {
    "bare": BARE_HEADER,
    "empty": {**HEADER, **dict.fromkeys(("PatientName", "PatientID", "PatientSex", "StudyDate", "StudyTime"), "")},
    "japanese": {**HEADER, "SpecificCharacterSet": ["", "ISO 2022 IR 87"], "PatientName": "Yamada^Tarou=山田^太郎"},
    "greek": {**HEADER, "SpecificCharacterSet": "ISO_IR 126", "PatientName": "Διονυσιος"},
    "no caret": {**HEADER, "PatientName": "Bono"},
}


@pytest.mark.parametrize("name", ODD_HEADERS)
@pytest.mark.parametrize("findings", [None, SITES], ids=["nih", "sites"])
def test_odd_headers_are_reported_too(name: str, findings: list[FindingResult] | None) -> None:
    header = ODD_HEADERS[name]
    report = read(film_result(findings, header))
    for keyword in ("PatientName", "PatientID", "PatientSex", "StudyDate", "AccessionNumber"):
        assert str(report[keyword].value or "") == str(header.get(keyword, "")), keyword
    assert len(report.content.get_image_measurement_groups()) == len(findings or NIH14)


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("SOPInstanceUID", "1.2.03"),
        ("SeriesInstanceUID", "x y"),
        ("StudyInstanceUID", "1.2." + "4" * 70),
        ("Modality", "X" * 20),
        ("PatientName", "x" * 300),
        ("PatientID", "1\\2"),
        ("PatientSex", "unknown"),
        ("PatientBirthDate", "1960.13.99"),
        ("StudyTime", "99"),
        ("SpecificCharacterSet", "utf 8"),
        ("SpecificCharacterSet", ""),
    ],
)
def test_malformed_headers_are_reported_in_silence(keyword: str, value: str, caplog: pytest.LogCaptureFixture) -> None:
    """Warnings are errors here: pydicom's would quote the patient."""
    with without_dicom_warnings(), disable_value_validation():
        source = SourceFilm.read(film_content({**HEADER, keyword: value}))
    (report,) = result_objects(replace(film_result(), source=source), [ResultKind.REPORT])
    assert not [entry for entry in caplog.records if entry.levelno >= logging.WARNING]
    with without_dicom_warnings():
        header = srread(BytesIO(report.content))
        assert len(header.content.get_image_measurement_groups()) == len(NIH14)
        if keyword.startswith(("Patient", "Study")):  # as it was received
            assert header[keyword].value == source.header[keyword].value


def test_a_sites_labels_are_coded_and_named() -> None:
    first, second = groups_of(film_result(SITES))
    assert term(first.finding_type) == code_of_finding("Narbe, ältere")
    assert first.tracking_identifier == "Narbe, ältere by chest_demo"
    assert term(second.finding_type).meaning == "x" * 64
    assert second.get_measurements()[0].value == 1 / 3


def test_a_model_with_long_names_fits() -> None:
    model = replace(MODEL, name="a\\b" * 40, version="1." * 50, digest="")
    report = read(film_result(model=model))
    assert len(report.ManufacturerModelName) == 64
    assert report.content.get_image_measurement_groups()


def test_parts_that_groups_share_are_built_once() -> None:
    """What one more finding costs in calls: 32,000; when highdicom copied and searched all groups, it was 106,000."""
    findings = nih_findings()
    build_report(film_result(findings[:1]))  # imports
    results = [film_result(findings[:count]) for count in (4, 14)]
    calls = []
    for result in results:
        with counted() as work:
            build_report(result)
        calls.append(work.count)
    assert (calls[1] - calls[0]) / 10 < 40_000


@pytest.mark.hospital
@pytest.mark.parametrize("name", ODD_HEADERS)
def test_dciodvfy_has_no_error(name: str, tmp_path: Path) -> None:
    for findings, gate in ((None, REVIEWED), (SITES, NO_GATE), ([], REFUSED)):
        assert errors_of_dciodvfy(build_report(film_result(findings, ODD_HEADERS[name], gate)).content, tmp_path) == []


@pytest.mark.hospital
def test_pixelmed_has_no_error(tmp_path: Path) -> None:
    """The validator that IHE's AI Results profile is tested by; one report, since it takes half a minute."""
    assert errors_of_pixelmed(build_report(film_result(gate=REVIEWED)).content, tmp_path) == []


@pytest.mark.hospital
def test_dcmtk_reads_every_part(tmp_path: Path) -> None:
    dump = dump_of_report(build_report(film_result()).content, tmp_path)
    for name in NIH14:
        assert f"({', '.join(code_of_finding(name)[:2])}".replace(" ", "") in dump
    for words in ("Probability", "Threshold Value", "Operating point reached", "Probability is calibrated"):
        assert f'"{words}"' in dump
    assert dump.count('"Probability"') == 14
