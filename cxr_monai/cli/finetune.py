"""``cxr-monai finetune``: a child bundle for one disease from a parent bundle."""

import argparse
from pathlib import Path

from cxr_monai.cli.shared_arguments import add_any_modality, add_match_names, add_trust_folder

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
    """Declare the command's words."""
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
    """Run the command and return its exit status."""
    from cxr_monai.cli.study import parse_settings
    from cxr_monai.labels import NIH14
    from cxr_monai.outputs import check_folder

    check_folder(arguments.out, ())
    diseases = list(NIH14) if arguments.disease.lower() == "all" else [arguments.disease]
    settings = parse_settings(arguments.settings)
    if arguments.head_only:
        return _heads(arguments, diseases, settings)
    return _networks(arguments, diseases, settings)


def _heads(arguments: argparse.Namespace, diseases: list[str], settings: dict[str, object]) -> int:
    from cxr_monai.finetune.linear_probe import finetune_heads

    amp = settings.pop("amp", True)
    made, refused = finetune_heads(
        arguments.parent,
        diseases,
        arguments.manifest,
        arguments.out,
        arguments.against,
        arguments.dataset_dir,
        settings,
        bool(amp),
        arguments.trust_folder,
        arguments.boxes,
        arguments.match_names,
        arguments.any_modality,
    )
    for label, judged in made.items():
        print("\n".join([f"\n{arguments.out / label / 'bundle'}", *judged.lines()]))
    if refused and not made:
        raise next(iter(refused.values()))
    for label, error in refused.items():
        print(f"\nnot made: {label}: {error}")
    return 0


def _networks(arguments: argparse.Namespace, diseases: list[str], settings: dict[str, object]) -> int:
    from cxr_monai.errors import Code, TrainingError
    from cxr_monai.finetune.whole_network import finetune_network

    several = len(diseases) > 1
    made, refused = 0, []
    for disease in diseases:
        out = arguments.out / disease if several else arguments.out
        try:
            judged = finetune_network(
                arguments.parent,
                disease,
                arguments.manifest,
                out,
                arguments.against,
                arguments.dataset_dir,
                settings,
                arguments.trust_folder,
                arguments.boxes,
                arguments.match_names,
                arguments.any_modality,
            )
        except TrainingError as error:
            if not several or error.code != Code.TOO_FEW_PATIENTS:
                raise
            refused.append(f"{disease}: {error}")
            continue
        made += 1
        print("\n".join([f"\n{out / 'bundle'}", *judged.lines()]))
    for line in refused:
        print(f"\nnot made: {line}")
    return 0 if made else 1
