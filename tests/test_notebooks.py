"""The notebooks of docs/notebooks and the code of docs/python.md run, small; the pages hold today's code."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts.render_notebooks import NOTEBOOKS, ORDER, Cell, cells_of, jupyter_of, page_of, run_cell, run_notebook
from tests.support.bundle_runs import no_pictures, process_as_it_was
from tests.support.tiny_bundles import NETWORK

SMALL: dict[str, dict[str, Any]] = {
    "first_model": {
        "COUNT": 280,
        "SIZE": 48,
        "SETTINGS": {
            "image_size": 32, "epochs": 1, "batch_size": 16, "num_workers": 0,
            "network_def": NETWORK | {"out_channels": 3},
        },
    },
    "your_hospital": {"COUNT": 90, "SIZE": 48},
    "fine_tune_and_share": {"EPOCHS": 2},
}  # fmt: skip
PYTHON_PAGE = NOTEBOOKS.parent / "python.md"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The one folder that the notebooks run in, one after the other."""
    with pytest.MonkeyPatch.context() as patch, process_as_it_was(), no_pictures():
        folder = tmp_path_factory.mktemp("notebooks")
        patch.chdir(folder)
        patch.setenv("CXR_MONAI_BUNDLES", str(folder / "bundles"))  # which a notebook sets
        yield folder


def test_every_notebook_is_run() -> None:
    assert {path.stem for path in NOTEBOOKS.glob("*.py")} == set(ORDER) == set(SMALL)


def test_the_notebooks_run_and_show_what_they_promise(folder: Path) -> None:
    pages = {}
    for name in ORDER:
        cells = run_notebook(name, SMALL[name])
        pages[name] = page_of(name, cells, folder)
    assert sum(not cell.markdown for cell in cells_of((NOTEBOOKS / "first_model.py").read_text("utf-8"))) == 5
    (picture,) = re.findall(r"!\[.*?\]\((.*?)\)", pages["first_model"])
    assert (folder / picture).read_bytes().startswith(b"\x89PNG")
    assert "radiograph-not-an-image" in pages["your_hospital"]
    assert "[source-invalid]" in pages["your_hospital"]
    assert "('cxr-effusion', '1.0.0', 'hospital-a')" in pages["fine_tune_and_share"]


@pytest.mark.parametrize("name", ORDER)
def test_the_pages_hold_the_code_of_today(name: str) -> None:
    """``python scripts/render_notebooks.py docs/notebooks`` writes them anew."""
    cells = cells_of((NOTEBOOKS / f"{name}.py").read_text("utf-8"))
    page = (NOTEBOOKS / f"{name}.md").read_text("utf-8")
    assert re.findall(r"^```python\n(.*?)\n```$", page, re.DOTALL | re.MULTILINE) == [
        cell.source for cell in cells if not cell.markdown
    ]
    assert [cell.source for cell in cells if cell.markdown and cell.source not in page] == []
    assert (NOTEBOOKS / f"{name}.ipynb").read_text("utf-8") == jupyter_of(cells)


def test_a_cell_shows_its_last_value_and_what_it_prints() -> None:
    names: dict[str, Any] = {}
    assert run_cell("x = 1\nprint(x)\nx + 1", names).printed == "1\n"
    assert run_cell("x + 1", names).text == "2"
    assert run_cell("COUNT = 5\nCOUNT", {}, {"COUNT": 7, "OTHER": 1}).text == "7"
    assert cells_of("# %%\n1\n")[0] == Cell(False, "1")


def test_the_code_of_the_page_gives_what_it_says(folder: Path) -> None:
    """Each block of ``text`` is what the block of code before it shows."""
    blocks = re.findall(r"^```(python|text)\n(.*?)\n```$", PYTHON_PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    names: dict[str, Any] = {}
    (folder / "page").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder / "page")
        shown = None
        for kind, block in blocks:
            if kind == "python":
                shown = run_cell(block.replace('network_def="DenseNet121"', f"network_def={NETWORK!r}"), names)
            else:
                assert shown is not None
                assert (shown.printed + shown.text).strip() == block


def test_the_page_names_every_function() -> None:
    import cxr_monai

    page = PYTHON_PAGE.read_text("utf-8")
    assert [name for name in cxr_monai.__all__ if name != "__version__" and f"`{name}" not in page] == []
    assert ast.parse("\n".join(re.findall(r"^```python\n(.*?)\n```$", page, re.DOTALL | re.MULTILINE)))
