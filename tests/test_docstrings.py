"""Docstrings: their examples run, the calls that they show fit the signatures, and they name the parameters."""

import ast
import builtins
import doctest
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import cxr_monai

PACKAGE = Path(cxr_monai.__file__).parent
MODULES = {
    "cxr_monai." + ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if path != PACKAGE / "__init__.py" and path.stem != "__main__"
} | {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((PACKAGE.parent / "apps").rglob("*.py"))
    if path.stem != "__main__"
}
OURS = ("cxr_monai", "apps.")
LEAST_EXAMPLES = 60
LEAST_NAMED = 0.60
"""The share of parameters of public functions that their docstrings name; raise it when it has grown."""

NOT_OURS = {
    *("array", "tensor"),  # what an example shows
    *("area", "exp", "floor", "log", "sqrt", "var"),  # formulas
    *("DenseNet121", "mlflow", "pandas"),  # other libraries
    *("add_arguments", "apply"),  # what others must have
    "auroc_Opacity",  # a name with brackets
}
"""The names that docstrings call, and that neither the module nor the docstring defines or imports."""

NOTHING = object()

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def docstrings(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield the docstring of a module and of each function, method and class, with its name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | Definition) and (text := ast.get_docstring(node)):
            yield getattr(node, "name", "module"), text


def public(tree: ast.Module) -> Iterator[tuple[str, Definition]]:
    """Yield the public functions and classes of a module, and the public methods of these classes."""
    for node in tree.body:
        if isinstance(node, Definition) and not node.name.startswith("_"):
            yield node.name, node
            if isinstance(node, ast.ClassDef):
                for method in node.body:
                    if isinstance(method, ast.FunctionDef) and not method.name.startswith("_"):
                        yield f"{node.name}.{method.name}", method


def examples(text: str) -> list[doctest.Example]:
    """Return the examples of a docstring that are run."""
    return [one for one in doctest.DocTestParser().get_examples(text) if not one.options.get(doctest.SKIP)]


WITH_EXAMPLES = [
    name
    for name, path in MODULES.items()
    if ">>>" in path.read_text(encoding="utf-8") and any(examples(text) for _, text in docstrings(tree_of(path)))
]


@pytest.mark.parametrize("module", WITH_EXAMPLES)
def test_examples_give_what_they_show(module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    failed, run = doctest.testmod(importlib.import_module(module), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert run > 0
    assert failed == 0


def test_there_are_examples_enough() -> None:
    shown = [
        (module, name)
        for module in WITH_EXAMPLES
        for name, text in docstrings(tree_of(MODULES[module]))
        if examples(text)
    ]
    assert len(shown) >= LEAST_EXAMPLES


def test_what_is_public_is_documented() -> None:
    missing = [
        f"{module}.{name}"
        for module, path in MODULES.items()
        if not module.startswith("cxr_monai.cli")  # each command's words are its help
        for name, node in public(tree_of(path))
        if "." not in name and not ast.get_docstring(node)
    ]
    assert missing == []


def share_of_parameters_named() -> float:
    """Return the share of the parameters of public functions and methods of two or more that docstrings name."""
    named = parameters = 0
    for path in MODULES.values():
        for _, node in public(tree_of(path)):
            if isinstance(node, ast.ClassDef):
                continue
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            names = [argument.arg for argument in arguments if argument.arg not in ("self", "cls")]
            if len(names) >= 2:
                text = ast.get_docstring(node) or ""
                parameters += len(names)
                named += sum(bool(re.search(rf"\b{name}\b", text)) for name in names)
    return named / parameters


def test_most_parameters_are_named() -> None:
    assert share_of_parameters_named() >= LEAST_NAMED


# ---- calls in docstrings


def codes(text: str) -> Iterator[str]:
    """Yield the pieces of a docstring that are Python: examples, quoted calls, lines of code."""
    yield from (example.source for example in doctest.DocTestParser().get_examples(text))
    yield from re.findall(r"``([^`\n]+\([^`\n]*\))``", text)
    for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(text)):
        lines = inspect.cleandoc(paragraph).splitlines()
        for start in range(len(lines)):  # a call may go over several lines
            for end in range(start + 1, min(start + 8, len(lines)) + 1):
                piece = "\n".join(lines[start:end])
                if "(" in piece and not piece.lstrip().startswith(">>>") and _parses(piece):
                    yield piece
                    break


def _parses(text: str) -> bool:
    try:
        ast.parse(inspect.cleandoc(text))
    except (SyntaxError, ValueError):
        return False
    return True


def calls(text: str) -> Iterator[ast.Call]:
    for piece in codes(text):
        if _parses(piece):
            yield from (node for node in ast.walk(ast.parse(inspect.cleandoc(piece))) if isinstance(node, ast.Call))


def target(call: ast.Call, module: ModuleType) -> Any:
    """Return what of the library a call means: a name of the module, its class's method; None if it is none.

    A method that the class does not have is ``NOTHING``.
    """
    names: list[str] = []
    node: ast.expr = call.func
    while isinstance(node, ast.Attribute):
        names.insert(0, node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return None
    value = getattr(module, node.id, None)
    for name in names:
        if isinstance(value, type) and value.__module__.startswith(OURS) and not hasattr(value, name):
            return NOTHING
        value = getattr(value, name, None)
    inside = getattr(value, "__module__", "") or ""
    return value if callable(value) and str(inside).startswith(OURS) else None


def misfit(call: ast.Call, function: Any) -> str:
    """Return why a call cannot work; empty if it can."""
    if function is NOTHING:
        return f"{ast.unparse(call)}: no such method"
    if any(isinstance(argument, ast.Starred) for argument in call.args) or any(
        word.arg is None for word in call.keywords
    ):
        return ""
    if any(isinstance(argument, ast.Constant) and argument.value is ... for argument in call.args):
        return ""  # f(a, ...): the rest is left out
    try:
        inspect.signature(function).bind(*call.args, **{str(word.arg): None for word in call.keywords})
    except TypeError as error:
        return f"{ast.unparse(call)}: {error}"
    except ValueError:
        return ""
    return ""


def names_of(tree: ast.Module) -> set[str]:
    """Return the names that a module defines, imports, assigns, or takes as parameters, wherever it does."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, Definition):
            names.add(node.name)
        elif isinstance(node, ast.alias):
            names |= {(node.asname or node.name).split(".")[0]}
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.id if isinstance(node, ast.Name) else node.attr)
    return names


def unknown_calls(text: str, known: set[str]) -> list[str]:
    """Return the calls of a docstring whose first name is neither known, nor a builtin, nor made in the docstring."""
    pieces = [ast.parse(inspect.cleandoc(piece)) for piece in codes(text) if _parses(piece)]
    known = known.union(dir(builtins), *map(names_of, pieces), *map(names_of, _lines(text)))
    roots = ((call, _root(call)) for piece in pieces for call in ast.walk(piece) if isinstance(call, ast.Call))
    return sorted({ast.unparse(call) for call, root in roots if root and root not in known})


def _lines(text: str) -> Iterator[ast.Module]:
    """Yield the lines of a docstring that are Python by themselves: ``from a import b``, ``with a as b:``."""
    for line in text.splitlines():
        for code in (line, f"{line} pass"):
            if _parses(code):
                yield ast.parse(inspect.cleandoc(code))


def _root(call: ast.Call) -> str:
    node: ast.expr = call.func
    while isinstance(node, ast.Attribute | ast.Call | ast.Subscript):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


def misfits(text: str, module: ModuleType) -> list[str]:
    found = ((call, target(call, module)) for call in calls(text))
    return sorted({why for call, function in found if function is not None and (why := misfit(call, function))})


@pytest.mark.parametrize("module", MODULES)
def test_calls_in_docstrings_fit_the_signatures(module: str) -> None:
    texts = [text for _, text in docstrings(tree_of(MODULES[module])) if "(" in text]
    if not any(True for text in texts for _ in calls(text)):
        return
    imported = importlib.import_module(module)
    assert [why for text in texts for why in misfits(text, imported)] == []


@pytest.mark.parametrize("module", MODULES)
def test_calls_in_docstrings_are_of_names_that_there_are(module: str) -> None:
    tree = tree_of(MODULES[module])
    known = names_of(tree) | NOT_OURS
    assert [call for _, text in docstrings(tree) if "(" in text for call in unknown_calls(text, known)] == []


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        ("Call ``given(1)`` or ``len(a)``.", []),
        ("Call ``gone(1)``.", ["gone(1)"]),
        ("    made = gone.method(1)[0]", ["gone.method(1)"]),
        ("from a import b\n\nc = b(1)\nc.close()", []),
        ("with given() as one:\n    one.close()", []),
        ("A sentence (with brackets).", []),
    ],
)
def test_a_call_of_a_name_that_is_gone_is_found(text: str, unknown: list[str]) -> None:
    assert unknown_calls(text, {"given"}) == unknown


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ('example(1, two=2)', []),
        ('    made = example(1, no=2)     # a comment', ["example(1, no=2): got an unexpected keyword argument 'no'"]),
        ("Call ``example()`` first.", ["example(): missing a required argument: 'one'"]),
        (">>> example(1, 2, 3)\n4", ["example(1, 2, 3): too many positional arguments"]),
        ("example(\n    1,\n    three=3,\n)", ["example(1, three=3): got an unexpected keyword argument 'three'"]),
        ("example(...) and other(1, 2, 3)", []),
        ("Kept.gone(1)", ["Kept.gone(1): no such method"]),
        ("A sentence (with brackets).", []),
    ],
)  # fmt: skip
def test_a_call_that_cannot_work_is_found(text: str, wrong: list[str]) -> None:
    def example(one: int, two: int = 0) -> int:
        return one + two

    example.__module__ = "cxr_monai.example"
    module = ModuleType("example")
    module.example = example  # type: ignore[attr-defined]
    module.Kept = type("Kept", (), {"__module__": "cxr_monai.example"})  # type: ignore[attr-defined]
    assert misfits(text, module) == wrong


def test_every_module_is_looked_at() -> None:
    found = {one.name for one in pkgutil.walk_packages([str(PACKAGE)], "cxr_monai.", onerror=lambda name: None)}
    assert {name for name in found if not name.endswith("__main__")} - {*MODULES} <= {"cxr_monai.bundles"}
