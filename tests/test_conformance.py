"""The DICOM conformance statement says what the code does: classes, syntaxes, statuses, limits, codes, attributes."""

import re
from pathlib import Path

import pytest
from pydicom.uid import UID

from apps.node import deliverer, delivery_outcome, listener, reachability, receiver, reception
from apps.node.settings import Destination, KeepSettings, ReceiveSettings
from apps.node.spooled import Delivery
from cxr_monai.objects import ResultKind, finding_codes, result_attributes, result_objects
from tests.support.film_results import film_result, nih_findings

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "conformance.md").read_text("utf-8")


def rows(head: str) -> list[list[str]]:
    """Return the cells of the table that begins with a line."""
    lines = [*PAGE[PAGE.index(head) :].splitlines()[2:], ""]
    table = lines[: next(number for number, line in enumerate(lines) if not line.startswith("|"))]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


def test_classes_that_are_received_and_sent() -> None:
    classes = rows("| SOP class | UID |")
    received = {uid: name for name, uid, _, scp in classes if scp.startswith("yes")}
    sent = {uid for _, uid, scu, _ in classes if scu in ("yes", "option")}
    written = result_objects(film_result(nih_findings()), list(ResultKind))

    assert received == {receiver.VERIFICATION: "Verification", **receiver.FILM_CLASSES}
    assert sent == {each.sop_class for each in written}
    assert len(sent) == len(ResultKind)
    assert all(UID(uid).name.startswith(name.split(" - ")[0][:20]) for name, uid, _, _ in classes)


def test_transfer_syntaxes_that_are_received() -> None:
    listed = [uid for _, uid in rows("| transfer syntax | UID |")]

    assert listed == [*receiver.transfer_syntaxes()[:2], *receiver.COMPRESSED]
    assert set(receiver.transfer_syntaxes()) <= set(listed)


def test_statuses_that_are_sent() -> None:
    listed = {int(status, 16) for status, _ in rows("| status | when |")}

    assert listed == {
        0x0000,
        reception.OUT_OF_RESOURCES,
        reception.OTHER_DATA_SET,
        reception.NOT_UNDERSTOOD,
        reception.NOT_AUTHORISED,
    }


@pytest.mark.parametrize(
    ("sentence", "value"),
    [
        ("{} (`receive.associations`)", ReceiveSettings().associations),
        ("{} connections more may be in their handshake", listener.MORE_CONNECTIONS),
        ("| maximum PDU length asked for | {:,} bytes", receiver.LARGEST_PART),
        ("a longer PDU than {:,} ends the connection", listener.LARGEST_PDU),
        ("who has more than {} requests waiting", reception.MOST_WAITING),
        ("| time-outs | {} s for the first byte", listener.HANDSHAKE_S),
        ("{} s for one PDU", listener.STALLED_S),
        ("{} s of silence", receiver.IDLE_S),
        ("**receiver** (AE `{}` by default)", ReceiveSettings().ae_title),
        ("**deliverer** (AE `{}` by default", Destination("a").calling_ae_title),
        ("for up to {} objects", deliverer.BATCH),
        ("1, 2, 4 ... {:g} s", deliverer.LONGEST_PAUSE_S),
        ("{:g} s to connect", reachability.CONNECT_S),
        ("`timeout_s` of the destination ({} s)", Destination("a").timeout_s),
        ("for `keep.days` ({:g})", KeepSettings().days),
        ("Private coding scheme `{}`", finding_codes.PRIVATE_SCHEME),
    ],
)
def test_limits_and_names(sentence: str, value: object) -> None:
    assert sentence.format(value) in PAGE


@pytest.mark.parametrize(
    "status", [0x0000, 0xB000, 0xB006, 0xB007, 0x0111, 0xA700, 0xA900, 0xC000, 0x0122, 0x0124, 0x0110]
)
def test_statuses_that_are_received(status: int) -> None:
    delivery = Delivery("2.25.1", "1.2.840.10008.5.1.4.1.1.7", Path("none"), 0)
    outcome = delivery_outcome.outcome_of_status(delivery, status)
    text = f"0x{status:04X}"
    patterns = [text, f"{text[:4]}xx", f"{text[:3]}xxx"]
    row = next((row for row in rows("| answer of the archive |") if any(each in row[0] for each in patterns)), None)
    answer = row[1] if row else "not sent"  # "any other"

    assert answer.startswith("not sent" if outcome.problem else "sent")
    assert ("remark" in answer) == bool(outcome.remark)
    assert ("rests" in answer) == outcome.ends_batch


def test_private_codes() -> None:
    listed = set(re.findall(r"[A-Z]+-[A-Z]+|CALIBRATED", "".join(map(str, rows("| code | meaning |")))))
    codes = [value for value in vars(finding_codes).values() if isinstance(value, finding_codes.CodedTerm)]
    codes += [*finding_codes.GATE_ANSWERS.values(), *(graded.code for graded in finding_codes.FINDING_CODES.values())]

    assert listed == {code.value for code in codes if code.scheme == finding_codes.PRIVATE_SCHEME}


def test_attributes_that_are_copied() -> None:
    """A film whose header has one is answered by objects that have it; no other attribute of its patient goes along."""
    sentence = next(line for line in PAGE.split("\n\n") if line.startswith("**Copied from the film**"))
    words = {
        "PatientName": "Patient's Name", "PatientID": "ID", "IssuerOfPatientID": "Issuer of Patient ID",
        "PatientBirthDate": "Birth Date", "PatientSex": "Sex", "StudyDate": "Date", "StudyTime": "Time",
        "StudyID": "ID", "StudyDescription": "Description", "AccessionNumber": "Accession Number",
        "ReferringPhysicianName": "Referring Physician's Name",
    }  # fmt: skip

    assert set(words) == {*result_attributes._EMPTY_IF_UNKNOWN, *result_attributes._WHERE_KNOWN}
    assert all(word in sentence for word in words.values())
