"""Is everything as the node needs it, before films arrive: bundle, disk, port, destinations."""

import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from cxr_monai import open_model
from cxr_monai.durable import make_folder
from cxr_monai.errors import Code, CxrError, SettingError, StorageError

from .destination_check import check_destination
from .settings import NodeSettings


@dataclass(frozen=True)
class Checked:
    """One thing that was looked at.

    Attributes:
        what: such as ``bundle``.
        text: what it is like, or what is wrong.
        code: stable code of what is wrong; empty if nothing is.
    """

    what: str
    text: str
    code: str = ""


def check_node(settings: NodeSettings) -> Iterator[Checked]:
    """Look at one thing after the other; nothing is stored anywhere.

    Args:
        settings: of the node.
    """
    analyse = settings.analyse
    yield _looked_at("spool", lambda: _spool(settings))
    yield _looked_at("port", lambda: _port(settings))
    yield _looked_at("bundle", lambda: _bundle(settings, analyse.bundle))
    if analyse.shadow_bundle:
        yield _looked_at("shadow bundle", lambda: _bundle(settings, analyse.shadow_bundle))
    for destination in settings.destinations:
        asked = replace(destination, objects=destination.objects or analyse.objects)  # all that would be sent there
        yield _looked_at(destination.name, partial(check_destination, asked))


def _looked_at(what: str, look: Callable[[], str]) -> Checked:
    try:
        return Checked(what, look())
    except CxrError as error:
        return Checked(what, str(error), str(error.code))


def _spool(settings: NodeSettings) -> str:
    folder, reserve = make_folder(settings.spool, 0o700), settings.receive.reserve_mb
    free = shutil.disk_usage(folder).free // 10**6
    if free < reserve:
        raise StorageError(
            Code.DISK_FULL, f"{free:,} MB are free, and receive.reserve_mb keeps {reserve:,} MB so.", where=folder
        )
    return f"{folder}: {free:,} MB free, {reserve:,} MB of them in reserve"


def _port(settings: NodeSettings) -> str:
    place = (settings.receive.host, settings.receive.port)
    family = socket.AF_INET6 if ":" in place[0] else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(place)
        except OSError as error:
            raise SettingError(
                Code.SETTING_INVALID,
                f"receive.host and port {place[0]}:{place[1]}: {error.strerror}.",
                fix="Does the node run already? Else choose another port; those below 1024 need a privilege.",
            ) from error
    return f"{place[0]}:{place[1]} is free"


def _bundle(settings: NodeSettings, bundle: str) -> str:
    model = open_model(bundle, gate=settings.analyse.gate)
    calibrated = "calibrated" if model.about["calibrated"] else "not calibrated"
    gate = model.gate.missing or f"gate: {model.gate.mode}"
    return f"{model.provenance['name']}, digest {model.provenance['digest'][:12]}, {calibrated}, {gate}"
