"""Make bundles/cxr_categories from bundles/cxr_nih14: the same configurations, but for a short table of differences.

python scripts/sync_bundles.py            # after every change of cxr_nih14
python scripts/sync_bundles.py --check    # exit status 1, and the files' names, if they are out of step
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from cxr_monai.schemes import SCHEMES

BUNDLES = Path(__file__).resolve().parents[1] / "bundles"
SOURCE, TARGET = "cxr_nih14", "cxr_categories"
SCHEME = SCHEMES["categories_normal"]

# of every configuration that has the setting
SETTINGS = {"labels": list(SCHEME.labels), "label_scheme": SCHEME.name, "experiment": TARGET}
METADATA = {
    "name": "Chest X-ray, four categories and normal",
    "description": "DenseNet121 that gives a probability for each of four categories of the 14 findings of NIH "
    "ChestX-ray14 (Lung, Cardiomegaly, Pleural, Hernia), and that there is none (Normal).",
    "label_classes": "multi-label; 1 present, 0 absent, empty unknown; made of findings as label_scheme says; labels "
    "of NIH are mined from reports",
    "label_scheme": SCHEME.to_json(),
    "pred_classes": "one channel a category, and Normal; the network gives logits, inference.json their sigmoids, "
    "which the output format describes",
}
README_START = "## Commands\n"
ROWS = "\n".join(
    f"| {label} | {', '.join(members) or 'none of the 14 findings'} |" for label, members in SCHEME.groups.items()
)
README = f"""\
# {TARGET}: four categories of findings, and normal

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

"""
# in what follows README_START; each stands there
README_CHANGES = {
    f"`{SOURCE}`": f"`{TARGET}`",
    "| `labels` | the 14 findings |": "| `labels` | the five labels |",
    "| `label_scheme` | `findings` |": "| `label_scheme` | `categories_normal` |",
}


def made() -> dict[Path, str]:
    """Return the text of every file of the second bundle, by its path in the bundle."""
    source = BUNDLES / SOURCE
    files = {}
    for path in sorted(path for path in source.rglob("*") if path.is_file() and "__pycache__" not in path.parts):
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".json":
            content = json.loads(text)
            content = _metadata(content) if path.name == "metadata.json" else _configuration(content)
            text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        elif path.name == "README.md":
            text = _readme(text)
        files[path.relative_to(source)] = text
    return files


def _configuration(config: dict[str, Any]) -> dict[str, Any]:
    return config | {key: value for key, value in SETTINGS.items() if key in config}


def _metadata(metadata: dict[str, Any]) -> dict[str, Any]:
    pred = metadata["network_data_format"]["outputs"]["pred"]
    pred["num_channels"] = len(SCHEME.labels)
    pred["channel_def"] = {str(index): label for index, label in enumerate(SCHEME.labels)}
    return metadata | METADATA


def _readme(text: str) -> str:
    _, start, rest = text.partition(README_START)
    for old, new in README_CHANGES.items():
        if old not in rest:
            raise SystemExit(f"README.md of {SOURCE} has no {old!r} any more: correct README_CHANGES in {__file__}")
        rest = rest.replace(old, new)
    return README + start + rest


def main() -> int:
    """Write, or compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; say what is out of step")
    check = parser.parse_args().check
    files, target = made(), BUNDLES / TARGET
    there = {path.relative_to(target): path for path in target.rglob("*") if path.is_file()}
    differing = [name for name, text in files.items() if name not in there or there[name].read_text("utf-8") != text]
    differing += [name for name in there if name not in files and "__pycache__" not in name.parts]
    for name in differing:
        print(f"{'out of step' if check else 'written' if name in files else 'removed'}: bundles/{TARGET}/{name}")
        if check:
            continue
        if name not in files:
            there[name].unlink()
            continue
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_text(files[name], encoding="utf-8")
    return 1 if check and differing else 0


if __name__ == "__main__":
    sys.exit(main())
