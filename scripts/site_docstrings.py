"""Docstrings as the site's reference wants them: an extension of Griffe, named in mkdocs.yml.

Code at the margin of a docstring would be folded into a sentence by Markdown, and ``>>>`` becomes a quotation: both are
fenced. Two colons before code, and roles such as ``:func:``, mean nothing to Markdown and go.
"""

import ast
import re
from typing import Any

import griffe

_DOUBLE_COLON = re.compile(r"(?<=\S)::$", re.MULTILINE)
_ROLE = re.compile(r":(?:class|func|meth|mod|attr|data):(`[^`]+`)")


class Docstrings(griffe.Extension):
    """Changes the text of docstrings before they are parsed."""

    def on_object(self, *, obj: griffe.Object, loader: griffe.GriffeLoader, **kwargs: Any) -> None:
        """Fence the code at the margin; replace double colons and roles."""
        if obj.docstring is None:
            return
        text = _ROLE.sub(r"\1", _DOUBLE_COLON.sub(":", obj.docstring.value))
        obj.docstring.value = "\n\n".join(_fenced(part) for part in text.split("\n\n"))


def _fenced(paragraph: str) -> str:
    if paragraph.startswith(">>> "):
        return f"```pycon\n{paragraph}\n```"
    return f"```python\n{paragraph}\n```" if is_code(paragraph) else paragraph


def is_code(paragraph: str) -> bool:
    """Return whether a paragraph is Python that calls something.

    >>> is_code("table = read(path)   # text"), is_code("A table (of boxes)."), is_code("    indented()")
    (True, False, False)
    """
    try:
        tree = ast.parse(paragraph)
    except SyntaxError:
        return False
    return any(isinstance(node, ast.Call) for node in ast.walk(tree))
