"""Sends a journal to MLflow from a thread: no epoch waits for a server."""

import logging
import threading
import time
from typing import TYPE_CHECKING

from cxr_monai.environment import without_password
from cxr_monai.errors import Code
from cxr_monai.training.journal import Journal
from cxr_monai.training.refusals import is_refusal, sentence_of

if TYPE_CHECKING:
    from mlflow import MlflowClient

logger = logging.getLogger(__name__)

AGAIN = 30.0
"""Seconds after which a server that did not answer is asked again."""
PATIENCE = 30.0
"""Seconds that the end of a training waits while nothing arrives."""


class Delivery:
    """Sends what a journal holds, in order, whenever :meth:`wake` says that there is more.

    Args:
        journal: of the run.
        tracking_uri: MLflow's.
        artifact_folder: see ``Journal.send``.
    """

    def __init__(self, journal: Journal, tracking_uri: str, artifact_folder: str | None) -> None:
        self.journal, self.tracking_uri, self.artifact_folder = journal, tracking_uri, artifact_folder
        self.server = without_password(tracking_uri)
        self._client: MlflowClient | None = None
        self._more, self._end = threading.Event(), threading.Event()
        self._told: set[Code] = set()
        # a daemon: a server that hangs does not keep a process from ending
        self._thread = threading.Thread(target=self._run, name="mlflow", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Signal that there are more events to send; returns at once."""
        self._more.set()

    def finish(self) -> int:
        """Send the rest, as long as something arrives, and return how many events have not."""
        self._end.set()
        self._more.set()
        unsent, since = self.journal.unsent(self.server), time.monotonic()
        while self._thread.is_alive() and time.monotonic() - since < PATIENCE:
            self._thread.join(0.2)
            if (now := self.journal.unsent(self.server)) != unsent:
                unsent, since = now, time.monotonic()
        return self.journal.unsent(self.server)

    def _run(self) -> None:
        answers = True
        while True:
            # a server that does not answer is not asked earlier because there are more events
            if answers:
                self._more.wait()
            else:
                self._end.wait(AGAIN)
            self._more.clear()
            ending = self._end.is_set()
            answers = self._send()
            if ending:
                return

    def _send(self) -> bool:
        from mlflow import MlflowClient

        try:
            if self._client is None:
                self._client = MlflowClient(tracking_uri=self.tracking_uri)
            self.journal.send(self._client, self.server, self.artifact_folder)
        except Exception as error:  # no error of the delivery may end a training
            self._tell(
                Code.TRACKING_REFUSED if is_refusal(error) else Code.TRACKING_FAILED,
                f"{sentence_of(error)}. The training goes on and nothing is lost",
            )
            return False
        refused = self.journal.refused(self.server)
        if refused:
            self._tell(
                Code.TRACKING_REFUSED,
                f"MLflow refuses '{refused[0]['key']}' of this run ({refused[0]['reason']}). It is set aside, the rest "
                "arrives",
            )
        return True

    def _tell(self, code: Code, message: str) -> None:
        if code not in self._told:
            self._told.add(code)
            logger.warning("[%s] %s: the journal is in %s.", code, message, self.journal.path.parent)
