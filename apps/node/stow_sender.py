"""Result objects to an archive by DICOMweb's STOW-RS (PS3.18 10.5): one request an object, so that each has an answer.

with closing(StowSender(destination).send(deliveries)) as outcomes:
    for outcome in outcomes:
        ...
"""

import ssl
from collections.abc import Generator, Sequence
from contextlib import closing
from http import HTTPStatus
from urllib.parse import urlsplit

import requests
from dicomweb_client.web import DICOMwebClient
from pydicom import Dataset

from cxr_monai.errors import CxrError

from .delivery_outcome import DeliveryOutcome, outcome_of_status, refusal
from .reachability import CONNECT_S, connection_problem, unreachable
from .result_file import ResultFile
from .settings import Destination
from .spooled import Delivery
from .tls import client_context

LARGEST_REQUEST = 1 << 30
"""Bytes up to which a request is sent with its length, not in chunks, which some servers refuse."""

_PLACE_PROBLEMS = {
    HTTPStatus.UNAUTHORIZED: "it wants another token",
    HTTPStatus.FORBIDDEN: "the token may not store",
    HTTPStatus.NOT_FOUND: "there is no DICOMweb service at this address",
    HTTPStatus.TOO_MANY_REQUESTS: "it is too busy",
    HTTPStatus.REQUEST_TIMEOUT: "it waited too long for the request",
}
"""Answers that are not about one object; all from 500 on are such, too."""


class StowSender:
    """Sends to one destination.

    Args:
        destination: of protocol ``dicomweb``.
    """

    def __init__(self, destination: Destination) -> None:
        self.destination = destination

    def send(self, deliveries: Sequence[Delivery]) -> Generator[DeliveryOutcome, None, None]:
        """Send objects and yield what came of each.

        Args:
            deliveries: objects, in the order in which they are sent.

        Raises:
            CxrError: ``destination-unreachable`` if nothing can be sent now.
        """
        with closing(self.session()) as session:
            client = DICOMwebClient(
                self.destination.url.rstrip("/"),
                session,
                callback=_plain_type,
                chunk_size=LARGEST_REQUEST,
                timeout=(CONNECT_S, self.destination.timeout_s),
            )
            client.set_http_retry_params(retry=False)  # the spool tries again, and says so
            for delivery in deliveries:
                outcome = self._store(client, delivery)
                yield outcome
                if outcome.ends_batch:
                    return

    def cut(self) -> None:
        """Do nothing: a request ends with its process, and what was not confirmed counts as not sent."""

    def session(self) -> requests.Session:
        """Return a session with the destination's certificates and token, and nothing of the environment.

        Raises:
            CxrError: ``destination-unreachable`` if the token cannot be read; ``setting-invalid`` for a certificate.
        """
        session, place = requests.Session(), self.destination
        session.trust_env = False  # no proxy, no .netrc: patients' data go where the settings say
        session.max_redirects = 0
        session.headers["Accept"] = "application/dicom+json"
        if place.tls:
            client_context(place.tls)  # says in words what is wrong with a file
            session.verify, session.cert = str(place.tls.authority), (str(place.tls.certificate), str(place.tls.key))
        if place.token_file:
            try:
                token = place.token_file.read_text(encoding="utf-8").strip()
            except (OSError, ValueError) as error:
                raise unreachable(f"the token cannot be read: {error}.") from error
            session.headers["Authorization"] = f"Bearer {token}"
        return session

    def _store(self, client: DICOMwebClient, delivery: Delivery) -> DeliveryOutcome:
        try:
            dataset = ResultFile.read(delivery).dataset()
        except CxrError as error:
            return DeliveryOutcome(delivery, error)
        try:
            answer = client.store_instances([dataset])
        except requests.HTTPError as error:
            return self._refused(delivery, error.response)
        except requests.RequestException as error:
            if isinstance(error, requests.JSONDecodeError):
                return DeliveryOutcome(delivery, refusal("its answer is no JSON, and confirms nothing."))
            return DeliveryOutcome(delivery, self.request_problem(error), ends_batch=True)
        except Exception as error:  # an answer that is no DICOM JSON or XML: pydicom raises nearly anything on it
            answer_problem = refusal(f"its answer cannot be read ({type(error).__name__}).")
            return DeliveryOutcome(delivery, answer_problem)
        return outcome_of_answer(delivery, answer)

    def _refused(self, delivery: Delivery, response: requests.Response | None) -> DeliveryOutcome:
        if response is None:
            return DeliveryOutcome(delivery, refusal("it refuses the object, and does not say why."))
        status = response.status_code
        if status == HTTPStatus.CONFLICT:
            try:
                return outcome_of_answer(delivery, Dataset.from_json(response.json()))
            except Exception:  # as above; what is known then is that it was refused
                return DeliveryOutcome(delivery, refusal("HTTP 409: it refuses the object, and does not say why."))
        problem = http_problem(status)
        if problem is None:
            return DeliveryOutcome(delivery, refusal(f"{_http_words(status)}."))
        return DeliveryOutcome(delivery, problem, ends_batch=True)

    def request_problem(self, error: requests.RequestException) -> CxrError:
        """Return in words why a request got no answer.

        Args:
            error: of requests.
        """
        if isinstance(error, requests.TooManyRedirects):
            return unreachable("it points to another address, where patients' data are not sent.")
        parts = urlsplit(self.destination.url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        problem = connection_problem(parts.hostname or "", port, self._context() if parts.scheme == "https" else None)
        return problem or unreachable(
            f"the connection was lost, or no answer came in {self.destination.timeout_s:g} s."
        )

    def _context(self) -> ssl.SSLContext:
        tls = self.destination.tls
        return client_context(tls) if tls else ssl.create_default_context(cafile=requests.certs.where())


def outcome_of_answer(delivery: Delivery, answer: Dataset) -> DeliveryOutcome:
    """Return what the Store Instances Response says of an object (PS3.18 Annex I).

    Args:
        delivery: of the object.
        answer: data set of the response.
    """
    for item in answer.get("FailedSOPSequence") or ():
        if item.get("ReferencedSOPInstanceUID", delivery.uid) == delivery.uid:
            reason = item.get("FailureReason")
            if isinstance(reason, int) and reason != 0:
                return outcome_of_status(delivery, reason)
            return DeliveryOutcome(delivery, refusal("it refuses the object, and does not say why."))
    for item in answer.get("ReferencedSOPSequence") or ():
        if item.get("ReferencedSOPInstanceUID") == delivery.uid:
            reason = item.get("WarningReason") or 0
            remark = f"stored, warning 0x{reason:04X}" if isinstance(reason, int) and reason else ""
            return DeliveryOutcome(delivery, remark=remark)
    return DeliveryOutcome(delivery, refusal("its answer does not say that the object was stored."))


def http_problem(status: int) -> CxrError | None:
    """Return what is wrong with the destination as a whole by an HTTP status; None if it is about one object."""
    if status in _PLACE_PROBLEMS:
        return unreachable(f"{_http_words(status)}: {_PLACE_PROBLEMS[HTTPStatus(status)]}.")
    return unreachable(f"{_http_words(status)}.") if status >= HTTPStatus.INTERNAL_SERVER_ERROR else None


def _http_words(status: int) -> str:
    known = {one.value: f" ({one.phrase})" for one in HTTPStatus}
    return f"HTTP {status}{known.get(status, '')}"


def _plain_type(response: requests.Response, *rest: object, **others: object) -> requests.Response:
    """Leave a content type without parameters: the client compares the whole header."""
    if "Content-Type" in response.headers:
        response.headers["Content-Type"] = response.headers["Content-Type"].partition(";")[0].strip().lower()
    elif response.content:
        response.headers["Content-Type"] = "unknown"
    return response
