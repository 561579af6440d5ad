"""The kinds of values that arguments take, as the signatures of the callables say; ``signatures.json`` holds them.

A text where a number belongs has reached a compiler's command line before (MONAI's ``GaussianMixtureModel``), and no
honest configuration has one. What is computed is only known when the bundle runs, unless it is plainly a text.
"""

import ast
import json
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import resources
from typing import Any

from cxr_monai.bundle.evaluated import Id, Reach, mentions
from cxr_monai.sharing import syntax
from cxr_monai.sharing.allowlist import bare

_DEEPEST = 20


@cache
def signatures() -> Mapping[str, Mapping[str, str]]:
    """Return, by callable and argument, the kinds that it takes and that are no texts: ``n``, ``b`` (``true``), ``l``.

    ``scripts/sync_signatures.py`` writes them; arguments that may be texts or anything else are not there.
    """
    text = (resources.files("cxr_monai.sharing") / "signatures.json").read_text(encoding="utf-8")
    return dict(json.loads(text))


def kinds_of(targets: Iterable[Any], argument: str) -> str:
    """Return the kinds that an argument of any of some callables takes; "" where it may be a text."""
    for target in targets:
        name = bare(target) if isinstance(target, str) else ""
        for twin in (name, f"{name.removesuffix('Dict')}d", f"{name[:-1]}d"):
            if argument in signatures().get(twin, ()):
                return signatures()[twin][argument]
    return ""


def judge_kind(argument: str, kinds: str, value: Any, parts: Id, reach: Reach) -> str:
    """Judge what an argument is given by the kinds that it takes.

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
        wrong = _is_text(value, parts, reach, 0) and not ("b" in kinds and str(value).lower() in ("true", "false"))
    wanted = "true or false" if kinds == "b" else "a number" if "l" not in kinds else "numbers"
    return f"{argument} takes {wanted}." if wrong else ""


def _is_text(value: Any, parts: Id, reach: Reach, depth: int) -> bool:
    if not isinstance(value, str):
        return False
    if value.startswith("$"):
        try:
            tree = syntax.expression(value[1:])
        except ValueError:
            return False  # refused as an expression
        return isinstance(tree, ast.Expression) and _is_text_node(tree.body, reach, depth)
    if value.startswith(("@", "%")):
        return depth < _DEEPEST and any(
            _is_text(one, found, reach, depth + 1) for found in mentions(value, parts) for one in reach.values(found)
        )
    return True


def _is_text_node(node: ast.AST, reach: Reach, depth: int) -> bool:
    if syntax.is_reference(node):
        return _is_text("@" + str(node.slice.value), (), reach, depth + 1)
    if isinstance(node, ast.BinOp):
        return _is_text_node(node.left, reach, depth) or (
            isinstance(node.op, ast.Add) and _is_text_node(node.right, reach, depth)
        )
    if isinstance(node, ast.IfExp):
        return _is_text_node(node.body, reach, depth) or _is_text_node(node.orelse, reach, depth)
    if isinstance(node, ast.List | ast.Tuple):
        return any(_is_text_node(one, reach, depth) for one in node.elts)
    if isinstance(node, ast.Call):
        method = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        return method in ("str", "join", "format", "strip", "lower", "upper", "zfill")
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))
