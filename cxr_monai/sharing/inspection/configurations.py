"""Judge what the configurations of a bundle would execute: each ``_target_``, ``$``, ``%``, ``@`` and argument.

MONAI merges any of a bundle's configurations into one: a key of an overlay (``a#b``, ``+a``) reaches into another file,
and a name that one file imports is defined in the others. So imports and references are gathered over all files first
(``gather_configurations``), and then each file is judged (``judge_configuration``).
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from cxr_monai.budget import check_time
from cxr_monai.bundle.evaluated import ENTRIES, MACRO_FILE, Id, Reach, Reached, absolute
from cxr_monai.sharing.inspection import syntax
from cxr_monai.sharing.inspection.allowlist import allowed_lists, bare_name, is_target_only, judge_callable
from cxr_monai.sharing.inspection.arguments import CALLABLES, COMPUTED, is_listed, judge_argument
from cxr_monai.sharing.inspection.expressions import Imports, Judgement, Scope, judge_expression, judge_import
from cxr_monai.sharing.inspection.loops import endless_references
from cxr_monai.sharing.inspection.places import (
    FILES_BY_KEY,
    NAMED,
    NO_PLACE,
    OBJECTS,
    Places,
    is_of_the_container,
    is_part,
    is_relative,
    leads_elsewhere,
    names_a_place,
)
from cxr_monai.sharing.inspection.remarks import Remark, Verdict, shortened
from cxr_monai.sharing.inspection.signatures import judge_kind, literal_kinds

MOST_ITEMS = 200_000
"""Items of a configuration."""
LONGEST_ID = 1000
"""Characters of an id."""
METADATA_FILE = "configs/metadata.json"
INFERENCE = "configs/inference.json"
"""What commands evaluate some items of (``cxr_monai.bundle.evaluated``)."""

_ADDRESS = re.compile(r"\b(?:https?|ftps?|s3|gs|git|ssh|file|jdbc|sqlite|postgresql)://[^\s\"'<>)\]]+", re.IGNORECASE)
_TARGET = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_OWN_FILE = re.compile(r"(configs/[\w-]+\.json)(::[\w:]*)?")
_ID = re.compile(r"[\w:. -]+")
_MODES = ("default", "callable", "partial")
# References that are allowed where an argument must be a literal: the items that they name must be literals too.
_NAMED_ALIKE = ("@tracking_uri", "@trust_folder")


@dataclass(frozen=True)
class AllConfigurations:
    """Imports, references and settings of all configurations of a bundle together.

    Attributes:
        names: what they import, by name the dotted name.
        contradicted: names that they import with more than one meaning.
        imports: where they import.
        files: the configurations themselves.
        keep_callables: whether a ``_mode_`` anywhere keeps a callable instead of calling it.
        reach: what refers to what, in all of them but the metadata.
        evaluated: what commands evaluate, were any of them merged into ``inference.json``.
        scopes: of expressions, by whether commands evaluate them.
    """

    names: Mapping[str, str]
    contradicted: frozenset[str]
    imports: Imports
    files: frozenset[str]
    keep_callables: bool
    reach: Reach
    evaluated: Reached
    scopes: Mapping[bool, Scope]


@dataclass(slots=True)
class _Item:
    """One item: its id and the parts of that, its own key, whether it is merged into another section, its value."""

    id: str
    parts: tuple[str, ...]
    key: str
    overlay: bool
    value: Any

    @property
    def nested(self) -> bool:
        """Whether the item is below the first keys."""
        return len(self.id) > len(self.key)

    @property
    def argument(self) -> str:
        """The name of the argument that this is, or is an element of."""
        return next((part for part in reversed(self.parts) if not part.isdigit()), "")

    @property
    def component(self) -> Id:
        """The id of the section whose argument this is, or is an element of."""
        count = len(self.parts)
        while count and self.parts[count - 1].isdigit():
            count -= 1
        return self.parts[: max(0, count - 1)]

    @property
    def owner(self) -> str:
        """The name of the argument that this item's section is."""
        return next((part for part in reversed(self.parts[:-1]) if not part.isdigit()), "")


def gather_configurations(configurations: Mapping[str, Mapping[str, Any]]) -> AllConfigurations:
    """Gather imports and references over all configurations, which judging any of them needs.

    Args:
        configurations: by their names within the bundle.

    Raises:
        ValueError: for one with more than 200,000 items or an id of more than 1,000 characters; for imports in more
            than 200,000 places.
    """
    names: dict[str, str] = {}
    contradicted: set[str] = set()
    ids: set[str] = set()
    list_ids: set[str] = set()
    keep_callables = False
    items: list[tuple[Id, Any]] = []
    merged: set[Id] = set()
    for file, config in configurations.items():
        for item in walk_items(config):
            if file != METADATA_FILE:
                items.append((item.parts, item.value))
                if item.key.startswith("+") and isinstance(item.value, list):
                    merged.add(item.parts)
            keep_callables |= item.parts[-1] == "_mode_" and item.value != "default"
            imported = _import(item.value[1:]) if isinstance(item.value, str) and item.value.startswith("$") else None
            if imported is None:
                continue
            contradicted |= {name for name, meaning in imported[0].items() if names.get(name, meaning) != meaning}
            names |= imported[0]
            _add_with_beginnings(ids, item.parts)
            if item.parts[-1].isdigit():
                list_ids.add("::".join(item.parts[:-1]))
    imports, reach = Imports(frozenset(ids), frozenset(list_ids)), Reach(items, merged)
    scope = Scope(syntax.GLOBALS | names, imports, Places(reach, names))
    scopes = {False: scope, True: replace(scope, evaluated=True)}
    return AllConfigurations(
        names, frozenset(contradicted), imports, frozenset(configurations), keep_callables,
        reach, reach.of(ENTRIES), scopes,
    )  # fmt: skip


def _add_with_beginnings(ids: set[str], parts: tuple[str, ...]) -> None:
    """Add an id and those of the sections around it, up to the first that was added before."""
    for count in range(len(parts), -1, -1):
        beginning = "::".join(parts[:count])
        if beginning in ids:
            break
        ids.add(beginning)
    if len(ids) > MOST_ITEMS:
        raise ValueError(f"its imports stand in more than {MOST_ITEMS:,} places.")


def walk_items(config: Mapping[str, Any]) -> Iterator[_Item]:
    """Yield every item of a configuration, sections before what is in them.

    Raises:
        ValueError: for more than 200,000 items or an id of more than 1,000 characters.
    """
    count = 0
    waiting = [_Item("", (), "", False, config)]
    while waiting:
        check_time(short=True)
        item = waiting.pop()
        count += 1
        if count > MOST_ITEMS:
            raise ValueError(f"it has more than {MOST_ITEMS:,} items.")
        if len(item.id) > LONGEST_ID:
            raise ValueError(f"an id in it has more than {LONGEST_ID:,} characters.")
        if item.parts:
            yield item
        if isinstance(item.value, Mapping):
            inside = [_inside(item, str(key), value) for key, value in item.value.items()]
        elif isinstance(item.value, list):
            inside = [_inside(item, str(number), value) for number, value in enumerate(item.value)]
        else:
            continue
        waiting += reversed(inside)


def measure_configuration(config: Mapping[str, Any]) -> None:
    """Go through a configuration once.

    Raises:
        ValueError: for more than 200,000 items or an id of more than 1,000 characters.
    """
    for _ in walk_items(config):
        pass


def _inside(item: _Item, key: str, value: Any) -> _Item:
    # MONAI splits '#' and takes '+' for a merge, whose value joins the existing one, in the first keys alone
    parts = tuple(part.strip() for part in re.split("#|::", key.lstrip("+~"))) if not item.parts else (key,)
    overlay = len(parts) > 1 or item.key.startswith(("+", "~"))
    return _Item(f"{item.id}#{key}" if item.id else key, item.parts + parts, key, overlay, value)


def judge_configuration(name: str, config: Mapping[str, Any], configurations: AllConfigurations) -> Iterator[Remark]:
    """Judge everything in one configuration.

    Args:
        name: within the bundle.
        config: its content.
        configurations: gathered from all configurations of the bundle, this one included.

    Yields:
        a remark for each item that executes, refers to or names something, with its verdict.
    """
    judge = _Judge(name, configurations)
    yield from judge.loops(config)
    for item in walk_items(config):
        yield from judge.item(item)


def network_addresses(name: str, where: str, text: str, *, fetched: bool) -> Iterator[Remark]:
    """Yield a remark for each network address in a text.

    Args:
        name: of the file within the bundle.
        where: the item's id; "" for all of the file.
        text: to search.
        fetched: True for a configuration, whose addresses something may connect to.
    """
    for address in dict.fromkeys(_ADDRESS.findall(text)):
        if fetched:
            reason = "a network address or a URI in a configuration: something may connect to it."
            yield Remark(name, where, "address", address, Verdict.ATTENTION, reason)
        else:
            yield Remark(name, where, "address", address, Verdict.ALLOWED, "named in a text, fetched by nothing.")


class _Judge:
    """Judges the items of one configuration."""

    def __init__(self, name: str, bundle: AllConfigurations) -> None:
        self.name, self.bundle = name, bundle
        self._expressions: dict[tuple[str, bool], list[Judgement]] = {}

    def loops(self, config: Mapping[str, Any]) -> Iterator[Remark]:
        """Refuse references in circles and chains that are too long."""
        if self.name == METADATA_FILE:
            return
        texts = [(item.parts, item.value) for item in walk_items(config) if _refers(item.value)]
        # the content that a macro copies from another file is judged there
        own_texts = ((parts, value) for parts, value in texts if not MACRO_FILE.search(value) or value[0] != "%")
        sections: list[tuple[Id, Any]] = [(item.parts, {}) for item in walk_items(config)] if texts else []
        reasons = endless_references(Reach([*sections, *own_texts]), [parts for parts, _ in texts])
        for parts, reason in reasons.items():
            item_id = "#".join(parts)
            yield Remark(self.name, item_id, "reference", "@" + item_id, Verdict.REFUSED, reason)

    def item(self, item: _Item) -> Iterator[Remark]:
        """Judge one item."""
        if self.name != METADATA_FILE and MACRO_FILE.search(item.key):
            yield self._refuse(item, "reference", item.key, "a key that names a file: a macro below it reads one.")
        if self.name != METADATA_FILE and item.nested and re.search("#|::", item.key):
            yield self._refuse(item, "reference", item.key, "MONAI splits such a key in some places and not in others.")
        if self.name != METADATA_FILE and not item.nested and any(map(_odd, re.split("#|::", item.key.lstrip("+~")))):
            yield self._refuse(item, "reference", item.key, "a key whose parts MONAI reads as other keys or numbers.")
        if self.name != METADATA_FILE and not is_part(item.key):
            reason = "a key is one part of a name: files are named after keys, and this one leads elsewhere."
            yield self._refuse(item, "argument", item.key, reason)
        if item.parts[-1] == "_target_":
            yield from self._target(item)
        elif item.parts[-1] == "_mode_" and item.value != "default":
            if item.value not in _MODES:
                reason = "a mode that starts a debugger, or that MONAI does not have."
                yield self._refuse(item, "callable", item.value, reason)
        else:
            yield from self._argument(item)
            if isinstance(item.value, str):
                yield from self._text(item, item.value)
        if isinstance(item.value, Mapping):
            yield from self._section(item, item.value)
        elif item.overlay and item.parts[-1] == "_mode_" and item.value != "default":
            yield self._refuse(item, "callable", item.value, "a mode without its _target_ beside it.")

    def _section(self, item: _Item, section: Mapping[str, Any]) -> Iterator[Remark]:
        """Judge the combination of keys in one section."""
        target, mode = section.get("_target_"), section.get("_mode_", "default")
        if mode != "default" and not isinstance(target, str):
            yield self._refuse(item, "callable", mode, "a mode without its _target_ beside it.")
        if not isinstance(target, str):
            return
        if mode != "default" and (is_target_only(target) or judge_callable(target)[0] == Verdict.ATTENTION):
            reason = "it is kept instead of called: what is given to it later has no names that could be judged."
            yield self._refuse(item, "callable", f"{target} (_mode_ {mode})", reason)
        if bare_name(target) in allowed_lists()["pretrained"] and section.get("pretrained") is not False:
            reason = 'it downloads weights unless "pretrained" is false; the bundle has its own.'
            yield self._refuse(item, "callable", target, reason)

    def _target(self, item: _Item) -> Iterator[Remark]:
        value = item.value
        if not isinstance(value, str) or not _TARGET.fullmatch(value):
            yield self._refuse(item, "callable", value, "a target is the name of a callable.")
            return
        owner = item.owner
        if owner in CALLABLES and not is_listed(owner, value):
            yield self._refuse(item, "callable", value, f"it is none of MONAI's own {CALLABLES[owner]}.")
        elif owner in FILES_BY_KEY and item.parts[-2] == owner and self._is_argument(item):
            yield self._refuse(item, "callable", value, f"{owner} is a section: files are named after its keys.")
        elif names_a_place(owner) and value not in OBJECTS and self._is_argument(item):
            yield self._refuse(item, "callable", value, f"{owner} may be any path. {NO_PLACE}")
        elif item.overlay and (self.bundle.keep_callables or bare_name(value) in allowed_lists()["pretrained"]):
            reason = "a target without the section that it stands in, which may say more about it."
            yield self._refuse(item, "callable", value, reason)
        else:
            evaluated = self.bundle.evaluated.covers(item.parts)
            yield self._remark(item, "callable", value, *judge_callable(value, evaluated))

    def _is_argument(self, item: _Item) -> bool:
        """Return whether the section around an item is an argument of a component."""
        section = replace(item, parts=item.parts[:-1])
        return bool(self.bundle.reach.values((*section.component, "_target_")))

    def _argument(self, item: _Item) -> Iterator[Remark]:
        value = item.value
        if self.name != METADATA_FILE:
            yield from self._place(item)
            yield from self._kind(item)
        computed = isinstance(value, str) and value[:1] in ("$", "@", "%") and value not in _NAMED_ALIKE
        reason = judge_argument(item.argument, COMPUTED if computed else value)
        if reason:
            yield self._refuse(item, "callable" if item.argument in CALLABLES else "argument", value, reason)

    def _place(self, item: _Item) -> Iterator[Remark]:
        """Refuse a path that leads out of the bundle and of the folders given to read and write."""
        name, value = item.argument, item.value
        if not isinstance(value, str) or name == "_desc_" or name in CALLABLES:
            return
        names_files = name in FILES_BY_KEY and item.parts[-1] == name and len(item.parts) > 1
        if names_files and not self.bundle.scopes[False].places.is_section(value, item.parts):
            reason = f"{name} is a section, or a reference to one: files are named after its keys."
            yield self._refuse(item, "argument", value, reason)
        is_argument = len(item.parts) > 1 or name in NAMED
        if value[:1] in ("$", "@", "%"):
            wrong = (
                is_argument and names_a_place(name) and not self.bundle.scopes[False].places.is_place(value, item.parts)
            )
            if wrong:
                yield self._refuse(item, "argument", value, f"{name} may be any path. {NO_PLACE}")
        elif not is_relative(value) if is_argument and names_a_place(name) else leads_elsewhere(value):
            setting = not self.bundle.reach.values((*item.component, "_target_")) and name != "output_dir"
            if setting and is_of_the_container(value) and not self.bundle.evaluated.covers(item.parts):
                reason = "a place in the container that MONAI's model zoo writes for: whoever runs it gives their own."
                yield self._remark(item, "argument", value, Verdict.ATTENTION, reason)
            else:
                yield self._refuse(item, "argument", value, f"{name} leads out of the bundle. {NO_PLACE}")

    def _kind(self, item: _Item) -> Iterator[Remark]:
        """Judge whether an argument has the type that the signature of its callable requires."""
        targets = self.bundle.reach.values((*item.component, "_target_"))
        kinds = literal_kinds(targets, item.argument) if targets else ""
        reason = kinds and judge_kind(item.argument, kinds, item.value, item.parts, self.bundle.reach)
        if reason:
            yield self._refuse(item, "argument", item.value, reason)
        target_names = {bare_name(target) for target in targets if isinstance(target, str)}
        if item.argument == "weights" and item.value is not None and "TorchVisionFCModel" in target_names:
            yield self._refuse(item, "argument", item.value, "weights downloads weights; it must be absent.")

    def _text(self, item: _Item, value: str) -> Iterator[Remark]:
        if self.name == METADATA_FILE and value.startswith(("$", "@", "%")):
            yield self._refuse(item, "expression", value, "MONAI resolves this, and metadata has no need of it.")
        elif value.startswith("$"):
            yield from self._expression(item, value)
        elif value.startswith("%"):
            yield self._macro(item)
        elif value.startswith("@"):
            yield from self._reference(item, value)
        yield from network_addresses(self.name, item.id, value, fetched=self.name != METADATA_FILE)

    def _reference(self, item: _Item, value: str) -> Iterator[Remark]:
        try:
            ids = syntax.references_in(absolute(value, item.parts))
        except ValueError as error:
            yield self._refuse(item, "reference", value, str(error))
            return
        if ids and self.bundle.imports.hold(ids[0]):
            yield self._refuse(item, "reference", value, "a reference to an import: a whole module.")

    def _expression(self, item: _Item, value: str) -> Iterator[Remark]:
        imported = _import(value[1:])
        kind = "expression" if imported is None else "import"
        if imported is None:
            evaluated = self.bundle.evaluated.covers(item.parts)
            if (value, evaluated) not in self._expressions:
                self._expressions[value, evaluated] = judge_expression(value[1:], self.bundle.scopes[evaluated])
            results = self._expressions[value, evaluated]
        else:
            results = imported[1]
            for name in sorted(imported[0].keys() & self.bundle.contradicted):
                reason = f"another import of the bundle gives {name} another meaning."
                results = [*results, (value[1:], Verdict.REFUSED, reason)]
        worst = max((judgement[1] for judgement in results), key=list(Verdict).index, default=Verdict.ALLOWED)
        for text, verdict, reason in results:
            if verdict != Verdict.ALLOWED:
                shown = value if text == value[1:] else f"{shortened(text)}  in  {value}"
                yield self._remark(item, kind, shown, verdict, reason)
        if worst == Verdict.ALLOWED:
            yield self._remark(item, kind, value, worst, "")

    def _macro(self, item: _Item) -> Remark:
        try:
            text = absolute(item.value, item.parts)
        except ValueError as error:
            return self._refuse(item, "reference", item.value, str(error))
        text = "::".join(part.strip() for part in text[1:].split("::"))  # as MONAI looks them up
        if MACRO_FILE.search(text):
            match = _OWN_FILE.fullmatch(text)
            if match is None or match[1] not in self.bundle.files:
                reason = "it reads a file that is none of the bundle's configurations (configs/NAME.json)."
                return self._refuse(item, "reference", item.value, reason)
            if self.name == INFERENCE and self.bundle.evaluated.covers(item.parts):
                reason = "commands evaluate it, and MONAI looks for the file where they are started, not in the bundle."
                return self._refuse(item, "reference", item.value, reason)
            text = (match[2] or "")[2:]
        if not _ID.fullmatch(text) or re.search("[@%]", item.value[1:]):
            return self._refuse(item, "reference", item.value, "it names neither an item nor a configuration.")
        if self.bundle.imports.hold(text):
            return self._refuse(item, "reference", item.value, "a copy of an import: a whole module.")
        return self._remark(item, "reference", item.value, Verdict.ALLOWED, "")

    def _refuse(self, item: _Item, kind: str, text: Any, reason: str) -> Remark:
        return self._remark(item, kind, text, Verdict.REFUSED, reason)

    def _remark(self, item: _Item, kind: str, text: Any, verdict: Verdict, reason: str) -> Remark:
        return Remark(self.name, item.id.replace("::", "#"), kind, shortened(text), verdict, reason)


def _odd(part: str) -> bool:
    """Return whether MONAI reads part of a key as another key: blanks around it, or a number in another spelling."""
    try:
        return part != part.strip() or str(int(part)) != part or int(part) < 0
    except ValueError:
        return False


def _refers(value: Any) -> bool:
    return isinstance(value, str) and value[:1] in ("$", "@", "%") and ("@" in value or value[0] == "%")


def _import(text: str) -> tuple[dict[str, str], list[tuple[str, Verdict, str]]] | None:
    if "import" not in text:
        return None
    try:
        return judge_import(text)
    except ValueError:
        return None  # too long or too deep: as an expression it is refused with the reason
