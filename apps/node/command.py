"""The command ``cxr-monai-node``: parse, call, print. What a command needs is imported when it runs."""

import argparse
import os
import sys
from collections.abc import Sequence

from cxr_monai import __version__
from cxr_monai.errors import Code, CxrError, UsageError

DESCRIPTION = """\
A DICOM node: chest radiographs are received, answered by a bundle, and the answers are sent to the archive as a
structured report and a picture. Nothing that was acknowledged is lost: a power cut, a full disk, an archive that is
away for a week. Not a medical device.

Without a command the node runs until it is told to end (Ctrl-C, SIGTERM)."""

EPILOG = """\
examples:
  cxr-monai-node --config node.toml check       are settings, bundle, archive, disk as they must be?
  cxr-monai-node --config node.toml             run it
  cxr-monai-node --config node.toml status      what was received, what waits, for whom, how long, and why
  cxr-monai-node --config node.toml retry       films that failed, and deliveries that wait, at once
  cxr-monai-node --config node.toml forget 3f9a1c   a film, its results and its records, for good

The smallest node.toml:
  [analyse]
  bundle = "/srv/bundles/chest"
  [[destination]]
  name = "archive"
  host = "10.0.0.5"
  port = 104
  ae_title = "ARCHIVE"

Exit status: 0 done, 1 failed (status: something needs attention), 2 wrong use."""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="cxr-monai-node",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"cxr-monai-node {__version__}")
    parser.add_argument(
        "--config", metavar="FILE", default="node.toml", help="the node's settings (default: %(default)s)"
    )
    parser.add_argument(
        "--only",
        choices=("receive", "analyse", "deliver"),
        help="run one part alone: for a machine, a container or a debugger of its own",
    )
    parser.add_argument("--supervised", action="store_true", help=argparse.SUPPRESS)
    return parser


def run_command(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status: 0 done, 1 failed, 2 wrong use.

    Args:
        argv: the words behind the program's name; those of the process where None.
    """
    # OpenMP threads that spin for long while they wait make torch far slower on a busy machine (docs/performance.md)
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    arguments = build_parser().parse_args(argv)
    try:
        return _run(arguments)
    except CxrError as error:
        print(f"cxr-monai-node: error [{error.code}]: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    except OSError as error:
        print(f"cxr-monai-node: error [{Code.SYSTEM_ERROR}]: {error}", file=sys.stderr)
        return 1


def _run(arguments: argparse.Namespace) -> int:
    from .part_process import check_extra, run_part
    from .settings import read_settings

    settings = read_settings(arguments.config)
    check_extra()
    if arguments.only:
        return run_part(arguments.only, settings, arguments.supervised)
    from .supervisor import run_node

    return run_node(arguments.config, settings)
