"""TLS of both directions: 1.2 at least, and each side shows a certificate that the other's authority signed.

context = server_context(settings.receive.tls)
context = client_context(destination.tls)
"""

import ssl

from cxr_monai.errors import Code, SettingError

from .settings import TlsSettings


def server_context(tls: TlsSettings) -> ssl.SSLContext:
    """Return the context of a listener: clients must show a certificate.

    Args:
        tls: the listener's certificate and key, and the authority of the clients'.

    Raises:
        SettingError: ``setting-invalid`` if a file is missing or is no certificate or key.
    """
    return _context(ssl.PROTOCOL_TLS_SERVER, tls)


def client_context(tls: TlsSettings) -> ssl.SSLContext:
    """Return the context of a client: it shows its certificate, and the server's must bear the name that was called.

    Args:
        tls: the client's certificate and key, and the authority of the server's.

    Raises:
        SettingError: ``setting-invalid`` if a file is missing or is no certificate or key.
    """
    return _context(ssl.PROTOCOL_TLS_CLIENT, tls)


def _context(protocol: int, tls: TlsSettings) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    for place, load in (
        (tls.authority, lambda: context.load_verify_locations(cafile=tls.authority)),
        (tls.certificate, lambda: context.load_cert_chain(tls.certificate, tls.key)),
    ):
        try:
            load()
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            raise SettingError(
                Code.SETTING_INVALID,
                f"it cannot be used for TLS ({error}).",
                fix="All are PEM files; the key belongs to the certificate, and has no password.",
                where=place,
            ) from error
    return context
