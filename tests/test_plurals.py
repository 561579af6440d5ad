"""Counts with their nouns."""

import pytest

from cxr_monai.plurals import be, counted, have, plural


@pytest.mark.parametrize(
    ("number", "noun", "text"),
    [
        (0, "image", "0 images"), (1, "image", "1 image"), (1.0, "patient", "1 patient"), (2, "patient", "2 patients"),
        (1200, "study", "1,200 studies"), (3, "day", "3 days"), (2, "class", "2 classes"), (2, "box", "2 boxes"),
        (2, "batch", "2 batches"), (21, "boxed case", "21 boxed cases"),
    ],
)  # fmt: skip
def test_counts_with_their_nouns(number: float, noun: str, text: str) -> None:
    assert counted(number, noun) == text


def test_verbs_agree() -> None:
    assert (be(1), be(0), be(2), have(1), have(3)) == ("is", "are", "are", "has", "have")
    assert plural("category") == "categories"
