"""What would this bundle execute? Found by reading it, without importing or evaluating anything of it.

inspection = inspect("bundle")
inspection.refused          # what speaks against it; empty if nothing does
inspection.remarks          # everything that it would call, evaluate, import, read or load, each with a verdict

MONAI evaluates any text that begins with ``$``, calls whatever a ``_target_`` names, imports what ``$import`` names,
reads the file behind a ``%``, and does so in every configuration, the metadata included. Each of these is judged
against lists of callables (``cxr_monai.sharing.allowlist``) and of arguments (``cxr_monai.sharing.arguments``) and a
small grammar (``cxr_monai.sharing.expressions``); ``cxr_monai.sharing.configurations`` puts them together.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from cxr_monai.errors import BundleError, Code
from cxr_monai.sharing import logging_file
from cxr_monai.sharing.configurations import addresses, gathered, judged
from cxr_monai.sharing.remarks import Remark, Verdict, shortened
from cxr_monai.sharing.strict_json import parse_strictly
from cxr_monai.sharing.weights_files import examine

MOST_FILES = 10_000
WEIGHTS = (".pt", ".pth", ".ts", ".safetensors")
TEXTS = (".json", ".md", ".txt", ".yml", ".yaml", ".conf", ".csv", ".sig", ".pem", ".pub")
PICTURES = {".png": b"\x89PNG\r\n\x1a\n", ".jpg": b"\xff\xd8\xff", ".jpeg": b"\xff\xd8\xff", ".svg": b""}
"""By suffix, how the content begins."""
MOST_BYTES = 64 << 20
"""Bytes of all configurations."""
MOST_TEXT = 4 << 20
"""Bytes of a text that are looked at."""


@dataclass(frozen=True)
class Inspection:
    """What an inspection found.

    Attributes:
        root: the bundle's folder.
        remarks: in the order of the files and of what stands in them.
    """

    root: Path
    remarks: tuple[Remark, ...]

    @property
    def refused(self) -> tuple[Remark, ...]:
        """What speaks against the bundle."""
        return tuple(remark for remark in self.remarks if remark.verdict == Verdict.REFUSED)


def inspect(root: str | Path) -> Inspection:
    """Inspect a bundle's folder.

    Args:
        root: the folder; nothing in it is imported, evaluated, unpickled or followed out of it.

    Raises:
        BundleError: ``bundle-invalid`` if there is no folder, or it has more than 10,000 files.
    """
    root = Path(root)
    if not root.is_dir():
        raise BundleError(Code.BUNDLE_INVALID, "there is no such folder.", where=root)
    paths = list(islice(root.rglob("*"), MOST_FILES + 1))
    if len(paths) > MOST_FILES:
        raise BundleError(Code.BUNDLE_INVALID, f"it has more than {MOST_FILES:,} files.", where=root)
    files = {path.relative_to(root).as_posix(): path for path in sorted(paths)}
    configurations, unread = _configurations(files)
    known = gathered(configurations)
    remarks: list[Remark] = []
    for name, path in files.items():
        if name in unread:
            remarks.append(unread[name])
            continue
        try:
            judge = judged(name, configurations[name], known) if name in configurations else _file(name, path)
            remarks += judge
        except Exception as error:  # whatever a stranger's file makes of us is said of the file
            remarks.append(_unreadable(name, error))
    return Inspection(root, tuple(remarks))


def _configurations(files: Mapping[str, Path]) -> tuple[dict[str, dict[str, Any]], dict[str, Remark]]:
    """Read the configurations; of those that cannot be read, say why."""
    read: dict[str, dict[str, Any]] = {}
    unread: dict[str, Remark] = {}
    left = MOST_BYTES
    for name, path in files.items():
        # in any letters: some systems find configs/train.json in CONFIGS
        if (
            not (name.lower().startswith("configs/") and name.endswith(".json"))
            or path.is_symlink()
            or not path.is_file()
        ):
            continue
        try:
            left -= path.stat().st_size
            if left < 0:
                raise ValueError(f"the configurations have more than {MOST_BYTES:,} bytes.")
            config = parse_strictly(path.read_bytes())
            if not isinstance(config, dict):
                raise ValueError("a configuration is a JSON object.")
            gathered({name: config})
            read[name] = config
        except ValueError as error:
            unread[name] = Remark(name, "", "json", name, Verdict.REFUSED, str(error))
        except Exception as error:  # as above
            unread[name] = _unreadable(name, error)
    return read, unread


def _unreadable(name: str, error: Exception) -> Remark:
    return Remark(name, "", "file", name, Verdict.REFUSED, f"it cannot be examined ({type(error).__name__}: {error}).")


def _file(name: str, path: Path) -> Iterator[Remark]:
    if path.is_symlink():
        yield Remark(name, "", "file", shortened(path.readlink()), Verdict.REFUSED, "a link, which may lead anywhere.")
    elif path.is_dir():
        return
    elif not path.is_file():
        yield Remark(name, "", "file", name, Verdict.REFUSED, "neither a file nor a folder.")
    elif path.suffix in WEIGHTS:
        found = examine(path)
        for text, verdict, reason in found:
            yield Remark(name, "", "weights", shortened(text), verdict, reason)
        if not found:
            yield Remark(name, "", "weights", "tensors alone", Verdict.ALLOWED, "")
    elif path.suffix in (".yaml", ".yml") and name.lower().startswith("configs/"):
        reason = "YAML has more ways to say things than an inspection should follow; JSON says the same."
        yield Remark(name, "", "file", name, Verdict.REFUSED, reason)
    elif path.suffix == ".conf":
        yield from _logging(path, name)
    elif path.suffix in TEXTS or path.name in ("LICENSE", "LICENCE", "NOTICE"):
        yield from _text(path, name)
    elif path.suffix == ".onnx":
        reason = "an ONNX network: arithmetic, which no command of this package loads."
        yield Remark(name, "", "file", name, Verdict.ATTENTION, reason)
    elif path.suffix in PICTURES:
        yield from _picture(path, name)
    else:
        yield _unknown(name, path)


def _unknown(name: str, path: Path) -> Remark:
    if path.suffix in (".py", ".pyc", ".pyd", ".so", ".dll", ".dylib", ".pth", ".egg", ".zip", ".whl"):
        module = PurePosixPath(name).parts[0].partition(".")[0]
        reason = f"code: MONAI puts the bundle's folder on the import path, and it would be taken for {module!r}."
    else:
        reason = "a kind of file that a bundle does not need."
    return Remark(name, "", "file", name, Verdict.REFUSED, reason)


def _text(path: Path, name: str) -> Iterator[Remark]:
    content = _beginning(path, MOST_TEXT)
    if b"\0" in content:
        yield Remark(name, "", "file", name, Verdict.REFUSED, "it is no text, whatever its name says.")
    yield from addresses(name, "", content.decode("utf-8", errors="replace"), fetched=False)


def _picture(path: Path, name: str) -> Iterator[Remark]:
    content = _beginning(path, MOST_TEXT)
    if path.suffix == ".svg":
        text = content.decode("utf-8", errors="replace").lower()
        if "<svg" not in text or "\0" in text:
            yield Remark(name, "", "file", name, Verdict.REFUSED, "it is no picture, whatever its name says.")
        elif re.search(r"<script|\bon\w+\s*=|javascript:|<foreignobject|<!entity", text):
            yield Remark(name, "", "file", name, Verdict.REFUSED, "it is a picture with a program in it.")
        yield from addresses(name, "", text, fetched=False)
    elif not content.startswith(PICTURES[path.suffix]):
        yield Remark(name, "", "file", name, Verdict.REFUSED, "it is no picture, whatever its name says.")


def _beginning(path: Path, count: int) -> bytes:
    with path.open("rb") as file:
        return file.read(count)


def _logging(path: Path, name: str) -> Iterator[Remark]:
    for where, text, reason in logging_file.problems(_beginning(path, logging_file.LONGEST + 1)):
        yield Remark(name, where, "logging", text, Verdict.REFUSED, reason)
