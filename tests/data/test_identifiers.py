"""Identifiers that may be one patient's are told from those that are not."""

import pandas as pd
import pytest

from cxr_monai.data.identifiers import alike, alike_note


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("7", "07", True),
        ("7", "007", True),
        ("7", "7.0", True),
        ("07", "7.00", True),
        ("P7", "p07", True),
        ("P 7", "P7", True),
        ("0", "000", True),
        ("7", "70", False),
        ("7", "17", False),
        ("P7", "Q7", False),
        ("1.2.840.10", "1.2.840.1", False),
        ("7.5", "7.50", False),
        ("A-7", "A7", False),
    ],
)
def test_two_identifiers(first: str, second: str, same: bool) -> None:
    assert alike(pd.Series([first, second, first])) == ([[first, second]] if same else [])


def test_one_source_alone_and_said_once() -> None:
    patients, sources = pd.Series(["7", "07", "7", "9"]), pd.Series(["a", "b", "b", "a"])
    assert alike(patients, sources) == [["07", "7"]]
    (note,) = alike_note(patients, sources)
    assert note.startswith(
        "2 patient identifiers differ from another by zeros, blanks or capitals alone ('07' and '7')"
    )
    assert "'07'" not in alike_note(patients, sources, show_examples=False)[0]
    assert alike_note(pd.Series(["7", "8"])) == []
