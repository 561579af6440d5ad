"""The spool: where receiver, analyser and deliverer meet, and nowhere else. What is in it outlasts a power cut.

    spool/node.db            SQLite (WAL, synchronous=FULL): a row a film, an answer, a result object, a delivery
    spool/films/DIGEST.dcm   films as they were received; DIGEST is that of ``cxr_monai.objects.film_digest``
    spool/results/UID.dcm    result objects
    spool/incoming/          what is being received; swept at the start

A film is ``received``; for each role, ``main`` and ``shadow``, it gets an answer: ``taken`` (up by the analyser), then
``answered``, ``refused`` (stable code) or ``failed`` (after several attempts). Each result object of the main answer
has a delivery a destination: ``waiting``, until it is ``sent``. No row holds a name, an identifier, an accession number
or a UID of what was received.
"""

import hashlib
import itertools
import json
import math
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from cxr_monai.durable import make_folder, remove, sync_folder, write_durably
from cxr_monai.errors import Code, StorageError
from cxr_monai.objects import film_digest

from .spool_schema import MIGRATIONS
from .spooled import Delivery, FilmAnswer, FilmRecord, PartState, SpooledFilm

MAIN, SHADOW = "main", "shadow"
BUSY_S = 60
"""Seconds to wait for another process' transaction."""


class Spool:
    """A spool, opened; one instance a thread.

    Args:
        folder: is made where it does not exist, for its owner alone.
        now: the time, seconds since 1970.

    Raises:
        StorageError: ``write-failed`` or ``disk-full`` if it cannot be written; ``write-failed`` for the spool of a
            newer version.
    """

    def __init__(self, folder: str | Path, now: Callable[[], float] = time.time) -> None:
        self.folder, self.now = make_folder(folder, 0o700), now
        self.films, self.results, self.incoming = (
            make_folder(self.folder / name, 0o700) for name in ("films", "results", "incoming")
        )
        try:
            self._database = sqlite3.connect(self.folder / "node.db", timeout=BUSY_S, isolation_level=None)
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
                self._database.execute(f"PRAGMA {pragma}")
            self._migrate()
        except sqlite3.Error as error:
            raise StorageError(
                Code.WRITE_FAILED,
                f"the spool cannot be opened ({error}).",
                fix="Is the disk full, read-only, or somebody else's? Is node.db damaged?",
                where=self.folder,
            ) from error

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def _migrate(self) -> None:
        if self._version() == len(MIGRATIONS):
            return  # nothing is written: a spool on a full disk can be opened, and one that is busy at once
        with self.transaction():
            version = self._version()
            if version > len(MIGRATIONS):
                raise StorageError(
                    Code.WRITE_FAILED,
                    f"this spool is of a newer version ({version}; this program knows {len(MIGRATIONS)}).",
                    fix="Start the version of cxr-monai that made it, or a newer one.",
                    where=self.folder,
                )
            for script in MIGRATIONS[version:]:
                for statement in script.split(";"):
                    self._database.execute(statement)
            self._database.execute(f"PRAGMA user_version={len(MIGRATIONS)}")

    def _version(self) -> int:
        return int(self._database.execute("PRAGMA user_version").fetchone()[0])

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Do what the block does wholly or not at all."""
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield self._database
            self._database.execute("COMMIT")
        except BaseException:
            if self._database.in_transaction:  # on a full disk SQLite may have ended it, or not have committed
                self._database.execute("ROLLBACK")
            raise

    def rows(self, query: str, *values: str | float) -> list[tuple[Any, ...]]:
        """Return the rows of a query, all of them."""
        return self._database.execute(query, values).fetchall()

    @property
    def data_version(self) -> int:
        """A number that changes when another process or thread has changed a row; it costs microseconds to look."""
        return int(self._database.execute("PRAGMA data_version").fetchone()[0])

    def note_part(self, name: str, state: str, code: str = "", text: str = "", pid: int | None = None) -> None:
        """Note how a part of the node is, for the status.

        Args:
            name: ``receive``, ``analyse``, ``shadow`` or ``deliver``.
            state: ``starting``, ``loading``, ``running``, ``failed`` or ``ended``.
            code, text: the stable code and the sentence of what is wrong, without anything of a patient.
            pid: of its process; this one where None.
        """
        with self.transaction() as database:
            database.execute(
                "INSERT INTO parts VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0) ON CONFLICT (name) DO UPDATE SET state = ?2, "
                "code = ?3, text = ?4, since = iif(state = ?2 AND pid = ?6, since, ?5), pid = ?6",
                (name, state, code, text[:500], self.now(), os.getpid() if pid is None else pid),
            )

    def parts(self) -> list[PartState]:
        """Return how the parts of the node are, as they noted it last; one that was killed could not."""
        rows = self._database.execute("SELECT name, state, code, text, since FROM parts ORDER BY name").fetchall()
        return [PartState(*row) for row in rows]

    def film_path(self, digest: str) -> Path:
        """Return the path of a film's file."""
        return self.films / f"{digest}.dcm"

    def result_path(self, uid: str) -> Path:
        """Return the path of a result object's file."""
        return self.results / f"{uid}.dcm"

    # receiver

    def take_in(self, part: Path, sop_class: str, transfer_syntax: str, calling_ae: str, digest: str = "") -> bool:
        """Take in a film that was received; on return it is on the disk: file, folder and row.

        Args:
            part: its file in ``incoming``, whole; it is moved.
            sop_class, transfer_syntax, calling_ae: of the film and its sender.
            digest: of the file, where it is known (:func:`cxr_monai.objects.film_digest`).

        Returns:
            False for a film that is here already: the same bytes.

        Raises:
            OSError: a file cannot be written.
            sqlite3.Error: a row cannot be written.
        """
        digest = digest or film_digest(part)
        target = self.film_path(digest)
        size = part.stat().st_size
        with part.open("rb") as stream:
            os.fsync(stream.fileno())
        with self.transaction():  # the file too: the film may be let go at the same moment (spool_care)
            os.replace(part, target)
            sync_folder(self.films)
            return self._add_film(digest, size, sop_class, transfer_syntax, calling_ae)

    def adopt(self, path: Path, sop_class: str, transfer_syntax: str) -> bool:
        """Add the row of a film whose file is here without one; whoever took it in was killed before.

        Args:
            path: of :meth:`films_without_row`.
            sop_class, transfer_syntax: of the film.

        Returns:
            False for a film that has a row.

        Raises:
            ValueError: its content is not that of its name.
        """
        if film_digest(path) != path.stem:
            raise ValueError("the film is damaged")
        with self.transaction():
            return self._add_film(path.stem, path.stat().st_size, sop_class, transfer_syntax, "")

    def _add_film(self, digest: str, size: int, sop_class: str, transfer_syntax: str, calling_ae: str) -> bool:
        # of a film that was kept long enough and let go, the record is left: it is answered anew
        self._database.execute("DELETE FROM films WHERE digest = ? AND NOT is_kept", (digest,))
        done = self._database.execute(
            "INSERT INTO films VALUES (?, ?, ?, ?, ?, ?, 1) ON CONFLICT (digest) DO NOTHING",
            (digest, self.now(), size, sop_class, transfer_syntax, calling_ae),
        )
        return done.rowcount == 1

    # analyser

    def add_bundle(self, digest: str, about: Mapping[str, Any]) -> None:
        """Note a bundle that answers; ``about`` is what stands beside its predictions, ``labels`` among it."""
        with self.transaction() as database:
            row = (digest, json.dumps(about), self.now())
            database.execute("INSERT INTO bundles VALUES (?, ?, ?) ON CONFLICT (digest) DO UPDATE SET about = ?2", row)

    def take_up(self, role: str, bundle: str, limit: int, attempts: int) -> list[SpooledFilm]:
        """Take up films that have no answer in a role, the longest waiting first; whoever died over some tries again.

        A film that was tried before comes alone: if it ends the process, it takes no other with it. It waits behind
        those that were received before it was tried.

        Args:
            role: ``main`` or ``shadow``.
            bundle: digest of the bundle that is loaded; the row says so from now on.
            limit: films at a time.
            attempts: at a film; one that had as many has failed.
        """
        with self.transaction() as database:
            failed = (self.now(), str(Code.SYSTEM_ERROR), f"the analysis ended {attempts} times over this film", role)
            database.execute(
                "UPDATE answers SET state = 'failed', done_at = ?1, code = ?2, reason = ?3 "
                "WHERE role = ?4 AND state = 'taken' AND attempts >= ?5",
                (*failed, attempts),
            )
            rows = database.execute(
                "SELECT films.digest, coalesce(attempts, 0) FROM films LEFT JOIN answers "
                "ON answers.digest = films.digest AND role = ?1 WHERE is_kept AND (state IS NULL OR state = 'taken') "
                "ORDER BY coalesce(taken_at, received_at), received_at, films.digest LIMIT ?2",
                (role, limit),
            ).fetchall()
            fresh = list(itertools.takewhile(lambda row: row[1] == 0, rows))
            taken = fresh or rows[:1]
            database.executemany(
                "INSERT INTO answers (digest, role, bundle, state, attempts, taken_at) VALUES (?, ?, ?, 'taken', 1, ?) "
                "ON CONFLICT (digest, role) DO UPDATE SET attempts = attempts + 1, bundle = ?3, taken_at = ?4",
                [(digest, role, bundle, self.now()) for digest, _ in taken],
            )
        return [SpooledFilm(digest, self.film_path(digest), tried + 1) for digest, tried in taken]

    def put_back(self, role: str, digests: Sequence[str]) -> None:
        """Leave films that were taken up and not answered to a later time; it does not count as an attempt."""
        with self.transaction() as database:
            database.executemany(
                "UPDATE answers SET attempts = attempts - 1 WHERE digest = ? AND role = ? AND state = 'taken'",
                [(digest, role) for digest in digests],
            )
            database.execute("DELETE FROM answers WHERE role = ? AND state = 'taken' AND attempts < 1", (role,))

    def store_answer(
        self, digest: str, role: str, answer: FilmAnswer, destinations: Mapping[str, Sequence[str]]
    ) -> None:
        """Store an answer and its objects, to be delivered; of a film that was forgotten meanwhile nothing is stored.

        Args:
            digest, role: of the film that was taken up.
            answer: about it.
            destinations: the kinds of objects that go there, by name; all kinds where there are none.
        """
        for result in answer.objects:
            write_durably(self.result_path(result.uid), result.content, private=True)
        values, evidence = (
            None if part is None else json.dumps(part) for part in (answer.probabilities, answer.evidence)
        )
        with self.transaction() as database:
            updated = database.execute(
                "UPDATE answers SET state = ?, done_at = ?, code = ?, reason = ?, probabilities = ?, evidence = ?, "
                "remarks = ? WHERE digest = ? AND role = ?",
                (answer.state, self.now(), answer.code, answer.reason, values, evidence, answer.remarks, digest, role),
            )
            is_forgotten = updated.rowcount == 0
            for result in answer.objects if not is_forgotten else ():
                content_digest = hashlib.sha256(result.content).hexdigest()
                database.execute(
                    "INSERT INTO objects (uid, digest, kind, sop_class, content_digest) VALUES (?, ?, ?, ?, ?) "
                    "ON CONFLICT (uid) DO UPDATE SET content_digest = ?5",
                    (result.uid, digest, str(result.kind), result.sop_class, content_digest),
                )
                for name, kinds in destinations.items():
                    if not kinds or str(result.kind) in kinds:
                        database.execute(
                            "INSERT INTO deliveries (uid, destination, state, waiting_since, next_at) "
                            "VALUES (?1, ?2, 'waiting', ?3, 0) ON CONFLICT (uid, destination) DO NOTHING",
                            (result.uid, name, self.now()),
                        )
        for result in answer.objects if is_forgotten else ():
            remove(self.result_path(result.uid))

    def bundles(self) -> dict[str, dict[str, Any]]:
        """Return what stands beside the predictions of each bundle that has answered, by its digest."""
        rows = self._database.execute("SELECT digest, about FROM bundles ORDER BY first_at, digest").fetchall()
        return {digest: json.loads(about) for digest, about in rows}

    def records(
        self, role: str, bundle: str = "", since: float = 0.0, until: float = math.inf, last: int = -1
    ) -> Iterator[FilmRecord]:
        """Yield what is kept of the answers of a role, in the order in which the films were received.

        Args:
            role: ``main`` or ``shadow``.
            bundle: digest of the one that answered; of all where empty.
            since, until: when the film was received, seconds since 1970; ``until`` is not included.
            last: this many alone, the last ones; all where negative.
        """
        query = (
            "SELECT * FROM (SELECT received_at, films.digest AS digest, state, code, reason, probabilities, evidence, "
            "remarks FROM films JOIN answers USING (digest) WHERE role = ? AND ? IN ('', bundle) AND state != 'taken' "
            "AND received_at >= ? AND received_at < ? ORDER BY received_at DESC, digest DESC LIMIT ?) "
            "ORDER BY received_at, digest"
        )
        with closing(self._database.execute(query, (role, bundle, since, until, last))) as rows:
            for received_at, digest, state, code, reason, values, evidence, remarks in rows:
                probabilities, judged = (None if text is None else json.loads(text) for text in (values, evidence))
                yield FilmRecord(digest, state, code, reason, probabilities, judged, remarks, received_at)

    # deliverer

    def due(self, destination: str, limit: int = 100) -> list[Delivery]:
        """Return what a destination waits for and may be tried now, the longest waiting first."""
        rows = self._database.execute(
            "SELECT uid, sop_class, attempts, digest, content_digest FROM deliveries JOIN objects USING (uid) "
            "WHERE destination = ? "
            "AND state = 'waiting' AND next_at <= ? ORDER BY waiting_since, uid LIMIT ?",
            (destination, self.now(), limit),
        ).fetchall()
        return [Delivery(uid, sop_class, self.result_path(uid), *others) for uid, sop_class, *others in rows]

    def waiting(self, destination: str) -> tuple[int, float]:
        """Return how many objects wait for a destination, and the seconds that the oldest has waited."""
        count, since = self._database.execute(
            "SELECT count(*), min(waiting_since) FROM deliveries WHERE destination = ? AND state = 'waiting'",
            (destination,),
        ).fetchone()
        return count, self.now() - since if count else 0.0

    def mark_sent(self, uid: str, destination: str, remark: str = "") -> None:
        """Note that a destination has an object.

        Args:
            uid, destination: of the delivery.
            remark: what the destination says of it all the same.
        """
        with self.transaction() as database:
            database.execute(
                "UPDATE deliveries SET state = 'sent', sent_at = ?, attempts = attempts + 1, error = ? "
                "WHERE uid = ? AND destination = ?",
                (self.now(), remark[:500], uid, destination),
            )

    def pause(self, destination: str, error: str, pause_s: float) -> None:
        """Note a failed attempt for everything that waits for a destination; the next one comes after a pause.

        Args:
            destination: its name.
            error: in words, without anything of the patient.
            pause_s: seconds.
        """
        with self.transaction() as database:
            database.execute(
                "UPDATE deliveries SET attempts = attempts + 1, error = ?, next_at = max(next_at, ?) "
                "WHERE destination = ? AND state = 'waiting'",
                (error[:500], self.now() + pause_s, destination),
            )

    def mark_tried(self, uid: str, destination: str, error: str, pause_s: float) -> None:
        """Note a failed attempt; the next one comes after a pause.

        Args:
            uid, destination: of the delivery.
            error: in words, without anything of the patient.
            pause_s: seconds.
        """
        with self.transaction() as database:
            database.execute(
                "UPDATE deliveries SET attempts = attempts + 1, error = ?, next_at = ? "
                "WHERE uid = ? AND destination = ?",
                (error[:500], self.now() + pause_s, uid, destination),
            )

    # parts

    def note_restart(self, name: str, text: str) -> None:
        """Note that a part's process has ended and is to be started again; what it said last stays.

        Args:
            name: of the part.
            text: how it ended, where it said nothing itself.
        """
        with self.transaction() as database:
            database.execute(
                "UPDATE parts SET state = 'restarting', text = iif(text = '', ?2, text), since = ?3, "
                "restarts = restarts + 1 WHERE name = ?1",
                (name, text, self.now()),
            )

    # care

    def sweep(self) -> int:
        """Remove what an interrupted reception left in ``incoming``; return how many files."""
        leftovers = [path for path in self.incoming.iterdir() if path.is_file()]
        for path in leftovers:
            remove(path)
        return len(leftovers)

    def films_without_row(self) -> list[Path]:
        """Return the films' files that no row tells of: whoever took them in was killed before the row was there."""
        with closing(self._database.execute("SELECT digest FROM films")) as rows:
            known = {digest for (digest,) in rows}
        return [path for path in sorted(self.films.glob("*.dcm")) if path.stem not in known]
