"""Hooks of MkDocs, named in mkdocs.yml: pages that no file of docs/ holds, and links that lead out of docs/.

Generated are the reference of all commands (from their parsers), the pages of the Python reference (from stubs and
sources), and the entries of the navigation for those and for the decisions. Files that stand elsewhere in the
repository (``PAGES``) become pages. A link to a file that is no page becomes plain text: the site stands alone.
"""

import argparse
import ast
import os
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from cxr_monai.cli import COMMANDS, build_parser

ROOT = Path(__file__).resolve().parent.parent
PAGES = {
    "CHANGELOG.md": "project/changelog.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "SECURITY.md": "project/security.md",
    **{
        f"bundles/{name}/docs/README.md": f"bundles/{name}.md"
        for name in ("cxr_nih14", "cxr_categories", "cxr_transfer")
    },
}
"""File of the repository: page of the site."""

PACKAGES = {
    "data": "tables of images, and how a file becomes an array",
    "networks": "architectures, heads, weights, class activation maps",
    "losses": "losses that leave unknown labels out",
    "transforms": "from an array to the network's input",
    "bundle": "a bundle's folder and its configurations",
    "evaluation": "what probabilities are worth",
    "inference": "an opened bundle, and its probabilities",
    "gate": "is a film one for a network, and does a stream of films still look alike",
    "attribution": "what a network looked at, and what such maps are worth",
    "training": "what Ignite and MLflow need beyond MONAI",
    "sharing": "inspection, packing, signatures, export",
    "report": "pages and pictures",
    "objects": "answers about films as DICOM objects",
    "workflows": "files in, files out: one module for each command",
    "finetune": "a child bundle for one disease",
    "studies": "experiments: variants trained alike",
}
"""Package of the library: what its page of the reference says that it holds."""

INTERFACES = {
    "interface": (
        "import cxr_monai",
        "__init__.pyi",
        "What a notebook or a program of yours calls: `import cxr_monai`, then `cxr_monai.train_bundle(...)`. Stable.",
    ),
    "components": (
        "cxr_monai.components",
        "components.pyi",
        'What a configuration of a bundle calls: `"_target_": "cxr_monai.components.LoadRadiographd"`. Stable: these'
        " names stand in signed bundles.",
    ),
}
"""Page of the reference: its title, the stub whose names it documents, and its first paragraph."""

NOTEBOOKS = ("first_model", "your_hospital", "fine_tune_and_share")
"""Pages of docs/notebooks in the order in which they are read; any others follow."""

_LINK = re.compile(r"(?<!!)\[(?P<text>[^\]\[]*(?:\[[^\]]*\][^\]\[]*)*)\]\((?P<target>[^)#\s]+)(?P<anchor>#[^)\s]*)?\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Fill what mkdocs.yml writes in capitals in the navigation: pages that are found, not listed."""
    docs = Path(config.docs_dir)
    decisions = sorted(docs.glob("decisions/[0-9]*.md"))
    notebooks = sorted(docs.glob("notebooks/*.md"), key=lambda page: (*NOTEBOOKS, page.stem).index(page.stem))
    entries: dict[str, list[Any]] = {
        "PACKAGES": [
            "reference/index.md",
            *({title: f"reference/{page}.md"} for page, (title, _, _) in INTERFACES.items()),
            *({name: f"reference/{name}.md"} for name in PACKAGES),
        ],
        "NOTEBOOKS": [str(path.relative_to(docs)) for path in (*docs.glob("python.md"), *notebooks)],
        "DECISIONS": ["decisions/README.md", *(f"decisions/{path.name}" for path in decisions)],
    }
    config.nav = _filled(config.nav, entries)
    return config


def _filled(nav: Any, entries: dict[str, list[Any]]) -> Any:
    if isinstance(nav, list):
        return [item for item in (_filled(item, entries) for item in nav) if item != {}]
    if isinstance(nav, dict):
        filled = {title: _filled(item, entries) for title, item in nav.items()}
        return {title: item for title, item in filled.items() if item}
    return entries.get(nav, nav)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are generated and those whose files stand outside of docs/."""
    for source, page in PAGES.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    files.append(File.generated(config, "reference/commands.md", content=commands_page()))
    for name, (title, stub, text) in INTERFACES.items():
        files.append(File.generated(config, f"reference/{name}.md", content=interface_page(title, stub, text)))
    for name, what in PACKAGES.items():
        files.append(File.generated(config, f"reference/{name}.md", content=package_page(name, what)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Return a page with its links led to where the site has them; what it has no page of is named, not linked."""
    if page.file.src_uri == "errors.md":
        markdown = re.sub(r"^\| `([a-z-]+)` \|", r"| `\1`{ #\1 } |", markdown, flags=re.MULTILINE)
    if page.file.src_uri == "reference/index.md":
        markdown += "".join(f"| [`cxr_monai.{name}`]({name}.md) | {what} |\n" for name, what in PACKAGES.items())
    source = page.file.abs_src_path
    if source is None:
        return markdown
    folder = posixpath.dirname(Path(os.path.relpath(source, ROOT)).as_posix())

    def led(link: re.Match[str]) -> str:
        target = link["target"]
        if re.match(r"[a-z]+:|/", target):
            return link[0]
        path = posixpath.normpath(posixpath.join(folder, target))
        on_site = PAGES.get(path) or path.removeprefix("docs/")
        if path in PAGES or (path.startswith("docs/") and files.get_file_from_path(on_site)):
            relative = posixpath.relpath(on_site, posixpath.dirname(page.file.src_uri) or ".")
            return f"[{link['text']}]({relative}{link['anchor'] or ''})"
        return link["text"] if (ROOT / path).exists() else link[0]

    return _LINK.sub(led, markdown)


def commands_page() -> str:
    """Return the page of all commands: what ``--help`` prints of each, and of each action."""
    lines = [
        "# Commands",
        "",
        "What `cxr-monai COMMAND --help` prints. Exit status: 0 done, 1 failed, 2 wrong use; the codes of",
        "errors are listed under [error codes](../errors.md).",
        "",
        *(f"- [`{name}`](#{name}): {summary}" for name, (_, summary) in COMMANDS.items()),
    ]
    for name in COMMANDS:
        lines += ["", f"## {name} {{ #{name} }}"]
        for words, parser in _parsers(name):
            heading = [] if words == name else ["", f"### {words}"]
            lines += [*heading, "", "```text", parser.format_help().rstrip().replace(str(Path.home()), "~"), "```"]
    return "\n".join(lines) + "\n"


def _parsers(command: str) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Yield a command's parser and those of its actions, each with the words that call it."""

    def below(words: str, parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
        yield words, parser
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                for name, sub in action.choices.items():
                    yield from below(f"{words} {name}", sub)

    for action in build_parser(command)._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from below(command, action.choices[command])


def interface_page(title: str, stub: str, text: str) -> str:
    """Return the page of the names that a stub lists, each documented where it is defined."""
    tree = ast.parse((ROOT / "cxr_monai" / stub).read_text("utf-8"))
    imports = (node for node in tree.body if isinstance(node, ast.ImportFrom))
    modules = {alias.name: str(node.module) for node in imports for alias in node.names}
    options = "\n    options:\n      show_root_heading: true\n      show_root_toc_entry: true\n"
    names = (f"::: {modules[name]}.{name}{options}" for name in sorted(modules, key=str.casefold))
    return f"# {title}\n\n{text}\n\n" + "\n".join(names)


def package_page(name: str, what: str) -> str:
    """Return the page of one package of the library, which a search finds after the pages for people."""
    head = "---\nsearch:\n  boost: 0.3\n---\n"
    return f"{head}\n# cxr_monai.{name}: {what}\n\n::: cxr_monai.{name}\n    options:\n      show_submodules: true\n"
