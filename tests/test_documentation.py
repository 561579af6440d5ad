"""What the pages of docs/, the README and the bundles' own pages say of the code is there."""

import ast
import re
from pathlib import Path

import pytest

from tests.test_layers import LAYERS

HERE = Path(__file__).resolve().parent.parent
PAGES = [
    *(HERE / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *HERE.glob("docs/**/*.md"),
    *HERE.glob("bundles/*/docs/*.md"),
]

TAGS = {"id", "continues", "name", "changed"}
"""Tags of MLflow's runs begin as modules do: ``cxr_monai.id``."""

GONE = {"cxr_monai.predict"}
"""Modules that decisions speak of because they are no more."""


def mentioned(text: str) -> set[str]:
    """Return the modules, names and files of the library, and the scripts and tests, that a page names in code."""
    names = re.findall(r"(?<![\w./-])(?:cxr_monai|scripts|tests)(?:[./][A-Za-z_]\w*)+(?:\.\w+)?", text)
    names = [name for name in names if not name.endswith(".NAME") and name not in GONE]
    return {name for name in names if not (name.startswith("cxr_monai.") and name.split(".")[1] in TAGS)}


def exists(name: str) -> bool:
    """Return whether a file, a folder, a module, or a module's name is there."""
    if "/" in name:
        return (HERE / name).exists() or (HERE / f"{name}.py").exists()
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        path = HERE.joinpath(*parts[:length])
        module = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if module.is_file():
            return length == len(parts) or parts[length] in defined(module)
    return False


def defined(module: Path) -> set[str]:
    """Return the names that a module, or its stub, defines or imports at its top."""
    names = set()
    files = [path for path in (module, module.with_suffix(".pyi")) if path.is_file()]
    for node in [node for path in files for node in ast.parse(path.read_text("utf-8")).body]:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
    return names


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(HERE)))
def test_what_a_page_names_is_there(page: Path) -> None:
    assert {name for name in mentioned(page.read_text("utf-8")) if not exists(name)} == set()


@pytest.mark.parametrize(
    ("name", "there"),
    [
        ("cxr_monai.data.radiograph.read_radiograph", True),
        ("cxr_monai.data.radiograph.gone", False),
        ("cxr_monai.explaining.explainer", False),
        ("cxr_monai/sharing/inspection/allowed.json", True),
        ("cxr_monai/sharing/allowed.json", False),
        ("scripts/demo.py", True),
    ],
)
def test_a_name_that_is_not_there_is_found(name: str, there: bool) -> None:
    assert mentioned(f"see `{name}`, which") == {name}
    assert exists(name) == there


def test_the_house_in_contributing_is_the_one_that_is_tested() -> None:
    table = re.findall(r"^\| (\d+) \| (`.+?`) \|", (HERE / "CONTRIBUTING.md").read_text("utf-8"), re.MULTILINE)
    layers = {name: int(layer) for layer, names in table for name in re.findall(r"`(\w+)/?`", names)}

    assert layers == {name: layer for name, layer in LAYERS.items() if name}
