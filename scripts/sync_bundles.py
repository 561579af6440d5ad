"""Make bundles/cxr_categories and bundles/cxr_transfer from bundles/cxr_nih14: the same configurations, but for a short
table of differences each.

python scripts/sync_bundles.py            # after every change of cxr_nih14
python scripts/sync_bundles.py --check    # exit status 1, and the files' names, if they are out of step
"""

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cxr_monai.durable import write_durably
from cxr_monai.schemes import SCHEMES, LabelScheme

BUNDLES = Path(__file__).resolve().parents[1] / "bundles"
SOURCE = "cxr_nih14"
CATEGORIES, DISEASE = SCHEMES["categories_normal"], SCHEMES["Pneumonia_vs_normal"]
README_START = "## Commands\n"


@dataclass(frozen=True)
class Target:
    """How a bundle differs from the source.

    Attributes:
        name: of its folder.
        scheme: its labels.
        metadata: what stands in the metadata instead.
        readme: what its README begins with, up to the commands.
        changes: of the README from the commands on; each old text stands there.
        train: what is changed in the training's configuration.
    """

    name: str
    scheme: LabelScheme
    metadata: Mapping[str, Any]
    readme: str
    changes: Mapping[str, str]
    train: Callable[[dict[str, Any]], dict[str, Any]] = field(default=lambda config: config)


def transfer(config: dict[str, Any]) -> dict[str, Any]:
    """Return the training's configuration of cxr_transfer: a parent's weights, stages, a child that is judged."""
    config = inserted(
        config,
        "output_dir",
        {
            "parent": None,
            "disease": None,
            "against": "normal",
            "trust_folder": False,
            "boxes": None,
            "match_names": False,
            "head_epochs": 3,
            "block_epochs": 2,
            "blocks": None,
            "block_rate": 0.3,
            "norm_statistics": "frozen",
        },
    )
    config |= {
        "_desc_": "Fine-tunes a parent bundle for one disease. Every plain setting at the top is an override: "
        "--epochs 5. docs/README.md explains each.",
        "init_weights": "$@parent + '/models/model.pt'",
        "epochs": 12,
        "learning_rate": 0.001,
    }
    config["table"] |= {"_target_": "cxr_monai.components.disease_manifest", "findings": "@findings"}
    made = {
        "_target_": "cxr_monai.components.fine_tuning_stages",
        "network": "@network",
        "epochs": "@epochs",
        "head_epochs": "@head_epochs",
        "block_epochs": "@block_epochs",
        "blocks": "@blocks",
        "block_rate": "@block_rate",
        "unfreeze": "@unfreeze",
    }
    config = inserted(config, "loss_function", {"stages": made})
    config["optimizer"]["rates"] = "$@stages.rates"
    config["freezer"] |= {"plan": "$@stages.plan", "norm_statistics": "@norm_statistics"}
    child = {
        "_target_": "cxr_monai.components.ChildBundle",
        "parent": "@parent",
        "manifest": "@table",
        "manifest_path": "@manifest",
        "dataset_dir": "@dataset_dir",
        "output_dir": "@output_dir",
        "amp": "@amp",
        "trust_folder": "@trust_folder",
        "boxes": "@boxes",
        "match_names": "@match_names",
        "any_modality": "@any_modality",
    }
    config = inserted(config, "training", {"child": child})
    given = {key: f"@{key}" for key in ("parent", "disease", "against", "trust_folder", "boxes", "match_names", "seed")}
    config["bundle"]["parent"] = "@parent"
    config["initialize"] = [{"_target_": "cxr_monai.components.prepare_fine_tuning", **given}]
    config["run"] = ["$@training.run()", "$@child.run()"]
    return config


def inserted(config: dict[str, Any], after: str, new: Mapping[str, Any]) -> dict[str, Any]:
    """Return a dictionary with new items after one of its own."""
    made: dict[str, Any] = {}
    for key, value in config.items():
        made[key] = value
        if key == after:
            made |= new
    return made


ROWS = "\n".join(
    f"| {label} | {', '.join(members) or 'none of the 14 findings'} |" for label, members in CATEGORIES.groups.items()
)
TARGETS = (
    Target(
        "cxr_categories",
        CATEGORIES,
        {
            "name": "Chest X-ray, four categories and normal",
            "description": "DenseNet121 that gives a probability for each of four categories of the 14 findings of NIH "
            "ChestX-ray14 (Lung, Cardiomegaly, Pleural, Hernia), and that there is none (Normal).",
            "label_classes": "multi-label; 1 present, 0 absent, empty unknown; made of findings as label_scheme says; "
            "labels of NIH are mined from reports",
            "pred_classes": "one channel a category, and Normal; the network gives logits, inference.json their "
            "sigmoids, which the output format describes",
        },
        f"""\
# cxr_categories: four categories of findings, and normal

DenseNet121 with one independent sigmoid for each of five labels of a frontal chest radiograph. Research and education;
**not a medical device, not for diagnosis**.

| label | made of |
|---|---|
{ROWS}

A manifest names the 14 findings; the labels are made of them when it is read. A category is 1 if one of its findings
is, 0 if all of them are 0, else unknown; Normal is 1 if all 14 are 0, 0 if one is 1, else unknown. A box of a finding
is one of its category. All else is as in `{SOURCE}`.

As shipped the bundle has no weights. A training leaves a complete bundle with weights in `OUT/bundle`; that one is
evaluated, run, explained and shared. Install the package first (`pip install .` in its repository).

""",
        {
            f"`{SOURCE}`": "`cxr_categories`",
            "| `labels` | the 14 findings |": "| `labels` | the five labels |",
            "| `label_scheme` | `findings` |": "| `label_scheme` | `categories_normal` |",
        },
    ),
    Target(
        "cxr_transfer",
        DISEASE,
        {
            "name": "Chest X-ray, one disease, fine-tuned",
            "description": "A parent bundle's network, fine-tuned for one disease against normal chests or all other "
            "images.",
            "label_classes": "one label; 1 present, 0 absent, empty unknown; made of findings as label_scheme says; "
            "labels of NIH are mined from reports",
            "pred_classes": "one channel, the disease; the network gives logits, inference.json their sigmoids, which "
            "the output format describes",
        },
        """\
# cxr_transfer: a parent bundle fine-tuned for one disease

Starts from a trained bundle (`--parent OUT/bundle`) and trains its network for one disease (`--disease Pneumonia`):
first the classifier, which begins with the parent's own row for that finding, then blocks from the top with smaller
rates. Network, image size and normalisation are the parent's. The child is judged against its parent on the same
held-out patients; its card (`docs/card.md`) says whether it is better. Research and education; **not a medical device,
not for diagnosis**.

    python -m monai.bundle run --config_file $B/configs/train.json --meta_file $B/configs/metadata.json \\
        --bundle_root $B --parent PARENT --disease Pneumonia --manifest M.csv --output_dir OUT

`cxr-monai finetune` runs this. Settings of its own; a parent's setting that is overridden by hand stays so:

| setting | default | meaning |
|---|---|---|
| `parent` | must be given | the bundle to start from |
| `disease` | must be given | a finding; the child's only label |
| `against` | `normal` | `normal`: images with other findings alone are left out; `others`: they are negatives |
| `trust_folder` | false | the parent's folder runs whatever is in it, although nobody installed it |
| `boxes` | none | `M.boxes.csv` or NIH's list: where child and parent look is compared on held-out images |
| `match_names` | false | a box is of the image of its file name, whatever their folders |
| `head_epochs` | 3 | the classifier alone trains |
| `blocks` | all | how many blocks train after that, from the top; 0: the classifier alone, to the end |
| `block_epochs` | 2 | epochs between one block and the next |
| `block_rate` | 0.3 | each block's rate is this part of that above it; `learning_rate` is the classifier's |
| `norm_statistics` | `frozen` | `adapted`: batch norms follow the new images |
| `unfreeze` | `{}` | epochs by name, instead of or beside the above |
| `init_weights` | the parent's | another start |

As shipped the bundle has no weights. A training leaves a complete bundle with weights in `OUT/bundle`; that one is
evaluated, run, explained and shared. Install the package first (`pip install .` in its repository).

""",
        {
            f"`{SOURCE}`": "`cxr_transfer`",
            "| `labels` | the 14 findings |": "| `labels` | the disease |",
            "| `label_scheme` | `findings` |": "| `label_scheme` | by `disease` and `against` |",
        },
        transfer,
    ),
)


def made(target: Target) -> dict[str, str]:
    """Return the text of every file of a bundle, by its path as text in the bundle."""
    source = BUNDLES / SOURCE
    files = {}
    for path in sorted(path for path in source.rglob("*") if path.is_file() and "__pycache__" not in path.parts):
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".json":
            content = json.loads(text)
            content = _metadata(content, target) if path.name == "metadata.json" else _configuration(content, target)
            content = target.train(content) if path.name == "train.json" else content
            text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        elif path.name == "README.md":
            text = _readme(text, target)
        files[path.relative_to(source).as_posix()] = text
    return files


def _configuration(config: dict[str, Any], target: Target) -> dict[str, Any]:
    settings = {
        "labels": list(target.scheme.labels),
        "label_scheme": target.scheme.name,
        "experiment": target.name,
    }
    return config | {key: value for key, value in settings.items() if key in config}


def _metadata(metadata: dict[str, Any], target: Target) -> dict[str, Any]:
    labels = target.scheme.labels
    pred = metadata["network_data_format"]["outputs"]["pred"]
    pred["num_channels"] = len(labels)
    pred["channel_def"] = {str(index): label for index, label in enumerate(labels)}
    return metadata | dict(target.metadata) | {"label_scheme": target.scheme.to_json()}


def _readme(text: str, target: Target) -> str:
    _, start, rest = text.partition(README_START)
    for old, new in target.changes.items():
        if old not in rest:
            raise SystemExit(f"README.md of {SOURCE} has no {old!r} any more: correct TARGETS in {__file__}")
        rest = rest.replace(old, new)
    return target.readme + start + rest


def main() -> int:
    """Write, or compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; say what is out of step")
    check = parser.parse_args().check
    return max(_sync(target, check) for target in TARGETS)


def _sync(target: Target, check: bool) -> int:
    files, folder = made(target), BUNDLES / target.name
    there = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    differing = [name for name, text in files.items() if name not in there or there[name].read_text("utf-8") != text]
    differing += [name for name in there if name not in files and "__pycache__" not in name]
    for name in differing:
        print(f"{'out of step' if check else 'written' if name in files else 'removed'}: bundles/{target.name}/{name}")
        if check:
            continue
        if name not in files:
            there[name].unlink()
            continue
        write_durably(folder / name, files[name].encode())
    return 1 if check and differing else 0


if __name__ == "__main__":
    sys.exit(main())
