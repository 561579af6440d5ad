"""``cxr-monai bundle verify``."""

import argparse

from cxr_monai.cli.shared_arguments import add_trusted
from cxr_monai.plurals import counted

DESCRIPTION = """\
Is this archive or folder, to the last byte, what somebody signed whom you trust? Offline, and nothing of it is run.

The files are exactly those of its manifest, with these sizes and SHA-256: none added, hidden, missing or changed, no
links. The signature covers exactly these. And no newer version of it is installed."""

EPILOG = """\
examples:
  cxr-monai bundle verify cxr-nih14-1.0.0.zip
  cxr-monai bundle verify received/cxr-nih14 --trusted keys_of_our_partners

exit status: 0 verified, 1 refused"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``cxr-monai bundle verify``."""
    parser.add_argument(
        "bundle",
        metavar="ARCHIVE",
        help="an archive, a folder that it was unpacked into, or an installed bundle's NAME",
    )
    add_trusted(parser)
    parser.add_argument(
        "--store", metavar="DIR", help="of installed bundles (default: $CXR_MONAI_BUNDLES, or your own)"
    )
    parser.add_argument("--allow-downgrade", action="store_true", help="though a newer version is installed")


def run(arguments: argparse.Namespace) -> int:
    """Run ``cxr-monai bundle verify`` and return its exit status."""
    from cxr_monai.sharing.trust.installed import find_installed, is_installed, refuse_older, store_folder
    from cxr_monai.sharing.trust.verify import verify_bundle

    store = store_folder(arguments.store)
    path = find_installed(store, arguments.bundle).root if is_installed(store, arguments.bundle) else arguments.bundle
    verified = verify_bundle(path, arguments.trusted)
    contents, signer = verified.contents, verified.signer
    if not arguments.allow_downgrade:
        refuse_older(store, contents.name, contents.version)
    size = sum(file.size for file in contents.files)
    print(
        f"{contents.name} {contents.version}: {counted(len(contents.files), 'file')}, "
        f"{counted(size, 'byte')}, as they were signed"
    )
    print(f"signed by: {signer.name}  (key {signer.fingerprint})\ndigest:    {verified.digest}")
    return 0
