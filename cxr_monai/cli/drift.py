"""``cxr-monai drift``: does today's stream of films still look like the reference?"""

import argparse
from pathlib import Path

from cxr_monai.cli.shared_arguments import (
    add_force,
    add_match_names,
    add_read_bundle,
    check_at_least,
    check_result_folder,
    folder_of,
)

DESCRIPTION = """\
Watch a stream of films: header shares, the gate's scores and answers, picture statistics, probabilities and positives,
window by window against a reference. A large change raises an alarm in its window, a small one that lasts after some;
the alarm says since when, what moved, and whether the patients changed (prevalence) or the machine.

A film's time is that of the acquisition in its DICOM header, else that of --time-column. The evidence is in
PREDICTIONS.gate.csv, which 'cxr-monai predict' writes beside its predictions; without it only probabilities are
watched."""

EPILOG = """\
examples:
  cxr-monai drift OUT/bundle week1.csv week2.csv week3.csv --reference validation.csv --out drift
  cxr-monai drift OUT/bundle predictions/ --reference first:4 --window 7d --out drift
  cxr-monai drift OUT/bundle predictions.csv --reference validation.csv --time-column taken --manifest m.csv --out drift
  cxr-monai drift OUT/bundle predictions/ --reference first:4 --since 2026-11-23 --out drift --force

validation.csv: 'cxr-monai predict' of some hundreds of films that the network and its gate were not fitted on and that
you looked through; fewer than 300 raise more false alarms. Written to --out: report.html, windows.csv, streams.csv,
charts.csv, drift.json. docs/drift.md has the method and its false alarms.

exit status: 0 no alarm, 3 an alarm (from --since on, if given), 1 failed, 2 wrong use"""

ALARM = 3
"""The exit status for an alarm."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``cxr-monai drift``."""
    add_read_bundle(parser)
    parser.add_argument(
        "predictions", metavar="PREDICTIONS", nargs="+", help="files of 'cxr-monai predict', or folders of them"
    )
    parser.add_argument(
        "--reference",
        required=True,
        nargs="+",
        metavar="P.csv",
        help="predictions of the films to compare with, at least 100; or first:4, the first four windows",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where page and tables go")
    parser.add_argument(
        "--window", default="7d", metavar="7d", help="days, or a number of films such as 50 (default: %(default)s)"
    )
    parser.add_argument("--time-column", metavar="NAME", help="of films whose header has no time of acquisition")
    parser.add_argument(
        "--manifest", type=Path, metavar="M.csv", help="a table with 'image' and the time column (default: PREDICTIONS)"
    )
    add_match_names(parser)
    parser.add_argument(
        "--since", metavar="DATE", help="alarms of windows that end before it are shown, and do not count"
    )
    parser.add_argument(
        "--false-alarm-every",
        type=float,
        default=104,
        metavar="WINDOWS",
        help="windows between two false alarms, on average, by design (default: %(default)s; at daily windows 730)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the simulated limit (default: %(default)s)")
    parser.add_argument("--experiment", metavar="NAME", help="also log an MLflow run into this experiment")
    add_force(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run ``cxr-monai drift`` and return its exit status."""
    from cxr_monai.errors import Code, UsageError

    check_at_least(arguments, seed=0, false_alarm_every=2)
    check_result_folder(arguments.out)
    if arguments.manifest is not None and arguments.time_column is None:
        raise UsageError(Code.USAGE, "--manifest: say which of its columns has the time: --time-column NAME.")
    if arguments.experiment is None:
        from cxr_monai.cli.light_start import import_monai_without_mlflow

        import_monai_without_mlflow()
    from cxr_monai.workflows.drift import DriftOptions, drift_files, track_drift

    reference = arguments.reference
    report, paths = drift_files(
        folder_of(arguments.bundle),
        arguments.predictions,
        arguments.out,
        DriftOptions(
            reference=reference[0] if len(reference) == 1 else reference,
            window=arguments.window,
            time_column=arguments.time_column,
            manifest=arguments.manifest,
            match_names=arguments.match_names,
            since=arguments.since,
            every=arguments.false_alarm_every,
            seed=arguments.seed,
        ),
        arguments.force,
    )
    runs = track_drift(arguments.experiment, arguments.out, report, paths) if arguments.experiment else ""
    print(report.headline())
    for sentence in report.what_to_look_at():
        print(f"  {sentence}")
    for note in report.drift.notes:
        print(f"note: {note}")
    print(f"\nthe report: {arguments.out / 'report.html'}")
    if runs:
        print(f"the runs: {runs}")
    return ALARM if report.is_alarm else 0
