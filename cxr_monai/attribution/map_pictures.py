"""Files of pictures: overlays of images side by side, the sheet of examples, maps for viewers.

write_pictures(gallery, images, "pictures")             # <image>.png, one an image with the maps of its findings
write_overlays(gallery, images, "overlays")             # <image>_<finding>.png, one a finding
write_overlays(gallery, images, "figure.pdf")           # all of them as rows of one picture
write_example_sheet(gallery, "sheet.pdf")               # and sheet.csv: the images in it
write_nifti_maps(gallery, images, "maps")
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from cxr_monai.attribution.drawing import PICTURE_SUFFIXES, MapPanel, compare_figure, save_picture, sheet_figure
from cxr_monai.attribution.gallery import Gallery
from cxr_monai.attribution.map_nifti import write_nifti
from cxr_monai.attribution.regions import Threshold
from cxr_monai.data.files import IMAGE_SUFFIXES, write_errors
from cxr_monai.durable import write_durably
from cxr_monai.errors import Code, EvaluationError, RadiographError
from cxr_monai.progress import progress_bar

_HALF = Threshold(0.5)
PICTURE_COLUMNS = 4
"""Panels side by side in the picture of one image."""


def write_overlays(
    gallery: Gallery,
    images: Sequence[str],
    out: str | Path,
    findings: Sequence[str] = (),
    *,
    threshold: Threshold = _HALF,
    contours: bool = True,
    boxes: bool = True,
    suffix: str = ".png",
) -> list[Path]:
    """Write, for each image and finding, the radiograph and the map of every store in a row.

    Args:
        gallery: images and maps.
        images: of the first store.
        out: a folder, with one picture a row; or a ``.png`` or ``.pdf`` with all rows.
        findings: their names; by default `Gallery.findings` decides.
        threshold, contours, boxes: as `draw_overlay`.
        suffix: of pictures in a folder.

    Returns:
        the pictures. Images that cannot be read stand in ``<out>.errors.csv``.

    Raises:
        RadiographError: that of the first image, if none could be read.
        EvaluationError: ``maps-invalid`` if there is no map to draw; and as `Gallery.row`.
        SettingError: as `Gallery.findings`, `compare_figure` and `save_picture`.
    """
    out = Path(out)
    stems = _stems(images)
    rows: list[list[MapPanel]] = []
    written: list[Path] = []

    def draw(image: str) -> None:
        for finding in gallery.findings(image, findings):
            row = gallery.row(image, finding)
            if out.suffix.lower() in PICTURE_SUFFIXES:
                rows.append(row)
                continue
            written.append(out / f"{stems[image]}_{_safe(finding)}{suffix}")
            save_picture(compare_figure([row], threshold=threshold, contours=contours, boxes=boxes), written[-1])

    _for_each(images, out, draw)
    if not rows and not written:
        raise EvaluationError(
            Code.MAPS_INVALID,
            f"no map of {'this image' if len(images) == 1 else 'these images'} was kept.",
            fix="Name a finding to see its probability, or explain without --reported-only.",
            where=gallery.store.folder,
        )
    if rows:
        save_picture(compare_figure(rows, threshold=threshold, contours=contours, boxes=boxes), out)
        return [out]
    return written


def write_pictures(
    gallery: Gallery, images: Sequence[str], out: str | Path, findings: Sequence[str] = (), *, suffix: str = ".png"
) -> list[Path]:
    """Write one picture an image: the radiograph, the map of each of its findings, and a sentence on those without.

    Args:
        gallery: images and maps; of several stores the first.
        images: of the store.
        out: a folder.
        findings: their names; by default `Gallery.picture` decides.
        suffix: of the pictures.

    Returns:
        the pictures. Images that cannot be read stand in ``<out>.errors.csv``.

    Raises:
        RadiographError: that of the first image, if none could be read.
        EvaluationError, SettingError: as `Gallery.picture` and `save_picture`.
    """
    out, stems, written = Path(out), _stems(images), list[Path]()

    def draw(image: str) -> None:
        panels, note = gallery.picture(image, findings)
        rows = [panels[start : start + PICTURE_COLUMNS] for start in range(0, len(panels), PICTURE_COLUMNS)]
        save_picture(compare_figure(rows, heading=gallery.titles[0], note=note), out / f"{stems[image]}{suffix}")
        written.append(out / f"{stems[image]}{suffix}")

    _for_each(images, out, draw)
    return written


def picture_names(images: Sequence[str], findings: Sequence[str], suffix: str, nifti: bool = False) -> list[str]:
    """Return all file names that :func:`write_overlays` and :func:`write_nifti_maps` may write into a folder.

    Args:
        images: names.
        findings: names.
        suffix: of the pictures.
        nifti: include those of :func:`write_nifti_maps`.
    """
    stems, suffixes = _stems(images).values(), [suffix, *([".nii.gz"] if nifti else [])]
    names = [f"{stem}_{_safe(finding)}{end}" for stem in stems for finding in findings for end in suffixes]
    return names + [f"{stem}.nii.gz" for stem in stems if nifti]


def write_example_sheet(
    gallery: Gallery,
    out: str | Path,
    findings: Sequence[str] = (),
    *,
    count: int = 4,
    seed: int = 0,
    threshold: Threshold = _HALF,
    contours: bool = True,
    boxes: bool = False,
) -> pd.DataFrame:
    """Write the sheet of examples of the first store, and beside it as CSV which images they are (`Gallery.choose`).

    Args:
        gallery: images and maps.
        out: a ``.png`` or ``.pdf``.
        findings: rows; by default all.
        count: examples a row.
        seed: of the draw.
        threshold, contours, boxes: as `draw_overlay`.

    Returns:
        the examples, as `Gallery.choose` returns them.
    """
    chosen, how = gallery.choose(count, seed, findings)
    figure = sheet_figure(
        gallery.sheet(chosen),
        columns=count,
        threshold=threshold,
        contours=contours,
        boxes=boxes,
        heading=gallery.titles[0],
        note=how,
    )
    save_picture(figure, out)
    write_durably(Path(out).with_suffix(".csv"), chosen.to_csv(index=False, lineterminator="\n").encode())
    return chosen


def write_nifti_maps(
    gallery: Gallery, images: Sequence[str], out: str | Path, findings: Sequence[str] = ()
) -> list[Path]:
    """Write ``<image>.nii.gz``, and the maps of every store in the same pixels: ``<image>_<finding>.nii.gz``.

    Several stores have their titles in the names. Values are in the methods' own units.

    Args:
        gallery: images and maps.
        images: of the first store.
        out: a folder.
        findings: as `write_overlays`.

    Returns:
        the files. Images that cannot be read stand in ``<out>.errors.csv``.

    Raises:
        RadiographError, EvaluationError, SettingError: as `write_overlays`.
        StorageError: ``disk-full`` or ``write-failed``.
    """
    out = Path(out)
    stems = _stems(images)
    written: dict[Path, None] = {}

    def write(image: str) -> None:
        for finding in gallery.findings(image, findings):
            write_one(image, finding)

    def write_one(image: str, finding: str) -> None:
        radiograph = gallery.stored(image)
        files: dict[str, tuple[np.ndarray, str, float | None]] = {
            stems[image]: (radiograph.pixels[0], "radiograph", 1.0)
        }
        for store, title in zip(gallery.stores, gallery.titles, strict=True):
            heat = store.on_image(image, finding, radiograph.pixels.shape[1:]) if finding in store.findings else None
            if heat is not None:
                name = f"{stems[image]}_{_safe(finding)}" + (f"_{_safe(title)}" if len(gallery.stores) > 1 else "")
                files[name] = heat, f"{finding}, {title}", None
        for name, (values, about, shown) in files.items():
            path = out / f"{name}.nii.gz"
            if path not in written:
                write_nifti(path, values, radiograph.spacing, about, shown)
                written[path] = None

    _for_each(images, out, write)
    return list(written)


def _for_each(images: Sequence[str], out: Path, do: Callable[[str], None]) -> None:
    """Do something for every image; images that cannot be read are listed, unless none can."""
    errors: list[tuple[str, RadiographError]] = []
    for image in progress_bar(images, total=len(images), desc="drawing", unit="images"):
        try:
            do(image)
        except RadiographError as error:
            errors.append((image, error))
    if errors and len(errors) == len(images):
        raise errors[0][1]
    out.parent.mkdir(parents=True, exist_ok=True)
    write_errors(out, [(image, str(error.code), error.message) for image, error in errors])


def _stems(images: Sequence[str]) -> dict[str, str]:
    """Return a file's name for each image: its own without suffix; where two have the same, their paths, or numbers."""
    for naming in (lambda image: _stem(image.rpartition("/")[2]), _stem, str):
        stems = {image: _safe(naming(image)) for image in images}
        if len({stem.casefold() for stem in stems.values()}) == len(stems):
            return stems
    return {image: f"{number:05d}_{stem}" for number, (image, stem) in enumerate(stems.items())}


def _stem(name: str) -> str:
    # a UID has dots of its own, so only known suffixes go; .nii.gz before others
    suffix = next((suffix for suffix in sorted(IMAGE_SUFFIXES, key=len)[::-1] if name.lower().endswith(suffix)), "")
    return name[: len(name) - len(suffix)]


def _safe(text: str) -> str:
    return re.sub(r"[^\w.-]+", "_", text).strip("_")
