"""Fetch one file whose digest is known: http(s) alone, few redirects, a cap on its size while it streams."""

import hashlib
import http.client
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from cxr_monai.environment import without_password
from cxr_monai.errors import Code, DownloadError, UsageError
from cxr_monai.plurals import counted
from cxr_monai.sharing.inspection.remarks import shortened
from cxr_monai.sharing.package.file_list import LARGEST_BUNDLE

REDIRECTS = 3
SILENCE = 30.0
"""Seconds without a byte after which a server is given up."""
LONGEST_DOWNLOAD = 3600.0
"""Seconds of a whole download."""


def fetch_file(address: str, digest: str | None, target: Path, largest: int = LARGEST_BUNDLE) -> None:
    """Fetch a file.

    Args:
        address: ``http://`` or ``https://``.
        digest: the file's SHA-256 in hexadecimal digits, which its sender communicates by another way.
        target: the file to write; must not exist.
        largest: bytes that it may have.

    Raises:
        UsageError: ``usage`` without a digest or for another kind of address.
        DownloadError: ``download-failed``, also for too large a file or too many redirects; ``checksum-mismatch``.
    """
    shown = without_password(address)
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or "@" in parts.netloc:
        raise UsageError(
            Code.USAGE, f"{shown}: an address begins with https:// or http://, and has no name and password in it."
        )
    if digest is None:
        raise UsageError(
            Code.USAGE, f"{shown}: a download needs its digest, --sha256, which 'cxr-monai bundle sign' prints."
        )
    # these handlers alone: by default there are also ones for local files and FTP
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _Redirects(),
    ):
        opener.add_handler(handler)
    try:
        with opener.open(address, timeout=SILENCE) as response, target.open("xb") as file:
            actual = _stream(response, file, largest)
    except (OSError, ValueError, http.client.HTTPException) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        raise DownloadError(
            Code.DOWNLOAD_FAILED,
            f"it could not be fetched: {error}",
            fix="Fetch it elsewhere, and install the file.",
            where=shown,
        ) from error
    if actual != digest.lower():
        raise DownloadError(
            Code.CHECKSUM_MISMATCH,
            f"its SHA-256 is {actual}, not {digest}: it is another file than the one that was announced.",
            fix="Ask its sender, by another way than this address.",
            where=shown,
        )


def _stream(response: Any, file: IO[bytes], largest: int) -> str:
    total, size, end = hashlib.sha256(), 0, time.monotonic() + LONGEST_DOWNLOAD
    while block := response.read(1 << 16):
        size += len(block)
        if size > largest:
            raise ValueError(f"it is larger than {counted(largest, 'byte')}.")
        if time.monotonic() > end:
            raise ValueError(f"it takes longer than {LONGEST_DOWNLOAD:,.0f} seconds.")
        total.update(block)
        file.write(block)
    announced = response.headers.get("Content-Length")
    if announced is not None and announced != str(size):
        raise ValueError(f"it ended after {counted(size, 'byte')}; {shortened(announced)} were announced.")
    return total.hexdigest()


class _Redirects(urllib.request.HTTPRedirectHandler):
    max_redirections = REDIRECTS
    max_repeats = 1

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if urlsplit(newurl).scheme != "https" and urlsplit(req.full_url).scheme == "https":
            raise ValueError(f"the server sends from https to {without_password(newurl)}.")
        return super().redirect_request(req, fp, code, msg, headers, newurl)
