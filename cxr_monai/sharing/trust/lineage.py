"""Provenance of a bundle: ``lineage.json`` in it, and the tree over all generations, each link checked.

write_lineage(child, [parent], "cxr-monai finetune", data={"train_images": 120}, measured={"auroc": 0.81})
tree = trace_lineage("OUT/bundle", bundles_at_hand(store, ["received"]))
tree.lines()

A child names its parents by the digest of all their files, and carries a copy of their records and of those of their
ancestors. So the tree can be drawn where no ancestor is at hand; where one is, its digest is computed again, and its
own record is compared with the child's copy.
"""

import importlib.metadata
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from cxr_monai.bundle.digest import content_digest
from cxr_monai.durable import write_durably
from cxr_monai.errors import Code, SharingError
from cxr_monai.sharing.inspection.remarks import shortened
from cxr_monai.sharing.package.file_list import FILE_LIST, read_contents
from cxr_monai.sharing.trust.installed import installed_bundles
from cxr_monai.strict_json import parse_strictly

LINEAGE = "lineage.json"
_FORMAT = 1
MOST_ANCESTORS = 300
MOST_GENERATIONS = 100
"""Longest chain of ancestors that is followed: each is one recursion deeper."""
_PACKAGES = ("cxr-monai", "monai", "torch", "numpy")


@dataclass(frozen=True)
class Generation:
    """One bundle's record of how it was made.

    Attributes:
        name, version: of its metadata.
        made_by: the command, such as ``cxr-monai finetune``; empty where nothing was recorded.
        parents: digests of the bundles that it was made from, as ``cxr_monai.bundle.digest`` computes them.
        data: digest and counts of the data; no names.
        settings: that differ from the parent's or the command's defaults.
        software: versions by package.
        measured: metrics, and the finding and data that they are of.
    """

    name: str
    version: str
    made_by: str = ""
    parents: tuple[str, ...] = ()
    data: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    software: Mapping[str, str] = field(default_factory=dict)
    measured: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Lineage:
    """A bundle's own record (``own`` in the file), and those of its ancestors by their digests."""

    generation: Generation
    ancestors: Mapping[str, Generation]


def software_versions() -> dict[str, str]:
    """Return the installed versions of the packages that make a bundle."""
    return {name: importlib.metadata.version(name) for name in _PACKAGES}


def write_lineage(
    root: Path,
    parents: Sequence[Path],
    made_by: str,
    *,
    data: Mapping[str, Any],
    settings: Mapping[str, Any] | None = None,
    measured: Mapping[str, Any] | None = None,
) -> None:
    """Write ``lineage.json`` into a bundle that is otherwise complete.

    Args:
        root: the bundle's folder; its metadata gives name and version.
        parents: folders of the bundles that it was made from.
        made_by, data, settings, measured: see :class:`Generation`; no paths and no identifiers.

    Raises:
        SharingError: ``lineage-invalid`` if a parent's own lineage cannot be read.
    """
    ancestors: dict[str, Generation] = {}
    digests = [content_digest(parent) for parent in parents]
    for digest, parent in zip(digests, parents, strict=True):
        lineage = read_lineage(parent)
        ancestors |= {**lineage.ancestors, digest: lineage.generation}
    identity = _metadata_generation(root)
    generation = Generation(
        identity.name, identity.version, made_by, tuple(digests),
        data, settings or {}, software_versions(), measured or {},
    )  # fmt: skip
    content = {
        "format": _FORMAT,
        "own": asdict(generation),
        "ancestors": {digest: asdict(ancestor) for digest, ancestor in sorted(ancestors.items())},
    }
    write_durably(root / LINEAGE, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())


def read_lineage(root: Path) -> Lineage:
    """Read a bundle's lineage; without ``lineage.json`` its name, version and data come from its metadata alone.

    Raises:
        SharingError: ``lineage-invalid``.
    """
    path = root / LINEAGE
    try:
        if not path.exists():
            return Lineage(_metadata_generation(root), {})
        content = parse_strictly(path.read_bytes())
        if not isinstance(content, Mapping) or set(content) != {"format", "own", "ancestors"}:
            raise ValueError("it needs format, own and ancestors, and nothing else.")
        if content["format"] != _FORMAT or len(content["ancestors"]) > MOST_ANCESTORS:
            raise ValueError(f"its format is not {_FORMAT}, or it has more than {MOST_ANCESTORS:,} ancestors.")
        identity = _metadata_generation(root)  # packing may have given a new version
        return Lineage(
            replace(_generation(content["own"]), name=identity.name, version=identity.version),
            {_digest(digest): _generation(ancestor) for digest, ancestor in content["ancestors"].items()},
        )
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise SharingError(
            Code.LINEAGE_INVALID,
            f"where this bundle comes from cannot be read: {error}",
            fix="Get the bundle again from its sender.",
            where=path,
        ) from error


def _metadata_generation(root: Path) -> Generation:
    metadata = parse_strictly((root / "configs" / "metadata.json").read_bytes())
    if not isinstance(metadata, Mapping):
        raise ValueError("its metadata is no JSON object.")
    trained_on = metadata.get("trained_on")
    data = trained_on if isinstance(trained_on, Mapping) else {}
    return Generation(str(metadata.get("name", "")), str(metadata.get("version", "")), data=dict(data))


def _generation(content: Any) -> Generation:
    if not isinstance(content, Mapping) or set(content) != set(Generation.__dataclass_fields__):
        raise ValueError(f"a generation has {', '.join(Generation.__dataclass_fields__)}, and nothing else.")
    if not all(isinstance(content[key], str) for key in ("name", "version", "made_by")):
        raise ValueError("name, version and made_by are texts.")
    if not all(isinstance(content[key], Mapping) for key in ("data", "settings", "software", "measured")):
        raise ValueError("data, settings, software and measured are objects.")
    if not isinstance(content["parents"], list):
        raise ValueError("parents is a list of digests.")
    return Generation(**{**content, "parents": tuple(_digest(parent) for parent in content["parents"])})


def _digest(text: Any) -> str:
    if not isinstance(text, str) or len(text) != 64 or set(text) - set("0123456789abcdef"):
        raise ValueError(f"{shortened(text)!r} is no digest: 64 hexadecimal digits.")
    return text


class LinkState(StrEnum):
    """State of the link from a child to one parent."""

    ITSELF = "itself"
    VERIFIED = "verified"
    """The parent is at hand with this digest, and its own record equals the child's copy."""
    AWAY = "not at hand"
    """The parent's record is the child's copy alone."""
    DAMAGED = "damaged"
    """The parent's record is missing, circular, too deep, or differs from the child's copy."""


@dataclass(frozen=True)
class AtHand:
    """A bundle that a link may lead to: its folder, label, digests (also of the folder it was packed from), lineage."""

    root: Path
    label: str
    digests: tuple[str, ...]
    lineage: Lineage


@dataclass(frozen=True)
class LineageNode:
    """A bundle in the tree: its digest and record, the state of the link to it, a text on that state, its parents."""

    digest: str
    generation: Generation | None
    state: LinkState
    explanation: str
    parents: tuple["LineageNode", ...]

    def walk(self) -> Iterator["LineageNode"]:
        """Yield the node and all its ancestors."""
        yield self
        for parent in self.parents:
            yield from parent.walk()

    def lines(self) -> list[str]:
        """Return the tree as text, the newest first."""
        generation = self.generation
        name = "nothing is known of it"
        if generation:
            name = f"{shortened(generation.name)} {shortened(generation.version)}"
        columns = [name, self.digest[:12], f"{self.state}{': ' + self.explanation if self.explanation else ''}"]
        lines = ["  ".join(columns)]
        details = [shortened(f"{label}: {_formatted(content)}") for label, content in _details(generation) if content]
        bar = "│ " if self.parents else "  "
        lines += [f"{bar} {line}" for line in details]
        for number, parent in enumerate(self.parents):
            last = number == len(self.parents) - 1
            first, *rest = parent.lines()
            lines.append(f"{'└─' if last else '├─'} {first}")
            lines += [f"{'  ' if last else '│ '} {line}" for line in rest]
        return lines


def _details(generation: Generation | None) -> list[tuple[str, Any]]:
    if generation is None:
        return []
    names = {"made by": "made_by", "data": "data", "settings": "settings", "measured": "measured"}
    return [(label, getattr(generation, name)) for label, name in names.items()]


def _formatted(content: Any) -> str:
    if not isinstance(content, Mapping):
        return str(content)
    plain = {key: value for key, value in content.items() if isinstance(value, str | int | float)}
    return ", ".join(
        f"{key} {f'{value:.4g}' if isinstance(value, float) else _short(value)}" for key, value in plain.items()
    )


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) < 40 else f"{text[:12]}…"  # most likely a digest


def bundles_at_hand(store: Path, also: Iterable[str | Path] = ()) -> list[AtHand]:
    """Return the bundles that links may lead to: all installed ones, and those in some folders.

    Args:
        store: of installed bundles.
        also: folders of bundles, or folders that hold such.

    Raises:
        SharingError: ``lineage-invalid`` if one of them cannot be read.
    """
    at_hand = []
    for installed in installed_bundles(store) if store.is_dir() else []:
        label = f"installed, {installed.record.name}@{installed.record.version}, signed by {installed.record.signer}"
        at_hand.append(_at_hand(installed.root, label))
    for folder in map(Path, also):
        inside = [folder, *sorted(path for path in folder.iterdir() if path.is_dir())] if folder.is_dir() else []
        bundles = [path for path in inside if (path / "configs" / "metadata.json").is_file()]
        if not bundles:
            raise SharingError(Code.LINEAGE_INVALID, "there is no bundle in this folder.", where=folder)
        at_hand += [_at_hand(path, str(path)) for path in bundles]
    return at_hand


def _at_hand(root: Path, label: str) -> AtHand:
    digests = [content_digest(root)]
    if (root / FILE_LIST).is_file():
        digests.append(read_contents(root / FILE_LIST).created_from)
    return AtHand(root, label, tuple(dict.fromkeys(digests)), read_lineage(root))


def trace_lineage(root: str | Path, at_hand: Sequence[AtHand]) -> LineageNode:
    """Return the tree of a bundle, every link checked as far as the bundles at hand allow.

    Args:
        root: the bundle's folder.
        at_hand: bundles that links may lead to, see :func:`bundles_at_hand`.

    Raises:
        SharingError: ``lineage-invalid`` if the bundle's own record cannot be read.
    """
    root = Path(root)
    lineage = read_lineage(root)
    digest = content_digest(root)
    tracer = _Tracer(at_hand)
    parents = tracer.parents(lineage.generation, lineage.ancestors, (digest,))
    label = tracer.by_digest[digest].label if digest in tracer.by_digest else ""
    return LineageNode(digest, lineage.generation, LinkState.ITSELF, label, parents)


class _Tracer:
    """Follows links; each ancestor's own ancestors are followed once, however many children lead to it."""

    def __init__(self, at_hand: Sequence[AtHand]) -> None:
        self.at_hand = at_hand
        # a bundle that is at hand itself comes before one that was packed from it
        self.by_digest = {bundle.digests[-1]: bundle for bundle in at_hand}
        self.by_digest |= {bundle.digests[0]: bundle for bundle in at_hand}
        self.followed: set[str] = set()

    def parents(
        self, child: Generation, ancestors: Mapping[str, Generation], path: tuple[str, ...]
    ) -> tuple[LineageNode, ...]:
        """Return the nodes of a child's parents.

        Args:
            child: the record that names the parents.
            ancestors: records by digest, as the child and its descendants carry them.
            path: digests from the root of the tree to the child.
        """
        return tuple(self._parent(digest, ancestors, path) for digest in child.parents)

    def _parent(self, digest: str, ancestors: Mapping[str, Generation], path: tuple[str, ...]) -> LineageNode:
        claimed, bundle = ancestors.get(digest), self.by_digest.get(digest)
        if digest in path:
            return LineageNode(digest, claimed, LinkState.DAMAGED, "it is said to be its own ancestor, a circle", ())
        if len(path) > MOST_GENERATIONS:
            return LineageNode(
                digest, claimed, LinkState.DAMAGED, f"there are more than {MOST_GENERATIONS:,} generations", ()
            )
        state, explanation = self._link(digest, claimed, bundle, path)
        generation = bundle.lineage.generation if bundle else claimed
        if generation is None:
            return LineageNode(digest, None, state, explanation, ())
        if digest in self.followed and generation.parents:
            return LineageNode(digest, generation, state, f"{explanation}; its parents stand above".lstrip("; "), ())
        self.followed.add(digest)
        further = {**ancestors, **(bundle.lineage.ancestors if bundle else {})}
        return LineageNode(digest, generation, state, explanation, self.parents(generation, further, (*path, digest)))

    def _link(
        self, digest: str, claimed: Generation | None, bundle: AtHand | None, path: tuple[str, ...]
    ) -> tuple[LinkState, str]:
        if bundle is not None:
            as_packed = "" if digest == bundle.digests[0] else ", which was packed from it"
            generation = bundle.lineage.generation
            if as_packed and claimed:
                generation = replace(generation, version=claimed.version)
            if claimed != generation:
                return LinkState.DAMAGED, f"{bundle.label}: what its child says of it is not what it says itself"
            return LinkState.VERIFIED, bundle.label + as_packed
        if claimed is None:
            return LinkState.DAMAGED, "its child says nothing of it"
        for other in self.at_hand:
            generation = other.lineage.generation
            same_name = (generation.name, generation.version) == (claimed.name, claimed.version)
            if same_name and not set(other.digests) & set(path):
                return LinkState.AWAY, f"{other.label} has its name and version, but another content"
        return LinkState.AWAY, "what is said of it is what its child says"
