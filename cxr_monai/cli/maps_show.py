"""``cxr-monai maps show``: pictures of maps that 'cxr-monai explain' made."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from cxr_monai.cli.shared_arguments import add_force, add_match_names
from cxr_monai.errors import Code, UsageError
from cxr_monai.plurals import counted

if TYPE_CHECKING:
    from cxr_monai.attribution.drawing import PixelBox
    from cxr_monai.attribution.map_store import MapStore

DESCRIPTION = """\
Draw maps over their radiographs, with the finding, its probability and its operating point.

Maps of several folders stand side by side: other models or other methods on the same images. --sheet draws examples of
every finding and of normal images, one page for a paper."""

EPILOG = """\
examples:
  cxr-monai maps show MAPS --images 00000032_001.png --out overlays
  cxr-monai maps show MAPS OTHER --images 00000032_001.png --finding Effusion Mass --threshold 0.8 --out figure.pdf
  cxr-monai maps show MAPS --sheet --manifest manifest.csv --boxes manifest.boxes.csv --out sheet.pdf
  cxr-monai maps show MAPS --images 00000032_001.png --nifti --out overlays

A name that ends in .png (300 dpi) or .pdf (text stays text) is one picture; any other is a folder. Each map is drawn in
shares of its own maximum: it shows where evidence lies, and its probability says how much there is."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``cxr-monai maps show``."""
    parser.add_argument(
        "maps", metavar="MAPS", nargs="+", type=Path, help="folders that 'cxr-monai explain' wrote; the first leads"
    )
    selection = parser.add_mutually_exclusive_group(required=True)
    selection.add_argument("--images", metavar="NAME", nargs="+", help="these images, by path or file name")
    selection.add_argument("--sheet", action="store_true", help="examples of every finding and of normal images")
    parser.add_argument("--out", type=Path, required=True, metavar="PATH", help="a .png, a .pdf or a folder")
    parser.add_argument(
        "--finding", nargs="+", default=[], metavar="F", help="these findings (default: those reported; --sheet: all)"
    )
    parser.add_argument("--root", type=Path, help="the folder of the images (default: where they were, when explained)")
    parser.add_argument("--manifest", type=Path, metavar="M.csv", help="labels and patients")
    parser.add_argument(
        "--boxes", type=Path, metavar="B.csv", help="M.boxes.csv or BBox_List_2017.csv, drawn as the truth"
    )
    add_match_names(parser)
    parser.add_argument(
        "--nifti", action="store_true", help="also the maps as NIfTI in the images' pixels, for viewers"
    )
    drawing = parser.add_argument_group("drawing")
    drawing.add_argument(
        "--threshold",
        default="0.5",
        metavar="T",
        help="of contours and boxes: a share of the map's maximum, or area=0.1 for the strongest tenth of the image "
        "(default: %(default)s)",
    )
    drawing.add_argument("--no-contours", action="store_true", help="no line around what is above the threshold")
    drawing.add_argument("--no-parts", action="store_true", help="no boxes around its connected parts")
    drawing.add_argument("--format", choices=["png", "pdf"], default="png", help="in a folder (default: %(default)s)")
    drawing.add_argument("--count", type=int, default=4, help="examples a row of the sheet (default: %(default)s)")
    drawing.add_argument("--seed", type=int, default=0, help="of the examples' draw (default: %(default)s)")
    add_force(parser)
    parser.add_argument("--experiment", metavar="NAME", help="log the sheet as a run of this MLflow experiment, too")


def _refuse_wrong_use(arguments: argparse.Namespace, one_file: bool) -> None:
    if arguments.out.suffix.lower() in (".jpg", ".jpeg", ".svg", ".tif", ".tiff", ".gif", ".eps"):
        raise UsageError(Code.USAGE, f"--out {arguments.out}: a picture is a .png or a .pdf.")
    if not one_file and arguments.out.is_file():
        raise UsageError(Code.USAGE, f"--out {arguments.out}: it is a file; name a folder, a .png or a .pdf.")
    if arguments.nifti and one_file:
        raise UsageError(Code.USAGE, f"--nifti with --out {arguments.out}: NIfTI files need a folder.")
    if arguments.sheet and len(arguments.maps) > 1:
        raise UsageError(Code.USAGE, "--sheet draws one folder of maps; call it once for each.")
    if arguments.experiment and not arguments.sheet:
        raise UsageError(Code.USAGE, "--experiment logs a sheet; add --sheet.")
    if not 1 <= arguments.count <= 8:
        raise UsageError(Code.USAGE, f"--count {arguments.count}: from 1 to 8 examples stand in a row.")


def run(arguments: argparse.Namespace) -> int:
    """Run ``cxr-monai maps show`` and return its exit status."""
    one_file = arguments.out.suffix.lower() in (".png", ".pdf")
    _refuse_wrong_use(arguments, one_file)
    from cxr_monai.attribution.gallery import Gallery
    from cxr_monai.attribution.map_pictures import picture_names, write_example_sheet, write_nifti_maps, write_overlays
    from cxr_monai.attribution.map_store import MapStore
    from cxr_monai.attribution.regions import parse_threshold
    from cxr_monai.data.manifest import read_manifest
    from cxr_monai.labels import spelling
    from cxr_monai.outputs import check_folder, check_output

    threshold = parse_threshold(arguments.threshold)
    findings = [spelling(name) for name in arguments.finding]
    stores = [MapStore.open(folder) for folder in arguments.maps]
    manifest = None
    if arguments.manifest:
        manifest = read_manifest(
            arguments.manifest, check_files=False, scheme=stores[0].scheme, match_names=arguments.match_names
        )
    root = arguments.root or stores[0].about.get("root") or (manifest.root if manifest else None)
    by_name = arguments.match_names or (manifest is not None and manifest.by_name)
    truth = read_truth(arguments.boxes, stores[0], by_name) if arguments.boxes else None
    gallery = Gallery(stores, root, manifest, truth, points=192 if arguments.sheet else 512, by_name=by_name)
    for note in gallery.notes:
        print(f"note: {note}", file=sys.stderr)
    if arguments.sheet:
        pictures = [arguments.out] if one_file else [arguments.out / f"sheet{end}" for end in (".png", ".pdf")]
        for path in dict.fromkeys([*pictures, pictures[0].with_suffix(".csv")]):
            check_output(path, arguments.force)
        for picture in pictures:
            examples = write_example_sheet(
                gallery,
                picture,
                findings,
                count=arguments.count,
                seed=arguments.seed,
                threshold=threshold,
                contours=not arguments.no_contours,
            )
        images = list(dict.fromkeys(image for image in examples["image"] if image))
        if arguments.experiment:
            log(arguments, pictures)
    else:
        images = list(dict.fromkeys(map(gallery.find, arguments.images)))
        if one_file:
            check_output(arguments.out, arguments.force)
        else:
            kinds = findings or stores[0].findings, f".{arguments.format}", arguments.nifti
            check_folder(arguments.out, picture_names(images, *kinds), arguments.force)
        pictures = write_overlays(
            gallery,
            images,
            arguments.out,
            findings,
            boxes=not arguments.no_parts,
            suffix=f".{arguments.format}",
            threshold=threshold,
            contours=not arguments.no_contours,
        )
    print(
        f"{counted(len(pictures), 'picture')}: "
        f"{', '.join(map(str, pictures[:3]))}{', ...' if len(pictures) > 3 else ''}"
    )
    if arguments.nifti:
        paths = write_nifti_maps(gallery, images, arguments.out, findings)
        print(f"{counted(len(paths), 'NIfTI file')}: {arguments.out}")
    left_out = Path(f"{arguments.out}.errors.csv")
    if left_out.is_file():
        print(f"some images were left out: {left_out}", file=sys.stderr)
    return 0


def read_truth(path: Path, store: "MapStore", by_name: bool = False) -> dict[tuple[str, str], list["PixelBox"]]:
    """Return boxes by image and finding, in pixels of the stored image; notes go to standard error.

    Args:
        path: the table of boxes.
        store: the maps, whose images and findings count.
        by_name: join by file names alone.

    Returns:
        boxes ``(x, y, width, height)`` by image and finding.
    """
    from cxr_monai.attribution.reference_boxes import read_boxes

    table, notes = read_boxes(path, store.table, store.findings, store.scheme, by_name)
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    boxes: dict[tuple[str, str], list[PixelBox]] = {}
    columns = ["image", "finding", "x", "y", "width", "height"]
    for image, finding, *box in table[columns].itertuples(index=False, name=None):
        x, y, width, height = map(float, box)
        boxes.setdefault((image, finding), []).append((x, y, width, height))
    return boxes


def log(arguments: argparse.Namespace, pictures: list[Path]) -> None:
    """Log an example sheet as an MLflow run: the pictures, which name no image, without the table beside them.

    Args:
        arguments: of the command; ``experiment`` is MLflow's.
        pictures: the sheet's files, in one folder.
    """
    from cxr_monai.training.tracking import MLflowTracker

    settings = {name: str(getattr(arguments, name)) for name in ("threshold", "count", "seed")}
    tracker = MLflowTracker(arguments.experiment, str(pictures[0].parent), kind="explanation", configuration=settings)
    tracker.start()
    for picture in pictures:
        tracker.file(picture, "sheets")
    tracker.finish()
    print(f"the runs: {tracker.where()}")
