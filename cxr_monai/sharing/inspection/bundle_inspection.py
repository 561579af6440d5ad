"""Inspect what a bundle would execute, by reading it, without importing or evaluating anything of it.

inspection = inspect_bundle("bundle")
inspection.refused          # the remarks because of which it is refused; empty if there are none
inspection.remarks          # everything that it would call, evaluate, import, read or load, each with a verdict

MONAI evaluates any text that begins with ``$``, calls whatever a ``_target_`` names, imports what ``$import`` names,
reads the file behind a ``%``, and does so in every configuration, the metadata included. Each of these is judged
against lists of callables (``allowlist``) and of arguments (``arguments``) and a
small grammar (``expressions``); ``configurations`` puts them together.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from cxr_monai.budget import OverBudget, check_time, limited
from cxr_monai.bundle.component_names import COMPONENTS
from cxr_monai.errors import BundleError, Code
from cxr_monai.sharing.inspection import logging_file, picture_files, texts
from cxr_monai.sharing.inspection.allowlist import allowed_lists
from cxr_monai.sharing.inspection.configurations import (
    METADATA_FILE,
    gather_configurations,
    judge_configuration,
    measure_configuration,
    network_addresses,
)
from cxr_monai.sharing.inspection.file_names import MOST_FILES, name_problem, name_problems
from cxr_monai.sharing.inspection.gate_remarks import TENSORS_OF_GATE, remark_on_gate
from cxr_monai.sharing.inspection.kinds import FileKind, is_place, kind_of, why_no_place
from cxr_monai.sharing.inspection.remarks import Remark, Verdict, shortened
from cxr_monai.sharing.inspection.weights_remarks import remarks_on_weights
from cxr_monai.strict_json import LARGEST_JSON, parse_strictly

MOST_BYTES = 64 << 20
"""Bytes of all configurations."""
INSPECTION_SECONDS = 10.0
"""Of a processor, for one inspection."""


@dataclass(frozen=True)
class Inspection:
    """The result of an inspection.

    Attributes:
        root: the bundle's folder.
        remarks: in the order of the files and of the items in them.
        metadata: ``configs/metadata.json``; empty where it cannot be read.
    """

    root: Path
    remarks: tuple[Remark, ...]
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def refused(self) -> tuple[Remark, ...]:
        """The remarks with the verdict ``refused``."""
        return tuple(remark for remark in self.remarks if remark.verdict == Verdict.REFUSED)

    @property
    def unknown_components(self) -> list[str]:
        """Components that only another version of this package has, if the bundle is refused for nothing else."""
        names = list(dict.fromkeys(remark.text for remark in self.refused))
        return names if all(map(_is_unknown_component, names)) else []


def _is_unknown_component(text: str) -> bool:
    """Tell whether a refused text is a component's full name, and none of this version's, allowed or not."""
    lists = allowed_lists()
    known = {name for kind in ("callables", "attention", "evaluates", "refused") for name in lists[kind]}
    return re.fullmatch(rf"{re.escape(COMPONENTS)}\.\w+", text) is not None and text not in known


def inspect_bundle(root: str | Path) -> Inspection:
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
    remarks: list[Remark] = []
    metadata: dict[str, Any] = {}
    try:
        with limited(INSPECTION_SECONDS):
            configurations, unread = _configurations(files)
            metadata = configurations.get(METADATA_FILE, {})
            remarks.extend(_remarks(files, configurations, unread))
    except OverBudget:
        reason = f"its inspection takes more than {INSPECTION_SECONDS:g} seconds of a processor; no honest bundle does."
        remarks.append(Remark("", "", "time", root.name, Verdict.REFUSED, reason))
    return Inspection(root, tuple(remarks), metadata)


def _remarks(
    files: Mapping[str, Path], configurations: Mapping[str, dict[str, Any]], unread: Mapping[str, Remark]
) -> Iterator[Remark]:
    folders = {name for name, path in files.items() if path.is_dir() and not path.is_symlink()}
    problems = {name: problem for name in folders if (problem := name_problem(name))}
    problems |= dict(name_problems(name for name in files if name not in folders))
    try:
        gathered = gather_configurations(configurations)
    except ValueError as error:  # each of them can be judged, all together cannot
        yield Remark("configs", "", "json", "configs", Verdict.REFUSED, str(error))
        return
    for name, path in files.items():
        check_time()
        if name in problems:
            yield Remark(name, "", "file", name, Verdict.REFUSED, problems[name])
            continue
        if name in unread:
            yield unread[name]
            continue
        try:
            yield from list(
                judge_configuration(name, configurations[name], gathered)
                if name in configurations
                else _file(name, path)
            )
        except OverBudget:
            raise
        except Exception as error:  # a stranger's file may raise anything; it becomes a remark on that file
            yield _unreadable(name, error)


def _configurations(files: Mapping[str, Path]) -> tuple[dict[str, dict[str, Any]], dict[str, Remark]]:
    """Return the configurations by name, and a remark with the reason for each that cannot be read."""
    configurations: dict[str, dict[str, Any]] = {}
    unread: dict[str, Remark] = {}
    remaining = MOST_BYTES
    for name, path in files.items():
        if kind_of(name) != FileKind.CONFIGURATION or path.is_symlink() or not path.is_file():
            continue
        try:
            remaining -= path.stat().st_size
            if remaining < 0:
                raise ValueError(f"the configurations have more than {MOST_BYTES:,} bytes.")
            config = _object(path)
            measure_configuration(config)
            configurations[name] = config
        except ValueError as error:
            unread[name] = Remark(name, "", "json", name, Verdict.REFUSED, str(error))
        except OverBudget:
            raise
        except Exception as error:  # as above
            unread[name] = _unreadable(name, error)
    return configurations, unread


def _object(path: Path) -> dict[str, Any]:
    content = parse_strictly(_beginning(path, LARGEST_JSON + 1))
    if not isinstance(content, dict):
        raise ValueError("a bundle's JSON files are objects.")
    return content


def _unreadable(name: str, error: Exception) -> Remark:
    return Remark(name, "", "file", name, Verdict.REFUSED, f"it cannot be examined ({type(error).__name__}: {error}).")


def _file(name: str, path: Path) -> Iterator[Remark]:
    if path.is_symlink():
        yield Remark(name, "", "file", shortened(path.readlink()), Verdict.REFUSED, "a link, which may lead anywhere.")
    elif path.is_dir():
        if not is_place(name):
            reason = "a bundle has the folders configs, docs and models; MONAI puts this one on the import path."
            yield Remark(name, "", "file", name, Verdict.REFUSED, reason)
    elif not path.is_file():
        yield Remark(name, "", "file", name, Verdict.REFUSED, "neither a file nor a folder.")
    elif (kind := kind_of(name)) is None:
        yield Remark(name, "", "file", name, Verdict.REFUSED, why_no_place(name))
    else:
        yield from _content(kind, name, path)


def _content(kind: FileKind, name: str, path: Path) -> Iterator[Remark]:
    """Judge whether the content of a file is of the kind that its place requires."""
    match kind:
        case FileKind.WEIGHTS:
            remarks = remarks_on_weights(path)
            for text, verdict, reason in remarks:
                yield Remark(name, "", "weights", shortened(text), verdict, reason)
            if path.name == TENSORS_OF_GATE and not path.with_suffix(".json").is_file():
                yield Remark(name, "", "gate", name, Verdict.REFUSED, "a gate's numbers without the gate.")
            if not remarks:
                yield Remark(name, "", "weights", "tensors alone", Verdict.ALLOWED, "")
        case FileKind.GATE:
            text, verdict, reason = remark_on_gate(_object(path), path.parent)
            yield Remark(name, "", "gate", text, verdict, reason)
        case FileKind.ONNX:
            reason = "an ONNX network: arithmetic, which no command of this package loads."
            yield Remark(name, "", "file", name, Verdict.ATTENTION, reason)
        case FileKind.LOGGING:
            for place, text, reason in logging_file.logging_problems(
                _beginning(path, logging_file.LONGEST_LOGGING_FILE + 1)
            ):
                yield Remark(name, place, "logging", text, Verdict.REFUSED, reason)
        case FileKind.PNG | FileKind.JPEG:
            if problem := picture_files.picture_problem(path, png=kind == FileKind.PNG):
                yield Remark(name, "", "file", name, Verdict.REFUSED, problem)
        case FileKind.DATA | FileKind.CONFIGURATION:
            yield from _data(name, path)
        case FileKind.MARKDOWN | FileKind.TEXT:
            yield from _text(name, path, kind)


def _data(name: str, path: Path) -> Iterator[Remark]:
    try:
        _object(path)
    except ValueError as error:
        yield Remark(name, "", "json", name, Verdict.REFUSED, str(error))


def _text(name: str, path: Path, kind: FileKind) -> Iterator[Remark]:
    content = _beginning(path, texts.LARGEST_TEXT + 1)
    if problem := texts.text_problem(content):
        yield Remark(name, "", "file", name, Verdict.REFUSED, problem)
        return
    text = content.decode("utf-8")
    if kind == FileKind.MARKDOWN:
        for line, shown, reason in texts.markdown_problems(text):
            yield Remark(name, f"line {line}" if line else "", "file", shown, Verdict.REFUSED, reason)
    yield from network_addresses(name, "", text, fetched=False)


def _beginning(path: Path, count: int) -> bytes:
    with path.open("rb") as file:
        return file.read(count)
