"""``cxr-monai track``."""

import argparse
import sys
from pathlib import Path

DESCRIPTION = """\
Send what MLflow has missed of trainings and evaluations: their journals below OUT/tracking.

A training writes its metrics, settings and files to a journal first and sends them when the server answers. What has
reached it is not sent again."""

EPILOG = """\
examples:
  cxr-monai track OUT
  cxr-monai track OUT EVALUATION --tracking-uri http://mlflow.example:5000

exit status: 0 if everything has been sent, 1 if the server does not answer, 2 for wrong use"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's words."""
    parser.add_argument("folders", metavar="OUT", nargs="+", help="folders of trainings, evaluations or studies")
    parser.add_argument("--tracking-uri", help="the server (default: MLFLOW_TRACKING_URI, else mlflow.db here)")


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    from cxr_monai.environment import default_tracking_uri, without_password
    from cxr_monai.errors import Code, UsageError

    # a study's own run first: those of its trainings are nested below it
    places = ("tracking/*.jsonl", "trainings/*/*/tracking/*.jsonl")
    journals = [path for folder in arguments.folders for place in places for path in sorted(Path(folder).glob(place))]
    if not journals:
        raise UsageError(Code.USAGE, f"no journal below {', '.join(arguments.folders)}.", fix="Name a training's OUT.")
    from mlflow import MlflowClient

    from cxr_monai.training.journal import Journal
    from cxr_monai.training.tracking import artifact_folder, quiet_mlflow

    quiet_mlflow()
    uri = arguments.tracking_uri or default_tracking_uri()
    where = without_password(uri)
    for path in journals:
        try:
            sent = Journal(path).send(MlflowClient(tracking_uri=uri), where, artifact_folder(uri))
        except Exception as error:  # MLflow raises its own, requests' and SQLAlchemy's
            reason = without_password((str(error).splitlines() or [type(error).__name__])[0])
            print(f"cxr-monai track: error [{Code.TRACKING_FAILED}]: {where}: {reason}", file=sys.stderr)
            return 1
        print(f"{path}: {sent} events sent" if sent else f"{path}: all had been sent")
    return 0
