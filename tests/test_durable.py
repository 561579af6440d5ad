"""Files that are whole or not there: whatever the disk says, and wherever the process dies."""

import errno
import io
import os
import random
import resource
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cxr_monai.durable import sync_folder, write_durably
from cxr_monai.errors import Code, StorageError, TrainingError

OLD, NEW = b"old" * 50_000, b"new!" * 60_000


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def run_alone(script: str, *arguments: Any) -> subprocess.CompletedProcess[str]:
    """Run a script in a process that has imported nothing but what it asks for."""
    command = [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)]
    root = Path(__file__).resolve().parents[1]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60)


class Fault:
    """Stands for one of the system's functions: fails at its ``at``-th call, else does what it stands for."""

    def __init__(self, real: Callable[..., Any], number: int, at: int = 1) -> None:
        self.real, self.number, self.left = real, number, at

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        self.left -= 1
        if self.left == 0:
            raise OSError(self.number, os.strerror(self.number))
        return self.real(*arguments, **named)


def test_a_file_is_written_and_replaced(tmp_path: Path) -> None:
    for content in (b"", OLD, NEW, bytes(range(256))):
        write_durably(tmp_path / "file", content)
        assert (tmp_path / "file").read_bytes() == content
    assert names(tmp_path) == ["file"]


def test_folders_are_made_and_a_text_is_a_path(tmp_path: Path) -> None:
    write_durably(str(tmp_path / "a" / "b" / "file"), NEW)
    assert (tmp_path / "a" / "b" / "file").read_bytes() == NEW


def test_the_file_is_synced_before_it_is_renamed_and_its_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    fsync, replace = os.fsync, os.replace

    def traced_fsync(descriptor: int) -> None:
        synced = os.fstat(descriptor)
        is_folder = os.path.samestat(synced, tmp_path.stat())
        told.append("sync folder" if is_folder else f"sync {synced.st_size} bytes")
        fsync(descriptor)

    def traced_replace(source: Any, target: Any) -> None:
        told.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", traced_fsync)
    monkeypatch.setattr(os, "replace", traced_replace)
    write_durably(tmp_path / "file", NEW)
    assert told == [f"sync {len(NEW)} bytes", "rename", "sync folder"]


ERRORS = [
    (errno.ENOSPC, Code.DISK_FULL),
    (errno.EDQUOT, Code.DISK_FULL),
    (errno.EIO, Code.WRITE_FAILED),
    (errno.EACCES, Code.WRITE_FAILED),
]
BEFORE_THE_RENAME = {
    "mkdir": ("pathlib.Path.mkdir", 1),
    "open": ("pathlib.Path.open", 1),
    "fsync of the file": ("os.fsync", 1),
    "replace": ("os.replace", 1),
}
AFTER_THE_RENAME = {"open of the folder": ("os.open", 1), "fsync of the folder": ("os.fsync", 2)}


def break_at(monkeypatch: pytest.MonkeyPatch, step: tuple[str, int], number: int) -> None:
    name, at = step
    owner, _, attribute = name.rpartition(".")
    target = Path if owner == "pathlib.Path" else os
    fault = Fault(getattr(target, attribute), number, at)
    # a plain function is bound to the path it is called on, an object is not
    monkeypatch.setattr(target, attribute, lambda *arguments, **named: fault(*arguments, **named))


@pytest.mark.parametrize(("number", "code"), ERRORS)
@pytest.mark.parametrize("step", ["write", "write half", "close"])
def test_an_error_while_the_content_is_written_leaves_the_old_one(
    step: str, number: int, code: Code, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(io.FileIO):
        """A disk that takes nothing, or half and then nothing, or says so only at the end, as NFS does."""

        halves = 0

        def write(self, content: Any) -> int:
            if step == "write" or (step == "write half" and self.halves):
                raise OSError(number, os.strerror(number))
            self.halves += 1
            return super().write(bytes(content)[: len(content) // 2 if step == "write half" else None]) or 0

        def close(self) -> None:
            already = self.closed
            super().close()
            if step == "close" and not already:
                raise OSError(number, os.strerror(number))

    path = tmp_path / "file"
    path.write_bytes(OLD)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", lambda self, mode: io.BufferedWriter(Broken(str(self), mode)))
        with pytest.raises(StorageError) as caught:
            write_durably(path, NEW)
    check(caught.value, code, number, path)
    assert path.read_bytes() == OLD
    assert names(tmp_path) == ["file"]


def check(error: StorageError, code: Code, number: int, path: Path) -> None:
    assert error.code == code
    assert isinstance(error, TrainingError)
    assert error.where == str(path)
    assert os.strerror(number) in str(error)
    assert error.fix
    assert isinstance(error.__cause__, OSError)


@pytest.mark.parametrize(("number", "code"), ERRORS)
@pytest.mark.parametrize("step", BEFORE_THE_RENAME)
def test_an_error_before_the_rename_leaves_the_old_content(
    step: str, number: int, code: Code, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(OLD)
    with monkeypatch.context() as patched:
        break_at(patched, BEFORE_THE_RENAME[step], number)
        with pytest.raises(StorageError) as caught:
            write_durably(path, NEW)
    check(caught.value, code, number, path)
    assert path.read_bytes() == OLD
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize(("number", "code"), ERRORS)
@pytest.mark.parametrize("step", AFTER_THE_RENAME)
def test_an_error_after_the_rename_leaves_a_whole_file(
    step: str, number: int, code: Code, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(OLD)
    with monkeypatch.context() as patched:
        break_at(patched, AFTER_THE_RENAME[step], number)
        with pytest.raises(StorageError) as caught:
            write_durably(path, NEW)
    check(caught.value, code, number, path)
    assert path.read_bytes() in (OLD, NEW)
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("step", AFTER_THE_RENAME)
def test_an_error_after_the_rename_does_not_claim_that_the_old_content_is_there(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(OLD)
    with monkeypatch.context() as patched:
        break_at(patched, AFTER_THE_RENAME[step], errno.EIO)
        with pytest.raises(StorageError) as caught:
            write_durably(path, NEW)
    assert path.read_bytes() == OLD or "before is intact" not in str(caught.value)


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP])
def test_a_file_system_that_cannot_sync_folders_is_no_error(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        break_at(patched, AFTER_THE_RENAME["fsync of the folder"], number)
        write_durably(tmp_path / "file", NEW)
    assert (tmp_path / "file").read_bytes() == NEW


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
def test_a_device_that_is_full(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(OLD)
    path.with_name(f"file.{os.getpid()}.part").symlink_to("/dev/full")  # the kernel says ENOSPC, not a stand-in
    with pytest.raises(StorageError) as caught:
        write_durably(path, NEW)
    check(caught.value, Code.DISK_FULL, errno.ENOSPC, path)
    assert path.read_bytes() == OLD
    assert names(tmp_path) == ["file"]


def test_a_limit_in_the_middle_of_the_content(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(OLD)
    process = run_alone(
        """
        import resource, sys
        from cxr_monai.durable import write_durably
        from cxr_monai.errors import StorageError
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        try:
            write_durably(sys.argv[1], b"new!" * 60_000)
        except StorageError as error:
            print(error.code)
        """,
        path,
    )
    assert process.stdout == "write-failed\n", process.stderr
    assert path.read_bytes() == OLD
    assert names(tmp_path) == ["file"]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 100_000  # it was the child's


def test_a_folder_in_the_files_place(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    with pytest.raises(StorageError) as caught:
        write_durably(tmp_path / "file", NEW)
    assert caught.value.code == Code.WRITE_FAILED
    assert names(tmp_path) == ["file"]


def test_a_file_in_the_folders_place(tmp_path: Path) -> None:
    (tmp_path / "folder").write_bytes(OLD)
    with pytest.raises(StorageError) as caught:
        write_durably(tmp_path / "folder" / "file", NEW)
    assert caught.value.code == Code.WRITE_FAILED
    assert (tmp_path / "folder").read_bytes() == OLD


def test_an_interruption_leaves_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(OLD)

    def interrupted(descriptor: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", interrupted)
        with pytest.raises(KeyboardInterrupt):
            write_durably(path, NEW)
    assert path.read_bytes() == OLD
    assert names(tmp_path) == ["file"]


def test_syncing_a_folder_leaves_no_descriptor_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def descriptors() -> int:
        """The lowest descriptor that is free."""
        free = os.dup(0)
        os.close(free)
        return free

    before = descriptors()
    sync_folder(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", Fault(os.fsync, errno.EIO))
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            sync_folder(tmp_path)
    assert descriptors() == before


# Forks a child for every call that it makes into the system while it writes, and kills it just before, then just after
# that call. Prints how many there were, and what the file held each time.
KILLER = """
    import os, signal, sys
    from cxr_monai.durable import write_durably

    path, old, new = sys.argv[1], b"old" * 50_000, b"new!" * 60_000
    modules = {"posix", "_io", "io"}

    def write(at, event):
        count = 0
        def kill(frame, what, function):
            nonlocal count
            owner = getattr(function, "__self__", None)
            module = getattr(function, "__module__", None) or type(owner).__module__
            if what == event and module in modules:
                count += 1
                if count == at:
                    os.kill(os.getpid(), signal.SIGKILL)
        sys.setprofile(kill)
        write_durably(path, new)
        sys.setprofile(None)

    for event in ("c_call", "c_return"):
        at = 0
        while True:
            at += 1
            with open(path, "wb") as file:
                file.write(old)
            child = os.fork()
            if not child:
                write(at, event)
                os._exit(0)
            status = os.waitpid(child, 0)[1]
            with open(path, "rb") as file:
                content = file.read()
            left = "old" if content == old else "new" if content == new else "neither"
            print(event, at, "killed" if os.WIFSIGNALED(status) else "lived", left)
            if not os.WIFSIGNALED(status):
                break
    assert "torch" not in sys.modules
"""


def test_a_kill_at_any_call_into_the_system_leaves_old_or_new(tmp_path: Path) -> None:
    process = run_alone(KILLER, tmp_path / "file")
    assert process.returncode == 0, process.stderr
    told = [line.split() for line in process.stdout.splitlines()]
    for event in ("c_call", "c_return"):
        states = [(killed, left) for when, _, killed, left in told if when == event]
        assert states[-1] == ("lived", "new")
        kills = [left for killed, left in states if killed == "killed"]
        # mkdir, open, write, flush, fsync, close, replace, ... : first the old content, from the rename on the new
        assert kills.count("old") >= 6
        assert kills.count("new") >= 3
        assert kills == ["old"] * kills.count("old") + ["new"] * kills.count("new")


def test_a_kill_at_any_moment_leaves_old_or_new(tmp_path: Path) -> None:
    """Ten kills at seeded moments of a process that writes one content after the other without a pause."""
    path, draw = tmp_path / "file", random.Random(11)
    contents = [bytes([number]) * 3_000_000 for number in range(2)]
    write_durably(path, contents[0])
    script = (
        "import sys; from cxr_monai.durable import write_durably\n"
        "print('ready', flush=True)\n"
        "while True:\n"
        "    for number in (1, 0): write_durably(sys.argv[1], bytes([number]) * 3_000_000)"
    )
    for _ in range(10):
        child = subprocess.Popen(
            [sys.executable, "-c", script, path], cwd=Path(__file__).resolve().parents[1], stdout=subprocess.PIPE
        )
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(draw.uniform(0, 0.03))
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        assert path.read_bytes() in contents


def test_what_a_killed_process_left_is_gone_after_the_next_write(tmp_path: Path) -> None:
    process = run_alone(
        """
        import os, signal, sys
        from cxr_monai.durable import write_durably
        os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)
        write_durably(sys.argv[1], b"new!" * 60_000)
        """,
        tmp_path / "file",
    )
    assert process.returncode == -signal.SIGKILL
    write_durably(tmp_path / "file", NEW)
    assert names(tmp_path) == ["file"]
