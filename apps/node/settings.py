"""The settings of a node: one TOML file, whose unknown keys are errors.

settings = read_settings("node.toml")
settings.receive.port, settings.destinations[0].name
"""

from dataclasses import dataclass, field
from pathlib import Path


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
    """

    spool: Path
    receive: ReceiveSettings = field(default_factory=ReceiveSettings)
    analyse: AnalyseSettings = field(default_factory=AnalyseSettings)
    destinations: tuple[Destination, ...] = ()
    keep: KeepSettings = field(default_factory=KeepSettings)
