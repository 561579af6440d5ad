"""The main job end to end, as a user would type it: each command is printed, timed and run.

    python scripts/demo.py                  synthetic radiographs (embedded; nothing is downloaded)
    python scripts/demo.py --data FOLDER    a folder in NIH ChestX-ray14's own layout

It makes (or reads) radiographs, writes the manifest and the split, trains the bundle cxr_nih14, evaluates it on
patients that it has not seen, explains a few images, and says where to look. Everything goes into ``demo/``.

Started again, it goes on where it was stopped: what is done stays (``demo/done.json`` says what), and a training goes
on from its checkpoint. With other settings it does anew what they change. ``--restart`` does everything anew.
"""

import argparse
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from cxr_monai.durable import write_durably
from cxr_monai.environment import code_version, how_to_see_runs, without_monai_warning, without_password
from cxr_monai.training.journal import Journal

BUNDLE = Path(__file__).resolve().parent.parent / "bundles" / "cxr_nih14"
BIN = Path(sys.executable).parent
MARK, DONE, LOCK = "made-by-demo.txt", "done.json", "demo.lock"
LEFT = ("phantoms", "mlflow.db", "mlartifacts")
"""What an earlier demo may have left besides what the steps of this one make."""

# Chosen by measurement on two cores: docs/performance.md.
PHANTOMS = {"count": "8000", "size": "160", "seed": "0"}
PHANTOM_SETTINGS = {"image_size": "80", "batch_size": "16", "epochs": "4", "learning_rate": "0.0015"}
REAL_SETTINGS = {"image_size": "128", "batch_size": "16", "epochs": "5", "learning_rate": "0.0005"}


@dataclass(frozen=True)
class Step:
    """One command.

    Attributes:
        title: for people, and for ``done.json``.
        words: of the command, run in the demo's folder.
        makes: patterns of the files and folders in the demo's folder that it leaves.
        proof: the file that it writes last.
        continues: True if the same command goes on where it was stopped; of another, what it left is deleted first.
        data: what else its result depends on.
    """

    title: str
    words: list[str]
    makes: tuple[str, ...]
    proof: str
    continues: bool = False
    data: str = ""

    @property
    def settings(self) -> list[str]:
        """What its result depends on."""
        return [*self.words, self.data]


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
    write_durably(out / MARK, b"Made by scripts/demo.py, which deletes what it left here when its settings change.\n")
    try:
        with FileLock(out / LOCK, timeout=0):
            return run_all(plan, out, arguments.restart)
    except Timeout:
        print(f"another demo is at work in {out}; choose another folder with --out.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. The same command goes on from here.", file=sys.stderr)
        return 130


def clear(out: Path, patterns: tuple[str, ...]) -> None:
    """Delete what steps left in the demo's folder, and nothing else."""
    for pattern in patterns:
        for path in out.glob(pattern):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def run_all(plan: list[Step], out: Path, restart: bool) -> int:
    """Run what is not done yet, in order, and say where to look."""
    record = {} if restart else read_record(out)
    first = first_to_do(plan, record, out)
    if first == len(plan):
        print("Everything is there already; 'make demo DEMO_ARGS=--restart' does it all anew.")
        if any(done["code"] != code_version() for done in record.values()):
            print("It was made by another version of this code.")
        print(where_to_look(out, record))
        return 0
    if first == 0:
        clear(out, LEFT)
    for number, step in enumerate(plan):
        if number < first:
            print(f"== {step.title}: done before")
            continue
        before = record.get(step.title, {})
        same = before.get("settings") == step.settings
        if not (number == first and same and step.continues):
            if before and not same:
                print(f"\n== {step.title}: done anew, since its settings are others")
            clear(out, step.makes)
        record = {done.title: record[done.title] for done in plan[:number]}
        seconds = before.get("seconds", 0) if same else 0
        record[step.title] = {"settings": step.settings, "seconds": seconds, "code": code_version(), "done": False}
        write_record(out, record)
        status, seconds = run_step(step.title, step.words, out)
        record[step.title]["seconds"] += seconds
        status = status or int(not (out / step.proof).exists())
        record[step.title]["done"] = status == 0
        write_record(out, record)
        if status:
            print(
                f"\nThe step '{step.title}' failed (exit status {status}); its message stands above.", file=sys.stderr
            )
            print("The same command goes on from here; DEMO_ARGS=--restart begins anew.", file=sys.stderr)
            return status
        print(f"[{seconds:.0f} s]")
    print(where_to_look(out, record))
    return 0


def first_to_do(plan: list[Step], record: dict[str, Any], out: Path) -> int:
    """Return the number of the first step that is not done with these settings; each needs all before it."""
    for number, step in enumerate(plan):
        known = record.get(step.title, {})
        if not (known.get("done") and known.get("settings") == step.settings and (out / step.proof).exists()):
            return number
    return len(plan)


def read_record(out: Path) -> dict[str, Any]:
    """Return by step what was begun and done here; nothing where that cannot be read."""
    try:
        record = json.loads((out / DONE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def write_record(out: Path, record: dict[str, Any]) -> None:
    """Write down what was begun and done."""
    write_durably(out / DONE, json.dumps(record, indent=2).encode() + b"\n")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a folder in NIH's layout, instead of synthetic radiographs")
    parser.add_argument("--images", help="which of its folders holds the images, where several do")
    parser.add_argument("--out", default="demo", help="where everything goes (default: %(default)s)")
    parser.add_argument("--count", default=PHANTOMS["count"], help="synthetic radiographs (default: %(default)s)")
    parser.add_argument("--epochs", help="epochs of training")
    parser.add_argument("--image-size", help="rows and columns of the network's input")
    parser.add_argument("--restart", action="store_true", help="do everything anew, whatever is done already")
    return parser.parse_args()


def steps(arguments: argparse.Namespace, out: Path) -> list[Step]:
    """Return the commands, in order."""
    cxr, split = str(BIN / "cxr-monai"), ["--scheme", "official"]
    plan: list[Step] = []
    counts: dict[str, int] = {}
    if arguments.data:
        source, settings, counts = str(arguments.data.resolve()), dict(REAL_SETTINGS), images_of(arguments.data)
        if not any(arguments.data.glob("test_list.txt*")):
            split = ["--scheme", "random"]
    else:
        source, settings = "phantoms", dict(PHANTOM_SETTINGS)
        drawn = ["--count", arguments.count, "--size", PHANTOMS["size"], "--seed", PHANTOMS["seed"]]
        words = [cxr, "phantom", source, *drawn]
        plan.append(Step("Synthetic radiographs with known lesions", words, ("phantoms",), "phantoms/README.txt"))
    settings |= {"epochs": arguments.epochs} if arguments.epochs else {}
    settings |= {"image_size": arguments.image_size} if arguments.image_size else {}
    folder = arguments.images or fullest_folder(counts)
    choose = ["--images", folder] if folder else []
    read = [cxr, "manifest", "nih", source, "--available-only", *choose, "--out", "manifest.csv"]
    trained = [f"--{name}={value}" for name, value in settings.items()]
    # the last feature grid has a 32nd of the image's side: 2x2 at 80 pixels, too coarse to look at
    finer = ["--methods=cam,cam_layercam", f"--map_stride={8 if int(settings['image_size']) < 200 else 16}"]
    table, known = ("manifest.*",), f"{sum(counts.values())} images"
    training = bundle_run(source_bundle(out), ["train", "one_cycle"], "train", *trained)
    evaluation = bundle_run(Path("train/bundle"), ["evaluate"], "evaluate")
    return [
        *plan,
        Step("The manifest: one table of images", read, table, "manifest.csv", data=known),
        Step("A split that no patient crosses", [cxr, "split", "manifest.csv", *split], (), "manifest.csv", True),
        Step("Training", training, ("train",), "train/bundle/models/model.pt", True),
        Step("Evaluation on patients that were not seen", evaluation, ("evaluate",), "evaluate/report.html"),
        Step(
            "What it looked at",
            bundle_run(Path("train/bundle"), ["explain"], ".", *finer),
            ("explanations", "explanations.errors.csv"),
            "explanations/sheet.png",
        ),
    ]


def images_of(data: Path) -> dict[str, int]:
    """Return how many images each folder holds."""
    return {folder.name: sum(1 for _ in folder.glob("*.png")) for folder in sorted(data.iterdir()) if folder.is_dir()}


def fullest_folder(counts: dict[str, int]) -> str | None:
    """Return the folder with the most images where several hold some; None leaves the choice to ``manifest``."""
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


def run_step(title: str, words: list[str], folder: Path) -> tuple[int, float]:
    """Print and run one command; returns its exit status and its seconds."""
    shown = ["python" if word == sys.executable else word.removeprefix(f"{BIN}/") for word in words]
    print(f"\n== {title}\n$ {' '.join(map(quoted, shown))}", flush=True)
    began = time.monotonic()
    # MONAI warns of every configuration that it could run code; these are this repository's own
    environment = without_monai_warning({"GOMP_SPINCOUNT": "10000", **os.environ})
    process = subprocess.Popen(words, cwd=folder, env=environment)
    ends = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    try:
        return process.wait(), time.monotonic() - began
    except KeyboardInterrupt:
        process.wait()  # a terminal interrupts both, and a training writes its checkpoint now
        raise
    finally:
        signal.signal(signal.SIGTERM, ends)


def quoted(word: str) -> str:
    """Quote a word for a shell, a list of files in double quotes so that it stays readable."""
    return f'"{word}"' if word.startswith("['") else shlex.quote(word)


def where_to_look(out: Path, record: dict[str, Any]) -> str:
    """Return what a person should open now."""
    shown = Path(os.path.relpath(out))
    seconds = sum(step["seconds"] for step in record.values())
    return f"""
Done in {seconds / 60:.1f} minutes. Where to look:

  the report           {shown}/evaluate/report.html     (how good it is, for physicians and reviewers)
  the table            {shown}/evaluate/metrics.csv
  what the network sees  {shown}/train/pictures/network_input.png
  the learning curves  {shown}/train/pictures/curves.png
  what it looked at    {shown}/explanations/sheet.png
  the trained bundle   {shown}/train/bundle
  the runs             {runs(out)}
"""


def runs(out: Path) -> str:
    """Return what shows the runs of the demo's training, evaluation and explanation."""
    uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{out / 'mlflow.db'}"
    ids = Journal(out / "train" / "tracking" / "training.jsonl").run_of(without_password(uri))
    text = how_to_see_runs(uri, ids[0] if ids else None)
    text = text.replace(str(out / "mlflow.db"), os.path.relpath(out / "mlflow.db"))
    command = f"{os.path.relpath(BIN)}/mlflow ui" if (BIN / "mlflow").exists() else "mlflow ui"
    return text.replace("mlflow ui", command, 1).replace(", then open", "\n                       then open")


if __name__ == "__main__":
    sys.exit(main())
