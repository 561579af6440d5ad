"""A node's spool with films in it, and the analyser at work on it within the test's process."""

import os
import shutil
import signal
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from apps.node.analyser import Analyser, run_analyser
from apps.node.node_logging import set_up_logging
from apps.node.settings import AnalyseSettings, Destination, NodeSettings
from apps.node.spool import Spool
from cxr_monai.objects import film_digest
from cxr_monai.workflows.dicom_results import AnsweredFilm, DicomResults

CR = "1.2.840.10008.5.1.4.1.1.1"
EXPLICIT = "1.2.840.10008.1.2.1"
POISONED = 9
"""The exit status of an analyser that a film has ended."""


def node_settings(folder: Path, bundle: Path, destinations: Sequence[Destination] = (), **analyse: Any) -> NodeSettings:
    """Settings of a node whose spool is in a folder; pictures alone are built, which is quick."""
    settings = AnalyseSettings(**{"bundle": str(bundle), "objects": ("sc",), "batch_size": 4, **analyse})
    return NodeSettings(folder / "spool", analyse=settings, destinations=tuple(destinations))


def receive(spool: Spool, films: Sequence[Path]) -> list[str]:
    """Take in copies of films, as the receiver does, and return their digests."""
    digests = []
    for film in films:
        part = spool.incoming / "film.part"
        shutil.copy(film, part)
        digests.append(film_digest(part))
        spool.take_in(part, CR, EXPLICIT, "CT1")
    return digests


def answer_all(settings: NodeSettings, stop: threading.Event | None = None) -> None:
    """Answer what waits, as a new analyser does, until nothing waits for it."""
    spool = Spool(settings.spool)
    try:
        analyser = Analyser(spool, settings)
        while analyser.answer_some(stop or threading.Event()):
            pass
    finally:
        spool.close()


def analyse_for_ever(settings: NodeSettings, log: Path, poison: str = "") -> None:
    """Run the analyser in a process of its own until SIGTERM, as a node does.

    Args:
        settings: of the node.
        log: where the process' output goes.
        poison: digest of a film that ends the process.
    """
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    set_up_logging("analyse")
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: stop.set())
    answer = DicomResults.answer

    def answer_or_end(results: DicomResults, *words: Any) -> Iterator[AnsweredFilm]:
        for answered in answer(results, *words):
            if answered.name == f"{poison}.dcm":
                os._exit(POISONED)
            yield answered

    if poison:
        DicomResults.answer = answer_or_end  # type: ignore[method-assign,assignment]
    run_analyser(settings, stop)
