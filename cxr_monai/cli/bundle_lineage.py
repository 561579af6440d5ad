"""``cxr-monai bundle lineage``."""

import argparse

DESCRIPTION = """\
Draw where a bundle comes from, over any number of generations and sites, and check each link.

A child names its parents by the digest of all their files, and carries what they said of themselves. Where a parent is
at hand (installed, or in a folder of --also), its digest is computed again and what it says is compared: 'verified'.
Else it is 'not at hand': what is said of it is what its child says. What contradicts itself is 'damaged'."""

EPILOG = """\
examples:
  cxr-monai bundle lineage cxr-pneumonia
  cxr-monai bundle lineage OUT/bundle --also received/ ../older_bundle

exit status: 0, or 1 if a link is damaged (with --strict also if a parent is not at hand)"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``cxr-monai bundle lineage``."""
    parser.add_argument("bundle", metavar="BUNDLE", help="NAME or NAME@VERSION of an installed bundle, or a folder")
    parser.add_argument(
        "--also", nargs="+", default=[], metavar="DIR", help="folders of bundles, or folders that hold such"
    )
    parser.add_argument(
        "--store", metavar="DIR", help="of installed bundles (default: $CXR_MONAI_BUNDLES, or your own)"
    )
    parser.add_argument("--strict", action="store_true", help="exit with 1 if a parent is not at hand")


def run(arguments: argparse.Namespace) -> int:
    """Run ``cxr-monai bundle lineage`` and return its exit status."""
    from collections import Counter
    from pathlib import Path

    from cxr_monai.sharing.trust.installed import find_installed, store_folder
    from cxr_monai.sharing.trust.lineage import LinkState, bundles_at_hand, trace_lineage

    store = store_folder(arguments.store)
    folder = Path(arguments.bundle)
    root = folder if folder.is_dir() else find_installed(store, arguments.bundle).root
    tree = trace_lineage(root, bundles_at_hand(store, arguments.also))
    print("\n".join(tree.lines()))
    states = Counter(node.state for node in tree.walk())
    links = [
        f"{states[state]} {state}" for state in (LinkState.VERIFIED, LinkState.AWAY, LinkState.DAMAGED) if states[state]
    ]
    print(f"\nlinks: {', '.join(links) or 'none; its parents, if there were any, are not recorded'}")
    return 1 if states[LinkState.DAMAGED] or (arguments.strict and states[LinkState.AWAY]) else 0
