"""``configs/logging.conf``: the one form of it that does not run anything, line by line.

``logging.config.fileConfig`` evaluates ``class``, ``args``, ``kwargs`` and, in later Pythons, ``defaults`` as Python,
imports what a formatter's ``class`` names, and fills ``%(name)s`` with other values of the file first. What a line is
depends on its reader too: a file opened as text has more ends of lines than ``\\n``, a line that begins with a blank
goes on with the one before, ``:`` is a ``=``, and ``[DEFAULT]`` stands in every section. So nothing is interpreted
here: a file consists of lines of printable ASCII, each of a known form, and whatever else it holds is refused.
"""

import re
from collections.abc import Iterator

from cxr_monai.plurals import counted

LONGEST_LOGGING_FILE = 1 << 16
"""Bytes of the file."""
LOGGING_FILE = "configs/logging.conf"
"""The one file that MONAI reads by itself, beside the configuration that is run."""

LoggingProblem = tuple[str, str, str]
"""Where it stands (``handler_console.args``), the text, why it is refused."""

_NAME = r"[A-Za-z][A-Za-z0-9_]*"
_NAMES = rf"(?:{_NAME}(?: *, *{_NAME})*)?"
_RECORD = (
    "name|levelno|levelname|pathname|filename|module|lineno|funcName|created|asctime|msecs|relativeCreated|thread|"
    "threadName|process|processName|taskName|message"
)
"""What a record has, and a format may show."""
_LEVEL = "NOTSET|DEBUG|INFO|WARNING|WARN|ERROR|CRITICAL|FATAL"

# By kind of section, its keys and what each may say, as a whole.
_KEYS: dict[str, dict[str, str]] = {
    "loggers": {"keys": _NAMES},
    "handlers": {"keys": _NAMES},
    "formatters": {"keys": _NAMES},
    "logger": {"level": _LEVEL, "handlers": _NAMES, "qualname": r"[A-Za-z_]\w*(?:\.\w+)*", "propagate": "[01]"},
    "handler": {
        "class": r"(?:logging\.)?StreamHandler",
        "level": _LEVEL,
        "formatter": f"(?:{_NAME})?",
        "args": r"\( *sys\.std(?:out|err) *, *\)|\( *\)",
        "kwargs": r"\{ *\}",
    },
    "formatter": {
        "class": r"logging\.Formatter",
        "format": rf"(?:[^%]|%%|%\((?:{_RECORD})\)[-0 +]?\d{{0,2}}(?:\.\d{{1,2}})?[sdf])+",
        "datefmt": "(?:[^%]|%[aAbBcdDFHIjmMpRSTUwWxXyYzZ%])+",
        "style": "%",
    },
}
_NEEDED = {
    "loggers": ["keys"],
    "handlers": ["keys"],
    "formatters": ["keys"],
    "logger": ["handlers"],
    "handler": ["class"],
}
_SECTION = re.compile(rf"\[(loggers|handlers|formatters|(logger|handler|formatter)_{_NAME})\]")
_LINE = re.compile(r"([a-z]+) *= *(.*)")


def logging_problems(content: bytes) -> Iterator[LoggingProblem]:
    """Yield what speaks against a configuration of ``logging``; nothing for one that only formats and prints.

    Args:
        content: of the whole file.
    """
    if len(content) > LONGEST_LOGGING_FILE:
        yield "", counted(len(content), "byte"), f"it has more than {LONGEST_LOGGING_FILE:,} bytes."
        return
    other = re.search(rb"[^ -~\n]", content)
    if other is not None:
        line = content.count(b"\n", 0, other.start()) + 1
        reason = "it has printable ASCII and line feeds alone: readers end lines at other characters too."
        yield f"line {line}", repr(other[0])[2:-1], reason
        return
    sections: dict[str, dict[str, str]] = {}
    refused = list(_read(content.decode("ascii").split("\n"), sections))
    yield from refused or _disagreements(sections)


def _read(lines: list[str], sections: dict[str, dict[str, str]]) -> Iterator[LoggingProblem]:
    """Read the lines into ``sections``, and yield those that have none of the known forms."""
    section = ""
    for number, line in enumerate((line.rstrip(" ") for line in lines), 1):
        where = f"line {number}"
        if not line or line[0] in "#;":
            continue
        if header := _SECTION.fullmatch(line):
            section = header[1]
            if section in sections:
                yield where, line, "this section stands twice."
            sections[section] = {}
            continue
        item = _LINE.fullmatch(line)
        known = _KEYS.get(section.partition("_")[0], {})
        if item is None or item[1] not in known:
            yield where, line, _unknown_line(section, known)
            continue
        key, value = item.groups()
        if key in sections[section]:
            yield f"{section}.{key}", value, "this key stands twice in its section."
        elif not re.fullmatch(known[key], value):
            yield f"{section}.{key}", value, _EXPLAINED.get(key, "it is none of the values that it may have.")
        sections[section][key] = value


def _unknown_line(section: str, known: dict[str, str]) -> str:
    if not known:
        return "a line is a comment, [loggers], [handlers], [formatters], or a section of one of these."
    return f"the lines of [{section}] are {', '.join(f'{key}=' for key in known)}, from the first letter on."


_EXPLAINED = {
    "class": "Python evaluates this text when logging starts; it is StreamHandler, or logging.Formatter.",
    "args": "Python evaluates this text when logging starts; it is (sys.stdout,) or (sys.stderr,).",
    "kwargs": "Python evaluates this text when logging starts; it is {}.",
    "format": "a format has attributes of a record, such as %(message)s, with widths below 100.",
    "datefmt": "a format of dates has the usual codes, such as %Y.",
    "level": f"a level is one of {_LEVEL.replace('|', ', ')}.",
}


def _disagreements(sections: dict[str, dict[str, str]]) -> Iterator[LoggingProblem]:
    """Yield what is named and is not there: ``logging`` would end with an error."""
    listed: dict[str, list[str]] = {}
    for kind in ("logger", "handler", "formatter"):
        if f"{kind}s" not in sections:
            yield "", f"[{kind}s]", "this section is missing."
        listed[kind] = _split(sections.get(f"{kind}s", {}).get("keys", ""))
    for kind, names in listed.items():
        for name in names:
            if f"{kind}_{name}" not in sections:
                yield f"{kind}s.keys", name, f"there is no section [{kind}_{name}]."
    if "root" not in listed["logger"]:
        yield "loggers.keys", ", ".join(listed["logger"]), "the logger root is missing."
    for section, values in sections.items():
        kind, _, name = section.partition("_")
        needed = _NEEDED.get(kind, []) + (["qualname"] if kind == "logger" and name != "root" else [])
        for key in needed:
            if key not in values:
                yield section, key, f"[{section}] lacks {key}=."
        named = [("handler", one) for one in _split(values.get("handlers", ""))]
        named += [("formatter", values["formatter"])] if values.get("formatter") else []
        for what, one in named:
            if one not in listed[what]:
                yield section, one, f"there is no {what} of this name."


def _split(names: str) -> list[str]:
    return [name.strip(" ") for name in names.split(",")] if names else []
