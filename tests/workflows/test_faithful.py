"""Figures of methods on a network of which the right answer is known, and the verdict on a method that ignores it."""

import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import nn

from cxr_monai.attribution.faithfulness_tables import (
    DEPENDS,
    EXPLAINS_NOTHING,
    FaithfulnessOptions,
    measure_faithfulness,
)
from cxr_monai.attribution.methods import MAP_METHODS, MapMethod
from cxr_monai.attribution.subject import Subject
from cxr_monai.errors import Code, EvaluationError
from cxr_monai.evaluation.bootstrap import Intervals
from cxr_monai.workflows.faithful import write_faithfulness
from tests.attribution.test_subject import Planted, cases, subject_of

OPTIONS = FaithfulnessOptions(
    ("cam", "the image"), steps=4, controls=2, samples=2, stages=2, draws=3, intervals=Intervals(50)
)


@pytest.fixture
def subject(monkeypatch: pytest.MonkeyPatch) -> Subject:
    """The planted network; one more method, which shows the image whatever the network."""

    def shown(network: nn.Module, images: torch.Tensor, channels: Sequence[int], *_: object) -> torch.Tensor:
        return images.expand(-1, len(channels), -1, -1)

    monkeypatch.setitem(MAP_METHODS, "the image", MapMethod(shown, "a test", "", "", ""))
    return subject_of(Planted())


def spots(count: int = 7) -> torch.Tensor:
    made = torch.rand(count, 1, 32, 32, generator=torch.Generator().manual_seed(0)) * 0.1
    for number in range(count):
        made[number, 0, 3 * number : 3 * number + 8, 8:16] = 1
    return made


def test_a_method_that_ignores_the_network_explains_nothing(subject: Subject, tmp_path: Path) -> None:
    images = spots()
    chosen = cases(images)
    patients = pd.Series(chosen["image"].to_numpy(), index=chosen["image"])
    made = measure_faithfulness(subject, images, chosen, patients, OPTIONS, ["first"])
    table = made.methods.set_index("method")
    assert table["verdict"].to_dict() == {"cam": DEPENDS, "the image": EXPLAINS_NOTHING}
    assert table.loc["the image", "survival"] == pytest.approx(1)
    for method in OPTIONS.methods:  # the worst of all stages counts
        of = made.stages[made.stages["method"] == method]
        assert table.loc[method, "survival"] == of["rank_correlation"].max()
        assert of["random_parts"].tolist() == [1, 2]
    assert table["empty"].eq(0).all()
    assert (table["deletion_gain_low"] > 0).all()
    assert made.notes[0] == "first"
    assert [note for note in made.notes if "explains nothing" in note and note.startswith("the image")]
    written = write_faithfulness(made, tmp_path)
    names = "faithfulness.csv curves.csv faithfulness_cases.csv randomisation.csv curves.png faithfulness.html"
    assert [path.name for path in written] == names.split()
    page = (tmp_path / "faithfulness.html").read_text()
    assert "the image: taking its strongest places away changes the probability more than at random places" in page
    assert "It explains nothing, as its maps stay" in page
    assert "It depends on the weights" in page
    assert not re.search(r"""(?:src|href)=["']https?:|<script""", page)
    assert "0.png" not in page


def test_few_patients_and_no_stages(subject: Subject, tmp_path: Path) -> None:
    images = spots(3)
    chosen = cases(images)
    patients = pd.Series("one", index=chosen["image"])
    made = measure_faithfulness(
        subject,
        images,
        chosen,
        patients,
        FaithfulnessOptions(steps=2, controls=1, samples=0, stages=0, intervals=Intervals(20)),
    )
    assert made.stages is None
    assert "verdict" not in made.methods
    assert made.methods["patients"].tolist() == [1]
    assert made.methods["deletion_low"].isna().all()
    assert any("no interval" in note for note in made.notes)
    page = write_faithfulness(made, tmp_path)[-1].read_text()
    assert "Verdict" not in page
    assert "is of too few patients to compare with random places" in page
    assert not (tmp_path / "randomisation.csv").exists()


def test_nothing_speaks_for_any(subject: Subject) -> None:
    images = spots(2)
    chosen = cases(images, 2)
    patients = pd.Series(chosen["image"].to_numpy(), index=chosen["image"])
    with pytest.raises(EvaluationError, match="all 2 maps are 0 everywhere") as caught:
        measure_faithfulness(subject, images, chosen, patients, FaithfulnessOptions(intervals=Intervals(20)))
    assert caught.value.code == Code.MAPS_INVALID
