"""``cxr-monai predict``."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cxr_monai.cli.light_start import import_monai_without_mlflow
from cxr_monai.cli.shared_arguments import add_any_modality, add_bundle, add_force, check_at_least, open_bundle
from cxr_monai.plurals import be, counted, out_of, was

if TYPE_CHECKING:
    from cxr_monai.evaluation.streaming import PredictionRows

DESCRIPTION = """\
Give every image a probability for each finding of a bundle.

Images are PNG, JPEG, DICOM or NIfTI files, folders of them, or a manifest. A file that cannot be read is reported in
PREDICTIONS.errors.csv with a code and a reason; the rest is done.

A network answers about any picture, so the bundle's gate looks at each film first: is it one for this network? A film
that is refused (a lateral, a child, turned, inverted, cut off, no radiograph) gets no probabilities and stands in
PREDICTIONS.errors.csv with its reason; one for review is predicted and marked. The evidence of every film stands in
PREDICTIONS.gate.csv. Nothing is turned or inverted silently.

Rows are written as they come, into PREDICTIONS.part: interrupted or killed, the same command goes on. An earlier result
is not overwritten without --force."""

EPILOG = """\
examples:
  cxr-monai predict OUT/bundle radiograph.png --out predictions.csv
  cxr-monai predict OUT/bundle folder/ more.dcm --out predictions.csv
  cxr-monai predict OUT/bundle manifest.csv --out predictions.csv
  cxr-monai predict OUT/bundle folder/ --gate review              # predict all; what would be refused is marked
  cxr-monai predict OUT/bundle folder/ --mend rotation,inversion  # put films upright that lie on their side

what the gate says, film by film:
  image,gate,code,...                       # predictions.csv.gate.csv
  a.png,accept,,...
  b.png,review,gate-duplicate,...           # predicted; duplicate_of says which film it repeats
  c.png,refuse,gate-lateral,...             # not predicted; predictions.csv.errors.csv has the reason

exit status: 0 if anything was predicted, 1 if nothing was, since every file was unreadable or refused (or with --strict
if any file was left out), 2 for wrong use"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``cxr-monai predict``."""
    add_bundle(parser)
    parser.add_argument(
        "inputs", metavar="INPUT", nargs="+", help="image files, folders, or a manifest (.csv, .csv.gz)"
    )
    parser.add_argument("--out", default="predictions.csv", help="where the table goes (default: %(default)s)")
    add_force(parser)
    parser.add_argument("--weights", help="weights other than the bundle's models/model.pt")
    parser.add_argument("--batch-size", type=int, default=16, help="images at a time (default: %(default)s)")
    parser.add_argument("--workers", type=int, help="files that are read at a time (default: decided by the machine)")
    parser.add_argument("--float32", action="store_true", help="compute in float32 even where bfloat16 is faster")
    parser.add_argument(
        "--runtime",
        choices=["torch", "openvino"],
        default="torch",
        help="what computes (default: %(default)s; openvino: pip install cxr-monai[openvino])",
    )
    parser.add_argument("--raw", action="store_true", help="the network's own values, without the bundle's calibration")
    add_any_modality(parser)
    parser.add_argument(
        "--gate",
        choices=["refuse", "review", "off"],
        default="refuse",
        help="films that are not for this network: leave them out, predict them all the same, or do not look "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--mend",
        metavar="WHAT",
        default="",
        help="undo what a film is refused for: rotation, inversion, or both with a comma between; a film that is then "
        "accepted is predicted, and PREDICTIONS.gate.csv says what was done (default: nothing)",
    )
    parser.add_argument(
        "--training-index",
        metavar="FILE",
        help="a local file of the films that the network was trained on ('cxr-monai gate index'): they are marked",
    )
    parser.add_argument("--strict", action="store_true", help="exit with 1 if any file was left out")


def run(arguments: argparse.Namespace) -> int:
    """Run ``cxr-monai predict`` and return its exit status."""
    from cxr_monai.errors import Code, UsageError

    check_at_least(arguments, batch_size=1, workers=0)
    if Path(arguments.out).is_dir():
        raise UsageError(Code.USAGE, f"--out {arguments.out}: it is a folder; name a file, such as predictions.csv.")
    import_monai_without_mlflow()
    from cxr_monai.data.inputs import gather_films
    from cxr_monai.evaluation.streaming import PredictionRows, part_of
    from cxr_monai.inference.model import Model
    from cxr_monai.outputs import check_output
    from cxr_monai.workflows.predict import predict_into

    # whether an earlier file can be continued is checked later
    check_output(arguments.out, arguments.force or part_of(arguments.out).exists())
    films = gather_films(arguments.inputs)
    model = Model.open(
        open_bundle(arguments),
        weights=arguments.weights,
        amp=not arguments.float32,
        runtime=arguments.runtime,
        raw=arguments.raw,
        any_modality=arguments.any_modality,
        gate=arguments.gate,
        mend=arguments.mend,
        training_index=arguments.training_index,
    )
    if model.gate.missing:
        idle = "; --mend does nothing without one" if arguments.mend else ""
        print(f"note: {model.gate.missing}{idle}", file=sys.stderr)

    def report_earlier_rows(rows: PredictionRows) -> None:
        if rows.done:
            text = f"{out_of(rows.done, len(films), 'image')} {was(len(films))} done before: {rows.part}"
            print(text, file=sys.stderr)

    rows = predict_into(
        arguments.out,
        model,
        films,
        arguments.batch_size,
        arguments.workers,
        arguments.force,
        on_start=report_earlier_rows,
    )
    kind = "calibrated" if model.about["calibrated"] else "not calibrated"
    print(f"{out_of(rows.predicted, len(films), 'image')} predicted, {kind}: {Path(arguments.out)}")
    for note in rows.notes.lines(rows.predicted):
        print(f"note: {note}")
    report_left_out(arguments.out, rows)
    return 1 if not rows.predicted or (arguments.strict and rows.errors) else 0


def report_left_out(out: str, rows: "PredictionRows") -> None:
    """Print which files have no probabilities and why, and what the gate said of the films.

    Args:
        out: the predictions file.
        rows: what was written.
    """
    films, examples = rows.counts.verdicts, rows.counts.examples
    refused = sum(code.startswith("gate-") for _, code, _ in rows.errors)
    print_left_out(out, rows.errors)
    if films["review"]:
        print(f"{out_of(films['review'], films.total(), 'film')} for review, and predicted:", file=sys.stderr)
        print_first(examples["review"], films["review"])
    if films["refuse"] and not refused:
        count = out_of(films["refuse"], films.total(), "film")
        print(f"{count} would be refused, and {be(films['refuse'])} predicted (--gate review):", file=sys.stderr)
        print_first(examples["refuse"], films["refuse"])
    for what, times in rows.counts.mended.items():
        print(f"{counted(times, 'film')} {was(times)} mended before the prediction: {what}", file=sys.stderr)
    for what, times in rows.counts.mendable.items():
        print(f"--mend {what} would undo it for {counted(times, 'film')}", file=sys.stderr)
    if films:
        print(f"the gate's evidence of every film: {out}.gate.csv", file=sys.stderr)


def print_left_out(out: str | Path, errors: Sequence[tuple[str, str, str]]) -> None:
    """Print how many files were left out, how many of them by the gate, and why the first of them were."""
    if errors:
        refused = sum(code.startswith("gate-") for _, code, _ in errors)
        by_gate = f" ({refused:,} refused by the gate)" if refused else ""
        print(f"{len(errors):,} left out{by_gate}: {out}.errors.csv", file=sys.stderr)
        print_first(errors, len(errors))


def print_first(films: Sequence[tuple[str, str, str]], total: int) -> None:
    """Print the first five films, each with its code and why, and how many more there are."""
    for name, code, reason in films[:5]:
        print(f"  {name} [{code}]: {reason}", file=sys.stderr)
    if total > 5:
        print(f"  and {total - 5} more", file=sys.stderr)
