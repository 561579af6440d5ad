"""What would this bundle execute? Found by reading it, without importing or evaluating anything of it.

inspection = inspect("bundle")
inspection.refused          # what speaks against it; empty if nothing does
inspection.remarks          # everything that it would call, evaluate, import, read or load, each with a verdict

MONAI evaluates any text that begins with ``$``, calls whatever a ``_target_`` names, imports what ``$import`` names,
reads the file behind a ``%``, and does so in every configuration, the metadata included. Each of these is judged
against lists of callables (``cxr_monai.sharing.allowlist``) and a small grammar (``cxr_monai.sharing.expressions``).
"""

import configparser
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from cxr_monai.errors import BundleError, Code
from cxr_monai.sharing.allowlist import is_reader, judge_callable
from cxr_monai.sharing.expressions import judge_expression, judge_import, references
from cxr_monai.sharing.remarks import Remark, Verdict, shortened
from cxr_monai.sharing.strict_json import parse_strictly
from cxr_monai.sharing.weights_files import examine

MOST_FILES = 10_000
WEIGHTS = (".pt", ".pth", ".ts", ".safetensors")
TEXTS = (".json", ".md", ".txt", ".yml", ".yaml", ".conf", ".csv", ".sig", ".pem", ".pub")
PICTURES = (".png", ".jpg", ".jpeg", ".svg")
_ADDRESS = re.compile(r"\b(?:https?|ftps?|s3|gs|git|ssh|file|jdbc|sqlite|postgresql)://[^\s\"'<>)\]]+", re.IGNORECASE)
_MODES = ("default", "callable", "partial")
# Arguments of MONAI whose text names a callable: a reader or a writer by its dotted name.
_NAMES_CALLABLES = ("reader", "writer")


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
    remarks: list[Remark] = []
    for number, path in enumerate(sorted(root.rglob("*"))):
        if number >= MOST_FILES:
            raise BundleError(Code.BUNDLE_INVALID, f"it has more than {MOST_FILES:,} files.", where=root)
        remarks += _file(root, path)
    return Inspection(root, tuple(remarks))


def _file(root: Path, path: Path) -> Iterator[Remark]:
    name = path.relative_to(root).as_posix()
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
    elif path.suffix == ".json" and name.startswith("configs/"):
        yield from _configuration(root, path, name)
    elif path.suffix in (".yaml", ".yml") and name.startswith("configs/"):
        reason = "YAML has more ways to say things than an inspection should follow; JSON says the same."
        yield Remark(name, "", "file", name, Verdict.REFUSED, reason)
    elif path.suffix == ".conf":
        yield from _logging(path, name)
    elif path.suffix in TEXTS or path.name in ("LICENSE", "LICENCE", "NOTICE"):
        yield from _text(path, name)
    elif path.suffix == ".onnx":
        reason = "an ONNX network: arithmetic, which no command of this package loads."
        yield Remark(name, "", "file", name, Verdict.ATTENTION, reason)
    elif path.suffix not in PICTURES:
        yield _unknown(name, path)


def _unknown(name: str, path: Path) -> Remark:
    if path.suffix in (".py", ".pyc", ".pyd", ".so", ".dll", ".dylib", ".pth", ".egg", ".zip", ".whl"):
        module = PurePosixPath(name).parts[0].partition(".")[0]
        reason = f"code: MONAI puts the bundle's folder on the import path, and it would be taken for {module!r}."
    else:
        reason = "a kind of file that a bundle does not need."
    return Remark(name, "", "file", name, Verdict.REFUSED, reason)


def _text(path: Path, name: str) -> Iterator[Remark]:
    content = path.read_bytes()[: 4 << 20].decode("utf-8", errors="replace")
    for address in dict.fromkeys(_ADDRESS.findall(content)):
        yield Remark(name, "", "address", shortened(address), Verdict.ALLOWED, "named in a text, fetched by nothing.")


def _logging(path: Path, name: str) -> Iterator[Remark]:
    """Judge a configuration of ``logging``, whose ``class`` and ``args`` Python evaluates."""
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(path.read_bytes()[: 1 << 16].decode("utf-8"))
    except (configparser.Error, UnicodeDecodeError) as error:
        yield Remark(name, "", "file", name, Verdict.REFUSED, f"it cannot be read ({error}).")
        return
    for section in parser.sections():
        for key, value in parser.items(section):
            known = {
                "class": value in ("StreamHandler", "logging.StreamHandler", "logging.Formatter"),
                "args": re.fullmatch(r"\(sys\.std(out|err),?\s*\)|\(\s*\)", value.strip()) is not None,
                "kwargs": re.fullmatch(r"\{\s*\}", value.strip()) is not None,
            }
            if not known.get(key, True):
                reason = "Python evaluates this text when logging starts."
                yield Remark(name, f"{section}.{key}", "expression", shortened(value), Verdict.REFUSED, reason)


def _configuration(root: Path, path: Path, name: str) -> Iterator[Remark]:
    try:
        if path.stat().st_size > 64 << 20:
            raise ValueError(f"it has {path.stat().st_size:,} bytes.")
        config = parse_strictly(path.read_bytes())
    except ValueError as error:
        yield Remark(name, "", "json", name, Verdict.REFUSED, str(error))
        return
    if not isinstance(config, dict):
        yield Remark(name, "", "json", name, Verdict.REFUSED, "a configuration is a JSON object.")
        return
    yield from _Configuration(root, name, config).remarks()


class _Configuration:
    """One configuration: first what it imports, wherever that stands, then everything in order."""

    def __init__(self, root: Path, name: str, config: Mapping[str, Any]) -> None:
        self.root, self.name, self.config = root, name, config
        self.names: dict[str, str] = {}
        imports = set()
        for where, _, value in _walk(config):
            if isinstance(value, str) and value.startswith("$"):
                found = _import(value[1:])
                if found is not None:
                    self.names |= found[0]
                    parts = where.replace("#", "::").split("::")
                    imports |= {"::".join(parts[:count]) for count in range(1, len(parts) + 1)}
        self.imports = frozenset(imports)

    def remarks(self) -> Iterator[Remark]:
        for where, key, value in _walk(self.config):
            if key == "_target_":
                yield from self._target(where, value)
            elif key == "_mode_" and value not in _MODES:
                reason = "a mode that starts a debugger, or that MONAI does not have."
                yield self._remark(where, "callable", value, Verdict.REFUSED, reason)
            elif isinstance(value, str):
                yield from self._string(where, key, value)

    def _target(self, where: str, value: Any) -> Iterator[Remark]:
        if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", value):
            yield self._remark(where, "callable", value, Verdict.REFUSED, "a target is the name of a callable.")
            return
        yield self._remark(where, "callable", value, *judge_callable(value))

    def _string(self, where: str, key: str, value: str) -> Iterator[Remark]:
        if value.startswith("$"):
            yield from self._expression(where, value)
        elif value.startswith("%"):
            yield self._file_reference(where, value)
        elif value.startswith("@") and references(value)[:1] and references(value)[0] in self.imports:
            yield self._remark(where, "reference", value, Verdict.REFUSED, "a reference to an import: a whole module.")
        elif key in _NAMES_CALLABLES and not is_reader(value):
            reason = f"MONAI calls whatever a {key} names; this is none of its own readers."
            yield self._remark(where, "callable", value, Verdict.REFUSED, reason)
        yield from self._addresses(where, value)

    def _expression(self, where: str, value: str) -> Iterator[Remark]:
        found = _import(value[1:])
        judged = judge_expression(value[1:], self.names, self.imports) if found is None else found[1]
        kind = "expression" if found is None else "import"
        worst = max((one[1] for one in judged), key=list(Verdict).index, default=Verdict.ALLOWED)
        for text, verdict, reason in judged:
            if verdict != Verdict.ALLOWED:
                yield self._remark(where, kind, value if text == value[1:] else f"{text}  in  {value}", verdict, reason)
        if worst == Verdict.ALLOWED:
            yield self._remark(where, kind, value, worst, "")

    def _file_reference(self, where: str, value: str) -> Remark:
        path = value[1:].partition("#")[0].partition("::")[0]
        if not path:
            return self._remark(where, "reference", value, Verdict.ALLOWED, "")
        inside = PurePosixPath(path)
        if inside.is_absolute() or ".." in inside.parts or "\\" in path or inside.suffix != ".json":
            return self._remark(where, "reference", value, Verdict.REFUSED, "it reads a file outside of the bundle.")
        if not any((folder / inside).is_file() for folder in (self.root, self.root / "configs")):
            return self._remark(where, "reference", value, Verdict.REFUSED, "it reads a file that the bundle lacks.")
        return self._remark(where, "reference", value, Verdict.ALLOWED, "")

    def _addresses(self, where: str, value: str) -> Iterator[Remark]:
        metadata = self.name == "configs/metadata.json"
        for address in dict.fromkeys(_ADDRESS.findall(value)):
            if metadata:
                yield self._remark(where, "address", address, Verdict.ALLOWED, "named in a text, fetched by nothing.")
            else:
                reason = "a network address or a URI in a configuration: something may connect to it."
                yield self._remark(where, "address", address, Verdict.ATTENTION, reason)

    def _remark(self, where: str, kind: str, text: Any, verdict: Verdict, reason: str) -> Remark:
        return Remark(self.name, where.replace("::", "#"), kind, shortened(text), verdict, reason)


def _import(text: str) -> tuple[dict[str, str], list[tuple[str, Verdict, str]]] | None:
    if "import" not in text:
        return None
    try:
        return judge_import(text)
    except ValueError:
        return None  # too long or too deep: as an expression it is refused with the reason


def _walk(config: Any, where: str = "", key: str = "") -> Iterator[tuple[str, str, Any]]:
    """Yield every item with its id and the last part of its key: ``a#_target_`` of an overlay is a target too."""
    if where:
        yield where, re.split(r"#|::", key)[-1], config
    if isinstance(config, Mapping):
        for name, value in config.items():
            yield from _walk(value, f"{where}#{name}" if where else str(name), str(name))
    elif isinstance(config, list):
        for number, value in enumerate(config):
            yield from _walk(value, f"{where}#{number}", key)
