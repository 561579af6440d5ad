"""STOW-RS: what an answer says of an object, and which answers mean that the service is away as a whole."""

import json
from contextlib import closing
from pathlib import Path

import pytest

from apps.node.spool import Spool
from apps.node.stow_sender import StowSender
from tests.support.archive_stubs import StubWeb, fill, small_report

JSON_TYPE = {"Content-Type": "application/dicom+json; charset=utf-8"}


def answer(sequence: str, uid: str, tag: str = "", reason: int = 0) -> bytes:
    item = {"00081155": {"vr": "UI", "Value": [uid]}}
    if tag:
        item[tag] = {"vr": "US", "Value": [reason]}
    return json.dumps({sequence: {"vr": "SQ", "Value": [item]}}).encode()


STORED, FAILED = "00081199", "00081198"
UID = small_report(1).uid


def outcomes(tmp_path: Path, status: int, body: bytes, headers: dict[str, str] = JSON_TYPE, **others: object):
    with StubWeb(lambda method, path, content: (status, headers, body)) as stub:
        destination = stub.destination(**others)
        fill(tmp_path / "spool", [small_report(1), small_report(2)], [destination])
        with (
            closing(Spool(tmp_path / "spool")) as spool,
            closing(StowSender(destination).send(spool.due("web"))) as some,
        ):
            return next(some), stub.requests


@pytest.mark.parametrize("status", [200, 202])
def test_what_is_listed_as_stored_is_stored(tmp_path, status):
    outcome, requests = outcomes(tmp_path, status, answer(STORED, UID))
    assert (outcome.problem, outcome.remark, outcome.ends_batch) == (None, "", False)
    assert [request[:2] for request in requests] == [("POST", "/dicom-web/studies")]


def test_a_warning_is_told(tmp_path):
    outcome, _ = outcomes(tmp_path, 202, answer(STORED, UID, "00081196", 0xB000))
    assert (outcome.problem, outcome.remark) == (None, "stored, warning 0xB000")


@pytest.mark.parametrize(
    ("status", "body", "words", "ends"),
    [
        (200, answer(FAILED, UID, "00081197", 0xA700), "status 0xA700", True),
        (202, answer(FAILED, UID, "00081197", 0xC000), "status 0xC000", False),
        (409, answer(FAILED, UID, "00081197", 0xA900), "status 0xA900", False),
        (409, b"<html>", "HTTP 409", False),
        (200, answer(STORED, "2.25.5"), "does not say that the object was stored", False),
        (200, b"", "does not say that the object was stored", False),
        (200, b"{", "is no JSON", False),
        (200, b"[1]", "cannot be read", False),
        (400, b"", "HTTP 400", False),
        (401, b"", "HTTP 401 (Unauthorized): it wants another token", True),
        (503, b"", "HTTP 503", True),
        (507, b"", "HTTP 507", True),
    ],
)
def test_nothing_else_is(tmp_path, status, body, words, ends):
    outcome, requests = outcomes(tmp_path, status, body)
    assert words in str(outcome.problem)
    assert (outcome.ends_batch, len(requests)) == (ends, 1)  # the client itself tries nothing again


def test_no_redirect_is_followed(tmp_path):
    outcome, requests = outcomes(tmp_path, 307, b"", {"Location": "http://127.0.0.1:9/elsewhere"})
    assert "it points to another address" in str(outcome.problem)
    assert (outcome.ends_batch, len(requests)) == (True, 1)


def test_the_token_is_sent_and_nothing_of_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    token = tmp_path / "token"
    token.write_text("abc\n")
    outcome, requests = outcomes(tmp_path, 200, answer(STORED, UID), token_file=token)
    assert outcome.problem is None
    assert requests[0][2]["Authorization"] == "Bearer abc"
