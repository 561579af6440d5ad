"""Run the notebooks of docs/notebooks and write them as pages, with what they print and show.

    python scripts/render_notebooks.py docs/notebooks           the pages of the site, which are kept in the repository
    python scripts/render_notebooks.py OUT --only first_model

A notebook is a Python file in the percent format (``# %%`` begins a cell, ``# %% [markdown]`` one of text), which
Jupyter (with Jupytext), VS Code and PyCharm open as a notebook. They run one after the other in one temporary folder:
the later ones use the first one's model. Beside each page stands the notebook as ``.ipynb``, without outputs.
"""

import argparse
import ast
import contextlib
import io
import json
import os
import re
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NOTEBOOKS = Path(__file__).resolve().parent.parent / "docs" / "notebooks"
ORDER = ("first_model", "your_hospital", "fine_tune_and_share")


@dataclass(frozen=True)
class Cell:
    """One cell of a notebook: Markdown, or Python."""

    markdown: bool
    source: str


@dataclass(frozen=True)
class Output:
    """What a cell of Python left: its printed text, and the value of its last expression as HTML, text or PNG."""

    printed: str = ""
    html: str = ""
    text: str = ""
    png: bytes = b""


def cells_of(script: str) -> list[Cell]:
    """Return the cells of a script in the percent format.

    >>> cells_of("# %% [markdown]\\n# # Title\\n\\n# %%\\nx = 1\\nx\\n")
    [Cell(markdown=True, source='# Title'), Cell(markdown=False, source='x = 1\\nx')]
    """
    cells = []
    for part in re.split(r"^# %%", script, flags=re.MULTILINE)[1:]:
        head, _, body = part.partition("\n")
        markdown = "[markdown]" in head
        lines = [re.sub(r"^# ?", "", line) for line in body.splitlines()] if markdown else body.splitlines()
        cells.append(Cell(markdown, "\n".join(lines).strip()))
    return cells


def run_cell(source: str, names: dict[str, Any], given: Mapping[str, Any] | None = None) -> Output:
    """Run a cell and return its output.

    Args:
        source: Python.
        names: the notebook's global names, which it changes.
        given: values for some names, in the place of what the cell assigns to them.
    """
    tree = ast.parse(source)
    last = tree.body[-1]
    if isinstance(last, ast.Expr):
        tree.body.pop()
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(io.StringIO()):
        exec(compile(tree, "<cell>", "exec"), names)
        names.update({name: value for name, value in (given or {}).items() if name in names})
        shown = ast.Expression(last.value) if isinstance(last, ast.Expr) else None
        value = eval(compile(shown, "<cell>", "eval"), names) if shown else None
    if value is None:
        return Output(printed.getvalue())
    if hasattr(value, "_repr_png_"):
        return Output(printed.getvalue(), png=value._repr_png_())
    if hasattr(value, "_repr_html_"):
        return Output(printed.getvalue(), html=value._repr_html_())
    return Output(printed.getvalue(), text=repr(value))


def run_notebook(name: str, given: Mapping[str, Any] | None = None) -> list[tuple[Cell, Output]]:
    """Run a notebook in the working directory; returns its cells with their outputs.

    Args:
        name: of ``ORDER``.
        given: values for some names of its first cell.
    """
    names: dict[str, Any] = {"__name__": "__main__"}
    cells = cells_of((NOTEBOOKS / f"{name}.py").read_text(encoding="utf-8"))
    return [(cell, Output() if cell.markdown else run_cell(cell.source, names, given)) for cell in cells]


def page_of(name: str, cells: list[tuple[Cell, Output]], out: Path) -> str:
    """Return the page of a notebook that was run; its pictures are written into ``out``."""
    parts = []
    for number, (cell, output) in enumerate(cells):
        if cell.markdown:
            parts.append(cell.source)
            continue
        parts.append(f"```python\n{cell.source}\n```")
        if output.printed or output.text:
            parts.append(f"```text\n{(output.printed + output.text).rstrip()}\n```")
        if output.html:
            parts.append(re.sub(r"<style.*?</style>\s*", "", output.html, flags=re.DOTALL).strip())
        if output.png:
            picture = f"{name}_{number}.png"
            (out / picture).write_bytes(output.png)
            parts.append(f"![What the cell shows]({picture})")
    parts.append(f"[This notebook]({name}.ipynb) runs wherever `cxr-monai` is installed.")
    return "\n\n".join(parts) + "\n"


def jupyter_of(cells: list[Cell]) -> str:
    """Return a notebook in Jupyter's format 4.5, without outputs."""
    content: list[dict[str, Any]] = []
    for number, cell in enumerate(cells):
        kind = "markdown" if cell.markdown else "code"
        one: dict[str, Any] = {"cell_type": kind, "id": f"cell-{number}", "metadata": {}}
        if not cell.markdown:
            one |= {"execution_count": None, "outputs": []}
        content.append(one | {"source": cell.source.splitlines(keepends=True)})
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return json.dumps({"cells": content, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}, indent=1) + "\n"


def main() -> int:
    """Run the notebooks, write their pages; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="where pages, pictures and .ipynb go")
    parser.add_argument("--only", nargs="+", choices=ORDER, default=ORDER, help="these notebooks")
    parser.add_argument("--folder", type=Path, help="run in this folder, which stays (default: a temporary one)")
    arguments = parser.parse_args()
    out = arguments.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        os.chdir(folder)
        for name in arguments.only:
            print(f"{name} ...", file=sys.stderr, flush=True)
            cells = run_notebook(name)
            (out / f"{name}.md").write_text(page_of(name, cells, out), encoding="utf-8")
            (out / f"{name}.ipynb").write_text(jupyter_of([cell for cell, _ in cells]), encoding="utf-8")
        os.chdir(out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
