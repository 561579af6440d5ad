"""``cxr-monai bundle``: the bundles that come with this package, and what one does with a bundle of one's own."""

import argparse
import importlib

DESCRIPTION = """\
Make bundles, look into them, share them."""

EPILOG = """\
'cxr-monai bundle ACTION --help' teaches one of them."""

ACTIONS = {
    "list": "the bundles that come with this package",
    "new": "a copy of one of them to train, change and share",
    "import": "weights of CheXNet's descendants or TorchXRayVision as a bundle",
    "inspect": "what a bundle would execute, found without executing any of it",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's words."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, summary in ACTIONS.items():
        module = importlib.import_module(f"cxr_monai.cli.bundle_{name}")
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
    return int(importlib.import_module(f"cxr_monai.cli.bundle_{arguments.action}").run(arguments) or 0)
