"""How fast is it, next to MONAI's own ways on the same machine, in the same run?

    python scripts/benchmark.py --manifest manifest.csv --bundle OUT/bundle --out benchmark
    python scripts/benchmark.py --only step peak      (only predict, feed, startup, explain and finetune need them)

The manifest has a split; the bundle was trained on it at 224 pixels. Each figure stands next to its baseline, measured
in turns with it; the baseline is taken at its best over workers and threads, and the whole sweep is printed. Figures
are medians. Leave the machine alone meanwhile. Writes benchmark.json and benchmark.md.

  peak     matrix multiplication in float32 and bfloat16: what the processor can do
  step     a training step of DenseNet121 at 224x224 (baseline: MONAI's SupervisedTrainer, Adam, float32)
  predict  1024x1024 PNG files (smaller ones enlarged, with grain) to probabilities, networks loaded before (baseline:
           MONAI's LoadImage, Resize, SimpleInferer in float32)
  runtime  the network alone: float32, autocast, folded, OpenVINO, and ONNX Runtime where it is installed
  feed     an image from the second epoch on (baseline: MONAI's PersistentDataset over the same transforms)
  cache    decoded once: bytes on the disk and time to open, for 10,000 files and, by proportion, 112,120
  startup  from the command to the end of the first training step, cache warm
  bootstrap  AUROC and average precision of 14 findings on 22,433 images, 1,000 draws of patients (baseline: a loop over
           scikit-learn's functions, the fastest of three ways to call them)
  maps     all 14 class maps of an image (baseline: one plain forward pass; MONAI's GradCAM, once a finding)
  explain  'cxr-monai explain' on every image of the manifest, all findings: seconds, bytes, memory
  evaluate  the whole of 'cxr-monai evaluate' on as many
  equality  on what the probabilities of an image depend besides the image: batch, order, neighbours, threads, process,
           instruction set; by precision, largest differences (with --bundle: of its weights)
  finetune  a classifier for each of 14 diseases on kept features (baseline: a training with a frozen network for each)
"""

import argparse
import importlib
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "10000")

from benchmarks.common import CORES, Row

from cxr_monai.durable import make_folder, refuse_taken, write_durably
from cxr_monai.errors import CxrError, UsageError
from cxr_monai.outputs import check_folder

SECTIONS = {
    "peak": "training", "step": "training", "predict": "prediction", "runtime": "prediction", "feed": "feeding",
    "cache": "feeding", "startup": "feeding", "bootstrap": "evaluation", "evaluate": "evaluation",
    "maps": "maps", "explain": "maps", "finetune": "finetuning", "equality": "equality",
}  # fmt: skip
"""Each section and its module."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), help="some of it")
    parser.add_argument("--manifest", type=Path, help="with a split; its test part is predicted")
    parser.add_argument("--bundle", type=Path, help="a trained one")
    parser.add_argument("--out", type=Path, default=Path("benchmark"), help="results (default: %(default)s)")
    parser.add_argument("--force", action="store_true", help="measure sections again that were measured before")
    parser.add_argument("--repeats", type=int, default=3, help="of every measurement (default: %(default)s)")
    arguments = parser.parse_args()
    needed = {"predict", "feed", "startup", "explain", "finetune"} & set(arguments.only)
    if needed and not (arguments.manifest and arguments.bundle):
        parser.error(f"{', '.join(sorted(needed))} need --manifest and --bundle; or choose with --only")
    try:
        check_folder(arguments.out, ())
        refuse_taken([] if arguments.force else measured(arguments), "--force")
    except CxrError as error:
        print(f"benchmark: error [{error.code}]: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    make_folder(arguments.out)
    if len(arguments.only) == 1:
        measure(arguments.only[0], arguments)
    else:
        # each in a process of its own: threads and memory of one section are no burden on the next
        for section in arguments.only:
            given = [sys.executable, __file__, "--only", section]
            given += ["--out", str(arguments.out), "--repeats", str(arguments.repeats), "--force"]
            given += ["--manifest", str(arguments.manifest)] if arguments.manifest else []
            given += ["--bundle", str(arguments.bundle)] if arguments.bundle else []
            if subprocess.run(given).returncode:
                print(f"the section {section} failed; the others go on", file=sys.stderr)
    print(f"\n{arguments.out / 'benchmark.md'}")
    return 0


def measured(arguments: argparse.Namespace) -> list[Path]:
    """Return the file of results if it has one of the sections that are asked for."""
    file = arguments.out / "benchmark.json"
    return [file] if file.exists() and set(json.loads(file.read_text())) & set(arguments.only) else []


def measure(section: str, arguments: argparse.Namespace) -> None:
    """Measure one section and write it beside those that were measured before."""
    print(f"== {section}", flush=True)
    rows: list[Row] = []
    for row in getattr(importlib.import_module(f"benchmarks.{SECTIONS[section]}"), f"measure_{section}")(arguments):
        rows.append(row)
        print("  " + "  ".join(f"{name} {shown(value)}" for name, value in row.items()), flush=True)
    file = arguments.out / "benchmark.json"
    results = json.loads(file.read_text()) if file.exists() else {}
    results |= {section: rows, "machine": machine()}
    write_durably(file, (json.dumps(results, indent=2) + "\n").encode())
    write_durably(arguments.out / "benchmark.md", as_markdown(results).encode())


def shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def machine() -> Row:
    import torch

    return {"processor": platform.processor() or platform.machine(), "cores": CORES, "torch": torch.__version__}


def as_markdown(results: dict[str, Any]) -> str:
    """Return one table a section."""
    lines = [f"Machine: {results['machine']}"]
    for section, rows in results.items():
        if section == "machine" or not rows:
            continue
        columns = list(dict.fromkeys(name for row in rows for name in row))
        lines += ["", f"## {section}", "", f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
        lines += [f"| {' | '.join(shown(row.get(name, '')) for name in columns)} |" for row in rows]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
