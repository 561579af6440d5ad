"""The receiver: what is acknowledged is on the disk, and each refusal has its status."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import ExplicitVRLittleEndian

from apps.node.spool import Spool
from cxr_monai.objects import film_digest
from tests.support.receivers import (
    CAPTURE,
    COMPUTED,
    CT,
    DIGITAL,
    RAW,
    VERIFICATION,
    association,
    encoded,
    film,
    rows,
    running_receiver,
    store,
)


@pytest.fixture(scope="module")
def spool(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("receiver") / "spool"


@pytest.fixture(scope="module")
def port(spool):
    with running_receiver(spool, calling_ae_titles=("CR1",), largest_film_mb=1) as number:
        yield number


@pytest.fixture
def sender(port):
    with association(port, (VERIFICATION, COMPUTED, DIGITAL, RAW, CAPTURE)) as asked:
        yield asked


def test_nothing_of_the_model_is_imported():
    code = (
        "import sys, apps.node.receiver\n"
        "heavy = {'torch', 'pandas', 'highdicom', 'monai', 'scipy'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])


def test_echo(sender):
    assert sender.send_c_echo().Status == 0x0000


@pytest.mark.parametrize("sop_class", [COMPUTED, DIGITAL, RAW, CAPTURE])
def test_a_film_is_on_the_disk_when_it_is_acknowledged(sender, spool, sop_class):
    sent = film(int(sop_class.replace(".", "")[-4:]), sop_class)
    assert store(sender, sent) == 0x0000
    digest = film_digest(encoded(sent))
    assert (digest, sop_class, str(ExplicitVRLittleEndian), "CR1") in rows(spool)
    received = dcmread(spool / "films" / f"{digest}.dcm")
    assert film_digest(spool / "films" / f"{digest}.dcm") == digest
    assert received.file_meta.MediaStorageSOPInstanceUID == sent.SOPInstanceUID
    assert list((spool / "incoming").iterdir()) == []


def test_the_same_bytes_are_one_film_and_other_bytes_are_another(sender, spool):
    sent = film(2)
    assert store(sender, sent) == store(sender, sent) == 0x0000
    digests = [digest for digest, *_ in rows(spool)]
    assert digests.count(film_digest(encoded(sent))) == 1
    sent.WindowCenter = 7
    assert store(sender, sent) == 0x0000
    assert [digest for digest, *_ in rows(spool)] == [*digests, film_digest(encoded(sent))]


def without(keyword: str) -> Dataset:
    sent = film(3)
    delattr(sent, keyword)
    return sent


def result_of_ours() -> Dataset:
    sent, equipment = film(4, CAPTURE), Dataset()
    equipment.Manufacturer = "cxr-monai"
    sent.ContributingEquipmentSequence = [equipment]
    return sent


@pytest.mark.parametrize(
    ("sent", "status", "command"),
    [
        (without("StudyInstanceUID"), 0xA900, {}),
        (without("SeriesInstanceUID"), 0xA900, {}),
        (film(3), 0xA900, {"AffectedSOPInstanceUID": "1.2.3.4"}),
        (film(3), 0xA900, {"AffectedSOPClassUID": COMPUTED}),
        (without("PixelData"), 0xC000, {}),
        (result_of_ours(), 0x0124, {}),
        (film(3, size=720), 0xA700, {}),
    ],
    ids=["no study", "no series", "other instance", "other class", "no pixels", "own result", "too large"],
)
def test_what_is_refused_leaves_nothing_and_the_association_goes_on(sender, spool, sent, status, command):
    before = rows(spool), sorted(spool.glob("*/*.dcm"))
    assert store(sender, sent, **command) == status
    assert (rows(spool), sorted(spool.glob("*/*.dcm"))) == before
    assert sender.send_c_echo().Status == 0x0000


def test_a_header_that_is_cut_anywhere_is_not_understood(sender, spool):
    content = encoded(film(5))
    end = content.index(b"\xe0\x7f\x10\x00")
    before = rows(spool)
    for length in (9, end // 3, end // 2, end - 9, end - 1, end, end + 3):
        assert store(sender, film(5), content[:length]) == 0xC000
    assert rows(spool) == before


@pytest.mark.parametrize("content", [b"x", b"\xff" * 4000, bytes(4000)])
def test_what_is_no_data_set_is_not_understood(sender, spool, content):
    before = rows(spool)
    assert store(sender, film(5), content) in (0xC000, None)
    assert rows(spool) == before


def test_pixels_that_are_cut_and_other_body_parts_are_stored_to_be_shown_as_refused(sender, spool):
    content = encoded(film(6))[:-1000]
    assert store(sender, film(6), content) == 0x0000
    knee = film(7)
    knee.BodyPartExamined = "KNEE"
    assert store(sender, knee) == 0x0000
    assert {film_digest(content), film_digest(encoded(knee))} <= {digest for digest, *_ in rows(spool)}


@pytest.mark.parametrize(
    ("titles", "diagnostic"), [({"called": "OTHER"}, 7), ({"calling": "STRANGER"}, 3)], ids=["called", "calling"]
)
def test_wrong_titles_are_rejected(port, titles, diagnostic):
    with association(port, **titles) as asked:
        assert asked.is_rejected
        assert asked.acceptor.primitive.diagnostic == diagnostic


def test_ct_has_no_accepted_context(port):
    with association(port, (CT,)) as asked:
        assert not asked.is_established
        assert [context.result for context in asked.rejected_contexts] == [3]


def test_too_many_associations_are_rejected_for_a_while(tmp_path):
    with running_receiver(tmp_path, associations=1) as port, association(port) as first:
        with association(port) as second:
            assert second.is_rejected
            assert second.acceptor.primitive.result == 2  # transient
        assert first.send_c_echo().Status == 0x0000


def test_a_start_sweeps_parts_and_adds_the_rows_of_films_without_one(tmp_path):
    with running_receiver(tmp_path) as port, association(port) as sender:
        assert store(sender, film()) == 0x0000
    before = rows(tmp_path)
    spool = Spool(tmp_path)
    with spool.transaction() as database:  # as after a kill between the rename and the row
        database.execute("DELETE FROM films")
    spool.close()
    (tmp_path / "incoming" / "tmp1.dcm").write_bytes(b"half")
    (tmp_path / "films" / f"{'0' * 64}.dcm").write_bytes(b"damaged")
    with running_receiver(tmp_path):
        assert [row[:3] for row in rows(tmp_path)] == [row[:3] for row in before]
        assert list((tmp_path / "incoming").iterdir()) == []


@pytest.mark.hospital
@pytest.mark.parametrize(
    ("compress", "propose", "syntax"),
    [
        ("dcmcjpeg", "-xs", "1.2.840.10008.1.2.4.70"),
        ("dcmcjpls", "-xt", "1.2.840.10008.1.2.4.80"),
        ("dcmcrle", "-xr", "1.2.840.10008.1.2.5"),
    ],
)
def test_dcmtk_sends_compressed_films(port, spool, tmp_path, compress, propose, syntax):
    sent = film(20)
    sent.save_as(tmp_path / "plain.dcm", enforce_file_format=True)
    subprocess.run([compress, tmp_path / "plain.dcm", tmp_path / "film.dcm"], check=True)
    address = ["-aet", "CR1", "-aec", "CXRNODE", "127.0.0.1", str(port)]
    subprocess.run(["storescu", propose, *address, tmp_path / "film.dcm"], check=True)
    digest = film_digest(tmp_path / "film.dcm")
    assert (digest, DIGITAL, syntax, "CR1") in rows(spool)
    received = dcmread(spool / "films" / f"{digest}.dcm")
    np.testing.assert_array_equal(received.pixel_array, sent.pixel_array)


@pytest.mark.hospital
def test_dcmtk_hears_why_it_is_refused(port, spool, tmp_path):
    before = rows(spool)
    result_of_ours().save_as(tmp_path / "result.dcm", enforce_file_format=True)
    address = ["-d", "-aet", "CR1", "-aec", "CXRNODE", "127.0.0.1", str(port)]
    done = subprocess.run(["storescu", *address, tmp_path / "result.dcm"], capture_output=True, text=True)
    assert "0x0124" in done.stderr
    assert "it is a result of this software, no film" in done.stderr
    done = subprocess.run(["echoscu", "-aet", "CR1", "-aec", "OTHER", *address[-2:]], capture_output=True, text=True)
    assert "Called AE Title Not Recognized" in done.stdout + done.stderr
    assert rows(spool) == before
