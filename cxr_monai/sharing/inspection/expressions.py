"""The ``$`` expressions of a configuration: a small grammar in which every name is judged; nothing is evaluated.

MONAI gives such a text to ``eval``. What passes here: constants, references (``@id``), arithmetic, comparisons,
conditions, comprehensions, lambdas without defaults, containers, calls of listed callables
(``allowlist``) and listed attributes. What does not: anything with a leading underscore, assignment
(a comprehension's to anything but a new name), ``await``, powers (but small ones) and shifts, ``*`` and ``**`` in a
call, MONAI's classes, and any name that is not known. Texts of more than 4,000 characters or 60 levels are refused
before Python's parser sees them: 20,000 minus signs exhaust its stack. How long an expression takes and how much
memory it fills is not judged: loops within loops fill any.
"""

import ast
import builtins
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from cxr_monai.bundle.evaluated import Reach
from cxr_monai.sharing.inspection import syntax
from cxr_monai.sharing.inspection.allowlist import allowed_lists, bare_name, judge_attribute, judge_module, judge_value
from cxr_monai.sharing.inspection.arguments import COMPUTED, judge_argument
from cxr_monai.sharing.inspection.places import NO_PLACE, READING, Places, leads_elsewhere, names_a_place
from cxr_monai.sharing.inspection.remarks import Verdict

LARGEST_PRODUCT = 10**8
"""Whole number that an expression may hold: ``[0] * n`` takes eight bytes for each."""

_PYTHONS_NAMES = frozenset(dir(builtins)) - {"_", "__", "___", "display", "get_ipython"}
"""Names that Python gives everywhere. Those taken out are put there by a shell, a notebook, doctest or gettext: the
verdict on a bundle depends on the bundle alone."""

_PLAIN = (
    ast.Expression, ast.Constant, ast.List, ast.Tuple, ast.Set, ast.Dict, ast.BoolOp, ast.BinOp, ast.UnaryOp, ast.IfExp,
    ast.Compare, ast.Subscript, ast.Slice, ast.Starred, ast.JoinedStr, ast.FormattedValue, ast.keyword, ast.boolop,
    ast.unaryop, ast.cmpop, ast.expr_context, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow,
    ast.BitAnd, ast.BitOr, ast.BitXor, ast.MatMult,
)  # fmt: skip

Judgement = tuple[str, Verdict, str]
"""The code that was judged, the verdict, the reason."""


@dataclass(frozen=True)
class Imports:
    """Ids at which the configurations of a bundle import; a reference to one of them gives a module, or many.

    Attributes:
        ids: of the imports and of what they stand in, ``::`` between their parts.
        lists: ids of lists with an import in them; merging configurations moves the elements of a list.
    """

    ids: frozenset[str] = frozenset()
    lists: frozenset[str] = frozenset()

    def hold(self, name: str) -> bool:
        """Return whether an id is that of an import or of something with imports in it."""
        parts = name.split("::")
        return name in self.ids or any("::".join(parts[:count]) in self.lists for count in range(1, len(parts)))


@dataclass(frozen=True)
class Scope:
    """The context of an expression.

    Attributes:
        names: dotted name of each name that the configurations' imports and MONAI itself define.
        imports: where the configurations import; a reference to one of those gives a module.
        places: of all configurations.
        evaluated: whether commands evaluate it (``cxr_monai.bundle.evaluated``): it reads and computes alone, then.
    """

    names: Mapping[str, str] = field(default_factory=lambda: dict(syntax.GLOBALS))
    imports: Imports = Imports()
    places: Places = field(default_factory=lambda: Places(Reach([]), {}))
    evaluated: bool = False


def judge_import(text: str) -> tuple[dict[str, str], list[Judgement]] | None:
    """Judge ``import ...`` or ``from ... import ...`` as MONAI reads it; None if the text is no import.

    Args:
        text: without the ``$``.

    Returns:
        the names that it defines (``{"np": "numpy"}``), and the judgements.
    """
    tree = syntax.parse_python(text, "exec")
    if not isinstance(tree, ast.Module):
        return None
    statements = tree.body
    if not statements or not isinstance(statements[0], ast.Import | ast.ImportFrom):
        return None
    judgements: list[Judgement] = []
    if len(statements) > 1 or len(statements[0].names) > 1:
        judgements.append((text, Verdict.REFUSED, "it is more than one import, of which MONAI executes the first."))
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
        judgements.append((name, verdict, reason))
    for defined, meaning in names.items():
        if defined in _PYTHONS_NAMES or syntax.GLOBALS.get(defined, meaning) != meaning:
            reason = f"{defined} is the name of something else, and is given another meaning."
            judgements.append((text, Verdict.REFUSED, reason))
    return names, judgements


def _judge_from(name: str, level: int) -> tuple[Verdict, str]:
    if level or name.startswith("."):
        return Verdict.REFUSED, "a relative import."
    verdict, reason = judge_module(name)
    if verdict == Verdict.ALLOWED:
        return verdict, reason
    if any(callable_name.startswith(f"{name}.") for callable_name in allowed_lists()["callables"]):
        return Verdict.ALLOWED, ""  # a class: what is used of it is judged by its full name
    return judge_value(name, called=True)  # where the name is then used it is judged by itself


def judge_expression(text: str, scope: Scope = Scope()) -> list[Judgement]:
    """Judge one expression.

    Args:
        text: without the ``$``.
        scope: its context.

    Returns:
        a judgement of each callable and attribute, and of whatever is outside the grammar; empty for a harmless text.
    """
    try:
        tree = syntax.parse_expression(text)
    except ValueError as error:
        return [(text, Verdict.REFUSED, str(error))]
    if tree is None:
        return [(text, Verdict.REFUSED, "it is no expression of Python.")]
    # from the tree, where names are as Python reads them: other letters may spell MONAI's own
    ids = [str(node.slice.value) for node in ast.walk(tree) if syntax.is_reference(node)]
    judgements: list[Judgement] = [
        (f"@{name}", Verdict.REFUSED, "a reference to an import: a whole module.")
        for name in ids
        if scope.imports.hold(name)
    ]
    return judgements + [
        (syntax.as_written(code), verdict, reason) for code, verdict, reason in _judge(tree, scope, frozenset())
    ]


def _judge(node: ast.AST, scope: Scope, local: frozenset[str]) -> Iterator[Judgement]:
    if syntax.is_reference(node):
        return
    if isinstance(node, ast.Attribute | ast.Name):
        yield from _judge_name(node, scope, local)
    elif isinstance(node, ast.Call):
        yield from _judge_call(node, scope, local)
    elif isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
        yield from _judge_comprehension(node, scope, local)
    elif isinstance(node, ast.Lambda):
        yield from _judge_lambda(node, scope, local)
    elif isinstance(node, ast.Subscript) and _is_of_the_environment(node, scope):
        return
    elif not isinstance(node, _PLAIN):
        yield _outside_grammar(node)
    else:
        yield from _judge_plain(node)
        continuations = _continuations(node, scope)
        for child in ast.iter_child_nodes(node):
            if child not in continuations:
                yield from _judge(child, scope, local)


def _continuations(node: ast.AST, scope: Scope) -> list[ast.AST]:
    """Return literals that only continue a path, and so are not judged alone: ``@bundle_root + '/models'``."""
    if (
        isinstance(node, ast.BinOp)
        and isinstance(node.right, ast.Constant)
        and scope.places.is_place_node(node.left, empty=False)
        and scope.places.continues(node)
    ):
        return [node.right]
    if isinstance(node, ast.JoinedStr):
        return [part for part in node.values[1:] if isinstance(part, ast.Constant) and ".." not in str(part.value)]
    return []


def _outside_grammar(node: ast.AST) -> Judgement:
    shown = ast.unparse(node) if isinstance(node, ast.expr) else type(node).__name__
    return shown, Verdict.REFUSED, f"{type(node).__name__} is not part of what an expression may use."


def _judge_plain(node: ast.AST) -> Iterator[Judgement]:
    """Refuse large products, powers, numbers and widths, which fill the memory though all their parts are harmless."""
    if isinstance(node, ast.Constant):
        yield from _judge_constant(node.value)
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult) and _times(node) > LARGEST_PRODUCT:
        yield ast.unparse(node), Verdict.REFUSED, f"a product above {LARGEST_PRODUCT:,} can fill the memory."
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


def _judge_constant(value: object) -> Iterator[Judgement]:
    if isinstance(value, str) and "__" in value:
        yield value, Verdict.REFUSED, "a text with '__' in it has no place in an expression."
    if isinstance(value, str) and leads_elsewhere(value):
        yield value, Verdict.REFUSED, "a text that leads out of the bundle and of where it is told to write."
    if isinstance(value, str) and re.search(r"%[^%a-zA-Z]*(\d{5}|\*)", value):
        yield value, Verdict.REFUSED, "a computed or large width can fill the memory."
    if isinstance(value, int) and abs(value) > LARGEST_PRODUCT:
        yield str(value), Verdict.REFUSED, f"a number above {LARGEST_PRODUCT:,} can fill the memory."


def _times(node: ast.AST) -> int:
    """Return the product of the whole numbers in a product."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        return _times(node.left) * _times(node.right)
    return max(1, abs(node.value)) if isinstance(node, ast.Constant) and isinstance(node.value, int) else 1


def _is_small_power(node: ast.BinOp) -> bool:
    """Return whether a power is a number's by a constant, or has a float for an exponent and so for a result."""
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


def _judge_comprehension(node: Comprehension, scope: Scope, local: frozenset[str]) -> Iterator[Judgement]:
    """Judge a comprehension in the order in which Python binds names: the first iterable is evaluated outside of it."""
    for part in node.generators:
        yield from _judge(part.iter, scope, local)
        # what is called with these may take paths
        one_by_one = isinstance(part.iter, ast.List | ast.Tuple | ast.Set) and any(map(_puts_together, part.iter.elts))
        if one_by_one and not scope.places.is_place_node(part.iter):
            yield ast.unparse(node), Verdict.REFUSED, _computed(part.iter)
        targets = [target for target in ast.walk(part.target) if not isinstance(target, ast.expr_context)]
        for target in targets:
            if not isinstance(target, ast.Name | ast.Tuple | ast.List):
                yield ast.unparse(node), Verdict.REFUSED, "a comprehension gives names values, and nothing else."
        bound = frozenset(target.id for target in targets if isinstance(target, ast.Name))
        yield from _judge_bound(bound, scope)
        local |= bound
        for condition in part.ifs:
            yield from _judge(condition, scope, local)
    for result in (node.key, node.value) if isinstance(node, ast.DictComp) else (node.elt,):
        yield from _judge(result, scope, local)


def _puts_together(node: ast.AST) -> bool:
    return syntax.may_be_text(node) and not isinstance(node, ast.Constant)


def _judge_lambda(node: ast.Lambda, scope: Scope, local: frozenset[str]) -> Iterator[Judgement]:
    arguments = node.args
    if arguments.defaults or any(arguments.kw_defaults):
        yield ast.unparse(node), Verdict.REFUSED, "a lambda's arguments have no defaults here."
    parameters = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    bound = frozenset(arg.arg for arg in parameters if arg is not None)
    yield from _judge_bound(bound, scope)
    yield from _judge(node.body, scope, local | bound)


def _judge_bound(bound: frozenset[str], scope: Scope) -> Iterator[Judgement]:
    for name in sorted(bound):
        if name in scope.names or name in _PYTHONS_NAMES:
            yield name, Verdict.REFUSED, f"{name} is the name of something else, and is given another meaning."
        elif name.startswith("_") and name not in ("_", "__"):
            yield name, Verdict.REFUSED, f"{name} starts with an underscore: Python's inside."


def _judge_name(
    node: ast.Attribute | ast.Name, scope: Scope, local: frozenset[str], called: bool = False
) -> Iterator[Judgement]:
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
        full = ".".join([scope.names.get(base.id, base.id), *chain])
        yield (full, *judge_value(full, called, scope.evaluated))
        if not called and bare_name(full) in READING:
            yield (
                full,
                Verdict.REFUSED,
                f"{bare_name(full)} is not called here, but handed on: nobody sees what it reads.",
            )
        return
    for part in chain:
        verdict, reason = judge_attribute(part)
        if verdict != Verdict.ALLOWED:
            yield ast.unparse(node), verdict, reason
    if not isinstance(base, ast.Name):
        yield from _judge(base, scope, local)


# The one assignment that configurations of the model zoo make: let cuDNN choose its fastest algorithm.
_BENCHMARK = re.compile(r"setattr\(torch\.backends\.cudnn, '(benchmark|deterministic|enabled)', (True|False)\)")
# The variables that torchrun sets for its processes; the environment holds passwords too.
_VARIABLE = f"'({'|'.join(allowed_lists()['environment'])})'"
_ENVIRONMENT = re.compile(rf"os\.environ(\[{_VARIABLE}\]|\.get\({_VARIABLE}(, ('\w*'|\d+))?\))")
# Callables that call a function passed to them.
_HANDING_ON = ("functools.partial", "map", "filter")
# Methods of a text that take others to look for.
_TEXT_SEARCHES = ("split", "rsplit", "strip", "lstrip", "rstrip", "startswith", "endswith", "count", "index")
# A text's fields reach attributes and keys: '{0.a[b]}'.
_REACHING = re.compile(r"\{[^{}]*[.\[]|\{[^{}]*\{|\d{5}")


def _is_of_the_environment(node: ast.AST, scope: Scope) -> bool:
    return scope.names.get("os") == "os" and _ENVIRONMENT.fullmatch(ast.unparse(node)) is not None


def _judge_call(node: ast.Call, scope: Scope, local: frozenset[str]) -> Iterator[Judgement]:
    shown = ast.unparse(node)
    if scope.names.get("torch") == "torch" and _BENCHMARK.fullmatch(shown):
        return
    if _is_of_the_environment(node, scope):
        return
    function = node.func
    method = function.attr if isinstance(function, ast.Attribute) else ""
    if isinstance(function, ast.Attribute) and method == "format" and _is_plain_text(function.value):
        pass
    elif isinstance(function, ast.Attribute) and method == "eval" and not node.args and not node.keywords:
        yield from _judge(function.value, scope, local)  # of a network; a table's eval runs the text that it is given
    elif isinstance(function, ast.Attribute | ast.Name):
        yield from _judge_name(function, scope, local, called=True)
    else:
        yield from _judge(function, scope, local)
    searches_text = method in _TEXT_SEARCHES
    for argument in node.args:
        if isinstance(argument, ast.Starred):
            yield shown, Verdict.REFUSED, "arguments behind a star have no known names and number."
        if not (searches_text and isinstance(argument, ast.Constant) and argument.value in ("/", "..")):
            yield from _judge(argument, scope, local)
    for keyword in node.keywords:
        if keyword.arg is None:
            yield shown, Verdict.REFUSED, "arguments behind two stars have no known names."
        elif reason := judge_argument(keyword.arg, _literal(keyword.value)):
            yield shown, Verdict.REFUSED, reason
        yield from _judge(keyword.value, scope, local)
    yield from _judge_places(node, scope, local)


def _judge_places(node: ast.Call, scope: Scope, local: frozenset[str]) -> Iterator[Judgement]:
    """Judge the paths among a call's arguments, by name, and by position where the callable is unknown."""
    full = "" if _begins_with(node.func, local) else syntax.dotted_name(node.func, scope.names)
    if full == "torch.distributed.init_process_group" and len(node.args) > 1:
        yield full, Verdict.REFUSED, "its second argument opens connections; give arguments by name."
    reading = bare_name(full) in READING
    if bare_name(full) == "glob.glob" and not (len(node.args) == 1 and syntax.holds_a_reference(node.args[0])):
        yield (
            full,
            Verdict.REFUSED,
            "it lists folders that whoever runs the bundle gives (@dataset_dir) alone.",
        )
    # an instance of something, a function of a function: what its arguments mean is not known here
    unknown = (node.func.attr == "run" if isinstance(node.func, ast.Attribute) else not full) or full in _HANDING_ON
    for argument in node.args:
        if (reading or (unknown and syntax.may_be_text(argument))) and not scope.places.is_place_node(argument):
            yield ast.unparse(node), Verdict.REFUSED, _computed(argument)
    for keyword in node.keywords:
        must_be_place = reading or names_a_place(keyword.arg or "") or (unknown and syntax.may_be_text(keyword.value))
        if must_be_place and not scope.places.is_place_node(keyword.value):
            yield ast.unparse(node), Verdict.REFUSED, _computed(keyword.value)


def _computed(node: ast.AST) -> str:
    return f"{ast.unparse(node)} may be any path. {NO_PLACE}"


def _begins_with(node: ast.AST, local: frozenset[str]) -> bool:
    """Return whether a chain of attributes begins with one of these names."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return isinstance(node, ast.Name) and node.id in local


def _is_plain_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and not _REACHING.search(node.value)


def _literal(node: ast.AST) -> object:
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return COMPUTED
