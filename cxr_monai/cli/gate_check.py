"""``cxr-monai gate check``: all evidence of some films."""

import argparse
import sys

from cxr_monai.cli.shared_arguments import add_any_modality, add_bundle, add_force, check_at_least

DESCRIPTION = """\
Show what a bundle's gate says of films, and why: the answer, every score beside the limits beyond which a film is
reviewed or refused, what it looks most like, which numbers of its picture are unusual, what its header says. Nothing
is predicted.

Scores are multiples of the limit: above 1.00 a film is refused. In the bars ':' is the limit for review, '|' the one
for refusal."""

EPILOG = """\
examples:
  cxr-monai gate check OUT/bundle film.png
  cxr-monai gate check OUT/bundle film.dcm --out film_checked.png   # a picture for a colleague
  cxr-monai gate check OUT/bundle folder/ --out checked             # a picture of each film, and checked/gate.csv
  cxr-monai gate check OUT/bundle manifest.csv --split test --brief

docs/gate.md tells what the answers mean. A bundle without a gate: 'cxr-monai gate fit'.

exit status: 0 no film is refused, 1 nothing could be read, 2 wrong use, 3 a film is refused"""

STATUS_REFUSED = 3
"""The exit status where a film is refused."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``cxr-monai gate check``."""
    add_bundle(parser)
    parser.add_argument("inputs", metavar="FILE", nargs="+", help="image files, folders, or a manifest (.csv, .csv.gz)")
    parser.add_argument(
        "--out", metavar="PLACE", help="a picture (.png) of one film, or a folder for pictures of all and gate.csv"
    )
    parser.add_argument("--split", choices=["train", "val", "test"], help="this part of a manifest alone")
    parser.add_argument("--brief", action="store_true", help="one line a film, and no evidence")
    parser.add_argument("--batch-size", type=int, default=16, help="images at a time (default: %(default)s)")
    parser.add_argument("--workers", type=int, help="files that are read at a time (default: decided by the machine)")
    add_any_modality(parser)
    add_force(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run ``cxr-monai gate check`` and return its exit status."""
    check_at_least(arguments, batch_size=1, workers=0)
    from cxr_monai.cli.light_start import import_monai_without_mlflow

    import_monai_without_mlflow()
    from cxr_monai.gate.answer import GateVerdict
    from cxr_monai.gate.film_evidence import evidence_lines
    from cxr_monai.plurals import counted
    from cxr_monai.workflows.gate_check import check_films

    check = check_films(
        arguments.bundle,
        arguments.inputs,
        arguments.out,
        split=arguments.split,
        any_modality=arguments.any_modality,
        batch_size=arguments.batch_size,
        workers=arguments.workers,
        trust_folder=arguments.trust_folder,
        force=arguments.force,
    )
    for film in check.films:
        if arguments.brief:
            code = f" [{film.answer.code}]" if film.answer.code else ""
            print(f"{film.name}: {film.answer.verdict}{code}{f': {film.answer.sentence}' if code else ''}")
        else:
            print("\n".join(evidence_lines(film)), end="\n\n")
    counts = ", ".join(f"{check.count(verdict):,} {verdict}" for verdict in GateVerdict)
    print(f"{counted(len(check.films), 'film')}: {counts}")
    if arguments.out is not None and check.films:
        print(f"written: {arguments.out}")
    for name, code, reason in check.errors:
        print(f"{name}: cannot be read [{code}]: {reason}", file=sys.stderr)
    if not check.films:
        return 1
    return STATUS_REFUSED if check.count(GateVerdict.REFUSE) else 0
