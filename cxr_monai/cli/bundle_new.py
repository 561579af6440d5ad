"""``cxr-monai bundle new``."""

import argparse

from cxr_monai.cli.shared_arguments import add_force

DESCRIPTION = """\
Copy a bundle that comes with this package, to train, change and share; the packaged one stays as it is."""

EPILOG = """\
example:
  cxr-monai bundle new cxr_nih14 my_bundle
  cxr-monai run my_bundle train --manifest M.csv --output_dir OUT"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``cxr-monai bundle new``."""
    parser.add_argument("name", metavar="NAME", help="one of 'cxr-monai bundle list'")
    parser.add_argument("out", metavar="OUT", help="a folder that does not exist yet")
    add_force(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run ``cxr-monai bundle new`` and return its exit status."""
    from cxr_monai.bundle.shipped import shipped
    from cxr_monai.bundle.writing import check_new_bundle, new_bundle

    source = shipped(arguments.name)
    check_new_bundle(arguments.out, [source], arguments.force)
    with new_bundle(arguments.out, source, arguments.force):
        pass
    print(f"{arguments.out}: a copy of {arguments.name}; its docs/README.md explains every setting")
    return 0
