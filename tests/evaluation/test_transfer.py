"""The matrix trained on x tested on, and the drops between its cells."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom, norm

from cxr_monai.errors import Code, EvaluationError
from cxr_monai.evaluation.auroc import auroc
from cxr_monai.evaluation.bootstrap import Intervals
from cxr_monai.evaluation.metrics_table import MEAN
from cxr_monai.evaluation.sample import Sample
from cxr_monai.evaluation.transfer import (
    EXTERNAL,
    HIGHER,
    HOME,
    LOWER,
    NO_EVIDENCE,
    NO_VALUE,
    TransferCell,
    transfer_tables,
)
from tests.evaluation.drops import drop_between

DRAWS = Intervals(replicates=200)


def hospital(gain: float, name: str, findings: tuple[str, ...] = ("Mass", "Edema"), patients: int = 300) -> Sample:
    """Two images a patient; a present finding moves its score by ``gain`` standard deviations."""
    random = np.random.default_rng(sum(map(ord, name)))
    patient = np.repeat(np.arange(patients), 2)
    labels = (random.random((2 * patients, len(findings))) < 0.3).astype(float)
    scores = norm.cdf(random.normal(size=labels.shape) + gain * labels - 1)
    table = pd.DataFrame({"image": [f"{name}/{at}" for at in range(len(patient))], "patient_id": patient.astype(str)})
    return Sample.of(table, findings, scores, labels)


def cells_of_two_hospitals() -> list[TransferCell]:
    """Each network is good at home and poor elsewhere."""
    gains = {("a", "M"): 2.0, ("a", "N"): 0.6, ("b", "M"): 0.8, ("b", "N"): 2.0}
    return [
        TransferCell(*pair, HOME if gain == 2 else EXTERNAL, hospital(gain, "".join(pair)))
        for pair, gain in gains.items()
    ]


def test_the_diagonal_is_better_and_the_drops_are_seen() -> None:
    transfer = transfer_tables(cells_of_two_hospitals(), DRAWS)
    for finding in ("Mass", "Edema", MEAN):
        wide = transfer.wide(finding)
        assert wide.loc["a", "M"] > wide.loc["a", "N"]
        assert wide.loc["b", "N"] > wide.loc["b", "M"]
    assert set(transfer.drops["evidence"]) == {LOWER}
    drops = transfer.drops.set_index(["trained_on", "tested_on", "finding"])
    row = drops.loc["a", "N", "Mass"]
    assert row["home"] == "M"
    assert row["drop"] == pytest.approx(row["home_auroc"] - row["there_auroc"])
    assert 0 < row["low"] < row["drop"] < row["high"]


def test_figures_are_those_of_the_sample() -> None:
    cells = cells_of_two_hospitals()
    matrix = transfer_tables(cells, DRAWS).matrix.set_index(["trained_on", "tested_on", "finding"])
    sample = cells[1].sample
    assert sample is not None
    expected = [auroc(*sample.column(name)) for name in sample.findings]
    assert matrix.loc[[("a", "N", "Mass"), ("a", "N", "Edema")], "auroc"].tolist() == expected
    mean = matrix.loc["a", "N", MEAN]
    assert mean["auroc"] == pytest.approx(np.mean(expected))
    assert (mean["findings"], mean["images"], mean["patients"]) == (2, 600, 300)
    assert mean["positives"] == (sample.labels == 1).any(1).sum()


def test_swapping_rows_and_columns_transposes_the_matrix() -> None:
    cells = cells_of_two_hospitals()
    swapped = [replace(cell, trained_on=cell.tested_on, tested_on=cell.trained_on) for cell in cells]
    first, second = transfer_tables(cells, DRAWS), transfer_tables(swapped[::-1], DRAWS)
    pd.testing.assert_frame_equal(
        first.wide(), second.wide().T.loc[["a", "b"], ["M", "N"]], check_names=False, check_exact=True
    )
    ends = ["low", "high"]
    one = first.matrix.set_index(["trained_on", "tested_on", "finding"])[ends].sort_index()
    other = second.matrix.set_index(["tested_on", "trained_on", "finding"])[ends].sort_index()
    np.testing.assert_array_equal(one.to_numpy(), other.to_numpy())


def test_empty_cells_say_why_and_means_are_over_what_both_know() -> None:
    home = hospital(1.5, "home", ("Mass", "Edema", "Hernia"))
    there = hospital(1.5, "there", ("Mass", "Hernia"))
    hernia = there.findings.index("Hernia")
    labels = there.labels.copy()
    labels[:, hernia] = 0
    there = replace(there, labels=labels)
    cells = [
        TransferCell("a", "M", HOME, home, labelled=home.findings, predicts=home.findings),
        TransferCell("a", "N", EXTERNAL, there, labelled=there.findings, predicts=home.findings),
        TransferCell("a", "O", EXTERNAL, None, "no finding is known to both"),
        TransferCell("b", "M", EXTERNAL, there.take(np.arange(19)), labelled=home.findings, predicts=there.findings),
    ]
    transfer = transfer_tables(cells, DRAWS)
    matrix = transfer.matrix.set_index(["trained_on", "tested_on", "finding"])
    assert matrix.loc["a", "N", "Edema"]["why"] == "its label is not known here"
    assert matrix.loc["a", "N", "Hernia"]["why"] == "none of the 600 images with a known label has it"
    assert matrix.loc["a", "O", "Mass"]["why"] == matrix.loc["a", "O", MEAN]["why"] == "no finding is known to both"
    assert matrix.loc["b", "M", "Edema"]["why"] == "the network does not predict it"
    assert matrix.loc["a", "M", MEAN]["findings"] == 3
    assert matrix.loc["a", "N", MEAN]["findings"] == 1
    assert matrix["auroc"].isna().tolist() == (matrix["why"] != "").tolist()
    assert matrix.loc["b", "M", "Mass"]["auroc"] > 0.5
    assert matrix.loc["b", "M", MEAN]["why"] == "no finding has 10 patients with it and 10 without"
    drops = transfer.drops.set_index(["tested_on", "finding"])
    assert "O" not in drops.index.get_level_values(0)
    mean = drops.loc["N", MEAN]
    assert mean["findings"] == 1  # Mass alone has a value at both places, so the mean compares it with itself
    assert mean["home_auroc"] == matrix.loc["a", "M", "Mass"]["auroc"]
    assert drops.loc["N", "Hernia"]["evidence"] == NO_VALUE
    assert math.isnan(drops.loc["N", "Hernia"]["low"])


def test_alike_hospitals_give_no_evidence_and_a_better_one_is_higher() -> None:
    first, second, better = hospital(1.2, "first"), hospital(1.2, "second"), hospital(2.5, "better")
    assert set(drop_between(first, second, DRAWS)["evidence"]) == {NO_EVIDENCE}
    assert set(drop_between(first, better, DRAWS)["evidence"]) == {HIGHER}


def test_a_network_without_a_home_has_no_drops() -> None:
    cells = [replace(cell, relation=EXTERNAL) for cell in cells_of_two_hospitals()]
    transfer = transfer_tables(cells, DRAWS)
    assert transfer.drops.empty
    assert list(transfer.drops.columns)[:3] == ["trained_on", "home", "tested_on"]


def test_a_level_that_is_none_is_refused() -> None:
    with pytest.raises(EvaluationError) as error:
        transfer_tables(cells_of_two_hospitals(), Intervals(level=95))
    assert error.value.code == Code.EVALUATION_INVALID


def test_the_interval_of_a_drop_holds_the_true_drop() -> None:
    """The bounds are those within which 1,999 of 2,000 correct programs stay, as in ``test_coverage``."""
    random, sets, held = np.random.default_rng(0), 300, 0
    truth = norm.cdf(1.5 / math.sqrt(2)) - norm.cdf(1.0 / math.sqrt(2))
    for number in range(sets):
        samples = []
        for gain, positives, images in ((1.5, 40, 400), (1.0, 25, 250)):
            labels = (np.arange(images) < positives).astype(float)[:, None]
            scores = norm.cdf(random.normal(size=labels.shape) + gain * labels)
            names = [f"{number}-{gain}-{at}" for at in range(images)]
            samples.append(Sample.of(pd.DataFrame({"image": names, "patient_id": names}), ["Mass"], scores, labels))
        row = drop_between(*samples, Intervals(199)).iloc[0]
        held += row["low"] <= truth <= row["high"]
    low, high = binom.ppf(0.00025, sets, 0.93), binom.ppf(0.99975, sets, 0.97)
    assert low <= held <= high
