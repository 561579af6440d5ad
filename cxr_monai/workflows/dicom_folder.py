"""A folder of DICOM result objects, one file each, and their table ``objects.csv``, which stands there when all do.

    folder = DicomFolder("results", DicomResults(model, kinds), names)
    with folder.held():
        folder.go_on(earlier, is_done=False, force=False)
        folder.add(answered)                  # of a batch: its objects are on the disk
        folder.finish()

Until ``finish``, objects lie in ``objects.part``, and an earlier result beside it stays as it was. Interrupted, the
next run goes on: an object that lies there under its UID, which follows from film, bundle and settings, is not built
again. One process at a time writes a folder, by holding ``objects.csv.part``.
"""

import csv
import io
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePath
from typing import Any

from cxr_monai.data.files import errors_file, errors_table
from cxr_monai.durable import refuse_taken, storage_error, sync_folder, write_durably, write_together
from cxr_monai.errors import Code, EvaluationError, RadiographError, UsageError
from cxr_monai.inference.answered_batch import AnsweredBatch
from cxr_monai.locking import FileHold
from cxr_monai.objects.film_result import FilmResult, ResultKind
from cxr_monai.objects.result_objects import check_result_runtime
from cxr_monai.outputs import check_folder
from cxr_monai.workflows.dicom_results import DicomResults

OBJECTS_TABLE = "objects.csv"
OBJECT_COLUMNS = ("image", "kind", "sop_instance_uid", "file")
"""The columns of ``objects.csv``: name of the film as in the predictions; ``sr``, ``sc``, ``gsps`` or ``seg``; UID;
path below the folder. Films with the same bytes share their objects."""
BYTES_OF_KIND = {
    ResultKind.REPORT: 20_000,
    ResultKind.PICTURE: 500_000,
    ResultKind.CONTOURS: 2_000,
    ResultKind.MAPS: 2_000,
}
"""Of an object, at least; not every film has contours and maps, and a picture of a large film has 4 to 8 MB."""

_PARTS, _HELD = "objects.part", "objects.csv.part"
_ENDINGS = (".dcm", ".dicom", ".ima")
_LONGEST = 180
"""Bytes of a name that leaves room for its endings (a file system's limit is 255)."""


def check_dicom_folder(
    folder: str | Path,
    kinds: Sequence[ResultKind],
    films: int,
    inputs: Iterable[str | Path] = (),
    force: bool = False,
    may_continue: bool = False,
) -> None:
    """Check, before the work begins, that a folder can take result objects. Nothing is changed.

    Args:
        folder: new, empty, an earlier result that ``force`` allows to replace, or one that was interrupted.
        kinds: of objects.
        films: how many there are.
        inputs: what the films come from; the folder must not lie in one of them, where it would be taken for input.
        force: an earlier result may be replaced.
        may_continue: the predictions of the same command were interrupted, so a result may be there already.

    Raises:
        CxrError: ``runtime-missing`` without highdicom.
        UsageError: ``output-exists``.
        StorageError: ``disk-full``, ``write-failed``.
    """
    check_result_runtime(kinds)
    folder = Path(folder)
    for place in map(Path, inputs):
        if place.is_dir() and folder.resolve().is_relative_to(place.resolve()):
            raise UsageError(
                Code.OUTPUT_EXISTS,
                f"it lies in {place}, whose films are read: the next run would take its objects for films.",
                fix="Choose a folder outside.",
                where=folder,
            )
    room = 0 if may_continue else films * sum(BYTES_OF_KIND[kind] for kind in kinds)
    check_folder(folder, [OBJECTS_TABLE], force or may_continue, room)
    is_result = any((folder / name).exists() for name in (OBJECTS_TABLE, _HELD))
    if folder.is_dir() and any(folder.iterdir()) and not is_result:
        raise UsageError(
            Code.OUTPUT_EXISTS,
            "this folder holds other files, and result objects need one of their own.",
            fix="Choose another name.",
            where=folder,
        )


@dataclass
class ObjectEntries:
    """What became of some films.

    Attributes:
        objects: a row of :data:`OBJECT_COLUMNS` an object.
        without: image, stable code and reason of each film that has none.
    """

    objects: list[list[str]]
    without: list[list[str]]

    def to_json(self) -> dict[str, Any]:
        """Return them as JSON."""
        return {"objects": self.objects, "without": self.without}


class DicomFolder:
    """A folder of result objects that is being filled.

    Args:
        path: the folder.
        results: builds the objects.
        names: of all films, as in the predictions.

    Attributes:
        table: path of ``objects.csv``.
        entries: of all films so far.
    """

    def __init__(self, path: str | Path, results: DicomResults, names: Sequence[str]) -> None:
        self.path, self.results = Path(path), results
        self.table, self._parts = self.path / OBJECTS_TABLE, self.path / _PARTS
        self.entries = ObjectEntries([], [])
        self._stems = object_stems(names)
        self._files: dict[str, str] = {}
        """Path of each object by its UID."""

    @property
    def about(self) -> dict[str, Any]:
        """What decides the objects, for an interrupted run to go on with the same."""
        kinds, identity = list(map(str, self.results.kinds)), self.results.identity
        return {"folder": str(self.path.absolute()), "kinds": kinds, "rule": identity.rule}

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the folder while the block writes it; what the block left unfinished is there for the next run.

        Raises:
            TrainingError: ``output-locked`` while another process writes it.
            StorageError: ``disk-full`` or ``write-failed``.
        """
        is_new = not self.path.exists()
        hold = FileHold.of(self.path / _HELD, self.table)
        try:
            yield
        except BaseException:
            if hold.created and not self._parts.exists():  # nothing was done
                hold.remove()
                if is_new:
                    with suppress(OSError):  # another process writes there
                        self.path.rmdir()
            raise
        else:
            try:
                hold.remove()
            except OSError as error:
                raise storage_error(error, self.table, "It is written.") from error
        finally:
            hold.release()

    def go_on(self, earlier: Iterable[Mapping[str, Any]], is_done: bool, force: bool) -> None:
        """Take over what an interrupted run wrote.

        Args:
            earlier: what :meth:`add` returned to it.
            is_done: it had come to the last film.
            force: an earlier result may be replaced.

        Raises:
            UsageError: ``output-exists`` for an earlier result.
            EvaluationError: ``result-incomplete`` if an object is gone.
        """
        refuse_taken([self.table] if self.table.exists() and not (force or is_done) else [], "--force")
        for batch in earlier:
            self._take(ObjectEntries(batch["objects"], batch["without"]))
        for file in dict.fromkeys(self._files.values()):
            if not (self._parts / file).is_file() and not (is_done and (self.path / file).is_file()):
                raise EvaluationError(
                    Code.RESULT_INCOMPLETE,
                    "an interrupted run wrote this object, and it is gone.",
                    fix="Remove the unfinished predictions (PREDICTIONS.part): the same command then begins anew.",
                    where=self._parts / file,
                )

    def add(self, answered: AnsweredBatch) -> ObjectEntries:
        """Write the objects of a batch; they are on the disk when this returns.

        Raises:
            StorageError: ``disk-full`` or ``write-failed``; what was written before stays for the next run.
        """
        batch = ObjectEntries([], [])
        for film, result in self.results.film_results(answered):
            error = film.error
            if result is not None:
                try:
                    batch.objects += self._write(film.name, result)
                    continue
                except RadiographError as impossible:
                    error = str(impossible.code), impossible.message
            if error is not None:
                batch.without.append([film.name, *error])
        self._take(batch)
        return batch

    def _take(self, batch: ObjectEntries) -> None:
        self.entries.objects += batch.objects
        self.entries.without += batch.without
        self._files |= {uid: file for _, _, uid, file in batch.objects}

    def _write(self, image: str, result: FilmResult) -> list[list[str]]:
        """Write the objects of a film that are not there; return the rows of all."""
        files = {result.uid_of(kind): self._place(image, result.uid_of(kind), kind) for kind in self.results.kinds}
        kinds = {result.uid_of(kind): kind for kind in self.results.kinds}
        there = [uid for uid, file in files.items() if uid in self._files or _uid_in(self._parts / file) == uid]
        missing = [kind for uid, kind in kinds.items() if uid not in there]
        built = self.results.build(result, missing) if missing else []
        for result_object in built:
            write_durably(self._parts / files[result_object.uid], result_object.content)
        written = {*there, *(result_object.uid for result_object in built)}
        rows = [[image, str(kinds[uid]), uid, file] for uid, file in files.items() if uid in written]
        self._files |= {uid: file for _, _, uid, file in rows}
        return rows

    def _place(self, image: str, uid: str, kind: ResultKind) -> str:
        return self._files.get(uid) or f"{self._stems[image]}.{kind}.dcm"

    def finish(self) -> None:
        """Put all objects into their places, then the table; objects of an earlier result go.

        Raises:
            StorageError: ``disk-full`` or ``write-failed``; the next run goes on.
        """
        try:
            files = list(dict.fromkeys(self._files.values()))
            for file in files:
                if (self._parts / file).exists():
                    (self.path / file).parent.mkdir(parents=True, exist_ok=True)
                    os.replace(self._parts / file, self.path / file)
            for folder in {(self.path / file).parent for file in files}:
                sync_folder(folder)
            self._remove_earlier(set(files))
            errors = errors_table([(image, code, reason) for image, code, reason in self.entries.without])
            companions = {errors_file(self.table): errors if self.entries.without else None}
            write_together(self.table, _csv(self.entries.objects), companions)
            shutil.rmtree(self._parts, ignore_errors=True)
        except OSError as error:
            raise storage_error(error, self.path) from error

    def _remove_earlier(self, kept: set[str]) -> None:
        """Remove the objects that an earlier table lists, unless they are among the new ones."""
        for file in _listed(self.table):
            path = self.path / file
            if file not in kept and file.endswith(".dcm") and path.resolve().is_relative_to(self.path.resolve()):
                path.unlink(missing_ok=True)
                with suppress(OSError):  # others lie in it
                    path.parent.rmdir()


def object_stems(names: Sequence[str]) -> dict[str, str]:
    """Return the path below the folder at which each film's objects begin, by the film's name; all differ.

    It is the film's own path below the folder that was read, or its file name where it was given by itself, without
    ``.dcm``; with a digest of its name where two would share it. So nothing of a patient stands in it but what stood in
    the film's name.

    >>> list(object_stems(["a/1.dcm", "/films/2.dcm", "1.2.840.7"]).values())
    ['a/1', '2', '1.2.840.7']
    >>> list(object_stems(["/b/1.dcm", "/c/1.DCM"]).values())
    ['1-dcb7b981', '1-26ea8607']
    """
    stems = {name: _stem(name) for name in names}
    counts = Counter(stem.casefold() for stem in stems.values())
    return {
        name: stem if counts[stem.casefold()] == 1 and not stem.startswith(_PARTS) else f"{stem}-{_digest(name)[:8]}"
        for name, stem in stems.items()
    }


def _stem(name: str) -> str:
    path = PurePath(name)
    parts = [path.name] if path.is_absolute() or ".." in path.parts else list(path.parts)
    last = path.stem if path.suffix.lower() in _ENDINGS else path.name
    parts[-1] = last if len(os.fsencode(last)) <= _LONGEST else _digest(last)[:32]
    return "/".join(parts)


def _digest(text: str) -> str:
    return sha256(os.fsencode(text)).hexdigest()


def _uid_in(path: Path) -> str:
    """Return the SOP Instance UID of a file; empty where there is none."""
    from cxr_monai.data.formats.dicom_library import dcmread

    return str(dcmread(path, specific_tags=["SOPInstanceUID"]).SOPInstanceUID) if path.is_file() else ""


def _csv(rows: Iterable[Sequence[str]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(OBJECT_COLUMNS)
    writer.writerows(rows)
    return text.getvalue().encode()


def _listed(table: Path) -> list[str]:
    """Return the files that an earlier table lists; none of one that cannot be read."""
    try:
        with table.open(encoding="utf-8", newline="") as stream:
            return [row["file"] for row in csv.DictReader(stream) if row.get("file")]
    except (OSError, ValueError, csv.Error):
        return []
