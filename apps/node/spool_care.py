"""What is done with films that are done: kept for some days, forgotten, tried again.

Films and their rows change within one transaction, which also takes films in: whoever sends a film while it is let go
is told 0x0000 for a film that stays.
"""

import logging
import sqlite3
import threading
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

from cxr_monai.durable import remove
from cxr_monai.errors import Code, CxrError, UsageError

from .settings import KeepSettings, NodeSettings
from .spool import Spool

logger = logging.getLogger(__name__)

DAY_S = 86400.0
CARE_S = 600.0
"""Seconds between two looks at what has been kept long enough."""
SHORTEST_KEY = 4

_DONE = (
    "SELECT digest FROM films WHERE is_kept AND received_at < ? AND EXISTS (SELECT 1 FROM answers "
    "WHERE answers.digest = films.digest AND role = 'main' AND state != 'taken') AND NOT EXISTS (SELECT 1 "
    "FROM deliveries JOIN objects USING (uid) WHERE objects.digest = films.digest AND deliveries.state = 'waiting')"
)


@dataclass(frozen=True)
class Retried:
    """What is tried again.

    Attributes:
        films: that are answered anew.
        deliveries: that are tried at once.
    """

    films: int
    deliveries: int


def care_for_spool(settings: NodeSettings, stop: threading.Event) -> None:
    """Let go of what was kept long enough, every few minutes until ``stop`` is set; one process of a node does so.

    Args:
        settings: of the node.
        stop: ends it.
    """
    while not stop.is_set():
        try:
            with closing(Spool(settings.spool)) as spool:
                films, records = let_go(spool, settings.keep)
            if films or records:
                logger.info("kept long enough: %d films with their results, %d records", films, records)
        except (CxrError, OSError, sqlite3.Error) as error:
            logger.error("what was kept long enough cannot be removed now: %s", error)
        stop.wait(CARE_S)


def let_go(spool: Spool, keep: KeepSettings) -> tuple[int, int]:
    """Remove films with their results, and records, that were kept long enough; nothing that waits for anything.

    Args:
        spool: opened.
        keep: for how long.

    Returns:
        how many films, and how many records of films.
    """
    films = 0
    for (digest,) in spool.rows(_DONE, spool.now() - keep.days * DAY_S):
        with spool.transaction() as database:
            if (digest,) in spool.rows(_DONE + " AND films.digest = ?", spool.now() - keep.days * DAY_S, digest):
                _remove_files(spool, digest)
                database.execute("DELETE FROM objects WHERE digest = ?", (digest,))
                database.execute("UPDATE films SET is_kept = 0 WHERE digest = ?", (digest,))
                films += 1
    with spool.transaction() as database:
        old = spool.now() - keep.records_days * DAY_S
        records = database.execute("DELETE FROM films WHERE NOT is_kept AND received_at < ?", (old,)).rowcount
    return films, records


def forget(spool: Spool, digest: str) -> None:
    """Remove everything about a film: its file, its results, its rows and its record.

    Args:
        spool: opened.
        digest: of the film.
    """
    with spool.transaction() as database:
        _remove_files(spool, digest)
        database.execute("DELETE FROM films WHERE digest = ?", (digest,))


def _remove_files(spool: Spool, digest: str) -> None:
    for (uid,) in spool.rows("SELECT uid FROM objects WHERE digest = ?", digest):
        remove(spool.result_path(uid))
    remove(spool.film_path(digest))


def remove_lost_results(spool: Spool) -> int:
    """Remove files of results that no row tells of, which an analyser that was killed left; return how many.

    Args:
        spool: opened by the analyser's process, before it answers.
    """
    known = {uid for (uid,) in spool.rows("SELECT uid FROM objects")}
    lost = [path for path in spool.results.iterdir() if path.is_file() and path.stem not in known]
    for path in lost:
        remove(path)
    return len(lost)


def retry(spool: Spool, digest: str = "") -> Retried:
    """Answer failed films anew, and try deliveries that wait at once.

    Args:
        spool: opened.
        digest: of one film: it is answered anew if it failed or was refused, and all its results are sent again
            (an archive that has them keeps one of each). Of all films where empty.
    """
    states = "('failed', 'refused')" if digest else "('failed')"
    which = "WHERE ?1 IN ('', digest)"
    with spool.transaction() as database:
        films = database.execute(
            f"DELETE FROM answers {which} AND state IN {states} AND digest IN (SELECT digest FROM films WHERE is_kept)",
            (digest,),
        ).rowcount
        deliveries = database.execute(
            "UPDATE deliveries SET state = 'waiting', next_at = 0, waiting_since = iif(state = 'sent', ?2, "
            "waiting_since) WHERE (state = 'waiting' OR ?1 != '') AND uid IN (SELECT uid FROM objects "
            f"{which})",
            (digest, spool.now()),
        ).rowcount
    return Retried(films, deliveries)


def film_of_key(spool: Spool, key: str) -> str:
    """Return the digest of the film whose digest begins with a key, as logs and the status show it.

    Args:
        spool: opened.
        key: at least four hexadecimal digits.

    Raises:
        UsageError: ``usage`` if no film, or more than one, has it.
    """
    key = key.lower()
    if len(key) < SHORTEST_KEY or not set(key) <= set("0123456789abcdef"):
        raise UsageError(
            Code.USAGE,
            f"{key!r} is no key of a film: it is the beginning of its digest, at least {SHORTEST_KEY} of 0-9a-f.",
        )
    digests: Sequence[tuple[str]] = spool.rows(
        "SELECT digest FROM films WHERE digest >= ? AND digest < ?", key, key + "g"
    )
    if len(digests) != 1:
        many = f"{len(digests)} films' digests begin so" if digests else "no film's digest begins so"
        raise UsageError(Code.USAGE, f"{key!r}: {many}; logs and the status show 12 digits.")
    return digests[0][0]
