"""The kinds of values that arguments take by their callables' signatures, which ``signatures.json`` holds.

A text where a number belongs has reached a compiler's command line before (MONAI's ``GaussianMixtureModel``), and no
honest configuration has one. What is computed is only known when the bundle runs, unless it is plainly a text.
"""

import ast
import json
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import resources
from typing import Any

from cxr_monai.budget import check_time
from cxr_monai.bundle.evaluated import Id, Reach, mentions
from cxr_monai.sharing.inspection import syntax
from cxr_monai.sharing.inspection.allowlist import bare_name


@cache
def argument_kinds() -> Mapping[str, Mapping[str, str]]:
    """Return, by callable and argument, the kinds of values that it takes, other than texts.

    A kind is ``n`` (number), ``b`` (true or false) or ``l`` (list). ``scripts/sync_signatures.py`` writes them;
    arguments that may be texts or anything else are not listed.
    """
    text = (resources.files("cxr_monai.sharing.inspection") / "signatures.json").read_text(encoding="utf-8")
    return dict(json.loads(text))


def literal_kinds(targets: Iterable[Any], argument: str) -> str:
    """Return the kinds that an argument takes, by the first of some callables that lists it; "" if none does.

    Args:
        targets: names of callables, or other values, which are ignored.
        argument: its name.
    """
    for target in targets:
        name = bare_name(target) if isinstance(target, str) else ""
        for twin in (name, f"{name.removesuffix('Dict')}d", f"{name[:-1]}d"):
            if argument in argument_kinds().get(twin, ()):
                return argument_kinds()[twin][argument]
    return ""


def judge_kind(argument: str, kinds: str, value: Any, parts: Id, reach: Reach) -> str:
    """Judge the value of an argument by the kinds that it takes.

    Args:
        argument: its name.
        kinds: that it takes.
        value: a plain value, an element of a list, or a section.
        parts: the item's id.
        reach: of all configurations.

    Returns:
        why it is refused, a sentence; "" if it is not.
    """
    if isinstance(value, Mapping):
        wrong = "_target_" not in value
    else:
        wrong = _is_text(value, parts, reach) and not ("b" in kinds and str(value).lower() in ("true", "false"))
    expected = "true or false" if kinds == "b" else "a number" if "l" not in kinds else "numbers"
    return f"{argument} takes {expected}." if wrong else ""


def _is_text(value: Any, parts: Id, reach: Reach) -> bool:
    """Return whether a value, or an item that it refers to, is certainly a text; each id is visited once."""
    visited: set[Id] = set()
    waiting = [(value, parts)]
    while waiting:
        check_time(short=True)
        value, parts = waiting.pop()
        if not isinstance(value, str):
            continue
        if value[:1] not in ("$", "@", "%"):
            return True
        ids = mentions(value, parts)
        if value.startswith("$"):
            try:
                tree = syntax.parse_expression(value[1:])
            except ValueError:
                continue  # refused as an expression
            if not isinstance(tree, ast.Expression):
                continue
            text, ids = _text_or_ids(tree.body)
            if text:
                return True
        for item_id in ids:
            if item_id not in visited:
                visited.add(item_id)
                waiting += [(value, item_id) for value in reach.values(item_id)]
    return False


def _text_or_ids(node: ast.AST) -> tuple[bool, list[Id]]:
    """Return whether an expression's result is certainly a text, and the ids of items that it may be instead."""
    if syntax.is_reference(node):
        return False, [tuple(str(node.slice.value).split("::"))]
    parts: list[ast.expr] = []
    if isinstance(node, ast.BinOp):
        parts = [node.left, node.right] if isinstance(node.op, ast.Add) else [node.left]
    elif isinstance(node, ast.IfExp):
        parts = [node.body, node.orelse]
    elif isinstance(node, ast.List | ast.Tuple):
        parts = node.elts
    elif isinstance(node, ast.BoolOp):
        parts = node.values
    elif isinstance(node, ast.Call):
        method = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        return method in ("str", "join", "format", "strip", "lower", "upper", "zfill"), []
    elif isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str)):
        return True, []
    results = [_text_or_ids(part) for part in parts]
    return any(text for text, _ in results), [item_id for _, ids in results for item_id in ids]
