"""The bundle that answers in a role: tried again while it cannot be loaded, loaded anew when its folder changes.

    keeper = BundleKeeper(spool, MAIN, "OUT/bundle", settings, kinds)
    loaded = keeper.look()                  # None while it cannot be loaded; the status says why

A bundle that answers goes on answering while its folder is being changed, until what is there now can be loaded.
"""

import math
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxr_monai import open_model
from cxr_monai.errors import Code, CxrError
from cxr_monai.objects import ResultKind
from cxr_monai.workflows.dicom_results import AnsweredFilm, DicomResults

from .error_places import error_place
from .node_logging import node_logger
from .settings import AnalyseSettings
from .spool import MAIN, Spool

FIRST_PAUSE_S, LONGEST_PAUSE_S = 2.0, 60.0
"""Seconds between two attempts to load a bundle."""
LOOK_S = 5.0
"""Seconds between two looks at a bundle's folder."""
DUPLICATES_AMONG = 10_000
"""Among how many films before, of the same role, copies are looked for."""


class RecentFilms:
    """The films before, among which copies are looked for: the last :data:`DUPLICATES_AMONG`, and at most twice those.

    Args:
        spool: has the films that were answered before this process began.
        role: whose.
        gate: of the bundle.
    """

    def __init__(self, spool: Spool, role: str, gate: Any) -> None:
        self._gate = gate
        self._last: deque[tuple[str, str, str]] = deque(maxlen=DUPLICATES_AMONG)
        for record in spool.records(role, last=DUPLICATES_AMONG):
            self._remember(record.evidence)
        self._begin()

    def _begin(self) -> None:
        self.films = self._gate.earlier_films()
        for film in self._last:
            self.films.remember(*film)
        self._added = 0

    def _remember(self, evidence: Any) -> None:
        name, digest, looks = (
            str((evidence or {}).get(column) or "") for column in ("image", "pixel_digest", "picture_hash")
        )
        if name and digest and looks:
            self._last.append((name, digest, looks))

    def add(self, film: AnsweredFilm) -> None:
        """Add a film that was answered; ``films`` knows it already."""
        self._remember(film.evidence)
        self._added += 1
        if self._added >= DUPLICATES_AMONG:
            self._begin()


@dataclass(frozen=True, eq=False)
class LoadedBundle:
    """A bundle that answers.

    Attributes:
        results: its answers.
        digest: of its contents, as they were loaded.
        recent: the films before.
    """

    results: DicomResults
    digest: str
    recent: RecentFilms


class BundleKeeper:
    """Keeps the bundle of a role loaded.

    Args:
        spool: where the status is noted.
        role: ``main`` or ``shadow``.
        bundle: a folder, or the name of an installed bundle, of which a newer version is noticed at the next start.
        settings: of the analyser.
        kinds: of objects to build.
    """

    def __init__(
        self, spool: Spool, role: str, bundle: str, settings: AnalyseSettings, kinds: tuple[ResultKind, ...] = ()
    ) -> None:
        self.spool, self.role, self.bundle, self.settings, self.kinds = spool, role, bundle, settings, kinds
        self.loaded: LoadedBundle | None = None
        self.log = node_logger("analyse")
        self._part = "analyse" if role == MAIN else role
        self._stamp: frozenset[tuple[str, int, int, int]] = frozenset()
        self._next, self._pause_s = -math.inf, FIRST_PAUSE_S

    def look(self) -> LoadedBundle | None:
        """Return the bundle, loaded (anew) if it is time to; None while it cannot be."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + LOOK_S
            if self.loaded is None or _folder_stamp(self.bundle) != self._stamp:
                self._load()
        return self.loaded

    def give_up(self, error: BaseException) -> None:
        """Let go of a bundle that does not work any more; it is loaded anew after a pause."""
        self.loaded = None
        self._note_failure(error)

    def close(self) -> None:
        """Note in the status that nobody answers any more."""
        self.spool.note_part(self._part, "ended")

    def _load(self) -> None:
        stamp = _folder_stamp(self.bundle)
        if self.loaded is None:
            self.spool.note_part(self._part, "loading")
        try:
            fresh = self._opened()
        except Exception as error:  # what a stranger's bundle makes MONAI and torch raise
            self._note_failure(error)
            return
        self._stamp, self.loaded, self._pause_s = stamp, fresh, FIRST_PAUSE_S
        self.log.info("%s: bundle %s answers", self.role, fresh.digest[:12])
        self.spool.note_part(self._part, "running")

    def _opened(self) -> LoadedBundle:
        settings = self.settings
        model = open_model(self.bundle, gate=settings.gate, batch_size=settings.batch_size)
        results = DicomResults(model, self.kinds, settings.rule or None)
        results.check()
        digest = results.identity.digest
        self.spool.add_bundle(digest, {**model.about, "labels": list(model.labels)})
        return LoadedBundle(results, digest, RecentFilms(self.spool, self.role, model.gate))

    def _note_failure(self, error: BaseException) -> None:
        is_ours = isinstance(error, CxrError)
        code = str(error.code) if isinstance(error, CxrError) else str(Code.SYSTEM_ERROR)
        text = str(error) if is_ours else error_place(error)
        if self.loaded is not None:
            text = f"bundle {self.loaded.digest[:12]} goes on answering; its folder has changed, and: {text}"
        self.log.error("%s: the bundle cannot be loaded [%s]: %s", self.role, code, text)
        self.spool.note_part(self._part, "failed" if self.loaded is None else "running", code, text)
        self._next = time.monotonic() + self._pause_s
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)


def _folder_stamp(bundle: str) -> frozenset[tuple[str, int, int, int]]:
    """Return what changes with the files of a folder; the same for all names of installed bundles."""
    root = Path(bundle)
    files = ((path, path.stat()) for path in root.rglob("*") if path.is_file()) if root.is_dir() else ()
    return frozenset((str(path), status.st_size, status.st_mtime_ns, status.st_ino) for path, status in files)
