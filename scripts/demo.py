"""The main job end to end, as a user would type it: each command is printed, timed and run.

    python scripts/demo.py                  synthetic radiographs (embedded; nothing is downloaded)
    python scripts/demo.py --data FOLDER    a folder in NIH ChestX-ray14's own layout

It makes (or reads) radiographs, writes the manifest and the split, trains the bundle cxr_nih14, evaluates it on
patients that it has not seen, explains a few images, and says where to look. Everything goes into ``demo/``.
"""

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

from cxr_monai.durable import write_durably
from cxr_monai.environment import without_monai_warning

BUNDLE = Path(__file__).resolve().parent.parent / "bundles" / "cxr_nih14"
BIN = Path(sys.executable).parent
MARK = "made-by-demo.txt"

# Chosen by measurement on two cores: docs/performance.md.
PHANTOMS = {"count": "8000", "size": "160", "seed": "0"}
PHANTOM_SETTINGS = {"image_size": "80", "batch_size": "16", "epochs": "4", "learning_rate": "0.0015"}
REAL_SETTINGS = {"image_size": "128", "batch_size": "16", "epochs": "5", "learning_rate": "0.0005"}


def main() -> int:
    arguments = parse()
    out = Path(arguments.out).resolve()
    if arguments.data and not arguments.data.is_dir():
        print(f"{arguments.data}: there is no such folder.", file=sys.stderr)
        return 2
    plan = steps(arguments, out)
    if out.exists() and any(out.iterdir()) and not (out / MARK).is_file():
        print(f"{out} holds something that is not a demo's; choose another folder with --out.", file=sys.stderr)
        return 2
    shutil.rmtree(out, ignore_errors=True)
    write_durably(out / MARK, b"Made by scripts/demo.py, which empties this folder when it runs again.\n")
    began = time.monotonic()
    for title, words in plan:
        status, seconds = step(title, words, out)
        if status:
            print(f"\nThe step '{title}' failed (exit status {status}); its message stands above.", file=sys.stderr)
            return status
        print(f"[{seconds:.0f} s]")
    print(where_to_look(out, time.monotonic() - began))
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a folder in NIH's layout, instead of synthetic radiographs")
    parser.add_argument("--images", help="which of its folders holds the images, where several do")
    parser.add_argument("--out", default="demo", help="where everything goes, emptied first (default: %(default)s)")
    parser.add_argument("--count", default=PHANTOMS["count"], help="synthetic radiographs (default: %(default)s)")
    parser.add_argument("--epochs", help="epochs of training")
    parser.add_argument("--image-size", help="rows and columns of the network's input")
    return parser.parse_args()


def steps(arguments: argparse.Namespace, out: Path) -> list[tuple[str, list[str]]]:
    """Return the title and the words of each command, run in ``out``."""
    cxr, split = str(BIN / "cxr-monai"), ["--scheme", "official"]
    plan: list[tuple[str, list[str]]] = []
    if arguments.data:
        source, settings = str(arguments.data.resolve()), dict(REAL_SETTINGS)
        if not any(arguments.data.glob("test_list.txt*")):
            split = ["--scheme", "random"]
    else:
        source, settings = "phantoms", dict(PHANTOM_SETTINGS)
        made = [
            cxr,
            "phantom",
            source,
            "--count",
            arguments.count,
            "--size",
            PHANTOMS["size"],
            "--seed",
            PHANTOMS["seed"],
        ]
        plan.append(("Synthetic radiographs with known lesions", made))
    settings |= {"epochs": arguments.epochs} if arguments.epochs else {}
    settings |= {"image_size": arguments.image_size} if arguments.image_size else {}
    folder = arguments.images or (arguments.data and fullest_folder(arguments.data))
    choose = ["--images", folder] if folder else []
    read = [cxr, "manifest", "nih", source, "--available-only", *choose, "--out", "manifest.csv"]
    trained = [f"--{name}={value}" for name, value in settings.items()]
    # the last feature grid has a 32nd of the image's side: 2x2 at 80 pixels, too coarse to look at
    finer = ["--methods=cam,cam_layercam", f"--map_stride={8 if int(settings['image_size']) < 200 else 16}"]
    plan += [
        ("The manifest: one table of images", read),
        ("A split that no patient crosses", [cxr, "split", "manifest.csv", *split]),
        ("Training", bundle_run(source_bundle(out), ["train", "one_cycle"], "train", *trained)),
        ("Evaluation on patients that were not seen", bundle_run(Path("train/bundle"), ["evaluate"], "evaluate")),
        ("What it looked at", bundle_run(Path("train/bundle"), ["explain"], ".", *finer)),
    ]
    return plan


def fullest_folder(data: Path) -> str | None:
    """Return the folder with the most images where several hold some; None leaves the choice to ``manifest``."""
    counts = {folder.name: sum(1 for _ in folder.glob("*.png")) for folder in data.iterdir() if folder.is_dir()}
    counts = {name: count for name, count in counts.items() if not name.startswith("images_0")}  # those are one set
    holding = sorted((count, name) for name, count in counts.items() if count)
    if len(holding) < 2:
        return None
    print(f"Several folders hold images; taking {holding[-1][1]}, which holds most. Another: --images FOLDER.")
    return holding[-1][1]


def source_bundle(out: Path) -> Path:
    """Return the bundle's folder, as short as can be: commands run in ``out``."""
    return Path(os.path.relpath(BUNDLE, out)) if out.is_relative_to(BUNDLE.parent.parent) else BUNDLE


def bundle_run(bundle: Path, names: list[str], output_dir: str, *overrides: str) -> list[str]:
    """Return the words of ``python -m monai.bundle run`` for a configuration and its overlays."""
    configs = bundle / "configs"
    files = [str(configs / f"{name}.json") for name in names]
    config = files[0] if len(files) == 1 else "[" + ",".join(f"'{file}'" for file in files) + "]"
    return [
        sys.executable, "-m", "monai.bundle", "run",
        "--config_file", config, "--meta_file", str(configs / "metadata.json"),
        "--bundle_root", str(bundle), "--manifest", "manifest.csv", "--output_dir", output_dir, *overrides,
    ]  # fmt: skip


def step(title: str, words: list[str], folder: Path) -> tuple[int, float]:
    """Print and run one command; returns its exit status and its seconds."""
    shown = ["python" if word == sys.executable else word.removeprefix(f"{BIN}/") for word in words]
    print(f"\n== {title}\n$ {' '.join(map(quoted, shown))}", flush=True)
    began = time.monotonic()
    # MONAI warns of every configuration that it could run code; these are this repository's own
    environment = without_monai_warning({"GOMP_SPINCOUNT": "10000", **os.environ})
    return subprocess.run(words, cwd=folder, env=environment).returncode, time.monotonic() - began


def quoted(word: str) -> str:
    """Quote a word for a shell, a list of files in double quotes so that it stays readable."""
    return f'"{word}"' if word.startswith("['") else shlex.quote(word)


def where_to_look(out: Path, seconds: float) -> str:
    """Return what a person should open now."""
    shown = Path(os.path.relpath(out))
    return f"""
Done in {seconds / 60:.1f} minutes. Where to look:

  the report           {shown}/evaluate/report.html     (how good it is, for physicians and reviewers)
  the table            {shown}/evaluate/metrics.csv
  what the network sees  {shown}/train/pictures/network_input.png
  the learning curves  {shown}/train/pictures/curves.png
  what it looked at    {shown}/explanations/sheet.png
  the trained bundle   {shown}/train/bundle
  the runs             {os.path.relpath(BIN)}/mlflow ui --backend-store-uri sqlite:///{shown}/mlflow.db
                       then open http://127.0.0.1:5000
"""


if __name__ == "__main__":
    sys.exit(main())
