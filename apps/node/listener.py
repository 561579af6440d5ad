"""Who may connect: TLS with a client's certificate, or plain text on the loopback and from peers that are listed.

One port serves both. The first byte of a connection says which it is: 22 begins TLS (RFC 8446, 5.1), 1 an association
request (PS3.8 9.3.2). Plain text from anybody else is dropped before a byte of it is read as DICOM. The handshake has a
thread and a time limit of its own: whoever connects and keeps silent keeps nobody waiting.
"""

import functools
import ipaddress
import socket
import ssl
import threading
import time
from typing import Any

from pynetdicom.transport import AssociationSocket, RequestHandler, ThreadedAssociationServer

from cxr_monai.errors import Code, SettingError

from .node_logging import node_logger
from .reception import FilmReception, RoomForFilms
from .settings import ReceiveSettings, is_loopback
from .tls import server_context

logger = node_logger("receive")

TLS_HANDSHAKE = b"\x16"
HANDSHAKE_S = 10
"""Seconds to wait for a connection's first byte, and for each answer of a TLS handshake."""
STALLED_S = 60
"""Seconds within which a PDU must have arrived."""
LARGEST_PDU = 1 << 18
"""Bytes; a data PDU has at most what the receiver asked for, an association request with 128 contexts about 80 kB."""
MORE_CONNECTIONS = 64
"""Connections beyond the number of associations, such as those whose handshake has not ended."""


class PeerRules:
    """Which addresses may connect, and how.

    Args:
        settings: of the receiver.

    Raises:
        SettingError: ``setting-invalid``: an address is none, a TLS file is unusable, or another host than the loopback
            is to be listened at with neither TLS nor listed peers.
    """

    def __init__(self, settings: ReceiveSettings) -> None:
        is_local = is_loopback(settings.host)
        if not is_local and settings.tls is None and not settings.plain_peers:
            raise SettingError(
                Code.SETTING_INVALID,
                f"{settings.host} is no loopback address: films would come in plain text, and from anybody.",
                fix="Set receive.tls, or list receive.plain_peers, or listen at 127.0.0.1.",
                where="receive.host",
            )
        self.context = None if settings.tls is None else server_context(settings.tls)
        self._peers = {(_address(host), title) for host, title in settings.plain_peers}
        self._is_open = is_local and self.context is None

    def may_speak_plainly(self, host: str, ae_title: str | None = None) -> bool:
        """Return whether a peer may connect without TLS.

        Args:
            host: its address.
            ae_title: how it calls itself; None before it has said so.
        """
        address = _address(host)
        return self._is_open or any(address == listed and ae_title in (None, title) for listed, title in self._peers)

    def secured(self, connection: socket.socket, host: str) -> socket.socket | None:
        """Return the connection to go on with, TLS or plain; None for one to drop.

        Args:
            connection: that was just accepted.
            host: whom it comes from.
        """
        connection.settimeout(HANDSHAKE_S)
        first = connection.recv(1, socket.MSG_PEEK)
        if first == TLS_HANDSHAKE and self.context is not None:
            connection = self.context.wrap_socket(connection, server_side=True)
        elif first == TLS_HANDSHAKE or not self.may_speak_plainly(host):
            if first:
                logger.warning("dropped a connection from %s: %s", host, _why_dropped(first))
            return None
        connection.settimeout(STALLED_S)
        return connection


def _why_dropped(first: bytes) -> str:
    return "it speaks TLS, and none is set" if first == TLS_HANDSHAKE else "plain text of a peer that is not listed"


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError as error:
        raise SettingError(
            Code.SETTING_INVALID,
            f"{host} is no IP address.",
            fix="Write the address in numbers, such as 10.1.2.3; names may change their meaning.",
            where="receive",
        ) from error
    return getattr(address, "ipv4_mapped", None) or address


class FilmConnection(RequestHandler):
    """One connection: its association, from the first PDU until its last part is removed."""

    def handle(self) -> None:
        """Serve the association to its end."""
        association = self._create_association()
        reception = FilmReception(association, self.server.room)
        association.dimse = reception
        association.dul.socket.recv = functools.partial(_receive_exactly, association.dul.socket)
        try:
            association.start()
            association.join()
            if association.dul.is_alive():
                association.dul.join()
        finally:
            reception.discard()
            self.request.close()  # pynetdicom does not, where the other side closed it first


def _receive_exactly(connection: AssociationSocket, size: int) -> bytearray:
    """Return so many bytes, or fewer where the connection ends; pynetdicom reads each PDU with this.

    Its own waits for ever, takes any size that a PDU names, and 4 kB at a time.
    """
    if size > LARGEST_PDU:
        raise ConnectionAbortedError
    content, received, until = bytearray(size), 0, time.monotonic() + STALLED_S
    while received < size:
        with memoryview(content) as view:
            part = connection.socket.recv_into(view[received:])
        if not part:
            break
        received += part
        if time.monotonic() > until:
            raise TimeoutError
    del content[received:]
    return content


class FilmServer(ThreadedAssociationServer):
    """The listener: pynetdicom's, with rules of who may connect.

    Args:
        arguments, options: of pynetdicom's.
        rules: of peers.
        room: for films.
        connections: at a time.
    """

    def __init__(self, *arguments: Any, rules: PeerRules, room: RoomForFilms, connections: int, **options: Any) -> None:
        self.rules, self.room = rules, room
        self._free = threading.BoundedSemaphore(connections)
        super().__init__(*arguments, request_handler=FilmConnection, **options)

    def verify_request(self, request: socket.socket, client_address: Any) -> bool:
        """Return whether a connection is taken; called by ``socketserver``."""
        return self._free.acquire(blocking=False)

    def process_request_thread(self, request: socket.socket, client_address: Any) -> None:
        """Serve a connection in a thread of its own; called by ``socketserver``."""
        try:
            connection = self.rules.secured(request, client_address[0])
            if connection is not None:
                self.finish_request(connection, client_address)
        except (OSError, ssl.SSLError) as error:
            reason = getattr(error, "reason", None) or type(error).__name__
            logger.warning("a connection from %s failed: %s", client_address[0], reason)
        finally:
            self._free.release()
            self.shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report an error without its text; called by ``socketserver``."""
        logger.exception("a connection from %s failed", client_address[0], exc_info=False)
