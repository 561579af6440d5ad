"""Whether a destination answers, and takes what would be sent there, tried at once and by nothing of a patient.

check_destination(settings.destinations[0])
'C-ECHO answered (0x0000) in 8 ms; it takes Comprehensive 3D SR Storage, Secondary Capture Image Storage'
"""

import time
from contextlib import closing

import requests
from pydicom.uid import (
    UID,
    Comprehensive3DSRStorage,
    ExplicitVRLittleEndian,
    GrayscaleSoftcopyPresentationStateStorage,
    ImplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import Verification

from cxr_monai.objects import ResultKind

from .delivery_outcome import refusal
from .dimse_sender import DimseSender
from .quiet_network import quiet_network
from .reachability import CONNECT_S, unreachable
from .settings import Destination
from .stow_sender import StowSender, http_problem

SOP_CLASSES = {
    ResultKind.REPORT: Comprehensive3DSRStorage,
    ResultKind.PICTURE: SecondaryCaptureImageStorage,
    ResultKind.CONTOURS: GrayscaleSoftcopyPresentationStateStorage,
    ResultKind.MAPS: SegmentationStorage,
}
"""What an archive must take, by kind."""

DEFAULT_KINDS = (ResultKind.REPORT, ResultKind.PICTURE)
"""Asked for where the destination names none."""

NO_STUDY = "2.25.1"
"""UID of a study that is nowhere: the answer holds nobody's data."""


def check_destination(destination: Destination) -> str:
    """Return how a destination answers, in one line; nothing is stored there.

    An archive is asked by C-ECHO (PS3.4 A), and whether it accepts a presentation context for each kind of object that
    it would be sent; a DICOMweb service by a QIDO-RS search for a study that does not exist (PS3.18 10.6), which shows
    its address, certificate and token, but not that it stores.

    Args:
        destination: of the settings.

    Raises:
        CxrError: ``destination-unreachable`` with the step that fails (name, connection, TLS, association, address,
            token); ``destination-refused`` if it answers and does not take what would be sent; ``setting-invalid`` for
            a certificate's file.
    """
    with quiet_network():
        return _searched(destination) if destination.protocol == "dicomweb" else _echoed(destination)


def _echoed(destination: Destination) -> str:
    kinds = tuple(map(ResultKind, destination.objects)) or DEFAULT_KINDS
    wanted = [str(SOP_CLASSES[kind]) for kind in kinds]
    syntaxes = [str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian)]
    contexts = [build_context(sop_class, syntaxes) for sop_class in [str(Verification), *wanted]]
    began = time.monotonic()
    with DimseSender(destination).associated(contexts) as association:
        accepted = {str(one.abstract_syntax) for one in association.accepted_contexts}
        if str(Verification) in accepted:
            answer = association.send_c_echo()
            if "Status" not in answer:
                raise unreachable(f"C-ECHO is not answered in {destination.timeout_s:g} s.")
            if answer.Status != 0:
                raise refusal(f"C-ECHO is answered with status 0x{answer.Status:04X}.")
            echoed = f"C-ECHO answered (0x0000) in {_milliseconds(began)} ms"
        else:
            echoed = f"association accepted in {_milliseconds(began)} ms, without C-ECHO"
    if missing := [_name(sop_class) for sop_class in wanted if sop_class not in accepted]:
        raise refusal(f"{echoed}, but it does not take {', '.join(missing)}.")
    return f"{echoed}; it takes {', '.join(map(_name, wanted))}"


def _searched(destination: Destination) -> str:
    sender = StowSender(destination)
    began = time.monotonic()
    with closing(sender.session()) as session:
        try:
            answer = session.get(
                f"{destination.url.rstrip('/')}/studies",
                params={"StudyInstanceUID": NO_STUDY, "limit": "1"},
                timeout=(CONNECT_S, destination.timeout_s),
            )
        except requests.RequestException as error:
            raise sender.request_problem(error) from error
    if problem := http_problem(answer.status_code):
        raise problem
    if not answer.ok:
        raise refusal(f"HTTP {answer.status_code}: it does not answer a search (QIDO-RS).")
    kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if answer.content and kind not in ("application/dicom+json", "application/json"):
        raise unreachable(
            f"HTTP {answer.status_code} with {kind or 'no type'} where DICOM JSON is expected: this address is no "
            "DICOMweb service.",
            "url must end where /studies begins, such as https://archive/dicom-web.",
        )
    return f"QIDO-RS answered (HTTP {answer.status_code}) in {_milliseconds(began)} ms; storing is not tried"


def _milliseconds(began: float) -> int:
    return round(1000 * (time.monotonic() - began))


def _name(sop_class: str) -> str:
    return UID(sop_class).name
