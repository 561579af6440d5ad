"""A folder of maps: compressed, on the grid on which they were computed, enlarged when they are read.

    store = MapStore.open("explanations/maps")
    store.grid("a.png")                         # [K, h, w]
    store.on_image("a.png", "Effusion")         # [H, W] in the stored image's pixels

``maps_00000.npz`` and so on hold a few hundred images each and are whole or not there: a writer that was killed goes on
after the last one. Each holds its images' names, probabilities and views beside the maps (float16, in shares of each
map's maximum, which ``scales`` holds). ``maps.csv`` is the same table for people, written when all maps are there.
``maps.json`` holds the settings that made them and, at the end, the mark of completion that readers require (stores
of older versions have no mark, and are complete where they have ``maps.csv``).
"""

import io
import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cxr_monai.attribution.view import PointGrid, View
from cxr_monai.completion import COMPLETE, OWN_JSON, altered_files, missing_files, seal
from cxr_monai.data.notes import FilmNotes
from cxr_monai.durable import refuse_taken, write_durably, write_together
from cxr_monai.errors import Code, EvaluationError, UsageError
from cxr_monai.outputs import check_folder
from cxr_monai.plurals import counted
from cxr_monai.schemes import label_scheme
from cxr_monai.strict_json import parse_strictly

_FORMAT = 1
MAPS_JSON, MAPS_CSV = "maps.json", "maps.csv"
_IMAGES_PER_FILE = 256
"""Images a file."""
_VIEW = ("height", "width", "top", "left", "rows", "columns", "row_spacing", "column_spacing")


class MapStore:
    """A folder of maps, opened for reading; see the module's head.

    Attributes:
        folder: where they are.
        about: bundle, method, layer, stride, findings and further settings, as in ``maps.json``.
        findings: the K findings of every map.
        scheme: the label scheme of the bundle that made the maps.
        points: where the points of a map lie, see ``View.place``.
        table: ``image``, the columns of the view, and one probability a finding, one row an image.
        without: by image the findings that have no map: it was not kept, or is 0 everywhere.
        notes: remarks from reading the images.
        evidence: what the gate saw in each image, a line of ``<result>.gate.csv``; empty where none was judged.
    """

    def __init__(self, folder: Path, about: dict[str, Any]) -> None:
        self.folder, self.about = folder, about
        self.findings: tuple[str, ...] = tuple(about["findings"])
        self.scheme = label_scheme((about.get("bundle") or {}).get("label_scheme", "findings"))
        self.points: PointGrid | None = tuple(about["points"]) if about["points"] else None
        self.parts = sorted(folder.glob("maps_*.npz"))
        self._place: dict[str, tuple[int, int]] = {}
        self.without: dict[str, tuple[str, ...]] = {}
        self.notes = FilmNotes()
        self.evidence: dict[str, str] = {}
        tables = []
        for number, part in enumerate(self.parts):
            with _opened(part) as content:
                images = [str(name) for name in content["images"]]
                table = pd.DataFrame(content["view"], columns=list(_VIEW)).astype({"height": int, "width": int})
                probabilities = pd.DataFrame(content["probabilities"], columns=list(self.findings))
                has_map = content["scales"] > 0  # NaN where a map was not kept
                for image, text in zip(images, content["notes"] if "notes" in content.files else (), strict=False):
                    self.notes.add(image, str(text).splitlines())
                lines = content["evidence"] if "evidence" in content.files else ()
                self.evidence |= {image: str(line) for image, line in zip(images, lines, strict=False) if str(line)}
            table.insert(0, "image", images)
            tables.append(pd.concat([table, probabilities], axis=1))
            self.without |= {image: self._names(~row) for image, row in zip(images, has_map, strict=True)}
            self._place |= {image: (number, row) for row, image in enumerate(images)}
        columns = ["image", *_VIEW, *self.findings]
        self.table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)
        self._probabilities = dict(
            zip(self.table["image"], self.table[list(self.findings)].to_numpy(float), strict=True)
        )
        self._read = lru_cache(maxsize=2)(self._maps_of)

    @classmethod
    def open(cls, folder: str | Path, unfinished: bool = False) -> "MapStore":
        """Open a folder that ``cxr-monai explain`` wrote.

        Args:
            folder: where the maps are, or the folder above ``maps``.
            unfinished: also one whose writer was interrupted.

        Raises:
            EvaluationError: ``maps-invalid``; ``result-incomplete``.
        """
        folder = Path(folder)
        about = folder / MAPS_JSON
        if not about.is_file() and (folder / "maps" / MAPS_JSON).is_file():
            folder, about = folder / "maps", folder / "maps" / MAPS_JSON
        try:
            content = parse_strictly(about.read_bytes())
            if content["format"] != _FORMAT:
                raise ValueError(f"its format is {content['format']!r}, not {_FORMAT}")
            if not unfinished and (not (folder / MAPS_CSV).is_file() or missing_files(content, folder)):
                raise EvaluationError(
                    Code.RESULT_INCOMPLETE,
                    "the run that made these maps was interrupted, or some of them were deleted.",
                    fix="Give its command again: it makes what is missing.",
                    where=folder,
                )
            store = cls(folder, {key: value for key, value in content.items() if key != COMPLETE})
            _refuse_altered(content, folder, unfinished)
            return store
        except FileNotFoundError:
            raise EvaluationError(
                Code.MAPS_INVALID,
                f"no maps are here (it has no {MAPS_JSON}).",
                fix="'cxr-monai explain BUNDLE INPUT --out FOLDER' makes them.",
                where=folder,
            ) from None
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise EvaluationError(Code.MAPS_INVALID, f"these maps cannot be read ({error}).", where=folder) from error

    @property
    def method(self) -> str:
        """The method that made the maps."""
        return str(self.about.get("method") or "map")

    @property
    def images(self) -> list[str]:
        """Names, in the order in which they were given."""
        return list(self._place)

    def renamed(self, names: Mapping[str, str]) -> "MapStore":
        """Return the same maps under other names of their images; those that ``names`` lacks keep theirs."""
        if all(image == name for image, name in names.items()):
            return self
        other = copy(self)
        other.table = self.table.assign(image=[names.get(image, image) for image in self.table["image"]])
        for attribute in ("without", "_place", "_probabilities"):
            setattr(
                other, attribute, {names.get(image, image): entry for image, entry in getattr(self, attribute).items()}
            )
        return other

    def view(self, image: str) -> View:
        """Return the rectangle of the stored image that its maps cover."""
        number, row = self._at(image)
        return _view(self._read(number)[0][row])

    def grid(self, image: str) -> np.ndarray:
        """Return an image's maps, float32 ``[K, h, w]``, at least 0 (NaN: not kept), in the method's own unit."""
        number, row = self._at(image)
        _, maps, scales = self._read(number)
        return maps[row].astype(np.float32) * scales[row][:, None, None]

    def on_image(self, image: str, finding: str, shape: tuple[int, int] | None = None) -> np.ndarray | None:
        """Return one finding's map in the stored image's pixels.

        Args:
            image, finding: their names.
            shape: rows and columns over the same extent instead of the stored image's own.

        Returns:
            float32 ``[H, W]``, at least 0, 0 outside the network's view; None where the map was not kept.

        Raises:
            EvaluationError: ``maps-invalid`` for an image or finding without maps.
        """
        number, row = self._at(image)
        channel = self._channel(finding)
        views, maps, scales = self._read(number)
        grid = maps[row, channel].astype(np.float32) * scales[row, channel]
        return None if np.isnan(grid).any() else _view(views[row]).place(grid, self.points, shape)

    def probability(self, image: str, finding: str) -> float:
        """Return the probability of a finding in an image, in [0, 1].

        Args:
            image, finding: their names.

        Raises:
            EvaluationError: ``maps-invalid`` for an image or finding without maps.
        """
        self._at(image)
        return float(self._probabilities[image][self._channel(finding)])

    def _names(self, chosen: np.ndarray) -> tuple[str, ...]:
        return tuple(name for name, is_chosen in zip(self.findings, chosen, strict=True) if is_chosen)

    def _at(self, image: str) -> tuple[int, int]:
        if image not in self._place:
            raise EvaluationError(
                Code.MAPS_INVALID, f"there is no map of the image {image!r}.", where=self.folder,
                fix=f"It holds {counted(len(self._place), 'image')}, such as {next(iter(self._place), 'none')}.",
            )  # fmt: skip
        return self._place[image]

    def _channel(self, finding: str) -> int:
        if finding not in self.findings:
            raise EvaluationError(
                Code.MAPS_INVALID, f"there are no maps of {finding!r}, only of {', '.join(self.findings)}.",
                where=self.folder,
            )  # fmt: skip
        return self.findings.index(finding)

    def _maps_of(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        with _opened(self.parts[number]) as content:
            return content["view"], content["maps"], content["scales"]


class MapWriter:
    """Writes a store, a part at a time; goes on where an earlier one with the same ``about`` was interrupted.

    Args:
        folder: where; made if it does not exist.
        about: settings that make the maps, with ``findings`` and ``points`` (see ``View.place``; None: equal cells).
        force: replace other maps in the folder, once the first part of these is on the disk.

    Attributes:
        done: names of the images that have maps in the folder, or have been added.
        evidence: by their names, lines of ``<result>.gate.csv``; without the images that were not judged.

    Raises:
        UsageError: ``output-exists`` if other maps, or files of their names, are in the folder.
        EvaluationError: ``maps-invalid`` if a part of these maps was damaged.
    """

    def __init__(self, folder: str | Path, about: Mapping[str, Any], force: bool = False) -> None:
        self.folder = Path(folder)
        self.about = {"format": _FORMAT, **about}
        self.done: set[str] = set()
        self.evidence: dict[str, str] = {}
        self._number = 0
        self._rows: list[tuple[str, View, np.ndarray, np.ndarray, str, str]] = []
        self._others: list[Path] = []
        if not self._go_on(force):
            check_folder(self.folder, ())
            self._others = self._map_files()
            if not self._others:
                write_durably(self.folder / MAPS_JSON, _encoded(self.about))

    def _map_files(self) -> list[Path]:
        """Return the files of maps that are in the folder."""
        paths = [self.folder / MAPS_CSV, self.folder / MAPS_JSON]
        return [path for path in paths if path.is_file()] + sorted(self.folder.glob("maps_*.npz"))

    def _go_on(self, force: bool) -> bool:
        """Take over maps that were made with the same settings; return whether there are any."""
        present = self._map_files()
        if not present:
            return False
        old_about, new_about = _described(self.folder / MAPS_JSON), json.loads(json.dumps(self.about))
        keys = {*new_about, *old_about} - {"root", COMPLETE}  # the images may have moved meanwhile
        if "gate" not in old_about and "digest" not in new_about.get("gate", {}):
            keys -= {"gate"}  # maps of earlier versions, whose images were not judged either
        differ = sorted(key for key in keys if new_about.get(key) != old_about.get(key))
        if differ and not force:
            if not old_about:
                refuse_taken(present, "--force")
            key = differ[0]
            raise UsageError(
                Code.OUTPUT_EXISTS,
                f"other maps are here: their {key} is {old_about.get(key)!r}, not {new_about.get(key)!r}.",
                fix="Name another folder with --out, or write over them with --force.",
                where=self.folder,
            )
        if differ:
            return False
        try:
            store = MapStore.open(self.folder, unfinished=True)
        except EvaluationError:
            if force:
                return False
            raise
        self.done, self.evidence = set(store.images), dict(store.evidence)
        self._number = int(store.parts[-1].stem.removeprefix("maps_")) + 1 if store.parts else 0
        return True

    def add(
        self,
        image: str,
        view: View,
        probabilities: np.ndarray,
        maps: np.ndarray,
        notes: str = "",
        evidence: str = "",
    ) -> None:
        """Add one image.

        Args:
            image: its name.
            view: where its maps lie.
            probabilities: ``[K]``.
            maps: ``[K, h, w]``, at least 0, NaN where not kept.
            notes: remarks from reading its file, a line each.
            evidence: its line of ``<result>.gate.csv``; empty where it was not judged.
        """
        if image in self.done:
            raise ValueError(f"{image!r} has its maps already")
        self.done.add(image)
        self.evidence |= {image: evidence} if evidence else {}
        self._rows.append((image, view, probabilities, maps, notes, evidence))
        if len(self._rows) == _IMAGES_PER_FILE:
            self._write()

    def finish(self) -> MapStore:
        """Write the last part, ``maps.csv`` and the mark of completion; return the store."""
        if self._rows:
            self._write()
        elif self._others:
            self._place({})
        store = MapStore.open(self.folder, unfinished=True)
        without = [", ".join(store.without[image]) for image in store.table["image"]]
        write_durably(self.folder / MAPS_CSV, store.table.assign(no_map=without).to_csv(index=False).encode())
        content = dict(self.about)
        seal(content, self.folder, [MAPS_CSV, *(part.name for part in store.parts)])
        write_durably(self.folder / MAPS_JSON, _encoded(content))
        return store

    def _write(self) -> None:
        images, views, probabilities, maps, notes, evidence = zip(*self._rows, strict=True)
        stacked = np.stack(maps).astype(np.float32)
        scales = stacked.reshape(*stacked.shape[:2], -1).max(-1)
        shares = stacked / np.where(scales > 0, scales, 1)[..., None, None]
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            images=np.array(images),
            notes=np.array(notes),
            evidence=np.array(evidence),
            view=np.array([_numbers(view) for view in views]),
            probabilities=np.stack(probabilities).astype(np.float32),
            maps=shares.astype(np.float16),
            scales=scales,
        )
        self._place({self.folder / f"maps_{self._number:05d}.npz": buffer.getvalue()})
        self._number, self._rows = self._number + 1, []

    def _place(self, parts: Mapping[Path, bytes]) -> None:
        """Write parts; when they are on the disk, other maps go, and the table and mark of before there were these."""
        outdated = [
            path for path in {*self._others, self.folder / MAPS_CSV} if path.is_file() and path.name != MAPS_JSON
        ]
        if outdated or self._others:
            files = {**dict.fromkeys(outdated), **parts}
            about = self.folder / MAPS_JSON
            write_together(about, _encoded(self.about), files, gone_meanwhile=bool(self._others))
            self._others = []
        else:
            for path, content in parts.items():
                write_durably(path, content)


def _encoded(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=2) + "\n").encode()


def _described(about: Path) -> dict[str, Any]:
    """Return the content of ``maps.json``; empty where it is missing or no JSON object."""
    try:
        content = parse_strictly(about.read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _refuse_altered(content: Mapping[str, Any], folder: Path, unfinished: bool) -> None:
    """Refuse maps of which a file was cut or exchanged after they were complete; of unfinished ones the parts alone."""
    changed = [MAPS_JSON if name == OWN_JSON else name for name in altered_files(content, folder)]
    if unfinished:
        changed = [name for name in changed if name not in (MAPS_JSON, MAPS_CSV)]  # they are written anew
    if changed:
        part = changed[0] not in (MAPS_JSON, MAPS_CSV)
        raise EvaluationError(
            Code.MAPS_INVALID, "it was cut or changed since it was written.", where=folder / changed[0],
            fix=f"{'Delete it and call' if part else 'Call'} 'cxr-monai explain' again: it makes what is missing.",
        )  # fmt: skip


@contextmanager
def _opened(part: Path) -> Iterator[Any]:
    """Open a part; whatever is wrong with it, also while it is read, is ``maps-invalid``."""
    try:
        # its own file: numpy leaves one open that is no archive
        with part.open("rb") as file, np.load(file, allow_pickle=False) as content:
            yield content
    except (ValueError, KeyError, TypeError, OSError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise EvaluationError(
            Code.MAPS_INVALID, f"this part of the maps cannot be read ({error}).", where=part,
            fix="Delete it and call 'cxr-monai explain' again: it makes what is missing.",
        ) from error  # fmt: skip


def _numbers(view: View) -> Sequence[float]:
    spacing = view.spacing or (np.nan, np.nan)
    return (view.height, view.width, view.top, view.left, view.rows, view.columns, *spacing)


def _view(numbers: np.ndarray) -> View:
    height, width, top, left, rows, columns, row, column = numbers.tolist()
    spacing = None if np.isnan(row) else (row, column)
    return View(int(height), int(width), top, left, rows, columns, spacing)
