"""Faithfulness and randomisation tests of attribution methods on a network.

    subject = Subject(Model.open("OUT/bundle", amp=False, raw=True, gate="off"))
    images, names, left_out = read_some(subject.model, files, names, count=24)
    cases = cases_of(subject, images, names)                         # each image with what is most probable
    table, curves = faithfulness(subject, images, cases, ["cam"])
    survived = randomisation(subject, images, cases, ["cam"])

The maps are those that ``cxr-monai explain`` writes (`Explainer`), in float32.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from cxr_monai.attribution.explainer import Explainer
from cxr_monai.attribution.faithfulness import (
    Curves,
    area,
    baseline_of,
    deletion_insertion,
    displaced,
    sensitivity,
    unexplained,
)
from cxr_monai.attribution.methods import Method
from cxr_monai.attribution.randomisation import cascade, some_stages, survival
from cxr_monai.attribution.view import View
from cxr_monai.errors import Code, SettingError
from cxr_monai.inference.model import Model
from cxr_monai.inference.reading import first_error
from cxr_monai.plurals import out_of
from cxr_monai.progress import progress_bar

BATCH = 16


@dataclass(frozen=True, eq=False)
class Subject:
    """A model whose maps are tested.

    Attributes:
        model: of float32 (``amp=False``), its probabilities raw (``raw=True``).
        target_layer, map_stride: as of `Explainer`, for the methods that have one.
    """

    model: Model
    target_layer: str | None = None
    map_stride: int | None = None

    def explainer(self, method: str, findings: Sequence[str] | None = None) -> Explainer:
        """Return the explainer of some findings by a method.

        Raises:
            SettingError: as `Explainer`.
        """
        stride = self.map_stride if method in (Method.CAM, Method.CAM_LAYERCAM) else None
        return Explainer(self.model, method, findings, self.target_layer, stride)

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        """Return the labels' log-odds, ``[B, C, H, W]`` to ``[B, F]``, a few images at a time."""
        model = self.model
        with torch.inference_mode():
            parts = images.to(model.device).split(BATCH)
            return torch.cat([model.head(model.network(part).float()) for part in parts])


def read_some(
    model: Model, files: Sequence[str | Path], names: Sequence[str], count: int, seed: int = 0
) -> tuple[torch.Tensor, list[str], list[tuple[str, str, str]]]:
    """Read some of the files, drawn at random; another is drawn for one that cannot be read.

    Args:
        model: whose preprocessing is used.
        files: paths.
        names: of the same images.
        count: how many to read.
        seed: of the draw.

    Returns:
        images float32 ``[N, C, H, W]`` as the network is given them, N up to ``count``; their names; and of each file
        that was left out its name, the error's code and the reason.

    Raises:
        RadiographError: that of the first file, if none can be read.
        SettingError: ``setting-invalid`` if ``count`` is below 1 or there is no file.
    """
    images: list[torch.Tensor] = []
    read_names: list[str] = []
    left_out: list[tuple[str, str, str]] = []
    order = np.random.default_rng(seed).permutation(len(files)).tolist()
    while order and len(images) < count:
        drawn, order = order[: count - len(images)], order[count - len(images) :]
        with closing(model.read([files[index] for index in drawn], [names[index] for index in drawn])) as batches:
            for batch in batches:
                images += [batch.images[position] for position in batch.readable]
                read_names += [batch.names[position] for position in batch.readable]
                left_out += batch.errors
    if not images and left_out:
        raise first_error(left_out)
    if not images:
        raise SettingError(Code.SETTING_INVALID, f"{out_of(count, len(files), 'image')}: there must be at least 1.")
    return torch.stack(images), read_names, left_out


def cases_of(
    subject: Subject, images: torch.Tensor, names: Sequence[str], findings: Sequence[str] = ()
) -> pd.DataFrame:
    """Return the cases to test: ``number`` (of the image), ``image, finding, channel, probability`` (not calibrated).

    Args:
        subject, images: N of them.
        names: of the images.
        findings: each on every image; where empty, the most probable one of each image.

    Raises:
        SettingError: ``setting-invalid`` for a finding that the network does not know.
    """
    unknown = [name for name in findings if name not in subject.model.labels]
    if unknown:
        raise SettingError(
            Code.SETTING_INVALID,
            f"the network does not know {unknown[0]!r}; it knows {', '.join(subject.model.labels)}.",
        )
    probabilities = subject.logits(images).sigmoid().cpu().numpy()
    channels = [subject.model.labels.index(name) for name in findings]
    rows = [
        (number, name, subject.model.labels[channel], channel, float(probabilities[number, channel]))
        for number, name in enumerate(names)
        for channel in (channels or [int(probabilities[number].argmax())])
    ]
    return pd.DataFrame(rows, columns=["number", "image", "finding", "channel", "probability"])


def faithfulness(
    subject: Subject,
    images: torch.Tensor,
    cases: pd.DataFrame,
    methods: Sequence[str],
    baseline: str = "blur",
    steps: int = 10,
    controls: int = 3,
    samples: int = 10,
    seed: int = 0,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Test methods by changing the images.

    Args:
        subject, images: ``[N, C, H, W]``.
        cases: of `cases_of`.
        methods: names.
        baseline: of ``cxr_monai.attribution.faithfulness.baseline_of``.
        steps: of the curves.
        controls: random places that each map is moved to.
        samples: of infidelity and sensitivity; neither for 0.
        seed: of all that is drawn; case by case the same for every method.

    Returns:
        one row a method and case: ``method``, the columns of `cases`, ``empty`` (the map is 0 everywhere: all else is
        NaN), ``deletion, insertion, unexplained`` with those of the control (``deletion_control``, ...) and the gain
        over it (``deletion_gain``, ...: above 0 where the map does better), ``sensitivity``; and the mean curves,
        ``method, map`` (``map`` or ``control``), ``share, deletion, insertion``.
    """
    rows, curve_tables = [], []
    with progress_bar(total=len(methods) * len(cases), desc="changing images", unit="maps") as bar:
        for method in methods:
            explainer, maps = _maps(subject, images, cases, method)
            case_curves = []
            for position, case in enumerate(cases.to_dict(orient="records")):
                image = images[case["number"]].to(subject.model.device)
                row, tables = _judged(
                    subject, image, case["channel"], _on_pixels(maps[position], explainer, image),
                    baseline, steps, controls, samples, seed + position,
                )  # fmt: skip
                if samples:
                    explain = _one_map(explainer, case["finding"])
                    row["sensitivity"] = sensitivity(explain, image, samples=samples, seed=seed + position)
                rows.append({"method": method} | {str(name): entry for name, entry in case.items()} | row)
                case_curves += tables
                bar.update()
            curve_tables += [table.assign(method=method) for table in case_curves]
    curve = (
        pd.concat(curve_tables, ignore_index=True)
        if curve_tables
        else pd.DataFrame(columns=["method", "map", "share", *_CURVES])
    )
    mean = curve.groupby(["method", "map", "share"], sort=False)[list(_CURVES)].mean().reset_index()
    return pd.DataFrame(rows), mean


def randomisation(
    subject: Subject,
    images: torch.Tensor,
    cases: pd.DataFrame,
    methods: Sequence[str],
    stages: int = 4,
    draws: int = 5,
    seed: int = 0,
) -> pd.DataFrame:
    """Test methods by drawing weights anew, see ``cxr_monai.attribution.randomisation``.

    Args:
        subject, images, cases, methods, seed: as for `faithfulness`.
        stages: how many, at equal distances, from the head alone to all weights (these alone for 1).
        draws: of each stage's weights.

    Returns:
        one row a method, stage and case: ``method, stage, random_parts, image, finding, rank_correlation, ssim``, means
        over the draws; NaN where the network's own map is 0 everywhere.
    """

    def explain(network: nn.Module) -> Mapping[str, np.ndarray]:
        changed = replace(subject, model=subject.model.with_network(network))
        return {method: _maps(changed, images, cases, method)[1] for method in methods}

    chosen = some_stages(cascade(subject.model.network), stages)
    device_images = images.to(subject.model.device)
    compared = survival(explain, subject.model.network, device_images, chosen, draws, seed)
    bar = progress_bar(compared, total=len(chosen) * draws, desc="drawing weights", unit="networks")
    table = pd.concat(list(bar), ignore_index=True)
    keys = ["method", "stage", "random_parts", "case"]
    mean = table.groupby(keys, sort=False)[["rank_correlation", "ssim"]].mean().reset_index()
    for place, name in enumerate(("image", "finding"), start=3):
        mean.insert(place, name, cases[name].to_numpy()[mean["case"]])
    return mean.drop(columns="case")


_CURVES = ("deletion", "insertion")


def _maps(subject: Subject, images: torch.Tensor, cases: pd.DataFrame, method: str) -> tuple[Explainer, np.ndarray]:
    """Return the explainer and the maps of the cases ``[N, h, w]``."""
    explainer = subject.explainer(method, list(dict.fromkeys(cases["finding"])))
    number, column = (
        cases["number"].to_numpy(copy=True),
        np.array([explainer.findings.index(name) for name in cases["finding"]]),
    )
    mask = torch.zeros(len(images), len(explainer.findings), dtype=torch.bool)
    mask[number, column] = True
    batches = [
        explainer(batch, batch_mask)[1]
        for batch, batch_mask in zip(images.split(BATCH), mask.split(BATCH), strict=True)
    ]
    return explainer, np.concatenate(batches)[number, column]


def _one_map(explainer: Explainer, finding: str) -> Callable[[torch.Tensor], torch.Tensor]:
    column = explainer.findings.index(finding)

    def explain(images: torch.Tensor) -> torch.Tensor:
        mask = torch.zeros(len(images), len(explainer.findings), dtype=torch.bool)
        mask[:, column] = True
        return torch.from_numpy(explainer(images, mask)[1][:, column])

    return explain


def _on_pixels(grid: np.ndarray, explainer: Explainer, image: torch.Tensor) -> torch.Tensor:
    """Return a map enlarged to the pixels of the network's input, as a reader of the map sees it."""
    height, width = image.shape[-2:]
    points = explainer.about["points"]
    placed = View(height, width, 0, 0, height, width).place(grid, points and tuple(points))
    return torch.from_numpy(placed).to(image.device)


def _judged(
    subject: Subject,
    image: torch.Tensor,
    channel: int,
    heat: torch.Tensor,
    baseline: str,
    steps: int,
    controls: int,
    samples: int,
    seed: int,
) -> tuple[dict[str, Any], list[pd.DataFrame]]:
    def logit(images: torch.Tensor) -> torch.Tensor:
        return subject.logits(images)[:, channel]

    def probability(images: torch.Tensor) -> torch.Tensor:
        return logit(images).sigmoid()

    measures = (*_CURVES, *(["unexplained"] if samples else []))
    empty = float(heat.max()) <= 0
    if empty:
        names = [f"{name}{end}" for name in measures for end in ("", "_control", "_gain")]
        return {"empty": True, **dict.fromkeys(names, np.nan)}, []
    baseline_image = baseline_of(image, baseline)
    figures: list[dict[str, float]] = []
    tables = []
    for number, moved_to in enumerate([heat, *(displaced(heat, seed * 1000 + draw) for draw in range(controls))]):
        deleted = deletion_insertion(probability, image, moved_to, baseline_image, steps, seed, BATCH)
        figures.append({name: area(deleted.shares, getattr(deleted, name)) for name in _CURVES})
        if samples:
            figures[-1]["unexplained"] = unexplained(logit, image, moved_to, baseline_image, samples, seed, BATCH)
        tables.append(_as_table(deleted, "control" if number else "map"))
    row: dict[str, Any] = {"empty": False}
    for name in measures:
        figure_of_map, control = figures[0][name], float(np.mean([figure[name] for figure in figures[1:]]))
        better = figure_of_map - control if name == "insertion" else control - figure_of_map
        row |= {name: figure_of_map, f"{name}_control": control, f"{name}_gain": better}
    return row, tables


def _as_table(curves: Curves, name: str) -> pd.DataFrame:
    return pd.DataFrame(
        {"map": name, "share": curves.shares, "deletion": curves.deletion, "insertion": curves.insertion}
    )
