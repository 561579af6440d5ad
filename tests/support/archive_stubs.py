"""Archives that do what a test says, result objects that are small, and spools in which they wait."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path

from pydicom import Dataset, dcmread, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    Comprehensive3DSRStorage,
    ExplicitVRLittleEndian,
    RLELossless,
    SecondaryCaptureImageStorage,
)
from pynetdicom import AE, evt
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from apps.node.deliverer import run_deliverer
from apps.node.settings import Destination, NodeSettings
from apps.node.spool import MAIN, Spool
from apps.node.spooled import FilmAnswer
from cxr_monai.objects import ResultKind, ResultObject

PATIENT = {"PatientName": "Sutcliffe^Nora", "PatientID": "MRN-77123", "AccessionNumber": "ACC-55401"}
STORED = (Comprehensive3DSRStorage, SecondaryCaptureImageStorage)
DEADLINE_S = 60.0


def small_report(number: int) -> ResultObject:
    """A report that has what an archive asks for, and nothing to read."""
    return _result(number, ResultKind.REPORT, _dataset(number, str(Comprehensive3DSRStorage), "SR"))


def small_picture(number: int, side: int = 16, compressed: bool = False) -> ResultObject:
    """A picture of ``side`` x ``side`` pixels; RLE or explicit little endian."""
    dataset = _dataset(number, str(SecondaryCaptureImageStorage), "OT")
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows = dataset.Columns = side
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation, dataset.ConversionType = 7, 0, "WSD"
    dataset.PixelData = bytes(index % 251 for index in range(side * side))
    if compressed:
        dataset.compress(RLELossless, generate_instance_uid=False)
    return _result(number, ResultKind.PICTURE, dataset)


def _dataset(number: int, sop_class: str, modality: str) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, f"2.25.{number + 10**9}"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = f"2.25.{number // 4 + 10**12}", f"2.25.{number + 10**15}"
    dataset.Modality, dataset.StudyDate, dataset.InstanceNumber = modality, "20260102", 1
    for keyword, value in PATIENT.items():
        setattr(dataset, keyword, value)
    return dataset


def _result(number: int, kind: ResultKind, dataset: Dataset) -> ResultObject:
    with BytesIO() as stream:
        dcmwrite(stream, dataset, enforce_file_format=True)
        return ResultObject(kind, f"2.25.{number + 10**9}", str(dataset.SOPClassUID), stream.getvalue())


def fill(spool: Path, results: Sequence[ResultObject], destinations: Sequence[Destination]) -> list[str]:
    """Let results wait, each of a film of its own, oldest first; return their UIDs."""
    with closing(Spool(spool)) as opened:
        for result in results:
            film = opened.incoming / "part"
            film.write_bytes(result.uid.encode())
            opened.take_in(film, "1.2.3", "1.2.4", "CR1")
            (taken,) = opened.take_up(MAIN, "bundle", 1, 3)
            answer = FilmAnswer("answered", objects=[result])
            opened.store_answer(taken.digest, MAIN, answer, {one.name: one.objects for one in destinations})
    return [result.uid for result in results]


def states(spool: Path, destination: str) -> dict[str, tuple[str, int, str]]:
    """State, attempts and error of each delivery, by UID."""
    with closing(Spool(spool)) as opened, opened.transaction() as database:
        rows = database.execute(
            "SELECT uid, state, attempts, error FROM deliveries WHERE destination = ?", (destination,)
        ).fetchall()
    return {uid: tuple(row) for uid, *row in rows}


def sent(spool: Path, destination: str) -> set[str]:
    """UIDs that count as sent."""
    return {uid for uid, (state, *_) in states(spool, destination).items() if state == "sent"}


def hurry(spool: Path) -> None:
    """Make everything due, as ``cxr-monai-node retry`` does."""
    with closing(Spool(spool)) as opened, opened.transaction() as database:
        database.execute("UPDATE deliveries SET next_at = 0 WHERE state = 'waiting'")


def wait_until(condition: Callable[[], object], seconds: float = DEADLINE_S) -> None:
    """Wait for a condition, and fail if it never comes."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "what was waited for has not come"
        time.sleep(0.02)


@contextmanager
def delivering(spool: Path, *destinations: Destination) -> Iterator[threading.Thread]:
    """A deliverer that runs in a thread of this process, and ends with the block."""
    stop = threading.Event()
    thread = threading.Thread(target=run_deliverer, args=(NodeSettings(spool, destinations=destinations), stop))
    thread.start()
    try:
        yield thread
    finally:
        stop.set()
        thread.join(DEADLINE_S)
        assert not thread.is_alive()


class StubArchive:
    """A C-STORE SCP of this process.

    Args:
        status: of the answer to the object with a number of order and a UID; may wait or abort the association.
        contexts: SOP class and transfer syntaxes that it takes.
        tls: of an SSL context.
        port: to listen at; a free one for 0.

    Attributes:
        stored: what it has, by UID; again: UIDs that came once more.
        order: UIDs in the order in which they came, taken or not.
        associations: how many there were.
    """

    def __init__(
        self,
        status: Callable[[int, str], int] = lambda number, uid: 0,
        contexts: Sequence[tuple[str, Sequence[str]]] = tuple(
            (str(one), (str(ExplicitVRLittleEndian),)) for one in STORED
        ),
        tls: object = None,
        port: int = 0,
    ) -> None:
        self.stored, self.again = dict[str, Dataset](), list[str]()
        self.order, self.associations = list[str](), 0
        self.status = status
        entity = AE("STUB")
        entity.add_supported_context(Verification)
        for sop_class, syntaxes in contexts:
            entity.add_supported_context(sop_class, [*syntaxes])
        entity.maximum_pdu_size = 0
        handlers = [(evt.EVT_C_STORE, self._store), (evt.EVT_ACCEPTED, self._count), (evt.EVT_C_ECHO, lambda event: 0)]
        self.server = entity.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers, ssl_context=tls)
        self.port = self.server.server_address[1]

    def __enter__(self) -> "StubArchive":
        return self

    def __exit__(self, *problem: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def destination(self, name: str = "stub", **others: object) -> Destination:
        """The destination that it is."""
        return Destination(name, port=self.port, ae_title="STUB", **others)  # type: ignore[arg-type]

    def _count(self, event: evt.Event) -> None:
        self.associations += 1

    def _store(self, event: evt.Event) -> int:
        uid = str(event.request.AffectedSOPInstanceUID)
        self.order.append(uid)
        status = self.status(len(self.order), uid)
        if status < 0:
            event.assoc.abort()
            return 0xC000
        if status in (0, 0xB000, 0xB006, 0xB007):
            if uid in self.stored:
                self.again.append(uid)
            content = event.encoded_dataset()
            self.stored[uid] = dcmread(BytesIO(content))
        return status


class StubWeb:
    """A DICOMweb service of this process: answers each request with what ``answer`` returns.

    Args:
        answer: of method, path and body: status, headers and body.
        tls: of an SSL context.

    Attributes:
        requests: method, path and headers of what came.
    """

    def __init__(self, answer: Callable[[str, str, bytes], tuple[int, dict[str, str], bytes]], tls: object = None):
        stub, self.requests = self, list[tuple[str, str, dict[str, str]]]()

        class Handler(BaseHTTPRequestHandler):
            def _respond(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                stub.requests.append((self.command, self.path, dict(self.headers)))
                status, headers, content = answer(self.command, self.path, body)
                self.send_response(status)
                for name, value in {"Content-Length": str(len(content)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = _respond

            def log_message(self, *words: object) -> None:
                """Write nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if tls is not None:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)  # type: ignore[attr-defined]
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.server.server_address[1]}/dicom-web"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})

    def __enter__(self) -> "StubWeb":
        self.thread.start()
        return self

    def __exit__(self, *problem: object) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def destination(self, name: str = "web", **others: object) -> Destination:
        """The destination that it is."""
        return Destination(name, "dicomweb", url=self.url, **others)  # type: ignore[arg-type]
