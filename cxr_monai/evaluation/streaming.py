"""Predictions written batch by batch into ``P.csv.part``, which an interrupted run continues, then as ``P.csv``.

    rows = PredictionRows.open("p.csv", findings, {"images": digest_of_list(names, files)}, total=len(files))
    rows.add(images, probabilities, errors)         # of a batch: on the disk when it returns
    rows.finish(about)          # p.csv appears whole, with p.csv.json, p.csv.errors.csv and p.csv.gate.csv

The first line of the part is ``# `` and its head as JSON: the settings that decide every value. Before the rows of each
batch is a line of ``# `` and JSON: how many bytes of CSV follow, how many images are done, which could not be read, how
many bytes of the gate's evidence stand behind the rows. A batch that was cut off is recognised by its length, and
predicted again. One process at a time writes a part, which it holds locked. The evidence stays on the disk until the
end: it would be the most of what a long run keeps in memory.
"""

import csv
import hashlib
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd

from cxr_monai.data.notes import FilmNotes
from cxr_monai.durable import refuse_taken, storage_error
from cxr_monai.errors import Code, UsageError
from cxr_monai.evaluation.gate_evidence import GateCounts, gate_rows, read_gate_evidence, with_gate_counts
from cxr_monai.evaluation.predictions import DIGITS, place_errors_alone, place_predictions
from cxr_monai.locking import FileHold
from cxr_monai.plurals import be, counted

__all__ = ["PredictionRows"]

Errors = Sequence[tuple[str, str, str]]
_EVIDENCE_AT_A_TIME = 4 << 20
NOTHING = "nothing"
"""Stands for the differing keys of a part that is empty or was cut off within its first line."""


def digest_of_list(names: Sequence[str], files: Sequence[str | Path]) -> str:
    """Return the SHA-256 (hexadecimal) of the images to predict: their names and paths, in order.

    Args:
        names: N, as in the column ``image``.
        files: their paths.
    """
    lines = (json.dumps([name, str(file)]) + "\n" for name, file in zip(names, files, strict=True))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


class PredictionRows:
    """A predictions file that grows; see the module's head.

    Attributes:
        path: of the CSV.
        part: where the rows are until then.
        done: number of images of the list that have a row or an error.
        predicted: number of those that have a row.
        errors: image, stable code and reason of the others.
        notes: remarks from reading the images that have a row.
        counts: of the gate's answers.
        attached: what came with each batch besides, as JSON; of batches that have something.
    """

    def __init__(self, path: Path, findings: Sequence[str], evidence: Sequence[str] = ()) -> None:
        self.path, self.findings, self.part = path, list(findings), part_of(path)
        self.counts = GateCounts()
        self._columns = list(evidence)
        self._evidence: list[tuple[int, int]] = []
        self.done = self.predicted = 0
        self.errors: list[tuple[str, str, str]] = []
        self.notes = FilmNotes()
        self.attached: list[Any] = []
        self._rows: list[bytes] = []
        self._size = 0
        self._hold: FileHold | None = None

    @classmethod
    def open(
        cls,
        path: str | Path,
        findings: Sequence[str],
        head: Mapping[str, Any],
        total: int,
        force: bool = False,
        evidence: Sequence[str] = (),
    ) -> "PredictionRows":
        """Begin a file, or go on with one that the same head began.

        Args:
            path: of the CSV (``.gz`` is compressed).
            findings: its columns.
            head: the settings that decide the values, as JSON.
            total: images of the list.
            force: an earlier file, or an unfinished one of another head, may be written over.
            evidence: the columns of the gate's; empty where no film is judged.

        Raises:
            UsageError: ``output-exists``.
            TrainingError: ``output-locked`` while another process writes it.
            StorageError: ``disk-full`` or ``write-failed``.
        """
        rows = cls(Path(path), findings, evidence)
        head = {**head, "evidence": rows._columns} if evidence else head
        rows._hold = FileHold.of(rows.part, rows.path)
        try:
            rows._begin(_line({**head, "findings": rows.findings}), total, force)
        except OSError as error:
            rows._give_up()
            raise storage_error(error, path) from error
        except BaseException:
            rows._give_up()
            raise
        return rows

    def _begin(self, first: bytes, total: int, force: bool) -> None:
        """Take over the batches of an earlier run with the same first line, or write that line."""
        with self.part.open("r+b") as file:
            differing = self._read(file, first)
            if differing and not force and differing != [NOTHING]:
                raise UsageError(
                    Code.OUTPUT_EXISTS,
                    f"an interrupted prediction is here that differs in {', '.join(differing)}.",
                    fix="Give the command that began it, and it goes on; or --force, which begins anew.",
                    where=self.part,
                )
            if self.done < total or differing:
                refuse_taken([self.path] if os.path.lexists(self.path) and not force else [], "--force")
            if differing:
                file.seek(0)
                file.truncate()
                file.write(first)
                file.flush()
                os.fsync(file.fileno())
                self._size = len(first)

    def _give_up(self) -> None:
        """Let go of the part, and remove it if it was not there before."""
        if self._hold is not None and self._hold.created:
            self._hold.remove()
        self._let_go()

    def _let_go(self) -> None:
        if self._hold is not None:
            self._hold.release()

    def _read(self, file: BinaryIO, first: bytes) -> list[str]:
        """Take over the batches of an earlier run; return the keys of its head that differ."""
        head = file.readline()
        if head != first and first.startswith(head):  # an empty one, or cut off within the line
            return [NOTHING]
        if head != first:
            old_head, new_head = _content(head), _content(first)
            return sorted(key for key in {*old_head, *new_head} if old_head.get(key) != new_head.get(key)) or [
                "its head"
            ]
        self._size = len(first)
        while batch := _content(file.readline()):
            rows = file.read(batch["bytes"])
            judged = file.read(batch.get("evidence", 0))
            if len(rows) + len(judged) < batch["bytes"] + batch.get("evidence", 0):
                break
            self._size = file.tell()
            self._take(rows, batch)
        for part in self.evidence():
            self.counts.add(read_gate_evidence(part, self._columns))
        return []

    def _take(self, rows: bytes, batch: Mapping[str, Any]) -> None:
        """Take over a batch that stands on the disk up to :attr:`_size`."""
        self._rows.append(rows)
        if judged := batch.get("evidence", 0):
            self._evidence.append((self._size - judged, judged))
        self.predicted += batch["rows"]
        self.done = batch["done"]
        self.errors += [(image, code, reason) for image, code, reason in batch["left_out"]]
        self.notes.add_all(batch.get("notes", {}))
        self.attached += [batch["attached"]] if "attached" in batch else []

    def evidence(self) -> Iterator[bytes]:
        """Yield the gate's evidence of the batches so far, some megabytes of CSV each, without the columns' names."""
        if not self._evidence:
            return
        with self.part.open("rb") as file:
            batches, size = [], 0
            for start, length in self._evidence:
                file.seek(start)
                batches.append(file.read(length))
                size += length
                if size > _EVIDENCE_AT_A_TIME:
                    yield b"".join(batches)
                    batches, size = [], 0
            if batches:
                yield b"".join(batches)

    def add(
        self,
        images: Sequence[str],
        probabilities: np.ndarray,
        errors: Errors = (),
        notes: FilmNotes | None = None,
        evidence: pd.DataFrame | None = None,
        attached: Any = None,
    ) -> None:
        """Add a batch.

        Args:
            images: N names.
            probabilities: ``[N, F]`` in [0, 1].
            errors: image, stable code and reason of each file of the batch that was left out.
            notes: remarks from reading the images.
            evidence: the gate's, of every film that could be read.
            attached: JSON that an interrupted run is to find again in :attr:`attached`.

        Raises:
            StorageError: ``disk-full`` or ``write-failed``; earlier batches are kept.
        """
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        for image, row in zip(images, probabilities, strict=True):
            writer.writerow([image, *(DIGITS % value for value in row)])
        rows = text.getvalue().encode()
        done = self.done + len(images) + len(errors)
        batch = {"bytes": len(rows), "rows": len(images), "done": done, "left_out": [list(error) for error in errors]}
        batch |= {"notes": notes.to_json()} if notes else {}
        judged = b"" if evidence is None or evidence.empty else gate_rows(evidence[self._columns])
        batch |= {"evidence": len(judged)} if judged else {}
        batch |= {} if attached is None else {"attached": attached}
        block = _line(batch) + rows + judged
        try:
            with self.part.open("r+b") as file:
                file.truncate(self._size)  # of a batch that was cut off
                file.seek(self._size)
                file.write(block)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            self._let_go()
            raise storage_error(
                error, self.path, f"{counted(self.done, 'image')} {be(self.done)} done and kept."
            ) from error
        self._size += len(block)
        self._take(rows, batch)
        if evidence is not None:
            self.counts.add(evidence)

    def finish(self, about: Mapping[str, Any]) -> None:
        """Put the file and its companions into their places; where no image was predicted, errors and evidence alone.

        Args:
            about: content of the JSON beside it; the number of images with each note is added, and of each of the
                gate's answers.

        Raises:
            StorageError: ``disk-full`` or ``write-failed``; the rows are kept.
        """
        columns = gate_rows(pd.DataFrame(columns=self._columns), header=True)
        judged = chain([columns], self.evidence()) if self._evidence else None
        try:
            if self.predicted:
                header = io.StringIO()
                csv.writer(header, lineterminator="\n").writerow(["image", *self.findings])
                description = {**about, "notes": self.notes.counts()} if self.notes else about
                content = header.getvalue().encode() + b"".join(self._rows)
                place_predictions(self.path, content, with_gate_counts(description, self.counts), self.errors, judged)
            elif self.errors:
                place_errors_alone(self.path, self.errors, judged)
            if self._hold is not None:
                self._hold.remove()
        except OSError as error:
            raise storage_error(error, self.path, "It is written.") from error
        finally:
            self._let_go()


def part_of(path: str | Path) -> Path:
    """Return the path of the unfinished file, ``P.csv.part``."""
    return Path(f"{path}.part")


def _line(content: Mapping[str, Any]) -> bytes:
    return f"# {json.dumps(content, sort_keys=True)}\n".encode()


def _content(line: bytes) -> dict[str, Any]:
    """Return the JSON of a line that begins with ``# ``; empty where it was cut off or is another line."""
    try:
        content = json.loads(line.removeprefix(b"# ")) if line.startswith(b"# ") and line.endswith(b"\n") else {}
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
