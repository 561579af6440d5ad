"""The site: built strictly from docs/ and the sources, complete, and loading nothing from anywhere."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from scripts import site_docstrings, site_pages

HERE = Path(__file__).resolve().parent.parent

FETCHED = {"src", "srcset", "data", "poster", "action", "formaction", "background"}
"""Attributes whose address a browser loads by itself; ``href`` of anything but ``a`` besides."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as ``mkdocs build --strict`` makes it; any warning of it fails."""
    folder = tmp_path_factory.mktemp("site")
    ran = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=HERE,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1", "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return folder


class Loaded(HTMLParser):
    """Collects the addresses elsewhere that a page would load by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            loads = name in FETCHED or (name == "href" and tag != "a")
            if loads and re.match(r"\s*([a-z]+:)?//", value or "", re.I):
                self.addresses.append(str(value))


def loaded(page: str) -> list[str]:
    parser = Loaded()
    parser.feed(page)
    return parser.addresses


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 50
    assert {page.name: loaded(page.read_text("utf-8")) for page in pages if loaded(page.read_text("utf-8"))} == {}
    for sheet in site.rglob("*.css"):
        assert re.findall(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//[^)\"']+", sheet.read_text("utf-8")) == [], sheet


@pytest.mark.parametrize(
    ("page", "addresses"),
    [
        (
            '<script src="https://cdn.example/x.js"></script><a href="https://arxiv.org">x</a>',
            ["https://cdn.example/x.js"],
        ),
        ('<link rel="stylesheet" href="//fonts.example/a.css">', ["//fonts.example/a.css"]),
        ('<img src="images/a.png"><a href="b.html">b</a>', []),
    ],
)
def test_what_a_page_loads_is_found(page: str, addresses: list[str]) -> None:
    assert loaded(page) == addresses


def test_search_works_from_a_folder(site: Path) -> None:
    index = (site / "search/search_index.js").read_text("utf-8")
    page = (site / "index.html").read_text("utf-8")

    assert index.startswith("var __index = {")
    assert "Bundles between hospitals" in index
    assert "assets/iframe-worker.js" in page
    assert (site / "assets/iframe-worker.js").is_file()


def test_every_command_and_every_package_has_its_place(site: Path) -> None:
    commands = (site / "reference/commands.html").read_text("utf-8")
    packages = {path.parent.name for path in HERE.glob("cxr_monai/*/__init__.py")} - {"cli"}

    assert "usage: cxr-monai bundle install" in commands
    assert str(Path.home()) not in commands
    assert set(site_pages.PACKAGES) == packages
    assert "train_bundle" in (site / "reference/interface.html").read_text("utf-8")
    assert 'id="cxr_monai.transforms' in (site / "reference/components.html").read_text("utf-8")
    assert 'id="patient-leak"' in (site / "errors.html").read_text("utf-8")
    assert "read_radiograph" in (site / "reference/data.html").read_text("utf-8")


def test_links_that_leave_docs_lead_to_pages_of_the_site(site: Path) -> None:
    home = (site / "index.html").read_text("utf-8")

    assert 'href="project/contributing.html"' in home
    assert 'href="bundles/cxr_nih14.html#settings"' in home
    assert 'href="stability.html"' in (site / "project/security.html").read_text("utf-8").replace(
        "../stability", "stability"
    )


@pytest.mark.parametrize(
    ("paragraph", "code"),
    [
        ("table = read(path)   # text", True),
        ("for job in jobs():\n    job.run()", True),
        ("A table (of boxes) is read once.", False),
        ("    already(indented)", False),
        ("images, findings", False),
    ],
)
def test_code_in_docstrings_is_told_from_sentences(paragraph: str, code: bool) -> None:
    assert site_docstrings.is_code(paragraph) == code
