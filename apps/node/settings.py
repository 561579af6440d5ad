"""The settings of a node: one TOML file, whose unknown keys are errors. All that is wrong is one error.

settings = read_settings("node.toml")
settings.receive.port, settings.destinations[0].name
"""

import difflib
import ipaddress
import os
import tomllib
import types
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from cxr_monai.errors import Code, SettingError
from cxr_monai.objects import ResultKind


@dataclass(frozen=True)
class TlsSettings:
    """Certificates of a connection, PEM files; TLS 1.2 at least, and both sides show one.

    Attributes:
        certificate, key: of this side.
        authority: certificates of those who may sign the other side's.
    """

    certificate: Path
    key: Path
    authority: Path


@dataclass(frozen=True)
class ReceiveSettings:
    """Where films arrive.

    Attributes:
        host, port: to listen at; port 0 takes a free one. Another host than the loopback needs TLS, or ``plain_peers``.
        ae_title: which senders must call.
        calling_ae_titles: of senders that are let in; empty: all. These are names, not locks.
        plain_peers: (address, AE title) of senders that may connect without TLS.
        tls: certificates; None without TLS.
        reserve_mb: free space in MB below which nothing is taken (0xA700).
        largest_film_mb: of a film.
        associations: at a time.
    """

    host: str = "127.0.0.1"
    port: int = 11112
    ae_title: str = "CXRNODE"
    calling_ae_titles: tuple[str, ...] = ()
    plain_peers: tuple[tuple[str, str], ...] = ()
    tls: TlsSettings | None = None
    reserve_mb: int = 1024
    largest_film_mb: int = 512
    associations: int = 10


@dataclass(frozen=True)
class AnalyseSettings:
    """What answers about a film.

    Attributes:
        bundle: a folder, or the name of an installed bundle.
        shadow_bundle: another that answers too, and of which nothing is sent; empty for none.
        gate: ``refuse``, ``review`` or ``off``.
        rule: of the operating points; the bundle's first where empty.
        objects: kinds of result objects (``cxr_monai.objects.ResultKind``).
        batch_size: films at a time.
        threads: of the network; 0 as torch decides.
        attempts: at a film before it counts as failed.
    """

    bundle: str = ""
    shadow_bundle: str = ""
    gate: str = "refuse"
    rule: str = ""
    objects: tuple[str, ...] = ("sr", "sc")
    batch_size: int = 8
    threads: int = 0
    attempts: int = 3


@dataclass(frozen=True)
class Destination:
    """Where results are sent.

    Attributes:
        name: in the status and in logs.
        protocol: ``dicom`` (C-STORE) or ``dicomweb`` (STOW-RS).
        host, port, ae_title: of ``dicom``.
        calling_ae_title: how this node calls itself there.
        url: of ``dicomweb``, such as ``https://archive/dicom-web``.
        token_file: of ``dicomweb``: a file with a bearer token.
        tls: certificates; None without TLS.
        objects: kinds that are sent there; empty: all that are built.
        timeout_s: seconds to wait for an answer of it; a connection must come within 10.
    """

    name: str
    protocol: str = "dicom"
    host: str = "127.0.0.1"
    port: int = 104
    ae_title: str = "ARCHIVE"
    calling_ae_title: str = "CXRNODE"
    url: str = ""
    token_file: Path | None = None
    tls: TlsSettings | None = None
    objects: tuple[str, ...] = ()
    timeout_s: float = 60


@dataclass(frozen=True)
class KeepSettings:
    """How long what is kept.

    Attributes:
        days: film and result together, once everything about it is done.
        records_days: probabilities and the gate's evidence, for evaluation and drift; no pixels, no identifiers.
    """

    days: float = 7
    records_days: float = 400


@dataclass(frozen=True)
class NodeSettings:
    """All settings of a node.

    Attributes:
        spool: its folder.
        receive, analyse, destinations, keep: of its parts.
        log_format: ``text`` or ``json``: a JSON object a line.
    """

    spool: Path = Path("spool")
    receive: ReceiveSettings = field(default_factory=ReceiveSettings)
    analyse: AnalyseSettings = field(default_factory=AnalyseSettings)
    destinations: tuple[Destination, ...] = ()
    keep: KeepSettings = field(default_factory=KeepSettings)
    log_format: str = "text"


KEYS = {"destinations": "destination"}
"""Fields that are called otherwise in the file."""

RANGES: dict[str, tuple[float, float]] = {
    "receive.port": (0, 65535),
    "receive.reserve_mb": (0, 1e9),
    "receive.largest_film_mb": (1, 4096),
    "receive.associations": (1, 1000),
    "analyse.batch_size": (1, 1024),
    "analyse.threads": (0, 1024),
    "analyse.attempts": (1, 100),
    "destination.port": (1, 65535),
    "keep.days": (0, 36500),
    "keep.records_days": (0, 36500),
}
CHOICES = {
    "analyse.gate": ("refuse", "review", "off"),
    "analyse.objects": tuple(map(str, ResultKind)),
    "destination.protocol": ("dicom", "dicomweb"),
    "destination.objects": tuple(map(str, ResultKind)),
    "log_format": ("text", "json"),
}
AE_TITLES = ("receive.ae_title", "receive.calling_ae_titles", "destination.ae_title", "destination.calling_ae_title")
NAME_LENGTH = 32


def read_settings(path: str | Path) -> NodeSettings:
    """Read and check a settings file; relative paths in it are relative to its folder.

    Args:
        path: of a TOML file.

    Raises:
        SettingError: ``setting-invalid``, with all that is wrong in the file.
    """
    path = Path(path)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise _invalid(path, f"it cannot be read: {error.strerror}.") from error
    except ValueError as error:  # not TOML, or not UTF-8
        raise _invalid(path, f"it is not a TOML file: {error}.") from error
    reader = _Reader(path.absolute().parent)
    settings = reader.table(NodeSettings, content, "")
    problems = [*reader.problems, *(contradictions(settings) if not reader.problems else ())]
    if problems:
        raise _invalid(path, problems[0] if len(problems) == 1 else "\n  " + "\n  ".join(problems))
    return replace(settings, analyse=_with_bundle_folders(settings.analyse, path.absolute().parent))


def _with_bundle_folders(analyse: AnalyseSettings, folder: Path) -> AnalyseSettings:
    """Return the settings with paths of bundles relative to a folder; a name of an installed bundle has no slash."""

    def place(bundle: str) -> str:
        is_path = "/" in bundle or os.sep in bundle or (bool(bundle) and (folder / bundle).is_dir())
        return str(folder / bundle) if is_path else bundle

    return replace(analyse, bundle=place(analyse.bundle), shadow_bundle=place(analyse.shadow_bundle))


def _invalid(path: Path, message: str) -> SettingError:
    return SettingError(
        Code.SETTING_INVALID,
        message,
        fix="docs/node.md explains every key, deploy/node.toml is an example.",
        where=path,
    )


class _Reader:
    """Turns tables of TOML into the classes of the settings, and collects what is wrong.

    Attributes:
        problems: sentences, each with its key.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.problems = folder, list[str]()

    def table(self, kind: Any, content: Any, place: str) -> Any:
        """Return an instance of ``kind``; what cannot be used takes its default."""
        if not isinstance(content, dict):
            self._add(place, "it must be a table", content)
            content = {}
        kinds, values = get_type_hints(kind), {}
        names = {KEYS.get(one.name, one.name): one for one in fields(kind)}
        for key in content.keys() - names.keys():
            self._unknown(_join(place, key), key, list(names))
        for key, one in names.items():
            where = _join(place, key)
            if key in content:
                before = len(self.problems)
                value = self._value(kinds[one.name], content[key], where)
                if len(self.problems) == before:
                    values[one.name] = value
                    continue
            elif one.default is MISSING and one.default_factory is MISSING:
                self.problems.append(f"{where} is missing.")
            if one.default is MISSING and one.default_factory is MISSING:
                values[one.name] = ""
            elif kinds[one.name] is Path:
                values[one.name] = self.folder / str(one.default)
        return kind(**values)

    def _unknown(self, where: str, key: str, names: list[str]) -> None:
        nearest = difflib.get_close_matches(key, names, n=1, cutoff=0.5)
        hint = f"the nearest is {nearest[0]}" if nearest else f"there are {', '.join(names)}"
        self.problems.append(f"{where} is not a setting; {hint}.")

    def _add(self, where: str, expected: str, value: Any) -> None:
        self.problems.append(f"{where} = {value!r}: {expected}.")

    def _value(self, kind: Any, value: Any, where: str) -> Any:
        if get_origin(kind) is types.UnionType:  # X | None: there is no null in TOML
            kind = next(one for one in get_args(kind) if one is not types.NoneType)
        if is_dataclass(kind):
            return self.table(kind, value, where)
        if get_origin(kind) is tuple:
            return self._several(get_args(kind), value, where)
        if kind is Path:
            if not isinstance(value, str) or not value:
                self._add(where, "it must be a path", value)
                return None
            return self.folder / value
        expected: dict[Any, tuple[str, tuple[type, ...]]] = {
            str: ("it must be a text", (str,)),
            int: ("it must be a whole number", (int,)),
            float: ("it must be a number", (int, float)),
        }
        words, types_allowed = expected[kind]
        if not isinstance(value, types_allowed) or isinstance(value, bool):
            self._add(where, words, value)
            return None
        self._check(value, where)
        return value

    def _several(self, kinds: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
        is_fixed = kinds[-1] is not Ellipsis
        if not isinstance(value, list) or (is_fixed and len(value) != len(kinds)):
            self._add(where, f"it must be a list{f' of {len(kinds)}' if is_fixed else ''}", value)
            return ()
        each = kinds if is_fixed else [kinds[0]] * len(value)
        return tuple(self._value(kind, item, where) for kind, item in zip(each, value, strict=True))

    def _check(self, value: Any, where: str) -> None:
        if where in CHOICES and value not in CHOICES[where]:
            self._add(where, f"it must be one of {', '.join(CHOICES[where])}", value)
        low, high = RANGES.get(where, (float("-inf"), float("inf")))
        if where in RANGES and not low <= value <= high:
            self._add(where, f"it must be from {low:,.0f} to {high:,.0f}", value)
        if where in AE_TITLES and not is_ae_title(value):
            self._add(where, "an AE title has 1 to 16 characters of ASCII, no backslash, and is not blank", value)


def _join(place: str, key: str) -> str:
    return f"{place}.{key}" if place else key


def is_ae_title(text: str) -> bool:
    r"""Return whether a text can be an application entity's title (PS3.5 6.2, AE).

    >>> is_ae_title("CR_ROOM1"), is_ae_title("A" * 17), is_ae_title("A\\B"), is_ae_title(" ")
    (True, False, False, False)
    """
    return 1 <= len(text) <= 16 and bool(text.strip()) and text.isascii() and text.isprintable() and "\\" not in text


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine alone.

    >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("localhost"), is_loopback("0.0.0.0")
    (True, True, True, False)
    """
    if host == "localhost":
        return True
    return is_address(host) and ipaddress.ip_address(host).is_loopback


def is_address(text: str) -> bool:
    """Return whether a text is an IP address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def contradictions(settings: NodeSettings) -> list[str]:
    """Return what is wrong between settings that are each as they must be, as sentences."""
    return [sentence for check in _CHECKS for sentence in check(settings)]


def _bundle(settings: NodeSettings) -> list[str]:
    return [] if settings.analyse.bundle else ["analyse.bundle is missing: which bundle answers, a folder or a name."]


def _openness(settings: NodeSettings) -> list[str]:
    receive: ReceiveSettings = settings.receive
    problems = [
        f'receive.plain_peers: {address!r} is not an IP address: [["10.1.2.3", "CR_ROOM1"]].'
        for address, _ in receive.plain_peers
        if not is_address(address)
    ] + [
        f"receive.plain_peers: {title!r} is no AE title." for _, title in receive.plain_peers if not is_ae_title(title)
    ]
    if not is_loopback(receive.host) and receive.tls is None and not receive.plain_peers:
        problems.append(
            f"receive.host = {receive.host!r}: films would arrive from the network without TLS. Give [receive.tls] "
            "certificate, key and authority; for modalities that cannot do TLS, name each in receive.plain_peers; or "
            'listen at this machine alone: host = "127.0.0.1".'
        )
    return problems


def _destinations(settings: NodeSettings) -> list[str]:
    problems, names = [], [one.name for one in settings.destinations]
    for one in settings.destinations:
        if not one.name or len(one.name) > NAME_LENGTH or not one.name.replace("-", "").replace("_", "").isalnum():
            problems.append(
                f"destination.name = {one.name!r}: letters, digits, '-' and '_', at most {NAME_LENGTH}: it stands in "
                "the status and in logs."
            )
        if names.count(one.name) > 1:
            problems.append(f"destination.name = {one.name!r}: two destinations have it.")
        if one.protocol == "dicomweb" and not one.url.startswith(("http://", "https://")):
            problems.append(f"destination {one.name}: protocol dicomweb needs url, such as https://archive/dicom-web.")
        unbuilt = sorted(set(one.objects) - set(settings.analyse.objects))
        if unbuilt:
            problems.append(f"destination {one.name}: {', '.join(unbuilt)} is not among analyse.objects.")
    return list(dict.fromkeys(problems))


_CHECKS: tuple[Callable[[NodeSettings], list[str]], ...] = (_bundle, _openness, _destinations)
