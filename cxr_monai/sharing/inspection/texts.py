"""Check texts of a bundle: UTF-8 without hidden characters, and Markdown whose HTML is layout alone.

Readers of Markdown pass HTML on to a browser, and write links in many ways. So each tag is one of a list, with
attributes of a list, or a name in angle brackets without attributes, such as ``<folder>``, that no browser knows.
"""

import html
import re
from collections.abc import Iterator

from cxr_monai.budget import check_time

LARGEST_TEXT = 4 << 20
"""Bytes of a text."""

# What changes how a text looks or where its lines end: controls (but tab, and line feed with or without its carriage
# return), line and paragraph separators, and marks that reverse what follows.
_HIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]|\r(?!\n)")


def text_problem(content: bytes) -> str:
    """Return what is wrong with a text as a sentence; "" if nothing is."""
    if len(content) > LARGEST_TEXT:
        return f"a text has at most {LARGEST_TEXT:,} bytes."
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return "it is no text in UTF-8, whatever its name says."
    hidden = _HIDDEN.search(text.removeprefix("\ufeff"))
    if hidden is None:
        return ""
    line = text.count("\n", 0, hidden.start()) + 1
    return f"line {line} holds U+{ord(hidden[0][0]):04X}, which is no text but changes how it is read."


_OPEN = re.compile(r"<(?=[A-Za-z/!?])")
_COMMENT = re.compile("<!--")
_NAME = re.compile(r"</?([A-Za-z][A-Za-z0-9]*)")
_UNTIL = re.compile(r"[<>=]")
_LAYOUT = (
    "a|abbr|b|blockquote|br|caption|center|cite|code|dd|del|details|div|dl|dt|em|figcaption|figure|h[1-6]|hr|i|img|ins|"
    "kbd|li|mark|ol|p|picture|pre|q|s|samp|small|span|strong|sub|summary|sup|table|tbody|td|tfoot|th|thead|tr|u|ul|var"
)
_ATTRIBUTES = (
    "align|alt|border|cell(?:padding|spacing)|class|colspan|height|href|id|name|rowspan|src|title|valign|width"
)
_VALUE = r"""(?:"[^"<>]*+"|'[^'<>]*+'|[^\s"'<>=`]++)"""
_TAG = re.compile(
    rf"</?(?:{_LAYOUT})(?:\s++(?:{_ATTRIBUTES})\s*+=\s*+{_VALUE})*+\s*+/?>",
    re.IGNORECASE,
)
# Tags that do something without any attribute, or change how what follows is read.
_ACTIVE = re.compile(
    "animate|animatemotion|animatetransform|applet|base|embed|foreignobject|form|frame|frameset|iframe|link|listing|"
    "marquee|math|noembed|noframes|noscript|object|plaintext|portal|script|select|style|svg|template|textarea|title|"
    "video|xmp"
)
# After what a reader takes away: entities, backslashes, and the tabs and line feeds that a browser leaves out of links.
_PROGRAM = re.compile(
    r"\b(?:java|vb|live|j)script\s*:|(?:\bdata:|[\"'<=]\s*data\s*:\s*)(?!image/(?:png|jpeg|gif)\b)[a-z]+/[a-z]",
    re.IGNORECASE,
)


def markdown_problems(text: str) -> Iterator[tuple[int, str, str]]:
    """Yield code that a browser might run in Markdown: line number (0: anywhere), excerpt, reason."""
    for opening in _OPEN.finditer(text):
        check_time(short=True)
        if not _is_harmless(text, opening.start()):
            shown = text[opening.start() : opening.start() + 80]
            reason = "HTML that a browser could run: only tags and attributes of layout are allowed."
            yield text.count("\n", 0, opening.start()) + 1, shown, reason
            return  # one is enough, and to find the line of each would take long
    plain = re.sub(r"\\([!-/:-@\[-`{-~])|[\t\r\n]+", r"\1", html.unescape(text))
    if link := _PROGRAM.search(plain):
        yield 0, plain[link.start() : link.start() + 80], "a link that is a program."


def _is_harmless(text: str, place: int) -> bool:
    if _COMMENT.match(text, place):
        return True  # its content is checked as well: browsers end comments in many ways
    name = _NAME.match(text, place)
    if name is None:
        return text[place + 1] == "/"
    if _ACTIVE.fullmatch(name[1].lower()):
        return False
    if _TAG.match(text, place) or re.match(r"<https?://[^\s<>\"'`]*+>", text[place : place + 2000]):
        return True
    # without attributes: a placeholder, a comparison, an arrow
    stop = _UNTIL.search(text, name.end())
    return stop is None or stop[0] != "="
