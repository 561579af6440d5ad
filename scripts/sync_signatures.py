"""Write ``sharing/inspection/signatures.json``: which arguments of the callables that a bundle may use are no texts.

    python scripts/sync_signatures.py            # after a change of allowed.json, or for another version of MONAI
    python scripts/sync_signatures.py --check    # exit status 1 if the file is not what it would write

An inspection imports nothing of what it judges, so what the annotations of the installed MONAI, PyTorch and of this
package say is written down. Only what an annotation says without doubt is: ``int``, ``float``, ``bool``, sequences of
these, ``None`` and unions of them.
"""

import argparse
import ast
import builtins
import inspect
import json
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from monai.bundle import ComponentLocator

import cxr_monai
from cxr_monai.durable import write_durably
from cxr_monai.sharing.inspection.allowlist import allowed_lists

FILE = Path(cxr_monai.__file__).parent / "sharing" / "inspection" / "signatures.json"
_NUMBERS = {"int": "n", "float": "n", "bool": "b", "None": ""}
_SEQUENCES = ("Sequence", "list", "List", "tuple", "Tuple", "Iterable")


def kinds(annotation: Any) -> str | None:
    """Return the kinds of an annotation: ``n`` (number), ``b`` (bool), ``l`` (a list of them); None if it may be more.

    >>> kinds("Sequence[int] | int"), kinds("bool | None"), kinds("str | int"), kinds("tuple")
    ('ln', 'b', None, None)
    """
    text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))
    try:
        found = set(_kinds(ast.parse(text, mode="eval").body))
    except (SyntaxError, LookupError):
        return None
    return "".join(sorted(found)) or None


def _kinds(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        yield from _kinds(node.left)
        yield from _kinds(node.right)
    elif isinstance(node, ast.Subscript) and ast.unparse(node.value).rpartition(".")[2] in _SEQUENCES:
        yield "l"
        inside = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        for one in inside:
            if not (isinstance(one, ast.Constant) and one.value is Ellipsis):
                list(_kinds(one))
    elif isinstance(node, ast.Subscript) and ast.unparse(node.value).rpartition(".")[2] in ("Union", "Optional"):
        for one in node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]:
            yield from _kinds(one)
    else:
        yield from _NUMBERS[ast.unparse(node)]


def arguments(called: Any) -> dict[str, str]:
    """Return the arguments of a callable that are no texts, and their kinds; those that its base classes take too."""
    found: dict[str, str] = {}
    for make in _makers(called):
        try:
            parameters = inspect.signature(make).parameters.values()
        except (TypeError, ValueError):
            return found
        for one in parameters:
            if one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL) and (kind := kinds(one.annotation)):
                found.setdefault(one.name, kind)
        if not any(one.kind == one.VAR_KEYWORD for one in parameters):
            break
    return found


def _makers(called: Any) -> list[Any]:
    """Return what takes a callable's arguments: itself, then what it hands the rest of them to."""
    if inspect.isclass(called):
        return [one.__init__ for one in called.__mro__ if "__init__" in vars(one)]  # type: ignore[misc]
    made = getattr(called, "__globals__", {}).get(getattr(called, "__annotations__", {}).get("return"))
    return [called, *(_makers(made) if inspect.isclass(made) else [])]  # resnet50(**kwargs) -> ResNet


def find(name: str, locator: ComponentLocator) -> Any:
    """Return a listed callable; None where this version of its package has none."""
    if "." not in name:
        modules = locator.get_component_module_name(name)
        module = modules[0] if isinstance(modules, list) else modules
        return getattr(import_module(module), name) if module else getattr(builtins, name, None)
    parts = name.split(".")
    for count in range(len(parts) - 1, 0, -1):
        try:
            found: Any = import_module(".".join(parts[:count]))
        except ImportError:
            continue
        for part in parts[count:]:
            found = getattr(found, part, None)
        return found
    return None


def table() -> dict[str, dict[str, str]]:
    """Return the arguments of all listed callables that are no texts: of ``LoadImaged`` those of its other names."""
    known, locator = allowed_lists(), ComponentLocator()
    names = [*known["monai"], *known["callables"], *known["attention"]]
    twins = {f"{name[:-1]}{end}" for name in names if name.endswith("d") for end in ("D", "Dict")}
    made = {name: arguments(called) for name in names if name not in twins and callable(called := find(name, locator))}
    return {name: dict(sorted(made[name].items())) for name in sorted(made) if made[name]}


def main(words: list[str] | None = None) -> int:
    """Write the file, or compare it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing")
    given = parser.parse_args(words)
    text = json.dumps(table(), separators=(",", ":")).replace("},", "},\n") + "\n"
    if given.check:
        return int(FILE.read_text(encoding="utf-8") != text)
    write_durably(FILE, text.encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
