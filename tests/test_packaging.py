"""What a fresh clone installs, and what travels in the wheel."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent.parent
NAME = re.compile(r"^[A-Za-z0-9_.-]+")


def setup_keywords() -> dict[str, ast.expr]:
    tree = ast.parse((HERE / "setup.py").read_text())
    call = next(
        node for node in ast.walk(tree) if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "setup"
    )
    return {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg}


def constraints() -> dict[str, str]:
    lines = (HERE / "constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def test_every_requirement_is_constrained_to_one_version() -> None:
    required = [NAME.match(ast.literal_eval(item))[0] for item in setup_keywords()["install_requires"].elts]

    assert set(required) <= set(constraints())


def test_no_torchvision_anywhere() -> None:
    files = [*HERE.glob("*.txt"), HERE / "setup.py", *HERE.glob("cxr_monai/**/*.py"), *HERE.glob("scripts/*.py")]
    importing = [path.name for path in files if re.search(r"^\s*(import|from) torchvision", path.read_text(), re.M)]

    assert "torchvision" not in constraints()
    assert importing == []


def test_the_bundles_travel_with_the_package() -> None:
    keywords = setup_keywords()

    assert ast.literal_eval(keywords["package_dir"]) == {"cxr_monai.bundles": "bundles"}
    assert (HERE / "bundles/cxr_nih14/configs/train.json").is_file()


def test_warnings_are_errors() -> None:
    settings = tomllib.loads((HERE / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]

    assert settings["filterwarnings"][0] == "error"


@pytest.mark.parametrize("name", ["README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "Makefile", ".ci/run"])
def test_what_a_visitor_looks_for_is_there(name: str) -> None:
    assert (HERE / name).stat().st_size > 100


def test_the_first_screen_of_the_readme_gives_both_commands() -> None:
    first_screen = (HERE / "README.md").read_text().splitlines()[:20]

    assert any("make demo" in line for line in first_screen)
    assert any("make test" in line for line in first_screen)
    assert any(line.startswith("![") for line in first_screen)


def test_links_of_the_documentation_lead_somewhere() -> None:
    broken = []
    for page in [
        HERE / "README.md",
        HERE / "CONTRIBUTING.md",
        *HERE.glob("docs/**/*.md"),
        *HERE.glob("bundles/*/docs/*.md"),
    ]:
        for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
            if not target.startswith("http") and not (page.parent / target).exists():
                broken.append(f"{page.name}: {target}")

    assert broken == []
