"""Matching of image paths between two tables: the one rule by which two paths are the same file.

    matches = match_images(["train/a/b.jpg", "c"], ["a/b.jpg", "x/c.png"])
    matches.places                           # array([0, 1]): a position in the second list, -1 for none

1. An equal path is the same image (``\\``, ``./``, drives, composed letters and the ending's capitals aside).
2. Else folders are compared from the end of the path, as far as one side has folders at all:
   ``CheXpert-v1.0-small/train/a/b.jpg`` is ``train/a/b.jpg``; the longer agreement wins.
3. A bare file name joins where it is unique on both sides. A name without an ending is that of a file with any; beside
   that file's whole path it is its second name.
4. Where both sides name folders that disagree it is another file, unless file names are identities (``by_name``: the
   source guarantees it, or the user says ``--match-names``).

Two names that fit one image, and one that fits several equally well, are left to `require_clear` to refuse. The time is
linear in the paths.
"""

import posixpath
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from cxr_monai.data.files import IMAGE_SUFFIXES
from cxr_monai.errors import Code, ManifestError

_SHOWN = 3
_LONGEST_FIRST = sorted(IMAGE_SUFFIXES, key=len, reverse=True)


@dataclass(frozen=True, eq=False)
class Matches:
    """The result of `match_images`.

    Attributes:
        names: the distinct names, in order.
        images: what they were looked for in, in order.
        places: int64 [names]: the position in ``images``; -1 where a name fits none, or none clearly.
        several: names that fit several images equally well, and those images.
        doubled: images that several names fit, and those names.
        endings: how many names were found without their ending or under another one.
    """

    names: tuple[str, ...]
    images: tuple[str, ...]
    places: np.ndarray
    several: dict[str, list[str]] = field(default_factory=dict)
    doubled: dict[str, list[str]] = field(default_factory=dict)
    endings: int = 0

    @property
    def image_of(self) -> dict[str, str]:
        """The image of each name that has one."""
        return {
            name: self.images[position] for name, position in zip(self.names, self.places, strict=True) if position >= 0
        }

    @property
    def lost(self) -> list[str]:
        """Names that fit no image."""
        return [
            name
            for name, position in zip(self.names, self.places, strict=True)
            if position < 0 and name not in self.several
        ]

    @property
    def unnamed(self) -> list[str]:
        """Images that no name fits."""
        matched = set(self.places.tolist())
        return [image for position, image in enumerate(self.images) if position not in matched]

    def near_misses(self) -> str:
        """Return why names fit no image though their file names do: other folders, or other capitals; else ``""``."""
        lost = self.lost
        by_name = {_last(_plain(image)).casefold(): image for image in reversed(self.images)}
        keys = {name: _last(_plain(name)).casefold() for name in lost}
        near = [(name, by_name[key]) for name, key in keys.items() if key in by_name]
        if not near:
            return ""
        name, image = near[0]
        same = _last(_plain(name)) == _last(_plain(image))
        return (
            f"{name!r} is not {image!r}: "
            + ("the folders differ" if same else "small and capital letters differ")
            + (f" (so with {len(near):,} of them)" if len(near) > 1 else "")
        )


def match_images(
    names: Iterable[str],
    images: Iterable[str],
    *,
    by_name: bool = False,
    other_endings: bool = False,
    spare_names: bool = False,
    root: Path | Mapping[str, Path] | None = None,
) -> Matches:
    """Find the image that each name means; nothing is read from disk.

    Args:
        names: paths (relative, absolute, of Windows) or file names; repeated ones count once.
        images: paths; repeated ones count once.
        by_name: file names are identities: where folders disagree, an equal file name is enough.
        other_endings: ``a.dcm`` may be ``a.png`` (label tables are older than conversions).
        spare_names: there may well be names of other images (predictions of all, a manifest of some): a bare name
            beside an equal path with folders is another image's, fits none, and is not a second name of that one.
        root: the absolute folder that ``images`` are relative to, or that of each first folder (as of
            `cxr_monai.data.manifest.Manifest.roots`); an absolute name inside it means exactly that file.

    >>> matches = match_images(["a.png", "x/b.png", "gone.png"], ["x/a.png", "x/b.png"])
    >>> matches.image_of, matches.lost
    ({'a.png': 'x/a.png', 'x/b.png': 'x/b.png'}, ['gone.png'])
    """
    unique_names, unique_images = list(dict.fromkeys(names)), list(dict.fromkeys(images))
    if unique_names == unique_images:
        return Matches(tuple(unique_names), tuple(unique_images), np.arange(len(unique_names)))
    roots = root if isinstance(root, Mapping) else {} if root is None else {"": root}
    starts = {f"{folder.as_posix().rstrip('/')}/": first and f"{first}/" for first, folder in roots.items()}
    inside = [_inside(name, starts) for name in unique_names]
    name_paths = [_plain(name if within is None else within) for name, within in zip(unique_names, inside, strict=True)]
    image_paths = [_plain(image) for image in unique_images]
    same, equal = {image: index for index, image in enumerate(unique_images)}, _positions(image_paths)
    fits = [
        [same[name]] if name in same else equal.get(path, [])
        for name, path in zip(unique_names, name_paths, strict=True)
    ]
    places = _only(fits)
    if len(set(places.tolist()) - {-1}) == len(unique_names):
        return Matches(tuple(unique_names), tuple(unique_images), places)
    search = _Search(
        image_paths, [name_paths[index] for index, equals in enumerate(fits) if not equals], by_name, other_endings
    )
    for index, equals in enumerate(fits):
        if not equals:
            fit = search.fits(name_paths[index])
            # an absolute path inside the root means exactly that file, but for its ending
            fits[index] = (
                fit
                if inside[index] is None
                else [place for place in fit if _stem(image_paths[place]) == _stem(name_paths[index])]
            )
    return _clear(unique_names, unique_images, name_paths, image_paths, fits, by_name, spare_names)


def require_clear(matches: Matches, code: Code, subject: str, path: str | Path | None = None) -> None:
    """Refuse names that fit several images, and images that several names fit.

    Args:
        matches: of `match_images`.
        code: the error's.
        subject: the names, in words such as ``"the labels' images"``.
        path: the file of the names, for the message.

    Raises:
        ManifestError: ``code``, with counts and examples.
    """
    if matches.several:
        name, fits = next(iter(matches.several.items()))
        reason = f"{len(matches.several):,} of {subject} fit several files; {name!r} fits {_shown(fits)}."
    elif matches.doubled:
        image, names = next(iter(matches.doubled.items()))
        reason = (
            f"several of {subject} fit one file, {len(matches.doubled):,} times; {_shown(names)} all fit {image!r}."
        )
    else:
        return
    raise ManifestError(code, reason, fix="Write the same paths, with their folders, on both sides.", where=path)


def examples(items: Sequence[str]) -> str:
    """Return the first of some names for a message.

    >>> examples(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    more = f" and {len(items) - _SHOWN:,} more" if len(items) > _SHOWN else ""
    return _shown(items) + more


def _shown(items: Sequence[str]) -> str:
    return ", ".join(items[:_SHOWN])


def _inside(name: str, starts: Mapping[str, str]) -> str | None:
    """Return an absolute path inside a root as ``images`` name it; None for any other.

    Args:
        name: the path.
        starts: the beginning of paths inside each root: that of images there.
    """
    path = name.replace("\\", "/")
    return next((first + path[len(start) :] for start, first in starts.items() if path.startswith(start)), None)


def _plain(path: str) -> str:
    """Return a path with ``/`` alone, without drive, ``.``, ``..`` and leading ``/``; the known ending in small."""
    if not path.isascii():
        path = unicodedata.normalize("NFC", path)  # macOS takes letters apart
    if "\\" in path or ":" in path:
        path = re.sub(r"^(?:file:|[A-Za-z]:)", "", path.replace("\\", "/"))
    if "./" in path or "//" in path or path[:1] == "/":
        path = re.sub(r"^(?:/|\.\./)+", "", posixpath.normpath(path))
    stem = _stem(path)
    return path if len(stem) == len(path) else stem + path[len(stem) :].lower()


def _stem(path: str) -> str:
    """Return a path without a known ending; other dots stay (a UID has its own)."""
    small = path[-8:].lower()
    if not small.endswith(IMAGE_SUFFIXES):
        return path
    return next(path[: -len(end)] for end in _LONGEST_FIRST if small.endswith(end))


def _positions(paths: Iterable[str]) -> dict[str, list[int]]:
    places: dict[str, list[int]] = {}
    for position, path in enumerate(paths):
        places.setdefault(path, []).append(position)
    return places


def _tails(path: str) -> Iterator[str]:
    """Yield the path without its first folder, first two folders, and so on, down to the file name."""
    start = path.find("/")
    while start >= 0:
        yield path[start + 1 :]
        start = path.find("/", start + 1)


class _Tails:
    """An index of paths by their last parts."""

    def __init__(self, paths: Sequence[str], lookups: set[str]) -> None:
        self.whole = _positions(paths)
        self.ends: dict[str, list[int]] = {}
        for position, path in enumerate(paths):
            for end in _tails(path):
                # two are enough to know that there are several, a few more are for the message
                if end in lookups and len(positions := self.ends.setdefault(end, [])) <= _SHOWN:
                    positions.append(position)

    def fit(self, name: str) -> list[int]:
        """Return the paths that agree with the name in the most folders."""
        positions = [*self.whole.get(name, []), *self.ends.get(name, [])]
        return positions or next((self.whole[end] for end in _tails(name) if end in self.whole), [])

    def of_name(self, name: str) -> list[int]:
        """Return the paths of the same file name."""
        return [*self.whole.get(_last(name), []), *self.ends.get(_last(name), [])]


class _Search:
    """Search for names without an equal path: by last parts of paths, by endings, and by file names alone."""

    def __init__(self, image_paths: Sequence[str], names: Sequence[str], by_name: bool, other_endings: bool) -> None:
        stems, without = [_stem(path) for path in image_paths], [_stem(name) for name in names]
        self.unended = {position for position, path in enumerate(image_paths) if len(stems[position]) == len(path)}
        self.by_name, self.other_endings = by_name, other_endings
        self.full = _Tails(image_paths, {*names, *map(_last, names)})
        self.stems = _Tails(stems, {*without, *map(_last, without)})

    def fits(self, name: str) -> list[int]:
        """Return the positions of the images that fit a name equally well."""
        return self._fits(name, _Tails.fit) or (self._fits(name, _Tails.of_name) if self.by_name else [])

    def _fits(self, name: str, lookup: Callable[[_Tails, str], list[int]]) -> list[int]:
        stem = _stem(name)
        if len(stem) == len(name):
            return lookup(self.stems, stem)
        if positions := lookup(self.full, name):
            return positions
        positions = lookup(self.stems, stem)
        return positions if self.other_endings else [place for place in positions if place in self.unended]


def _clear(
    unique_names: list[str],
    unique_images: list[str],
    name_paths: list[str],
    image_paths: list[str],
    fits: list[list[int]],
    by_name: bool,
    spare_names: bool,
) -> Matches:
    """Return the matches; names that fit several images, and bare names that are not unique, get no place."""
    places = _only(fits)
    several = {
        unique_names[index]: [unique_images[place] for place in fitting]
        for index, fitting in enumerate(fits)
        if len(fitting) > 1
    }
    exact = {
        place for index, place in enumerate(places.tolist()) if place >= 0 and name_paths[index] == image_paths[place]
    }
    by_place: dict[int, list[str]] = {}
    for index, (name, place) in enumerate(zip(unique_names, places.tolist(), strict=True)):
        bare = "/" not in name_paths[index] or "/" not in image_paths[place]
        # of a path and its stem, either means that file; of one in a folder and a bare one, maybe two of other folders
        other = bare and _stem(name_paths[index]) != _stem(image_paths[place])
        if spare_names and not by_name and place in exact and other:
            places[index] = -1
        elif place >= 0:
            by_place.setdefault(place, []).append(name)
    doubled = {unique_images[place]: names for place, names in by_place.items() if len(names) > 1}
    endings = 0
    name_counts = [Counter(map(_last, paths)) for paths in (name_paths, image_paths)]
    for index, place in enumerate(places.tolist()):
        if place < 0 or name_paths[index] == image_paths[place]:
            continue
        bare = "/" not in name_paths[index] or "/" not in image_paths[place]
        if (
            bare
            and not by_name
            and (name_counts[0][_last(name_paths[index])] > 1 or name_counts[1][_last(image_paths[place])] > 1)
        ):
            places[index] = -1
        else:
            endings += _last(name_paths[index]) != _last(image_paths[place])
    return Matches(tuple(unique_names), tuple(unique_images), places, several, doubled, endings)


def _only(fits: Sequence[list[int]]) -> np.ndarray:
    return np.array([fitting[0] if len(fitting) == 1 else -1 for fitting in fits], dtype=np.int64)


def _last(path: str) -> str:
    return path.rpartition("/")[2]
