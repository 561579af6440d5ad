"""Causes, prevalences and metadata over the cells of a matrix."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from cxr_monai.evaluation.bootstrap import Intervals
from cxr_monai.evaluation.drop_causes import DROP, LABEL_DEFINITION, VIEW_MIX, drop_causes
from cxr_monai.evaluation.metrics_table import MEAN
from cxr_monai.evaluation.sample import Sample
from cxr_monai.evaluation.transfer import EXTERNAL, HOME, TransferCell, transfer_tables
from cxr_monai.evaluation.transfer_causes import (
    causes_of_cells,
    metadata_of_places,
    shifts_of_cells,
    within_views_of_cells,
)
from cxr_monai.evaluation.two_sites import TwoSites

DRAWS = Intervals(replicates=60)


def place(name: str, bedside: float, findings: tuple[str, ...] = ("Mass", "Edema"), patients: int = 400) -> Sample:
    """The network reads standing patients well and bedside films hardly; ``bedside`` is their share."""
    random = np.random.default_rng(sum(map(ord, name)))
    names = [f"{name}/{at}" for at in range(patients)]
    ap = random.random(patients) < bedside
    labels = (random.random((patients, len(findings))) < 0.3).astype(float)
    scores = norm.cdf(random.normal(size=labels.shape) + labels * np.where(ap, 0.3, 2.5)[:, None] - 1)
    table = pd.DataFrame({
        "image": names, "patient_id": names, "view": np.where(ap, "AP", "PA"), "source": name,
        "age": random.integers(20, 90, patients).astype(float), "sex": random.choice(["F", "M"], patients),
    })  # fmt: skip
    return Sample.of(table, findings, scores, labels)


@pytest.fixture(scope="module")
def cells() -> list[TransferCell]:
    rare = place("o", 0.5)
    labels = rare.labels.copy()
    labels[5:, 1] = 0  # Edema of two patients at most
    return [
        TransferCell("a", "m", HOME, place("m", 0.2)),
        TransferCell("a", "n", EXTERNAL, place("n", 0.9, ("Mass", "Edema", "Hernia"))),
        TransferCell("a", "o", EXTERNAL, Sample.of(rare.table, rare.findings, rare.scores, labels)),
        TransferCell("b", "n", EXTERNAL, place("n", 0.9, ("Mass",))),
        TransferCell("a", "p", EXTERNAL, None, "no finding is known to both"),
    ]


def test_causes_are_those_of_each_pair_and_name_the_planted_one(cells: list[TransferCell]) -> None:
    table = causes_of_cells(cells, DRAWS)
    assert table[["trained_on", "home", "tested_on"]].drop_duplicates().to_numpy().tolist() == [
        ["a", "m", "n"], ["a", "m", "o"],
    ]  # fmt: skip
    assert table[table["tested_on"] == "o"]["finding"].unique().tolist() == ["Mass", MEAN]  # Edema: too few patients
    home, there = (cell.sample for cell in cells[:2])
    assert home is not None
    assert there is not None
    alone = drop_causes(TwoSites.of(home, there.of_findings(["Mass", "Edema"]), DRAWS))
    pd.testing.assert_frame_equal(
        table[table["tested_on"] == "n"][list(alone.columns)].reset_index(drop=True), alone, check_exact=True
    )
    means = table[table["finding"] == MEAN].set_index(["tested_on", "cause"])
    assert means.loc[("n", VIEW_MIX), "low"] > 0
    drops = transfer_tables(cells, DRAWS).drops.set_index(["trained_on", "tested_on", "finding"])
    of_matrix = tuple(drops.loc[("a", "n", MEAN), ["drop", "low", "high"]])
    assert tuple(means.loc[("n", DROP), ["part", "low", "high"]]) == pytest.approx(of_matrix, abs=1e-12)


def test_labels_of_homes_kind_have_their_part(cells: list[TransferCell]) -> None:
    def relabelled(home: TransferCell, there: TransferCell, sample: Sample) -> Sample | None:
        assert (home.tested_on, sample.findings) == ("m", ("Mass", "Edema") if there.tested_on == "n" else ("Mass",))
        return sample if there.tested_on == "n" else None  # the same labels: the definition makes nothing

    table = causes_of_cells(cells, DRAWS, relabelled)
    parts = table[(table["cause"] == LABEL_DEFINITION) & (table["finding"] == "Mass")].set_index("tested_on")["part"]
    assert parts["n"] == 0
    assert np.isnan(parts["o"])


def test_prevalences_metadata_and_views(cells: list[TransferCell]) -> None:
    shifts = shifts_of_cells(cells, DRAWS)
    assert shifts[["tested_on", "finding"]].to_numpy().tolist() == [["n", "Mass"], ["n", "Edema"], ["o", "Mass"]]
    sizes = {"n": pd.Series(["1024x1024", "512x512"] * 200, index=[f"n/{at}" for at in range(400)])}
    metadata = metadata_of_places(cells, DRAWS, sizes)
    assert metadata["tested_on"].unique().tolist() == ["m", "n", "o"]
    assert set(metadata[metadata["tested_on"] == "n"]["finding"]) == {"Mass", "Edema", "Hernia"}  # a's, not b's
    assert set(metadata[metadata["attribute"] == "image size"]["tested_on"]) == {"n"}
    views = within_views_of_cells(cells, DRAWS).set_index(["trained_on", "tested_on", "finding", "group"])
    assert views.loc[("a", "n", "Mass", "PA"), "auroc"] > 0.85 > views.loc[("a", "n", "Mass", "AP"), "auroc"]
    assert ("b", "n", "Mass", "within") in views.index


def test_nothing_without_a_home(cells: list[TransferCell]) -> None:
    assert causes_of_cells(cells[1:], DRAWS).empty
    assert shifts_of_cells(cells[1:], DRAWS).empty
