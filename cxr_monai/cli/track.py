"""``cxr-monai track``."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from cxr_monai.plurals import counted, out_of

if TYPE_CHECKING:
    from cxr_monai.training.journal import Journal

DESCRIPTION = """\
Send what MLflow has missed of trainings and evaluations: their journals below OUT/tracking.

A training writes its metrics, settings and files to a journal first and sends them when the server answers. What has
reached it is not sent again; what it refused is tried once more."""

EPILOG = """\
examples:
  cxr-monai track OUT
  cxr-monai track OUT EVALUATION --tracking-uri http://mlflow.example:5000

exit status: 0 if everything has been sent, 1 if the server does not answer or refuses something, 2 for wrong use"""


_SHOWN = 5
"""Refused events that are printed."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``cxr-monai track``."""
    parser.add_argument("folders", metavar="OUT", nargs="+", help="folders of trainings, evaluations or studies")
    parser.add_argument("--tracking-uri", help="the server (default: MLFLOW_TRACKING_URI, else mlflow.db here)")
    parser.add_argument("--experiment", metavar="NAME", help="for runs that are not there yet, instead of their own")


def run(arguments: argparse.Namespace) -> int:
    """Run ``cxr-monai track`` and return its exit status."""
    from cxr_monai.environment import default_tracking_uri, how_to_see_runs, without_password
    from cxr_monai.errors import Code, UsageError

    # a study's own run first: those of its trainings are nested below it
    places = ("tracking/*.jsonl", "trainings/*/*/tracking/*.jsonl")
    journals = [path for folder in arguments.folders for place in places for path in sorted(Path(folder).glob(place))]
    if not journals:
        raise UsageError(Code.USAGE, f"no journal below {', '.join(arguments.folders)}.", fix="Name a training's OUT.")
    from mlflow import MlflowClient

    from cxr_monai.training.journal import Journal
    from cxr_monai.training.refusals import is_refusal, sentence_of
    from cxr_monai.training.tracking import artifact_folder, quiet_mlflow

    quiet_mlflow()
    uri = arguments.tracking_uri or default_tracking_uri()
    server, all_taken, links = without_password(uri), True, list[str]()
    for path in journals:
        journal = Journal(path)
        try:
            client = MlflowClient(tracking_uri=uri)
            sent = journal.send_refused(client, server)
            sent += journal.send(client, server, artifact_folder(uri), arguments.experiment)
        except Exception as error:  # MLflow raises its own, requests' and SQLAlchemy's
            code = Code.TRACKING_REFUSED if is_refusal(error) else Code.TRACKING_FAILED
            print(f"cxr-monai track: error [{code}]: {server}: {sentence_of(error)}", file=sys.stderr)
            return 1
        print(f"{path}: {counted(sent, 'event')} sent" if sent else f"{path}: all had been sent")
        all_taken = _tell_refused(journal, server) and all_taken
        ids = journal.run_of(server)
        links.append(how_to_see_runs(uri, ids[0] if ids else None))
    for link in dict.fromkeys(links):
        print(f"the runs: {link}")
    return 0 if all_taken else 1


def _tell_refused(journal: "Journal", server: str) -> bool:
    """Print what a server refused of a journal; True if there is nothing."""
    from cxr_monai.errors import Code

    refused = journal.refused(server)
    if refused:
        print(
            f"cxr-monai track: error [{Code.TRACKING_REFUSED}]: MLflow refused "
            f"{out_of(len(refused), len(journal.events), 'event')}; they stand in {journal.refused_file}:",
            file=sys.stderr,
        )
        for event in refused[:_SHOWN]:
            print(f"  {event['key']}: {event['reason']}", file=sys.stderr)
        if len(refused) > _SHOWN:
            print(f"  and {len(refused) - _SHOWN} more", file=sys.stderr)
    return not refused
