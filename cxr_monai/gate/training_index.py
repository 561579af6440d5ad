"""Which films a network was trained on: a local file for ``--training-index``, never part of a bundle.

    write_training_index("training.index.csv", images, digests, hashes, preprocessing)
    index = read_training_index("training.index.csv", preprocessing)
    index.find(digest, looks)                           # the training's film that this one is; "" where it is none

A CSV with the columns ``image``, ``pixel_digest``, ``picture_hash`` (`cxr_monai.gate.duplicates`) and
``preprocessing`` (:func:`preprocessing_digest`, the same in every row: the digests are of pixels as that bundle's
preprocessing makes them). It tells who was trained on, so it is readable by its owner alone and stays in the house.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
from monai.transforms import Compose

from cxr_monai.data.dataset import identity_of_steps, plane_steps
from cxr_monai.durable import write_durably
from cxr_monai.errors import Code, GateError
from cxr_monai.gate.duplicates import MOST_DIFFERING, differing_bits

INDEX_COLUMNS = ("image", "pixel_digest", "picture_hash", "preprocessing")
_HEXADECIMAL = {"pixel_digest": 16, "picture_hash": 64}


@dataclass(frozen=True, eq=False)
class TrainingIndex:
    """The films that a network was trained on.

    Attributes:
        digest: of the file, SHA-256; empty where there is none.
        images: N names.
        by_pixels: row of a film by its `pixel_digest` as a number.
        hashes: uint64 ``[4, N]``.
    """

    digest: str = ""
    images: Sequence[str] = ()
    by_pixels: Mapping[int, int] = field(default_factory=dict)
    hashes: np.ndarray = field(default_factory=lambda: np.zeros((4, 0), dtype=np.uint64))

    def find(self, digest: str, looks: str) -> str:
        """Return the training's film that a film is a copy of; empty where it is none.

        Args:
            digest, looks: its `pixel_digest` and `picture_hash`.
        """
        if not len(self.images):
            return ""
        if (row := self.by_pixels.get(int(digest, 16))) is not None:
            return self.images[row]
        differing = differing_bits(self.hashes, looks)
        nearest = int(differing.argmin())
        return self.images[nearest] if differing[nearest] <= MOST_DIFFERING else ""


NO_TRAINING = TrainingIndex()


def preprocessing_digest(preprocessing: Compose) -> str:
    """Return the SHA-256 (hexadecimal) of what a bundle's preprocessing does to a film up to the plane of grey levels.

    Raises:
        GateError: ``gate-invalid`` where nothing identifies a step of it.
    """
    steps = [copy(step) for step in plane_steps(preprocessing)]
    for step in steps:
        vars(step).pop("any_modality", None)  # which files are read, not how
    try:
        return sha256(identity_of_steps(steps).encode()).hexdigest()
    except ValueError as error:
        raise GateError(
            Code.GATE_INVALID, f"there is no training index for this preprocessing: in it is {error}."
        ) from error


def write_training_index(
    path: str | Path, images: Sequence[str], digests: Sequence[str], hashes: Sequence[str], preprocessing: str
) -> None:
    """Write an index, readable by its owner alone.

    Args:
        path: of the CSV.
        images: N names, as in the manifest.
        digests, hashes: `pixel_digest` and `picture_hash` of each.
        preprocessing: of :func:`preprocessing_digest`.

    Raises:
        StorageError: ``disk-full`` or ``write-failed``.
    """
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(INDEX_COLUMNS)
    rows.writerows(zip(images, digests, hashes, [preprocessing] * len(images), strict=True))
    write_durably(path, text.getvalue().encode(), private=True)


def read_training_index(path: str | Path, preprocessing: str) -> TrainingIndex:
    """Read an index.

    Args:
        path: of the CSV.
        preprocessing: of the bundle in use, of :func:`preprocessing_digest`.

    Raises:
        GateError: ``gate-invalid`` for a file that is none, is damaged, or was made for another preprocessing.
    """
    try:
        content = Path(path).read_bytes()
        table = pd.read_csv(io.BytesIO(content), dtype=str, keep_default_na=False)
        if tuple(table.columns) != INDEX_COLUMNS or table.empty:
            raise ValueError(f"it needs the columns {', '.join(INDEX_COLUMNS)} and a row a film")
        for name, length in _HEXADECIMAL.items():
            if not table[name].str.fullmatch(f"[0-9a-f]{{{length}}}").all():
                raise ValueError(f"{name} has {length} hexadecimal digits in every row")
        if set(table["preprocessing"]) != {preprocessing}:
            raise ValueError("it is of another preprocessing than this bundle's")
    except (OSError, ValueError) as error:
        raise GateError(
            Code.GATE_INVALID,
            f"the training index cannot be used ({error}).",
            fix="Make it with 'cxr-monai gate index', for this bundle.",
            where=path,
        ) from error
    rows = {int(digest, 16): row for row, digest in enumerate(table["pixel_digest"])}
    words = np.frombuffer(bytes.fromhex("".join(table["picture_hash"])), dtype=np.uint64).reshape(-1, 4)
    return TrainingIndex(sha256(content).hexdigest(), list(table["image"]), rows, np.ascontiguousarray(words.T))
