"""Damage small valid files of every format at random and read them: nothing may come out but pictures and coded errors.

python scripts/fuzz_radiographs.py --count 20000 --seed 1 --jobs 2
python scripts/fuzz_radiographs.py --count 500 --gdcm        # with GDCM, a process a file: about 0.1 s each

Half of the files are damaged byte by byte, half say other things of their pixels (``tests/data/fuzzing.py``). They are
read by processes with a limit of memory and of time a file: a decoder that ends its process, or does not end, is a
finding, and the next file goes to a new process.

A finding (an exception without a code, a warning, pixels outside [0, 1], a crash, no answer) is printed with its kind
and number, its bytes are kept with --keep, and the exit status is 1.
"""

import argparse
import multiprocessing
import resource
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cxr_monai.data.formats import dicom_pixels
from cxr_monai.data.radiograph import read_radiograph
from cxr_monai.durable import write_durably
from cxr_monai.errors import RadiographError
from cxr_monai.progress import progress_bar
from tests.data.fuzzing import file_of, valid_files

Judge = Callable[[Path, bool], str]


@dataclass
class Limits:
    """What a process may take: decimal gigabytes of addresses, seconds a file; and whether GDCM is tried."""

    memory: float = 6.0
    seconds: float = 60.0
    gdcm: bool = False


@dataclass
class Findings:
    """What came out: how often each outcome, and each finding as (number, kind, what)."""

    counts: Counter[str] = field(default_factory=Counter)
    found: list[tuple[int, str, str]] = field(default_factory=list)


def outcome(path: Path, any_modality: bool) -> str:
    """Return ``picture``, an error's code, or ``FINDING ...``."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            pixels = read_radiograph(path, any_modality=any_modality).pixels
    except RadiographError as error:
        return error.code.value
    except Exception as error:  # whatever it is, it is what this looks for
        return f"FINDING {type(error).__name__}: {error}"
    good = bool(np.isfinite(pixels).all()) and 0 <= pixels.min() < pixels.max() <= 1
    return "picture" if good else "FINDING pixels outside [0, 1]"


def _work(connection: Connection, judge: Judge, seed: int, seeds: dict[str, bytes], limits: Limits) -> None:
    """Judge the files whose numbers come in, until None does."""
    size = int(limits.memory * 1e9)
    resource.setrlimit(resource.RLIMIT_AS, (size, size))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if not limits.gdcm:
        dicom_pixels.gdcm_is_installed = lambda: False  # type: ignore[assignment]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        connection.send("ready")
        while (number := connection.recv()) is not None:
            _, content, any_modality = file_of(seed, number, seeds)
            path.write_bytes(content)
            connection.send(judge(path, any_modality))


class _Reader:
    """A process that reads, and the file that it has."""

    def __init__(self, judge: Judge, seed: int, seeds: dict[str, bytes], limits: Limits) -> None:
        self.made_of = judge, seed, seeds, limits
        self.number: int | None = None
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, *self.made_of), daemon=True)
        self.process.start()
        theirs.close()
        if self.connection.recv() != "ready":
            raise RuntimeError("a process that reads did not start")

    def give(self, number: int | None) -> None:
        self.number = number
        self.connection.send(number)

    def answer(self, ready: bool) -> str:
        """Return the outcome of its file; a process that ended, or gave none in time, is a finding and replaced."""
        try:
            if ready:
                return self.connection.recv()
        except EOFError:
            pass
        self.process.join(0 if not ready else None)
        ended = self.process.exitcode
        self.end()
        self._start()
        return "FINDING no answer in time" if ended is None else f"FINDING the process ended with {ended}"

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()


def fuzz(
    count: int, seed: int, jobs: int = 1, limits: Limits | None = None, judge: Judge = outcome, keep: Path | None = None
) -> Findings:
    """Read damaged files.

    Args:
        count: how many.
        seed: which ones.
        jobs: processes that read.
        limits: of each.
        judge: from a file and ``any_modality`` to its outcome; another process imports it.
        keep: a folder for the files with findings.
    """
    limits, seeds = limits or Limits(), valid_files()
    result, todo = Findings(), iter(range(count))
    readers = [_Reader(judge, seed, seeds, limits) for _ in range(min(jobs, count))]
    busy: dict[Any, _Reader] = {reader.connection: reader for reader in readers}
    try:
        for reader in readers:
            reader.give(next(todo))
        with progress_bar(total=count, desc="fuzzing", unit="files") as bar:
            while busy:
                ready = wait(list(busy), timeout=limits.seconds)
                # a process that others overtook has its own time: it is asked when nobody else answers any more
                for connection in ready or list(busy):
                    reader = busy.pop(connection)
                    number, what = reader.number or 0, reader.answer(bool(ready))
                    result.counts["FINDING" if what.startswith("FINDING") else what] += 1
                    if what.startswith("FINDING"):
                        kind, content, _ = file_of(seed, number, seeds)
                        result.found.append((number, kind, what))
                        _show(f"{kind}, file {number} of seed {seed}: {what}", content, keep, f"{seed}_{number}")
                    bar.update()
                    if (following := next(todo, None)) is not None:
                        reader.give(following)
                        busy[reader.connection] = reader
    finally:
        for reader in readers:
            reader.end()
    return result


def _show(finding: str, content: bytes, keep: Path | None, name: str) -> None:
    print(finding)
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        write_durably(keep / name, content)


def main(words: list[str] | None = None) -> int:
    """Fuzz, print the counts; 1 if anything was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1, help="processes that read (default: %(default)s)")
    parser.add_argument("--gdcm", action="store_true", help="let GDCM try what the other decoders refuse")
    parser.add_argument("--memory", type=float, default=6.0, metavar="GB", help="of a process (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=60.0, help="of a file (default: %(default)s)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="where the files with findings go")
    arguments = parser.parse_args(words)
    limits = Limits(arguments.memory, arguments.seconds, arguments.gdcm)
    counts = fuzz(arguments.count, arguments.seed, arguments.jobs, limits, keep=arguments.keep).counts
    for result, number in counts.most_common():
        print(f"{number:>8,}  {result}")
    return 1 if counts["FINDING"] else 0


if __name__ == "__main__":
    sys.exit(main())
