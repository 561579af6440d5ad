"""Why a call to MLflow's server failed: it does not answer, or it refuses the request.

A server that is away is asked again later with the same event. One that answers and refuses an event will refuse it
every time, so the event is set aside and the rest goes on (``training.journal``).
"""

import re
from typing import Any

from cxr_monai.environment import without_password
from cxr_monai.errors import StorageError

_BUSY = (408, 409, 425, 429, 499)
"""HTTP's answers that mean "not now": time-outs, conflicts of writers, too many requests."""
_UNAVAILABLE = (502, 503, 504)
"""HTTP's statuses of a server that is starting, or of a proxy before one that does not answer."""
_ENTRANCE = (401, 403, 407)
"""HTTP's answers that refuse who asks, not what is asked: whatever is sent next fares the same."""


class TurnedAwayError(Exception):
    """A run cannot be sent at all until somebody does what the message says."""


class WaitingError(LookupError):
    """The study that this run belongs to has not reached the server yet; it is sent first."""


def is_refusal(error: BaseException) -> bool:
    """True if a server answered and does not want what it was asked; False where it is away or cannot answer now."""
    if isinstance(error, TurnedAwayError):
        return True
    if getattr(error, "error_code", None) in ("INVALID_STATE", "NOT_IMPLEMENTED"):
        return True
    status = _status(error)
    return status is not None and 400 <= status < 500 and status not in _BUSY


def refuses_this_event(error: BaseException) -> bool:
    """True if a server does not want one event, and the next may fare better; False for a wrong password or address."""
    wrong_address = getattr(error, "error_code", None) == "ENDPOINT_NOT_FOUND"
    at_the_entrance = isinstance(error, TurnedAwayError) or wrong_address or _status(error) in _ENTRANCE
    return is_refusal(error) and not at_the_entrance


def says_later(error: BaseException) -> bool:
    """True where the server itself says that it cannot answer now; it will."""
    return _status(error) in (*_BUSY, *_UNAVAILABLE)


def reason_of(error: BaseException) -> str:
    """Return the first line of an error's message, shortened, without a password."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return without_password(lines[0])[:300]


def sentence_of(error: BaseException) -> str:
    """Return a sentence on the failure that tells a refusal from a server that does not answer."""
    if isinstance(error, TurnedAwayError | WaitingError):
        return str(error)
    if isinstance(error, StorageError):
        return f"what MLflow has taken cannot be written down ({reason_of(error)})"
    if _status(error) in _ENTRANCE:
        return (
            f"MLflow refuses who asks ({reason_of(error)}); MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or "
            "MLFLOW_TRACKING_TOKEN, say who that is"
        )
    if is_refusal(error):
        return f"MLflow answers and refuses this run ({reason_of(error)})"
    return f"MLflow does not answer ({reason_of(error)})"


def _status(error: BaseException) -> int | None:
    """Return HTTP's status behind an exception of MLflow's client, requests or an artifact store; None without one."""
    match = re.search(r"failed with error code (\d{3})\b", str(error))  # of a proxy before MLflow
    if match:
        return int(match[1])
    response: Any = getattr(error, "response", None)
    if isinstance(response, dict):  # botocore's
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    else:
        status = getattr(response, "status_code", None)
    if status is None and hasattr(error, "get_http_status_code"):
        status = error.get_http_status_code()
    return status if isinstance(status, int) else None
