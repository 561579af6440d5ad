"""Damage a signed bundle and its configurations at random: nothing may come of it but coded refusals or acceptance.

python scripts/fuzz_bundles.py --archives 5000 --configurations 2000 --seed 1
nice -n 10 python scripts/fuzz_bundles.py --archives 500 --keep findings

Every archive is inspected, verified and installed, some signed anew by the trusted key, so that what is in them is
looked at too; every configuration is inspected, and opened where it is accepted. A finding (an exception without a
code, more than ten seconds of a processor, a program, a connection, a file outside of the temporary folder, a text that
would run and is accepted) is printed with its number, its bytes are kept with --keep, and the exit status is 1.
"""

import argparse
import json
import platform
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cxr_monai.bundle.bundle_folder import Bundle
from cxr_monai.bundle.shipped import shipped_bundles
from cxr_monai.durable import write_durably
from cxr_monai.errors import CxrError
from cxr_monai.progress import progress_bar
from cxr_monai.sharing.inspection.bundle_inspection import INSPECTION_SECONDS, inspect_bundle
from cxr_monai.sharing.package.archive import inspect_archive
from cxr_monai.sharing.package.pack import pack_bundle
from cxr_monai.sharing.trust.install import install_bundle
from cxr_monai.sharing.trust.keys import make_key, trust_key
from cxr_monai.sharing.trust.sign import sign_archive
from cxr_monai.sharing.trust.verify import verify_bundle
from tests.sharing.archives import Hospital, make_bundle
from tests.sharing.damaging import CANARY, damaged_archive, damaged_configuration, would_run
from tests.sharing.zoo import CONFIGURATIONS

HANG = 120
"""Seconds on the clock after which something hangs."""
_GUARDED = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "socket.connect", "pty.spawn")
_watched: list[tuple[Path, list[str]]] = []
"""Where files may be written while something is looked at, and what was done beside that; empty when nothing is."""


def _audit(event: str, words: tuple[Any, ...]) -> None:
    if not _watched:
        return
    home, events = _watched[-1]
    if event in _GUARDED:
        events.append(event)
    elif event == "open" and _writes(words) and not Path(words[0]).resolve().is_relative_to(home):
        events.append(f"wrote {words[0]}")


def _writes(words: tuple[Any, ...]) -> bool:
    path, mode = words[:2]
    return isinstance(path, str) and isinstance(mode, str) and bool(set(mode) & set("wax+")) and path != "/dev/null"


class Hang(BaseException):
    """It takes too long on the clock."""


def _hang(*_: Any) -> None:
    raise Hang


@contextmanager
def watched(home: Path, events: list[str]) -> Iterator[None]:
    """Note what is done outside of a folder meanwhile, and end what hangs."""
    before = signal.signal(signal.SIGALRM, _hang)
    signal.alarm(HANG)
    _watched.append((home, events))
    try:
        yield
    finally:
        _watched.pop()
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def outcome(home: Path, look: Callable[[], str]) -> tuple[str, float]:
    """Return what came of a look (its word, an error's code, or ``FINDING ...``) and the processor's seconds."""
    events: list[str] = []
    began = time.thread_time()
    try:
        with watched(home, events):
            result = look()
    except CxrError as error:
        result = error.code.value
    except Hang:
        result = f"FINDING more than {HANG} seconds"
    except Exception as error:  # whatever it is, it is what this looks for
        result = f"FINDING {type(error).__name__}: {error}"
    seconds = time.thread_time() - began
    if events or (home / CANARY).exists():
        return f"FINDING {', '.join(events) or 'a file that only a program of the bundle writes'}", seconds
    return (result if seconds <= INSPECTION_SECONDS + 1 else f"FINDING {seconds:.1f} seconds of a processor"), seconds


def hospital(home: Path) -> Hospital:
    """Make a signed bundle and a key that is trusted."""
    bundle = make_bundle(home / "bundle")
    archive = pack_bundle(bundle, home / "share", name="cxr-a", version="1.0.0").path
    make_key("hospital-a", home / "keys")
    trust_key(home / "keys" / "hospital-a.pub", "hospital-a", home / "trusted")
    sign_archive(archive, home / "keys" / "hospital-a.pem")
    return Hospital(bundle, archive, home / "keys", home / "trusted")


def looks_of_archive(path: Path, sender: Hospital, store: Path) -> dict[str, Callable[[], str]]:
    """Return what a receiver does with an archive."""

    def inspected() -> str:
        return "refused by its inspection" if inspect_archive(path).refused else "accepted"

    def verified() -> str:
        verify_bundle(path, sender.trusted)
        return "accepted"

    def installed() -> str:
        install_bundle(path, trusted=sender.trusted, store=store)
        return "accepted"

    return {"inspect": inspected, "verify": verified, "install": installed}


class Fuzzer:
    """Counts what came out of everything that was damaged.

    Args:
        seed: of the damage.
        home: a temporary folder; nothing may be written elsewhere.
        keep: where the files with findings go.

    Attributes:
        counts: by look and outcome.
        slowest: seconds of a processor, and of what.
    """

    def __init__(self, seed: int, home: Path, keep: Path | None = None) -> None:
        self.seed, self.home, self.keep = seed, home, keep
        self.chance = random.Random(seed)
        self.counts: Counter[str] = Counter()
        self.slowest: tuple[float, str] = (0.0, "")

    def archives(self, count: int) -> None:
        """Damage and receive ``count`` archives."""
        sender = hospital(self.home / "sender")
        path, store = self.home / "bad.zip", self.home / "store"
        good = sender.archive.read_bytes()
        for number in progress_bar(range(count), total=count, desc="archives", unit="files"):
            kind = damaged_archive(good, path, sender.key, self.home, self.chance)
            for name, look in looks_of_archive(path, sender, store).items():
                self._count(f"archive, {name}", f"archive {number} ({kind}), {name}", look, path)
            shutil.rmtree(store, ignore_errors=True)
            self._count_left(f"archive {number} ({kind})", path)

    def configurations(self, count: int) -> None:
        """Damage and inspect ``count`` configurations; those that are accepted are opened."""
        honest = [json.loads(json.dumps(config)) for config in CONFIGURATIONS.values()]
        shipped = sorted(shipped_bundles().values())
        root = self.home / "root"
        for number in progress_bar(range(count), total=count, desc="configurations", unit="files"):
            shutil.rmtree(root, ignore_errors=True)
            shutil.copytree(self.chance.choice(shipped), root)
            file = self.chance.choice(sorted((root / "configs").glob("*.json")))
            config = json.loads(file.read_text("utf-8"))
            if file.name == "inference.json" and self.chance.random() < 0.3:
                config = self.chance.choice(honest)
            file.write_bytes(damaged_configuration(config, self.home, self.chance))
            self._count(
                "configuration", f"configuration {number}, {file.name}", partial(self._opened, root, file), file
            )

    @staticmethod
    def _opened(root: Path, file: Path) -> str:
        if inspect_bundle(root).refused:
            return "refused by its inspection"
        if would_run(file.read_bytes()):
            return "FINDING a text that runs is accepted"
        Bundle.open(root)
        return "accepted"

    def _count(self, name: str, what: str, look: Callable[[], str], path: Path) -> None:
        result, seconds = outcome(self.home, look)
        self.slowest = max(self.slowest, (seconds, what))
        if result.startswith("FINDING"):
            print(f"{what} of seed {self.seed}: {result}")
            if self.keep is not None:
                write_durably(self.keep / f"{self.seed}_{what.replace(' ', '_')}", path.read_bytes())
            result = "FINDING"
        self.counts[f"{name}: {result}"] += 1

    def _count_left(self, what: str, path: Path) -> None:
        """Nothing is left beside what was there before."""
        left = {entry.name for entry in self.home.iterdir()} - {"sender", "bad.zip", "temporary"}
        if left or any((self.home / "temporary").iterdir()):
            self._count("archive", what, lambda: f"FINDING left behind: {', '.join(sorted(left)) or 'temporary'}", path)


def fuzz(archives: int, configurations: int, seed: int, keep: Path | None = None) -> Fuzzer:
    """Damage and look; return what came out."""
    sys.addaudithook(_audit)  # it stays, and does nothing while nothing is looked at
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder).resolve()
        (home / "temporary").mkdir()
        before, tempfile.tempdir = tempfile.tempdir, str(home / "temporary")
        try:
            fuzzer = Fuzzer(seed, home, keep)
            fuzzer.archives(archives)
            fuzzer.configurations(configurations)
        finally:
            tempfile.tempdir = before
    return fuzzer


def main(words: list[str] | None = None) -> int:
    """Fuzz, print the counts and the times; 1 if anything was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--archives", type=int, default=5000)
    parser.add_argument("--configurations", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, metavar="DIR", help="where the files with findings go")
    arguments = parser.parse_args(words)
    began, clock = time.process_time(), time.monotonic()
    fuzzer = fuzz(arguments.archives, arguments.configurations, arguments.seed, arguments.keep)
    for result, number in sorted(fuzzer.counts.items()):
        print(f"{number:>8,}  {result}")
    print(
        f"{time.process_time() - began:,.0f} seconds of a processor, {time.monotonic() - clock:,.0f} on the clock, "
        f"{platform.machine()}; the slowest: {fuzzer.slowest[0]:.2f} seconds, {fuzzer.slowest[1]}"
    )
    return 1 if any(result.endswith("FINDING") for result in fuzzer.counts) else 0


if __name__ == "__main__":
    sys.exit(main())
