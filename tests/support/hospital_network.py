"""A network of its own for tests that need a real archive, and Orthanc in it.

    with hospital_network():            # this thread, and what it starts, see a loopback interface and nothing else
        with Orthanc(folder) as archive:
            archive.find("Instance")

Orthanc listens on every address, whatever its settings say: it is started in a network namespace, and nowhere else.
"""

import ctypes
import fcntl
import functools
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError

CLONE_NEWNET = 0x40000000
SIOCSIFFLAGS, IFF_UP = 0x8914, 1
REQUIRED = "CXR_MONAI_HOSPITAL"
"""Environment variable: with the value ``required`` a test marked ``hospital`` fails where it would be skipped."""

PROGRAMS = {
    "Orthanc": "orthanc", "dcmsend": "dcmtk", "storescu": "dcmtk", "dciodvfy": "dicom3tools",
}  # fmt: skip
"""Debian's package by program."""

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
START_S, STOP_S = 60, 60
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy of the machine is not for these


@functools.cache
def hospital_absent() -> str:
    """Return why tests with a real archive cannot run here, as a sentence; empty where they can."""
    search = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    packages = {package for program, package in PROGRAMS.items() if shutil.which(program, path=search) is None}
    if not PLUGIN.is_file():
        packages.add("orthanc-dicomweb")
    if packages:
        return f"a real archive is not here: apt-get install --no-install-recommends {' '.join(sorted(packages))}"
    if not _can_unshare():
        return "no network namespace can be made here (run the tests as root): Orthanc would listen on every address"
    return ""


def _can_unshare() -> bool:
    answers = []
    # of a thread that ends at once: its namespace goes with it
    attempt = threading.Thread(target=lambda: answers.append(_unshare()))
    attempt.start()
    attempt.join()
    return answers == [0]


def _unshare() -> int:
    if not hasattr(os, "geteuid"):
        return -1
    return ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET)


@contextmanager
def hospital_network() -> Iterator[None]:
    """Give this thread, and whatever it starts meanwhile, a network with a loopback interface alone."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/thread-self/ns/net") as before:
        if libc.unshare(CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "unshare")
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
                fcntl.ioctl(channel, SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", IFF_UP))
            yield
        finally:
            if libc.setns(before.fileno(), CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")


def free_port() -> int:
    """Return a port of the loopback interface at which nothing listens."""
    with socket.socket() as channel:
        channel.bind(("127.0.0.1", 0))
        return channel.getsockname()[1]


class Orthanc:
    """A real archive; start it within :func:`hospital_network`.

    Args:
        folder: for its storage, settings and log; the storage outlasts a restart.
        ae_title: it is called by.
        settings: of Orthanc, over those of here; ``DicomModalities``, ``LuaScripts``, ``OverwriteInstances``, ...

    Attributes:
        dicom_port, http_port: free ones, the same after a restart.
        log: path of what it wrote.
    """

    def __init__(self, folder: Path, ae_title: str = "ORTHANC", settings: Mapping[str, Any] | None = None) -> None:
        self.folder, self.ae_title = folder, ae_title
        self.dicom_port, self.http_port = free_port(), free_port()
        self.log = folder / "orthanc.log"
        folder.mkdir(parents=True, exist_ok=True)
        self.settings: dict[str, Any] = {
            "Name": ae_title,
            "DicomAet": ae_title,
            "DicomPort": self.dicom_port,
            "HttpPort": self.http_port,
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "storage"),
            "Plugins": [str(PLUGIN)],
            "AuthenticationEnabled": False,
            "DicomAlwaysAllowStore": True,
            "DicomAlwaysAllowEcho": True,
            "OverwriteInstances": False,
            **(settings or {}),
        }
        self.process: subprocess.Popen | None = None

    def __enter__(self) -> "Orthanc":
        self.start()
        return self

    def __exit__(self, *problem: object) -> None:
        self.kill()  # a stop takes three seconds, and nobody wants what it has

    @property
    def url(self) -> str:
        """Of its REST interface."""
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def dicomweb_url(self) -> str:
        """Of its DICOMweb service."""
        return f"{self.url}/dicom-web"

    def start(self) -> None:
        """Start it, and wait until it answers; RuntimeError with the end of its log if it does not."""
        settings = self.folder / "orthanc.json"
        settings.write_text(json.dumps(self.settings, indent=1))
        # it ends with the thread that started it, however that ends
        words = ["setpriv", "--pdeathsig", "KILL", "Orthanc", "--verbose", str(settings)]
        environment = {**os.environ, "PATH": f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(words, stdout=log, stderr=log, env=environment, cwd=self.folder)
        deadline = time.monotonic() + START_S
        while True:
            try:
                self.get("/system")
                return
            except (URLError, ConnectionError):
                if self.process.poll() is not None or time.monotonic() > deadline:
                    end = "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])
                    self.kill()
                    raise RuntimeError(f"Orthanc does not answer:\n{end}") from None
                time.sleep(0.05)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Stop it, and wait until it has ended; its storage stays."""
        process, self.process = self.process, None
        if process is not None:
            process.send_signal(number)
            process.wait(STOP_S)

    def kill(self) -> None:
        """End it by ``kill -9``."""
        self.stop(signal.SIGKILL)

    def request(self, path: str, content: Any = None, method: str | None = None) -> bytes:
        """Return what its REST interface answers.

        Args:
            path: such as ``/tools/find``.
            content: to send: bytes, or what becomes JSON; None sends nothing (GET).
            method: of HTTP; GET, or POST with a content.
        """
        data = content if content is None or isinstance(content, bytes) else json.dumps(content).encode()
        with _OPENER.open(urllib.request.Request(self.url + path, data, method=method), timeout=60) as answer:
            return answer.read()

    def get(self, path: str) -> Any:
        """Return the JSON that stands at a path."""
        return json.loads(self.request(path))

    def find(self, level: str = "Instance", **query: str) -> list[dict[str, Any]]:
        """Return what it holds, by ``/tools/find``, such as ``find(Modality="SR")``; each has an ``ID``.

        Args:
            level: ``Patient``, ``Study``, ``Series`` or ``Instance``.
            query: values of attributes by keyword.
        """
        return json.loads(self.request("/tools/find", {"Level": level, "Query": query, "Expand": True}))

    def instances(self, **query: str) -> list[str]:
        """Return the SOP Instance UIDs that it holds, sorted."""
        return sorted(one["MainDicomTags"]["SOPInstanceUID"] for one in self.find("Instance", **query))

    def tags(self, identifier: str) -> dict[str, Any]:
        """Return an instance's attributes by keyword.

        Args:
            identifier: Orthanc's own (``ID``).
        """
        return self.get(f"/instances/{identifier}/simplified-tags")

    def content(self, identifier: str) -> bytes:
        """Return an instance's file.

        Args:
            identifier: Orthanc's own (``ID``).
        """
        return self.request(f"/instances/{identifier}/file")

    def statistics(self) -> dict[str, Any]:
        """Return its counts, ``CountInstances`` among them."""
        return self.get("/statistics")

    def delete_all(self) -> None:
        """Delete every patient that it holds."""
        for identifier in self.get("/patients"):
            self.request(f"/patients/{identifier}", method="DELETE")
