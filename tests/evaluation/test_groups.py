"""Who is in which group, by hand; and when there are too few to say anything."""

import numpy as np
import pandas as pd
import pytest

from cxr_monai.errors import EvaluationError
from cxr_monai.evaluation.comparison import holm
from cxr_monai.evaluation.groups import ATTRIBUTES, corrected, group_notes, groups, judge, ordered
from cxr_monai.evaluation.sample import Sample

NAN = np.nan
COLUMNS = ["image", "patient_id", "study_id", "view", "age", "sex", "source"]


def sample(*rows: tuple) -> Sample:
    table = pd.DataFrame(rows, columns=COLUMNS).astype({name: "str" for name in COLUMNS if name != "age"})
    return Sample.of(table, ["Mass"], np.full((len(rows), 1), 0.5), np.zeros((len(rows), 1)))


MIXED = sample(
    ("a.png", "1", "1_000", "PA", 17.0, "F", "nih"),
    ("b.png", "1", "1_003", "AP", 18.0, "F", "nih"),
    ("c.png", "2", "2_004", "LATERAL", 39.0, "M", "nih"),
    ("d.png", "2", "2_9", "", 40.0, "M", "nih"),
    ("e.png", "2", "2_10", "PA", 64.0, "M", "nih"),
    ("f.png", "3_1", "3_1_001", "PA", 65.0, "O", "nih"),  # an underscore in the patient's id
    ("g.png", "3", "3_1_001", "AP", NAN, "", "nih"),  # the id is of another patient
    ("h.png", "4", "4_001", "AP", 0.0, "M", "local"),  # looks like NIH's, and may be anything
    ("i.png", "5", "", "PA", 120.0, "F", "nih"),
    ("j.png", "5", "5_x", "PA", 50.0, "F", ""),
)


@pytest.mark.parametrize(
    ("attribute", "expected"),
    [
        ("sex", ["F", "F", "M", "M", "M", "O", "", "M", "F", "F"]),
        ("age", ["<18", "18-39", "18-39", "40-64", "40-64", "65+", "", "<18", "65+", "40-64"]),
        ("view", ["PA", "AP", "LATERAL", "", "PA", "PA", "AP", "AP", "PA", "PA"]),
        ("source", ["nih", "nih", "nih", "nih", "nih", "nih", "nih", "local", "nih", ""]),
        ("prior_visits", ["none", "1-3", "4-9", "4-9", "10+", "1-3", "", "", "", ""]),
    ],
)
def test_by_hand(attribute: str, expected: list[str]) -> None:
    found = groups(MIXED, [attribute])
    assert list(found) == [attribute]
    assert found[attribute].tolist() == expected
    assert found[attribute].index.equals(MIXED.table.index)


def test_all_attributes_in_their_order() -> None:
    assert tuple(groups(MIXED)) == ATTRIBUTES
    natural = {name: ordered(name, of) for name, of in groups(MIXED).items()}
    assert natural == {
        "sex": ["F", "M", "O"],
        "age": ["<18", "18-39", "40-64", "65+"],
        "view": ["PA", "AP", "LATERAL"],
        "source": ["local", "nih"],
        "prior_visits": ["none", "1-3", "4-9", "10+"],
    }


def test_earlier_studies_are_counted_in_the_data_set_not_in_the_sample() -> None:
    assert groups(MIXED.take(np.array([4])))["prior_visits"].tolist() == ["10+"]


def test_another_attribute_is_refused() -> None:
    with pytest.raises(EvaluationError, match=r"'height'.*sex, age, view, source, prior_visits"):
        groups(MIXED, ["sex", "height"])


def test_notes() -> None:
    assert group_notes(MIXED) == [
        "The sex of 1 of 10 images is unknown: it is in no group by sex.",
        "The age of 1 of 10 images is unknown: it is in no group by age.",
        "The view of 1 of 10 images is unknown: it is in no group by view.",
        "The source of 1 of 10 images is unknown: it is in no group by source.",
        "The prior visits of 4 of 10 images are unknown (only NIH's study ids, and phantoms', tell the order): they "
        "are in no group by prior visits.",
    ]
    local = sample(*(("a.png", "1", "x", "PA", 50.0, "F", "local"), ("b.png", "2", "y", "AP", 10.0, "M", "local")))
    assert group_notes(local) == [
        "By source there is one group alone, 'local': there is nothing to compare it with.",
        "The prior visits of all images are unknown (only NIH's study ids, and phantoms', tell the order): there are "
        "no groups by prior visits.",
    ]


def test_judge() -> None:
    needed = {"with the finding in the group": np.array([20, 19, 30]), "without it in the group": np.array([20, 1, 0])}
    enough, notes = judge(needed, 20)
    assert enough.tolist() == [True, False, False]
    assert notes == [
        "",
        "too few to say: 19 patients with the finding in the group, 1 patient without it in the group; at least 20 are "
        "needed",
        "too few to say: 0 patients without it in the group; at least 20 are needed",
    ]


def test_holm_over_all_groups_and_once_where_there_are_two() -> None:
    first, second, third = np.array([0.01, NAN]), np.array([0.02, 0.5]), np.array([0.03, 0.4])
    whole = holm(np.concatenate([first, second, third]))
    np.testing.assert_array_equal(np.concatenate(corrected([first, second, third])), whole)
    assert whole[0] == 0.05  # five tests
    one, other = corrected([second, second])
    np.testing.assert_array_equal(one, holm(second))
    np.testing.assert_array_equal(other, one)
    np.testing.assert_array_equal(corrected([first])[0], [0.01, NAN])
