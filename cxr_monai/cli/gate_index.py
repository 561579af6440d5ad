"""``cxr-monai gate index``: digests of a training's films."""

import argparse
import sys
from pathlib import Path

from cxr_monai.cli.shared_arguments import add_any_modality, add_force, add_trust_folder, check_at_least

DESCRIPTION = """\
Write which films a network was trained on into a local file: a digest of each film's pixels, and a hash that a copy
keeps which was compressed or resized. With it 'cxr-monai predict --training-index FILE' marks films that the network
has learned from (gate-duplicate), so that nobody measures it on them.

The file tells who was trained on. It stays in the house: only you can read it, and 'cxr-monai bundle pack' refuses a
bundle with such a file."""

EPILOG = """\
example:
  cxr-monai gate index manifest.csv --bundle OUT/bundle --out training.index.csv
  cxr-monai predict OUT/bundle folder/ --training-index training.index.csv

The digests are of pixels as this bundle's preprocessing makes them: a bundle of another image size needs its own file.

exit status: 0 written, 1 no film could be read, 2 wrong use"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``cxr-monai gate index``."""
    parser.add_argument("manifest", metavar="MANIFEST", type=Path, help="that the network was trained by")
    parser.add_argument(
        "--bundle", required=True, metavar="BUNDLE", help="an installed bundle's NAME or NAME@VERSION, or a folder"
    )
    add_trust_folder(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the file, outside of the bundle")
    parser.add_argument(
        "--split",
        nargs="+",
        choices=["train", "val", "test"],
        default=["train", "val"],
        help="these parts of the manifest (default: train val)",
    )
    parser.add_argument("--workers", type=int, help="files that are read at a time (default: decided by the machine)")
    add_any_modality(parser)
    add_force(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run ``cxr-monai gate index`` and return its exit status."""
    check_at_least(arguments, workers=0)
    from cxr_monai.cli.light_start import import_monai_without_mlflow

    import_monai_without_mlflow()
    from cxr_monai.plurals import counted
    from cxr_monai.workflows.gate_index import index_films

    films, errors = index_films(
        arguments.bundle,
        arguments.manifest,
        arguments.out,
        split=arguments.split,
        any_modality=arguments.any_modality,
        workers=arguments.workers,
        trust_folder=arguments.trust_folder,
        force=arguments.force,
    )
    for name, code, reason in errors:
        print(f"{name}: cannot be read [{code}]: {reason}", file=sys.stderr)
    if not films:
        return 1
    print(f"{counted(films, 'film')}: {arguments.out}")
    print("It tells who was trained on, and stays in the house: readable by you alone, never part of a bundle.")
    return 0
