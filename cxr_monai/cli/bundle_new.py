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
    """Declare the action's words."""
    parser.add_argument("name", metavar="NAME", help="one of 'cxr-monai bundle list'")
    parser.add_argument("out", metavar="OUT", help="a folder that does not exist yet")
    add_force(parser)


def run(arguments: argparse.Namespace) -> int:
    """Copy it."""
    from pathlib import Path

    from cxr_monai.bundle.shipped import shipped
    from cxr_monai.durable import copy_tree, durable_folder
    from cxr_monai.outputs import bytes_of, check_new_folder

    source, out = shipped(arguments.name), Path(arguments.out)
    check_new_folder(out, "configs/metadata.json", arguments.force, bytes_of(source))
    with durable_folder(out, arguments.force) as made:
        copy_tree(source, made)
    print(f"{out}: a copy of {arguments.name}; its docs/README.md explains every setting")
    return 0
