"""``cxr-monai study``: which setting is better on these images?"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from cxr_monai.cli.shared_arguments import add_any_modality
from cxr_monai.plurals import counted

DESCRIPTION = """\
Train the variants of one question on the same split with the same seeds, and compare them: the diary's table (finding
by variant, AUROC, number of labels), each variant's difference to the baseline with an interval, the cost of each, one
figure, one page.

Questions that come with this package: normalisation, heads, losses, networks, resolution, augmentation, folds, sources.
Any other is a JSON file:

  {"question": "...", "base": {"epochs": 10}, "variants": {"plateau": {}, "cosine": {"schedule": "cosine"}}}

All variants are tried before the first one trains. Interrupted or killed, the same command goes on: what has ended is
kept, what was running resumes from its checkpoint. Where one fails, the others go on, and the exit status is 1."""

EPILOG = """\
examples:
  cxr-monai study normalisation --manifest manifest.csv --out normalisation
  cxr-monai study losses --manifest manifest.csv --out losses --seeds 0,1,2 --jobs 2 --set epochs=10
  cxr-monai study mine.json --manifest manifest.csv --out mine --folds 5 --dry-run
  cxr-monai study folds --manifest manifest.csv --out folds
  cxr-monai study sources --manifest nih.csv,chexpert.csv --out sources      (each left out in turn)

Judged is the manifest's test part; without one its validation part (which flatters, and is said), or with --folds every
image, by a network that has not seen its patient. docs/studies.md explains the figures and a study's file.

exit status: 0 done, 1 a variant failed or the study cannot be done, 2 wrong use, 130 interrupted"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``cxr-monai study``."""
    parser.add_argument("study", metavar="NAME|FILE.json", help="a question of this package, or a study's file")
    parser.add_argument("--manifest", required=True, metavar="M.csv[,N.csv]", help="labels, patients, split")
    parser.add_argument("--out", type=Path, required=True, metavar="OUT", help="where everything goes")
    parser.add_argument(
        "--bundle",
        metavar="B",
        default="cxr_nih14",
        help="a folder, or the name of a shipped or an installed one (default: %(default)s)",
    )
    parser.add_argument("--seeds", metavar="0,1", help="each variant is trained once with each (default: 0)")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="trainings at a time (default: %(default)s)")
    parser.add_argument(
        "--folds", metavar="K", help="predict every image, in K folds by patient; auto: those of the manifest, else 5"
    )
    parser.add_argument(
        "--leave-out", choices=["source"], help="predict each source (hospital) by networks that have not seen it"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", dest="settings", help="an override for all variants"
    )
    add_any_modality(parser)
    parser.add_argument("--images", choices=["test", "val"], help="the part that is judged (default: test if there is)")
    parser.add_argument("--experiment", metavar="NAME", help="of MLflow (default: the study's name)")
    parser.add_argument("--dry-run", action="store_true", help="check, list the trainings, estimate the time; no more")
    parser.add_argument(
        "--restart", action="store_true", help="do trainings whose settings changed again; the old are set aside"
    )


def _source(bundle: str) -> Path:
    """Return the folder of the bundle that trainings start from: a shipped one, a folder, or an installed one."""
    from cxr_monai.bundle.shipped import shipped, shipped_bundles
    from cxr_monai.sharing.trust.installed import is_installed, store_folder
    from cxr_monai.sharing.trust.open_trusted import open_trusted

    if Path(bundle).is_dir() or bundle in shipped_bundles() or is_installed(store_folder(), bundle):
        return open_trusted(bundle)
    return shipped(bundle)  # raises an error that lists the shipped bundles


def run(arguments: argparse.Namespace) -> int:
    """Run ``cxr-monai study`` and return its exit status."""
    from cxr_monai.errors import Code, UsageError
    from cxr_monai.studies.plan import read_study

    if arguments.folds and arguments.images:
        raise UsageError(Code.USAGE, "--images: with --folds every image is judged.")
    if arguments.leave_out and (arguments.folds or arguments.images):
        raise UsageError(Code.USAGE, "--leave-out source: it has no --folds and no --images; each source is judged.")
    bundle = _source(arguments.bundle)
    study = read_study(
        arguments.study,
        bundle.resolve(),
        settings=parse_settings(arguments.settings) | ({"any_modality": True} if arguments.any_modality else {}),
        seeds=None if arguments.seeds is None else parse_seeds(arguments.seeds),
        folds=arguments.folds if arguments.folds in (None, "auto") else parse_folds(arguments.folds),
        leave_out=arguments.leave_out,
    )
    from cxr_monai.studies.run_experiment import check_at_once, prepare, run_study

    check_at_once(arguments.jobs)
    if arguments.dry_run:
        return _show(prepare, study, arguments, bundle.resolve())
    result, tables = run_study(
        study,
        arguments.manifest,
        arguments.out,
        bundle=bundle.resolve(),
        part=arguments.images,
        at_once=arguments.jobs,
        experiment=arguments.experiment,
        restart=arguments.restart,
    )
    from cxr_monai.evaluation.metrics_table import as_text
    from cxr_monai.training.tracking import where_runs_are

    print(f"\n{study.question}\n\n{as_text(tables.findings)}\n")
    print(as_text(tables.comparison[["variant", "mean_auroc", "difference", "low", "high", "seconds", "image_passes"]]))
    for note in tables.notes:
        print(f"note: {note}")
    print(f"\nthe page: {arguments.out / 'study.html'}\nthe runs: {where_runs_are(arguments.out, 'study')}")
    for variant in result.failed:
        print(f"cxr-monai study: {variant} failed; its log.txt tells why", file=sys.stderr)
    return 1 if result.failed else 0


def _show(prepare: Any, study: Any, arguments: argparse.Namespace, bundle: Path) -> int:
    """Print the trainings and how long they would take."""
    import tempfile

    from cxr_monai.progress import duration

    with tempfile.TemporaryDirectory() as folder:
        prepared = prepare(study, arguments.manifest, folder, bundle, arguments.images, estimate=True)
    jobs = prepared.study.jobs(arguments.out)
    variants = prepared.study.variants
    common = {
        name: value
        for name, value in variants[prepared.study.baseline].items()
        if all(name in settings and settings[name] == value for settings in variants.values())
    }
    print(f"all variants: {json.dumps(common)}")
    for variant, overrides in variants.items():
        settings = {name: value for name, value in overrides.items() if name not in common}
        count, seconds = sum(job.variant == variant for job in jobs), prepared.checked[variant].seconds
        print(f"{variant}: {count} x about {duration(seconds)}; {json.dumps(settings)}")
    total = sum(prepared.checked[job.variant].seconds for job in jobs)
    print(f"{counted(len(jobs), 'training')}, {arguments.jobs} at a time: about {duration(total / arguments.jobs)}")
    print("Estimated from a few images of each; start-up, evaluation and early stopping are not in it.")
    for note in prepared.notes:
        print(f"note: {note}")
    return 0


def parse_settings(words: list[str]) -> dict[str, Any]:
    """Return ``NAME=VALUE`` as overrides; a value is JSON, else a text.

    Raises:
        UsageError: a word without a name or ``=``.
    """
    from cxr_monai.errors import Code, UsageError

    settings = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not name or not equals:
            raise UsageError(Code.USAGE, f"--set {word!r}: it is NAME=VALUE, such as --set epochs=5.")
        try:
            settings[name] = json.loads(value)
        except ValueError:
            settings[name] = {"True": True, "False": False, "None": None}.get(value, value)
    return settings


def parse_seeds(text: str) -> tuple[int, ...]:
    """Return ``0,1,2`` as numbers.

    Raises:
        UsageError: if one is none.
    """
    from cxr_monai.errors import Code, UsageError

    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(Code.USAGE, f"--seeds {text!r}: whole numbers with commas between, such as 0,1,2.") from None


def parse_folds(text: str) -> int:
    """Return a number of folds.

    Raises:
        UsageError: if it is none.
    """
    from cxr_monai.errors import Code, UsageError

    try:
        return int(text)
    except ValueError:
        raise UsageError(Code.USAGE, f"--folds {text!r}: a whole number of at least 3, or auto.") from None
