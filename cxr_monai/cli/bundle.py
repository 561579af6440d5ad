"""``cxr-monai bundle``: making bundles, and sharing them between hospitals."""

import argparse
import importlib

DESCRIPTION = """\
Make bundles, look into them, and share them between hospitals."""

EPILOG = """\
'cxr-monai bundle ACTION --help' teaches one of them.

send:     pack a bundle, make a key once, sign the archive; tell its SHA-256 by another way than you send it
receive:  trust the sender's key once, install; then 'cxr-monai predict NAME ...'"""

ACTIONS = {
    "list": "the bundles that come with this package, and those that are installed",
    "new": "copy one that comes with this package, to train and change",
    "import": "weights of CheXNet's descendants or TorchXRayVision as a bundle",
    "card": "a model card from an evaluation: data, figures with intervals, limits, what is not known",
    "export": "the network as TorchScript or ONNX, or the bundle as MONAI's model zoo takes it",
    "inspect": "what a bundle would execute, found without executing any of it",
    "pack": "one archive for another hospital: complete, nothing private in it, the same content the same bytes",
    "keys": "make a pair of keys to sign with",
    "sign": "sign an archive, offline",
    "trust": "trust the public key of a hospital",
    "verify": "is it, to the last byte, what somebody signed whom you trust?",
    "install": "verify, inspect and install an archive, a folder or a download",
    "lineage": "where a bundle comes from, over all generations, each link checked",
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
