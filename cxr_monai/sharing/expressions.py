"""The ``$`` expressions of a configuration: a small grammar in which every name is judged; nothing is evaluated.

MONAI gives such a text to ``eval``. What passes here: constants, references (``@id``), arithmetic, comparisons,
conditions, comprehensions, containers, calls of listed callables (``cxr_monai.sharing.allowlist``) and listed
attributes. What does not: anything with a leading underscore, assignment, ``await``, powers and shifts (which fill
memory), ``**`` of unknown things, and any name that is not known. Texts of more than 4,000 characters or 60 levels are
refused before Python's parser sees them: 20,000 minus signs exhaust its stack.
"""

import ast
import re
from collections.abc import Iterator, Mapping

from cxr_monai.sharing.allowlist import judge_attribute, judge_callable, judge_module
from cxr_monai.sharing.remarks import Verdict

LONGEST = 4000
DEEPEST = 60
"""Levels of the syntax tree."""
LARGEST = 10**8
"""Whole number that an expression may hold: ``[0] * n`` takes eight bytes for each."""

# What MONAI puts into every expression's names by itself (monai.bundle.config_parser).
GLOBALS = {"monai": "monai", "torch": "torch", "np": "numpy", "numpy": "numpy"}

# As MONAI finds references (monai.bundle.reference_resolver): it replaces them in the text, also within strings.
_REFERENCE = re.compile(r"@\w*(?:::\w*)*")
_LOCAL = "__local_refs"
_SHOWN = re.compile(rf"{_LOCAL}\['([^']*)'\]")
# Signs that nest: as many of them in a row as this, and Python's parser would go as deep.
_RUNS = re.compile(r"(?:[-+~(\[{]\s*|\bnot\s+|\blambda\b[^:]*:\s*){40,}")

_PLAIN = (
    ast.Expression, ast.Constant, ast.List, ast.Tuple, ast.Set, ast.Dict, ast.BoolOp, ast.BinOp, ast.UnaryOp, ast.IfExp,
    ast.Compare, ast.Subscript, ast.Slice, ast.Starred, ast.JoinedStr, ast.FormattedValue, ast.keyword, ast.boolop,
    ast.unaryop, ast.cmpop, ast.expr_context, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp,
    ast.comprehension, ast.Lambda, ast.arguments, ast.arg,
    ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.BitAnd, ast.BitOr, ast.BitXor, ast.MatMult,
)  # fmt: skip

Judged = tuple[str, Verdict, str]
"""What was judged, the verdict, the reason."""


def judge_import(text: str) -> tuple[dict[str, str], list[Judged]] | None:
    """Judge ``import ...`` or ``from ... import ...`` as MONAI reads it; None if the text is no import.

    Args:
        text: without the ``$``.

    Returns:
        the names that it defines (``{"np": "numpy"}``), and what was judged.
    """
    tree = _parsed(text, "exec")
    if not isinstance(tree, ast.Module):
        return None
    statements = tree.body
    if not statements or not isinstance(statements[0], ast.Import | ast.ImportFrom):
        return None
    judged: list[Judged] = []
    if len(statements) > 1 or len(statements[0].names) > 1:
        judged.append((text, Verdict.REFUSED, "it is more than one import, of which MONAI executes the first."))
    names: dict[str, str] = {}
    statement = statements[0]
    for alias in statement.names:
        if isinstance(statement, ast.Import):
            name = alias.name
            verdict, reason = judge_module(name)
            names[alias.asname or name.split(".")[0]] = name if alias.asname else name.split(".")[0]
        else:
            name = f"{statement.module or ''}.{alias.name}"
            verdict, reason = _judge_from(name, statement.level)
            names[alias.asname or alias.name] = name
        judged.append((name, verdict, reason))
    return names, judged


def _judge_from(name: str, level: int) -> tuple[Verdict, str]:
    if level or name.startswith("."):
        return Verdict.REFUSED, "a relative import."
    verdict, reason = judge_module(name)
    if verdict == Verdict.ALLOWED:
        return verdict, reason
    return judge_callable(name)


def judge_expression(
    text: str, names: Mapping[str, str] | None = None, imports: frozenset[str] = frozenset()
) -> list[Judged]:
    """Judge one expression.

    Args:
        text: without the ``$``.
        names: what the configuration's imports define, by name the dotted name; MONAI's own are known.
        imports: ids of items that are imports, and of what contains them; a reference to one gives a module.

    Returns:
        what was judged: each callable and attribute, and whatever is outside the grammar. Empty: a harmless text.
    """
    judged: list[Judged] = [
        (f"@{name}", Verdict.REFUSED, "a reference to an import: a whole module.")
        for name in references(text)
        if name in imports
    ]
    try:
        tree = _parsed(_resolved(text).strip(), "eval")
    except ValueError as error:
        return [(text, Verdict.REFUSED, str(error))]
    if tree is None:
        return [(text, Verdict.REFUSED, "it is no expression of Python.")]
    found = _judge(tree, GLOBALS | dict(names or {}), frozenset())
    return judged + [(_SHOWN.sub(r"@\1", what), verdict, reason) for what, verdict, reason in found]


def references(text: str) -> list[str]:
    """Return the ids that a text refers to, ``::`` between their parts, as MONAI finds them."""
    return [found[1:] for found in _REFERENCE.findall(text.replace("#", "::"))]


def _resolved(text: str) -> str:
    """Return the text as MONAI evaluates it, references replaced."""
    text = text.replace("#", "::")
    for found in sorted(set(_REFERENCE.findall(text)), key=len, reverse=True):
        text = text.replace(found, f"{_LOCAL}['{found[1:]}']")
    return text


def _parsed(text: str, mode: str) -> ast.AST | None:
    """Return the syntax tree, or None where there is none.

    Raises:
        ValueError: for a text that is too long or too deep.
    """
    if len(text) > LONGEST:
        raise ValueError(f"it has {len(text):,} characters; an expression has at most {LONGEST:,}.")
    if _RUNS.search(text):
        raise ValueError("it is nested too deep.")
    try:
        tree = ast.parse(text, mode=mode)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    if _depth(tree) > DEEPEST:
        raise ValueError("it is nested too deep.")
    return tree


def _depth(tree: ast.AST) -> int:
    level, depth = [tree], 0
    while level:
        depth += 1
        level = [child for node in level for child in ast.iter_child_nodes(node)]
    return depth


def _judge(node: ast.AST, names: Mapping[str, str], local: frozenset[str]) -> Iterator[Judged]:
    if _is_reference(node):
        return
    if isinstance(node, ast.Attribute | ast.Name):
        yield from _judge_name(node, names, local)
        return
    if isinstance(node, ast.Call):
        yield from _judge_call(node, names, local)
        return
    if not isinstance(node, _PLAIN):
        yield (
            ast.unparse(node) if isinstance(node, ast.expr) else type(node).__name__,
            Verdict.REFUSED,
            (f"{type(node).__name__} is not part of what an expression may use."),
        )
        return
    if isinstance(node, ast.Constant):
        yield from _judge_constant(node.value)
    bound = _bound(node)
    for name in sorted(bound & names.keys()):
        yield name, Verdict.REFUSED, f"{name} is the name of a module or callable, and is given another meaning."
    local = local | bound
    for child in ast.iter_child_nodes(node):
        yield from _judge(child, names, local)


def _is_reference(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Subscript)
        and isinstance(node.value, ast.Name)
        and node.value.id == _LOCAL
        and isinstance(node.slice, ast.Constant)
    )


def _judge_constant(value: object) -> Iterator[Judged]:
    if isinstance(value, str) and "__" in value:
        yield value, Verdict.REFUSED, "a text with '__' in it can reach what no expression should."
    if isinstance(value, int) and abs(value) > LARGEST:
        yield str(value), Verdict.REFUSED, f"a number above {LARGEST:,} can fill the memory."


def _bound(node: ast.AST) -> frozenset[str]:
    """Return the names that a comprehension or a lambda binds."""
    if isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
        targets = [target for part in node.generators for target in ast.walk(part.target)]
        return frozenset(target.id for target in targets if isinstance(target, ast.Name))
    if isinstance(node, ast.Lambda):
        every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        every += [arg for arg in (node.args.vararg, node.args.kwarg) if arg is not None]
        return frozenset(arg.arg for arg in every)
    return frozenset()


def _judge_name(node: ast.Attribute | ast.Name, names: Mapping[str, str], local: frozenset[str]) -> Iterator[Judged]:
    """Judge a name or a chain of attributes: of a module in full, of anything else attribute by attribute."""
    chain: list[str] = []
    base: ast.AST = node
    while isinstance(base, ast.Attribute):
        chain.append(base.attr)
        base = base.value
    chain.reverse()
    hidden = [part for part in chain if part.startswith("_")]
    if hidden:
        yield ast.unparse(node), Verdict.REFUSED, f"{hidden[0]} starts with an underscore: Python's inside."
        return
    if isinstance(base, ast.Name) and base.id not in local:
        if base.id.startswith("_"):
            yield base.id, Verdict.REFUSED, f"{base.id} starts with an underscore: Python's inside."
            return
        full = ".".join([names.get(base.id, base.id), *chain])
        yield (full, *judge_callable(full))
        return
    for part in chain:
        verdict, reason = judge_attribute(part)
        if verdict != Verdict.ALLOWED:
            yield ast.unparse(node), verdict, reason
    if not isinstance(base, ast.Name):
        yield from _judge(base, names, local)


# The one assignment that configurations of the model zoo make: let cuDNN choose its fastest algorithm.
_BENCHMARK = re.compile(r"setattr\(torch\.backends\.cudnn, '(benchmark|deterministic|enabled)', (True|False)\)")


def _judge_call(node: ast.Call, names: Mapping[str, str], local: frozenset[str]) -> Iterator[Judged]:
    if _BENCHMARK.fullmatch(ast.unparse(node)) and names.get("torch") == "torch":
        return
    if isinstance(node.func, ast.Attribute | ast.Name):
        yield from _judge_name(node.func, names, local)
    else:
        yield from _judge(node.func, names, local)
    for argument in (*node.args, *node.keywords):
        yield from _judge(argument, names, local)
