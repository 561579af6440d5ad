"""``cxr-monai bundle``: making bundles, and sharing them between hospitals."""

import argparse

from cxr_monai.cli.actions import add_actions, run_action

DESCRIPTION = """\
Make bundles, look into them, and share them between hospitals."""

EPILOG = """\
'cxr-monai bundle ACTION --help' teaches one of them.

send:     pack a bundle, make a key once, sign the archive; tell its SHA-256 by another way than you send it
receive:  trust the sender's key once, install; then 'cxr-monai predict NAME ...'"""

_ACTIONS = {
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
    """Add the arguments of ``cxr-monai bundle``."""
    add_actions(parser, "bundle", _ACTIONS)


def run(arguments: argparse.Namespace) -> int:
    """Run ``cxr-monai bundle`` and return its exit status."""
    return run_action("bundle", arguments)
