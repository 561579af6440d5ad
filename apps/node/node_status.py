"""How a node is: what was received, what waits, for whom, how long and why. Counts and ages; nothing of a patient."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from cxr_monai import __version__
from cxr_monai.plurals import counted
from cxr_monai.progress import duration

from .part_process import PARTS
from .settings import NodeSettings
from .spool import MAIN, SHADOW, Spool

LONG_WAIT_S = 900.0
"""Seconds that a film or a result may wait before somebody should look."""


@dataclass(frozen=True)
class RoleCounts:
    """The films of a role.

    Attributes:
        waiting: without an answer.
        oldest_waiting_s: seconds since the oldest of them was received; 0 without any.
        answered, refused, failed: by their answer.
        by_code: refused and failed ones, by stable code.
        by_bundle: films that each bundle answered, by its digest.
    """

    waiting: int = 0
    oldest_waiting_s: float = 0.0
    answered: int = 0
    refused: int = 0
    failed: int = 0
    by_code: Mapping[str, int] = field(default_factory=dict)
    by_bundle: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class DestinationCounts:
    """The results of a destination.

    Attributes:
        waiting: results that it does not have yet.
        oldest_waiting_s: seconds since the oldest of them was built; 0 without any.
        sent: that it has, of films that are still here.
        attempts: at the one that was tried most among those that wait.
        last_error: why the oldest of them waits; empty where it was not tried.
        is_set: whether it stands in the settings.
    """

    waiting: int = 0
    oldest_waiting_s: float = 0.0
    sent: int = 0
    attempts: int = 0
    last_error: str = ""
    is_set: bool = True


@dataclass(frozen=True)
class PartStatus:
    """A part of the node.

    Attributes:
        state: ``starting``, ``loading``, ``running``, ``restarting``, ``failed``, ``ended``, or ``gone`` for one whose
            process is not there although it did not end.
        code, text: what is wrong, if anything.
        since_s: seconds that it has been so.
        restarts: by the supervisor.
    """

    state: str
    code: str
    text: str
    since_s: float
    restarts: int


@dataclass(frozen=True)
class NodeStatus:
    """How a node is.

    Attributes:
        version: of the program that looks.
        received: films, those included whose files were let go.
        kept: films whose files are here.
        main, shadow: films by their answers; ``shadow`` is None without a shadow bundle.
        destinations, parts: by name.
        listens: host, port, AE title, whether TLS is demanded, and who may connect without.
        free_mb: on the spool's disk.
        attention: sentences on what somebody should look at; none if all is well.
    """

    version: str
    received: int
    kept: int
    main: RoleCounts
    shadow: RoleCounts | None
    destinations: Mapping[str, DestinationCounts]
    parts: Mapping[str, PartStatus]
    listens: Mapping[str, Any]
    free_mb: int
    attention: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values, for monitoring."""
        return asdict(self)


def node_status(spool: Spool, settings: NodeSettings) -> NodeStatus:
    """Return how a node is.

    Args:
        spool: opened; the node may run meanwhile.
        settings: of the node.
    """
    receive = settings.receive
    received, kept = spool.rows("SELECT count(*), coalesce(sum(is_kept), 0) FROM films")[0]
    parts = _parts(spool)
    status = NodeStatus(
        __version__, received, kept, _role(spool, MAIN),
        _role(spool, SHADOW) if settings.analyse.shadow_bundle else None, _destinations(spool, settings), parts,
        {
            "host": receive.host, "port": receive.port, "ae_title": receive.ae_title, "tls": receive.tls is not None,
            "plain_peers": [list(peer) for peer in receive.plain_peers],
        },
        shutil.disk_usage(spool.folder).free // 10**6,
    )  # fmt: skip
    return NodeStatus(**{**vars(status), "attention": tuple(_attention(status, settings))})


def _role(spool: Spool, role: str) -> RoleCounts:
    waiting, since = spool.rows(
        "SELECT count(*), min(received_at) FROM films LEFT JOIN answers ON answers.digest = films.digest AND role = ? "
        "WHERE is_kept AND (state IS NULL OR state = 'taken')",
        role,
    )[0]
    states = dict(spool.rows("SELECT state, count(*) FROM answers WHERE role = ? GROUP BY state", role))
    codes = spool.rows(
        "SELECT code, count(*) FROM answers WHERE role = ? AND state IN ('refused', 'failed') "
        "GROUP BY code ORDER BY 2 DESC",
        role,
    )
    bundles = spool.rows(
        "SELECT bundle, count(*) FROM answers WHERE role = ? AND state != 'taken' GROUP BY bundle ORDER BY 2 DESC", role
    )
    age = spool.now() - since if waiting else 0.0
    answered, refused, failed = (states.get(state, 0) for state in ("answered", "refused", "failed"))
    return RoleCounts(waiting, age, answered, refused, failed, dict(codes), dict(bundles))


def _destinations(spool: Spool, settings: NodeSettings) -> dict[str, DestinationCounts]:
    rows = spool.rows(
        "SELECT destination, sum(state = 'waiting'), min(iif(state = 'waiting', waiting_since, NULL)), "
        "sum(state = 'sent'), max(iif(state = 'waiting', attempts, 0)) FROM deliveries GROUP BY destination"
    )
    names = [destination.name for destination in settings.destinations]
    counts = dict.fromkeys(names, DestinationCounts())
    for name, waiting, since, sent, attempts in rows:
        errors = spool.rows(
            "SELECT error FROM deliveries WHERE destination = ? AND state = 'waiting' AND error != '' "
            "ORDER BY waiting_since LIMIT 1",
            name,
        )
        age = spool.now() - since if waiting else 0.0
        counts[name] = DestinationCounts(waiting, age, sent, attempts, errors[0][0] if errors else "", name in names)
    return counts


def _parts(spool: Spool) -> dict[str, PartStatus]:
    rows = spool.rows("SELECT name, state, code, text, since, restarts, pid FROM parts")
    by_name = {
        name: PartStatus(
            "gone" if state not in ("ended", "restarting") and not _is_alive(pid) else state,
            code, text, max(0.0, spool.now() - since), restarts,
        )
        for name, state, code, text, since, restarts, pid in rows
    }  # fmt: skip
    order = [*PARTS, *sorted(by_name.keys() - PARTS.keys())]
    return {name: by_name[name] for name in order if name in by_name}


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _attention(status: NodeStatus, settings: NodeSettings) -> list[str]:
    sentences = []
    if missing := [name for name in PARTS if name not in status.parts]:
        sentences.append(f"{', '.join(missing)}: never started here.")
    for name, part in status.parts.items():
        if name in PARTS and part.state not in ("running", "starting", "loading"):
            sentences.append(f"{name} does not run: {part.state}{f' [{part.code}]' if part.code else ''}.")
        elif part.code:
            sentences.append(f"{name} [{part.code}]: {part.text}")
    if status.main.failed:
        sentences.append(f"{counted(status.main.failed, 'film')} failed: 'retry' answers them anew.")
    if status.main.oldest_waiting_s > LONG_WAIT_S:
        sentences.append(f"a film has waited {duration(status.main.oldest_waiting_s)} for its answer.")
    for name, counts in status.destinations.items():
        if not counts.is_set and counts.waiting:
            sentences.append(f"{name} is in the settings no more; results that wait for it: {counts.waiting:,}.")
        elif counts.oldest_waiting_s > LONG_WAIT_S:
            sentences.append(f"{name} has waited {duration(counts.oldest_waiting_s)} for a result.")
    if not status.destinations:
        sentences.append("no destination is set: results stay here.")
    if status.free_mb < settings.receive.reserve_mb:
        sentences.append(
            f"{status.free_mb:,} MB are free, {settings.receive.reserve_mb:,} are to stay so: no film is taken."
        )
    return sentences


def status_lines(status: NodeStatus) -> list[str]:
    """Return the status as lines for people, at most about 80 characters each but for errors.

    Args:
        status: of a node.
    """
    listens = status.listens
    how = "TLS with client certificates" if listens["tls"] else "plain text"
    lines = [f"receives at {listens['host']} port {listens['port']} as {listens['ae_title']}, {how}"]
    lines += [f"  without TLS: {address} as {title}" for address, title in listens["plain_peers"]]
    lines += ["", "part       state        since        restarts"]
    for name, part in status.parts.items():
        lines.append(f"{name:<10} {part.state:<12} {duration(part.since_s):<12} {part.restarts}")
        lines += [f"  {f'[{part.code}] ' if part.code else ''}{part.text}"] if part.text else []
    lines += ["", f"films      received {status.received:,}, with file {status.kept:,}"]
    for name, counts in (("", status.main), ("shadow", status.shadow)):
        if counts is not None:
            lines += _role_lines(name, counts)
    lines += ["", "destination        waiting    oldest       sent"]
    for name, waiting in status.destinations.items():
        age = duration(waiting.oldest_waiting_s) if waiting.waiting else "-"
        lines.append(f"{name:<18} {waiting.waiting:<10,} {age:<12} {waiting.sent:,}")
        if waiting.last_error:
            lines.append(f"  tried {counted(waiting.attempts, 'time')}: {waiting.last_error}")
    lines += (
        ["", *(f"attention: {sentence}" for sentence in status.attention)] if status.attention else ["", "all is well"]
    )
    return lines


def _role_lines(name: str, counts: RoleCounts) -> list[str]:
    age = f" (the oldest {duration(counts.oldest_waiting_s)})" if counts.waiting else ""
    lines = [
        f"{name:<10} waiting {counts.waiting:,}{age}, answered {counts.answered:,}, refused {counts.refused:,}, "
        f"failed {counts.failed:,}"
    ]
    lines += [f"{'':<12}{number:,} [{code}]" for code, number in counts.by_code.items()]
    return lines + [f"{'':<12}{number:,} by bundle {bundle[:12]}" for bundle, number in counts.by_bundle.items()]
