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
    from cxr_monai.workflows.dicom_folder import DicomFolder

DESCRIPTION = """\
Give every image a probability for each finding of a bundle.

Images are PNG, JPEG, DICOM or NIfTI files, folders of them, or a manifest. A file that cannot be read is reported in
PREDICTIONS.errors.csv with a code and a reason; the rest is done.

A network answers about any picture, so the bundle's gate looks at each film first: is it one for this network? A film
that is refused (a lateral, a child, turned, inverted, cut off, no radiograph) gets no probabilities and stands in
PREDICTIONS.errors.csv with its reason; one for review is predicted and marked. The evidence of every film stands in
PREDICTIONS.gate.csv. Nothing is turned or inverted silently.

With --dicom-out every answer about a DICOM film becomes DICOM objects too, one file each: a structured report for
machines and a picture for eyes; a refused film gets its reason. FOLDER/objects.csv lists them, and stands there when
all do; FOLDER/objects.csv.errors.csv says which inputs have none, such as a PNG, which no object can refer to.

Rows are written as they come, into PREDICTIONS.part: interrupted or killed, the same command goes on. An earlier result
is not overwritten without --force."""

EPILOG = """\
examples:
  cxr-monai predict OUT/bundle radiograph.png --out predictions.csv
  cxr-monai predict OUT/bundle folder/ more.dcm --out predictions.csv
  cxr-monai predict OUT/bundle manifest.csv --out predictions.csv
  cxr-monai predict OUT/bundle folder/ --gate review              # predict all; what would be refused is marked
  cxr-monai predict OUT/bundle folder/ --mend rotation,inversion  # put films upright that lie on their side

answers as DICOM objects (pip install 'cxr-monai[dicom-results]'):
  cxr-monai predict OUT/bundle dicom/ --out p.csv --dicom-out results
  cxr-monai predict OUT/bundle dicom/ --out p.csv --dicom-out results --dicom-objects sr,sc,gsps --rule sensitivity=0.9
  dcmsend -aec ARCHIVE 127.0.0.1 104 +sd +sp '*.dcm' +r results   # dcmtk's: send them to an archive

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
    dicom = parser.add_argument_group("answers as DICOM objects")
    dicom.add_argument(
        "--dicom-out",
        metavar="FOLDER",
        help="also write the answers about DICOM films as objects into this folder",
    )
    dicom.add_argument(
        "--dicom-objects",
        metavar="KINDS",
        help="sr: structured report; sc: picture with maps and words; gsps: contours on the film; seg: maps as values "
        "(default: sr,sc)",
    )
    dicom.add_argument(
        "--rule", help="of the bundle's operating points, such as youden or sensitivity=0.9 (default: its first)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Run ``cxr-monai predict`` and return its exit status."""
    from cxr_monai.errors import Code, UsageError

    check_at_least(arguments, batch_size=1, workers=0)
    if Path(arguments.out).is_dir():
        raise UsageError(Code.USAGE, f"--out {arguments.out}: it is a folder; name a file, such as predictions.csv.")
    if not arguments.dicom_out and (arguments.dicom_objects or arguments.rule):
        option = "--dicom-objects" if arguments.dicom_objects else "--rule"
        raise UsageError(Code.USAGE, f"{option} is about DICOM objects: say --dicom-out FOLDER, too.")
    import_monai_without_mlflow()
    from cxr_monai.data.inputs import gather_films
    from cxr_monai.evaluation.streaming import PredictionRows, part_of
    from cxr_monai.inference.model import Model
    from cxr_monai.objects.film_result import DEFAULT_KINDS, parse_result_kinds
    from cxr_monai.outputs import check_output
    from cxr_monai.workflows.predict import dicom_folder_of, predict_into

    # whether an earlier file can be continued is checked later
    check_output(arguments.out, arguments.force or part_of(arguments.out).exists())
    kinds = parse_result_kinds(arguments.dicom_objects or DEFAULT_KINDS)
    films = gather_films(arguments.inputs)
    if arguments.dicom_out:
        from cxr_monai.workflows.dicom_folder import check_dicom_folder

        may_continue = part_of(arguments.out).exists()
        check_dicom_folder(arguments.dicom_out, kinds, len(films), arguments.inputs, arguments.force, may_continue)
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

    objects = None
    if arguments.dicom_out:
        objects = dicom_folder_of(arguments.dicom_out, model, kinds, arguments.rule, films)
    rows = predict_into(
        arguments.out,
        model,
        films,
        arguments.batch_size,
        arguments.workers,
        arguments.force,
        on_start=report_earlier_rows,
        objects=objects,
    )
    kind = "calibrated" if model.about["calibrated"] else "not calibrated"
    print(f"{out_of(rows.predicted, len(films), 'image')} predicted, {kind}: {Path(arguments.out)}")
    for note in rows.notes.lines(rows.predicted):
        print(f"note: {note}")
    report_left_out(arguments.out, rows)
    without = report_objects(objects, len(films)) if objects else 0
    return 1 if not rows.predicted or (arguments.strict and (rows.errors or without)) else 0


def report_objects(objects: "DicomFolder", films: int) -> int:
    """Print how many DICOM objects were written, and which films have none; return how many those are."""
    without, made = objects.entries.without, len({uid for _, _, uid, _ in objects.entries.objects})
    print(f"{counted(made, 'DICOM object')} of {out_of(films - len(without), films, 'film')}: {objects.table}")
    if without:
        count = out_of(len(without), films, "film")
        print(f"{count} {be(films)} without DICOM objects: {objects.table}.errors.csv", file=sys.stderr)
        print_first([(image, code, reason) for image, code, reason in without], len(without))
    return len(without)


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
