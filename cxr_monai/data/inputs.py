"""The films that the inputs of a command name: files, folders and manifests, with what a manifest says of each."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxr_monai.data.files import LOOKED_FOR, image_files
from cxr_monai.data.film_header import NO_FACTS, FilmFacts, facts_of_films
from cxr_monai.data.manifest import Manifest, read_manifest
from cxr_monai.errors import Code, ManifestError


@dataclass(frozen=True)
class InputFilms:
    """Films to be read.

    Attributes:
        files: N paths.
        names: of the films in the results.
        facts: what a manifest says of each; empty facts of a file or folder.
    """

    files: list[Path]
    names: list[str]
    facts: list[FilmFacts]

    def __len__(self) -> int:
        return len(self.files)

    def items(self) -> list[Any]:
        """Return the films as they are read: paths, or dictionaries with ``image`` and ``film_facts``."""
        return list(map(film_item, self.files, self.facts))

    def named(self, names: Collection[str]) -> "InputFilms":
        """Return the films of these names."""
        rows = [row for row in zip(self.files, self.names, self.facts, strict=True) if row[1] in names]
        return InputFilms([row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows])

    @classmethod
    def of(cls, manifest: Manifest) -> "InputFilms":
        """Return the films of a manifest."""
        return cls(manifest.paths(), list(manifest.table["image"]), list(facts_of_films(manifest.table)))


def film_item(path: Path, facts: FilmFacts) -> Any:
    """Return a film as it is read: its path, or a dictionary with ``image`` and ``film_facts`` where there are any."""
    return path if facts == NO_FACTS else {"image": path, "film_facts": facts}


def names_are_identities(inputs: Sequence[str | Path]) -> bool:
    """Return whether all inputs are manifests of sources whose file names are identities (NIH)."""
    manifests = [path for path in map(Path, inputs) if _is_table(path)]
    return len(manifests) == len(inputs) and all(read_manifest(path, check_files=False).by_name for path in manifests)


def _is_table(path: Path) -> bool:
    return not path.is_dir() and path.name.lower().endswith((".csv", ".csv.gz"))


def gather_films(inputs: Sequence[str | Path], split: str | None = None) -> InputFilms:
    """Return the films of files, folders and manifests (``.csv``, ``.csv.gz``), each once.

    A file is named as it was given, a file of a folder by its path below that folder (below the folder's own name where
    several inputs are given), an image of a manifest as the manifest names it; by its path where that name is taken.

    Args:
        inputs: files, folders and manifests.
        split: takes one part of each manifest; None all rows.

    Raises:
        ManifestError: ``no-images`` for a folder without images, or the error of an invalid manifest.
        SplitError: ``split-invalid`` if a manifest has no such part.
    """
    files: list[Path] = []
    names: list[str] = []
    facts_by_file: dict[Path, FilmFacts] = {}
    for entry in map(Path, inputs):
        if entry.is_dir():
            images = image_files(entry)
            if not images:
                raise ManifestError(Code.NO_IMAGES, f"no image below this folder ({LOOKED_FOR}).", where=entry)
            base = entry.parent if len(inputs) > 1 else entry
            files += images
            names += [path.relative_to(base).as_posix() for path in images]
        elif _is_table(entry):
            manifest = read_manifest(entry, check_files=False)
            manifest = manifest if split is None else manifest.part(split)
            listed = InputFilms.of(manifest)
            files += listed.files
            names += listed.names
            facts_by_file |= dict(zip(listed.files, listed.facts, strict=True))
        else:
            files.append(entry)
            names.append(str(entry))
    # each name stands once in the results: the same file twice is one, files that share a name go by their paths
    names_by_file = dict(zip(files, names, strict=True))
    shared = {name for name, count in Counter(names_by_file.values()).items() if count > 1}
    return InputFilms(
        list(names_by_file),
        [str(path) if name in shared else name for path, name in names_by_file.items()],
        [facts_by_file.get(path, NO_FACTS) for path in names_by_file],
    )


def gather_files(inputs: Sequence[str | Path], split: str | None = None) -> tuple[list[Path], list[str]]:
    """Return files and names of :func:`gather_films`."""
    films = gather_films(inputs, split)
    return films.files, films.names
