"""What must work with whatever versions are installed: imports, a training, predictions, maps, exports, sharing.

    python scripts/lowest_check.py      # in the environment that is to be tried; about two minutes

It needs no test runner, and is what ``scripts/lowest.py`` runs with the lowest versions that setup.py allows.
"""

import importlib
import os
import pkgutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
from pydicom import dcmread
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

import cxr_monai

STEPS = """
phantom nih --count 40 --size 64 --workers 1 --dicom
manifest nih nih --out m.csv
split m.csv --scheme random
check m.csv --pixels
run cxr_nih14 train --manifest m.csv --output_dir OUT --epochs 1 --image_size 32 --batch_size 8
run OUT/bundle evaluate --manifest m.csv --output_dir E --replicates 50
predict OUT/bundle m.csv --out p.csv
predict OUT/bundle m.csv --out openvino.csv --runtime openvino
explain OUT/bundle m.csv --split test --out maps
bundle export OUT/bundle --format onnx --out exported
bundle pack OUT/bundle --metrics E --name cxr-a --version 1.0.0 --out share
bundle keys a --out keys
bundle trust keys/a.pub --name a
bundle sign share/cxr-a-1.0.0.zip --key keys/a.pem
bundle install share/cxr-a-1.0.0.zip
run cxr-a inference --manifest m.csv --output_dir I
doctor
"""


def modules() -> list[str]:
    """Return the names of all modules of the package."""
    found = pkgutil.walk_packages(cxr_monai.__path__, "cxr_monai.")
    return [module.name for module in found if not module.name.endswith("__main__")]


def types(folder: Path, words: str) -> None:
    """Run ``cxr-monai`` in the folder, its home; ends this process with what it said where it fails."""
    own = {"HOME": str(folder), "XDG_DATA_HOME": str(folder / "data"), "CXR_MONAI_CACHE": str(folder / "cache")}
    command = [sys.executable, "-m", "cxr_monai.cli", *words.split()]
    done = subprocess.run(command, cwd=folder, env=os.environ | own, capture_output=True, text=True)
    print(f"{'ok' if done.returncode == 0 else 'FAILED'}  cxr-monai {words}", flush=True)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)


def films(folder: Path) -> int:
    """Write one film in every form that is read, decoded by another library each; returns how many."""
    film = sorted((folder / "nih" / "dicom").rglob("*.dcm"))[0]
    (folder / "films").mkdir()
    for syntax in (JPEG2000Lossless, JPEGLSLossless, RLELossless):
        dataset = dcmread(film)
        dataset.compress(syntax)
        dataset.save_as(folder / "films" / f"{syntax.keyword}.dcm")
    dcmread(film).save_as(folder / "films" / "plain.dcm")
    return 4


def nifti(folder: Path) -> None:
    """Write a film as NIfTI."""
    columns_first = np.random.default_rng(0).random((64, 64), dtype="float32")
    nibabel.save(nibabel.Nifti1Image(columns_first, np.eye(4)), folder / "film.nii.gz")


def demand(right: bool, what: str) -> None:
    """End this process where something is not as it must be."""
    if not right:
        raise SystemExit(f"FAILED  {what}")


def main() -> None:
    """Import everything, take every step, compare what must be equal."""
    for name in modules():
        importlib.import_module(name)
    print(f"ok  {len(modules())} modules imported")
    with tempfile.TemporaryDirectory(prefix="cxr-monai-lowest-") as temporary:
        folder = Path(temporary)
        for words in STEPS.strip().splitlines():
            types(folder, words)
        count = films(folder)
        types(folder, "predict OUT/bundle films --out films.csv --strict")
        read = pd.read_csv(folder / "films.csv").set_index("image").to_numpy()
        demand(len(read) == count and bool((read == read[:1]).all()), "the same film in every form has the same values")
        nifti(folder)
        types(folder, "predict OUT/bundle film.nii.gz --out nifti.csv --strict")
        table = pd.read_csv(folder / "p.csv").set_index("image")
        demand(table.shape == (40, 14) and bool(np.isfinite(table.to_numpy()).all()), "every film and finding")
        other = pd.read_csv(folder / "openvino.csv").set_index("image")
        np.testing.assert_allclose(other.to_numpy(), table.to_numpy(), atol=0.02)
        installed = pd.read_csv(folder / "I" / "predictions.csv").set_index("image")
        np.testing.assert_allclose(installed.loc[table.index, table.columns].to_numpy(), table.to_numpy(), atol=0.02)
    print("ok  all of it")


if __name__ == "__main__":
    main()
