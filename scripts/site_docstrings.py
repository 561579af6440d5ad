"""Docstrings as the site's reference wants them: an extension of Griffe, named in mkdocs.yml.

Code in a docstring is indented. Griffe takes the smallest indentation away, which in a module's docstring is that of
the code where nothing but code follows the first line; it stays here. Two colons before code, and roles such as
``:func:``, mean nothing to Markdown and go.
"""

import ast
import re
from typing import Any

import griffe

_DOUBLE_COLON = re.compile(r"(?<=\S)::$", re.MULTILINE)
_ROLE = re.compile(r":(?:class|func|meth|mod|attr|data):(`[^`]+`)")


class Docstrings(griffe.Extension):
    """Changes the text of docstrings before they are parsed."""

    def on_module_instance(
        self, *, node: ast.AST | griffe.ObjectNode, mod: griffe.Module, agent: Any, **kwargs: Any
    ) -> None:
        """Keep the indentation of a module's docstring whose every line below the first is indented."""
        text = ast.get_docstring(node, clean=False) if isinstance(node, ast.Module) else None
        if mod.docstring is not None and text is not None:
            summary, _, rest = text.partition("\n")
            lines = [line for line in rest.splitlines() if line.strip()]
            if lines and all(line.startswith("    ") for line in lines):
                mod.docstring.value = f"{summary}\n{rest.rstrip()}"

    def on_object(self, *, obj: griffe.Object, loader: griffe.GriffeLoader, **kwargs: Any) -> None:
        """Replace double colons and roles."""
        if obj.docstring is not None:
            obj.docstring.value = _ROLE.sub(r"\1", _DOUBLE_COLON.sub(":", obj.docstring.value))
