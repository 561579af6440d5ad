"""A configuration of ``logging`` is evaluated by Python in many ways: one form passes, and every other is refused."""

import json
import logging
import logging.config
from collections.abc import Iterator
from pathlib import Path

import pytest

from cxr_monai.bundle.shipped import shipped_bundles
from cxr_monai.sharing.inspection.arguments import judge_argument
from cxr_monai.sharing.inspection.bundle_inspection import inspect_bundle
from cxr_monai.sharing.inspection.logging_file import LONGEST_LOGGING_FILE, logging_problems

PLAIN = """\
# a comment, and then the usual
[loggers]
keys=root, quiet

[handlers]
keys = console

[formatters]
keys=full

[logger_root]
level=INFO
handlers=console
; another comment

[logger_quiet]
level=WARNING
handlers=
qualname=a.b
propagate=0

[handler_console]
class=StreamHandler
level=INFO
formatter=full
args=(sys.stdout,)
kwargs={}

[formatter_full]
class=logging.Formatter
format=%(asctime)s - %(name)-12s %(levelname)8s %(msecs)03d 100%% [%(process)d]: %(message)s
datefmt=%Y-%m-%d %H:%M:%S
style=%
"""
EVIL = "__import__('pathlib').Path('CANARY').touch()"


@pytest.fixture
def logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def changed(old: str, new: str) -> str:
    """The plain file with one text in it replaced; fails where that is not in it once."""
    assert PLAIN.count(old) == 1, old
    return PLAIN.replace(old, new)


# what hides from a reader of lines, each with the line that Python would see
HIDING = {
    "carriage return": "# a comment\r[handler_console]\rargs=(EVIL,)",
    "carriage return and line feed": "# a comment\r\nargs=(EVIL,)\r\n",
    "form feed": "# a comment\x0cargs=(EVIL,)",
    "vertical tab": "# a comment\x0bargs=(EVIL,)",
    "file separator": "# a comment\x1cargs=(EVIL,)",
    "next line": "# a comment\x85args=(EVIL,)",
    "line separator": "# a comment\u2028args=(EVIL,)",
    "paragraph separator": "# a comment\u2029args=(EVIL,)",
    "tab": "\targs=(EVIL,)",
    "zero": "# a comment\x00args=(EVIL,)",
    "byte order mark": "\ufeff# a comment",
    "other letters": "# \u00e9",
}


@pytest.mark.parametrize("hiding", HIDING.values(), ids=HIDING)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_what_readers_split_in_different_ways_is_refused(hiding: str, encoding: str) -> None:
    content = PLAIN.replace("# a comment", hiding.replace("EVIL", EVIL), 1).encode(encoding)
    ((where, _, reason),) = logging_problems(content)
    assert where.startswith("line ")
    assert "printable ASCII" in reason


EVALUATED = {
    "class of a handler": changed("class=StreamHandler", f"class={EVIL}"),
    "class that writes": changed("class=StreamHandler", "class=FileHandler"),
    "class with a dot": changed("class=StreamHandler", "class=handlers.SocketHandler"),
    "class by interpolation": changed("class=StreamHandler", f"class=%(level)s\nlevel={EVIL}"),
    "class that is called": changed("class=StreamHandler", "class=StreamHandler()"),
    "class of a formatter": changed("class=logging.Formatter", "class=captum.Formatter"),
    "class that is a module": changed("class=logging.Formatter", "class=Formatter"),
    "args": changed("args=(sys.stdout,)", f"args=({EVIL},)"),
    "args that open": changed("args=(sys.stdout,)", "args=(open('CANARY', 'w'),)"),
    "args by interpolation": changed("args=(sys.stdout,)", "args=(%(formatter)s,)"),
    "args of another stream": changed("args=(sys.stdout,)", "args=(sys.stdin,)"),
    "args that reach": changed("args=(sys.stdout,)", "args=(sys.stdout.buffer,)"),
    "args with more": changed("args=(sys.stdout,)", f"args=(sys.stdout, {EVIL})"),
    "args on the next line": changed("args=(sys.stdout,)", f"args=(sys.stdout,\n {EVIL})"),
    "args with a comment": changed("args=(sys.stdout,)", f"args=(sys.stdout,) ; {EVIL}"),
    "args in other letters": changed("args=(sys.stdout,)", f"ARGS=({EVIL},)"),
    "args with a colon": changed("args=(sys.stdout,)", f"args:({EVIL},)"),
    "args with a colon first": changed("args=(sys.stdout,)", f"args : x = ({EVIL},)"),
    "args behind a blank": changed("args=(sys.stdout,)", f" args=({EVIL},)"),
    "args twice": changed("args=(sys.stdout,)", f"args=(sys.stdout,)\nargs=({EVIL},)"),
    "args twice, both plain": changed("args=(sys.stdout,)", "args=(sys.stdout,)\nargs=(sys.stderr,)"),
    "ext": changed("args=(sys.stdout,)", "args=ext://sys.stdout"),
    "kwargs": changed("kwargs={}", f"kwargs={{'stream': {EVIL}}}"),
    "kwargs by interpolation": changed("kwargs={}", "kwargs=%(args)s"),
    "defaults of a formatter": changed("style=%", f"style=%\ndefaults={{'x': {EVIL}}}"),
    "style": changed("style=%", "style={"),
    "validate": changed("style=%", "validate=False"),
    "target": changed("kwargs={}", "target=console"),
    "default section": PLAIN + f"\n[DEFAULT]\nargs=({EVIL},)\n",
    "default section first": f"[DEFAULT]\nx=({EVIL},)\n" + PLAIN,
    "section twice": PLAIN + f"\n[handler_console]\nargs=({EVIL},)\n",
    "section twice, both plain": PLAIN + "\n[handler_console]\nclass=StreamHandler\n",
    "section behind a blank": PLAIN + f"\n [handler_other]\nargs=({EVIL},)\n",
    "section in a section": PLAIN + f"\n[handler_a]b]\nargs=({EVIL},)\n",
    "another section": PLAIN + "\n[other]\nx=1\n",
    "a key before every section": "level=INFO\n" + PLAIN,
    "a key without a value": changed("kwargs={}", "kwargs"),
    "a line of text": changed("kwargs={}", "see the manual"),
    "a long format": changed("%(levelname)8s", "%(levelname)999999999s"),
    "a width that is given": changed("%(levelname)8s", "%(levelname)*d"),
    "an attribute that no record has": changed("%(levelname)8s", "%(password)s"),
    "half a format": changed("%(levelname)8s", "%"),
    "a long date": changed("%Y-%m-%d", "%999999999Y"),
    "a level that is none": changed("level=WARNING", "level=LOUD"),
    "a number for propagate": changed("propagate=0", "propagate=__import__"),
    "a name that is a path": changed("qualname=a.b", "qualname=../a"),
    "keys that are a text": changed("keys = console", f"keys = {EVIL}"),
    "a missing handler": changed("keys = console", "keys = console, other"),
    "a missing formatter": changed("formatter=full", "formatter=other"),
    "a missing class": changed("class=StreamHandler\n", ""),
    "no root": changed("keys=root, quiet", "keys=quiet"),
    "nothing": "",
    "one section": "[loggers]\nkeys=root\n",
    "a long file": PLAIN + "#" * LONGEST_LOGGING_FILE,
}


@pytest.mark.parametrize("content", EVALUATED.values(), ids=EVALUATED)
def test_everything_that_is_evaluated_or_unknown_is_refused(content: str) -> None:
    refused = list(logging_problems(content.encode()))
    assert refused
    assert all(reason.endswith(".") for _, _, reason in refused)


def test_the_place_and_the_text_are_told() -> None:
    assert list(logging_problems(EVALUATED["args"].encode())) == [
        (
            "handler_console.args",
            f"({EVIL},)",
            "Python evaluates this text when logging starts; it is (sys.stdout,) or (sys.stderr,).",
        )
    ]


def test_plain_files_pass_and_are_what_python_reads(tmp_path: Path, logging_as_it_was: None) -> None:
    assert list(logging_problems(PLAIN.encode())) == []
    (tmp_path / "logging.conf").write_text(PLAIN)
    logging.config.fileConfig(str(tmp_path / "logging.conf"), disable_existing_loggers=False)
    (handler,) = logging.getLogger().handlers
    assert type(handler) is logging.StreamHandler
    assert not logging.getLogger("a.b").propagate


@pytest.mark.parametrize("name", shipped_bundles())
def test_those_of_our_own_bundles_pass(name: str) -> None:
    assert list(logging_problems((shipped_bundles()[name] / "configs" / "logging.conf").read_bytes())) == []


@pytest.mark.parametrize(
    "value", ["docs/README.md", "configs/other.conf", "$'a' + 'b'", "@x", ["configs/logging.conf"]]
)
@pytest.mark.parametrize("name", ["inference.json", "metadata.json"])
def test_a_setting_names_the_inspected_file_or_none(tmp_path: Path, name: str, value: object) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / name).write_text(json.dumps({"logging_file": value}))
    assert "logging_file" in {remark.where for remark in inspect_bundle(tmp_path).refused}
    for allowed in (None, False, "configs/logging.conf"):
        assert judge_argument("logging_file", allowed) == ""
