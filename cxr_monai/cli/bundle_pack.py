"""``cxr-monai bundle pack``."""

import argparse

from cxr_monai.cli.shared_arguments import add_read_bundle, folder_of
from cxr_monai.plurals import counted

DESCRIPTION = """\
Pack a bundle into one archive, NAME-VERSION.zip, for another hospital. The bundle itself is not changed, and the same
content always gives the same bytes.

It must have: metadata with intended use, authors, data source, inputs and outputs; a licence; a card for its readers
that tells its limits; weights; and metrics with the split that they are of. All that is missing is told at once.

Nothing private goes in: paths of this machine, home folders, names of users and machines, patient identifiers, names of
images, lists of data. With --manifest the identifiers of your own data are searched for. Pictures are named for you to
look at. What an inspection refuses is refused here already."""

EPILOG = """\
examples:
  cxr-monai predict OUT/bundle test/ --out p.csv
  cxr-monai evaluate --predictions p.csv --manifest M.csv --split test --bundle OUT/bundle --out evaluation
  cxr-monai bundle pack OUT/bundle --metrics evaluation --manifest M.csv --name cxr-nih14 --version 1.0.0 --out share

exit status: 0 packed, 1 refused, 2 wrong use"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``cxr-monai bundle pack``."""
    add_read_bundle(parser)
    parser.add_argument("--out", default=".", metavar="DIR", help="where the archive goes (default: here)")
    parser.add_argument(
        "--metrics",
        metavar="DIR",
        help="what 'cxr-monai evaluate' wrote for this bundle (default: its metrics.json)",
    )
    parser.add_argument(
        "--manifest", metavar="M.csv", help="of your data: its identifiers and names of images are searched for"
    )
    parser.add_argument(
        "--name",
        help="what it is installed as: a-z, 0-9 and '-' (default: from the metadata's name, ending in -classification)",
    )
    parser.add_argument("--version", help="such as 1.2.0 (default: the metadata's); a new content needs a higher one")
    parser.add_argument("--change", metavar="TEXT", help="what is new in this version, for the changelog")
    parser.add_argument(
        "--allow", nargs="+", default=[], metavar="TEXT", help="texts that were refused as private, and are not"
    )


def run(arguments: argparse.Namespace) -> int:
    """Run ``cxr-monai bundle pack`` and return its exit status."""
    from cxr_monai.errors import Code, UsageError
    from cxr_monai.sharing.package.pack import pack_bundle

    if arguments.change and not arguments.version:
        raise UsageError(Code.USAGE, "--change: the changelog is of a new version; give it with --version.")
    packed = pack_bundle(
        folder_of(arguments.bundle),
        arguments.out,
        metrics=arguments.metrics,
        manifest=arguments.manifest,
        name=arguments.name,
        version=arguments.version,
        change=arguments.change,
        allow=arguments.allow,
    )
    files = packed.contents.files
    print(
        f"{packed.contents.name} {packed.contents.version}: {counted(len(files), 'file')}, "
        f"{counted(sum(f.size for f in files), 'byte')}"
    )
    for note in packed.notes:
        print(f"note: {note}")
    print(
        f"\nthe archive: {packed.path}\nSHA-256:     {packed.digest}\nnext:        cxr-monai bundle sign {packed.path}"
    )
    return 0
