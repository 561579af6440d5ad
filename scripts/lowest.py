"""Do the lowest versions that setup.py allows work? Install them, of all but torch, and train and predict with them.

    python scripts/lowest.py                       # or: make lowest; about four minutes, a third of it to install
    python scripts/lowest.py --folder .lowest

pip chooses the highest version of everything. So each requirement is pinned to its floor, and torch to the version of
constraints.txt (one large download less); what those require themselves is left to pip. Then, in an environment of its
own with this package installed: every module is imported, and ``scripts/lowest_check.py`` makes phantoms, trains,
judges, explains, exports, signs, installs and predicts. Where all of it works, lowest.txt says with which versions; a
test demands that those are the floors of setup.py, so that none is changed without this having been run.
"""

import argparse
import os
import re
import runpy
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RECORD = ROOT / "lowest.txt"
EXTRAS = ("dicom", "node", "sharing", "export", "openvino")
"""What people install beside the package; ``test`` and ``dev`` are ours, and pinned by constraints.txt."""
_FLOOR = re.compile(r"([A-Za-z0-9_.-]+)>=([0-9][0-9.a-z]*)")


def floors(setup: Path = ROOT / "setup.py") -> dict[str, str]:
    """Return the lowest version of each requirement, by its name; of torch, the version of constraints.txt.

    Raises:
        ValueError: for a requirement that is no floor.
    """
    given: dict[str, Any] = {}
    stand_in = types.ModuleType("setuptools")
    stand_in.setup = given.update  # type: ignore[attr-defined]
    stand_in.find_packages = lambda **words: []  # type: ignore[attr-defined]
    before = sys.modules.get("setuptools")
    sys.modules["setuptools"] = stand_in
    try:
        runpy.run_path(str(setup))
    finally:
        sys.modules.pop("setuptools")
        if before is not None:
            sys.modules["setuptools"] = before
    required = [*given["install_requires"], *(one for extra in EXTRAS for one in given["extras_require"][extra])]
    lowest: dict[str, str] = {}
    for requirement in required:
        found = _FLOOR.fullmatch(requirement)
        if found is None:
            raise ValueError(f"{requirement!r}: a requirement is a name and the lowest version, such as 'numpy>=2.0'")
        lowest[found[1]] = found[2]
    return lowest | {"torch": tested("torch")}


def tested(name: str) -> str:
    """Return a package's version in constraints.txt."""
    found = re.search(rf"^{re.escape(name)}==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    if found is None:
        raise ValueError(f"constraints.txt has no {name}")
    return found[1]


def as_text(pins: dict[str, str]) -> str:
    """Return pins as pip reads them."""
    return "".join(f"{name}=={version}\n" for name, version in sorted(pins.items()))


def main() -> None:
    """Install, check, record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=ROOT / ".lowest", help="of the environment (%(default)s)")
    folder = parser.parse_args().folder.resolve()
    pins = floors()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pins.txt").write_text(as_text(pins))
    python = folder / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder / "venv")], check=True)
    pip = [
        str(python),
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "-c",
        str(folder / "pins.txt"),
    ]
    print(f"installing the lowest of {len(pins)} packages into {folder}: about two minutes and 2.3 GB", flush=True)
    subprocess.run([*pip, f"torch=={pins['torch']}"], check=True)  # first: nothing else chooses a larger build of it
    subprocess.run([*pip, "-e", f"{ROOT}[{','.join(EXTRAS)}]"], check=True)
    environment = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true"}
    subprocess.run([str(python), str(ROOT / "scripts" / "lowest_check.py")], check=True, env=environment)
    RECORD.write_text(as_text(pins))
    print(f"they work: {RECORD}")


if __name__ == "__main__":
    main()
