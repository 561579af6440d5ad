"""``cxr-monai bundle install``."""

import argparse

from cxr_monai.cli.shared_arguments import add_trusted

DESCRIPTION = """\
Install a bundle of another hospital: an archive, an unpacked folder, or an address with its digest.

It is unpacked into a temporary folder, verified ('bundle verify') and inspected ('bundle inspect'); what they refuse is
refused, what it may write or reach is told. Nothing of it runs. Then it is there by one rename: a kill at any point
leaves the old version or the new one. Commands take it by NAME, or by NAME@VERSION."""

EPILOG = """\
examples:
  cxr-monai bundle install cxr-nih14-1.0.0.zip
  cxr-monai bundle install https://hospital-a.example/cxr-nih14-1.0.0.zip --sha256 8faf7d20bf92...
  cxr-monai predict cxr-nih14 radiographs/ --out predictions.csv

exit status: 0 installed, 1 refused, 2 wrong use"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``cxr-monai bundle install``."""
    parser.add_argument("source", metavar="SOURCE", help="an archive, a folder, or an address (https://...)")
    parser.add_argument("--sha256", metavar="DIGEST", help="of the archive, told by its sender; an address needs it")
    add_trusted(parser)
    parser.add_argument(
        "--store", metavar="DIR", help="of installed bundles (default: $CXR_MONAI_BUNDLES, or your own)"
    )
    parser.add_argument("--allow-downgrade", action="store_true", help="an older version may replace a newer one")


def run(arguments: argparse.Namespace) -> int:
    """Run ``cxr-monai bundle install`` and return its exit status."""
    from cxr_monai.cli.inspection_lines import attention_lines
    from cxr_monai.sharing.trust.install import install_bundle

    installed = install_bundle(
        arguments.source,
        sha256=arguments.sha256,
        trusted=arguments.trusted,
        store=arguments.store,
        allow_downgrade=arguments.allow_downgrade,
    )
    record = installed.record
    print(f"{record.name} {record.version}, signed by {record.signer}: {installed.root}")
    for line in attention_lines(installed.attention, str(installed.root)):
        print(line)
    print(f"use it as: cxr-monai predict {record.name} INPUT... --out predictions.csv")
    return 0
