"""What reading said of films: each kind once, with its count and examples."""

import json

import pytest

from cxr_monai.data.notes import FilmNotes


def test_each_kind_stands_once_with_its_count() -> None:
    notes = FilmNotes()
    assert not notes
    assert notes.lines(3) == []
    notes.add("a", ["a lateral view"])
    notes.add("b", ["nearly black", "a lateral view", "nearly black"])
    notes.add("c", [])
    notes.add("d", ["a lateral view"])
    assert notes.counts() == {"a lateral view": 3, "nearly black": 1}
    assert notes.lines(1200) == [
        "3 of 1,200 images (such as a): a lateral view",
        "1 of 1,200 images (b): nearly black",
    ]
    assert notes.lines(1200, examples=3)[0] == "3 of 1,200 images (a, b, d): a lateral view"


@pytest.mark.parametrize(("count", "line"), [(1, "1 of 1 image (0): odd"), (4, "4 of 4 images (such as 0, 1, 2): odd")])
def test_counts_go_with_their_nouns(count: int, line: str) -> None:
    notes = FilmNotes()
    for number in range(count):
        notes.add(str(number), ["odd"])
    assert notes.lines(count, examples=3) == [line]


def test_parts_add_up_through_json() -> None:
    first, second, both = FilmNotes(), FilmNotes(), FilmNotes()
    first.add("a", ["x"])
    second.add("b", ["x", "y"])
    for part in (first, second):
        both.add_all(json.loads(json.dumps(part.to_json())))
    for number in range(10):
        first.add(str(number), ["x"])
    assert first.to_json() == {"x": [11, ["a", "0", "1"]]}  # of a million films three are remembered
    assert both.lines(2, examples=2) == ["2 of 2 images (a, b): x", "1 of 2 images (b): y"]
