"""``cxr-monai maps``: what can be done with the maps that ``cxr-monai explain`` wrote."""

import argparse
import importlib

DESCRIPTION = """\
Look at maps that 'cxr-monai explain' made, score them, test them, compare them."""

EPILOG = """\
'cxr-monai maps ACTION --help' teaches one of them."""

ACTIONS = {
    "show": "pictures: overlays, several models side by side, a sheet of examples, NIfTI",
    "localise": "do they point at what radiologists drew boxes around?",
    "faithful": "do they show what the network uses? deletion, insertion, randomised weights",
    "agree": "do two models look at the same places?",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's words."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, summary in ACTIONS.items():
        module = importlib.import_module(f"cxr_monai.cli.maps_{name}")
        sub = actions.add_parser(
            name,
            help=summary,
            description=module.DESCRIPTION,
            epilog=module.EPILOG,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(sub)


def run(arguments: argparse.Namespace) -> int:
    """Run the chosen action and return its exit status."""
    return int(importlib.import_module(f"cxr_monai.cli.maps_{arguments.action}").run(arguments) or 0)
