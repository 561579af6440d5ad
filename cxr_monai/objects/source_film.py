"""The film that was received, as result objects refer to it: its header without pixels, and the digest of its bytes.

source = SourceFilm.read("a.dcm")
source.digest, source.header.StudyInstanceUID
"""

import hashlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from cxr_monai.errors import Code, RadiographError

if TYPE_CHECKING:
    from pydicom import Dataset

_PREAMBLE = 128 + 4
_LONG_LENGTHS = b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split()
"""Value representations whose length stands in four bytes, behind two empty ones (PS3.5 7.1.2)."""


@dataclass(frozen=True, eq=False)
class SourceFilm:
    """A received film.

    Attributes:
        header: its data set without pixels.
        digest: SHA-256 of the data set as it was received (`film_digest`), 64 hexadecimal digits.
        received: its data set without pixels, no element decoded: by these bytes the archive knows the patient.
    """

    header: "Dataset"
    digest: str
    received: "Dataset"

    @classmethod
    def read(cls, film: str | Path | bytes) -> "SourceFilm":
        """Read a film's header and digest. Elements that cannot be decoded are left out of the header.

        Args:
            film: a DICOM file, or its content.

        Raises:
            RadiographError: ``result-impossible`` if it is no DICOM file, or has no SOP Class, SOP Instance, Study or
                Series Instance UID, without which nothing can refer to it.
            OSError: it cannot be opened.
        """
        from cxr_monai.data.formats.dicom_library import Dataset, dcmread
        from cxr_monai.data.formats.dicom_reader import without_dicom_warnings
        from cxr_monai.data.formats.sniffing import HEAD, format_of

        place = None if isinstance(film, bytes) else film
        with BytesIO(film) if isinstance(film, bytes) else open(film, "rb") as stream:
            kind = format_of(stream.read(HEAD))
            if kind != "DICOM":
                raise _impossible(f"it is {f'a {kind}' if kind else 'no DICOM'} file, and has no UIDs.", place)
            stream.seek(0)
            with without_dicom_warnings():
                try:
                    header = dcmread(stream, stop_before_pixels=True, force=True)
                    received = Dataset({tag: header.get_item(tag) for tag in list(header.keys())})
                    _decode_all(header)
                except Exception as error:  # pydicom raises nearly anything on damaged content
                    raise _impossible("its DICOM header cannot be read.", place) from error
        missing = [name for name in _UIDS if not str(header.get(name, ""))]
        if missing:
            raise _impossible(f"it has no {missing[0]}.", place)
        return cls(header, film_digest(film), received)


def _impossible(why: str, place: str | Path | None) -> RadiographError:
    return RadiographError(
        Code.RESULT_IMPOSSIBLE,
        f"no DICOM object can refer to this file: {why}",
        fix="Export the film as DICOM from the archive; its probabilities stand in the table all the same.",
        where=place,
    )


def _decode_all(dataset: "Dataset") -> None:
    """Decode every element now, since pydicom warns and raises when an element is first looked at."""
    for tag in list(dataset.keys()):
        try:
            element = dataset[tag]
        except Exception:  # pydicom raises nearly anything on damaged content
            del dataset[tag]
            continue
        for item in element.value if element.VR == "SQ" else ():
            _decode_all(item)


_UIDS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")


def film_digest(film: str | Path | bytes) -> str:
    """Return the SHA-256 of a film's data set as it was sent: of what stands behind the file meta information.

    The same film has the same digest whether it was received over the network or as a file, and whichever program put
    the meta information before it. Of a file without that information, all bytes count. Where it ends, its elements
    say, as pydicom reads them, and not the length that it states: where that is a lie, two films could have one digest.

    Args:
        film: a DICOM file, or its content; it is read in parts.

    >>> film_digest(b"a") == film_digest(bytes(128) + b"DICM" + b"\\2\\0\\0\\0UL\\4\\0" + bytes(4) + b"a")
    True
    """
    with BytesIO(film) if isinstance(film, bytes) else open(film, "rb") as stream:
        stream.seek(_data_set_start(stream))
        digest = hashlib.sha256()
        while part := stream.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()


def _data_set_start(stream: BinaryIO) -> int:
    """Return where the file meta information ends (PS3.10 7.1); 0 where there is none, or none that can be read."""
    if stream.read(_PREAMBLE)[128:] != b"DICM":
        return 0
    start = _PREAMBLE
    while (head := stream.read(12))[:2] == b"\2\0":
        if head[4:6] in _LONG_LENGTHS:
            start += 12 + int.from_bytes(head[8:], "little")
        else:
            start += 8 + int.from_bytes(head[6:8], "little")
        stream.seek(start)
    return start if head else 0
