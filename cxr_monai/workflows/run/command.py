"""MONAI's own words for running a bundle's configuration, from the short ones of ``cxr-monai run``.

command = monai_command(root, "train,multi_gpu_train", ["--epochs", "2", "--labels", "['Mass']"])
command.shell                   # python -m monai.bundle run --config_file "['.../train.json', ...]" ... --epochs 2 ...
command.arguments()             # what that command line hands to ``monai.bundle.run``

Words are read by the library that reads MONAI's command line, so both mean the same. What the bundle itself brings was
inspected; what a person writes or names on the command line is theirs. Between the two, nothing of a bundle that no
inspection looks at may be named: another bundle's configuration, a text that is none of ``configs/*.json``.
"""

import difflib
import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxr_monai.errors import BundleError, Code, SharingError, UsageError
from cxr_monai.sharing.inspection import logging_file
from cxr_monai.sharing.inspection.remarks import shortened
from cxr_monai.sharing.trust.open_trusted import received_record, untrusted_error

_METADATA = "metadata.json"
OVERLAYS = (".json", ".yaml", ".yml")
"""Suffixes of files that MONAI reads as a configuration."""

# Arguments of MONAI's command line that are not given here: what to do instead.
_GIVEN = {
    "config_file": "name the configurations, such as 'train,multi_gpu_train'; a file of your own comes after them.",
    "meta_file": "the bundle's configs/metadata.json is taken.",
    "bundle_root": "it is the bundle's folder.",
    "args_file": "write its settings on the command line, or as an overlay: 'train,settings.json'.",
    "workflow_name": "a bundle is run as its configurations say; Python of your own runs with MONAI's command.",
    "properties_path": "a run needs none.",
}
_MACRO_FILE = re.compile(r"%(.+\.(?:json|ya?ml))", re.IGNORECASE)


@dataclass(frozen=True)
class Command:
    """``python -m monai.bundle run`` with everything that it needs.

    Attributes:
        words: that follow ``run``.
        uninspected: files that the person named and that no inspection has looked at.
    """

    words: tuple[str, ...]
    uninspected: tuple[str, ...] = ()

    @property
    def shell(self) -> str:
        """The command, to be pasted into a shell; with ``torchrun`` where that started this process."""
        launcher = ["python"]
        if "RANK" in os.environ and "WORLD_SIZE" in os.environ:
            local_processes = int(os.environ.get("LOCAL_WORLD_SIZE", os.environ["WORLD_SIZE"]))
            nodes = int(os.environ["WORLD_SIZE"]) // local_processes
            launcher = [
                "torchrun",
                *([f"--nnodes={nodes}"] if nodes > 1 else []),
                f"--nproc_per_node={local_processes}",
            ]
        return shlex.join([*launcher, "-m", "monai.bundle", "run", *self.words])

    def arguments(self) -> dict[str, Any]:
        """Return what MONAI's command line makes of the words: the arguments of ``monai.bundle.run``."""
        return as_monai_reads(self.words)


def monai_command(root: Path, configuration: str, settings: Sequence[str] = ()) -> Command:
    """Return MONAI's command for some configurations of a bundle.

    Args:
        root: the bundle's folder.
        configuration: a name below ``configs`` (``train``, ``train.json``), with overlays behind commas; an overlay may
            also be a file of the person's own.
        settings: ``--NAME VALUE`` or ``--NAME=VALUE``, as on MONAI's command line.

    Raises:
        UsageError: ``usage`` for a configuration that does not exist, or a setting that is none.
        BundleError: ``bundle-invalid`` if the bundle has no metadata.
        SharingError: ``bundle-untrusted`` for a file of another bundle; ``bundle-refused`` for one of this bundle that
            is no configuration, or a configuration of ``logging`` that could run code.
    """
    root = root.resolve()
    files, uninspected = files_of(root, configuration)
    names = [name for name, _ in _pairs(settings)]
    _refuse_given(names)
    values = {name: value for name, value in as_monai_reads(settings).items() if name in names}
    uninspected += _named_files(root, values)
    metadata = root / "configs" / _METADATA
    if not metadata.is_file():
        raise BundleError(Code.BUNDLE_INVALID, "the file is missing from the bundle.", where=metadata)
    config_file = str(files[0]) if len(files) == 1 else repr([str(file) for file in files])
    words = ["--config_file", config_file, "--meta_file", str(metadata), "--bundle_root", str(root)]
    logging = root / logging_file.LOGGING_FILE
    if "logging_file" not in names and logging.is_file():
        words += ["--logging_file", str(logging)]
    return Command((*words, *settings), tuple(dict.fromkeys(uninspected)))


def configurations(root: Path) -> list[str]:
    """Return the names of a bundle's configurations and overlays."""
    return sorted(file.stem for file in (root / "configs").glob("*.json") if file.name != _METADATA)


def as_monai_reads(words: Sequence[str]) -> dict[str, Any]:
    """Return the arguments that MONAI's command line hands to ``monai.bundle.run`` for some words.

    ``fire`` reads them: ``2`` is a number, ``['Mass']`` and ``[Mass]`` are lists, ``a.csv`` is a text.
    """
    import fire

    arguments: dict[str, Any] = {}

    def run(**values: Any) -> None:
        arguments.update(values)

    fire.Fire(run, command=list(words), name="monai.bundle run")
    return arguments


def _pairs(words: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    """Yield the settings as MONAI's command line will pair the words: names and texts.

    Raises:
        UsageError: ``usage`` for words that are no settings, or that MONAI would read otherwise than they look.
    """
    waiting, seen = list(words), set()
    while waiting:
        word = waiting.pop(0)
        name, equals, value = word[2:].partition("=")
        if not word.startswith("--") or not name.strip("-"):
            raise UsageError(
                Code.USAGE,
                f"{shortened(word)!r}: what follows the configuration is settings.",
                fix="Write --NAME VALUE or --NAME=VALUE; a list in quotes: --labels \"['Mass','Effusion']\".",
            )
        text: str | None = value if equals else None
        if not equals and waiting and not _looks_like_a_name(waiting[0]):
            text = waiting.pop(0)
        name = name.lstrip("-").replace("-", "_")
        if text == "-" or (text is None and name.startswith("no")):
            raise UsageError(Code.USAGE, f"--{shortened(name)} needs a value.", fix="True and False are values, too.")
        if name in seen:
            raise UsageError(Code.USAGE, f"--{shortened(name)} is given twice.", fix="Give it once.")
        seen.add(name)
        yield name, text


def _looks_like_a_name(word: str) -> bool:
    return re.match(r"--|-[a-zA-Z]", word) is not None


def _refuse_given(names: Sequence[str]) -> None:
    for name in names:
        if name in _GIVEN:
            raise UsageError(
                Code.USAGE, f"--{name} is not for 'cxr-monai run': {_GIVEN[name]}", fix="'--help' lists the settings."
            )


def files_of(root: Path, words: str) -> tuple[list[Path], list[str]]:
    """Return the files of configurations, and those among them that no inspection has looked at.

    Args:
        root: the bundle's folder.
        words: names of configurations and files of overlays, separated by commas.

    Raises:
        UsageError, SharingError: as :func:`monai_command`.
    """
    stems = configurations(root)
    files: list[Path] = []
    uninspected: list[str] = []
    for name in words.split(","):
        stem = name.removesuffix(".json")
        if stem in stems:
            files.append(root / "configs" / f"{stem}.json")
        elif Path(name).is_file() and Path(name).suffix.lower() in OVERLAYS and files:
            uninspected += _own_file(root, Path(name))
            files.append(Path(name).resolve())
        else:
            raise _no_configuration(root, name, stems, Path(name).is_file() and not files)
    if len(set(files)) < len(files):
        raise UsageError(Code.USAGE, f"{shortened(words)!r} names a configuration twice.")
    return files, uninspected


def _no_configuration(root: Path, name: str, stems: Sequence[str], first: bool) -> UsageError:
    if first:
        message = f"{shortened(name)} is a file of your own: a configuration of the bundle comes first."
    else:
        message = f"{shortened(name)!r} is neither a configuration of {root} nor a JSON file."
    nearest = difflib.get_close_matches(name, stems, n=1)
    return UsageError(
        Code.USAGE,
        message,
        fix=(f"Did you mean {nearest[0]!r}? " if nearest else "") + f"There are: {', '.join(stems)}.",
    )


def _named_files(root: Path, values: Mapping[str, Any]) -> list[str]:
    """Return files that settings name and MONAI executes or merges, after a look at whose they are."""
    uninspected: list[str] = []
    logging, tracking = values.get("logging_file"), values.get("tracking")
    if logging is not None and logging is not False:  # 0 is a file to MONAI: the standard input
        uninspected += _own_logging(root, logging)
    if isinstance(tracking, str) and tracking != "mlflow":
        uninspected += _own_file(root, Path(tracking))
    for text in _texts(values):
        if match := _MACRO_FILE.match(text):
            uninspected += _own_file(root, Path(match[1]))
    return uninspected


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list | tuple | set):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(part)


def _own_logging(root: Path, setting: Any) -> list[str]:
    path = Path(str(setting))
    if not isinstance(setting, str) or not path.is_file():
        raise UsageError(Code.USAGE, f"--logging_file {setting!r}: there is no such file.", fix="False leaves it out.")
    with path.open("rb") as file:
        problems = list(logging_file.logging_problems(file.read(logging_file.LONGEST_LOGGING_FILE + 1)))
    if problems:
        refusals = " ".join(f"{place}: {shortened(text)}: {reason}" for place, text, reason in problems[:10])
        raise SharingError(
            Code.BUNDLE_REFUSED,
            f"it could run code: {refusals}",
            fix="Leave --logging_file out, or take a copy of the bundle's configs/logging.conf.",
            where=path,
        )
    return _own_file(root, path, root / logging_file.LOGGING_FILE)


def _own_file(root: Path, path: Path, *allowed: Path) -> list[str]:
    """Return a file if it is the person's own; nothing if it is one of the bundle that was inspected.

    Raises:
        SharingError: ``bundle-refused`` for any other file of the bundle, ``bundle-untrusted`` for one of another
            bundle that was received.
    """
    place = path.resolve()
    if place.is_relative_to(root):
        if (place.parent == root / "configs" and place.suffix == ".json") or place in allowed:
            return []
        raise SharingError(
            Code.BUNDLE_REFUSED,
            "this file of the bundle is none of its configurations, and nobody has inspected it as one.",
            fix="Configurations are configs/NAME.json.",
            where=path,
        )
    for parent in place.parents:
        if name := received_record(parent):
            raise untrusted_error(
                parent, f"{path} belongs to another bundle that was received ({name})", "or a copy that you have read"
            )
    return [str(path)]
