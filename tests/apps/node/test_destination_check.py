"""``check``: how a destination answers, in one line, and what is wrong with one that does not, in words."""

import logging
import ssl
from pathlib import Path

import pytest
from pydicom.uid import Comprehensive3DSRStorage, ExplicitVRLittleEndian

from apps.node.destination_check import check_destination
from apps.node.settings import Destination, TlsSettings
from apps.node.tls import server_context
from cxr_monai.errors import Code, CxrError
from tests.support.archive_stubs import StubArchive, StubWeb
from tests.support.certificates import Authority
from tests.support.hospital_network import free_port

REPORTS_ALONE = [(str(Comprehensive3DSRStorage), [str(ExplicitVRLittleEndian)])]
EMPTY = {"Content-Type": "application/dicom+json; charset=utf-8"}


@pytest.fixture(scope="module")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> tuple[Authority, Authority]:
    folder = tmp_path_factory.mktemp("certificates")
    return Authority(folder, "hospital"), Authority(folder, "stranger")


def problem_of(destination: Destination) -> CxrError:
    with pytest.raises(CxrError) as caught:
        check_destination(destination)
    return caught.value


def test_an_archive_says_that_it_is_there_and_what_it_takes(caplog):
    caplog.set_level(logging.DEBUG)
    with StubArchive() as stub:
        line = check_destination(stub.destination())
        assert (stub.associations, stub.order) == (1, [])  # nothing is stored there
    assert line.startswith("C-ECHO answered (0x0000) in ")
    assert line.endswith(" ms; it takes Comprehensive 3D SR Storage, Secondary Capture Image Storage")
    assert caplog.messages == []


def test_an_archive_that_takes_no_pictures_is_not_well_unless_none_are_sent_there():
    with StubArchive(contexts=REPORTS_ALONE) as stub:
        error = problem_of(stub.destination())
        assert check_destination(stub.destination(objects=("sr",))).endswith("takes Comprehensive 3D SR Storage")
        contours = problem_of(stub.destination(objects=("sr", "gsps")))
    assert error.code is Code.DESTINATION_REFUSED
    assert str(error).endswith("but it does not take Secondary Capture Image Storage.")
    assert "does not take Grayscale Softcopy Presentation State Storage" in str(contours)


@pytest.mark.parametrize("contexts", [[], REPORTS_ALONE])
def test_an_archive_without_echo(contexts):
    with StubArchive(contexts=contexts) as stub:
        entity = stub.server.ae
        entity.remove_supported_context("1.2.840.10008.1.1")
        entity.add_supported_context("1.2.840.10008.5.1.4.1.1.2")
        stub.server.contexts = entity.supported_contexts
        if contexts:
            assert "without C-ECHO; it takes" in check_destination(stub.destination(objects=("sr",)))
        else:
            assert "Comprehensive 3D SR Storage, Secondary" in str(problem_of(stub.destination()))


def test_a_title_that_is_unknown_there_is_said():
    with StubArchive() as stub:
        stub.server.ae.require_called_aet = True
        error = problem_of(Destination("stub", port=stub.port, ae_title="OTHER", calling_ae_title="CXRNODE"))
    assert error.code is Code.DESTINATION_UNREACHABLE
    assert str(error).startswith("the association is refused: Called AE title not recognised.")
    assert "called OTHER, by CXRNODE" in str(error)


@pytest.mark.parametrize(
    ("host", "words"), [("127.0.0.1", "connection refused."), ("no-such-host.invalid", "no such host")]
)
def test_nobody_there(host, words):
    port = free_port()
    for destination in (
        Destination("away", host=host, port=port),
        Destination("web", "dicomweb", url=f"http://{host}:{port}/dicom-web"),
    ):
        error = problem_of(destination)
        assert error.code is Code.DESTINATION_UNREACHABLE
        assert words in str(error)


@pytest.mark.parametrize("protocol", ["dicom", "dicomweb"])
def test_tls(protocol, authorities):
    hospital, stranger = authorities
    node = hospital.issue("node")
    context = server_context(hospital.issue("archive"))

    def destinations(tls: TlsSettings | None) -> Destination:
        return stub.destination(tls=tls, timeout_s=5)

    archive = StubArchive(tls=context) if protocol == "dicom" else StubWeb(lambda *words: (200, EMPTY, b"[]"), context)
    with archive as stub:
        assert "answered" in check_destination(destinations(node))
        of_strangers = TlsSettings(node.certificate, node.key, stranger.path)
        assert "its certificate is not accepted: self-signed" in str(problem_of(destinations(of_strangers)))
        by_stranger = TlsSettings(*_files(stranger), authority=hospital.path)
        assert "refuses the node's certificate" in str(problem_of(destinations(by_stranger)))
        missing = TlsSettings(node.certificate, Path("missing.pem"), hospital.path)
        assert problem_of(destinations(missing)).code is Code.SETTING_INVALID


def test_plain_text_to_an_archive_with_tls(authorities):
    with StubArchive(tls=server_context(authorities[0].issue("archive"))) as stub:
        assert "does it speak TLS" in str(problem_of(stub.destination(timeout_s=5)))


def test_tls_to_an_archive_without(authorities):
    tls = authorities[0].issue("node")
    with StubArchive() as stub, StubWeb(lambda *words: (200, EMPTY, b"[]")) as web:
        for destination in (
            stub.destination(tls=tls, timeout_s=5),
            Destination("web", "dicomweb", url=web.url.replace("http:", "https:"), tls=tls),
        ):
            assert problem_of(destination).code is Code.DESTINATION_UNREACHABLE


def _files(authority: Authority) -> tuple[Path, Path]:
    tls = authority.issue("stranger")
    return tls.certificate, tls.key


@pytest.mark.parametrize("answer", [(200, EMPTY, b"[]"), (204, {}, b"")])
def test_a_service_is_searched_for_a_study_that_is_nowhere(answer, tmp_path):
    (tmp_path / "token").write_text("secret\n")
    with StubWeb(lambda *words: answer) as web:
        line = check_destination(web.destination(token_file=tmp_path / "token"))
    assert line.startswith(f"QIDO-RS answered (HTTP {answer[0]}) in ")
    ((method, path, headers),) = web.requests
    assert (method, path) == ("GET", "/dicom-web/studies?StudyInstanceUID=2.25.1&limit=1")
    assert headers["Authorization"] == "Bearer secret"


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        ((401, {}, b""), Code.DESTINATION_UNREACHABLE, "it wants another token"),
        ((404, {}, b""), Code.DESTINATION_UNREACHABLE, "no DICOMweb service at this address"),
        ((500, {}, b""), Code.DESTINATION_UNREACHABLE, "HTTP 500 (Internal Server Error)"),
        ((405, {}, b""), Code.DESTINATION_REFUSED, "HTTP 405: it does not answer a search"),
        ((302, {"Location": "http://127.0.0.2/"}, b""), Code.DESTINATION_UNREACHABLE, "points to another address"),
        ((200, {"Content-Type": "text/html"}, b"<html>"), Code.DESTINATION_UNREACHABLE, "text/html where DICOM JSON"),
    ],
)
def test_a_service_that_answers_otherwise(answer, code, words):
    with StubWeb(lambda *request: answer) as web:
        error = problem_of(web.destination())
    assert error.code is code
    assert words in str(error)


def test_a_token_that_is_not_there(tmp_path):
    error = problem_of(Destination("web", "dicomweb", url="http://127.0.0.1/", token_file=tmp_path / "none"))
    assert "the token cannot be read" in str(error)


def test_a_certificate_that_is_none(tmp_path):
    (tmp_path / "text.pem").write_text("no certificate")
    tls = TlsSettings(*[tmp_path / "text.pem"] * 3)
    with pytest.raises(CxrError) as caught:
        check_destination(Destination("stub", tls=tls))
    assert caught.value.code is Code.SETTING_INVALID
    assert isinstance(caught.value.__cause__, ssl.SSLError)
