"""``cxr-monai maps faithful``: do maps show what the network uses, and what it has learned?"""

import argparse
from pathlib import Path

from cxr_monai.cli.shared_arguments import (
    add_any_modality,
    add_bundle,
    add_force,
    add_intervals,
    add_match_names,
    check_at_least,
    check_result_folder,
    open_bundle,
)

DESCRIPTION = """\
Test methods of making maps on a bundle's network.

Deletion and insertion: does the finding's probability fall when the map's strongest places are blurred, and
rise when they are put back? The same map at random places is the control. Infidelity: does the map foretell
what covering a square does? Sensitivity: does noise that nobody sees move the map? Randomised weights: does the
map change when what was learned is thrown away, first the last layer, in the end all of it? A method whose map
stays as it was explains nothing."""

EPILOG = """\
examples:
  cxr-monai maps faithful OUT/bundle manifest.csv --split test --out faithful
  cxr-monai maps faithful OUT/bundle folder/ --method cam gradcam layercam --finding Effusion Mass --out faithful
  cxr-monai maps faithful OUT/bundle folder/ --method occlusion --count 4 --stages 1 --samples 0 --out faithful

INPUT is as for 'cxr-monai explain', which also tells what the methods are. Each image is tested with the map of what is
most probable, unless --finding names others. Written to --out: faithfulness.csv (one row a method), randomisation.csv,
curves.csv, curves.png, faithfulness_cases.csv, and faithfulness.html, the page that shows all of it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``cxr-monai maps faithful``."""
    from cxr_monai.cli.explain import METHOD_SUMMARIES

    add_bundle(parser)
    parser.add_argument(
        "inputs", metavar="INPUT", nargs="+", help="image files, folders, or a manifest (.csv, .csv.gz)"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where everything goes")
    parser.add_argument(
        "--method", nargs="+", choices=list(METHOD_SUMMARIES), default=["cam"], metavar="M", help="which (default: cam)"
    )
    parser.add_argument("--finding", nargs="+", default=[], metavar="F", help="maps of these, on every image")
    parser.add_argument("--split", choices=["train", "val", "test"], help="this part of a manifest alone")
    parser.add_argument(
        "--manifest", type=Path, metavar="M.csv", help="patients, for the intervals (default: INPUT where it is one)"
    )
    add_match_names(parser)
    parser.add_argument("--count", type=int, default=24, help="images, drawn at random (default: %(default)s)")
    parser.add_argument("--map-stride", type=int, metavar="PIXELS", help="as of 'cxr-monai explain'")
    parser.add_argument("--target-layer", metavar="NAME", help="as of 'cxr-monai explain'")
    parser.add_argument("--weights", type=Path, help="weights other than the bundle's models/model.pt")
    add_any_modality(parser)
    tests = parser.add_argument_group("tests")
    tests.add_argument(
        "--baseline",
        choices=["blur", "mean"],
        default="blur",
        help="what stands where a place is taken away: the blurred image or its mean grey (default: %(default)s)",
    )
    tests.add_argument("--steps", type=int, default=10, help="of the curves (default: %(default)s)")
    tests.add_argument("--controls", type=int, default=3, help="random places of each map (default: %(default)s)")
    tests.add_argument(
        "--samples", type=int, default=10, help="of infidelity and sensitivity; 0: neither (default: %(default)s)"
    )
    tests.add_argument(
        "--stages",
        type=int,
        default=4,
        help="of randomised weights, from the head to all; 0: none (default: %(default)s)",
    )
    tests.add_argument("--draws", type=int, default=5, help="of each stage's weights (default: %(default)s)")
    figures = parser.add_argument_group("figures")
    add_intervals(figures, "all that is drawn")
    add_force(parser)
    parser.add_argument("--experiment", metavar="NAME", help="log all of it as a run of this MLflow experiment, too")


def run(arguments: argparse.Namespace) -> int:
    """Run ``cxr-monai maps faithful`` and return its exit status."""

    check_at_least(arguments, count=1, steps=1, controls=1, samples=0, stages=0, draws=1, replicates=1, seed=0)
    check_result_folder(arguments.out)
    from cxr_monai.attribution.faithfulness_tables import FaithfulnessOptions
    from cxr_monai.data.inputs import gather_files
    from cxr_monai.evaluation.bootstrap import Intervals
    from cxr_monai.evaluation.metrics_table import as_text
    from cxr_monai.workflows.faithful import faithful_files, track_faithfulness

    options = FaithfulnessOptions(
        methods=tuple(dict.fromkeys(arguments.method)),
        findings=arguments.finding,
        count=arguments.count,
        map_stride=arguments.map_stride,
        target_layer=arguments.target_layer,
        baseline=arguments.baseline,
        steps=arguments.steps,
        controls=arguments.controls,
        samples=arguments.samples,
        stages=arguments.stages,
        draws=arguments.draws,
        intervals=Intervals(arguments.replicates, arguments.level, arguments.seed),
        any_modality=arguments.any_modality,
    )
    manifest = arguments.manifest
    if manifest is None and len(arguments.inputs) == 1 and arguments.inputs[0].lower().endswith((".csv", ".csv.gz")):
        manifest = Path(arguments.inputs[0])
    files, names = gather_files(arguments.inputs, arguments.split)
    faithfulness, paths = faithful_files(
        open_bundle(arguments),
        files,
        names,
        arguments.out,
        options,
        manifest,
        arguments.weights,
        arguments.force,
        arguments.match_names,
    )
    runs = track_faithfulness(arguments.experiment, arguments.out, faithfulness, paths) if arguments.experiment else ""
    columns = [
        "method",
        "cases",
        "deletion_gain",
        "insertion_gain",
        "unexplained",
        "sensitivity",
        "survival",
        "verdict",
    ]
    print(as_text(faithfulness.methods[[name for name in columns if name in faithfulness.methods]]))
    for note in faithfulness.notes:
        print(f"note: {note}")
    print(f"\nthe page: {arguments.out / 'faithfulness.html'}")
    if runs:
        print(f"the runs: {runs}")
    return 0
