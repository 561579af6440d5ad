"""``cxr-monai labels compare``: how two sources label the same images, and what a model is worth by each."""

import argparse
from pathlib import Path

from cxr_monai.cli.shared_arguments import (
    add_force,
    add_intervals,
    add_match_names,
    check_at_least,
    check_result_folder,
)

DESCRIPTION = """\
Compare the labels of two manifests of the same images. The second is the reference: sensitivity is the share of the
images that M2 calls present in which M1 does, too; beside it predictive value, specificity and Cohen's kappa, with
intervals over patients. With --predictions: one model's AUROC by each source's labels, and the difference.

A composite label ("Mass or Nodule", RSNA's "Pneumonia-like Opacity") is compared with the union of its members in the
other manifest, and with each single member."""

EPILOG = """\
examples:
  cxr-monai labels compare nih.csv nih_rsna.csv --predictions predictions.csv --out labels
  cxr-monai labels compare nih.csv nih_google_14.csv --findings Effusion,Mass
  cxr-monai labels compare nih_2017.csv nih_2020.csv --match-names

nih_rsna.csv is what 'cxr-monai manifest nih ROOT --reference rsna' writes. Written to --out: label_agreement.csv,
label_auroc.csv (with --predictions), labels.json and the page report.html; without --out the tables are only printed.
Where single readers' labels stand beside a manifest (M.readers.csv): readers.csv and reader_agreement.csv, too.
docs/label-sources.md says why this comes before any judgement of a model."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``cxr-monai labels compare``."""
    parser.add_argument("first", metavar="M1", type=Path, help="a manifest: the labels that are judged")
    parser.add_argument("second", metavar="M2", type=Path, help="another, of the same images: the reference")
    parser.add_argument("--predictions", type=Path, metavar="P.csv", help="a system's probabilities of these images")
    parser.add_argument("--findings", metavar="A,B", help="these alone (default: all that can be compared)")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="where tables and page go (default: nothing is written)"
    )
    add_match_names(parser)
    add_intervals(parser)
    add_force(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run ``cxr-monai labels compare`` and return its exit status."""
    check_at_least(arguments, replicates=1, seed=0)
    if arguments.out is not None:
        check_result_folder(arguments.out)
    from cxr_monai.evaluation.bootstrap import Intervals
    from cxr_monai.evaluation.metrics_table import as_text
    from cxr_monai.labels import parse_labels
    from cxr_monai.workflows.compare_labels import compare_label_files

    comparison, _ = compare_label_files(
        arguments.first,
        arguments.second,
        arguments.out,
        predictions=arguments.predictions,
        findings=parse_labels(arguments.findings) if arguments.findings else (),
        match_names=arguments.match_names,
        intervals=Intervals(arguments.replicates, arguments.level, arguments.seed),
        force=arguments.force,
    )
    first, second = comparison.names
    print(f"{first} judged by {second}")
    shown = ["first_label", "second_label", "images", "both", "first_only", "second_only", "neither"]
    print(as_text(comparison.agreement[[*shown, "sensitivity", "ppv", "specificity", "kappa"]]))
    if comparison.auroc is not None:
        print(f"\none model's AUROC by {first} and by {second} (difference: second minus first)")
        shown = ["score", "first_label", "second_label", "images", "first_auroc", "second_auroc", "difference"]
        print(as_text(comparison.auroc[[*shown, "patient_low", "patient_high"]]))
    for note in comparison.notes:
        print(f"note: {note}")
    if arguments.out is not None:
        print(f"\nthe page: {arguments.out / 'report.html'}")
    return 0
