"""A result object's file, looked at before it is sent: what is missing or damaged is never sent."""

import hashlib
from dataclasses import dataclass
from io import BytesIO

from pydicom import Dataset, dcmread

from cxr_monai.errors import Code, CxrError

from .spooled import Delivery


@dataclass(frozen=True, eq=False)
class ResultFile:
    """A result object as it was built.

    Attributes:
        delivery: that it belongs to.
        content: of the file.
        sop_class, transfer_syntax: UIDs.
    """

    delivery: Delivery
    content: bytes
    sop_class: str
    transfer_syntax: str

    @classmethod
    def read(cls, delivery: Delivery) -> "ResultFile":
        """Read it.

        Args:
            delivery: of the object.

        Raises:
            CxrError: ``result-incomplete`` if the file is missing, or is not what was built.
        """
        try:
            content = delivery.path.read_bytes()
        except OSError as error:
            raise _incomplete(f"its file cannot be read ({error.strerror}).") from error
        if delivery.content_digest not in ("", hashlib.sha256(content).hexdigest()):
            raise _incomplete("its file is not as it was built: the disk, or somebody, has changed it.")
        try:
            header = dcmread(BytesIO(content), stop_before_pixels=True)
            uids = header.file_meta.MediaStorageSOPInstanceUID, header.SOPInstanceUID
            syntax = str(header.file_meta.TransferSyntaxUID)
        except Exception as error:  # pydicom raises nearly anything on damaged content
            raise _incomplete(f"its file is damaged ({type(error).__name__}).") from None
        if uids != (delivery.uid, delivery.uid):
            raise _incomplete("its file holds another object.")
        return cls(delivery, content, str(header.SOPClassUID), syntax)

    def dataset(self) -> Dataset:
        """Return the whole object, decoded."""
        return dcmread(BytesIO(self.content))


def _incomplete(message: str) -> CxrError:
    return CxrError(
        Code.RESULT_INCOMPLETE, message, fix="Forget the film and send it again: what is built then has the same UID."
    )
