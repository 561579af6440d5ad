"""The command ``cxr-monai-node``: parse, call, print. What a command needs is imported when it runs."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import datetime
from typing import TYPE_CHECKING

from cxr_monai import __version__
from cxr_monai.errors import Code, CxrError, UsageError

if TYPE_CHECKING:
    from .settings import NodeSettings
    from .spool import Spool

DESCRIPTION = """\
A DICOM node: chest radiographs are received, answered by a bundle, and the answers are sent to the archive as a
structured report and a picture. Nothing that was acknowledged is lost: a power cut, a full disk, an archive that is
away for a week. Not a medical device.

Without a command the node runs until it is told to end (Ctrl-C, SIGTERM)."""

EPILOG = """\
examples:
  cxr-monai-node --config node.toml check          are bundle, disk, port and archive as they must be?
  cxr-monai-node --config node.toml                run it
  cxr-monai-node --config node.toml status         what was received, what waits, for whom, how long, and why
  cxr-monai-node --config node.toml status --json  the same for monitoring
  cxr-monai-node --config node.toml retry          failed films, and deliveries that wait, at once
  cxr-monai-node --config node.toml retry 3f9a1c   one film: answered anew if refused, its results sent again
  cxr-monai-node --config node.toml forget 3f9a1c  a film, its results and its record, for good
  cxr-monai-node --config node.toml records --out records    what was answered, for 'cxr-monai evaluate' and 'drift'

A key such as 3f9a1c is the beginning of the digest that logs name a film by.

The smallest node.toml:
  [analyse]
  bundle = "/srv/bundles/chest"
  [[destination]]
  name = "archive"
  host = "10.0.0.5"
  port = 104
  ae_title = "ARCHIVE"

exit status: 0 done, 1 failed (status, check: something needs attention), 2 wrong use"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="cxr-monai-node", description=DESCRIPTION, epilog=EPILOG, formatter_class=formatter
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
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands.add_parser("check", help="look at bundle, disk, port and destinations before films arrive")
    status = commands.add_parser(
        "status", help="what was received, answered, sent; what waits, and what needs attention"
    )
    status.add_argument("--json", action="store_true", help="for monitoring: counts, and ages in seconds")
    retry = commands.add_parser("retry", help="try again at once what failed or waits")
    retry.add_argument("key", metavar="KEY", nargs="?", help="one film: answered anew, its results sent again")
    forget = commands.add_parser("forget", help="remove a film, its results and its record")
    forget.add_argument("key", metavar="KEY", help="the beginning of its digest")
    records = commands.add_parser(
        "records",
        help="write what was answered as predictions files, a folder a bundle",
        description="Write the answers as 'cxr-monai predict' writes them, a folder a bundle: 'cxr-monai drift' and\n"
        "'cxr-monai evaluate' read them. An image is called after its digest, as in SPOOL/films.",
        formatter_class=formatter,
    )
    records.add_argument("--out", metavar="DIR", required=True, help="where they go")
    records.add_argument("--role", choices=("main", "shadow"), default="main", help="whose (default: %(default)s)")
    records.add_argument("--since", metavar="DAY", help="films received from this day on, such as 2026-11-23")
    records.add_argument("--until", metavar="DAY", help="films received before this day")
    records.add_argument("--force", action="store_true", help="write over earlier ones")
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
    if arguments.command:
        return _COMMANDS[arguments.command](arguments, settings)
    if arguments.only:
        return run_part(arguments.only, settings, arguments.supervised)
    from .supervisor import run_node

    return run_node(arguments.config, settings)


def _check(arguments: argparse.Namespace, settings: "NodeSettings") -> int:
    from .node_check import check_node

    is_well = True
    for checked in check_node(settings):
        is_well = is_well and not checked.code
        text = f"error [{checked.code}]: {checked.text}" if checked.code else checked.text
        print(f"{checked.what:<14} {text}", flush=True)
    return 0 if is_well else 1


def _status(arguments: argparse.Namespace, settings: "NodeSettings") -> int:
    from .node_status import node_status, status_lines

    with closing(_spool(settings)) as spool:
        status = node_status(spool, settings)
    print(json.dumps(status.to_json(), indent=2) if arguments.json else "\n".join(status_lines(status)))
    return 1 if status.attention else 0


def _retry(arguments: argparse.Namespace, settings: "NodeSettings") -> int:
    from cxr_monai.plurals import be, counted

    from .spool_care import film_of_key, retry

    with closing(_spool(settings)) as spool:
        retried = retry(spool, film_of_key(spool, arguments.key) if arguments.key else "")
    print(f"{counted(retried.films, 'film')} {be(retried.films)} answered anew")
    print(f"{counted(retried.deliveries, 'result')} {be(retried.deliveries)} tried at once")
    return 0


def _forget(arguments: argparse.Namespace, settings: "NodeSettings") -> int:
    from .spool_care import film_of_key, forget

    with closing(_spool(settings)) as spool:
        digest = film_of_key(spool, arguments.key)
        forget(spool, digest)
    print(f"{digest[:12]}: film, results and record are gone here; what a destination has, it keeps")
    return 0


def _records(arguments: argparse.Namespace, settings: "NodeSettings") -> int:
    from cxr_monai.plurals import counted

    from .records import write_records

    since, until = (_moment(text) for text in (arguments.since, arguments.until))
    with closing(_spool(settings)) as spool:
        written = write_records(
            spool,
            arguments.out,
            arguments.role,
            since or 0.0,
            float("inf") if until is None else until,
            arguments.force,
        )
    for records in written:
        print(f"{counted(records.answered, 'film')} answered, {records.others:,} not: {records.predictions}")
    if not written:
        print("nothing was answered then", file=sys.stderr)
    return 0 if written else 1


def _moment(day: str | None) -> float | None:
    if day is None:
        return None
    try:
        return datetime.fromisoformat(day).timestamp()
    except ValueError as error:
        raise UsageError(Code.USAGE, f"{day!r} is no day; such as 2026-11-23, or 2026-11-23T08:00.") from error


def _spool(settings: "NodeSettings") -> "Spool":
    from .spool import Spool

    if not (settings.spool / "node.db").is_file():
        raise UsageError(
            Code.USAGE,
            "there is no spool: the node has not run yet.",
            fix="Is it the right --config?",
            where=settings.spool,
        )
    return Spool(settings.spool)


_COMMANDS: dict[str, Callable[[argparse.Namespace, "NodeSettings"], int]] = {
    "check": _check, "status": _status, "retry": _retry, "forget": _forget, "records": _records,
}  # fmt: skip
