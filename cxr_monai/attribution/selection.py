"""Which images to explain: named files, a folder, or a few of a manifest with their labels and boxes."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from cxr_monai.data.boxes import box_numbers, broken_boxes, by_line, read_box_cells, refuse_boxes
from cxr_monai.data.files import image_files
from cxr_monai.data.film_header import NO_FACTS, FilmFacts, facts_of_films
from cxr_monai.data.joining import join_on_image
from cxr_monai.data.manifest import Manifest, find_boxes
from cxr_monai.data.multi_source import manifest_files, read_manifests
from cxr_monai.errors import Code, ManifestError, SettingError
from cxr_monai.schemes import FINDINGS, LabelScheme

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Example:
    """One image to explain.

    Attributes:
        path: the file.
        name: its name in the results.
        present: the findings that its labels state; None = no labels known.
        boxes: rows ``finding, x, y, width, height``, as shares of the image's width and height.
        facts: what the manifest says of the film.
    """

    path: Path
    name: str
    present: tuple[str, ...] | None = None
    boxes: list[tuple[str, float, float, float, float]] = field(default_factory=list)
    facts: FilmFacts = NO_FACTS


def images_to_explain(
    images: str | Sequence[str] | None,
    manifest: str | Sequence[str] | None,
    dataset_dir: str | None,
    split: str,
    count: int | None,
    findings: Sequence[str],
    scheme: LabelScheme = FINDINGS,
) -> list[Example]:
    """Return the images to explain, with their labels and boxes where a manifest is given.

    Args:
        images: files or folders (a string may hold several with commas between); goes before ``manifest``.
        manifest: takes ``count`` images of ``split``, one a finding in turn, boxed ones first.
        dataset_dir: root of the manifest's images.
        split: the part of the manifest.
        count: how many of the manifest; all where None.
        findings: the network's channels.
        scheme: whose labels they are; a box of a finding is a box of its labels.

    Raises:
        SettingError: ``setting-invalid`` if neither images nor a manifest are given.
        ManifestError: ``no-images`` if there is nothing to explain.
        EvaluationError: ``boxes-invalid`` if the table beside the manifest lacks columns or has a row that is no box.
    """
    if images is not None:
        sources = images.split(",") if isinstance(images, str) else list(images)
        paths = [path for source in sources for path in _expand(Path(source))]
        occurrences = Counter(path.name for path in paths)
        return [Example(path, path.name if occurrences[path.name] == 1 else str(path)) for path in dict.fromkeys(paths)]
    if manifest is None:
        raise SettingError(
            Code.SETTING_INVALID,
            "nothing to explain was named.",
            fix="Add --images FILE_OR_FOLDER, or --manifest M.csv (then --split and --count choose).",
        )
    full_manifest = read_manifests(manifest, root=dataset_dir, scheme=scheme)
    table, boxes = full_manifest.part(split), _boxes(_boxes_beside(manifest), full_manifest, scheme)
    labels = pd.DataFrame(table.labels(findings), columns=list(findings))
    names, facts = table.table["image"], facts_of_films(table.table)
    chosen = list(range(len(names))) if count is None else _one_each(labels, names, set(boxes), count)
    return [
        Example(
            table.path_of(table.table["image"][row]),
            table.table["image"][row],
            tuple(name for name in findings if labels[name][row] == 1),
            boxes.get(table.table["image"][row], []),
            facts[row],
        )
        for row in chosen
    ]


def _boxes_beside(manifest: str | Sequence[str]) -> Path | None:
    """Return the boxes beside a manifest; of several, whose boxes lie apart, none."""
    files = manifest_files(manifest)
    return find_boxes(files[0][1]) if len(files) == 1 else None


def _expand(path: Path) -> list[Path]:
    if path.is_dir():
        files = image_files(path)
        if not files:
            raise ManifestError(Code.NO_IMAGES, "the folder holds no image.", where=path)
        return files
    return [path]


def _boxes(
    path: Path | None, manifest: Manifest, scheme: LabelScheme
) -> dict[str, list[tuple[str, float, float, float, float]]]:
    """Return the boxes beside a manifest, by its own names of images; none where they are of other images."""
    if path is None or (cells := read_box_cells(path)).empty:
        return {}
    numbers, broken = box_numbers(cells)
    refuse_boxes(by_line(broken_boxes(cells, broken)), path)
    cells = cells.assign(**numbers)
    try:
        by_side = join_on_image(
            manifest.table[["image"]], cells, by_name=manifest.by_name, path=path, root=manifest.roots
        )
    except ManifestError as error:
        if error.code != Code.MANIFEST_INVALID:
            raise
        logger.warning("no box is drawn: %s", error)  # the old name: boxes of another manifest in this folder
        return {}
    by_side.notes("boxed images", "the manifest")  # for the log
    table = by_side.table
    table[["x", "width"]] = table[["x", "width"]].div(table["image_width"], axis=0)
    table[["y", "height"]] = table[["y", "height"]].div(table["image_height"], axis=0)
    boxes: dict[str, list] = {}
    columns = ["image", "finding", "x", "y", "width", "height"]
    for name, finding, *box in table[columns].itertuples(index=False, name=None):
        boxes.setdefault(str(name), []).extend((label, *box) for label in scheme.labels_of(finding))
    return boxes


def _one_each(labels: pd.DataFrame, names: pd.Series, boxed: set[str], count: int) -> list[int]:
    """Go through the findings in turn, taking for each the next image that has it, boxed ones first."""
    order = sorted(range(len(names)), key=lambda row: names[row] not in boxed)
    queues = {name: [row for row in order if labels[name][row] == 1] for name in labels}
    chosen: list[int] = []
    while len(chosen) < count and any(queues.values()):
        for queue in queues.values():
            while queue and queue[0] in chosen:
                queue.pop(0)
            if queue and len(chosen) < count:
                chosen.append(queue.pop(0))
    return chosen or order[:count]
