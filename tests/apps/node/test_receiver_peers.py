"""Who may connect: TLS with the authority's certificate; plain text from listed peers alone; the rest is dropped."""

import dataclasses
import shutil
import socket
import ssl
import subprocess
import threading
import time

import pytest

from apps.node import listener
from apps.node.listener import PeerRules
from apps.node.receiver import run_receiver
from apps.node.settings import NodeSettings, ReceiveSettings
from apps.node.tls import client_context
from cxr_monai.errors import SettingError
from cxr_monai.objects import film_digest
from tests.support.certificates import Authority
from tests.support.receivers import DIGITAL, association, encoded, film, rows, running_receiver, store


@pytest.fixture(scope="module")
def authorities(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificates")
    return Authority(folder, "hospital"), Authority(folder, "stranger")


@pytest.fixture(scope="module")
def own(authorities):
    return authorities[0].issue("scanner")


@pytest.fixture(scope="module")
def spool(tmp_path_factory):
    return tmp_path_factory.mktemp("tls") / "spool"


@pytest.fixture(scope="module")
def port(authorities, spool):
    with running_receiver(spool, tls=authorities[0].issue("node")) as number:
        yield number


def assert_goes_on(port, own, number=1):
    with association(port, tls_args=(client_context(own), "127.0.0.1")) as asked:
        assert asked.is_established
        assert store(asked, film(number)) == 0x0000


def test_the_authoritys_certificate_passes(port, own, spool):
    assert_goes_on(port, own)
    assert film_digest(encoded(film(1))) in {digest for digest, *_ in rows(spool)}


def test_strangers_anonymous_and_plain_text_are_dropped_and_the_receiver_goes_on(port, own, spool, authorities):
    stranger = dataclasses.replace(authorities[1].issue("scanner"), authority=own.authority)
    anonymous = ssl.create_default_context(cafile=own.authority)
    old = client_context(own)
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    before = rows(spool)
    for tls_args in ((client_context(stranger), "127.0.0.1"), (anonymous, "127.0.0.1"), (old, "127.0.0.1"), None):
        with association(port, tls_args=tls_args) as asked:
            assert not asked.is_established
    assert rows(spool) == before
    assert_goes_on(port, own, 2)


def test_who_connects_and_says_nothing_keeps_nobody_waiting(port, own):
    with socket.create_connection(("127.0.0.1", port)), socket.create_connection(("127.0.0.1", port)) as half:
        half.sendall(b"\x16\x03\x01")
        assert_goes_on(port, own, 3)


def test_a_listed_peer_may_speak_plainly_beside_tls(tmp_path, authorities, own):
    tls = authorities[0].issue("node")
    with running_receiver(tmp_path, tls=tls, plain_peers=(("127.0.0.1", "CR1"),), calling_ae_titles=("PACS",)) as port:
        with association(port, calling="CR1") as asked:
            assert store(asked, film(1)) == 0x0000
        with association(port, calling="CR2") as asked:
            assert asked.is_rejected
            assert asked.acceptor.primitive.diagnostic == 3
        with association(port, calling="PACS") as asked:  # may send, but not in plain text
            assert asked.is_rejected
        with association(port, calling="PACS", tls_args=(client_context(own), "127.0.0.1")) as asked:
            assert store(asked, film(2)) == 0x0000


def test_plain_text_of_an_address_that_is_not_listed_is_dropped_unread(tmp_path, caplog):
    with running_receiver(tmp_path, plain_peers=(("10.9.8.7", "CR1"),), host="0.0.0.0") as port:
        with association(port) as asked:
            assert not asked.is_established
            assert not asked.is_rejected  # no answer in DICOM
        assert "dropped a connection from 127.0.0.1: plain text of a peer that is not listed" in caplog.text


@pytest.mark.parametrize(
    "settings",
    [
        {"host": "0.0.0.0"},
        {"host": ""},
        {"host": "192.0.2.1"},
        {"host": "scanner.example"},
        {"plain_peers": (("scanner.example", "CR1"),)},
    ],
)
def test_an_open_address_without_tls_or_peers_is_refused_at_the_start(settings):
    with pytest.raises(SettingError) as caught:
        PeerRules(ReceiveSettings(**settings))
    assert caught.value.code == "setting-invalid"


def test_files_that_are_no_certificates_are_named(tmp_path, own):
    (tmp_path / "x.pem").write_text("no certificate")
    for change in ("certificate", "key", "authority"):
        with pytest.raises(SettingError):
            PeerRules(ReceiveSettings(tls=dataclasses.replace(own, **{change: tmp_path / "x.pem"})))


def test_addresses_are_compared_as_addresses():
    rules = PeerRules(ReceiveSettings(host="0.0.0.0", plain_peers=(("10.1.2.3", "CR1"), ("fd00::1", "CR2"))))
    assert rules.may_speak_plainly("10.1.2.3")
    assert rules.may_speak_plainly("::ffff:10.1.2.3", "CR1")
    assert rules.may_speak_plainly("fd00:0:0::1%eth0", "CR2")
    assert not rules.may_speak_plainly("10.1.2.3", "CR2")
    assert not rules.may_speak_plainly("127.0.0.1")


def test_a_pdu_that_names_four_gigabytes_and_one_that_stalls_end_their_connection(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(listener, "STALLED_S", 0.3)
    with running_receiver(tmp_path) as port:
        for content in (b"\x01\x00\xff\xff\xff\xff" + bytes(100), b"\x01\x00\x00\x00\x01\x00" + bytes(10)):
            with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
                connection.sendall(content)
                assert connection.recv(100) == b""
        with association(port) as asked:
            assert asked.send_c_echo().Status == 0x0000


def test_who_leaves_before_asking_takes_no_place(tmp_path):
    with running_receiver(tmp_path, associations=1) as port:
        for _ in range(3):
            socket.create_connection(("127.0.0.1", port)).close()
        until = time.monotonic() + 20  # not pynetdicom's 30
        is_established = False
        while not is_established and time.monotonic() < until:
            with association(port) as asked:
                is_established = asked.is_established
        assert is_established


def test_a_port_that_is_taken_is_an_error_with_a_code(tmp_path):
    with running_receiver(tmp_path / "a") as port:
        settings = NodeSettings(tmp_path / "b", receive=ReceiveSettings(port=port))
        with pytest.raises(SettingError, match=f"port {port}, cannot be listened at"):
            run_receiver(settings, threading.Event())


@pytest.mark.hospital
def test_dcmtk_sends_with_tls(port, own, spool, authorities, tmp_path):
    path = tmp_path / "film.dcm"
    film(9).save_as(path, enforce_file_format=True)
    stranger = authorities[1].issue("scanner")

    def send(tls) -> subprocess.CompletedProcess:
        words = ["storescu", "-aec", "CXRNODE", "+tls", tls.key, tls.certificate, "+cf", own.authority]
        return subprocess.run([*words, "127.0.0.1", str(port), path], capture_output=True, text=True, timeout=60)

    assert shutil.which("storescu")
    assert send(stranger).returncode != 0
    done = send(own)
    assert done.returncode == 0, done.stderr
    assert {digest for digest, *_ in rows(spool)} >= {film_digest(path)}
    assert rows(spool)[-1][1] == DIGITAL
