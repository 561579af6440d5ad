"""``cxr-monai external``: trained here, tested there: is it still good, and why not?"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from cxr_monai.cli.shared_arguments import (
    add_force,
    add_intervals,
    add_match_names,
    add_trust_folder,
    check_at_least,
    check_result_folder,
)

DESCRIPTION = """\
Judge networks on the films of several places: AUROC of each network at each place with intervals over patients, what
it loses between its home and elsewhere ('no evidence' where the interval holds 0) and why, as far as view, age, sex and
labels tell; what view, age, sex, source and image size tell without the picture; whether its probabilities and
thresholds hold there, and what 'calibrate' could do about it. A page says so for reviewers, and in one paragraph for
physicians.

A test is external where the films come from another collection. RSNA's, SIIM-ACR's and Google's films are NIH's: a
network of NIH's that is judged on them is refused (overlapping-sources), unless the list beside its bundle shows that
no patient is shared, or --overlap internal calls the test by its name."""

EPILOG = """\
examples:
  cxr-monai external --bundles A/bundle B/bundle --manifests a.csv b.csv --out external
  cxr-monai external --bundles theirs=OUT/bundle --manifests nih.csv ours=mine.csv --home theirs=nih --out external
  cxr-monai external --bundles cxr-nih14 --manifests nih.csv rsna.csv --overlap internal --out external
  cxr-monai external --bundles A/bundle --manifests a.csv --shortcuts --lung-masks a=A/lungs --out shortcuts
  cxr-monai external --manifests nih.csv ours.csv --predictions X@nih=x_nih.csv X@ours=x_ours.csv --home X=nih --out e

NAME=PATH gives a bundle or a manifest a name; without, it is that of the file, or of the folder (OUT_A/bundle is
OUT_A). The home of a network is the manifest of the data set that its bundle says it learned from, or --home. Of each
manifest the test part is judged, where it has one.

Written to --out: report.html, report.md, a CSV for each table, external.json with all of them, and predictions/, which
an interrupted call goes on with. docs/external.md says how to read the page."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``cxr-monai external``."""
    parser.add_argument(
        "--bundles", nargs="+", default=[], metavar="[NAME=]B", help="folders, or names of installed bundles"
    )
    parser.add_argument(
        "--manifests", nargs="+", required=True, metavar="[NAME=]M.csv", help="films with labels, one a place"
    )
    parser.add_argument(
        "--predictions",
        nargs="+",
        default=[],
        metavar="NAME@MANIFEST=P.csv",
        help="of any system, instead of running a bundle of that name",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where everything goes")
    parser.add_argument(
        "--home", nargs="+", default=[], metavar="NAME=MANIFEST", help="a network's own place, to compare others with"
    )
    parser.add_argument(
        "--split",
        choices=["auto", "all", "train", "val", "test"],
        default="auto",
        help="of every manifest (default: its test part where it has one, else all)",
    )
    parser.add_argument(
        "--overlap",
        choices=["refuse", "internal"],
        default="refuse",
        help="films of the collection that a network learned from: refuse them, or keep and call the test internal "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--shortcuts",
        action="store_true",
        help="also judge films without lungs, corners, border and detail: seven times the work",
    )
    parser.add_argument(
        "--lung-masks",
        nargs="+",
        default=[],
        metavar="MANIFEST=PATH",
        help="for --shortcuts: CheXmask's file, or a folder of masks (default: a simple segmentation)",
    )
    parser.add_argument("--batch-size", type=int, default=16, help="images at a time (default: %(default)s)")
    parser.add_argument("--workers", type=int, help="files that are read at a time (default: decided by the machine)")
    add_match_names(parser)
    add_trust_folder(parser)
    add_intervals(parser)
    add_force(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run ``cxr-monai external`` and return its exit status."""
    from cxr_monai.errors import Code, UsageError

    check_at_least(arguments, replicates=1, batch_size=1, workers=0)
    check_result_folder(arguments.out)
    bundles, manifests = named_paths(arguments.bundles, "--bundles"), named_paths(arguments.manifests, "--manifests")
    predictions = {split_pair(pair): path for pair, path in named_paths(arguments.predictions, "--predictions").items()}
    homes = named_paths(arguments.home, "--home")
    if arguments.lung_masks and not arguments.shortcuts:
        raise UsageError(Code.USAGE, "--lung-masks: they are used by --shortcuts; give it, too.")
    from cxr_monai.cli.light_start import import_monai_without_mlflow

    import_monai_without_mlflow()
    from cxr_monai.evaluation.bootstrap import Intervals
    from cxr_monai.evaluation.metrics_table import MEAN, as_text
    from cxr_monai.workflows.external import ExternalOptions, validate_external

    options = ExternalOptions(
        homes=homes,
        split=arguments.split,
        keep_internal=arguments.overlap == "internal",
        shortcuts=arguments.shortcuts,
        lung_masks=named_paths(arguments.lung_masks, "--lung-masks"),
        intervals=Intervals(arguments.replicates, arguments.level, arguments.seed),
        batch_size=arguments.batch_size,
        workers=arguments.workers,
        match_names=arguments.match_names,
        trust_folder=arguments.trust_folder,
    )
    validation = validate_external(
        bundles, manifests, arguments.out, predictions=predictions, options=options, force=arguments.force
    )
    print("mean AUROC over what both know")
    columns = ["trained_on", "tested_on", "relation", "findings", "images", "auroc", "low", "high"]
    print(as_text(validation.matrix[validation.matrix["finding"] == MEAN][columns]))
    if not validation.drops.empty:
        print("\nwhat is lost between home and there")
        columns = ["trained_on", "home", "tested_on", "findings", "drop", "low", "high", "evidence"]
        print(as_text(validation.drops[validation.drops["finding"] == MEAN][columns]))
    for note in validation.notes:
        print(f"note: {note}")
    print(f"\nthe report: {arguments.out / 'report.html'}")
    return 0


def named_paths(words: Sequence[str], option: str) -> dict[str, str]:
    """Return paths by their names: ``NAME=PATH``, else the file's name, or the folder's (of OUT/bundle: OUT).

    Args:
        words: as they were typed.
        option: for messages.

    Raises:
        UsageError: ``usage`` for two of one name.

    >>> named_paths(["nih.csv.gz", "ours=data/m.csv", "OUT_A/bundle"], "--manifests")
    {'nih': 'nih.csv.gz', 'ours': 'data/m.csv', 'OUT_A': 'OUT_A/bundle'}
    """
    from cxr_monai.errors import Code, UsageError

    paths: dict[str, str] = {}
    for word in words:
        name, equals, path = word.partition("=")
        if not equals or "/" in name:
            path, parts = word, [part for part in Path(word).parts if part not in (".", "/")]
            last = parts[-1] if parts else word
            last = parts[-2] if last == "bundle" and len(parts) > 1 else last
            name = last.removesuffix(".gz").removesuffix(".csv")
        if not name or name in paths:
            raise UsageError(
                Code.USAGE, f"{option} {word}: two are called {name!r}; give them names: NAME=PATH, each once."
            )
        paths[name] = path
    return paths


def split_pair(pair: str) -> tuple[str, str]:
    """Return network and manifest of ``NETWORK@MANIFEST``.

    Raises:
        UsageError: ``usage``.

    >>> split_pair("A@nih")
    ('A', 'nih')
    """
    from cxr_monai.errors import Code, UsageError

    network, at, manifest = pair.partition("@")
    if not network or not at or not manifest:
        raise UsageError(Code.USAGE, f"--predictions {pair}: say which network and manifest: NAME@MANIFEST=P.csv.")
    return network, manifest
