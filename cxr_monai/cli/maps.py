"""``cxr-monai maps``: what can be done with the maps that ``cxr-monai explain`` wrote."""

import argparse

from cxr_monai.cli.actions import add_actions, run_action

DESCRIPTION = """\
Look at maps that 'cxr-monai explain' made, score them, test them, compare them."""

EPILOG = """\
'cxr-monai maps ACTION --help' teaches one of them."""

_ACTIONS = {
    "show": "pictures: overlays, several models side by side, a sheet of examples, NIfTI",
    "localise": "do they point at what radiologists drew boxes around?",
    "faithful": "do they show what the network uses? deletion, insertion, randomised weights",
    "agree": "do two models look at the same places?",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``cxr-monai maps``."""
    add_actions(parser, "maps", _ACTIONS)


def run(arguments: argparse.Namespace) -> int:
    """Run ``cxr-monai maps`` and return its exit status."""
    return run_action("maps", arguments)
