"""What the whole node does with films on their way to a real archive and back: rate, processor time, latency, kills.

    python scripts/measure_node.py --bundle BUNDLE [--films 60] [--size 512] [--kills 10] [--folder DIR] [--receiver]

Films are drawn, sent by dcmsend to a node that runs as in a hospital, and counted in Orthanc. Then receiver, analyser
and deliverer are killed (-9) so many times each, at moments that a seed decides, while films arrive again: none may be
lost or be there twice. Needs Linux, root and the packages of ``make hospital``. Writes nothing but in --folder.
"""

import argparse
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pydicom import dcmread
from pydicom.uid import generate_uid

from cxr_monai.data.phantom import make_phantoms
from tests.support.hospital_network import Orthanc, hospital_absent, hospital_network
from tests.support.running_node import (
    ACKNOWLEDGED,
    CLONE,
    RunningNode,
    dcmsend,
    send_until_acknowledged,
    wait_for,
)

PARTS = {"receive": 0.15, "analyse": 1.5, "deliver": 1.5}
"""The parts, and the seconds after the first film within which each is killed: a film is received in 0.05."""
SEED = 19
LONG_S = 3600


def main() -> int:
    """Measure, print a table, and return 1 if a film was lost or answered twice."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").partition("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--bundle", required=True, help="that answers: a folder")
    parser.add_argument("--films", type=int, default=60, help="films at once")
    parser.add_argument("--size", type=int, default=512, help="pixels of a side")
    parser.add_argument("--kills", type=int, default=10, help="of each of the three processes; 0 leaves them out")
    parser.add_argument("--folder", help="for films, spools and archives; a temporary one by default")
    parser.add_argument("--receiver", action="store_true", help="scripts/benchmark_receiver.py, too")
    arguments = parser.parse_args()
    if absent := hospital_absent():
        print(absent, file=sys.stderr)
        return 2
    folder = Path(arguments.folder or tempfile.mkdtemp(prefix="measure-node-"))
    try:
        with hospital_network():
            return measure(arguments, folder)
    finally:
        if not arguments.folder:
            shutil.rmtree(folder, ignore_errors=True)


def measure(arguments: argparse.Namespace, folder: Path) -> int:
    """Measure all that is asked for; return the exit status."""
    bundle = Path(arguments.bundle).absolute()
    say(f"{arguments.films} films of {arguments.size} pixels are drawn")
    films = drawn_films(folder, arguments.films, arguments.size, "once")
    rows = whole_way(folder / "once", bundle, films)
    if arguments.kills:
        again = drawn_films(folder, arguments.films, arguments.size, "killed")
        rows += killed(folder / "killed", bundle, again, arguments.kills)
    print("\n| what | measured |\n|---|---|")
    print("\n".join(f"| {name} | {value} |" for name, value in rows), flush=True)
    if arguments.receiver:
        subprocess.run([sys.executable, str(CLONE / "scripts" / "benchmark_receiver.py")], check=True)
    return 1 if any(value.startswith("WRONG") for _, value in rows) else 0


def say(text: str) -> None:
    """Tell what is being done."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def drawn_films(folder: Path, count: int, size: int, name: str) -> list[Path]:
    """Draw films, and give them UIDs of their own.

    Args:
        folder: they go to its ``films/NAME``.
        count: of films.
        size: pixels of a side.
        name: films of another name are other films.
    """
    place = folder / "films" / name
    make_phantoms(place, count, size, seed=SEED, workers=1, masks=False, dicom=True, progress=False)
    paths = sorted((place / "dicom").rglob("*.dcm"))[:count]
    for path in paths:
        film = dcmread(path)
        for keyword in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
            setattr(film, keyword, generate_uid(entropy_srcs=[name, keyword, path.name]))
        film.file_meta.MediaStorageSOPInstanceUID = film.SOPInstanceUID
        film.save_as(path)
    return paths


def whole_way(folder: Path, bundle: Path, films: list[Path]) -> list[tuple[str, str]]:
    """Send films at once through a node that has answered one; return what is measured, by name."""
    with Orthanc(folder / "orthanc") as archive, RunningNode(folder / "node", bundle, {"orthanc": archive}) as node:
        send_until_acknowledged(node.port, films[:1])
        wait_for(lambda: node.is_done(1), "the first film is answered", LONG_S)
        say(f"the model is loaded; {len(films) - 1} films are sent")
        before, start = processor_s(tree(node)), time.monotonic()
        acknowledged = dcmsend(node.port, films[1:]).count(ACKNOWLEDGED)
        sent = time.monotonic() - start
        wait_for(lambda: node.is_done(len(films)), "all films are answered", LONG_S)
        took, used = time.monotonic() - start, processor_s(tree(node)) - before
        rest = len(films) - 1
        latencies = node.rows(
            "SELECT max(sent_at) - received_at FROM films JOIN objects USING (digest) JOIN deliveries USING (uid) "
            "GROUP BY digest ORDER BY received_at LIMIT -1 OFFSET 1"
        )
        values = sorted(value for (value,) in latencies)
        memory = {name: peak_mb(pid) for name, pid in node.pids().items()}
        return [
            ("films acknowledged", f"{acknowledged} of {rest} in {sent:.1f} s, {rest / sent:.1f}/s"),
            ("in Orthanc", in_archive(node, archive, films)),
            ("from the first film sent to the last result stored", f"{took:.1f} s, {rest / took:.2f} films/s"),
            ("processor time a film, the node's whole tree", f"{used / rest:.2f} s"),
            ("from film received to result stored, the queue with it", quantiles(values)),
            ("peak memory", ", ".join(f"{name} {mb:.0f} MB" for name, mb in memory.items())),
        ]


def killed(folder: Path, bundle: Path, films: list[Path], kills: int) -> list[tuple[str, str]]:
    """Send films again and again while the parts are killed; return what came of it."""
    chance, count = random.Random(SEED), Counter[str]()
    with Orthanc(folder / "orthanc") as archive, RunningNode(folder / "node", bundle, {"orthanc": archive}) as node:
        order = [part for part in PARTS for _ in range(kills)]
        chance.shuffle(order)
        share = max(1, len(films) // len(order))
        again = 0
        for number, part in enumerate(order):
            if number % 6 == 5:  # pauses between the starts of a part double: a new supervisor begins at one second
                node.stop()
                node.start()
            if part != "receive":  # what is killed is not still starting
                wait_for(partial(node.is_at_work, number * share), "the films so far are answered", LONG_S)
            pids: list[int] = []
            timer = threading.Timer(
                chance.uniform(0, PARTS[part]), lambda part=part, pids=pids: pids.append(node.kill(part))
            )
            timer.start()
            again += send_until_acknowledged(node.port, films[number * share : (number + 1) * share])
            timer.join()
            node.wait_for_another(part, pids[0])
            count[part] += 1
            say(f"{part} was killed ({number + 1} of {len(order)}); {len(node.answers())} films were taken up")
        again += send_until_acknowledged(node.port, films[len(order) * share :])
        wait_for(lambda: node.is_done(len(films)), "all films are answered", LONG_S)
        return [
            ("killed (-9)", ", ".join(f"{part} {times}" for part, times in count.items())),
            ("films sent again, since the answer was cut off", str(again)),
            ("in Orthanc after the kills", in_archive(node, archive, films)),
        ]


def in_archive(node: RunningNode, archive: Orthanc, films: list[Path]) -> str:
    """Return how many reports and pictures of how many films are there; begins with WRONG where it is not one each."""
    kinds = Counter(
        {
            kind: sum(len(series["Instances"]) for series in archive.find("Series", Modality=kind))
            for kind in ("SR", "OT")
        }
    )
    states = Counter(f"{state} {code}".strip() for state, code in node.answers().values())
    shown = node.rows("SELECT count(DISTINCT digest) FROM objects")[0][0]
    studies = len(archive.get("/studies"))
    is_right = kinds == {"SR": shown, "OT": shown} and sum(states.values()) == len(films) and studies == shown
    words = f"{kinds['SR']} reports and {kinds['OT']} pictures in {studies} studies, of {len(films)} films: "
    return ("" if is_right else "WRONG: ") + words + ", ".join(f"{number} {name}" for name, number in states.items())


def quantiles(values: list[float]) -> str:
    """Return median and 95 % of seconds."""
    if not values:
        return "none"
    high = values[min(len(values) - 1, round(0.95 * len(values)))]
    return f"median {statistics.median(values):.1f} s, 95 % {high:.1f} s"


def tree(node: RunningNode) -> list[int]:
    """Return the processes of a node: supervisor, parts, and their workers."""
    found, parents = [node.process.pid] if node.process else [], {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found


def processor_s(pids: list[int]) -> float:
    """Return the processor time of processes and of their children that have ended, in seconds."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def peak_mb(pid: int) -> float:
    """Return the largest memory that a process has had, in MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1000


if __name__ == "__main__":
    sys.exit(main())
