"""``cxr-monai explain``."""

import argparse
import sys
from pathlib import Path

from cxr_monai.cli.light_start import import_monai_without_mlflow
from cxr_monai.cli.shared_arguments import (
    add_any_modality,
    add_bundle,
    add_force,
    add_match_names,
    check_at_least,
    check_result_folder,
)
from cxr_monai.plurals import counted

DESCRIPTION = """\
Make a map of what a bundle's network looked at, for every image and every finding.

Images are PNG, JPEG, DICOM or NIfTI files, folders of them, or a manifest. The maps go into a folder, compressed, on
the grid on which they are computed; they are enlarged to the images' own pixels when they are read ('cxr-monai maps
show', 'maps localise', 'maps faithful', 'maps agree'). An interrupted run goes on when the same command is given again;
other maps that are there stay, unless --force is given."""

EPILOG = """\
methods:
{methods}

examples:
  cxr-monai explain OUT/bundle radiograph.png --out explained --pictures 1
  cxr-monai explain OUT/bundle manifest.csv --split test --map-stride 16 --out explained
  cxr-monai explain OUT/bundle folder/ --reported-only --out explained
  cxr-monai explain OUT/bundle folder/ --method occlusion --finding Effusion --out occluded
  cxr-monai explain OUT/bundle folder/ --gate review --out explained

files: DIR; DIR.errors.csv (files left out: unreadable, or refused by the bundle's gate, each with its reason);
DIR.gate.csv (what the gate saw in every film)

exit status: 0 if there are maps, 1 if there are none (or with --strict if a file was left out), 2 for wrong use"""

# name and line of help; a test compares them with cxr_monai.attribution.methods, which is slow to import
METHOD_SUMMARIES = {
    "cam": "class activation maps: all findings from one forward pass (the default)",
    "gradcam": "GradCAM (MONAI), on --target-layer",
    "gradcam++": "GradCAM++ (MONAI), on --target-layer",
    "layer_gradcam": "GradCAM (Captum), on --target-layer",
    "layercam": "features times their own positive gradients, for finer, earlier layers",
    "cam_layercam": "class activation maps times LayerCAM: the narrowest, for pointing at a place",
    "integrated_gradients": "pixels along a path from mean grey (Captum)",
    "guided_gradcam": "edges within GradCAM's region (Captum)",
    "occlusion": "by how much the score falls when a patch is covered (Captum); slow",
}
EPILOG = EPILOG.format(methods="\n".join(f"  {name:<22}{text}" for name, text in METHOD_SUMMARIES.items()))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``cxr-monai explain``."""
    add_bundle(parser)
    parser.add_argument(
        "inputs", metavar="INPUT", nargs="+", help="image files, folders, or a manifest (.csv, .csv.gz)"
    )
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="where the maps go")
    add_force(parser)
    parser.add_argument(
        "--method", choices=list(METHOD_SUMMARIES), default="cam", help="see below (default: %(default)s)"
    )
    parser.add_argument("--finding", nargs="+", metavar="F", help="maps of these alone (default: all)")
    parser.add_argument("--split", choices=["train", "val", "test"], help="this part of a manifest alone")
    parser.add_argument(
        "--map-stride",
        type=int,
        metavar="PIXELS",
        help="cam: pixels of the network's input between two points of a map (default: the network's own, 32 for "
        "DenseNet121; 16 and 8 are finer and cost more)",
    )
    parser.add_argument(
        "--target-layer", metavar="NAME", help="of the methods that explain a layer (default: the method's own)"
    )
    parser.add_argument(
        "--reported-only", action="store_true", help="keep the maps of findings at their operating point or over it"
    )
    parser.add_argument(
        "--boxes", type=Path, metavar="B.csv", help="only the maps of the boxed findings of boxed images, to score them"
    )
    add_match_names(parser)
    parser.add_argument("--rule", help="which operating point is meant (default: the bundle's first)")
    parser.add_argument(
        "--pictures",
        type=int,
        default=0,
        metavar="N",
        help="also draw the first N images, one picture each (default: 0)",
    )
    parser.add_argument("--weights", help="weights other than the bundle's models/model.pt")
    parser.add_argument("--batch-size", type=int, default=16, help="images at a time (default: %(default)s)")
    parser.add_argument("--workers", type=int, help="files that are read at a time (default: decided by the machine)")
    parser.add_argument("--float32", action="store_true", help="compute in float32 even where bfloat16 is faster")
    add_any_modality(parser)
    parser.add_argument(
        "--gate",
        choices=["refuse", "review", "off"],
        help="films that are not for this network: refuse makes no map of them, review maps and marks them, off judges "
        "none (default: refuse; with --boxes review, so that scores lose no film)",
    )
    parser.add_argument("--strict", action="store_true", help="exit with 1 if any file was left out")


def _refuse_wrong_use(arguments: argparse.Namespace) -> None:
    check_at_least(arguments, batch_size=1, pictures=0, workers=0)
    check_result_folder(arguments.out)


def run(arguments: argparse.Namespace) -> int:
    """Run ``cxr-monai explain`` and return its exit status."""
    _refuse_wrong_use(arguments)
    import_monai_without_mlflow()
    import pandas as pd

    from cxr_monai.attribution.map_store import MAPS_JSON
    from cxr_monai.cli.predict import print_left_out
    from cxr_monai.data.files import errors_file
    from cxr_monai.outputs import check_folder
    from cxr_monai.workflows.explain import explain_images

    check_folder(arguments.out, ())
    if arguments.pictures and not (arguments.out / MAPS_JSON).is_file():  # else these maps are continued, or refused
        check_folder(arguments.out, ["pictures"], arguments.force)
    explained = explain_images(
        arguments.bundle,
        arguments.inputs,
        arguments.out,
        split=arguments.split,
        method=arguments.method,
        findings=arguments.finding,
        map_stride=arguments.map_stride,
        target_layer=arguments.target_layer,
        rule=arguments.rule,
        reported_only=arguments.reported_only,
        boxes=arguments.boxes,
        match_names=arguments.match_names,
        weights=arguments.weights,
        batch_size=arguments.batch_size,
        workers=arguments.workers,
        amp=not arguments.float32,
        any_modality=arguments.any_modality,
        gate=arguments.gate,
        trust_folder=arguments.trust_folder,
        force=arguments.force,
    )
    store = explained.store
    for note in explained.notes:
        print(f"note: {note}", file=sys.stderr)
    print(
        f"maps of {counted(len(store.images), 'image')}, {counted(len(store.findings), 'finding')} "
        f"each: {arguments.out}"
    )
    if arguments.pictures:
        from cxr_monai.attribution.gallery import Gallery
        from cxr_monai.attribution.map_pictures import write_pictures

        names, wanted_findings = store.images[: arguments.pictures], explained.findings if arguments.finding else ()
        pictures = write_pictures(Gallery([store]), names, arguments.out / "pictures", wanted_findings)
        print(f"{counted(len(pictures), 'picture')}: {arguments.out / 'pictures'}")
    for note in store.notes.lines(len(store.images)):
        print(f"note: {note}")
    left_out = errors_file(arguments.out)
    if left_out.is_file():
        errors = pd.read_csv(left_out, dtype=str, keep_default_na=False)
        print_left_out(arguments.out, list(errors.itertuples(index=False, name=None)))
    return 1 if not store.images or (arguments.strict and explained.left_out) else 0
