"""What must work with whatever versions are installed: imports, a training, predictions, maps, exports, sharing.

    python scripts/lowest_check.py      # in the environment that is to be tried; about two minutes

It needs no test runner, and is what ``scripts/lowest.py`` runs with the lowest versions that setup.py allows.
"""

import importlib
import os
import pkgutil
import queue
import subprocess
import sys
import tempfile
import threading
from contextlib import closing
from pathlib import Path

import cxr_monai_apps
import nibabel
import numpy as np
import pandas as pd
from cxr_monai_apps.node.analyser import Analyser
from cxr_monai_apps.node.receiver import run_receiver
from cxr_monai_apps.node.settings import read_settings
from cxr_monai_apps.node.spool import Spool
from pydicom import dcmread
from pydicom.uid import (
    DigitalXRayImageStorageForPresentation,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)
from pynetdicom import AE

import cxr_monai

STEPS = """
phantom nih --count 40 --size 64 --workers 1 --dicom
manifest nih nih --out m.csv
split m.csv --scheme random
check m.csv --pixels
run cxr_nih14 train --manifest m.csv --output_dir OUT --epochs 1 --image_size 32 --batch_size 8
run OUT/bundle evaluate --manifest m.csv --output_dir E --replicates 50
predict OUT/bundle m.csv --out p.csv
predict OUT/bundle nih/dicom --out d.csv --dicom-out results --dicom-objects sr,sc,gsps,seg --gate off
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
    """Return the names of all modules of the package and its programs."""
    found = [
        *pkgutil.walk_packages(cxr_monai.__path__, "cxr_monai."),
        *pkgutil.walk_packages(cxr_monai_apps.__path__, "cxr_monai_apps."),
    ]
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


def node(folder: Path) -> None:
    """Send a film to a node's receiver, let the analyser answer, and look at what is to be sent."""
    (folder / "node.toml").write_text(
        '[receive]\nport = 0\nreserve_mb = 1\n[analyse]\nbundle = "OUT/bundle"\ngate = "off"\n'
        '[[destination]]\nname = "archive"\n'
    )
    settings, stop, port = read_settings(folder / "node.toml"), threading.Event(), queue.Queue[int]()
    receiver = threading.Thread(target=run_receiver, args=(settings, stop, port.put))
    receiver.start()
    sender = AE()
    sender.add_requested_context(DigitalXRayImageStorageForPresentation)
    association = sender.associate("127.0.0.1", port.get(timeout=60), ae_title=settings.receive.ae_title)
    film = sorted((folder / "nih" / "dicom").rglob("*.dcm"))[0]
    status = association.send_c_store(dcmread(film)).Status
    association.release()
    stop.set()
    receiver.join()
    demand(status == 0, "a film is received")
    with closing(Spool(settings.spool)) as spool:
        Analyser(spool, settings).answer_some(threading.Event())
        kinds = sorted(str(dcmread(delivery.path).Modality) for delivery in spool.due("archive"))
    demand(kinds == ["OT", "SR"], "a report and a picture wait for the archive")
    print("ok  a node answers", flush=True)


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
        node(folder)
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
