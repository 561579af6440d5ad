"""``cxr-monai phantom``: synthetic radiographs in NIH's layout."""

import argparse
from collections import Counter
from datetime import date
from typing import TYPE_CHECKING

from cxr_monai.errors import Code, UsageError
from cxr_monai.plurals import counted

if TYPE_CHECKING:
    from cxr_monai.data.phantom import Hospital

DESCRIPTION = (
    "Make synthetic chest radiographs with known lesions, in NIH ChestX-ray14's own layout. No patient is shown."
)
EPILOG = """\
example:
  cxr-monai phantom phantoms --count 4000 --size 256 --seed 0
  cxr-monai manifest nih phantoms --out phantoms.csv

two hospitals that differ in how common findings are and in how films look (two seeds share no patient):
  cxr-monai phantom A --seed 1
  cxr-monai phantom B --seed 2 --prevalence Mass=0.3,Edema=0.01 --look 1.4,0.8,0.02
a hospital's stream of four weeks, with laterals and children, as DICOM files that say when they were taken:
  cxr-monai phantom D --seed 4 --laterals 0.1 --children 0.1 --dicom --from 2026-03-02 --days 28
a hospital whose network may learn a letter in a corner instead of the mass:
  cxr-monai phantom C --seed 3 --marker Mass=0.9 --lungs

The same options give the same bytes, whatever the number of workers; phantom.json holds them.
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
    parser.add_argument("--lungs", action="store_true", help="write the lungs' mask of each image to OUT/masks/lungs")
    parser.add_argument(
        "--prevalence",
        action="append",
        default=[],
        metavar="FINDING=X",
        help="share of images with a finding, 0 to 1; repeat it, or A=x,B=y (default: that of docs/phantoms.md)",
    )
    parser.add_argument(
        "--look",
        metavar="G,C,N",
        help="how films look, p being a grey from 0 to 1: gamma G (p ** G: above 1 is darker), contrast C "
        "(0.5 + C * (p - 0.5)), then noise of standard deviation N (default: 1,1,0)",
    )
    parser.add_argument(
        "--marker",
        metavar="FINDING=S",
        help="a letter in the lower left corner of the share S of films with a finding, and of 1 - S of the others",
    )
    parser.add_argument(
        "--laterals", type=float, default=0, metavar="X", help="share of images that are lateral views (default: 0)"
    )
    parser.add_argument(
        "--children",
        type=float,
        default=0,
        metavar="X",
        help="share of patients aged 0 to 12; everyone under 18 is then drawn with the proportions of the age "
        "(default: 0)",
    )
    parser.add_argument(
        "--from", dest="first_day", metavar="YYYY-MM-DD", help="DICOM files say that they were taken from this day on"
    )
    parser.add_argument("--days", type=int, metavar="N", help="with --from: within so many days (default: 28)")
    parser.add_argument("--force", action="store_true", help="replace an earlier output of this command")


def _hospital(arguments: argparse.Namespace) -> "Hospital":
    from cxr_monai.data.phantom import FilmMix, Hospital, Look

    look = [
        _number("--look", word, "three numbers, such as 1.4,0.8,0.02")
        for word in (arguments.look or "1,1,0").split(",")
    ]
    if len(look) != 3:
        raise UsageError(Code.USAGE, f"--look {arguments.look}: it is three numbers, such as 1.4,0.8,0.02.")
    shares = [share for text in arguments.prevalence for share in _shares("--prevalence", text)]
    twice = [finding for finding, count in Counter(finding for finding, _ in shares).items() if count > 1]
    if twice:
        raise UsageError(Code.USAGE, f"--prevalence of {', '.join(twice)} is given twice.")
    markers = _shares("--marker", arguments.marker) if arguments.marker else [None]
    if len(markers) > 1:
        raise UsageError(Code.USAGE, f"--marker {arguments.marker}: it goes with one finding.")
    if arguments.days is not None and arguments.first_day is None:
        raise UsageError(Code.USAGE, "--days without --from: a period needs its first day.")
    days = 28 if arguments.days is None else arguments.days
    mix = FilmMix(arguments.laterals, arguments.children, _day(arguments.first_day), days)
    return Hospital(dict(shares), Look(*look), markers[0], mix)


def _day(text: str | None) -> date | None:
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError:
        raise UsageError(Code.USAGE, f"--from {text}: it is a day, such as 2026-03-02.") from None


def _shares(option: str, text: str) -> list[tuple[str, float]]:
    words = [word.partition("=") for word in text.split(",")]
    expected = "FINDING=SHARE, such as Mass=0.3"
    return [(finding.strip(), _number(option, share, expected)) for finding, _, share in words]


def _number(option: str, word: str, expected: str) -> float:
    try:
        return float(word)
    except ValueError:
        raise UsageError(
            Code.USAGE, f"{option}: {word.strip() or 'nothing'!r} is no number; expected is {expected}."
        ) from None


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
        lungs=arguments.lungs,
        hospital=_hospital(arguments),
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
