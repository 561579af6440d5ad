"""From a manifest to a data set whose unreadable files are blank images with unknown labels."""

import enum
import functools
import importlib
import logging
import operator
import os
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import Dataset
from monai.transforms import Compose, Randomizable
from monai.transforms.traits import RandomizableTrait
from monai.utils import convert_to_tensor

from cxr_monai.data.cache.eviction import cache_root
from cxr_monai.data.cache.pixels import Entry, PixelCache
from cxr_monai.data.files import LOOKED_FOR, image_files
from cxr_monai.data.film_header import facts_of_films
from cxr_monai.data.formats.grey import grey_levels, grey_of_levels
from cxr_monai.data.loading import Draw, seed_of
from cxr_monai.data.manifest import Manifest
from cxr_monai.data.multi_source import read_manifests
from cxr_monai.data.notes import FilmNotes
from cxr_monai.data.view_selection import of_views
from cxr_monai.errors import Code, ManifestError, RadiographError, SettingError, StorageError, ours
from cxr_monai.schemes import LabelScheme

logger = logging.getLogger(__name__)


def open_manifest(
    manifest: str | Sequence[str] | None,
    dataset_dir: str | None = None,
    scheme: LabelScheme | None = None,
    views: str | Sequence[str] | None = None,
    *,
    match_names: bool = False,
) -> Manifest:
    """Read and validate the manifest that a bundle was given, or several as one.

    Args:
        manifest: its path, or several with commas between (`cxr_monai.data.multi_source`); a bundle has no default, so
            None is an error.
        dataset_dir: the root of the images; the manifest's own where None, as it must be with several.
        scheme: whose labels are the bundle's; the table has them as columns beside the findings.
        views: only images of these views, or ``best-frontal``; see `cxr_monai.data.view_selection`.
        match_names: file names are identities when other tables are joined to it.

    Raises:
        SettingError: ``setting-invalid`` if no manifest was named, several and one folder of images, or no image is of
            the views.
        ManifestError: everything that is wrong with it.
    """
    if manifest is None:
        raise SettingError(
            Code.SETTING_INVALID,
            "no manifest was named, so there is nothing to read.",
            fix="Add --manifest M.csv; 'cxr-monai manifest --help' shows how to make one.",
        )
    return of_views(read_manifests(manifest, root=dataset_dir, scheme=scheme, match_names=match_names), views)


def manifest_items(manifest: Manifest, split: str | None, findings: Sequence[str]) -> list[dict[str, Any]]:
    """Return one dictionary an image: ``image`` (path), ``label`` (float32 ``[F]``, NaN unknown), ``name``, and
    ``film_facts`` (what the manifest says of the film); ``source`` where the manifest has several.

    Args:
        manifest: the table.
        split: ``train``, ``val`` or ``test``; None takes every row.
        findings: the labels, in the order of the network's channels.

    Raises:
        ManifestError: ``unknown-finding`` if the manifest lacks one of them.
        SplitError: ``split-invalid`` if the split has no images.
    """
    part = manifest if split is None else manifest.part(split)
    labels = part.labels(findings)
    items = [
        {"image": str(path), "label": label, "name": name, "film_facts": facts}
        for path, label, name, facts in zip(
            part.paths(), labels, part.table["image"], facts_of_films(part.table), strict=True
        )
    ]
    if manifest.table["source"].nunique() > 1:
        items = [item | {"source": source} for item, source in zip(items, part.table["source"], strict=True)]
    return items


def label_prevalences(manifest: Manifest, split: str, findings: Sequence[str]) -> list[float]:
    """Return each finding's share of positives among the known labels of a split; NaN where none is known.

    Args:
        manifest: the table.
        split: ``train``, ``val`` or ``test``.
        findings: the labels, in the order of the result.
    """
    return manifest.part(split).table[list(findings)].mean().tolist()


def label_counts(manifest: Manifest, split: str, findings: Sequence[str]) -> list[tuple[int, int]]:
    """Return (present, absent) counts of images for each finding of a split; unknown labels count in neither.

    Args:
        manifest: the table.
        split: ``train``, ``val`` or ``test``.
        findings: the labels, in the order of the result.
    """
    labels = manifest.part(split).labels(findings)
    return list(zip((labels == 1).sum(0).tolist(), (labels == 0).sum(0).tolist(), strict=True))


def inference_items(
    manifest: str | Sequence[str] | None, dataset_dir: str | None, findings: Sequence[str]
) -> list[dict[str, Any]]:
    """Return the items of a manifest (all splits), or of every image file below a folder; labels are all unknown.

    A manifest's items have ``film_facts`` as those of :func:`manifest_items`.

    Args:
        manifest: as of `open_manifest`, or None.
        dataset_dir: the root of the manifest's images, or the folder to search where there is no manifest.
        findings: the labels, in the order of the network's channels.

    Raises:
        SettingError: ``setting-invalid`` if neither is given.
        ManifestError: ``no-images`` if the folder holds none.
    """
    if manifest is not None:
        read = read_manifests(manifest, root=dataset_dir, check_files=False)
        items = items_of_files(read.paths(), list(read.table["image"]), findings)
        return [item | {"film_facts": facts} for item, facts in zip(items, facts_of_films(read.table), strict=True)]
    if dataset_dir is not None:
        root = Path(dataset_dir)
        paths = image_files(root)
        if not paths:
            raise ManifestError(Code.NO_IMAGES, f"no image file below it ({LOOKED_FOR}).", where=root)
        return items_of_files(paths, [path.relative_to(root).as_posix() for path in paths], findings)
    raise SettingError(
        Code.SETTING_INVALID,
        "neither a manifest nor a folder of images was named.",
        fix="Add --dataset_dir FOLDER or --manifest M.csv.",
    )


def items_of_files(paths: Sequence[str | Path], names: Sequence[str], findings: Sequence[str]) -> list[dict[str, Any]]:
    """Return items as :func:`manifest_items` does, for files without labels.

    Args:
        paths: the image files.
        names: of the items, one a path.
        findings: the labels; each item has as many NaN.
    """
    unknown = np.full(len(findings), np.nan, dtype=np.float32)
    return [{"image": str(path), "label": unknown, "name": name} for path, name in zip(paths, names, strict=True)]


def complete_items(data: Sequence[Any]) -> list[dict[str, Any]]:
    """Return complete items, as of :func:`manifest_items`, from paths or from dictionaries without label or name.

    An item without a name is called by the path of its image, else by its place in the list (``image 1``); one
    without a label has unknown ones, as many as the others have (a single NaN where none has any).

    Args:
        data: paths, or dictionaries with ``image`` and perhaps ``label`` and ``name``.

    Raises:
        SettingError: ``setting-invalid`` for an item without an image.
    """
    items = [item if isinstance(item, Mapping) else {"image": item} for item in data]
    label_shape = next((np.shape(item["label"]) for item in items if item.get("label") is not None), ())
    complete = []
    for index, item in enumerate(items):
        if item.get("image") is None:
            raise SettingError(
                Code.SETTING_INVALID,
                f"item {index + 1} of the data has no image, only {', '.join(map(str, item)) or 'nothing'}.",
                fix="Give a list of paths, or of dictionaries with 'image'; 'label' and 'name' may be left out.",
            )
        image, label, name = item["image"], item.get("label"), item.get("name")
        if label is None:
            label = np.full(label_shape, np.nan, dtype=np.float32)
        if name is None:
            name = str(image) if isinstance(image, str | Path) else f"image {index + 1}"
        complete.append({**item, "label": label, "name": str(name)})
    return complete


def take_any_modality(pipeline: Compose) -> None:
    """Make a pipeline accept DICOM images of every modality and body part.

    Args:
        pipeline: changed in place.
    """
    for step in pipeline.flatten().transforms:
        if hasattr(step, "any_modality"):
            step.any_modality = True


def plane_steps(pipeline: Compose) -> list[Any]:
    """Return the steps of a pipeline up to ``QuantiseRadiographd``, whose plane a cache keeps and the gate looks at.

    Args:
        pipeline: film to network input; empty of one without that step.
    """
    steps = list(pipeline.flatten().transforms)
    return steps[: next((index + 1 for index, step in enumerate(steps) if hasattr(step, "kept_until_here")), 0)]


def identity_of_steps(steps: Sequence[Any]) -> str:
    """Return a text that identifies steps of a pipeline: equal texts make equal planes, in every process.

    Raises:
        ValueError: a step has no such text.
    """
    return "\n".join(_identity_of(step) for step in steps)


class RadiographDataset(Dataset):
    """MONAI's data set; a file that cannot be read becomes a blank image with unknown labels.

    So one bad file of 112,120 stops neither a training nor an evaluation: masked losses and metrics leave it out, and
    ``error`` (empty for good files) has the code and the reason. Such files are counted and reported by
    the code that reads the batches (``cxr_monai.training.handlers``, ``cxr_monai.inference.reading``).

    Args:
        data: items with ``image``, ``label`` and ``name``; see :func:`complete_items` for what may be left out.
        transform: MONAI's ``Compose``.
        shape: ``[C, H, W]`` of a transformed image, for the blanks.
        cache_dir: where :meth:`prepare` stores the result of the steps up to ``QuantiseRadiographd``:
            ``auto`` for the user's cache (``cxr_monai.data.cache.pixels``), a folder, or None (``none``) for nowhere.
        seed: of the random transforms.
        any_modality: accept DICOM files of every modality and body part.
        with_notes: items have ``notes`` on their files too, a line each (:func:`batch_notes`).
        observer: gives further entries of an item, of what the transforms returned, of ``image_plane``, the plane
            that ``QuantiseRadiographd`` made, and of the item's ``film_facts`` (``cxr_monai.gate.film_observer``);
            given nothing of an unreadable file.

    An item is asked for by its index, or by a ``Draw`` (an epoch and an index) in training: random transforms depend on
    (seed, epoch, index) alone, whatever was drawn before and whichever process reads. With and without a cache an item
    has the same bits.

    Each item has ``image`` (float32 ``[C, H, W]``), ``label`` (float32 ``[F]``), ``name``, ``error``; and ``source``
    where the data have it.
    """

    def __init__(
        self,
        data: Sequence[dict[str, Any]],
        transform: Compose,
        shape: Sequence[int],
        cache_dir: str | Path | None = None,
        seed: int = 0,
        any_modality: bool = False,
        with_notes: bool = False,
        observer: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None,
    ) -> None:
        self.with_notes, self.observer = with_notes, observer
        if any_modality:  # before the cache is named by the pipeline
            take_any_modality(transform)
        super().__init__(complete_items(data), transform)
        self.shape, self.seed = tuple(shape), seed
        self._random = np.random.RandomState()
        steps, cached_steps = transform.flatten().transforms, len(plane_steps(transform))
        self._randomised = [step for step in steps if isinstance(step, Randomizable)]
        self._once, self._each_time = Compose(steps[:cached_steps]), Compose(steps[cached_steps:])
        root = cache_root(cache_dir)
        if root is not None and not all(isinstance(item["image"], str | os.PathLike) for item in self.data):
            logger.info("no decoded image is kept: there are films in memory among them")
            root = None
        if root is not None and not cached_steps:
            logger.info("no decoded image is kept: only what stands before QuantiseRadiographd could be")
        self.cache: PixelCache | None = None
        if root is not None and cached_steps:
            try:
                self.cache = PixelCache(root, identity_of_steps(steps[:cached_steps]))
            except _NotIdentifiableError as reason:
                logger.warning("no decoded image is kept: before QuantiseRadiographd stands %s", reason)
        self._entries: list[Entry | None] = [None] * len(data)

    def prepare(self, workers: int | None = None) -> None:
        """Decode the files that are not cached, by several processes, with a progress bar; do nothing without a cache.

        A cache that cannot be written is a warning: files are then read in every epoch.

        Raises:
            StorageError: ``disk-full``, which the checkpoints would not survive either.
        """
        if self.cache is None:
            return
        try:
            self._entries = self.cache.build([item["image"] for item in self.data], self._levels, workers)
        except StorageError as error:
            if error.code == Code.DISK_FULL:
                raise
            cause = error.__cause__
            logger.warning(
                "[%s] no decoded image is kept, each is read in every epoch: %s cannot be written (%s). "
                "--cache_dir FOLDER chooses another place.",
                error.code, self.cache.root, getattr(cause, "strerror", None) or cause,
            )  # fmt: skip
            self.cache = None

    def unprepared(self) -> int:
        """Return how many files :meth:`prepare` would have to decode."""
        if self.cache is None:
            return len(self.data)
        return sum(entry is None for entry in self.cache.find([item["image"] for item in self.data]))

    def plane_bytes(self) -> int:
        """Return the bytes of a cached plane, by the first readable one of ten files; 0 if none can be read."""
        if self.cache is None:
            return 0
        for item in self.data[:10]:
            try:
                return self._levels(item["image"]).nbytes
            except RadiographError:
                continue
        return 0

    def __getitem__(self, key: Any) -> dict[str, Any]:
        draw = key if isinstance(key, Draw) else Draw(0, key)
        if self._randomised:
            self._random.seed(seed_of(self.seed, *draw))
        # each time: MONAI's loaders give transforms other states. One for all is forty times cheaper than one each
        for transform in self._randomised:
            transform.set_random_state(state=self._random)
        return self._transform(draw.index)

    def _transform(self, index: int) -> dict[str, Any]:
        item = self.data[index]
        label = torch.from_numpy(np.asarray(item["label"]).astype(np.float32))  # a copy: the manifest's is shared
        try:
            (image, film), error = self._image(index), ""
        except RadiographError as unreadable:
            image, film, error = torch.zeros(self.shape), {}, f"{unreadable.code}: {unreadable.message}"
            label = torch.full_like(label, torch.nan)
        of_source = {"source": item["source"]} if "source" in item else {}
        if film and "film_facts" in item:
            film = film | {"film_facts": item["film_facts"]}
        shown = {"image": image, "label": label, "name": item["name"], "error": error}
        return {**shown, **of_source, **self.details(film)}

    def details(self, film: Mapping[str, Any]) -> dict[str, Any]:
        """Return further entries of an item: notes on its file, if the file was read now.

        Args:
            film: what the transforms returned; empty if the file cannot be read.
        """
        notes = {"notes": "\n".join(film.get("image_notes", ()))} if self.with_notes else {}
        return notes if self.observer is None else {**notes, **self.observer(film)}

    def _image(self, index: int) -> tuple[torch.Tensor, dict[str, Any]]:
        """Return an image as the network gets it, and the film's metadata, if its file was read now."""
        film = self._cached_film(index)
        if film is None:  # a film in memory may come with what its values mean: image_axes, image_bits
            film = {key: value for key, value in self.data[index].items() if str(key).startswith("image")}
            film = _run(self._once, film)
        # the later steps get the same input with a cache and without
        shown = _run(self._each_time, {"image": film["image"]} if self._once.transforms else film)
        image = convert_to_tensor(shown["image"], dtype=torch.float32, track_meta=False).contiguous()
        plane = {"image_plane": film["image"]} if self.observer is not None and self._once.transforms else {}
        return image, film | shown | plane

    def _cached_film(self, index: int) -> dict[str, Any] | None:
        entry = self._entries[index]
        if self.cache is None or entry is None:
            return None
        levels = self.cache.read(entry)
        if levels is None:
            self.cache.forget(entry)
            self._entries[index] = None
            return None
        return {"image": torch.from_numpy(grey_of_levels(levels)[None])}

    def _levels(self, path: str) -> np.ndarray:
        """Return a file's plane as the cache stores it."""
        film = _run(self._once, {"image": path})
        return grey_levels(np.asarray(film["image"])[0], film["image_bits"])


def _run(transform: Compose, film: dict[str, Any]) -> dict[str, Any]:
    """Apply a pipeline to a film.

    Raises:
        RadiographError: what is wrong with the film, which MONAI wraps into a ``RuntimeError``.
        CxrError: another error of ours; RuntimeError: any other fault of a transform.
    """
    try:
        result: dict[str, Any] = transform(film)
        return result
    except RuntimeError as wrapped:
        if (cause := ours(wrapped)) is None:
            raise
        raise cause from cause.__cause__


class _NotIdentifiableError(ValueError):
    """A value has no text that would mean the same in another process."""


def _identity_of(value: Any, depth: int = 0) -> str:
    """Return a text that identifies a step of a pipeline: its class and its attributes, recursively.

    Equal texts make equal planes, in every process: so no addresses, and nothing random.

    Raises:
        _NotIdentifiableError: for a value without such a text.
    """
    kind = type(value)
    if depth > 20 or isinstance(value, RandomizableTrait):
        raise _NotIdentifiableError(f"{kind.__qualname__}, which is {'too deep' if depth > 20 else 'random'}")
    identify = functools.partial(_identity_of, depth=depth + 1)
    if value is None or kind in (bool, int, float, complex, str, bytes):
        return repr(value)
    if isinstance(value, torch.dtype | torch.device | np.dtype | np.number | np.bool_):
        return f"{kind.__name__}({value})"
    if kind in (tuple, list):
        return f"{kind.__name__}({','.join(map(identify, value))})"
    if kind in (set, frozenset):
        return f"{kind.__name__}({','.join(sorted(map(identify, value)))})"
    if kind in (dict, types.MappingProxyType):
        return f"dict({','.join(sorted(f'{identify(key)}:{identify(entry)}' for key, entry in value.items()))})"
    if isinstance(value, enum.Enum):
        return f"{_name(kind)}.{value.name}"
    if isinstance(value, type | types.FunctionType | types.BuiltinFunctionType | np.ufunc):
        return _name(value)
    if kind is functools.partial:
        return f"partial({identify(value.func)},{identify(value.args)},{identify(value.keywords)})"
    # what is pickled in its own way, like a tensor, or is a container too, has more to it than its attributes
    whole = kind.__reduce_ex__ is object.__reduce_ex__ and kind.__reduce__ is object.__reduce__
    if not whole or not hasattr(value, "__dict__") or isinstance(value, dict | list | tuple | set | frozenset | str):
        raise _NotIdentifiableError(
            f"{kind.__qualname__}, of which nobody can tell whether it is the same in another process"
        )
    return f"{_name(kind)}({identify(vars(value))})"


def _name(value: Any) -> str:
    """Return the name by which another process imports a class or function."""
    module, name = getattr(value, "__module__", None) or "", getattr(value, "__qualname__", value.__name__)
    try:
        same = module != "__main__" and operator.attrgetter(name)(importlib.import_module(module)) is value
    except (ImportError, AttributeError, ValueError):
        same = False
    if not same:
        raise _NotIdentifiableError(f"{name}, which has no name that another process could import")
    return f"{module}.{name}"


def split_error(error: str) -> tuple[str, str]:
    """Return code and reason of an item's ``error``."""
    code, _, reason = error.partition(": ")
    return code, reason


def batch_notes(batch: dict[str, Any]) -> FilmNotes:
    """Return the notes on the files of a batch, if the data set collects notes (``with_notes``).

    Args:
        batch: with ``name`` and perhaps ``notes``.
    """
    notes = FilmNotes()
    for name, remarks in zip(batch["name"], batch.get("notes", ()), strict=False):
        notes.add(name, remarks.splitlines())
    return notes


def batch_errors(batch: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return (name, code, reason) of the files of a batch that could not be read.

    Args:
        batch: with ``name`` and ``error``.
    """
    return [(name, *split_error(error)) for name, error in zip(batch["name"], batch["error"], strict=True) if error]
