"""Run the RUN and COPY steps of the Containerfile one by one below a folder, where there is no container engine.

    python deploy/try_containerfile.py FOLDER

/opt/cxr-monai and /var/lib/cxr-monai lie below FOLDER; the base image is this machine's Python; the user is not made.
Then the entry point is asked for its version and its help. Nothing outside FOLDER is written.
"""

import argparse
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

CLONE = Path(__file__).resolve().parents[1]
CONTAINERFILE = CLONE / "deploy" / "Containerfile"


def steps(text: str) -> Iterator[tuple[str, str]]:
    """Yield instruction and argument of every line of a Containerfile; comments are left out."""
    for line in text.replace("\\\n", " ").splitlines():
        if line.strip() and not line.startswith("#"):
            instruction, _, argument = line.partition(" ")
            yield instruction, argument.strip()


def try_steps(folder: Path) -> None:
    """Run the steps.

    Args:
        folder: empty, or not there.
    """
    here = folder / "opt/cxr-monai/source"
    here.mkdir(parents=True)
    for instruction, argument in steps(CONTAINERFILE.read_text("utf-8")):
        command = argument.replace("/opt/cxr-monai", str(folder / "opt/cxr-monai"))
        if instruction == "COPY":
            *sources, target = shlex.split(argument)
            for source in sources:
                copy(CLONE / source, here / target / (Path(source).name if target.endswith("./") else ""))
        elif instruction == "RUN" and "useradd" not in command:
            command = re.sub(r"^python ", f"{shlex.quote(sys.executable)} ", command)
            print(f"RUN {command}", flush=True)
            subprocess.run(command, shell=True, cwd=here, check=True)
    program = folder / "opt/cxr-monai/venv/bin/cxr-monai-node"
    subprocess.run([program, "--version"], check=True)
    subprocess.run([program, "--help"], check=True, stdout=subprocess.DEVNULL)
    print("every step works")


def copy(source: Path, target: Path) -> None:
    """Copy a file or a folder."""
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    try_steps(parser.parse_args().folder.resolve())
