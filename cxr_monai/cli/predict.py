"""``cxr-monai predict``."""

import argparse
import sys
from pathlib import Path

from cxr_monai.cli.light_start import import_monai_without_mlflow
from cxr_monai.cli.shared_arguments import add_any_modality, add_bundle, add_force, check_at_least, open_bundle
from cxr_monai.plurals import out_of, was

DESCRIPTION = """\
Give every image a probability for each finding of a bundle.

Images are PNG, JPEG, DICOM or NIfTI files, folders of them, or a manifest. A file that cannot be read is reported in
PREDICTIONS.errors.csv with a code and a reason; the rest is done.

Rows are written as they come, into PREDICTIONS.part: interrupted or killed, the same command goes on. An earlier result
is not overwritten without --force."""

EPILOG = """\
examples:
  cxr-monai predict OUT/bundle radiograph.png --out predictions.csv
  cxr-monai predict OUT/bundle folder/ more.dcm --out predictions.csv
  cxr-monai predict OUT/bundle manifest.csv --out predictions.csv

exit status: 0 if anything was predicted, 1 if nothing was (or with --strict if a file was left out), 2 for wrong use"""


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
    parser.add_argument("--strict", action="store_true", help="exit with 1 if any file was left out")


def run(arguments: argparse.Namespace) -> int:
    """Run ``cxr-monai predict`` and return its exit status."""
    from cxr_monai.errors import Code, UsageError

    check_at_least(arguments, batch_size=1, workers=0)
    if Path(arguments.out).is_dir():
        raise UsageError(Code.USAGE, f"--out {arguments.out}: it is a folder; name a file, such as predictions.csv.")
    import_monai_without_mlflow()
    from cxr_monai.data.inputs import gather_files
    from cxr_monai.evaluation.streaming import PredictionRows, part_of
    from cxr_monai.inference.model import Model
    from cxr_monai.outputs import check_output
    from cxr_monai.workflows.predict import predict_into

    # whether an earlier file can be continued is checked later
    check_output(arguments.out, arguments.force or part_of(arguments.out).exists())
    files, names = gather_files(arguments.inputs)
    model = Model.open(
        open_bundle(arguments),
        weights=arguments.weights,
        amp=not arguments.float32,
        runtime=arguments.runtime,
        raw=arguments.raw,
        any_modality=arguments.any_modality,
    )

    def report_earlier_rows(rows: PredictionRows) -> None:
        if rows.done:
            text = f"{out_of(rows.done, len(files), 'image')} {was(len(files))} done before: {rows.part}"
            print(text, file=sys.stderr)

    rows = predict_into(
        arguments.out,
        model,
        files,
        names,
        arguments.batch_size,
        arguments.workers,
        arguments.force,
        on_start=report_earlier_rows,
    )
    kind = "calibrated" if model.about["calibrated"] else "not calibrated"
    print(f"{out_of(rows.predicted, len(files), 'image')} predicted, {kind}: {Path(arguments.out)}")
    for note in rows.notes.lines(rows.predicted):
        print(f"note: {note}")
    if rows.errors:
        print(f"{len(rows.errors):,} left out: {arguments.out}.errors.csv", file=sys.stderr)
        for name, code, reason in rows.errors[:5]:
            print(f"  {name} [{code}]: {reason}", file=sys.stderr)
        if len(rows.errors) > 5:
            print(f"  and {len(rows.errors) - 5} more", file=sys.stderr)
    return 1 if not rows.predicted or (arguments.strict and rows.errors) else 0
