"""The analyser: takes films up in batches, answers them with the bundle that is loaded, and stores each answer at once.

    run_analyser(settings, stop)            # until ``stop`` is set; the film at hand is finished, the rest put back

An error over a film counts as an attempt, and from then on the film comes alone; after some attempts it has failed.
Whether it is the film's error is tried out: where the bundle cannot answer about a ramp of greys either, it is the
bundle's, the films are put back untried, and the bundle is loaded anew. What nothing can be stored for waits for space.
A second bundle, the shadow, answers when no film waits for the first; nothing of it is sent.
"""

import math
import sqlite3
import threading
import time
from collections.abc import Mapping
from contextlib import closing
from typing import Any

from cxr_monai.errors import StorageError
from cxr_monai.objects import ResultKind
from cxr_monai.workflows.dicom_results import AnsweredFilm

from .bundle_keeper import BundleKeeper, LoadedBundle
from .error_places import error_place
from .film_watch import film_watch
from .node_logging import node_logger, without_uids
from .settings import NodeSettings
from .spool import MAIN, SHADOW, Spool
from .spooled import FilmAnswer, SpooledFilm

POLL_S = 0.25
"""Seconds between two looks at whether another process wrote something."""
IDLE_S = 5.0
"""Seconds after which a waiting analyser looks at everything."""
STORAGE_PAUSE_S = 5.0
_LONGEST_REASON = 500


def run_analyser(settings: NodeSettings, stop: threading.Event) -> None:
    """Answer the films of a spool until ``stop`` is set.

    Args:
        settings: of the node.
        stop: ends it after the film at hand.

    Raises:
        StorageError: if the spool cannot be opened.
    """
    if settings.analyse.threads:
        import torch

        torch.set_num_threads(settings.analyse.threads)
    with closing(Spool(settings.spool)) as spool:
        Analyser(spool, settings).run(stop)


class Analyser:
    """Answers the films of a spool.

    Args:
        spool: opened by this thread.
        settings: of the node.
    """

    def __init__(self, spool: Spool, settings: NodeSettings) -> None:
        analyse = settings.analyse
        self.spool, self.settings, self.log = spool, analyse, node_logger("analyse")
        kinds = tuple(ResultKind(kind) for kind in analyse.objects)
        self.keepers = [BundleKeeper(spool, MAIN, analyse.bundle, analyse, kinds)]
        if analyse.shadow_bundle:
            self.keepers.append(BundleKeeper(spool, SHADOW, analyse.shadow_bundle, analyse))
        self._destinations = {destination.name: destination.objects for destination in settings.destinations}
        self._unanswered: dict[str, list[str]] = {}

    def run(self, stop: threading.Event) -> None:
        """Answer films until ``stop`` is set."""
        while not stop.is_set():
            try:
                version = self.spool.data_version
                if not self.answer_some(stop):
                    self._wait(version, stop)
            except (StorageError, sqlite3.Error) as error:
                self.log.error("the spool cannot be written; next attempt in %g s: %s", STORAGE_PAUSE_S, error)
                stop.wait(STORAGE_PAUSE_S)
        self._put_back()
        for keeper in self.keepers:
            keeper.close()

    def answer_some(self, stop: threading.Event) -> bool:
        """Answer a batch of films; return whether there was one. The shadow's turn is when the main bundle has none."""
        self._put_back()
        return any(self._answer_batch(keeper, stop) for keeper in self.keepers)

    def _wait(self, version: int, stop: threading.Event) -> None:
        end = time.monotonic() + IDLE_S
        while not stop.wait(POLL_S) and self.spool.data_version == version and time.monotonic() < end:
            pass

    def _put_back(self) -> None:
        """Put back what was taken up and neither answered nor tried."""
        for role in list(self._unanswered):
            self.spool.put_back(role, self._unanswered[role])
            del self._unanswered[role]

    def _answer_batch(self, keeper: BundleKeeper, stop: threading.Event) -> bool:
        loaded = keeper.look()
        if loaded is None:
            return False
        films = self.spool.take_up(keeper.role, loaded.digest, self.settings.batch_size, self.settings.attempts)
        waiting = {film.path.name: film for film in films}
        try:
            self._answer_films(keeper, loaded, waiting, stop)
        except (StorageError, sqlite3.Error):
            self._unanswered[keeper.role] = [film.digest for film in waiting.values()]
            raise
        except Exception as error:  # over a film, or of the bundle
            if self._is_fault_of_bundle(keeper, loaded):
                self._unanswered[keeper.role] = [film.digest for film in waiting.values()]
            else:
                for film in waiting.values():
                    attempts = f"attempt {film.attempts} of {self.settings.attempts}"
                    self.log.error("%s: %s, %s: %s", film.digest[:12], keeper.role, attempts, error_place(error))
        else:
            if waiting:  # told to end
                self._unanswered[keeper.role] = [film.digest for film in waiting.values()]
        return bool(films)

    def _answer_films(
        self, keeper: BundleKeeper, loaded: LoadedBundle, waiting: dict[str, SpooledFilm], stop: threading.Event
    ) -> None:
        """Answer films and store each answer; ``waiting`` loses them one by one."""
        paths, destinations = (
            [film.path for film in waiting.values()],
            self._destinations if keeper.role == MAIN else {},
        )
        answers = loaded.results.answer(paths, list(waiting), loaded.recent.films, "")
        with film_watch() as go_on, closing(answers):
            for answered in answers:
                film = waiting[answered.name]
                answer = film_answer(answered, str(film.path))
                self.spool.store_answer(film.digest, keeper.role, answer, destinations)
                del waiting[answered.name]
                loaded.recent.add(answered)
                what = f"{answer.state} [{answer.code}]" if answer.code else answer.state
                self.log.info("%s: %s, %s, by %s", film.digest[:12], keeper.role, what, loaded.digest[:12])
                if stop.is_set():
                    break
                go_on()

    def _is_fault_of_bundle(self, keeper: BundleKeeper, loaded: LoadedBundle) -> bool:
        """Return whether the bundle does not work any more, and let go of it then."""
        try:
            loaded.results.check()
        except Exception as error:
            keeper.give_up(error)
            return True
        return False


def film_answer(answered: AnsweredFilm, path: str) -> FilmAnswer:
    """Return an answer as the spool has it: numbers that are none are None, and a reason names no UID and no path.

    Args:
        answered: of the library.
        path: of the film's file.
    """
    code, reason = answered.error or ("", "")
    reason = without_uids(reason.replace(path, "the film"))[:_LONGEST_REASON]
    state = "refused" if answered.error else "answered"
    evidence = None if answered.evidence is None else _without_nan(answered.evidence)
    return FilmAnswer(
        state, code, reason, answered.probabilities, evidence, without_uids(answered.remarks), answered.objects
    )


def _without_nan(evidence: Mapping[str, Any]) -> dict[str, Any]:
    return {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in evidence.items()}
