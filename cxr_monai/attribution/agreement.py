"""Agreement of the maps of two networks or two methods, and how much of their disagreement is chance.

    cases = compare_maps(MapStore.open("A/maps"), MapStore.open("B/maps"))       # a row an image and finding
    within = compare_seeds([MapStore.open(seed) for seed in seeds])         # one recipe, trained with other seeds
    shared = seed_cases(cases, within)                                      # sum of 'within' over sum of 'between'

Two maps of an image are put onto one raster over the stored image and compared where both networks see it: they may
have other grids and other views of it, and their images may be stored in other sizes.

Disagreement is 1 minus the rank correlation (0: same order of places, 1: unrelated, 2: reversed), or 1 minus the IoU of
what is over a share of each map's maximum. Two trainings of one recipe disagree as well. What of the disagreement
between two models is just the seed is

    mean disagreement within the seeds / mean disagreement between the models,

over the same images: 1 says that the two models differ no more than two seeds of one recipe do.
"""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from cxr_monai.attribution.map_store import MapStore
from cxr_monai.attribution.pairing import named_alike
from cxr_monai.attribution.similarity import map_overlap, rank_correlation
from cxr_monai.data.matching import match_images
from cxr_monai.errors import Code, EvaluationError
from cxr_monai.plurals import counted
from cxr_monai.progress import progress_bar

_RASTER = 64
"""Pixels of the longer side of what maps are compared on: finer than any grid of theirs by far."""
RANK = "rank_correlation"


def _iou_name(share: float) -> str:
    """Return the column of the IoU at a share of the maximum: ``iou_0.5``."""
    return f"iou_{share:g}"


def agreement_measures(thresholds: Sequence[float]) -> list[str]:
    """Return the columns of `compare_maps` that measure agreement, for IoUs at these shares of the maximum."""
    return [RANK, *map(_iou_name, thresholds)]


def compare_maps(
    first: MapStore,
    second: MapStore,
    thresholds: Sequence[float] = (0.5,),
    findings: Sequence[str] | None = None,
    description: str = "comparing",
    by_name: bool = False,
) -> pd.DataFrame:
    """Compare two stores' maps of the images that both have.

    Args:
        first, second: of two models, or by two methods.
        thresholds: shares of each map's maximum, for the IoU.
        findings: those to compare; where None, all that both have.
        description: of the progress bar.
        by_name: file names are identities, whatever their folders.

    Returns:
        one row an image (as the first store names it) and finding: ``image, finding, first_probability,
        second_probability, kept, rank_correlation, iou_0.5, ...``. ``kept`` is the side that has a map: ``both``,
        ``first``, ``second``; without both there is nothing to compare (NaN), and rows of neither are left out. NaN as
        well where both maps are 0 everywhere; 0 where one is.

    Raises:
        EvaluationError: ``maps-invalid`` if they have no image in common, a finding has no maps, or an image's sides
            have another ratio in the second.
        ManifestError: ``images-ambiguous``.
    """
    first, second = named_alike([first, second], by_name)
    images, chosen = _in_common([first, second], findings)
    channels = [[store.findings.index(name) for name in chosen] for store in (first, second)]
    rows = []
    for image in progress_bar(images, total=len(images), desc=description, unit="images"):
        maps = [store.grid(image)[columns] for store, columns in zip((first, second), channels, strict=True)]
        kept_first, kept_second = (~np.isnan(grids).any((-2, -1)) for grids in maps)
        has_both = np.flatnonzero(kept_first & kept_second)
        placed = _on_one_raster(image, first, second, [grids[has_both] for grids in maps])
        values = np.full((len(chosen), 1 + len(thresholds)), np.nan)
        if has_both.size:
            values[has_both, 0] = rank_correlation(*placed)
            for column, share in enumerate(thresholds, start=1):
                values[has_both, column] = map_overlap(*placed, share)
        for row in np.flatnonzero(kept_first | kept_second):
            finding = chosen[row]
            side = "both" if kept_first[row] and kept_second[row] else "first" if kept_first[row] else "second"
            probabilities = [store.probability(image, finding) for store in (first, second)]
            rows.append((image, finding, *probabilities, side, *values[row]))
    columns = ["image", "finding", "first_probability", "second_probability", "kept", *agreement_measures(thresholds)]
    return pd.DataFrame(rows, columns=columns)


def compare_seeds(
    stores: Sequence[MapStore],
    thresholds: Sequence[float] = (0.5,),
    findings: Sequence[str] | None = None,
    by_name: bool = False,
) -> pd.DataFrame:
    """Compare every two of some stores that were made by one recipe with other seeds.

    Args:
        stores: three or more.
        thresholds, findings, by_name: as for `compare_maps`.

    Returns:
        one row an image and finding: ``image, finding, pairs, rank_correlation, iou_0.5, ...``, means over the pairs of
        stores that have a figure; ``pairs`` is their number.

    Raises:
        EvaluationError: ``maps-invalid`` for fewer than three, for the same folder twice, or as `compare_maps`.
    """
    folders = {store.folder.resolve() for store in stores}
    if len(folders) < 3 or len(folders) < len(stores):
        raise EvaluationError(
            Code.MAPS_INVALID,
            f"{counted(len(folders), 'different folder')} of maps: what a seed "
            "changes is told from three trainings or more.",
            fix="Train the same configuration with three seeds, and make maps of each.",
        )
    pairs = list(combinations(named_alike(stores, by_name), 2))
    tables = [
        compare_maps(*pair, thresholds, findings, f"seeds {number} of {len(pairs)}")
        for number, pair in enumerate(pairs, start=1)
    ]
    compared = pd.concat(tables, ignore_index=True).dropna(subset=[RANK])
    means = compared.groupby(["image", "finding"], sort=False)[agreement_measures(thresholds)].mean()
    means.insert(0, "pairs", compared.groupby(["image", "finding"], sort=False).size())
    return means.reset_index()


def seed_cases(between: pd.DataFrame, within: pd.DataFrame) -> pd.DataFrame:
    """Return disagreements between two models and within the seeds, of the cases that have both.

    Args:
        between: of `compare_maps`.
        within: of `compare_seeds`, with the same thresholds; its stores named as the others (`named_alike`).

    Returns:
        ``image, finding`` and ``between_X, within_X`` for each measure X; each a disagreement, 1 minus the agreement.

    Raises:
        EvaluationError: ``maps-invalid`` if there is no such case.
    """
    names = [name for name in within.columns if name not in ("image", "finding", "pairs")]
    paired = between.dropna(subset=[RANK]).merge(within, on=["image", "finding"], suffixes=("_between", "_within"))
    if paired.empty:
        raise EvaluationError(
            Code.MAPS_INVALID,
            "the seeds have no map of any image and finding of which the two models have one.",
            fix="Make maps of the same images with every one of them.",
        )
    table = paired[["image", "finding"]].copy()
    for name in names:
        for side in ("between", "within"):
            table[f"{side}_{name}"] = 1 - paired[f"{name}_{side}"]
    return table


def _in_common(stores: Sequence[MapStore], findings: Sequence[str] | None) -> tuple[list[str], list[str]]:
    first, second = stores
    shared = set(second.images)
    images = [image for image in first.images if image in shared]
    if not images:
        near_misses = match_images(second.images, first.images).near_misses()
        raise EvaluationError(
            Code.MAPS_INVALID,
            f"these two have no image in common: {first.folder} has {_some(first.images)}; {second.folder} has "
            f"{_some(second.images)}{f'; {near_misses}' if near_misses else ''}.",
            fix="Make maps of the same images with both"
            + (", or say --match-names if a file name alone tells which image it is." if near_misses else "."),
        )
    chosen = [name for name in first.findings if name in second.findings] if findings is None else list(findings)
    for store in stores:
        missing = [name for name in chosen if name not in store.findings]
        if missing or not chosen:
            raise EvaluationError(
                Code.MAPS_INVALID,
                f"there are no maps of {', '.join(missing) or 'any finding that the other has'}; here are maps of "
                f"{', '.join(store.findings)}.",
                where=store.folder,
            )
    return images, chosen


def _some(images: Sequence[str]) -> str:
    return f"{len(images):,}, such as {images[0]}" if images else "none"


def _on_one_raster(
    image: str, first: MapStore, second: MapStore, maps: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Return both maps ``[K, P]`` at the P places of one raster that both views cover."""
    views = [store.view(image) for store in (first, second)]
    tall, wide = [view.height for view in views], [view.width for view in views]
    # an image that was reduced to another size had its sides rounded to whole pixels
    if abs(tall[0] * wide[1] - tall[1] * wide[0]) > max(wide) + max(tall):
        raise EvaluationError(
            Code.MAPS_INVALID,
            f"the image {image!r} is {wide[0]}x{tall[0]} in one and {wide[1]}x{tall[1]} in the other, another picture.",
            where=second.folder,
        )
    scale = _RASTER / max(views[0].height, views[0].width)
    shape = max(1, round(views[0].height * scale)), max(1, round(views[0].width * scale))
    seen = np.logical_and(*(view.place(np.ones((1, 1)), shape=shape) > 0 for view in views))
    if not seen.any():
        raise EvaluationError(
            Code.MAPS_INVALID, f"no part of the image {image!r} is seen by both.", where=second.folder
        )
    placed = [
        np.stack([view.place(grid, store.points, shape)[seen] for grid in grids]) if len(grids) else np.empty((0, 0))
        for view, store, grids in zip(views, (first, second), maps, strict=True)
    ]
    return placed[0], placed[1]
