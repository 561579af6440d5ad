"""What a fresh clone installs, and what travels in the wheel."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

import cxr_monai
from scripts import lowest

HERE = Path(__file__).resolve().parent.parent


def constraints() -> dict[str, str]:
    lines = (HERE / "constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))


def test_every_requirement_has_a_floor_and_is_constrained_to_one_version_above_it() -> None:
    tested = constraints()
    floors = dict(re.findall(r'"([a-z0-9-]+)>=([0-9][0-9.a-z]*)"', (HERE / "setup.py").read_text()))
    below = {name for name, floor in floors.items() if numbers(tested[name]) < numbers(floor)}

    assert set(lowest.floors()) < set(floors)  # those of the extra 'docs' besides

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
    setup = f"from setuptools import setup\nEXTRA = { {name: [] for name in lowest.EXTRAS} }\n"
    (tmp_path / "setup.py").write_text(setup + "setup(install_requires=['a>=1.2', 'b<3'], extras_require=EXTRA)\n")
    with pytest.raises(ValueError, match="'b<3': a requirement is a name and the lowest version"):
        lowest.floors(tmp_path / "setup.py")


def test_no_torchvision_anywhere() -> None:
    files = [*HERE.glob("*.txt"), HERE / "setup.py", *HERE.glob("cxr_monai/**/*.py"), *HERE.glob("scripts/*.py")]
    importing = [path.name for path in files if re.search(r"^\s*(import|from) torchvision", path.read_text(), re.M)]

    assert "torchvision" not in constraints()
    assert importing == []


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree, built in a copy of it, offline."""
    folder = tmp_path_factory.mktemp("wheel")
    leave_out = shutil.ignore_patterns("__pycache__")
    for name in ("cxr_monai", "bundles", "apps"):
        shutil.copytree(HERE / name, folder / "tree" / name, ignore=leave_out)
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(HERE / name, folder / "tree")
    build = "import sys, setuptools.build_meta as backend; backend.build_wheel(sys.argv[1])"
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", build, str(folder)],
        cwd=folder / "tree",
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return next(folder.glob("cxr_monai-*.whl"))


def test_all_that_is_used_travels_in_the_wheel(wheel: Path) -> None:
    files = set(zipfile.ZipFile(wheel).namelist())
    kinds = ("*.py", "*.pyi", "py.typed", "*.j2", "*.json")
    library = {str(path.relative_to(HERE)) for kind in kinds for path in HERE.glob(f"cxr_monai/**/{kind}")}
    bundles = {
        f"cxr_monai/{path.relative_to(HERE)}" for path in HERE.glob("bundles/*/*/*") if path.suffix in (".json", ".md")
    }
    apps = {f"cxr_monai_{path.relative_to(HERE)}" for path in (*HERE.glob("apps/**/*.py"), HERE / "apps/py.typed")}

    assert {"cxr_monai/py.typed", "cxr_monai_apps/py.typed", "cxr_monai_apps/__init__.py"} <= files
    assert "cxr_monai/bundles/cxr_nih14/configs/train.json" in files
    assert (library | bundles | apps) - files == set()
    assert {name.split("/")[0] for name in files if ".dist-info/" not in name} == {"cxr_monai", "cxr_monai_apps"}


def test_the_wheel_works_where_nothing_else_of_this_repository_is(wheel: Path, tmp_path: Path) -> None:
    """Unpacked into an environment of its own that finds the required packages, and nothing else, in this one."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True)
    packages = next((tmp_path / "venv").glob("lib/python*/site-packages"))
    zipfile.ZipFile(wheel).extractall(packages)
    (packages / "required.pth").write_text("".join(f"{path}\n" for path in sys.path if path.endswith("site-packages")))
    lines = next(packages.glob("*.dist-info/entry_points.txt")).read_text().split("\n")
    scripts = dict(line.split(" = ") for line in lines if " = " in line)
    assert scripts == {"cxr-monai": "cxr_monai.cli:main", "cxr-monai-node": "cxr_monai_apps.node:main"}
    check = """
import sys, cxr_monai, cxr_monai_apps
from cxr_monai.bundle.shipped import shipped_bundles
from cxr_monai.cli import main
from cxr_monai_apps.node import main as node
assert all(one.__file__.startswith(sys.argv[1]) for one in (cxr_monai, cxr_monai_apps))
assert sorted(shipped_bundles()) == ["cxr_categories", "cxr_nih14", "cxr_transfer"]
assert all(str(folder).startswith(sys.argv[1]) for folder in shipped_bundles().values())
assert node(["--config", "missing.toml", "status"]) == 1
for command in (node, main):
    try:
        command(["--help"])
    except SystemExit as done:
        assert done.code == 0
"""
    ran = subprocess.run(
        [str(tmp_path / "venv/bin/python"), "-c", check, str(packages)],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.returncode == 0, ran.stderr
    assert ran.stderr.startswith("cxr-monai-node: error [setting-invalid]")
    assert "usage: cxr-monai " in ran.stdout
    assert "usage: cxr-monai-node " in ran.stdout


def test_warnings_are_errors() -> None:
    settings = tomllib.loads((HERE / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]

    assert settings["filterwarnings"][0] == "error"


@pytest.mark.parametrize(
    "name",
    ["README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "CITATION.cff", "Makefile", ".ci/run"],
)
def test_what_a_visitor_looks_for_is_there(name: str) -> None:
    assert (HERE / name).stat().st_size > 100


def test_the_citation_is_of_this_version() -> None:
    """It was valid by the schema of Citation File Format 1.2.0; what changes with a release is compared here."""
    citation = yaml.safe_load((HERE / "CITATION.cff").read_text("utf-8"))

    assert citation["cff-version"] == "1.2.0"
    assert {"title", "message", "authors", "type"} <= set(citation)
    assert (citation["version"], citation["license"]) == (cxr_monai.__version__, "Apache-2.0")


def test_the_first_screen_of_the_readme_gives_both_commands() -> None:
    lines = (HERE / "README.md").read_text().splitlines()
    first_screen = lines[:20]

    assert len(lines) < 60  # the rest belongs to docs/
    assert any("make demo" in line for line in first_screen)
    assert any("make test" in line for line in first_screen)
    assert any(line.startswith("![") for line in first_screen)


def test_links_of_the_documentation_lead_somewhere() -> None:
    broken = []
    for page in [
        HERE / "README.md",
        HERE / "CONTRIBUTING.md",
        HERE / "SECURITY.md",
        HERE / "CHANGELOG.md",
        *HERE.glob("docs/**/*.md"),
        *HERE.glob("bundles/*/docs/*.md"),
    ]:
        for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
            generated = "reference" in (page.parent / target).resolve().parts  # tests/test_site.py follows these
            if not target.startswith("http") and not generated and not (page.parent / target).exists():
                broken.append(f"{page.name}: {target}")

    assert broken == []
