"""Check ``configs/logging.conf`` line by line: only the forms that run no code are allowed.

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
"""The item (``handler_console.args``) or line, its text, the reason why it is refused."""

_NAME = r"[A-Za-z][A-Za-z0-9_]*"
_NAMES = rf"(?:{_NAME}(?: *, *{_NAME})*)?"
_RECORD = (
    "name|levelno|levelname|pathname|filename|module|lineno|funcName|created|asctime|msecs|relativeCreated|thread|"
    "threadName|process|processName|taskName|message"
)
"""Attributes of a log record that a format may show."""
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
    """Yield the problems of a configuration of ``logging``; none for one that only formats and prints.

    Args:
        content: of the whole file.
    """
    if len(content) > LONGEST_LOGGING_FILE:
        yield "", counted(len(content), "byte"), f"it has more than {LONGEST_LOGGING_FILE:,} bytes."
        return
    unprintable = re.search(rb"[^ -~\n]", content)
    if unprintable is not None:
        line = content.count(b"\n", 0, unprintable.start()) + 1
        reason = "it has printable ASCII and line feeds alone: readers end lines at other characters too."
        yield f"line {line}", repr(unprintable[0])[2:-1], reason
        return
    sections: dict[str, dict[str, str]] = {}
    refused = list(_read(content.decode("ascii").split("\n"), sections))
    yield from refused or _disagreements(sections)


def _read(lines: list[str], sections: dict[str, dict[str, str]]) -> Iterator[LoggingProblem]:
    """Read the lines into ``sections``, and yield those that have none of the known forms."""
    section = ""
    for number, line in enumerate((line.rstrip(" ") for line in lines), 1):
        place = f"line {number}"
        if not line or line[0] in "#;":
            continue
        if header := _SECTION.fullmatch(line):
            section = header[1]
            if section in sections:
                yield place, line, "this section stands twice."
            sections[section] = {}
            continue
        item = _LINE.fullmatch(line)
        patterns = _KEYS.get(section.partition("_")[0], {})
        if item is None or item[1] not in patterns:
            yield place, line, _unknown_line(section, patterns)
            continue
        key, value = item.groups()
        if key in sections[section]:
            yield f"{section}.{key}", value, "this key stands twice in its section."
        elif not re.fullmatch(patterns[key], value):
            yield f"{section}.{key}", value, _EXPLAINED.get(key, "it is none of the values that it may have.")
        sections[section][key] = value


def _unknown_line(section: str, patterns: dict[str, str]) -> str:
    if not patterns:
        return "a line is a comment, [loggers], [handlers], [formatters], or a section of one of these."
    return f"the lines of [{section}] are {', '.join(f'{key}=' for key in patterns)}, from the first letter on."


_EXPLAINED = {
    "class": "Python evaluates this text when logging starts; it is StreamHandler, or logging.Formatter.",
    "args": "Python evaluates this text when logging starts; it is (sys.stdout,) or (sys.stderr,).",
    "kwargs": "Python evaluates this text when logging starts; it is {}.",
    "format": "a format has attributes of a record, such as %(message)s, with widths below 100.",
    "datefmt": "a format of dates has the usual codes, such as %Y.",
    "level": f"a level is one of {_LEVEL.replace('|', ', ')}.",
}


def _disagreements(sections: dict[str, dict[str, str]]) -> Iterator[LoggingProblem]:
    """Yield references to missing sections and keys, for which ``logging`` would raise an error."""
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
        references = [("handler", referred_name) for referred_name in _split(values.get("handlers", ""))]
        references += [("formatter", values["formatter"])] if values.get("formatter") else []
        for referred_kind, referred_name in references:
            if referred_name not in listed[referred_kind]:
                yield section, referred_name, f"there is no {referred_kind} of this name."


def _split(names: str) -> list[str]:
    return [name.strip(" ") for name in names.split(",")] if names else []
