"""``cxr-monai gate``: is this a film for this network? Fit a gate, look at its evidence, index a training's films."""

import argparse

from cxr_monai.cli.actions import add_actions, run_action

DESCRIPTION = """\
The gate looks at a film before a network's answer is given: accept, review, or refuse with a reason. A training fits
one into its bundle, and 'cxr-monai predict' asks it. Here are its tools."""

EPILOG = """\
'cxr-monai gate ACTION --help' teaches one of them; docs/gate.md tells what the answers mean."""

_ACTIONS = {
    "check": "all evidence of some films, in the terminal and as pictures",
    "fit": "a copy of a bundle with a gate, for one that has none, or for your own films",
    "index": "digests of a training's films, so that predictions can tell them; stays in the house",
    "sheet": "a picture of what a prediction refused, and why",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``cxr-monai gate``."""
    add_actions(parser, "gate", _ACTIONS)


def run(arguments: argparse.Namespace) -> int:
    """Run ``cxr-monai gate`` and return its exit status."""
    return run_action("gate", arguments)
