"""One name, one thing: no public name and no file stem of the library stands for two things.

Read from the source files; nothing is imported.
"""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

import cxr_monai

LIBRARY = Path(cxr_monai.__file__).parent
FILES = sorted(LIBRARY.rglob("*.py"))

PROTOCOLS = {
    "cli": {"add_arguments", "run", "DESCRIPTION", "EPILOG"},  # what each command's module has
    "data/sources": {"read"},  # what each source's module has
}
"""Names that each module of a folder defines, because whoever loads one of them by name calls these."""

CONVENTIONS = {"logger", "T"}


def public_names(source: str) -> Iterator[str]:
    """Yield the functions, classes and constants that a module defines and that do not begin with an underscore."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names = [node.name]
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)]
        else:
            names = []
        yield from (name for name in names if not name.startswith("_"))


def is_protocol(name: str, places: list[str]) -> bool:
    return any(
        name in names and all(place.startswith(f"{folder}/") for place in places) for folder, names in PROTOCOLS.items()
    )


def test_no_public_name_is_defined_in_two_modules() -> None:
    places = defaultdict(list)
    for path in FILES:
        for name in set(public_names(path.read_text("utf-8"))):
            places[name].append(path.relative_to(LIBRARY).as_posix())
    twice = {name: found for name, found in places.items() if len(found) > 1 and not is_protocol(name, found)}
    assert {name: found for name, found in twice.items() if name not in CONVENTIONS} == {}


def test_no_file_stem_stands_for_two_modules() -> None:
    """But a command's module, which is named after the command as the workflow behind it is."""
    stems = defaultdict(list)
    for path in FILES:
        if path.stem not in ("__init__", "__main__") and path.parent.name != "cli":
            stems[path.stem].append(path.relative_to(LIBRARY).as_posix())
    folders = {path.parent.name for path in FILES if path.parent != LIBRARY}
    assert {stem: found for stem, found in stems.items() if len(found) > 1 or stem in folders} == {}


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("def f(): ...\nclass C: ...\nasync def g(): ...", ["f", "C", "g"]),
        ("A, B = 1, 2\nD: int = 3\n_E = 4", ["A", "B", "D"]),
        ("def _f():\n  def inner(): ...\nif True:\n  X = 1", []),
        ("from a import b\nimport c", []),
    ],
)
def test_the_names_of_a_module(source: str, names: list[str]) -> None:
    assert list(public_names(source)) == names
