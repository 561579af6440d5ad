"""``cxr-monai bundle list``."""

import argparse

DESCRIPTION = """\
Name the bundles that come with this package, with their folders, and those that are installed, with their signers."""

EPILOG = """\
example:
  cxr-monai bundle list"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``cxr-monai bundle list``."""
    parser.add_argument(
        "--store", metavar="DIR", help="of installed bundles (default: $CXR_MONAI_BUNDLES, or your own)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Run ``cxr-monai bundle list`` and return its exit status."""
    from cxr_monai.bundle.shipped import shipped_bundles
    from cxr_monai.sharing.trust.installed import installed_bundles, store_folder

    for name, folder in shipped_bundles().items():
        print(f"{name}  {folder}")
    for bundle in installed_bundles(store_folder(arguments.store)):
        record = bundle.record
        print(f"{record.name}@{record.version}  {bundle.root}  signed by {record.signer}, installed {record.installed}")
    return 0
