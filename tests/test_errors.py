"""Errors say what, where and what to do; they survive processes and wrappers; every code is explained."""

import inspect
import pickle
import re
from pathlib import Path

import pytest

from cxr_monai import errors
from cxr_monai.errors import Code, CxrError, ManifestError, RadiographError, ours

REPOSITORY = Path(__file__).resolve().parents[1]
KINDS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, CxrError)]


def documented() -> list[tuple[str, str, str]]:
    """Rows of the page's tables: code, meaning, what to do."""
    text = (REPOSITORY / "docs" / "errors.md").read_text(encoding="utf-8")
    return re.findall(r"^\| `([^`]+)` \| (.+) \| (.+) \|$", text, re.MULTILINE)


def test_the_page_explains_every_code_once_in_order_and_no_other() -> None:
    assert [code for code, _, _ in documented()] == [code.value for code in Code]


def test_each_row_says_what_it_means_and_what_to_do_in_sentences() -> None:
    rows = documented()
    assert rows
    assert [code for code, meaning, fix in rows if not (meaning.endswith(".") and fix.endswith("."))] == []


@pytest.mark.parametrize("code", Code)
def test_codes_are_named_as_they_are_written(code: Code) -> None:
    assert code.value == code.name.lower().replace("_", "-")


@pytest.mark.parametrize("code", list(Code))
def test_a_code_is_raised_somewhere(code: Code) -> None:
    sources = [path for folder in ("apps", "cxr_monai", "scripts") for path in (REPOSITORY / folder).rglob("*.py")]
    using = [path for path in sources if path.name != "errors.py" and f"Code.{code.name}" in path.read_text("utf-8")]
    assert using


@pytest.mark.parametrize(
    ("fix", "where", "text"),
    [
        (None, None, "it is wrong."),
        ("Do this.", None, "it is wrong. Do this."),
        (None, "a.png", "a.png: it is wrong."),
        ("Do this.", Path("folder") / "a.png", f"{Path('folder') / 'a.png'}: it is wrong. Do this."),
    ],
)
def test_text_is_place_message_and_fix(fix: str | None, where: str | Path | None, text: str) -> None:
    assert str(CxrError(Code.USAGE, "it is wrong.", fix=fix, where=where)) == text


def test_place_may_be_filled_in_later() -> None:
    error = RadiographError(Code.RADIOGRAPH_EMPTY, "the file is empty.")
    error.where = "b.png"
    assert str(error) == "b.png: the file is empty."


def test_a_code_may_be_given_as_text_but_must_exist() -> None:
    assert CxrError("usage", "m.").code is Code.USAGE  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no-such-code"):
        CxrError("no-such-code", "m.")  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
def test_pickling_keeps_kind_code_message_fix_and_place(kind: type[CxrError]) -> None:
    error = kind(Code.SPLIT_INVALID, "it is wrong.", fix="Do this.", where=Path("a.csv"))
    error.where = "b.csv"  # as readers fill it in
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert (copy.code, copy.message, copy.fix, copy.where) == (Code.SPLIT_INVALID, "it is wrong.", "Do this.", "b.csv")
    assert str(copy) == "b.csv: it is wrong. Do this."


def test_ours_is_found_behind_what_others_wrapped_around_it() -> None:
    inner = ManifestError(Code.PATIENT_LEAK, "m.")

    def instantiate() -> None:
        try:
            try:
                raise inner
            except ManifestError as error:
                raise RuntimeError("transform failed") from error
        except RuntimeError:
            raise ValueError("instantiation failed")  # noqa: B904 -- an implicit context must be followed too

    with pytest.raises(ValueError, match="instantiation failed") as outer:
        instantiate()
    assert ours(outer.value) is inner
    assert ours(inner) is inner


def test_ours_prefers_the_named_cause_and_finds_none_where_there_is_none() -> None:
    cause, context = CxrError(Code.USAGE, "cause."), CxrError(Code.USAGE, "context.")
    outer = RuntimeError()
    outer.__cause__, outer.__context__ = cause, context
    assert ours(outer) is cause
    assert ours(RuntimeError("alone")) is None
    assert ours(None) is None
