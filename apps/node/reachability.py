"""Why a destination cannot be reached, in words: name, connection, TLS. No library below tells it."""

import socket
import ssl

from cxr_monai.errors import Code, CxrError

CONNECT_S = 10.0
"""Seconds to wait for a connection."""


def unreachable(message: str, fix: str | None = None) -> CxrError:
    """Return the error of a destination that nothing can be sent to now."""
    return CxrError(Code.DESTINATION_UNREACHABLE, message, fix=fix)


def connection_problem(host: str, port: int, context: ssl.SSLContext | None) -> CxrError | None:
    """Connect once more and return why it does not work; None if it does.

    Args:
        host, port: of the destination.
        context: of TLS; None without.
    """
    place = f"{host}:{port}"
    try:
        with socket.create_connection((host, port), timeout=CONNECT_S) as channel:
            if context is None:
                return None
            with context.wrap_socket(channel, server_hostname=host) as secure:
                return _refused_certificate(secure, place)
    except ssl.SSLCertVerificationError as error:
        return unreachable(
            f"{place}: its certificate is not accepted: {error.verify_message}.",
            "destination.tls.authority must hold who signed it, and it must bear the name or address that is called.",
        )
    except ssl.SSLError as error:
        return unreachable(f"{place}: no TLS connection: {_alert(error)}.", _TLS_FIX)
    except TimeoutError:
        return unreachable(f"{place} does not answer within {CONNECT_S:.0f} s.", "Is a firewall between?")
    except socket.gaierror as error:
        return unreachable(f"{host}: no such host ({error.strerror}).")
    except ConnectionResetError:
        return unreachable(f"{place} ends the connection at once.", _TLS_FIX if context else None)
    except OSError as error:
        return unreachable(f"{place}: {(error.strerror or type(error).__name__).lower()}.")


_TLS_FIX = "Does it speak TLS 1.2 or newer at this port, and does it know who signed the node's certificate?"


def _alert(error: ssl.SSLError) -> str:
    return (error.reason or "handshake failed").lower().replace("_", " ")


def _refused_certificate(secure: ssl.SSLSocket, place: str) -> CxrError | None:
    """Wait shortly for an alert: with TLS 1.3 a server refuses a client's certificate after the client's handshake."""
    secure.settimeout(0.5)
    try:
        if secure.recv(1) == b"":
            return unreachable(f"{place} ends the TLS connection at once.", _TLS_FIX)
    except TimeoutError:
        return None
    except ssl.SSLError as error:
        return unreachable(f"{place} refuses the node's certificate: {_alert(error)}.", _TLS_FIX)
    return None
