"""``cxr-monai phantom``: synthetic radiographs in NIH's layout."""

import argparse

from cxr_monai.plurals import counted

DESCRIPTION = (
    "Make synthetic chest radiographs with known lesions, in NIH ChestX-ray14's own layout. No patient is shown."
)
EPILOG = """\
example:
  cxr-monai phantom phantoms --count 4000 --size 256 --seed 0
  cxr-monai manifest nih phantoms --out phantoms.csv

The same count, size and seed give the same bytes, whatever the number of workers.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("out", metavar="OUT", help="folder to make; must be new or empty")
    parser.add_argument("--count", type=int, default=1000, metavar="N", help="number of images (default: %(default)s)")
    parser.add_argument("--size", type=int, default=256, metavar="S", help="pixels each way (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, metavar="K", help="default: %(default)s")
    parser.add_argument("--workers", type=int, metavar="W", help="processes (default: one a core)")
    parser.add_argument(
        "--masks", action=argparse.BooleanOptionalAction, default=True, help="write each finding's mask (default: yes)"
    )
    parser.add_argument("--dicom", action="store_true", help="write DICOM files as well")
    parser.add_argument("--force", action="store_true", help="replace an earlier output of this command")


def run(arguments: argparse.Namespace) -> int:
    from cxr_monai.data.phantom import make_phantoms

    cohort = make_phantoms(
        arguments.out,
        arguments.count,
        arguments.size,
        arguments.seed,
        workers=arguments.workers,
        masks=arguments.masks,
        dicom=arguments.dicom,
        force=arguments.force,
    )
    print(
        f"{cohort.root}: {counted(cohort.images, 'image')} of {counted(cohort.patients, 'synthetic patient')}, "
        f"{cohort.held_out:,} held out for testing"
    )
    print(f"\n{'finding':<20}{'images':>8}{'held out':>10}")
    for finding, positives in cohort.positives.items():
        print(f"{finding:<20}{positives:>8}{cohort.held_out_positives[finding]:>10}")
    return 0
