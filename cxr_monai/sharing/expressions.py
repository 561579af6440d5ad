"""The ``$`` expressions of a configuration: a small grammar in which every name is judged; nothing is evaluated.

MONAI gives such a text to ``eval``. What passes here: constants, references (``@id``), arithmetic, comparisons,
conditions, comprehensions, lambdas without defaults, containers, calls of listed callables
(``cxr_monai.sharing.allowlist``) and listed attributes. What does not: anything with a leading underscore, assignment
(a comprehension's to anything but a new name), ``await``, powers (but small ones) and shifts, ``*`` and ``**`` in a
call, MONAI's classes, and any name that is not known. Texts of more than 4,000 characters or 60 levels are refused
before Python's parser sees them: 20,000 minus signs exhaust its stack. How long an expression takes and how much
memory it fills is not judged: loops within loops fill any.
"""

import ast
import builtins
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeGuard

from cxr_monai.sharing.allowlist import judge_attribute, judge_callable, judge_module, judge_value, lists
from cxr_monai.sharing.arguments import COMPUTED, judge_argument, leads_elsewhere
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
# An id that begins where the text stands: MONAI replaces the sign and what follows by the keys above it.
_RELATIVE = re.compile("[@%]::")
_LOCAL = "__local_refs"
_SHOWN = re.compile(rf"{_LOCAL}\['([^']*)'\]")
# Signs that nest: as many of them in a row as this, and Python's parser would go as deep.
_RUNS = re.compile(r"(?:[-+~(\[{]\s*|\bnot\s+|\blambda\b[^:]*:\s*){40,}")

_PLAIN = (
    ast.Expression, ast.Constant, ast.List, ast.Tuple, ast.Set, ast.Dict, ast.BoolOp, ast.BinOp, ast.UnaryOp, ast.IfExp,
    ast.Compare, ast.Subscript, ast.Slice, ast.Starred, ast.JoinedStr, ast.FormattedValue, ast.keyword, ast.boolop,
    ast.unaryop, ast.cmpop, ast.expr_context, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow,
    ast.BitAnd, ast.BitOr, ast.BitXor, ast.MatMult,
)  # fmt: skip

Judged = tuple[str, Verdict, str]
"""What was judged, the verdict, the reason."""


class _Reference(ast.Subscript):
    slice: ast.Constant


@dataclass(frozen=True)
class Imports:
    """Where the configurations of a bundle import: a reference to such a place gives a module, or many.

    Attributes:
        ids: of the imports and of what they stand in, ``::`` between their parts.
        lists: ids of lists with an import in them; merging configurations moves what stands in a list.
    """

    ids: frozenset[str] = frozenset()
    lists: frozenset[str] = frozenset()

    def hold(self, name: str) -> bool:
        """Tell whether an id is that of an import or of something with imports in it."""
        return name in self.ids or any(name.startswith(f"{known}::") for known in self.lists)


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
    for given, meaning in names.items():
        if hasattr(builtins, given) or GLOBALS.get(given, meaning) != meaning:
            reason = f"{given} is the name of something else, and is given another meaning."
            judged.append((text, Verdict.REFUSED, reason))
    return names, judged


def _judge_from(name: str, level: int) -> tuple[Verdict, str]:
    if level or name.startswith("."):
        return Verdict.REFUSED, "a relative import."
    verdict, reason = judge_module(name)
    if verdict == Verdict.ALLOWED:
        return verdict, reason
    return judge_value(name)


def judge_expression(
    text: str,
    names: Mapping[str, str] | None = None,
    imports: Imports = Imports(),
) -> list[Judged]:
    """Judge one expression.

    Args:
        text: without the ``$``.
        names: what the configuration's imports define, by name the dotted name; MONAI's own are known.
        imports: where the configurations import; a reference to one of those gives a module.

    Returns:
        what was judged: each callable and attribute, and whatever is outside the grammar. Empty: a harmless text.
    """
    try:
        tree = _parsed(_resolved(text).strip(), "eval", longest=20 * LONGEST)
    except ValueError as error:
        return [(text, Verdict.REFUSED, str(error))]
    if tree is None:
        return [(text, Verdict.REFUSED, "it is no expression of Python.")]
    # from the tree, where names are as Python reads them: other letters may spell MONAI's own
    ids = [str(node.slice.value) for node in ast.walk(tree) if _is_reference(node)]
    judged: list[Judged] = [
        (f"@{name}", Verdict.REFUSED, "a reference to an import: a whole module.") for name in ids if imports.hold(name)
    ]
    found = _judge(tree, GLOBALS | dict(names or {}), frozenset())
    return judged + [(_SHOWN.sub(r"@\1", what), verdict, reason) for what, verdict, reason in found]


def references(text: str) -> list[str]:
    """Return the ids that a text refers to, ``::`` between their parts, as MONAI finds them."""
    return [found[1:] for found in _REFERENCE.findall(text.replace("#", "::"))]


def _resolved(text: str) -> str:
    """Return the text as MONAI evaluates it, references replaced.

    Raises:
        ValueError: for a text that is too long, or whose references depend on where it stands.
    """
    if len(text) > LONGEST:
        raise ValueError(f"it has {len(text):,} characters; an expression has at most {LONGEST:,}.")
    text = text.replace("#", "::")
    if _LOCAL in text:
        raise ValueError(f"{_LOCAL} is MONAI's inside.")
    if _RELATIVE.search(text):
        # MONAI puts the keys above it into the text, whatever they are, and does so again where a macro copies it
        raise ValueError("a relative reference within an expression becomes what the keys above it say; name the id.")
    return _REFERENCE.sub(lambda found: f"{_LOCAL}['{found[0][1:]}']", text)


def _parsed(text: str, mode: str, longest: int = LONGEST) -> ast.AST | None:
    """Return the syntax tree, or None where there is none.

    Raises:
        ValueError: for a text that is too long or too deep.
    """
    if len(text) > longest:
        raise ValueError(f"it has {len(text):,} characters; an expression has at most {longest:,}.")
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
    elif isinstance(node, ast.Call):
        yield from _judge_call(node, names, local)
    elif isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
        yield from _judge_comprehension(node, names, local)
    elif isinstance(node, ast.Lambda):
        yield from _judge_lambda(node, names, local)
    elif isinstance(node, ast.Subscript) and names.get("os") == "os" and _ENVIRONMENT.fullmatch(ast.unparse(node)):
        return
    elif not isinstance(node, _PLAIN):
        yield _outside(node)
    else:
        yield from _judge_plain(node)
        for child in ast.iter_child_nodes(node):
            yield from _judge(child, names, local)


def _outside(node: ast.AST) -> Judged:
    shown = ast.unparse(node) if isinstance(node, ast.expr) else type(node).__name__
    return shown, Verdict.REFUSED, f"{type(node).__name__} is not part of what an expression may use."


def _is_reference(node: ast.AST) -> TypeGuard[_Reference]:
    return (
        isinstance(node, ast.Subscript)
        and isinstance(node.value, ast.Name)
        and node.value.id == _LOCAL
        and isinstance(node.slice, ast.Constant)
    )


def _judge_plain(node: ast.AST) -> Iterator[Judged]:
    """Judge what fills the memory though all its parts are harmless."""
    if isinstance(node, ast.Constant):
        yield from _judge_constant(node.value)
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult) and _times(node) > LARGEST:
        yield ast.unparse(node), Verdict.REFUSED, f"a product above {LARGEST:,} can fill the memory."
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow) and not _is_small_power(node):
        yield (
            ast.unparse(node),
            Verdict.REFUSED,
            "a power can fill the memory, but for a square, and of a number up to the tenth.",
        )
    elif isinstance(node, ast.FormattedValue) and node.format_spec is not None:
        spec = ast.unparse(node.format_spec)
        if "{" in spec or re.search(r"\d{5}", spec):
            yield ast.unparse(node), Verdict.REFUSED, "a computed or large width can fill the memory."


def _judge_constant(value: object) -> Iterator[Judged]:
    if isinstance(value, str) and "__" in value:
        yield value, Verdict.REFUSED, "a text with '__' in it has no place in an expression."
    if isinstance(value, str) and re.search(r"%[^%a-zA-Z]*(\d{5}|\*)", value):
        yield value, Verdict.REFUSED, "a computed or large width can fill the memory."
    if isinstance(value, int) and abs(value) > LARGEST:
        yield str(value), Verdict.REFUSED, f"a number above {LARGEST:,} can fill the memory."


def _times(node: ast.AST) -> int:
    """Return the product of the whole numbers in a product."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        return _times(node.left) * _times(node.right)
    return max(1, abs(node.value)) if isinstance(node, ast.Constant) and isinstance(node.value, int) else 1


def _is_small_power(node: ast.BinOp) -> bool:
    """Tell whether a power is a number's by a constant, or has a float for an exponent and so for a result."""
    exponent = node.right.operand if isinstance(node.right, ast.UnaryOp) else node.right
    if not isinstance(exponent, ast.Constant):
        return False
    negative = (
        exponent is not node.right and isinstance(node.right, ast.UnaryOp) and isinstance(node.right.op, ast.USub)
    )
    if isinstance(exponent.value, float) or (negative and isinstance(exponent.value, int)):
        return True
    return isinstance(exponent.value, int) and exponent.value <= (10 if isinstance(node.left, ast.Constant) else 2)


Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp


def _judge_comprehension(node: Comprehension, names: Mapping[str, str], local: frozenset[str]) -> Iterator[Judged]:
    """Judge in the order in which Python binds: what the first ``in`` takes is evaluated outside."""
    for part in node.generators:
        yield from _judge(part.iter, names, local)
        targets = [target for target in ast.walk(part.target) if not isinstance(target, ast.expr_context)]
        for target in targets:
            if not isinstance(target, ast.Name | ast.Tuple | ast.List):
                yield ast.unparse(node), Verdict.REFUSED, "a comprehension gives names values, and nothing else."
        bound = frozenset(target.id for target in targets if isinstance(target, ast.Name))
        yield from _judge_bound(bound, names)
        local |= bound
        for condition in part.ifs:
            yield from _judge(condition, names, local)
    for result in (node.key, node.value) if isinstance(node, ast.DictComp) else (node.elt,):
        yield from _judge(result, names, local)


def _judge_lambda(node: ast.Lambda, names: Mapping[str, str], local: frozenset[str]) -> Iterator[Judged]:
    known = node.args
    if known.defaults or any(known.kw_defaults):
        yield ast.unparse(node), Verdict.REFUSED, "a lambda's arguments have no defaults here."
    every = [*known.posonlyargs, *known.args, *known.kwonlyargs, known.vararg, known.kwarg]
    bound = frozenset(arg.arg for arg in every if arg is not None)
    yield from _judge_bound(bound, names)
    yield from _judge(node.body, names, local | bound)


def _judge_bound(bound: frozenset[str], names: Mapping[str, str]) -> Iterator[Judged]:
    for name in sorted(bound):
        if name in names or hasattr(builtins, name):
            yield name, Verdict.REFUSED, f"{name} is the name of something else, and is given another meaning."
        elif name.startswith("_") and name != "_":
            yield name, Verdict.REFUSED, f"{name} starts with an underscore: Python's inside."


def _judge_name(
    node: ast.Attribute | ast.Name, names: Mapping[str, str], local: frozenset[str], called: bool = False
) -> Iterator[Judged]:
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
        yield (full, *judge_value(full, called))
        return
    for part in chain:
        verdict, reason = judge_attribute(part)
        if verdict != Verdict.ALLOWED:
            yield ast.unparse(node), verdict, reason
    if not isinstance(base, ast.Name):
        yield from _judge(base, names, local)


# The one assignment that configurations of the model zoo make: let cuDNN choose its fastest algorithm.
_BENCHMARK = re.compile(r"setattr\(torch\.backends\.cudnn, '(benchmark|deterministic|enabled)', (True|False)\)")
# What torchrun tells its processes; the environment holds passwords too.
_VARIABLE = f"'({'|'.join(lists()['environment'])})'"
_ENVIRONMENT = re.compile(rf"os\.environ(\[{_VARIABLE}\]|\.get\({_VARIABLE}(, ('\w*'|\d+))?\))")
# A text's fields reach attributes and keys: '{0.a[b]}'.
_REACHING = re.compile(r"\{[^{}]*[.\[]|\{[^{}]*\{|\d{5}")


def _judge_call(node: ast.Call, names: Mapping[str, str], local: frozenset[str]) -> Iterator[Judged]:
    shown = ast.unparse(node)
    if names.get("torch") == "torch" and _BENCHMARK.fullmatch(shown):
        return
    if names.get("os") == "os" and _ENVIRONMENT.fullmatch(shown):
        return
    function = node.func
    method = function.attr if isinstance(function, ast.Attribute) else ""
    if isinstance(function, ast.Attribute) and method == "format" and _is_plain_text(function.value):
        pass
    elif isinstance(function, ast.Attribute) and method == "eval" and not node.args and not node.keywords:
        yield from _judge(function.value, names, local)  # of a network; a table's eval runs the text that it is given
    elif isinstance(function, ast.Attribute | ast.Name):
        yield from _judge_name(function, names, local, called=True)
    else:
        yield from _judge(function, names, local)
    for argument in node.args:
        if isinstance(argument, ast.Starred):
            yield shown, Verdict.REFUSED, "arguments behind a star have no known names and number."
        yield from _judge(argument, names, local)
    for keyword in node.keywords:
        if keyword.arg is None:
            yield shown, Verdict.REFUSED, "arguments behind two stars have no known names."
        elif reason := judge_argument(keyword.arg, _literal(keyword.value)):
            yield shown, Verdict.REFUSED, reason
        yield from _judge(keyword.value, names, local)
    yield from _judge_places(node, names)


def _judge_places(node: ast.Call, names: Mapping[str, str]) -> Iterator[Judged]:
    """Judge the places that what writes or connects is given."""
    name, _, rest = ast.unparse(node.func).partition(".")
    full = ".".join(filter(None, (names.get(name, name), rest)))
    if judge_callable(full)[0] != Verdict.ATTENTION:
        return
    if full == "torch.distributed.init_process_group" and len(node.args) > 1:
        yield full, Verdict.REFUSED, "its second argument opens connections; give arguments by name."
    for argument in (*node.args, *(keyword.value for keyword in node.keywords)):
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str) and leads_elsewhere(argument.value):
            yield full, Verdict.REFUSED, f"{argument.value!r} is a place outside of where the bundle is told to write."


def _is_plain_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and not _REACHING.search(node.value)


def _literal(node: ast.AST) -> object:
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return COMPUTED
