"""The items of a bundle's ``inference.json`` that our commands evaluate, and the items that those refer to.

``predict``, ``explain``, ``calibrate``, ``maps``, ``finetune --parent`` and ``bundle export`` ask MONAI for the items
of `EVALUATED` and for no other: their parser holds these and what they reach, and nothing else (`only`), so one that
asks for more gets an error. ``cxr_monai.sharing`` demands of the same items (`ENTRIES`, found by the same `Reach`) that
they only read and compute. An item reaches what it refers to (``@id``), copies (``%id``) and what stands within it.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

EVALUATED = ("network_def", "preprocessing", "dataset::shape", "head_def")
"""Ids that commands ask for, ``::`` between their parts."""
MEANING = ("labels", "label_scheme", "head", "image_size", "margin", "normalisation", "network_def")
"""The settings that define what the weights mean; they are equal in all configurations of a bundle."""
INHERITED = ("image_size", "margin", "normalisation", "network_def")
"""The items that a fine-tuned child takes over unchanged."""
ENTRIES = (*EVALUATED, *INHERITED)
"""The ids from which the evaluation of a bundle begins."""
MACRO_FILE = re.compile(r"\.(json|ya?ml)", re.IGNORECASE)
"""Where MONAI sees a file in a macro (``ConfigParser.split_path_id``): anything up to the last of these."""

Id = tuple[str, ...]

# As MONAI finds them (monai.bundle.reference_resolver, monai.bundle.config_parser).
_REFERENCE = re.compile(r"@(\w*(?:::\w*)*)")
_RELATIVE = re.compile("[@%]::+")
_IMPORT = re.compile(r"\$\s*(import|from)\b")


def absolute(text: str, parts: Id) -> str:
    """Return a text with the ids that MONAI gives it: ``@#a`` is beside the item, ``@##a`` one level above.

    Args:
        text: of an item.
        parts: the item's id.

    Raises:
        ValueError: it leads above the configuration.
    """

    def replaced(match: re.Match[str]) -> str:
        levels = match[0].count("::")
        if levels > len(parts):
            raise ValueError("it leads above the configuration.")
        return match[0][0] + "".join(f"{part}::" for part in parts[: len(parts) - levels])

    return _RELATIVE.sub(replaced, text.replace("#", "::"))


def mentions(text: str, parts: Id) -> list[Id]:
    """Return the ids that a text refers to or copies, ``()`` being the whole configuration.

    A macro's file is left out: what it copies is looked for among the items at hand.
    """
    if text[:1] not in ("$", "@", "%"):
        return []
    try:
        text = absolute(text, parts)
    except ValueError:
        return [()]
    if text[0] != "%":
        return [_id(name) for name in _REFERENCE.findall(text)]
    name = text[1:]
    for file in MACRO_FILE.finditer(text):
        name = text[file.end() :].removeprefix("::")
    return [_id(name)]


def _id(name: str) -> Id:
    return tuple(part.strip() for part in name.split("::")) if name else ()


class Reach:
    """The ids that an id refers to, directly or indirectly, within one or several configurations that may be merged.

    Args:
        items: the id and the value of each item, sections included; an id may stand there more than once.
        merged: ids of lists that others are appended to, so that nobody knows which of their items is which.
    """

    def __init__(self, items: Iterable[tuple[Id, Any]], merged: Collection[Id] = ()) -> None:
        self._root = _Node()
        self._merged = frozenset(merged)
        for parts, value in items:
            node = self._root
            for part in parts:
                node = node.inside.setdefault(part, _Node())
            if not isinstance(value, Mapping | list):
                node.values.append(value)

    def values(self, parts: Id) -> list[Any]:
        """Return all plain values that an id has; none if it is a section, or unknown."""
        node, depth = self._nearest(parts)
        return node.values if depth == len(parts) else []

    def inside(self, parts: Id) -> list[str]:
        """Return the keys below an id."""
        node, depth = self._nearest(parts)
        return list(node.inside) if depth == len(parts) else []

    def has(self, parts: Id) -> bool:
        """Return whether there is such an id."""
        return self._nearest(parts)[1] == len(parts)

    def mentioned(self, parts: Id) -> Iterator[tuple[Id, int]]:
        """Yield the ids that an id mentions, in itself, in what it holds and in a text that stands in its place.

        With each comes how many levels below the id it is mentioned. An id that is mentioned need not exist.
        """
        node = self._root
        waiting: list[tuple[Id, _Node]] = []
        for depth in range(len(parts) + 1):
            node = node.inside[parts[depth - 1]] if depth else node
            if depth < len(parts):
                yield from ((mention, 0) for mention in node.mentions(parts[:depth]))
        waiting.append((parts, node))
        while waiting:
            place, node = waiting.pop()
            yield from ((mention, len(place) - len(parts)) for mention in node.mentions(place))
            waiting += [((*place, name), child) for name, child in node.inside.items()]

    def nearest(self, parts: Id) -> Id:
        """Return an id, or what would hold it where there is none: MONAI takes ``%a#-1`` for the last of ``a``."""
        existing = parts[: self._nearest(parts)[1]]
        return next((existing[:count] for count in range(len(existing)) if existing[:count] in self._merged), existing)

    def of(self, entries: Iterable[str]) -> "Reached":
        """Return the ids that some ids reach, themselves included; ids that do not exist reach nothing."""
        waiting = [self.nearest(parts) for parts in map(_id, entries) if self.has(parts)]
        # an entry below a reference (dataset is "%other") is that of the item it refers to
        waiting += [self.nearest(_id(entry)) for entry in entries if self.values(self.nearest(_id(entry)))]
        reached: set[Id] = set()
        while waiting:
            parts = waiting.pop()
            if any(parts[:count] in reached for count in range(len(parts) + 1)):
                continue
            reached.add(parts)
            waiting += [self.nearest(one) for one, _ in self.mentioned(parts)]
        return Reached(frozenset(reached))

    def _nearest(self, parts: Id) -> "tuple[_Node, int]":
        node = self._root
        for depth, part in enumerate(parts):
            inside = node.inside.get(part)
            if inside is None:
                return node, depth
            node = inside
        return node, len(parts)


class Reached:
    """Ids that are evaluated, each with everything in it."""

    def __init__(self, ids: frozenset[Id]) -> None:
        self.ids = ids
        self._above = frozenset(one[:count] for one in ids for count in range(len(one)))

    def covers(self, parts: Id) -> bool:
        """Return whether an item is evaluated."""
        return any(parts[:count] in self.ids for count in range(len(parts) + 1))

    def leads_to(self, parts: Id) -> bool:
        """Return whether something within an item is evaluated."""
        return parts in self._above


class _Node:
    """One id: its plain values and what it holds."""

    __slots__ = ("inside", "values")

    def __init__(self) -> None:
        self.inside: dict[str, _Node] = {}
        self.values: list[Any] = []

    def mentions(self, parts: Id) -> Iterator[Id]:
        """Yield the ids that the texts of this item mention."""
        for value in self.values:
            if isinstance(value, str) and value[:1] in ("$", "@", "%"):
                yield from mentions(value, parts)


def evaluated_items(config: Mapping[str, Any]) -> Iterator[tuple[Id, Any]]:
    """Yield id and value of every item of a configuration that MONAI has merged."""
    waiting: list[tuple[Id, Any]] = [((), config)]
    while waiting:
        parts, value = waiting.pop()
        if parts:
            yield parts, value
        inside = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
        waiting += [((*parts, str(name)), child) for name, child in inside]


def only(config: Mapping[str, Any], entries: Iterable[str] = EVALUATED) -> dict[str, Any]:
    """Return what of a configuration is needed to evaluate some of its items, imports included.

    Args:
        config: as MONAI has merged it.
        entries: ids; those that do not exist are left out.
    """
    reached = Reach(evaluated_items(config)).of(entries)

    def kept(section: Mapping[str, Any], prefix: Id) -> dict[str, Any]:
        result = {}
        for name, value in section.items():
            parts = (*prefix, name)
            if reached.covers(parts) or _imports(value):
                result[name] = value
            elif reached.leads_to(parts):
                result[name] = kept(value, parts) if isinstance(value, Mapping) else value
        return result

    return kept(config, ())


def _imports(value: Any) -> bool:
    every = value if isinstance(value, list) else [value]
    return any(isinstance(one, str) and _IMPORT.match(one) is not None for one in every)
