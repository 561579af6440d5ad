"""A node whose parts only wait: ``python stub_node.py [supervise] --config F [--only PART --supervised]``."""

import sys
import threading
from pathlib import Path

from apps.node import part_process, supervisor
from apps.node.settings import NodeSettings, read_settings


def stub_part(name: str) -> part_process.RunPart:
    """Return a part that notes in ``parts.txt`` that it runs, waits, and notes that it was told to end."""

    def run(settings: NodeSettings, stop: threading.Event) -> None:
        note(settings.spool.parent / "parts.txt", f"{name} runs")
        if (settings.spool.parent / f"{name}.dies").exists():
            raise ValueError("Doe^John has 1.2.840.99.1.2")
        stop.wait()
        note(settings.spool.parent / "parts.txt", f"{name} ended")

    return run


def note(path: Path, line: str) -> None:
    with path.open("a") as file:
        file.write(f"{line}\n")


def main(words: list[str]) -> int:
    settings = read_settings(words[words.index("--config") + 1])
    if words[0] == "supervise":
        node = supervisor.Supervisor(words[2], settings, [sys.executable, __file__])
        node.run(part_process.stop_event())
        return 0
    part_process.part_function = stub_part
    return part_process.run_part(words[words.index("--only") + 1], settings, "--supervised" in words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
