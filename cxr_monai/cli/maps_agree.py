"""``cxr-monai maps agree``: do two models, or two methods, look at the same places?"""

import argparse
from pathlib import Path

from cxr_monai.cli.shared_arguments import add_force, add_intervals, add_match_names, check_result_folder

DESCRIPTION = """\
Compare two folders of maps of the same images, finding by finding: rank correlation of their places, IoU of what is
over a share of each map's maximum, with intervals over patients, and the images on which they differ most.

Two trainings of one recipe disagree as well. With --seeds, maps of three or more of them, the tables say what share of
the disagreement between the two models is just the seed: mean disagreement within the seeds / mean disagreement between
the models, over the same images."""

EPILOG = """\
examples:
  cxr-monai maps agree A B --manifest manifest.csv --out agreement
  cxr-monai maps agree CAM OCCLUSION --finding Effusion --threshold 0.5 0.8 --out agreement
  cxr-monai maps agree A B --seeds A A2 A3 --manifest manifest.csv --present --out agreement

Written to --out: agreement.csv, agreement_cases.csv (one row an image and finding), agreement.png (where they differ
most), seeds.csv (with --seeds), and agreement.html, the page that shows all of it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``cxr-monai maps agree``."""
    parser.add_argument("first", metavar="A", type=Path, help="a folder that 'cxr-monai explain' wrote")
    parser.add_argument("second", metavar="B", type=Path, help="another, of the same images")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where everything goes")
    parser.add_argument(
        "--seeds", nargs="+", type=Path, default=[], metavar="S", help="maps of three or more trainings of one recipe"
    )
    parser.add_argument(
        "--manifest", type=Path, metavar="M.csv", help="patients and labels; images it lacks are left out"
    )
    add_match_names(parser)
    parser.add_argument(
        "--present", action="store_true", help="a finding only on images that the manifest says have it"
    )
    parser.add_argument("--finding", nargs="+", default=[], metavar="F", help="these alone (default: all of both)")
    parser.add_argument(
        "--threshold",
        nargs="+",
        type=float,
        default=[0.5],
        metavar="T",
        help="of the IoU, in shares of a map's maximum (default: 0.5)",
    )
    parser.add_argument("--root", type=Path, help="the folder of the images (default: where they were, when explained)")
    parser.add_argument("--count", type=int, default=6, help="images in the picture, 0: none (default: %(default)s)")
    add_intervals(parser)
    add_force(parser)
    parser.add_argument("--experiment", metavar="NAME", help="log all of it as a run of this MLflow experiment, too")


def run(arguments: argparse.Namespace) -> int:
    """Run ``cxr-monai maps agree`` and return its exit status."""
    from cxr_monai.errors import Code, UsageError

    if not 0 <= arguments.count <= 12:
        raise UsageError(Code.USAGE, f"--count {arguments.count}: from 0 to 12 images stand in a picture.")
    if arguments.replicates < 1 or arguments.seed < 0:
        raise UsageError(
            Code.USAGE,
            f"--replicates {arguments.replicates}, --seed {arguments.seed}: a number from 1, and one from 0.",
        )
    if arguments.present and arguments.manifest is None:
        raise UsageError(Code.USAGE, "--present: the manifest says what is there; name it with --manifest.")
    check_result_folder(arguments.out)
    from cxr_monai.evaluation.bootstrap import Intervals
    from cxr_monai.evaluation.metrics_table import as_text
    from cxr_monai.workflows.agree import AgreementOptions, agree_files, track_agreement

    options = AgreementOptions(
        findings=arguments.finding,
        thresholds=tuple(dict.fromkeys(arguments.threshold)),
        seeds=arguments.seeds,
        present=arguments.present,
        count=arguments.count,
        root=arguments.root,
        intervals=Intervals(arguments.replicates, arguments.level, arguments.seed),
    )
    agreement, paths = agree_files(
        arguments.first,
        arguments.second,
        arguments.out,
        options,
        arguments.manifest,
        arguments.force,
        arguments.match_names,
    )
    runs = track_agreement(arguments.experiment, arguments.out, agreement, paths) if arguments.experiment else ""
    print(as_text(agreement.findings))
    if agreement.seeds is not None:
        print("\nwhat of the disagreement is just the seed")
        print(as_text(agreement.seeds))
    for note in agreement.notes:
        print(f"note: {note}")
    print(f"\nthe page: {arguments.out / 'agreement.html'}")
    if runs:
        print(f"the runs: {runs}")
    return 0
