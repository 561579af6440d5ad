"""The deliverer: every result object to every destination, until that has confirmed it, however long it takes.

run_deliverer(settings, stop)

Each destination has a thread: one that hangs or is away holds up no other. An object counts as sent when its
destination has said so (`outcome_of_status`), and never otherwise; all else is tried again after 1, 2, 4 ... 300 s, for
ever. A destination that cannot be reached, or is full, rests as a whole, not object by object.
"""

import logging
import sqlite3
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Protocol

from pydicom.uid import UID

from cxr_monai.errors import Code, CxrError

from .delivery_outcome import DeliveryOutcome
from .settings import Destination, NodeSettings
from .spool import Spool
from .spooled import Delivery

POLL_S = 0.5
"""Seconds between looks at what is due."""

LONGEST_PAUSE_S = 300.0
BATCH = 100
"""Objects an association."""

END_S = 15.0
"""Seconds that an object which is being sent has, once the node is to end."""

logger = logging.getLogger("cxr-monai-node.deliver")


class Sender(Protocol):
    """Sends objects to one destination."""

    def send(self, deliveries: Sequence[Delivery]) -> Generator[DeliveryOutcome, None, None]:
        """Send objects and yield what came of each; CxrError if nothing can be sent now."""

    def cut(self) -> None:
        """Cut the connection from another thread."""


def sender_to(destination: Destination) -> Sender:
    """Return what sends to a destination.

    Args:
        destination: of any protocol.
    """
    if destination.protocol == "dicomweb":
        from .stow_sender import StowSender

        return StowSender(destination)
    from .dimse_sender import DimseSender

    return DimseSender(destination)


def run_deliverer(settings: NodeSettings, stop: threading.Event) -> None:
    """Deliver until ``stop`` is set; what is being sent then is sent to its end.

    Args:
        settings: of the node.
        stop: to end.
    """
    # their own texts may hold UIDs, names and whole data sets; what matters of them is said here
    for name in ("pynetdicom", "pydicom", "dicomweb_client", "urllib3"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    couriers = [Courier(destination, settings.spool, stop) for destination in settings.destinations]
    threads = [
        threading.Thread(target=courier.run, name=f"deliver-{courier.name}", daemon=True) for courier in couriers
    ]
    for thread in threads:
        thread.start()
    stop.wait()
    deadline = time.monotonic() + END_S
    for thread, courier in zip(threads, couriers, strict=True):
        thread.join(max(0.0, deadline - time.monotonic()))
        if thread.is_alive():
            courier.sender.cut()
            thread.join(END_S)


def pause_after(failures: int) -> float:
    """Return the seconds to the next attempt.

    >>> [pause_after(failures) for failures in (1, 2, 3, 9, 10, 5000)]
    [1.0, 2.0, 4.0, 256.0, 300.0, 300.0]
    """
    return min(LONGEST_PAUSE_S, 2.0 ** min(failures - 1, 20))


class Courier:
    """Delivers to one destination.

    Args:
        destination: where to.
        spool: folder of the spool.
        stop: to end, between two objects.
    """

    def __init__(self, destination: Destination, spool: Path, stop: threading.Event) -> None:
        self.name, self.sender = destination.name, sender_to(destination)
        self._folder, self._stop = spool, stop
        self._failures, self._rests_until = 0, 0.0

    def run(self) -> None:
        """Deliver until it is to end; nothing but that ends it."""
        while not self._stop.is_set():
            try:
                with closing(Spool(self._folder)) as spool:
                    while not self._stop.is_set():
                        if not self.deliver_due(spool):
                            self._stop.wait(POLL_S)
            except (CxrError, OSError, sqlite3.Error) as error:  # the spool: a full disk, a lock that is held for long
                self._failures += 1
                pause = pause_after(self._failures)
                logger.error("destination %s: the spool: %s; next attempt in %.0f s", self.name, error, pause)
                self._stop.wait(pause)

    def deliver_due(self, spool: Spool) -> bool:
        """Deliver what is due; return whether anything was tried.

        Args:
            spool: of this thread.
        """
        due = spool.due(self.name, BATCH)
        # while it rests, what arrives meanwhile does not wake it; what was tried before is due at the end of the rest,
        # or because somebody asked for it
        if not due or (spool.now() < self._rests_until and not any(one.attempts for one in due)):
            return False
        due.sort(key=lambda one: one.attempts)  # what failed most comes last, and keeps nothing else from being tried
        sent, failed, problem = 0, list[DeliveryOutcome](), None
        try:
            with closing(self._outcomes(due)) as outcomes:
                for outcome in outcomes:
                    self._note(spool, outcome)
                    sent += outcome.problem is None
                    failed += [outcome] if outcome.problem else []
                    problem = outcome.problem if outcome.ends_batch else None
                    if self._stop.is_set():
                        break
        except CxrError as error:
            problem = error
        self._report(sent, failed)
        if sent or problem is None:
            self._failures, self._rests_until = 0, 0.0
        if problem is not None:
            self._rest(spool, problem)
        return True

    def _outcomes(self, due: Sequence[Delivery]) -> Generator[DeliveryOutcome, None, None]:
        try:
            with closing(self.sender.send(due)) as outcomes:
                yield from outcomes
        except CxrError:
            raise
        except Exception as error:  # a library's fault with one destination must not end what goes to the others
            raise CxrError(Code.SYSTEM_ERROR, f"sending failed: {type(error).__name__}.") from error

    def _note(self, spool: Spool, outcome: DeliveryOutcome) -> None:
        delivery, problem = outcome.delivery, outcome.problem
        if problem is None:
            spool.mark_sent(delivery.uid, self.name, outcome.remark)
        else:
            spool.mark_tried(delivery.uid, self.name, _words(problem), pause_after(delivery.attempts + 1))

    def _rest(self, spool: Spool, problem: CxrError) -> None:
        self._failures += 1
        pause = pause_after(self._failures)
        self._rests_until = spool.now() + pause
        spool.pause(self.name, _words(problem), pause)
        count, age = spool.waiting(self.name)
        logger.warning(
            "destination %s: %s %d object(s) wait, the oldest for %.0f s; next attempt in %.0f s",
            self.name, _words(problem), count, age, pause,
        )  # fmt: skip

    def _report(self, sent: int, failed: Sequence[DeliveryOutcome]) -> None:
        if sent:
            logger.info("destination %s: %d object(s) sent", self.name, sent)
        if failed:
            delivery, problem = failed[0].delivery, failed[0].problem
            logger.warning(
                "destination %s: %d object(s) not taken, and tried again; the first, %s of film %s: %s",
                self.name, len(failed), UID(delivery.sop_class).name, delivery.film[:12], _words(problem),
            )  # fmt: skip


def _words(problem: CxrError | None) -> str:
    return f"[{problem.code}] {problem}" if problem else ""
