"""``cxr-monai gate sheet``: a picture of what was refused, and why."""

import argparse
from pathlib import Path

from cxr_monai.cli.shared_arguments import add_force, check_at_least
from cxr_monai.plurals import counted

DESCRIPTION = """\
Draw the films of a prediction that were refused, could not be read or are to be reviewed, each with its code and the
sentence that says why. The gate's evidence (PREDICTIONS.gate.csv, PREDICTIONS.errors.csv) must lie beside the
predictions. The picture shows films of patients: treat it as you treat them."""

EPILOG = """\
examples:
  cxr-monai predict OUT/bundle folder/ --out predictions.csv
  cxr-monai gate sheet predictions.csv folder/ --out refused.png
  cxr-monai gate sheet predictions.csv folder/ --out refused.png --accepted 6     # and six that were accepted
  cxr-monai gate sheet explained folder/ --out refused.png                     # of 'cxr-monai explain'"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``cxr-monai gate sheet``."""
    parser.add_argument("result", metavar="PREDICTIONS", type=Path, help="a predictions file, or a folder of maps")
    parser.add_argument(
        "inputs", metavar="INPUT", nargs="+", help="what was predicted: image files, folders, or a manifest"
    )
    parser.add_argument("--out", required=True, type=Path, metavar="P.png", help="the picture")
    parser.add_argument(
        "--accepted", type=int, default=0, metavar="N", help="also show the first N accepted films (default: 0)"
    )
    parser.add_argument("--most", type=int, default=42, metavar="N", help="films at most (default: %(default)s)")
    parser.add_argument("--columns", type=int, default=7, metavar="N", help="films in a row (default: %(default)s)")
    add_force(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run ``cxr-monai gate sheet`` and return its exit status."""
    check_at_least(arguments, accepted=0, most=1, columns=1)
    from cxr_monai.workflows.gate_sheet import refused_films

    shown = refused_films(
        arguments.result,
        arguments.inputs,
        arguments.out,
        accepted=arguments.accepted,
        most=arguments.most,
        columns=arguments.columns,
        force=arguments.force,
    )
    print(f"{counted(shown, 'film')}: {arguments.out}")
    return 0
