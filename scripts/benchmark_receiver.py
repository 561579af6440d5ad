"""How fast the receiver takes films in, and how much memory it needs for large ones.

    python scripts/benchmark_receiver.py [--films 200] [--large 10] [--folder DIR]

A receiver in a process of its own, senders in others. Films of 512x512 pixels over one association and over four; then
large films (5,500 x 7,273 pixels of 2 bytes, 40 megapixels) at once, one an association. Each film is acknowledged with
file, folder and row on the disk of --folder. Writes nothing but there, and removes it.
"""

import argparse
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE, _config

ROOT = Path(__file__).resolve().parents[1]
RECEIVER = """
import sys, threading
from pathlib import Path
from apps.node.receiver import run_receiver
from apps.node.settings import NodeSettings, ReceiveSettings
settings = NodeSettings(Path(sys.argv[1]), ReceiveSettings(port=0, reserve_mb=100))
run_receiver(settings, threading.Event(), lambda port: print(port, flush=True))
"""
SMALL, LARGE = (512, 512), (7273, 5500)


def film(shape: tuple[int, int], number: int) -> Dataset:
    """Return a film of noise; pixels of 2 bytes."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = DigitalXRayImageStorageForPresentation, generate_uid()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    dataset.Rows, dataset.Columns = shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PixelRepresentation = 1, "MONOCHROME2", 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelData = np.random.default_rng(number).integers(0, 4096, shape, dtype=np.uint16).tobytes()
    return dataset


def send(port: int, paths: Sequence[Path]) -> int:
    """Send films over one association; return how many were acknowledged."""
    _config.STORE_SEND_CHUNKED_DATASET = True  # the senders' memory is not what is measured
    entity = AE()
    entity.dimse_timeout = entity.network_timeout = 600
    entity.add_requested_context(DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian)
    association = entity.associate("127.0.0.1", port, ae_title="CXRNODE")
    statuses = [association.send_c_store(path).get("Status") for path in paths]
    association.release()
    return statuses.count(0x0000)


def measure(folder: Path, shape: tuple[int, int], films: int, associations: int) -> str:
    """Send films of a shape to a fresh receiver; return what came of it, as a line."""
    paths = []
    for number in range(films):
        paths.append(folder / f"{number}.dcm")
        film(shape, number).save_as(paths[-1], enforce_file_format=True)
    receiver = subprocess.Popen(
        [sys.executable, "-c", RECEIVER, folder / "spool"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    if receiver.stdout is None:
        raise RuntimeError("the receiver has no output")
    port, status = int(receiver.stdout.readline()), Path(f"/proc/{receiver.pid}")
    before = processor_s(status)
    with ProcessPoolExecutor(associations, multiprocessing.get_context("spawn")) as senders:
        list(senders.map(send, [port] * associations, [[]] * associations))  # started before the clock is
        start = time.perf_counter()
        acknowledged = sum(
            senders.map(send, [port] * associations, [paths[n::associations] for n in range(associations)])
        )
        seconds = time.perf_counter() - start
    spent = processor_s(status) - before
    peak = next(line.split()[1] for line in (status / "status").read_text().splitlines() if line.startswith("VmHWM"))
    receiver.kill()
    receiver.communicate()
    return (
        f"{films} films of {shape[1]}x{shape[0]}, {associations} at a time: {acknowledged} acknowledged, "
        f"{films / seconds:.1f} films/s, {1000 * spent / films:.0f} ms of processor each, "
        f"peak {int(peak) / 1000:.0f} MB"
    )


def processor_s(process: Path) -> float:
    """Return the processor seconds of a process so far (proc(5): utime and stime)."""
    fields = (process / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Measure, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--films", type=int, default=200, help="small ones (default %(default)s)")
    parser.add_argument("--large", type=int, default=10, help="at once (default %(default)s)")
    parser.add_argument("--folder", type=Path, help="on the disk to measure (default: that of temporary files)")
    arguments = parser.parse_args()
    for shape, films, associations in (
        (SMALL, arguments.films, 1),
        (SMALL, arguments.films, 4),
        (LARGE, arguments.large, arguments.large),
    ):
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            print(measure(Path(folder), shape, films, associations), flush=True)
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")


if __name__ == "__main__":
    main()
