"""Settings that nothing reads, and arguments that no component takes: misspelt, or of another configuration.

MONAI puts whatever stands on its command line into the configuration. What no ``@reference`` reaches, and no callable
has an argument for, changes nothing and nobody is told; here it is refused, with the nearest name that exists
(docs/decisions/0002).
"""

import difflib
import inspect
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from pydoc import ErrorDuringImport, locate
from typing import Any
from weakref import WeakKeyDictionary

from monai.bundle import ConfigParser

from cxr_monai.bundle.configuration import as_sorted_text, same, strings
from cxr_monai.errors import Code, SettingError

# Read by MONAI itself, never by reference from another item.
_ROOTS = {"imports", "initialize", "run", "finalize", "_meta_"}
# The plain settings of a workflow when it was last initialised, as text.
_READ: WeakKeyDictionary[ConfigParser, dict[str, str]] = WeakKeyDictionary()


def refuse_unknown(parser: ConfigParser) -> None:
    """Refuse every item that nothing reads: it was misspelt, or belongs to another configuration.

    An item is read if it, or what contains it, is referred to by ``@id``, or is one that MONAI reads itself
    (``run``, ``initialize``, ...), or is an argument that its component has. What ``--tracking`` adds is referred to by
    the handler it adds, so it passes. So does what stands as it is in one of the bundle's configurations that are
    being run: where several are merged, or a program sets a property of the workflow, parts of one are left over; and
    so does what was read when the same workflow was initialised before it set that property.

    Raises:
        SettingError: ``override-unknown``, with the nearest name that exists.
    """
    configurations = _own_configurations(parser)
    _refuse_unread(parser, configurations)
    _refuse_arguments(parser, configurations)
    _READ[parser] = {name: as_sorted_text(value) for name, value in parser.config.items() if _is_plain(value)}


def _refuse_unread(parser: ConfigParser, configurations: list[ConfigParser]) -> None:
    referred: set[str] = set()
    for value in strings(parser.config):
        referred.update(parser.ref_resolver.match_refs_pattern(value))
    unread = [
        name
        for name in _unread(parser.config, "", referred)
        if not any(name in shipped and same(shipped[name], parser[name]) for shipped in configurations)
        and _READ.get(parser, {}).get(name) != as_sorted_text(parser[name])
    ]
    if not unread:
        return
    name = unread[0].replace("::", "#")
    parent = name.rpartition("#")[0]
    siblings = parser[parent] if parent else parser.config
    names = {key: f"{parent}#{key}" if parent else key for key in siblings if not key.startswith("_")}
    candidates = [other for other in names.values() if other.replace("#", "::") not in unread]
    nearest = difflib.get_close_matches(name, candidates, n=1, cutoff=0.5)
    settings = ", ".join(key for key, value in parser.config.items() if not key.startswith("_") and _is_plain(value))
    raise SettingError(
        Code.OVERRIDE_UNKNOWN,
        f"nothing reads the setting --{name}"
        + (f" (nor {', '.join('--' + other.replace('::', '#') for other in unread[1:])})." if unread[1:] else "."),
        fix=f"Did you mean --{nearest[0]}?" if nearest else f"Settings of this configuration: {settings}.",
    )


def _refuse_arguments(parser: ConfigParser, configurations: list[ConfigParser]) -> None:
    """Refuse an argument that a component was given by an override or an overlay, and does not have.

    Its constructor would say so as well, but a component that this run does not need is never made.
    """
    for item_id, component in _components(parser.config):
        shipped = [other[item_id] for other in configurations if item_id in other]
        if any(isinstance(other, Mapping) and set(other) >= set(component) for other in shipped):
            continue
        arguments = _arguments(parser, component["_target_"])
        if arguments is None:
            continue
        for name in component:
            if name.startswith("_") or name in arguments or any(name in other for other in shipped if other):
                continue
            item_id = item_id.replace("::", "#")
            nearest = difflib.get_close_matches(name, arguments, n=1, cutoff=0.5)
            raise SettingError(
                Code.OVERRIDE_UNKNOWN,
                f"nothing reads the setting --{item_id}#{name}: {component['_target_']} has no argument {name}.",
                fix=f"Did you mean --{item_id}#{nearest[0]}?" if nearest else f"Its arguments: {', '.join(arguments)}.",
            )


def _own_configurations(parser: ConfigParser) -> list[ConfigParser]:
    """Return the bundle's configurations that the one that is being run is made of, as they are in its folder.

    Overrides and overlays add and replace, and take nothing away: a configuration all of whose items are there was
    read, the others were not (``--split test`` stands in ``evaluate.json``, and means nothing to ``inference.json``).
    """
    folder = Path(str(parser.config.get("bundle_root", "."))) / "configs"
    contents = []
    for file in sorted(folder.glob("*.json")):
        try:
            contents.append(json.loads(file.read_text(encoding="utf-8")))
        except ValueError:  # MONAI has not read it either
            continue
    return [
        ConfigParser(content)
        for content in contents
        if isinstance(content, dict) and all(key in parser for key in content)
    ]


def _components(config: Any, prefix: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(config, Mapping) and isinstance(config.get("_target_"), str):
        yield prefix, config
    if isinstance(config, Mapping | list):
        for key, value in config.items() if isinstance(config, Mapping) else enumerate(config):
            if key != "_meta_":
                yield from _components(value, f"{prefix}::{key}" if prefix else str(key))


def _arguments(parser: ConfigParser, target: str) -> list[str] | None:
    """Return the names of a component's arguments; None where they cannot be found, or it takes any name."""
    modules = parser.locator.get_component_module_name(target) if target[:1] not in ("$", "@", "%") else None
    module = modules[0] if isinstance(modules, list) else modules
    try:
        parameters = inspect.signature(locate(f"{module}.{target}" if module else target)).parameters.values()  # type: ignore[arg-type]
    except (ErrorDuringImport, TypeError, ValueError):  # MONAI raises the error where the component is needed
        return None
    if any(parameter.kind == parameter.VAR_KEYWORD for parameter in parameters):
        return None
    return [one.name for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]


def _is_plain(value: Any) -> bool:
    return not isinstance(value, Mapping) and not (isinstance(value, str) and value[:1] in ("$", "@"))


def _unread(config: Any, prefix: str, referred: set[str]) -> Iterator[str]:
    for key, value in config.items():
        name = f"{prefix}::{key}" if prefix else key
        if key.startswith("_") or name in referred or (not prefix and key in _ROOTS):
            continue
        is_section = isinstance(value, Mapping) and "_target_" not in value
        parts_referred = any(other.startswith(name + "::") for other in referred)
        if is_section and parts_referred:
            yield from _unread(value, name, referred)
        elif not parts_referred:
            yield name
