"""The receiver: C-ECHO and C-STORE. A film is acknowledged when its file, its folder and its row are on the disk.

run_receiver(settings, stop)    # until the event is set

It knows nothing of the model, and imports neither torch nor highdicom: films are taken while the analyser starts, or
cannot start.
"""

import sqlite3
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from pynetdicom import AE, _config, evt
from pynetdicom.events import Event

from cxr_monai.data.formats.dicom_library import (
    UID,
    Dataset,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    get_decoder,
)
from cxr_monai.errors import Code, CxrError, SettingError
from cxr_monai.objects import film_digest

from .listener import MORE_CONNECTIONS, FilmServer, PeerRules
from .node_logging import node_logger
from .quiet_network import quiet_network
from .reception import OUT_OF_RESOURCES, RoomForFilms, read_film_header, refusal_of
from .settings import NodeSettings, ReceiveSettings
from .spool import Spool

logger = node_logger("receive")

VERIFICATION = "1.2.840.10008.1.1"
FILM_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.1": "Computed Radiography Image Storage",
    "1.2.840.10008.5.1.4.1.1.1.1": "Digital X-Ray Image Storage - For Presentation",
    "1.2.840.10008.5.1.4.1.1.1.1.1": "Digital X-Ray Image Storage - For Processing",
    "1.2.840.10008.5.1.4.1.1.7": "Secondary Capture Image Storage",
}
"""SOP classes that are received (PS3.4 B.5). Raw detector data are taken and shown as refused; a Secondary Capture is
judged by its Modality."""
COMPRESSED = (
    "1.2.840.10008.1.2.4.70",  # JPEG lossless, first-order prediction
    "1.2.840.10008.1.2.4.57",
    "1.2.840.10008.1.2.4.80",  # JPEG-LS lossless
    "1.2.840.10008.1.2.4.90",  # JPEG 2000 lossless
    "1.2.840.10008.1.2.5",  # RLE
    "1.2.840.10008.1.2.4.91",
    "1.2.840.10008.1.2.4.51",
    "1.2.840.10008.1.2.4.50",
)
LARGEST_PART = 1 << 17
"""Bytes of a PDU that peers are asked not to exceed: pynetdicom's 16 kB cost time."""
IDLE_S = 120
"""Seconds of silence after which an association is ended."""


def transfer_syntaxes() -> list[str]:
    """Return the UIDs of the transfer syntaxes that are received: those that can be decoded here."""
    plain = [str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian)]
    return [*plain, *(syntax for syntax in COMPRESSED if get_decoder(UID(syntax)).is_available)]


def run_receiver(
    settings: NodeSettings, stop: threading.Event, on_listening: Callable[[int], None] = lambda port: None
) -> None:
    """Receive films until ``stop`` is set; then take no more, and finish those that are being written.

    Args:
        settings: of the node.
        stop: ends it.
        on_listening: is called with the port, once connections are taken.

    Raises:
        CxrError: ``setting-invalid``, the port being taken among it; or the spool cannot be opened.
    """
    receive = settings.receive
    rules = PeerRules(receive)
    with quiet_network(), _film_store(settings.spool) as store, _parts_in(store.incoming):
        entity = _entity(receive)
        server = _server(entity, receive, rules, store)
        store.recover()  # the port is ours: nobody else receives into this spool
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, name="listener")
        serving.start()
        try:
            port = server.socket.getsockname()[1]
            _say_who_may_connect(receive, port)
            on_listening(port)
            stop.wait()
        finally:
            server.shutdown()
            serving.join()
            store.finish()
            for association in entity.active_associations:
                association.abort()


def _server(entity: AE, receive: ReceiveSettings, rules: PeerRules, store: "_FilmStore") -> FilmServer:
    try:
        server = entity.make_server(
            (receive.host, receive.port),
            evt_handlers=[
                (evt.EVT_C_STORE, store.store),
                (evt.EVT_CONN_CLOSE, _forget_silent),
                (evt.EVT_REQUESTED, _check_plain_peer, [rules]),
                (evt.EVT_ACCEPTED, _report, ["accepted"]),
                (evt.EVT_REJECTED, _report, ["rejected"]),
                (evt.EVT_ABORTED, _report, ["aborted"]),
            ],
            server_class=FilmServer,
            rules=rules,
            room=RoomForFilms(store.incoming, receive.reserve_mb, receive.largest_film_mb),
            connections=receive.associations + MORE_CONNECTIONS,
        )
    except OSError as error:
        raise SettingError(
            Code.SETTING_INVALID,
            f"{receive.host}, port {receive.port}, cannot be listened at: {error.strerror}.",
            fix="Choose another port, or end what listens there; ports below 1024 are for root.",
            where="receive.port",
        ) from error
    entity._servers.append(server)  # as its start_server does; the server's shutdown() takes it away
    return server


def _entity(receive: ReceiveSettings) -> AE:
    entity = AE(ae_title=receive.ae_title)
    entity.require_called_aet = True
    if receive.calling_ae_titles:
        entity.require_calling_aet = sorted({*receive.calling_ae_titles, *(title for _, title in receive.plain_peers)})
    entity.maximum_associations = receive.associations
    entity.maximum_pdu_size = LARGEST_PART
    entity.network_timeout = IDLE_S
    entity.add_supported_context(VERIFICATION)
    for sop_class in FILM_CLASSES:
        entity.add_supported_context(sop_class, transfer_syntaxes())
    return entity


def _say_who_may_connect(receive: ReceiveSettings, port: int) -> None:
    how = "TLS with client certificates" if receive.tls else "plain text"
    logger.info("listens at %s port %d as %s, %s", receive.host, port, receive.ae_title, how)
    for host, title in receive.plain_peers:
        logger.warning("%s (%s) may send in plain text: whoever takes its address may too", host, title)


def _check_plain_peer(event: Event, rules: PeerRules) -> None:
    """Reject a plain peer that calls itself otherwise than it is listed."""
    association = event.assoc
    address, title = association.requestor.address, association.requestor.primitive.calling_ae_title
    is_plain = getattr(association.dul.socket.socket, "context", None) is None  # an SSLSocket has one
    if is_plain and not rules.may_speak_plainly(address, title):
        association.acse.send_reject(0x01, 0x01, 0x03)  # permanent, service user: calling AE title not recognised
        _report(event, "rejected")
        association.kill()


def _forget_silent(event: Event) -> None:
    """End the association of who left before asking for one; pynetdicom would count it for 30 seconds more."""
    if event.assoc.requestor.primitive is None:
        event.assoc.dul.to_user_queue.put(None)


def _report(event: Event, what: str) -> None:
    peer = event.assoc.requestor
    title = peer.primitive.calling_ae_title if peer.primitive else ""
    logger.info("association of %s at %s %s", title, peer.address, what)


@contextmanager
def _parts_in(folder: Path) -> Iterator[None]:
    """Let pynetdicom write what it receives to files in a folder: on the spool's disk, where the sweep finds them."""
    before = _config.STORE_RECV_CHUNKED_DATASET, tempfile.tempdir
    _config.STORE_RECV_CHUNKED_DATASET, tempfile.tempdir = True, str(folder)
    try:
        yield
    finally:
        _config.STORE_RECV_CHUNKED_DATASET, tempfile.tempdir = before


class _FilmStore:
    """What happens to a film once it is received; one thread writes to the spool, in the order of arrival."""

    def __init__(self, folder: Path, writer: ThreadPoolExecutor) -> None:
        self._writer = writer
        self._spool = writer.submit(Spool, folder).result()
        self.incoming: Path = self._spool.incoming

    def recover(self) -> None:
        """Remove the parts of an interrupted reception, and add the rows of films that have none."""
        swept = self._writer.submit(self._spool.sweep).result()
        adopted = self._writer.submit(self._adopt).result()
        if swept or adopted:
            logger.info("interrupted before: %d parts removed, %d films have their row now", swept, adopted)

    def finish(self) -> None:
        """Wait for the films that are being written; take no more."""
        self._writer.submit(self._spool.close)
        self._writer.shutdown(wait=True)

    def store(self, event: Event) -> int | Dataset:
        """Answer a C-STORE request with its status, and a refusal with its reason."""
        path, sender = event.dataset_path, event.assoc.requestor.ae_title
        if path is None:  # refused while it was received
            return _with_comment(OUT_OF_RESOURCES, "no room for it: the node's log says more")
        command = event.request
        try:
            refusal = refusal_of(path, command.AffectedSOPClassUID, command.AffectedSOPInstanceUID)
            if refusal is not None:
                logger.warning("a film from %s is refused with %04X: %s", sender, refusal.status, refusal.reason)
                return _with_comment(refusal.status, refusal.reason)
            digest = film_digest(path)
            is_new = self._writer.submit(
                self._spool.take_in,
                path,
                str(command.AffectedSOPClassUID),
                str(event.context.transfer_syntax),
                sender,
                digest,
            ).result()
        except (OSError, sqlite3.Error, CxrError, RuntimeError) as error:  # RuntimeError: the writer has stopped
            logger.error("a film from %s is not taken in: %s", sender, type(error).__name__)
            return _with_comment(OUT_OF_RESOURCES, "it cannot be written: the node's log says more")
        finally:
            event.assoc.dimse.settle(path)
        logger.info("film %s from %s %s", digest[:12], sender, "received" if is_new else "was here already")
        return 0x0000

    def _adopt(self) -> int:
        adopted = 0
        for path in self._spool.films_without_row():
            try:
                meta = read_film_header(path).file_meta
                classes = str(meta.MediaStorageSOPClassUID), str(meta.TransferSyntaxUID)
                adopted += self._spool.adopt(path, *classes)
            except (OSError, ValueError) as error:
                logger.error("film %s has no row, and cannot be read: %s", path.stem[:12], type(error).__name__)
        return adopted


def _with_comment(status: int, reason: str) -> Dataset:
    """Return a response with its Error Comment (0000,0902), which has 64 characters at most."""
    response = Dataset()
    response.Status, response.ErrorComment = status, reason[:64]
    return response


@contextmanager
def _film_store(folder: Path) -> Iterator[_FilmStore]:
    with ThreadPoolExecutor(1, thread_name_prefix="writer") as writer:
        yield _FilmStore(folder, writer)
