"""The syntax tree of a ``$`` expression as MONAI evaluates it: references replaced, bounded in length and depth."""

import ast
import re
from collections.abc import Mapping
from typing import TypeGuard

from cxr_monai.plurals import counted

LONGEST_EXPRESSION = 4000
DEEPEST_EXPRESSION = 60
"""Levels of the syntax tree."""
LOCAL = "__local_refs"
"""The variable that holds referenced values while MONAI evaluates an expression."""

# What MONAI puts into every expression's names by itself (monai.bundle.config_parser).
GLOBALS = {"monai": "monai", "torch": "torch", "np": "numpy", "numpy": "numpy"}

# As MONAI finds references (monai.bundle.reference_resolver): it replaces them in the text, also within strings.
_REFERENCE = re.compile(r"@\w*(?:::\w*)*")
# An id relative to the item: MONAI replaces the sign and what follows by the keys above it.
_RELATIVE = re.compile("[@%]::")
_SHOWN = re.compile(rf"{LOCAL}\['([^']*)'\]")
# Signs that nest: as many of them in a row as this, and Python's parser would go as deep.
_RUNS = re.compile(r"(?:[-+~(\[{]\s*|\bnot\s+|\blambda\b[^:]*:\s*){40,}")


class Reference(ast.Subscript):
    """``@id`` within an expression."""

    slice: ast.Constant


def parse_expression(text: str) -> ast.AST | None:
    """Return the tree of an expression without its ``$``, None where it is no Python.

    Raises:
        ValueError: for a text that is too long or too deep, or whose references depend on where it stands.
    """
    return parse_python(_resolved(text).strip(), "eval", longest=20 * LONGEST_EXPRESSION)


def references_in(text: str) -> list[str]:
    """Return the ids that a text refers to, ``::`` between their parts, as MONAI finds them."""
    return [reference[1:] for reference in _REFERENCE.findall(text.replace("#", "::"))]


def is_reference(node: ast.AST) -> TypeGuard[Reference]:
    """Return whether a node is ``@id``."""
    return (
        isinstance(node, ast.Subscript)
        and isinstance(node.value, ast.Name)
        and node.value.id == LOCAL
        and isinstance(node.slice, ast.Constant)
    )


def as_written(text: str) -> str:
    """Return a text with its references as the configuration writes them."""
    return _SHOWN.sub(r"@\1", text)


def _resolved(text: str) -> str:
    if len(text) > LONGEST_EXPRESSION:
        raise ValueError(f"it has {counted(len(text), 'character')}; an expression has at most {LONGEST_EXPRESSION:,}.")
    text = text.replace("#", "::")
    if LOCAL in text:
        raise ValueError(f"{LOCAL} is MONAI's inside.")
    if _RELATIVE.search(text):
        # MONAI puts the keys above it into the text, whatever they are, and does so again where a macro copies it
        raise ValueError("a relative reference within an expression becomes what the keys above it say; name the id.")
    return _REFERENCE.sub(lambda match: f"{LOCAL}['{match[0][1:]}']", text)


def parse_python(text: str, mode: str, longest: int = LONGEST_EXPRESSION) -> ast.AST | None:
    """Return the syntax tree of a text, or None where it is no Python.

    Args:
        text: of Python.
        mode: ``eval`` for an expression, ``exec`` for statements.
        longest: characters that it may have.

    Raises:
        ValueError: for a text that is too long or too deep.
    """
    if len(text) > longest:
        raise ValueError(f"it has {counted(len(text), 'character')}; an expression has at most {longest:,}.")
    if _RUNS.search(text):
        raise ValueError("it is nested too deep.")
    try:
        tree = ast.parse(text, mode=mode)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    if _depth(tree) > DEEPEST_EXPRESSION:
        raise ValueError("it is nested too deep.")
    return tree


def _depth(tree: ast.AST) -> int:
    level, depth = [tree], 0
    while level:
        depth += 1
        level = [child for node in level for child in ast.iter_child_nodes(node)]
    return depth


def dotted_name(node: ast.AST, names: Mapping[str, str]) -> str:
    """Return the full name of a chain of attributes that begins with a name (``os.path.join``); "" for anything else.

    Args:
        node: of an expression.
        names: what the configuration's imports define.
    """
    chain: list[str] = []
    while isinstance(node, ast.Attribute):
        chain.append(node.attr)
        node = node.value
    return ".".join([names.get(node.id, node.id), *reversed(chain)]) if isinstance(node, ast.Name) else ""


def holds_a_reference(node: ast.AST) -> bool:
    """Return whether there is an ``@id`` anywhere in an expression."""
    return any(is_reference(child) for child in ast.walk(node))


def may_be_text(node: ast.AST) -> bool:
    """Return whether an expression puts a text together, or is one."""
    if isinstance(node, ast.Constant):
        return isinstance(node.value, str)
    if isinstance(node, ast.Call):
        method = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if method in ("str", "join", "format", "strip", "lstrip", "rstrip", "lower", "upper", "replace", "Path"):
            return True
        return any(map(may_be_text, node.args))
    if isinstance(node, ast.BinOp):
        return may_be_text(node.left) or may_be_text(node.right)
    if isinstance(node, ast.IfExp):
        return may_be_text(node.body) or may_be_text(node.orelse)
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        return any(map(may_be_text, node.elts))
    if isinstance(node, ast.Subscript) and not is_reference(node):
        return may_be_text(node.value)
    return isinstance(node, ast.JoinedStr)
