"""``cxr-monai maps localise``: do the maps point at what radiologists drew boxes around?"""

import argparse
from pathlib import Path

from cxr_monai.cli.shared_arguments import (
    add_force,
    add_intervals,
    add_match_names,
    check_at_least,
    check_result_folder,
    read_bundle,
)

DESCRIPTION = """\
Score maps against boxes: pointing game, energy inside the box, IoU and IoBB of the detected box (Wang et al. 2017), per
finding and on average, with intervals over patients; always next to a random map and a centre map (the finding's usual
place) on the same cases, with paired gains over both.

Map thresholds are chosen on other images than those that are scored: on one half of the patients by default, on a part
of the manifest (--choose-split), or on another set of maps (--choose-on), such as phantoms. Images of the manifest's
training part are refused, and with --bundle all of patients that it was trained on, whatever split the manifest has."""

EPILOG = """\
examples:
  cxr-monai maps localise MAPS --boxes manifest.boxes.csv --manifest manifest.csv --split test --out localisation
  cxr-monai maps localise MAPS --boxes BBox_List_2017.csv --manifest manifest.csv --seen skip --out localisation
  cxr-monai maps localise MAPS --boxes manifest.boxes.csv --manifest manifest.csv --finding Pneumonia --out result \\
    --choose-on PHANTOM_MAPS --choose-boxes phantoms.boxes.csv --choose-manifest phantoms.csv

MAPS is a folder that 'cxr-monai explain' wrote. Written to --out: localisation.csv, gains.csv, cases.csv (one row a
case), cases.png (best and worst cases), localisation.html and localisation.json. 'cxr-monai evaluate --localisation'
puts the section into the model's report."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``cxr-monai maps localise``."""
    parser.add_argument("maps", type=Path, metavar="MAPS", help="a folder of maps")
    parser.add_argument(
        "--boxes", type=Path, required=True, metavar="B.csv", help="M.boxes.csv, or NIH's BBox_List_2017.csv"
    )
    parser.add_argument("--manifest", type=Path, required=True, metavar="M.csv", help="patients, split")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where everything goes")
    add_match_names(parser)
    parser.add_argument("--split", choices=["train", "val", "test"], help="score this part alone")
    parser.add_argument("--finding", action="append", default=[], metavar="F", help="score this one alone (repeatable)")
    parser.add_argument(
        "--bundle",
        metavar="B",
        help="what made MAPS, a folder or an installed one's name: who it was trained on is looked up in the list "
        "beside it (B.patients.json), too",
    )
    parser.add_argument(
        "--seen",
        choices=["refuse", "skip", "allow"],
        default="refuse",
        help="images that the model was trained on: refuse all, skip those, or score them too (default: %(default)s)",
    )
    choosing = parser.add_argument_group("map thresholds and the centre map, from other images")
    choosing.add_argument("--choose-split", choices=["train", "val", "test"], help="this part; the others are scored")
    choosing.add_argument("--choose-on", type=Path, metavar="MAPS2", help="other maps, by the same method")
    choosing.add_argument("--choose-boxes", type=Path, metavar="B2.csv", help="boxes of MAPS2")
    choosing.add_argument("--choose-manifest", type=Path, metavar="M2.csv", help="patients of MAPS2 (default: M.csv)")
    choosing.add_argument(
        "--other-hospital", action="store_true", help="equal patient numbers in M2.csv are other people (phantoms, too)"
    )
    figures = parser.add_argument_group("figures")
    figures.add_argument(
        "--tolerance",
        type=float,
        default=0.0,
        metavar="PIXELS",
        help="of the pointing game, at 1,024 pixels; 15 in the literature (default: %(default)g)",
    )
    figures.add_argument("--draws", type=int, default=5, help="random maps a case (default: %(default)s)")
    add_intervals(figures, "halves, random maps and draws")
    add_force(parser)
    parser.add_argument("--experiment", metavar="NAME", help="log all of it as a run of this MLflow experiment, too")


def run(arguments: argparse.Namespace) -> int:
    """Run ``cxr-monai maps localise`` and return its exit status."""
    from cxr_monai.errors import Code, UsageError

    check_at_least(arguments, draws=1, replicates=1)
    if not 0 <= arguments.tolerance < 1024 or arguments.seed < 0:
        raise UsageError(
            Code.USAGE,
            f"--tolerance {arguments.tolerance:g}, --seed {arguments.seed}: from 0 to below 1024, and from 0.",
        )
    if (arguments.choose_on is None) != (arguments.choose_boxes is None):
        raise UsageError(Code.USAGE, "--choose-on MAPS2 and --choose-boxes B2.csv go together.")
    if arguments.choose_on is None and (arguments.choose_manifest is not None or arguments.other_hospital):
        raise UsageError(Code.USAGE, "--choose-manifest and --other-hospital are about --choose-on MAPS2.")
    if arguments.choose_on is not None and arguments.choose_split is not None:
        raise UsageError(Code.USAGE, "map thresholds come from --choose-on or from --choose-split, not from both.")
    if arguments.split is not None and arguments.split == arguments.choose_split:
        raise UsageError(Code.USAGE, f"--split {arguments.split} and --choose-split: the same images.")
    check_result_folder(arguments.out)
    from cxr_monai.attribution.localisation_scoring import LocalisationOptions
    from cxr_monai.evaluation.bootstrap import Intervals
    from cxr_monai.evaluation.metrics_table import as_text
    from cxr_monai.labels import spelling
    from cxr_monai.workflows.localise import Choosing, localise_files, track_localisation

    localisation, paths = localise_files(
        arguments.maps,
        arguments.boxes,
        arguments.manifest,
        arguments.out,
        bundle=read_bundle(arguments.bundle),
        choosing=Choosing(
            arguments.choose_split,
            arguments.choose_on,
            arguments.choose_boxes,
            arguments.choose_manifest,
            arguments.other_hospital,
            arguments.match_names,
        ),
        match_names=arguments.match_names,
        options=LocalisationOptions(
            split=arguments.split,
            findings=[spelling(name) for name in arguments.finding],
            seen=arguments.seen,
            tolerance=arguments.tolerance,
            draws=arguments.draws,
            intervals=Intervals(arguments.replicates, arguments.level, arguments.seed),
        ),
        force=arguments.force,
    )
    runs = track_localisation(arguments.experiment, arguments.out, localisation, paths) if arguments.experiment else ""
    columns = ["finding", "map", "cases", "pointing", "pointing_low", "pointing_high", "energy", "iou", "iou_above_0.1"]
    print(as_text(localisation.scores[[*columns, "iobb_above_0.1", "map_threshold"]]))
    gains = localisation.gains
    print("\ngain of the map, paired")
    print(as_text(gains[gains["score"].isin(["pointing", "iou"])]))
    print(f"\nmap thresholds from {localisation.provenance['map_thresholds_from']}")
    for note in localisation.notes:
        print(f"note: {note}")
    print(f"\nthe page: {arguments.out / 'localisation.html'}")
    if runs:
        print(f"the runs: {runs}")
    return 0
