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
_GROUP_LENGTH = 12
"""Bytes of (0002,0000), whose value is the length of the file meta information behind it (PS3.10 7.1)."""


@dataclass(frozen=True, eq=False)
class SourceFilm:
    """A received film.

    Attributes:
        header: its data set without pixels.
        digest: SHA-256 of the data set as it was received (`film_digest`), 64 hexadecimal digits.
    """

    header: "Dataset"
    digest: str

    @classmethod
    def read(cls, film: str | Path | bytes) -> "SourceFilm":
        """Read a film's header and digest.

        Args:
            film: a DICOM file, or its content.

        Raises:
            RadiographError: ``radiograph-not-an-image`` if it is no DICOM file, or has no SOP Instance, Study or Series
                Instance UID, without which nothing can refer to it.
        """
        from cxr_monai.data.formats.dicom_library import dcmread

        place = None if isinstance(film, bytes) else film
        try:
            header = dcmread(BytesIO(film) if isinstance(film, bytes) else film, stop_before_pixels=True, force=True)
            missing = [name for name in _UIDS if not str(header.get(name, ""))]
        except OSError:
            raise
        except Exception as error:  # pydicom raises nearly anything on damaged content
            raise RadiographError(
                Code.RADIOGRAPH_NOT_AN_IMAGE, f"its DICOM header cannot be read ({error}).", where=place
            ) from error
        if missing:
            raise RadiographError(
                Code.RADIOGRAPH_NOT_AN_IMAGE,
                f"no DICOM file that a result can refer to: it has no {missing[0]}.",
                where=place,
            )
        return cls(header, film_digest(film))


_UIDS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")


def film_digest(film: str | Path | bytes) -> str:
    """Return the SHA-256 of a film's data set as it was sent: of what stands behind the file meta information.

    The same film has the same digest whether it was received over the network or as a file, and whichever program put
    the meta information before it. Of a file without that information, all bytes count.

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
    head = stream.read(_PREAMBLE + _GROUP_LENGTH)
    group_length = head[_PREAMBLE:]
    if head[128:_PREAMBLE] != b"DICM" or group_length[:8] != b"\2\0\0\0UL\4\0":
        return 0
    return _PREAMBLE + _GROUP_LENGTH + int.from_bytes(group_length[8:], "little")
