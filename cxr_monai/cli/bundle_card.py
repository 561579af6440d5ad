"""``cxr-monai bundle card``."""

import argparse

from cxr_monai.cli.shared_arguments import add_force, add_read_bundle, folder_of

DESCRIPTION = """\
A model card: what a bundle is, what it was judged on, what it is worth in figures with intervals, its limits, where it
comes from, and what nobody has said of it. It follows Model Cards (arXiv 1810.03993) and answers what applies of CLAIM
(doi 10.1148/ryai.240300); docs/model-cards.md says item by item where.

Figures are those of an evaluation of this bundle, descriptions those of its metadata. What neither tells is said to be
unknown, until its authors answer under the keys of configs/metadata.json that docs/model-cards.md lists.

A bundle that was judged never changes: the card goes into a copy of it, or into a file of its own."""

EPILOG = """\
examples:
  cxr-monai predict OUT/bundle manifest.csv --out p.csv
  cxr-monai evaluate --predictions p.csv --manifest manifest.csv --split test --bundle OUT/bundle --out evaluation
  cxr-monai bundle card OUT/bundle --evaluation evaluation --out with_card        (a copy with docs/card.md)
  cxr-monai bundle card OUT/bundle --evaluation evaluation --out card.md          (the card alone)

exit status: 0 written, 1 refused, 2 wrong use"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``cxr-monai bundle card``."""
    add_read_bundle(parser)
    parser.add_argument(
        "--evaluation", required=True, metavar="DIR", help="what 'cxr-monai evaluate' wrote for its predictions"
    )
    parser.add_argument(
        "--localisation", metavar="DIR", help="what 'cxr-monai maps localise' wrote for its maps: a part of the card"
    )
    parser.add_argument(
        "--out", required=True, metavar="OUT", help="a new folder for a copy with the card, or a file that ends in .md"
    )
    add_force(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run ``cxr-monai bundle card`` and return its exit status."""
    from cxr_monai.report.pages.model_card import write_card

    bundle = folder_of(arguments.bundle)
    path = write_card(bundle, arguments.evaluation, arguments.out, arguments.localisation, arguments.force)
    print(f"{path}: the model card; what its authors should still say stands at its end")
    return 0
