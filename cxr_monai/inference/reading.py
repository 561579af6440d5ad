"""Films to batches as a network takes them; a film that cannot be read is reported, the rest is done.

The one loop over files of prediction, maps, tests of maps and linear probes.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from monai.transforms import Compose

from cxr_monai.data.dataset import RadiographDataset, batch_errors, batch_notes
from cxr_monai.data.loading import reading_loader
from cxr_monai.data.notes import FilmNotes
from cxr_monai.errors import Code, RadiographError
from cxr_monai.gate.bundle_gate import ObservedFilms
from cxr_monai.plurals import counted, was
from cxr_monai.progress import progress_bar
from cxr_monai.transforms.load_radiograph import plain_tensors

_PLAIN = ("image", "label", "name", "error", "source", "notes", "geometry")
_UNKNOWN = torch.full((4,), torch.nan, dtype=torch.float64)


@dataclass(frozen=True, eq=False)
class FilmBatch:
    """Some films as a network takes them.

    Attributes:
        names: of all B films.
        images: float32 ``[B, C, H, W]``; blank where a film could not be read.
        readable: the positions of the films that could be read, N of them.
        errors: name, stable code and reason of the others.
        remarks: what is odd about each of the B films, a line each.
        geometry: float64 ``[B, 4]``: rows and columns of the stored image, distance of its rows and columns in mm; NaN
            where unknown.
        observed: what the reader's observer gave of the B films, by name of the entry; empty without one.
    """

    names: list[str]
    images: torch.Tensor
    readable: list[int]
    errors: list[tuple[str, str, str]]
    remarks: list[str]
    geometry: torch.Tensor
    observed: Mapping[str, Any] = field(default_factory=dict)

    def notes_of(self, positions: Sequence[int]) -> FilmNotes:
        """Return the remarks on the films of some positions, each kind once."""
        names, remarks = ([of[row] for row in positions] for of in (self.names, self.remarks))
        return batch_notes({"name": names, "notes": remarks})

    def for_gate(self, features: torch.Tensor | None) -> ObservedFilms:
        """Return what the gate sees of the films that could be read.

        Args:
            features: of all B films, float32 ``[B, D]``.
        """
        return ObservedFilms.of(self.names, self.observed, self.readable, features)


class _FilmDataset(RadiographDataset):
    """Items have ``notes``, and ``geometry`` as :class:`FilmBatch`; their tensors are plain."""

    def __getitem__(self, key: Any) -> dict[str, Any]:
        with plain_tensors():  # around each item, since threads and processes read ahead between two batches
            return super().__getitem__(key)

    def details(self, film: Mapping[str, Any]) -> dict[str, Any]:
        geometry = _UNKNOWN
        if "image_shape" in film:
            spacing = film.get("image_spacing") or (torch.nan, torch.nan)
            geometry = torch.tensor([*film["image_shape"], *spacing], dtype=torch.float64)
        return {**super().details(film), "geometry": geometry}


@dataclass(frozen=True)
class FilmReader:
    """A reader of radiographs, with the settings of their preprocessing.

    Attributes:
        preprocessing: a bundle's pipeline, film to network input.
        shape: ``[C, H, W]`` of that input.
        batch_size: films at a time.
        num_workers: films that are read at a time (``cxr_monai.data.loading.reading_loader``).
        observer: of ``RadiographDataset``: gives further entries of each film.
        shows_progress: False shows no bar.
    """

    preprocessing: Compose
    shape: tuple[int, ...]
    batch_size: int = 16
    num_workers: int | None = None
    observer: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None
    shows_progress: bool = True

    def read(
        self, films: Sequence[Any], names: Sequence[str] | None = None, desc: str = "reading", done: int = 0
    ) -> Generator[FilmBatch, None, None]:
        """Yield films in batches, in their order, with a progress bar; memory does not grow with their number.

        Who may end before the last batch closes the generator (``contextlib.closing``), and the bar with it.

        Args:
            films: paths of PNG, JPEG, DICOM or NIfTI files, their contents as bytes, arrays
                (``cxr_monai.data.radiograph_array``), or items with ``image`` that say more of an array.
            names: of the films in the results; the paths as given where None, else ``image 1``, ``image 2``, ...
            desc: what the progress bar says; there is none where it is empty.
            done: films that were done before, for the progress bar.
        """
        items = [dict(film) if isinstance(film, Mapping) else {"image": film} for film in films]
        for item, name in zip(items, names, strict=True) if names is not None else ():
            item["name"] = name
        for item in items:
            item["image"] = str(item["image"]) if isinstance(item["image"], Path) else item["image"]
        dataset = _FilmDataset(items, self.preprocessing, self.shape, with_notes=True, observer=self.observer)
        count = 0
        total, show = done + len(items), self.shows_progress and bool(desc)
        with progress_bar(total=total, initial=done, desc=desc, unit="images", show=show) as bar:
            for batch in reading_loader(dataset, self.batch_size, self.num_workers) if items else ():
                readable = [position for position, error in enumerate(batch["error"]) if not error]
                yield FilmBatch(
                    batch["name"], batch["image"], readable, batch_errors(batch), batch["notes"], batch["geometry"],
                    {name: entry for name, entry in batch.items() if name not in _PLAIN},
                )  # fmt: skip
                count += len(batch["name"])
                bar.update(len(batch["name"]))
        if count != len(items):
            raise RuntimeError(f"{counted(len(items), 'file')} {was(len(items))} to be read, {count} came back")


def first_error(errors: Sequence[tuple[str, str, str]]) -> RadiographError:
    """Return the error of the first of the films that could not be read, of which there must be one."""
    name, code, reason = errors[0]
    return RadiographError(Code(code), reason, where=name)
