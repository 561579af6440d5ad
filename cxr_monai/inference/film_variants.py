"""Films and their changed copies to batches as a network takes them: each file is read once.

def change(name, pixels):                       # [H, W] in [0, 1], before the bundle's preprocessing
    return {"darker": pixels / 2}, "half"       # changed films, and a remark on this one

for batch in read_variants(model, films, names, ("darker",), change):
    batch.images[:, 0], batch.images[:, 1]      # the films as they are, and darker
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.transforms import Compose

from cxr_monai.data.dataset import RadiographDataset, batch_errors
from cxr_monai.data.loading import reading_loader
from cxr_monai.errors import Code, SettingError
from cxr_monai.inference.model import Model
from cxr_monai.progress import progress_bar
from cxr_monai.transforms.load_radiograph import LoadRadiographd, plain_tensors

Change = Callable[[str, np.ndarray], tuple[Mapping[str, np.ndarray], str]]
"""Makes of a film's name and pixels, float32 ``[H, W]`` in [0, 1], its changed copies by name, and a remark."""


@dataclass(frozen=True, eq=False)
class VariantBatch:
    """Some films, each with its changed copies.

    Attributes:
        names: of all B films.
        images: float32 ``[B, 1 + V, C, H, W]``: the film as it is, then its V copies; blank where it could not be read.
        readable: the positions of the films that could be read.
        errors: name, stable code and reason of the others.
        remarks: what the change said of each of the B films; empty for those that could not be read.
    """

    names: list[str]
    images: torch.Tensor
    readable: list[int]
    errors: list[tuple[str, str, str]]
    remarks: list[str]


def read_variants(
    model: Model,
    films: Sequence[Any],
    names: Sequence[str],
    variants: Sequence[str],
    change: Change,
    batch_size: int | None = None,
    num_workers: int | None = None,
    desc: str = "reading",
) -> Generator[VariantBatch, None, None]:
    """Yield films and their copies in batches, in the films' order, with a progress bar.

    Args:
        model: whose preprocessing the copies go through after the change.
        films: paths, or arrays as of ``Model.read``.
        names: of the films.
        variants: names of the copies, in the order that they are wanted in.
        change: makes them.
        batch_size, num_workers: other ones than the model's settings.
        desc: what the progress bar says.

    Raises:
        SettingError: ``setting-invalid`` for a preprocessing that doesn't begin with reading the film.
    """
    items = [
        {**(film if isinstance(film, Mapping) else {"image": str(film) if isinstance(film, Path) else film}),
         "name": name, "image_name": name}
        for film, name in zip(films, names, strict=True)
    ]  # fmt: skip
    pipeline = Compose([_Variants(model.preprocessing, tuple(variants), change)])
    dataset = _VariantDataset(items, pipeline, (1 + len(variants), *model.shape))
    workers = model.settings.num_workers if num_workers is None else num_workers
    with progress_bar(total=len(items), desc=desc, unit="images") as bar:
        for batch in reading_loader(dataset, batch_size or model.settings.batch_size, workers) if items else ():
            readable = [position for position, error in enumerate(batch["error"]) if not error]
            yield VariantBatch(batch["name"], batch["image"], readable, batch_errors(batch), batch["remark"])
            bar.update(len(batch["name"]))


class _Variants:
    """A film and its changed copies, each through the steps that follow reading: ``image`` [1 + V, C, H, W]."""

    def __init__(self, preprocessing: Compose, variants: tuple[str, ...], change: Change) -> None:
        load, *steps = preprocessing.flatten().transforms
        if not isinstance(load, LoadRadiographd):
            raise SettingError(
                Code.SETTING_INVALID,
                f"the preprocessing begins with {type(load).__name__}, not with LoadRadiographd: a film cannot be "
                "changed before it.",
            )
        self.load, self.steps, self.variants, self.change = load, Compose(steps), variants, change

    def __call__(self, item: Mapping[Any, Any]) -> dict[Any, Any]:
        film = self.load(item)
        pixels = np.asarray(film["image"])[0]
        changed, remark = self.change(film["image_name"], pixels)
        images = [self.steps(film)["image"]]
        for variant in self.variants:
            copy = torch.from_numpy(np.array(changed[variant], dtype=np.float32)[None])
            images.append(self.steps({**film, "image": copy})["image"])
        return {**film, "image": torch.stack([torch.as_tensor(image) for image in images]), "remark": remark}


class _VariantDataset(RadiographDataset):
    """Items have ``remark``; their tensors are plain."""

    def __getitem__(self, key: Any) -> dict[str, Any]:
        with plain_tensors():
            return super().__getitem__(key)

    def details(self, film: Mapping[str, Any]) -> dict[str, Any]:
        return {**super().details(film), "remark": film.get("remark", "")}
