"""Result objects to an archive by C-STORE: one association for many, each object with a status of its own.

with closing(DimseSender(destination).send(deliveries)) as outcomes:
    for outcome in outcomes:
        ...
"""

import socket
import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager

from pydicom import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, Association, _config, evt
from pynetdicom.presentation import PresentationContext, build_context

from cxr_monai.errors import Code, CxrError

from .delivery_outcome import DeliveryOutcome, outcome_of_status, refusal
from .reachability import CONNECT_S, connection_problem, unreachable
from .result_file import ResultFile
from .settings import Destination
from .spooled import Delivery
from .tls import client_context

UNCOMPRESSED = (str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian))
"""Offered beside an object's own syntax; every archive takes the second (PS3.5 10.1)."""

CLOSE_S = 1.0
"""Seconds that the library's thread of a connection has to end."""


class DimseSender:
    """Sends to one destination.

    Args:
        destination: of protocol ``dicom``.
    """

    def __init__(self, destination: Destination) -> None:
        self.destination = destination
        self._association: Association | None = None
        self._lock = threading.Lock()
        _config.STORE_SEND_CHUNKED_DATASET = True  # files are sent as they are, not decoded and encoded again

    def send(self, deliveries: Sequence[Delivery]) -> Generator[DeliveryOutcome, None, None]:
        """Send objects and yield what came of each; the association ends with the iterator.

        Args:
            deliveries: objects, in the order in which they are sent.

        Raises:
            CxrError: ``destination-unreachable`` if nothing can be sent now.
        """
        files = []
        for delivery in deliveries:
            try:
                files.append(ResultFile.read(delivery))
            except CxrError as error:
                yield DeliveryOutcome(delivery, error)
        if not files:
            return
        with self.associated(contexts_for(files)) as association:
            for file in files:
                outcome = self._store(association, file)
                yield outcome
                if outcome.ends_batch:
                    return

    def cut(self) -> None:
        """Cut the connection from another thread; what was not confirmed counts as not sent."""
        with self._lock:
            if self._association is not None and self._association.dul.socket is not None:
                self._association.dul.socket._shutdown_socket()

    @contextmanager
    def associated(self, contexts: Sequence[PresentationContext]) -> Iterator[Association]:
        """Have an association, perhaps one without an accepted context.

        Args:
            contexts: to offer.

        Raises:
            CxrError: ``destination-unreachable`` with the reason in words.
        """
        place, entity = self.destination, AE(ae_title=self.destination.calling_ae_title)
        entity.connection_timeout, entity.acse_timeout = CONNECT_S, place.timeout_s
        entity.dimse_timeout = entity.network_timeout = place.timeout_s
        context = client_context(place.tls) if place.tls else None
        channels: list[socket.socket] = []
        # asked first, since pynetdicom tells no reason, and leaves its socket open where the connection is refused
        if problem := connection_problem(place.host, place.port, context):
            raise problem
        association = entity.associate(
            place.host,
            place.port,
            [*contexts],
            ae_title=place.ae_title,
            tls_args=(context, place.host) if context else None,
            evt_handlers=[(evt.EVT_CONN_OPEN, _take_channel, [place.timeout_s, channels])],
        )
        with self._lock:
            self._association = association
        try:
            if not association.is_established and not association.rejected_contexts:
                raise (
                    self._reason(association)
                    or unreachable(
                        f"{place.host}:{place.port} accepts the connection and answers no association.",
                        "Is it a DICOM service, and does it speak TLS where the destination has none?",
                    )
                )
            yield association
        finally:
            with self._lock:
                self._association = None
            if association.is_established:
                association.release()
            association.dul.join(CLOSE_S)
            for channel in channels:  # pynetdicom leaves it open where the other side has closed it before
                channel.close()

    def _reason(self, association: Association) -> CxrError | None:
        if not association.is_rejected:
            return None
        answer = association.acceptor.primitive
        return unreachable(
            f"the association is refused: {answer.reason_str}.",
            f"It is called {self.destination.ae_title}, by {self.destination.calling_ae_title}: the archive must know "
            "both names, and the address of this machine.",
        )

    def _store(self, association: Association, file: ResultFile) -> DeliveryOutcome:
        offered = {str(one.transfer_syntax[0]) for one in _accepted(association, file.sop_class)}
        if not offered:
            return DeliveryOutcome(file.delivery, refusal(f"it does not take {UID(file.sop_class).name}."))
        if not association.is_established:
            return self._lost(file.delivery)
        try:
            status = association.send_c_store(_in_syntax(file, offered))
        except Exception as error:  # a library's fault with one object must not keep the others
            if not association.is_established:
                return self._lost(file.delivery)
            words = f"it cannot be sent in a syntax that the archive takes ({type(error).__name__})."
            return DeliveryOutcome(file.delivery, CxrError(Code.SYSTEM_ERROR, words))
        return outcome_of_status(file.delivery, status.Status) if "Status" in status else self._lost(file.delivery)

    def _lost(self, delivery: Delivery) -> DeliveryOutcome:
        words = f"it ended the connection, or did not answer in {self.destination.timeout_s:g} s."
        return DeliveryOutcome(delivery, unreachable(words), ends_batch=True)


def contexts_for(files: Sequence[ResultFile]) -> list[PresentationContext]:
    """Return the presentation contexts to offer: for each SOP class its files' syntaxes, then the uncompressed ones."""
    wanted: dict[str, list[str]] = {}
    for file in files:
        wanted.setdefault(file.sop_class, []).append(file.transfer_syntax)
    return [
        build_context(sop_class, syntax)
        for sop_class, syntaxes in wanted.items()
        for syntax in dict.fromkeys([*syntaxes, *UNCOMPRESSED])
    ]


def _accepted(association: Association, sop_class: str) -> list[PresentationContext]:
    return [one for one in association.accepted_contexts if one.abstract_syntax == sop_class]


def _in_syntax(file: ResultFile, offered: set[str]) -> Dataset | str:
    """Return what to send: the file as it is, or decoded for an archive that does not take its syntax."""
    if file.transfer_syntax in offered:
        return str(file.delivery.path)
    dataset = file.dataset()
    if UID(file.transfer_syntax).is_compressed:
        dataset.decompress(generate_instance_uid=False)
    return dataset


def _take_channel(event: evt.Event, seconds: float, channels: list[socket.socket]) -> None:
    """Let a write end that the peer never reads: the library's own time-outs count the waiting for an answer."""
    channels.append(event.assoc.dul.socket.socket)
    channels[-1].settimeout(seconds)
