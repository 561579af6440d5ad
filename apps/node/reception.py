"""What is received of one association: films go to files in parts, whatever their size, and nothing grows in memory.

pynetdicom writes the data sets of C-STORE to files (STORE_RECV_CHUNKED_DATASET). What it leaves open is done here: a
film is refused before its data are taken when the disk is too full, and in the middle of them when it is too large or
the disk becomes full; parts are removed; other messages, which are kept in memory, have a largest size.
"""

import io
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.pdu_primitives import P_DATA

from cxr_monai.data.formats.dicom_library import Dataset, dcmread
from cxr_monai.objects import is_result_of_ours

from .node_logging import node_logger

if TYPE_CHECKING:
    from pynetdicom.association import Association

logger = node_logger("receive")

MB = 1_000_000
LARGEST_MESSAGE = 1 << 16
"""Bytes of a message without a film: commands and C-ECHO have less than 1 kB."""
MOST_WAITING = 8
"""Messages that are not answered yet; who keeps to the standard sends one at a time (PS3.7 D.3.3.3)."""
LARGEST_HEADER = 4 * MB
"""Bytes of a film's header that are read, values that are passed over left out."""
SPACE_CHECKED_EVERY = 16 * MB

_COMMAND, _LAST = 1, 2
"""Bits of a fragment's first byte (PS3.8 E.2)."""


@dataclass(frozen=True)
class RoomForFilms:
    """How much may be received.

    Attributes:
        folder: where.
        reserve_mb: free space below which nothing is taken.
        largest_film_mb: of a film.
    """

    folder: Path
    reserve_mb: float
    largest_film_mb: float

    def shortage(self, received: int) -> str:
        """Return why a film cannot be received, or not further; empty if it can.

        Args:
            received: bytes of it so far.
        """
        if received > self.largest_film_mb * MB:
            return f"it is larger than {self.largest_film_mb:g} MB"
        free = shutil.disk_usage(self.folder).free
        return f"{free // MB} MB are free of {self.reserve_mb:g} MB in reserve" if free < self.reserve_mb * MB else ""


class FilmReception(DIMSEServiceProvider):
    """The messages of one association, as they arrive.

    A film that is refused reaches the handler of C-STORE without a file (``event.dataset_path`` is None).

    Args:
        association: whose messages.
        room: for films.
    """

    def __init__(self, association: "Association", room: RoomForFilms) -> None:
        super().__init__(association)
        self._room = room
        self._received, self._checked_at = 0, 0
        self._is_refused = False
        self._parts: dict[Path, IO[bytes]] = {}

    def receive_primitive(self, primitive: P_DATA) -> None:
        """Take fragments of messages; called by pynetdicom's thread that reads the connection."""
        try:
            for context, fragment in primitive.presentation_data_value_list:
                self._receive(context, fragment)
        except Exception as error:  # what a stranger's bytes raise in pynetdicom is of any kind
            self._drop(f"it sent what is no message ({type(error).__name__})")

    def settle(self, part: Path) -> None:
        """Remove the file of a film that was answered, unless it was moved into the spool."""
        file = self._parts.pop(part, None)
        if file is not None:
            with suppress(OSError):  # what is left in its buffer has no room on the disk
                file.close()
        part.unlink(missing_ok=True)

    def discard(self) -> None:
        """Remove the files of films that were not received to their end, or never answered."""
        for part in list(self._parts):
            self.settle(part)

    def _receive(self, context: int, fragment: bytes) -> None:
        if self.message is None:
            self._received, self._checked_at, self._is_refused = 0, 0, False
            if self.msg_queue.qsize() >= MOST_WAITING:
                return self._drop(f"it did not wait for {MOST_WAITING} answers")
        self._received += len(fragment)
        is_film = isinstance(self.message, C_STORE_RQ) and not fragment[0] & _COMMAND
        if not is_film and self._received > LARGEST_MESSAGE:
            return self._drop("it sent a message without a film that is too long")
        if is_film and self._received > min(self._checked_at + SPACE_CHECKED_EVERY, self._room.largest_film_mb * MB):
            self._check_room()
        try:
            self._pass_on(context, fragment[:1] if is_film and self._is_refused else fragment)
        except OSError as error:
            self._refuse(f"it cannot be written ({error.strerror or type(error).__name__})")
            if is_film and fragment[0] & _LAST:
                self._pass_on(context, fragment[:1])
        if not is_film and isinstance(self.message, C_STORE_RQ):
            self._received = 0
            if self.message._data_set_path is not None:
                self._parts[self.message._data_set_path] = self.message._data_set_file
            self._check_room()

    def _pass_on(self, context: int, fragment: bytes) -> None:
        single = P_DATA()
        single.presentation_data_value_list = [[context, fragment]]
        super().receive_primitive(single)

    def _check_room(self) -> None:
        self._checked_at = self._received
        shortage = "" if self._is_refused else self._room.shortage(self._received)
        if shortage:
            self._refuse(shortage)

    def _refuse(self, reason: str) -> None:
        """Go on without the film: its data are passed over until its end, since only then it can be answered."""
        if not self._is_refused:
            logger.warning("a film from %s is refused: %s", self.assoc.requestor.ae_title, reason)
        self._is_refused = True
        if self.message is not None and self.message._data_set_path is not None:
            part = self.message._data_set_path
            self.message._data_set_file = self.message._data_set_path = None
            self.settle(part)

    def _drop(self, reason: str) -> None:
        logger.warning("the connection of %s is closed: %s", self.assoc.requestor.ae_title, reason)
        if self.dul.socket is not None:
            self.dul.socket.close()


class _HeaderStream(io.BufferedReader):
    """A file of which only so many bytes are read: a header may be anything, and is kept in memory."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self._left = LARGEST_HEADER

    def read(self, size: int | None = -1, /) -> bytes:
        content = super().read(size if size is not None and 0 <= size <= self._left else self._left + 1)
        self._left -= len(content)
        if self._left < 0:
            raise ValueError("the header is too long")
        return content


IDENTIFYING = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
"""What a result needs to refer to a film."""
_READ = [*IDENTIFYING, "Manufacturer", "ContributingEquipmentSequence"]


def read_film_header(path: Path) -> Dataset:
    """Return what is looked at of a film's header, with its file meta information.

    Args:
        path: a file as pynetdicom writes it.

    Raises:
        ValueError: it is no DICOM file, its header cannot be read, or it ends before its pixels.
        OSError: it cannot be read from the disk.
    """
    with _HeaderStream(path) as stream:
        try:
            header = dcmread(stream, stop_before_pixels=True, specific_tags=_READ, defer_size=1 << 16)
            for name in _READ:
                header.get(name)  # pydicom decodes a value when it is asked for
        except Exception as error:  # pydicom raises nearly anything on damaged content, an OSError without a number too
            if isinstance(error, OSError) and error.errno is not None:
                raise  # of the disk
            raise ValueError(f"the header cannot be read ({type(error).__name__})") from error
        if stream.tell() >= path.stat().st_size:
            raise ValueError("it ends before its pixels")
    return header


@dataclass(frozen=True)
class Refusal:
    """Why a film that was received is not taken in.

    Attributes:
        status: of the response to C-STORE (PS3.4 B.2.3, PS3.7 9.1.1.1.9).
        reason: in words, without anything of the film.
    """

    status: int
    reason: str


OUT_OF_RESOURCES, OTHER_DATA_SET, NOT_UNDERSTOOD, NOT_AUTHORISED = 0xA700, 0xA900, 0xC000, 0x0124


def refusal_of(path: Path, sop_class: str, sop_instance: str) -> Refusal | None:
    """Return why a film is not taken in; None for one that is.

    Args:
        path: its file.
        sop_class, sop_instance: of the command that it came with.

    Raises:
        OSError: it cannot be read from the disk.
    """
    try:
        header = read_film_header(path)
    except ValueError as error:
        return Refusal(NOT_UNDERSTOOD, str(error))
    missing = [name for name in IDENTIFYING if not str(header.get(name) or "")]
    if missing:
        return Refusal(OTHER_DATA_SET, f"it has no {missing[0]}")
    if (header.SOPClassUID, header.SOPInstanceUID) != (sop_class, sop_instance):
        return Refusal(OTHER_DATA_SET, "its SOP class or instance is not that of the command")
    if is_result_of_ours(header):
        return Refusal(NOT_AUTHORISED, "it is a result of this software, no film")
    return None
