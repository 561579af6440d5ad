"""What a fresh clone installs, and what travels in the wheel."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

from scripts import lowest

HERE = Path(__file__).resolve().parent.parent


def setup_keywords() -> dict[str, ast.expr]:
    tree = ast.parse((HERE / "setup.py").read_text())
    call = next(
        node for node in ast.walk(tree) if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "setup"
    )
    return {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg}


def constraints() -> dict[str, str]:
    lines = (HERE / "constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))


def test_every_requirement_has_a_floor_and_is_constrained_to_one_version_above_it() -> None:
    tested = constraints()
    below = {name for name, floor in lowest.floors().items() if numbers(tested[name]) < numbers(floor)}

    assert below == set()


def test_what_the_lowest_versions_were_tried_with_are_the_floors_of_today() -> None:
    """Changed a floor? ``make lowest`` installs and tries it, and writes the record."""
    assert lowest.RECORD.read_text() == lowest.as_text(lowest.floors())


@pytest.mark.parametrize(
    ("name", "mended"),
    [
        ("torch", "2.10"),  # CVE-2026-24747
        ("monai", "1.6.1"),  # GHSA-wvpx-5qmp-46g3
        ("mlflow", "3.16"),  # CVE-2026-71211
        ("pydicom", "3.0.2"),  # CVE-2026-32711
        ("pillow", "12.3"),  # PYSEC-2026-3451
        ("onnx", "1.21"),  # CVE-2026-27489
        ("cryptography", "50"),  # CVE-2026-69247
        ("pyopenssl", "26"),  # CVE-2026-27459
        ("sigstore", "4.2"),  # CVE-2026-24408
        ("scikit-learn", "1.5"),  # CVE-2024-5206
        ("jinja2", "3.1.6"),  # CVE-2025-27516
        ("tqdm", "4.66.3"),  # CVE-2024-34062
    ],
)
def test_no_version_with_a_known_hole_is_allowed(name: str, mended: str) -> None:
    allowed = re.findall(rf'"{name}>=([0-9.]+)"', (HERE / "setup.py").read_text())
    assert [numbers(floor) >= numbers(mended) for floor in allowed] == [True]


def test_a_requirement_without_a_floor_is_refused(tmp_path: Path) -> None:
    setup = "from setuptools import setup\nEXTRA = {name: [] for name in ('dicom', 'sharing', 'export', 'openvino')}\n"
    (tmp_path / "setup.py").write_text(setup + "setup(install_requires=['a>=1.2', 'b<3'], extras_require=EXTRA)\n")
    with pytest.raises(ValueError, match="'b<3': a requirement is a name and the lowest version"):
        lowest.floors(tmp_path / "setup.py")


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
