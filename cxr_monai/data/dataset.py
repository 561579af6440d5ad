"""From a manifest to items: what is read, and what happens to a file that cannot be read."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import PersistentDataset
from monai.data.utils import pickle_hashing
from monai.transforms import Randomizable
from monai.utils import convert_to_tensor

from cxr_monai.data.files import IMAGE_SUFFIXES, image_files
from cxr_monai.data.loading import Draw, seed_of
from cxr_monai.data.manifest import Manifest, read_manifest
from cxr_monai.errors import Code, ManifestError, RadiographError, SettingError, ours

logger = logging.getLogger(__name__)


def open_manifest(manifest: str | None, dataset_dir: str | None = None) -> Manifest:
    """Read and validate the manifest that a bundle was given.

    Args:
        manifest: its path; a bundle has no default, so None is an error.
        dataset_dir: the root of the images; the manifest's own where None.

    Raises:
        SettingError: ``setting-invalid`` if no manifest was named.
        ManifestError: everything that is wrong with it.
    """
    if manifest is None:
        raise SettingError(
            Code.SETTING_INVALID,
            "no manifest was named, so there is nothing to read.",
            fix="Add --manifest M.csv; 'cxr-monai manifest --help' shows how to make one.",
        )
    return read_manifest(manifest, root=dataset_dir)


def items(manifest: Manifest, split: str | None, findings: Sequence[str]) -> list[dict[str, Any]]:
    """Return one dictionary an image: ``image`` (path), ``label`` (float32 ``[F]``, NaN unknown), ``name``.

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
    return [
        {"image": str(path), "label": label, "name": name}
        for path, label, name in zip(part.paths(), labels, part.table["image"], strict=True)
    ]


def prevalences(manifest: Manifest, split: str, findings: Sequence[str]) -> list[float]:
    """Return each finding's share of positives among the known labels of a split; NaN where none is known."""
    return manifest.part(split).table[list(findings)].mean().tolist()


def inference_items(manifest: str | None, dataset_dir: str | None, findings: Sequence[str]) -> list[dict[str, Any]]:
    """Return the items of a manifest (all splits), or of every image file below a folder; labels are all unknown.

    Raises:
        SettingError: ``setting-invalid`` if neither is given.
        ManifestError: ``no-images`` if the folder holds none.
    """
    if manifest is not None:
        table = read_manifest(manifest, root=dataset_dir, check_files=False)
        files = list(zip(table.paths(), table.table["image"], strict=True))
    elif dataset_dir is not None:
        root = Path(dataset_dir)
        files = [(path, path.relative_to(root).as_posix()) for path in image_files(root)]
        if not files:
            raise ManifestError(
                Code.NO_IMAGES, f"no image file below it (looked for {', '.join(IMAGE_SUFFIXES)}).", where=root
            )
    else:
        raise SettingError(
            Code.SETTING_INVALID,
            "neither a manifest nor a folder of images was named.",
            fix="Add --dataset_dir FOLDER or --manifest M.csv.",
        )
    paths, names = zip(*files, strict=True) if files else ((), ())
    return items_of_files(paths, names, findings)


def items_of_files(paths: Sequence[str | Path], names: Sequence[str], findings: Sequence[str]) -> list[dict[str, Any]]:
    """Return items as :func:`items` does, for files without labels."""
    unknown = np.full(len(findings), np.nan, dtype=np.float32)
    return [{"image": str(path), "label": unknown, "name": name} for path, name in zip(paths, names, strict=True)]


class RadiographDataset(PersistentDataset):
    """MONAI's persistent data set; a file that cannot be read becomes a blank image with unknown labels.

    So one bad file of 112,120 stops neither a training nor an evaluation: masked losses and metrics leave it out, and
    ``error`` (empty for good files) tells which, with its code. What is left out is counted and reported by
    whoever reads the batches (``cxr_monai.training.handlers``, ``cxr_monai.predict``).

    Args:
        data: items with ``image``, ``label`` and ``name``.
        transform: MONAI's ``Compose``; what stands before its first random transform is computed once and kept.
        shape: ``[C, H, W]`` of a transformed image, for the blanks.
        cache_dir: where to keep; None (or ``none``) keeps nothing. Entries are keyed by the file's path, size and
            time and by the transforms, so a replaced image or another image size is read anew.
        seed: of the random transforms.

    An item is asked for by its index, or by a ``Draw`` (an epoch and an index) in training: random transforms depend on
    (seed, epoch, index) alone, whatever was drawn before and whichever process reads.

    Each item has ``image`` (float32 ``[C, H, W]``), ``label`` (float32 ``[F]``), ``name``, ``error``.
    """

    def __init__(
        self,
        data: Sequence[dict[str, Any]],
        transform: Any,
        shape: Sequence[int],
        cache_dir: str | Path | None = None,
        seed: int = 0,
    ) -> None:
        # the command line cannot say None: MONAI takes it for "not given"
        cache_dir = None if str(cache_dir).lower() == "none" else cache_dir
        super().__init__(data, transform, cache_dir=cache_dir, hash_transform=pickle_hashing, hash_func=_item_hash)
        self.shape, self.seed = tuple(shape), seed
        self._random = np.random.RandomState()

    def __getitem__(self, key: Any) -> dict[str, Any]:
        epoch, index = key if isinstance(key, Draw) else (0, key)
        self._random.seed(seed_of(self.seed, epoch, index))
        # each time: MONAI's loaders give transforms other states. One for all is forty times cheaper than one each
        for transform in self.transform.flatten().transforms:
            if isinstance(transform, Randomizable):
                transform.set_random_state(state=self._random)
        return self._transform(index)

    def _transform(self, index: int) -> dict[str, Any]:
        # labels stay outside the cache: another set of findings must not read other labels' entries
        item = self.data[index]
        error = ""
        try:
            image = convert_to_tensor(
                super()._transform(index)["image"], dtype=torch.float32, track_meta=False
            ).contiguous()
        except RuntimeError as wrapped:
            cause = ours(wrapped)
            if not isinstance(cause, RadiographError):
                raise
            image, error = torch.zeros(self.shape), f"{cause.code}: {cause.message}"
        label = torch.tensor(item["label"])  # a copy: the manifest's array is shared and read-only
        if error:
            label = torch.full_like(label, torch.nan)
        return {"image": image, "label": label, "name": item["name"], "error": error}

    def _cachecheck(self, item_transformed: dict[str, Any]) -> dict[str, Any]:
        return super()._cachecheck({"image": item_transformed["image"]})


def _item_hash(item: dict[str, Any]) -> bytes:
    try:
        status = os.stat(item["image"])
        version = (status.st_size, status.st_mtime_ns)
    except OSError:
        version = (0, 0)
    return pickle_hashing((str(item["image"]), version))


def split_error(error: str) -> tuple[str, str]:
    """Return code and reason of an item's ``error``."""
    code, _, reason = error.partition(": ")
    return code, reason
