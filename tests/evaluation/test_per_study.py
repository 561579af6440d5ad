"""Images joined to studies, by hand."""

import numpy as np
import pandas as pd
import pytest

from cxr_monai.errors import EvaluationError
from cxr_monai.evaluation.per_study import HOW, by_study, study_notes
from cxr_monai.evaluation.sample import Sample

NAN = np.nan


def sample(rows: list[tuple[str, str, str, str, float, float]]) -> Sample:
    """One finding; a row is image, patient, study, view, score, label."""
    table = pd.DataFrame([row[:4] for row in rows], columns=["image", "patient_id", "study_id", "view"], dtype="str")
    table = table.assign(age=NAN, sex="", source="local", split="test")
    return Sample.of(table, ["Mass"], np.array([[row[4]] for row in rows]), np.array([[row[5]] for row in rows]))


FOUR = sample(
    [
        ("d.png", "2", "s", "LATERAL", 0.9, 0),
        ("b.png", "1", "s", "AP", 0.2, NAN),
        ("a.png", "1", "s", "PA", 0.4, 0),
        ("c.png", "1", "s", "LATERAL", 0.9, NAN),
        ("e.png", "1", "t", "AP", 0.1, 1),
        ("f.png", "1", "t", "AP", 0.3, NAN),
        ("g.png", "1", "t", "LATERAL", 0.8, 0),
        ("h.png", "2", "", "PA", 0.6, 1),
        ("i.png", "2", "", "PA", 0.7, 0),
    ]
)


@pytest.mark.parametrize(
    ("how", "scores"),
    [
        ("max", [0.9, 0.9, 0.8, 0.6, 0.7]),
        ("mean", [0.9, (0.2 + 0.4 + 0.9) / 3, (0.1 + 0.3 + 0.8) / 3, 0.6, 0.7]),
        # PA before AP; the mean of two AP; what there is; images without a study alone
        ("frontal", [0.9, 0.4, (0.1 + 0.3) / 2, 0.6, 0.7]),
    ],
)
def test_by_hand(how: str, scores: list[float]) -> None:
    studies = by_study(FOUR, how)
    np.testing.assert_allclose(studies.scores[:, 0], scores, rtol=0, atol=1e-15)
    # one study id of two patients is two studies; absent beside unknown is unknown; one presence is enough
    np.testing.assert_array_equal(studies.labels[:, 0], [0, NAN, 1, 1, 0])
    assert studies.table["image"].tolist() == ["d.png", "a.png", "e.png", "h.png", "i.png"]
    assert studies.table["view"].tolist() == ["LATERAL", "PA", "AP", "PA", "PA"]
    assert studies.table["patient_id"].tolist() == ["2", "1", "1", "2", "2"]
    assert studies.patients.tolist() == [0, 1, 1, 0, 0]
    assert studies.table.index.tolist() == [0, 1, 2, 3, 4]
    assert studies.findings == FOUR.findings


@pytest.mark.parametrize("how", HOW)
def test_the_order_of_images_changes_nothing(how: str) -> None:
    random = np.random.default_rng(0)
    views = random.choice(["PA", "AP", "LATERAL", ""], 60)
    rows = [
        (f"{k}.png", f"{k // 12}", f"{k // 4}", str(views[k]), random.random(), float(k % 3 == 0)) for k in range(60)
    ]
    whole = sample(rows)
    shuffled = whole.take(random.permutation(60))
    columns = [by_study(one, how) for one in (whole, shuffled)]
    tables = [one.table.assign(score=one.scores[:, 0], label=one.labels[:, 0]) for one in columns]
    by_image = [table.sort_values("image", ignore_index=True) for table in tables]
    pd.testing.assert_frame_equal(*by_image, check_exact=True)
    assert len(tables[0]) == 15


@pytest.mark.parametrize("how", HOW)
def test_one_image_a_study_is_the_sample_itself(how: str) -> None:
    alone = FOUR.take(np.array([0, 2, 4, 7, 8]))
    studies = by_study(alone, how)
    pd.testing.assert_frame_equal(studies.table, alone.table)
    np.testing.assert_array_equal(studies.scores, alone.scores)
    np.testing.assert_array_equal(studies.labels, alone.labels)
    np.testing.assert_array_equal(studies.patients, alone.patients)


def test_another_way_is_refused() -> None:
    with pytest.raises(EvaluationError, match=r"'median'.*max, mean, frontal"):
        by_study(FOUR, "median")


def test_notes() -> None:
    assert study_notes(FOUR) == [
        "5 studies of 9 images; 2 studies have more than one image.",
        "2 of the images have no study id and count as a study each.",
        "1 study has no view known to be PA or AP: 'frontal' takes the mean of its images.",
    ]
    assert study_notes(FOUR.take(np.array([1, 4, 7]))) == [
        "3 studies of 3 images; no study has more than one.",
        "Figures by study are therefore those by image.",
        "1 of the images has no study id and counts as a study.",
    ]
