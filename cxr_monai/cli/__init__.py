"""The command ``cxr-monai``: parse, call, print.

Each command is one module of this package with a ``DESCRIPTION`` (its line in ``--help``), ``add_arguments(parser)``
and ``run(arguments) -> int``. Modules import nothing heavy at the top; what a command needs is imported when it runs.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext

from cxr_monai import __version__
from cxr_monai.errors import Code, CxrError, UsageError
from cxr_monai.stopping import as_interrupted, interruptible, kept_so_far

# command: module, one line of help
COMMANDS: dict[str, tuple[str, str]] = {
    "phantom": ("phantom", "make synthetic radiographs with known lesions, in NIH's layout"),
    "manifest": ("manifest", "turn a data set into a manifest, the one table of images"),
    "split": ("split", "write a patient-disjoint split or folds into a manifest"),
    "check": ("check", "show what is wrong with a manifest and what is in it"),
    "run": ("run", "train, evaluate, infer or explain with a bundle that is inspected first"),
    "predict": ("predict", "files in, one row of probabilities an image out"),
    "gate": ("gate", "is this a film for this network: all evidence of a film, a gate for a bundle"),
    "explain": ("explain", "what a bundle's network looked at: a map for every image and finding"),
    "maps": ("maps", "look at such maps, score them against boxes, test them, compare two models"),
    "calibrate": ("calibrate", "a copy of a bundle with calibration and operating points"),
    "evaluate": ("evaluate", "what a system's probabilities are worth: tables, plots, a report"),
    "external": ("external", "trained here, tested there: is it still good, and why not"),
    "drift": ("drift", "does today's stream of films still look like the reference; since when, and what changed"),
    "labels": ("labels", "compare two sources of labels on the same images, and a model by each"),
    "finetune": ("finetune", "a child bundle for one disease, judged against its parent"),
    "study": ("study", "which setting is better on these images: trained alike, compared with intervals"),
    "track": ("track", "send MLflow what it missed while it was away"),
    "cache": ("cache", "the decoded images that trainings keep: how much, where, and away with them"),
    "bundle": ("bundle", "make bundles, import other people's weights, see what a bundle would execute"),
    "doctor": ("doctor", "what this machine has, and what to do about what it lacks"),
}

# partial results that remain after an interruption, from which the same command continues
CONTINUED = {
    "predict": "the rows that are done",
    "explain": "the maps that are done",
    "external": "the predictions that are done",
    "finetune": "the training's checkpoints",
    "study": "the trainings that have ended, and the others' checkpoints,",
}


def build_parser(command: str | None = None) -> argparse.ArgumentParser:
    """Return the parser; only ``command``'s module is imported and given its arguments."""
    parser = argparse.ArgumentParser(
        prog="cxr-monai",
        description="Chest X-ray classification on MONAI: tables of images in, predictions and pictures out. "
        "'run' runs a bundle's configurations, as 'python -m monai.bundle run' does without looking at them.",
        epilog="'cxr-monai COMMAND --help' teaches one command. Exit status: 0 done, 1 failed, 2 wrong use.",
    )
    parser.add_argument("--version", action="version", version=f"cxr-monai {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (module_name, summary) in COMMANDS.items():
        if name != command:
            commands.add_parser(name, help=summary)
            continue
        module = importlib.import_module(f"cxr_monai.cli.{module_name}")
        sub = commands.add_parser(
            name,
            help=summary,
            description=module.DESCRIPTION,
            epilog=getattr(module, "EPILOG", None),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(sub)
        sub.set_defaults(run=module.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0 done, 1 failed, 2 wrong use."""
    # OpenMP threads that spin for long while they wait make torch far slower on a busy machine (docs/performance.md)
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    words = list(sys.argv[1:] if argv is None else argv)
    command = next((word for word in words if not word.startswith("-")), None)
    arguments = build_parser(command if command in COMMANDS else None).parse_args(words)
    partial_result = CONTINUED.get(arguments.command)
    try:
        with interruptible(), kept_so_far(partial_result) if partial_result else nullcontext():
            return int(arguments.run(arguments) or 0)
    except CxrError as error:
        print(f"cxr-monai {arguments.command}: error [{error.code}]: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) or error.code == Code.OUTPUT_EXISTS else 1
    except BrokenPipeError:
        # the reader (head, less) went away: not our failure, and the interpreter must not complain on exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        # whatever writes a result names its errors itself (cxr_monai.durable)
        print(f"cxr-monai {arguments.command}: error [{Code.SYSTEM_ERROR}]: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as error:
        interrupted = as_interrupted(error)
        print(f"\ncxr-monai {arguments.command}: {interrupted}", file=sys.stderr)
        return interrupted.status
