"""Counts with their nouns."""

import ast
import re
from pathlib import Path

import pytest

import cxr_monai
from cxr_monai.plurals import agreeing, be, counted, have, out_of, plural, was

LIBRARY = Path(cxr_monai.__file__).parent


@pytest.mark.parametrize(
    ("number", "noun", "text"),
    [
        (0, "image", "0 images"), (1, "image", "1 image"), (1.0, "patient", "1 patient"), (2, "patient", "2 patients"),
        (1200, "study", "1,200 studies"), (3, "day", "3 days"), (2, "class", "2 classes"), (2, "box", "2 boxes"),
        (2, "batch", "2 batches"), (4, "epoch", "4 epochs"), (21, "boxed case", "21 boxed cases"),
    ],
)  # fmt: skip
def test_counts_with_their_nouns(number: float, noun: str, text: str) -> None:
    assert counted(number, noun) == text


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [(14400, 17447, "14,400 of 17,447 images"), (0, 1, "0 of 1 image"), (1, 2, "1 of 2 images")],
)
def test_parts_of_counts(part: int, whole: int, text: str) -> None:
    assert out_of(part, whole, "image") == text


NO_PART = {
    ("report/pages/evaluation_page.py", "also"), ("attribution/gallery.py", "image"),
    ("report/external_tables.py", "whole(value(row, 'positives'))"),  # it has commas
}  # fmt: skip


def is_counted(node: ast.expr) -> bool:
    return isinstance(node, ast.FormattedValue) and ast.unparse(node.value).startswith("counted(")


def parts_of_counts(source: str) -> list[str]:
    """Return what stands, without commas, before ``of`` and a count."""
    found = []
    for node in ast.walk(ast.parse(source)):
        values = node.values if isinstance(node, ast.JoinedStr) else []
        for part, between, whole in zip(values, values[1:], values[2:], strict=False):
            joined = isinstance(between, ast.Constant) and between.value in (" of ", " of the ", " of its ")
            plain = isinstance(part, ast.FormattedValue) and part.format_spec is None and not is_counted(part)
            if joined and plain and is_counted(whole):
                found.append(ast.unparse(part.value))  # type: ignore[attr-defined]
    return found


@pytest.mark.parametrize("name", sorted(path.relative_to(LIBRARY).as_posix() for path in LIBRARY.rglob("*.py")))
def test_a_part_has_commas_as_its_whole_has(name: str) -> None:
    """``14400 of 17,447 images``: one number with a comma, one without."""
    found = parts_of_counts((LIBRARY / name).read_text("utf-8"))
    assert [part for part in found if (name, part) not in NO_PART] == [], "write it with cxr_monai.plurals.out_of"


@pytest.mark.parametrize(
    "text", ["f'{a} of {counted(b, c)}'", "f'{a} of ' f'{counted(b, c)}'", "f'{a} of its {counted(b, c)}'"]
)
def test_no_such_part_is_overlooked(text: str) -> None:
    assert parts_of_counts(text) == ["a"]


@pytest.mark.parametrize(
    "text", ["f'{a:,} of {counted(b, c)}'", "f'{counted(a, d)} of {counted(b, c)}'", "f'{a} of {b}'"]
)
def test_other_parts_are_none(text: str) -> None:
    assert parts_of_counts(text) == []


def test_verbs_agree() -> None:
    assert (be(1), be(0), be(2), have(1), have(3)) == ("is", "are", "are", "has", "have")
    assert plural("category") == "categories"


NOUNS = (
    "image", "patient", "file", "row", "finding", "epoch", "case", "box", "study", "picture", "map", "training",
    "event", "label", "radiograph", "problem", "batch", "fold", "variant", "network", "prediction", "score",
    "cell", "report", "pair", "byte", "pixel", "bundle", "output", "channel", "tensor", "identifier", "entry",
    "folder", "place", "rule", "question", "seed", "frame", "column", "core", "character", "cohort", "record",
    "film", "age", "sex", "value",
)  # fmt: skip
COUNT = re.compile(rf"(?:%d|%s|%i|\0) (?:([a-z-]+) )?({'|'.join(map(plural, NOUNS))})\b")
NO_ADJECTIVE = {
    "of", "and", "or", "to", "in", "on", "with", "is", "are", "has", "have", "reads", "holds", "means", "explains",
    "takes", "fit", "fits", "by", "for", "beside", "from", "that", "the",
}  # fmt: skip
# what is no number, or never 1
NEVER_ONE = {
    ("report/pages/map_pages.py", "few"), ("evaluation/groups.py", "amount"), ("evaluation/per_study.py", "pronoun"),
    ("report/metric_tables.py", "count_of(promised)"),
    ("report/words.py", "_of_hundred(share)"), ("studies/compare.py", "plan.folds"),
    ("report/summary.py", "'no' if row['group'] == 'none' else row['group']"),
    ("training/preflight.py", "list(logits.shape[1:])"),
    ("training/mlflow_names.py", "len(text)"),
    ("data/lung_masks.py", "mask.shape[1]"), ("data/lung_masks.py", "self.width"), ("workflows/shortcuts.py", "size"),
    # as many independent patients as weights leave: 1.4, say
    ("evaluation/reweighting.py", "size"),
    ("evaluation/drop_causes.py", "effective_patients(sites.there.patients, weighed.weights)"),
    ("report/external_words.py", "over"),  # one has a sentence of its own
    ("training/settings.py", "len(part.table)"),  # what a training is known by: never another text
}  # fmt: skip


def counts(source: str) -> list[tuple[str, int, str]]:
    """Return what is counted in the texts of a source without agreeing with its noun: what, line, the words."""
    found = []
    for node in ast.walk(ast.parse(source)):
        parts: list[ast.expr] = node.values if isinstance(node, ast.JoinedStr) else []
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            parts = [node]
        for before, part in zip([None, *parts], parts, strict=False):
            if not isinstance(part, ast.Constant) or not isinstance(part.value, str):
                continue
            quoted = isinstance(before, ast.FormattedValue) and before.conversion == ord("r")  # what a user gave
            value = before.value if isinstance(before, ast.FormattedValue) and not quoted else None
            text = ("\0" if value is not None and not constant(value) else "") + part.value
            for match in COUNT.finditer(text):
                if match[1] in NO_ADJECTIVE or (match[0][0] != "\0" and not match[0].startswith(("%d", "%i"))):
                    continue
                what = ast.unparse(value) if match[0][0] == "\0" and value is not None else "%d"
                found.append((what, node.lineno, match[0].strip("\0 ")))
    return found


AGREEING = ("counted", "out_of", "be", "have", "was", "agreeing")


def constant(value: ast.expr) -> bool:
    """A limit of the program, such as ``FEWEST`` or ``words.FEW``; or what agrees already."""
    if isinstance(value, ast.Call) and ast.unparse(value.func) in AGREEING:
        return True
    name = value.attr if isinstance(value, ast.Attribute) else value.id if isinstance(value, ast.Name) else ""
    return name.isupper()


@pytest.mark.parametrize("name", sorted(path.relative_to(LIBRARY).as_posix() for path in LIBRARY.rglob("*.py")))
def test_no_sentence_says_one_images(name: str) -> None:
    wrong = [
        f"line {line}: {{{what}}} {words}"
        for what, line, words in counts((LIBRARY / name).read_text("utf-8"))
        if (name, what) not in NEVER_ONE
    ]
    assert wrong == [], "write it with cxr_monai.plurals.counted"


def test_every_exception_is_still_needed() -> None:
    there = {(name, what) for name, _ in NEVER_ONE for what, *_ in counts((LIBRARY / name).read_text("utf-8"))}
    assert there >= NEVER_ONE


@pytest.mark.parametrize(
    "source",
    [
        "f'{n} images'", "f'{n:,} images are left out'", "f'{len(table):,.0f} boxed cases'", "f'all {n} studies.'",
        "f'{a} of {len(b):,} patients'", "f'{n:>9,} images  '", "log('%d images: %s', n, path)", "'%d of the %d files'",
        "f'{x.f(1)} held-out images'", "f'a {b}' f'{n} boxes'",
    ],
)  # fmt: skip
def test_no_such_count_is_overlooked(source: str) -> None:
    assert len(counts(source)) == 1


@pytest.mark.parametrize(
    "source",
    ["f'{counted(n, \"image\")} are'", "f'at least {FEW} patients'", "f'{words.FEW:,} images'", "f'{name} of images'",
     "'%s images'", "f'{n} imagesets'", "f'{part} and images'"],
)  # fmt: skip
def test_what_cannot_be_one_is_no_such_count(source: str) -> None:
    assert counts(source) == []


@pytest.mark.parametrize(("verb", "one"), [("repeat", "repeats"), ("differ", "differs"), ("stand", "stands")])
def test_other_verbs(verb: str, one: str) -> None:
    assert (agreeing(1, verb), agreeing(0, verb), agreeing(2, verb)) == (one, verb, verb)
    assert (was(1), was(2)) == ("was", "were")
