"""What came of sending one object to one destination: the same for C-STORE and STOW-RS, whose statuses are the same.

outcome = outcome_of_status(delivery, 0xA700)
outcome.problem, outcome.ends_batch
"""

from dataclasses import dataclass

from cxr_monai.errors import Code, CxrError

from .spooled import Delivery

WARNINGS = {
    0xB000: "elements were changed to fit",
    0xB006: "elements were left out",
    0xB007: "it does not match its SOP class",
}
"""Statuses of objects that were stored all the same (PS3.4 B.2.3)."""

DUPLICATE = 0x0111
"""The destination has an object of this UID (PS3.7 C.5.7); ours follow from what they hold, so it has this one."""

_FAILURES = {
    0x0110: "processing failure",
    0x0117: "invalid SOP instance",
    0x0122: "SOP class not supported",
    0x0124: "not authorised",
    0x0210: "duplicate invocation",
    0x0211: "unrecognised operation",
    0x0212: "mistyped argument",
    0xC122: "transfer syntax not supported",
}
_FAILURE_RANGES = {
    0xA7: "out of resources: its disk or a quota is full",
    0xA9: "the object does not match its SOP class",
}


@dataclass(frozen=True)
class DeliveryOutcome:
    """What came of sending an object.

    Attributes:
        delivery: of the object.
        problem: why the destination does not have it; None if it has.
        remark: what the destination says of an object that it has.
        ends_batch: whether others need not be tried now: it is full, or the connection was lost.
    """

    delivery: Delivery
    problem: CxrError | None = None
    remark: str = ""
    ends_batch: bool = False


def refusal(message: str) -> CxrError:
    """Return the error of an object that a destination does not take."""
    return CxrError(Code.DESTINATION_REFUSED, message)


def outcome_of_status(delivery: Delivery, status: int) -> DeliveryOutcome:
    """Return what a status means: of a C-STORE response, or a failure or warning reason of STOW-RS (PS3.18 I.2).

    Only 0x0000, the three warnings of stored objects and "duplicate SOP instance" mean that the destination has it. The
    peer's own comment is never used: it may hold UIDs and names.

    Args:
        delivery: of the object.
        status: 16 bits.
    """
    if status in (0, DUPLICATE):
        return DeliveryOutcome(delivery)
    if status in WARNINGS:
        return DeliveryOutcome(delivery, remark=f"stored, status 0x{status:04X}: {WARNINGS[status]}")
    words = _FAILURES.get(status) or _FAILURE_RANGES.get(status >> 8)
    if words is None:
        words = "it cannot understand the object" if status >> 12 == 0xC else "a status of its own"
    return DeliveryOutcome(delivery, refusal(f"status 0x{status:04X}: {words}."), ends_batch=status >> 8 == 0xA7)
