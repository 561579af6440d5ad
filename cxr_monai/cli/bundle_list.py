"""``cxr-monai bundle list``."""

import argparse

DESCRIPTION = """\
Names and folders of the bundles that come with this package."""

EPILOG = """\
example:
  cxr-monai bundle list"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the action's words: none."""


def run(arguments: argparse.Namespace) -> int:
    """Run the action and return its exit status."""
    from cxr_monai.bundle.shipped import shipped_bundles

    for name, folder in shipped_bundles().items():
        print(f"{name}  {folder}")
    return 0
