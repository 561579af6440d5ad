"""``cxr-monai labels``: what labels are worth, before any model is judged by them."""

import argparse

from cxr_monai.cli.actions import add_actions, run_action

DESCRIPTION = """\
Compare sources of labels: labels mined from reports, radiologists' readings, two releases of one table."""

EPILOG = """\
'cxr-monai labels ACTION --help' teaches one of them."""

_ACTIONS = {"compare": "how two manifests label the same images, and one model's AUROC by each"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``cxr-monai labels``."""
    add_actions(parser, "labels", _ACTIONS)


def run(arguments: argparse.Namespace) -> int:
    """Run ``cxr-monai labels`` and return its exit status."""
    return run_action("labels", arguments)
