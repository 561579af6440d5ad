"""A receiver that runs in a thread of the test, on a free port; senders; films to send."""

import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from io import BytesIO
from pathlib import Path
from unittest.mock import patch

import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode
from pynetdicom.transport import AssociationSocket

from apps.node.receiver import run_receiver
from apps.node.settings import NodeSettings, ReceiveSettings

VERIFICATION = "1.2.840.10008.1.1"
COMPUTED, DIGITAL, RAW, CAPTURE = (f"1.2.840.10008.5.1.4.1.1.{number}" for number in ("1", "1.1", "1.1.1", "7"))
CT = "1.2.840.10008.5.1.4.1.1.2"
WAIT_S = 60


@contextmanager
def running_receiver(spool: Path, stop: threading.Event | None = None, **settings) -> Iterator[int]:
    """Run a receiver; give its port.

    Args:
        spool: its folder.
        stop: ends it before the block does.
        settings: of ``ReceiveSettings``, where they are not those of a test: a free port, little in reserve.
    """
    receive = ReceiveSettings(**({"port": 0, "reserve_mb": 1} | settings))
    stop, is_listening = stop or threading.Event(), threading.Event()
    ports: list[int] = []

    def note(port: int) -> None:
        ports.append(port)
        is_listening.set()

    thread = threading.Thread(target=run_receiver, args=(NodeSettings(spool, receive), stop, note))
    thread.start()
    try:
        assert is_listening.wait(WAIT_S)
        yield ports[0]
    finally:
        stop.set()
        thread.join(WAIT_S)
    assert not thread.is_alive()


@contextmanager
def association(
    port: int, sop_classes=(VERIFICATION, DIGITAL, CAPTURE), called: str = "CXRNODE", calling: str = "CR1", **options
) -> Iterator[Association]:
    """Ask a receiver for an association, which may be refused."""
    entity = AE(ae_title=calling)
    for sop_class in sop_classes:
        entity.add_requested_context(sop_class, ExplicitVRLittleEndian)
    with patch.object(AssociationSocket, "_shutdown_socket", _close):
        asked = entity.associate("127.0.0.1", port, ae_title=called, **options)
        try:
            yield asked
        finally:
            if asked.is_established:
                asked.release()


def _close(connection: AssociationSocket) -> None:
    """Close a sender's socket; pynetdicom leaves one open whose other side has closed it before."""
    if connection.socket is not None:
        with suppress(OSError):
            connection.socket.shutdown(socket.SHUT_RDWR)
        connection.socket.close()


def film(number: int = 1, sop_class: str = DIGITAL, size: int = 64) -> Dataset:
    """Return a film with names to hide; another number is another film."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, f"1.2.3.77.{number}"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = f"1.2.3.78.{number}", f"1.2.3.79.{number}"
    dataset.PatientName, dataset.PatientID, dataset.AccessionNumber = "HIDDEN^PERSON", "HIDDENID", "HIDDENACC"
    dataset.Modality, dataset.PhotometricInterpretation = "DX", "MONOCHROME2"
    dataset.Rows = dataset.Columns = size
    dataset.SamplesPerPixel, dataset.PixelRepresentation = 1, 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    pixels = np.random.default_rng(number).integers(0, 4096, (size, size), dtype=np.uint16)
    dataset.PixelData = pixels.tobytes()
    return dataset


def rows(spool: Path) -> list[tuple]:
    """Return digest, SOP class, transfer syntax and sender of the films in a spool."""
    with closing(sqlite3.connect(spool / "node.db")) as database:
        return database.execute(
            "SELECT digest, sop_class, transfer_syntax, calling_ae FROM films ORDER BY received_at"
        ).fetchall()


def encoded(dataset: Dataset) -> bytes:
    """Return the data set alone, as it travels (explicit little endian)."""
    return encode(dataset, False, True)


def store(asked: Association, dataset: Dataset, content: bytes | None = None, **command: str) -> int | None:
    """Send a film as C-STORE and return the status; None where the connection ended without one.

    Args:
        asked: the association.
        dataset: the film.
        content: what is sent in its place.
        command: what the command says instead, such as ``AffectedSOPInstanceUID``.
    """
    request = C_STORE()
    request.MessageID, request.Priority = 1, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
    request.DataSet = BytesIO(encoded(dataset) if content is None else content)
    for name, value in command.items():
        setattr(request, name, value)
    context = next(each for each in asked.accepted_contexts if each.abstract_syntax == dataset.SOPClassUID)
    asked._reactor_checkpoint.clear()
    try:
        while not asked._is_paused:
            time.sleep(0.001)
        asked.dimse.send_msg(request, context.context_id)
        _, response = asked.dimse.get_msg(block=True)
    finally:
        asked._reactor_checkpoint.set()
    return None if response is None else response.Status
