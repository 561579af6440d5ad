"""``cxr-monai calibrate``: a copy of a bundle with calibration and operating points."""

import argparse
from pathlib import Path

from cxr_monai.cli.evaluate import add_fitting
from cxr_monai.cli.shared_arguments import add_bundle, add_force, add_match_names

DESCRIPTION = """\
Fit calibration, operating points and sets of findings on validation predictions, and write them into a copy of a bundle
as models/calibration.json. 'cxr-monai predict' then gives calibrated probabilities.

At another site with a few hundred labelled images, --recalibrate keeps what the bundle has and moves it."""

EPILOG = """\
examples:
  cxr-monai predict OUT/bundle val/ --raw --out val.csv
  cxr-monai calibrate OUT/bundle --predictions val.csv --manifest manifest.csv --out calibrated
  cxr-monai calibrate OUT/bundle --predictions local.csv --manifest local_manifest.csv --out here --recalibrate auto

The predictions are the network's own (predict --raw). Report on other patients than these: 'cxr-monai evaluate
--bundle' refuses them. So that it can, salted hashes of them are written beside the copy (NEW.patients.json); they
don't go along when the bundle is sent."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``cxr-monai calibrate``."""
    add_bundle(parser)
    parser.add_argument(
        "--predictions", type=Path, required=True, metavar="VAL.csv", help="raw, of validation patients"
    )
    parser.add_argument("--manifest", type=Path, required=True, metavar="M.csv", help="their labels")
    parser.add_argument("--out", type=Path, required=True, metavar="NEW", help="the copy's folder; must not exist")
    parser.add_argument(
        "--split", choices=["train", "val", "test"], help="this part alone (default: what is predicted)"
    )
    add_match_names(parser)
    add_force(parser)
    add_fitting(parser)
    site = parser.add_argument_group("another site")
    site.add_argument(
        "--recalibrate",
        choices=["auto", "intercept", "slope"],
        help="keep the bundle's calibration and move its intercept, or its slope too (auto: by the amount of data)",
    )
    site.add_argument(
        "--points",
        choices=["keep", "choose"],
        default="keep",
        help="with --recalibrate: keep every decision as it was, or choose thresholds anew (default: %(default)s)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run ``cxr-monai calibrate`` and return its exit status."""
    from cxr_monai.evaluation.fitted import DEFAULT_RULES
    from cxr_monai.workflows.calibrate import calibrate_bundle

    fitted = calibrate_bundle(
        arguments.bundle,
        arguments.predictions,
        arguments.manifest,
        arguments.out,
        split=arguments.split,
        method=arguments.method,
        rules=arguments.rules.split(",") if arguments.rules else DEFAULT_RULES,
        coverage=arguments.coverage,
        recalibrate=arguments.recalibrate,
        points=arguments.points,
        match_names=arguments.match_names,
        trust_folder=arguments.trust_folder,
        force=arguments.force,
    )
    width = max(map(len, fitted.findings))
    for finding in fitted.findings:
        methods = ", ".join(calibrator.method for calibrator in fitted.calibrators[finding]) or "none"
        points = "  ".join(f"{rule} {threshold:.3g}" for rule, threshold in fitted.points.get(finding, {}).items())
        print(f"{finding:{width}}  {methods:12}  {points}")
    for note in fitted.notes:
        print(f"note: {note}")
    print(f"\nthe calibrated bundle: {arguments.out}")
    return 0
