"""``cxr-monai doctor``: what this machine has, and what to do about what it lacks."""

import argparse
import json
import os
import shutil
import textwrap
from dataclasses import asdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cxr_monai.doctor import CheckResult

DESCRIPTION = """Look at this machine: packages, threads, bfloat16, GPUs, memory, disk, DICOM decoders, MLflow. Nothing
is changed or sent anywhere (an MLflow server is asked for an answer if MLFLOW_TRACKING_URI names one)."""

EPILOG = """status:  ok       as it should be
         warn     works, slower or with less than it could
         missing  required and not there: the exit status is 1
         unknown  this machine doesn't let it be looked at

examples:
  cxr-monai doctor
  cxr-monai doctor --json > machine.json    (to send along with a question)"""

_NAME = 26


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``cxr-monai doctor``."""
    parser.add_argument("--json", action="store_true", help="print a list of name, status, found, advice")


def run(arguments: argparse.Namespace) -> int:
    """Run ``cxr-monai doctor`` and return its exit status."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # MONAI imports MLflow, which reports its use
    from cxr_monai.doctor import CheckStatus, checks_summary, run_checks

    results = []
    for result in run_checks():
        results.append(result)
        if not arguments.json:
            print(_row(result), flush=True)
    if arguments.json:
        print(json.dumps([asdict(result) for result in results], indent=2))
    else:
        print(_advice(results) + f"\n{checks_summary(results)}")
    return 1 if any(result.status == CheckStatus.MISSING for result in results) else 0


def _row(result: "CheckResult") -> str:
    """Return one row of the table, its text wrapped at the terminal's width."""
    start = f"{result.status:<9}{result.name:<{_NAME}}"
    width = max(shutil.get_terminal_size((120, 24)).columns, 60)
    return textwrap.fill(
        f"{start}{result.found}",
        width,
        subsequent_indent=" " * len(start),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _advice(results: list["CheckResult"]) -> str:
    """Return the advice as text, each piece once after the names of the checks that give it."""
    names: dict[str, list[str]] = {}
    for result in results:
        if result.advice:
            names.setdefault(result.advice, []).append(result.name)
    lines = [f"  {', '.join(checks)}: {advice}" for advice, checks in names.items()]
    return "\n".join(["\nWhat to do", *lines, ""]) if lines else ""
