"""``cxr-monai finetune``: a child bundle for one disease from a parent bundle."""

import argparse
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from cxr_monai.cli.shared_arguments import add_any_modality, add_match_names, add_trust_folder

if TYPE_CHECKING:
    from cxr_monai.finetune.task import FineTuneTask

DESCRIPTION = """\
Fine-tune a parent bundle for one disease, and judge the child against its parent on the same held-out patients.

First the classifier trains, from the parent's own row for that disease; then blocks of the network from the top, each
with a smaller rate. The child, OUT/bundle, is a complete bundle with a calibration, operating points, docs/card.md
(which says whether it is better than its parent, not distinguishable, or worse) and lineage.json.

The manifest needs a split: training, validation, and a test part to judge on ('cxr-monai split')."""

EPILOG = """\
examples:
  cxr-monai finetune --parent OUT/bundle --disease Pneumonia --manifest M.csv --out pneumonia
  cxr-monai finetune --parent OUT/bundle --disease Pneumonia --manifest M.csv --out pneumonia --against others
      --set head_epochs=5 --set blocks=1
  cxr-monai finetune --parent OUT/bundle --disease all --manifest M.csv --out children --head-only

--head-only trains classifiers alone, on features that are computed once: 14 diseases cost little more than one.
docs/fine-tuning.md tells how to choose, and what to expect of 10, 30 or 100 patients.

exit status: 0 done (a child was made, better or not), 1 nothing was made, 2 wrong use, 130 interrupted"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``cxr-monai finetune``."""
    parser.add_argument(
        "--parent", required=True, metavar="BUNDLE", help="a trained bundle, or the name of an installed one"
    )
    parser.add_argument("--disease", required=True, metavar="FINDING|all", help="one finding; all: a child for each")
    parser.add_argument("--manifest", required=True, metavar="M.csv", help="labels, patients, split")
    parser.add_argument("--out", type=Path, required=True, metavar="OUT", help="a folder; all: OUT/FINDING for each")
    parser.add_argument("--dataset-dir", metavar="FOLDER", help="root of the images (default: the manifest's)")
    parser.add_argument(
        "--against",
        choices=("normal", "others"),
        default="normal",
        help="negatives: images without any finding, or all others (default: %(default)s)",
    )
    parser.add_argument("--head-only", action="store_true", help="the classifier alone, on features computed once")
    parser.add_argument(
        "--boxes", type=Path, metavar="B.csv", help="boxes of held-out images: compare where child and parent look, too"
    )
    add_match_names(parser)
    add_any_modality(parser)
    add_trust_folder(parser)
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", dest="settings",
        help="any other setting of the bundle cxr_transfer",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Run ``cxr-monai finetune`` and return its exit status."""
    from cxr_monai.cli.study import parse_settings
    from cxr_monai.finetune.task import FineTuneTask
    from cxr_monai.labels import NIH14
    from cxr_monai.outputs import check_folder

    check_folder(arguments.out, ())
    diseases = list(NIH14) if arguments.disease.lower() == "all" else [arguments.disease]
    settings = parse_settings(arguments.settings)
    task = FineTuneTask(**{field.name: getattr(arguments, field.name) for field in fields(FineTuneTask)})
    train = _train_probes if arguments.head_only else _train_networks
    return train(task, diseases, arguments.out, settings)


def _train_probes(task: "FineTuneTask", diseases: list[str], out: Path, settings: dict[str, object]) -> int:
    from cxr_monai.finetune.linear_probe import train_linear_probes

    amp = bool(settings.pop("amp", True))
    results, refused = train_linear_probes(task, diseases, out, settings, amp)
    for label, result in results.items():
        print("\n".join([f"\n{out / label / 'bundle'}", *result.lines()]))
    if refused and not results:
        raise next(iter(refused.values()))
    for label, error in refused.items():
        print(f"\nnot made: {label}: {error}")
    return 0


def _train_networks(task: "FineTuneTask", diseases: list[str], out: Path, settings: dict[str, object]) -> int:
    from cxr_monai.errors import Code, TrainingError
    from cxr_monai.finetune.whole_network import finetune_network

    several = len(diseases) > 1
    children, refused = 0, []
    for disease in diseases:
        folder = out / disease if several else out
        try:
            result = finetune_network(task, disease, folder, settings)
        except TrainingError as error:
            if not several or error.code != Code.TOO_FEW_PATIENTS:
                raise
            refused.append(f"{disease}: {error}")
            continue
        children += 1
        print("\n".join([f"\n{folder / 'bundle'}", *result.lines()]))
    for line in refused:
        print(f"\nnot made: {line}")
    return 0 if children else 1
