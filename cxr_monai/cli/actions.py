"""Actions of a command, each in a module ``COMMAND_ACTION``: ``cxr-monai bundle``, ``cxr-monai maps``."""

import argparse
import importlib
from collections.abc import Mapping


def add_actions(parser: argparse.ArgumentParser, command: str, actions: Mapping[str, str]) -> None:
    """Add a sub-parser for each action.

    Args:
        parser: the command's.
        command: its name, such as ``bundle``.
        actions: the one-line help of each action by its name.
    """
    subparsers = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, summary in actions.items():
        module = importlib.import_module(f"cxr_monai.cli.{command}_{name}")
        action = subparsers.add_parser(
            name,
            help=summary,
            description=module.DESCRIPTION,
            epilog=module.EPILOG,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(action)


def run_action(command: str, arguments: argparse.Namespace) -> int:
    """Run the action that was chosen on the command line.

    Args:
        command: its name, such as ``bundle``.
        arguments: with ``action``, and those of the action.

    Returns:
        the exit status.
    """
    return int(importlib.import_module(f"cxr_monai.cli.{command}_{arguments.action}").run(arguments) or 0)
