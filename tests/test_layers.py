"""The house: every layer imports only lower ones, and no modules import each other in a circle.

Read from the import statements, those inside functions and under TYPE_CHECKING included; nothing is imported.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import cxr_monai

LIBRARY = Path(cxr_monai.__file__).parent

# first part of a module's name below cxr_monai: its layer
LAYERS = {
    "": 0,  # cxr_monai itself: the version
    "errors": 0,
    "labels": 0,
    "composites": 0,
    "schemes": 0,
    "environment": 0,
    "durable": 0,
    "completion": 0,
    "outputs": 0,
    "locking": 0,
    "progress": 0,
    "stopping": 0,
    "origins": 0,
    "plurals": 0,
    "budget": 0,
    "strict_json": 0,
    "data": 1,
    "networks": 1,
    "losses": 1,
    "transforms": 2,
    "bundle": 2,
    "evaluation": 2,
    "gate": 3,
    "inference": 4,
    "attribution": 5,
    "training": 5,
    "sharing": 5,
    "report": 6,
    "objects": 6,
    "workflows": 7,
    "mlflow_model": 7,
    "studies": 9,
    "finetune": 9,
    "components": 10,
    "doctor": 10,
    "cli": 11,
}

OUTSIDE = ("apps", "bundles", "scripts", "tests")
"""What stands on the library, and what the library therefore never imports."""


def name_of(path: Path) -> str:
    """``data/sources/nih.py`` is ``cxr_monai.data.sources.nih``, ``cli/__init__.py`` is ``cxr_monai.cli``."""
    parts = path.relative_to(LIBRARY.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in sorted(LIBRARY.rglob("*.py"))}


def imported(source: str, module: str, is_package: bool, known: set[str]) -> Iterator[str]:
    """Yield the full name of every module that a source imports; ``from a import b`` is ``a.b`` if that is a module."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = module.split(".") if is_package else module.split(".")[:-1]
                above = package[: len(package) - node.level + 1]
                base = ".".join([*above, *([base] if base else [])])
            for alias in node.names:
                full = f"{base}.{alias.name}"
                yield full if full in known else base


def part_of(module: str) -> str:
    """The part of the house that a module is in: ``data`` for ``cxr_monai.data.manifest``."""
    return ".".join(module.split(".")[1:2])


def imports_of(module: str) -> list[str]:
    path = MODULES[module]
    return list(imported(path.read_text("utf-8"), module, path.name == "__init__.py", set(MODULES)))


@pytest.mark.parametrize("module", MODULES)
def test_every_module_is_assigned_to_a_layer(module: str) -> None:
    assert part_of(module) in LAYERS


def test_every_part_with_a_layer_exists() -> None:
    assert {part_of(module) for module in MODULES} == set(LAYERS)


def upward_imports(module: str) -> list[str]:
    """Return what a module imports that isn't lower, nor its own part; the vocabulary (layer 0) is one part."""
    own = part_of(module)
    parts = {name: part_of(name) for name in imports_of(module) if name.split(".")[0] == "cxr_monai"}
    return [name for name, part in parts.items() if part != own and LAYERS[part] >= max(LAYERS[own], 1)]


@pytest.mark.parametrize("module", MODULES)
def test_imports_are_of_lower_layers_or_of_the_same_part(module: str) -> None:
    assert upward_imports(module) == [], f"{module} is in layer {LAYERS[part_of(module)]}"


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {module: sorted(set(imports_of(module)) & set(MODULES) - {module}) for module in MODULES}
    assert strongly_connected(graph) == []


def strongly_connected(graph: dict[str, list[str]]) -> list[list[str]]:
    """Return the groups of modules that reach each other (Tarjan 1972), those of one module left out."""
    order: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    circles = []

    def visit(module: str) -> None:
        order[module] = lowest[module] = len(order)
        stack.append(module)
        for other in graph[module]:
            if other not in order:
                visit(other)
                lowest[module] = min(lowest[module], lowest[other])
            elif other in stack:
                lowest[module] = min(lowest[module], order[other])
        if lowest[module] == order[module]:
            group = stack[stack.index(module) :]
            del stack[stack.index(module) :]
            if len(group) > 1:
                circles.append(sorted(group))

    for module in graph:
        if module not in order:
            visit(module)
    return circles


@pytest.mark.parametrize(
    ("graph", "circles"),
    [
        ({"a": ["b"], "b": []}, []),
        ({"a": ["b"], "b": ["a"]}, [["a", "b"]]),
        ({"a": ["b"], "b": ["c"], "c": ["b"], "d": ["a"]}, [["b", "c"]]),
        ({"a": ["b", "d"], "b": ["c"], "c": ["a"], "d": ["e"], "e": ["d"]}, [["a", "b", "c"], ["d", "e"]]),
    ],
)
def test_circles_are_found(graph: dict[str, list[str]], circles: list[list[str]]) -> None:
    assert sorted(strongly_connected(graph)) == circles


@pytest.mark.parametrize("module", MODULES)
def test_the_library_imports_nothing_that_stands_on_it(module: str) -> None:
    assert [name for name in imports_of(module) if name.split(".")[0] in OUTSIDE] == []


def not_public(source: str, module: str, is_package: bool, listed: dict[str, set[str]]) -> list[str]:
    """Return what a program imports of the library, or of other programs, beyond the names listed in ``__all__``."""
    beyond = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            beyond += [alias.name for alias in node.names if alias.name.startswith("cxr_monai.")]
            names = [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [(node.module or "", alias.name) for alias in node.names]
            if names[0][0].split(".")[0] == "cxr_monai":
                beyond += [f"{base}.{name}" for base, name in names if name not in listed.get(base, set())]
        else:
            continue
        # a program is imported by itself alone, relatively
        beyond += [base for base, _ in names if base.split(".")[0] in OUTSIDE or base.split(".")[0] == "cxr_monai_apps"]
    relative = set(imported(source, module, is_package, set()))
    program = ".".join(module.split(".")[:2])
    return beyond + [name for name in sorted(relative) if name.startswith("apps.") and not name.startswith(program)]


def listed_names(path: Path) -> set[str]:
    """Return the names in ``__all__`` of a module, read from its source or its stub, whichever has it."""
    sources = [file.read_text("utf-8") for file in (path, path.with_suffix(".pyi")) if file.is_file()]
    for node in (node for source in sources for node in ast.parse(source).body):
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        is_list = isinstance(value := getattr(node, "value", None), ast.List | ast.Tuple)
        if is_list and any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
            return {str(item) for item in ast.literal_eval(value)}
    return set()


def test_programs_import_what_the_library_lists_and_no_other_program() -> None:
    listed = {module: listed_names(path) for module, path in MODULES.items()}
    apps = LIBRARY.parent / "apps"
    beyond = {
        str(path.relative_to(apps)): not_public(
            path.read_text("utf-8"), name_of(path), path.name == "__init__.py", listed
        )
        for path in apps.rglob("*.py")
    }

    assert {path: names for path, names in beyond.items() if names} == {}
    assert "__init__.py" in beyond


@pytest.mark.parametrize(
    ("source", "beyond"),
    [
        ("import cxr_monai, torch\nfrom cxr_monai.inference import Model\nfrom . import dicom", []),
        ("from cxr_monai.inference import Model, _open", ["cxr_monai.inference._open"]),
        ("from cxr_monai.inference.model import Model", ["cxr_monai.inference.model.Model"]),
        ("from cxr_monai import inference", ["cxr_monai.inference"]),
        ("import cxr_monai.inference.model", ["cxr_monai.inference.model"]),
        ("from ..reading import pages", ["apps.reading"]),
        ("def f():\n  from cxr_monai_apps.reading import pages", ["cxr_monai_apps.reading"]),
        ("import scripts.demo", ["scripts.demo"]),
    ],
)
def test_what_a_program_may_not_import_is_found(source: str, beyond: list[str]) -> None:
    listed = {"cxr_monai.inference": {"Model"}}
    assert not_public(source, "apps.node.server", False, listed) == beyond


def test_importing_the_package_imports_nothing_else() -> None:
    assert imports_of("cxr_monai") == ["importlib"]


@pytest.mark.parametrize(
    ("source", "module", "is_package", "names"),
    [
        ("import os, cxr_monai.doctor", "cxr_monai.labels", False, ["os", "cxr_monai.doctor"]),
        ("from cxr_monai import doctor", "cxr_monai.labels", False, ["cxr_monai.doctor"]),
        ("from cxr_monai.doctor import examine", "cxr_monai.labels", False, ["cxr_monai.doctor"]),
        ("from . import doctor", "cxr_monai.labels", False, ["cxr_monai.doctor"]),
        ("from .doctor import x", "cxr_monai", True, ["cxr_monai.doctor"]),
        ("from ..doctor import x", "cxr_monai.data.files", False, ["cxr_monai.doctor"]),
        ("def f():\n  from cxr_monai.doctor import x", "cxr_monai.labels", False, ["cxr_monai.doctor"]),
    ],
)
def test_no_way_to_import_is_overlooked(source: str, module: str, is_package: bool, names: list[str]) -> None:
    assert list(imported(source, module, is_package, set(MODULES))) == names
