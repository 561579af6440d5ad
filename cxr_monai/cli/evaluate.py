"""``cxr-monai evaluate``: what is this model worth?"""

import argparse
from pathlib import Path

from cxr_monai.cli.shared_arguments import (
    add_force,
    add_intervals,
    add_match_names,
    check_at_least,
    read_bundle,
)

DESCRIPTION = """\
Judge predictions of any system against a manifest: AUROC, average precision and Brier score of each finding with
intervals (DeLong by image, and by drawing whole patients), calibration, subgroups, studies, and report.html.

Thresholds are never chosen on the patients that are reported on. They come from a bundle (--bundle), from predictions
of other patients (--fit VAL.csv), or from one half of these patients (--fit half); without, there are none."""

EPILOG = """\
examples:
  cxr-monai evaluate --predictions predictions.csv --manifest manifest.csv --split test --bundle OUT/bundle --out result
  cxr-monai evaluate --predictions theirs.csv --manifest manifest.csv --fit half --out result
  cxr-monai evaluate --predictions old.csv --compare new.csv --margin 0.02 --manifest manifest.csv --out result
  cxr-monai evaluate --predictions predictions.csv --manifest m.csv --fit val.csv --prevalence Effusion=0.05 --out r
  cxr-monai evaluate --predictions p.csv --manifest nih.csv,rsna.csv --views PA,AP --out result
  cxr-monai evaluate --predictions p.csv --manifest m.csv --scheme categories_normal --out result    (docs/labels.md)

The predictions are a CSV with 'image' (or 'Image Index') and one column a finding (or prob_FINDING), from 0 to 1. The
image files are not needed. docs/evaluation.md says how each figure is computed."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``cxr-monai evaluate``."""
    parser.add_argument("--predictions", type=Path, required=True, metavar="P.csv", help="the system's probabilities")
    parser.add_argument("--manifest", required=True, metavar="M.csv[,N.csv]", help="labels, patients, split")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where everything goes")
    parser.add_argument(
        "--split", choices=["train", "val", "test"], help="this part alone (default: what is predicted)"
    )
    parser.add_argument(
        "--views",
        metavar="V,V",
        help="images of these views alone, such as PA,AP; best-frontal: one a study, PA before AP before AP supine",
    )
    parser.add_argument("--compare", type=Path, metavar="Q.csv", help="a second system on the same images")
    parser.add_argument("--margin", type=float, help="of AUROC, for non-inferiority of the second system")
    parser.add_argument(
        "--localisation", type=Path, metavar="DIR", help="what 'cxr-monai maps localise' wrote: a section of the report"
    )
    parser.add_argument(
        "--scheme",
        metavar="S",
        help="what the predicted labels are made of: a name such as categories_normal, or a JSON file (default: what "
        "the bundle's metadata or the JSON beside the predictions says, else the findings)",
    )
    add_match_names(parser)
    parser.add_argument(
        "--gate-table",
        type=Path,
        metavar="G.csv",
        help="what a gate says of the films (default: P.csv.gate.csv where it lies beside the predictions): the report "
        "tells what it refuses, and the figures with and without those films",
    )
    fitting = parser.add_argument_group("thresholds and calibration, from other patients")
    source = fitting.add_mutually_exclusive_group()
    source.add_argument("--bundle", metavar="B", help="a calibrated bundle: a folder, or an installed one's name")
    source.add_argument("--fit", metavar="VAL.csv", help="raw predictions of other patients of the manifest, or 'half'")
    add_fitting(fitting)
    figures = parser.add_argument_group("figures")
    figures.add_argument(
        "--prevalence", metavar="P", help="PPV and NPV elsewhere: 0.05 for all, or Effusion=0.05,Mass=0.01"
    )
    add_intervals(figures)
    add_force(parser)
    parser.add_argument("--plots", action="store_true", help="draw PNG files, too, for a paper or a slide")
    parser.add_argument(
        "--experiment", metavar="NAME", help="log all of it, with the PNG files, as a run of this MLflow experiment"
    )


def add_fitting(parser: argparse._ArgumentGroup | argparse.ArgumentParser) -> None:
    """Add the arguments of the fit that ``evaluate`` and ``calibrate`` share."""
    parser.add_argument(
        "--method",
        choices=["auto", "temperature", "platt", "isotonic", "none"],
        default="auto",
        help="of calibration (default: chosen by cross-validation over patients)",
    )
    parser.add_argument(
        "--rules",
        metavar="R,R",
        help="operating points, the first is the report's (default: youden,f1,sensitivity=0.9,specificity=0.9,cost=10; "
        "cost=10: a miss costs as much as ten false alarms)",
    )
    parser.add_argument("--coverage", type=float, default=0.9, help="of the sets of findings (default: %(default)s)")


def run(arguments: argparse.Namespace) -> int:
    """Run ``cxr-monai evaluate`` and return its exit status."""
    from cxr_monai.errors import Code, UsageError

    check_at_least(arguments, replicates=1)
    if arguments.margin is not None and not (arguments.compare and 0 < arguments.margin < 1):
        raise UsageError(Code.USAGE, f"--margin {arguments.margin}: a number between 0 and 1, with --compare.")
    if arguments.out.exists() and not arguments.out.is_dir():
        raise UsageError(Code.USAGE, f"--out {arguments.out}: it is a file; name a folder.")
    from cxr_monai.evaluation.bootstrap import Intervals
    from cxr_monai.evaluation.fitted import DEFAULT_RULES
    from cxr_monai.evaluation.metrics_table import as_text
    from cxr_monai.workflows.evaluate import EvaluationOptions, evaluate_files, track_evaluation

    options = EvaluationOptions(
        method=arguments.method,
        rules=arguments.rules.split(",") if arguments.rules else DEFAULT_RULES,
        coverage=arguments.coverage,
        margin=arguments.margin,
        prevalence=parse_prevalence(arguments.prevalence),
        intervals=Intervals(arguments.replicates, arguments.level, arguments.seed),
        plots=arguments.plots or bool(arguments.experiment),
        views=arguments.views,
    )
    evaluation, paths = evaluate_files(
        arguments.predictions,
        arguments.manifest,
        arguments.out,
        split=arguments.split,
        bundle=read_bundle(arguments.bundle),
        fit_on=arguments.fit,
        compare=arguments.compare,
        localisation=arguments.localisation,
        label_scheme=arguments.scheme,
        match_names=arguments.match_names,
        gate_table=arguments.gate_table,
        options=options,
        force=arguments.force,
    )
    runs = track_evaluation(arguments.experiment, arguments.out, evaluation, paths) if arguments.experiment else ""
    print(evaluation.text())
    if evaluation.comparison is not None:
        print(f"\n{' against '.join(evaluation.comparison_names or ())} (difference: second minus first)")
        columns = ["finding", "difference", "patient_low", "patient_high", "patient_p_holm", "verdict"]
        print(as_text(evaluation.comparison[columns]))
    for note in evaluation.notes:
        print(f"note: {note}")
    print(f"\nthe report: {arguments.out / 'report.html'}")
    if runs:
        print(f"the runs: {runs}")
    return 0


def parse_prevalence(text: str | None) -> dict[str, float] | float | None:
    """Return one prevalence for all findings, or one a finding.

    Raises:
        UsageError: if it is neither.
    """
    from cxr_monai.errors import Code, UsageError
    from cxr_monai.labels import spelling

    if text is None:
        return None
    try:
        if "=" not in text:
            value = float(text)
            if not 0 < value < 1:
                raise ValueError
            return value
        return {spelling(name): float(value) for name, value in (part.split("=") for part in text.split(","))}
    except ValueError:
        raise UsageError(
            Code.USAGE, f"--prevalence {text!r}: a number between 0 and 1, or FINDING=NUMBER with commas between."
        ) from None
