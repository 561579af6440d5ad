"""What the report says of the gate: sentences that fit the figures, and one where no film was judged."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cxr_monai.evaluation.assessment import Evaluation
from cxr_monai.evaluation.bootstrap import Intervals
from cxr_monai.evaluation.gate_effects import gate_tables
from cxr_monai.evaluation.gate_table import ACCEPT, REFUSE, REVIEW, JudgedFilms
from cxr_monai.report.gate_section import GateSection, gate_section
from cxr_monai.report.pages.evaluation_page import render_report
from cxr_monai.report.words import NBSP
from tests.evaluation.test_gate_effects import judged, verdicts_of
from tests.report.synthetic_evaluation import make_evaluation

MASS = np.array([1.0] * 60 + [0.0] * 240)


@pytest.fixture(scope="module")
def plain() -> Evaluation:
    return make_evaluation()


def with_gate(evaluation: Evaluation, films: JudgedFilms, **about: Any) -> Evaluation:
    tables = gate_tables(films, {"Mass": 0.5}, Intervals(replicates=200))
    return replace(
        evaluation, gate_codes=tables.codes, gate_findings=tables.findings, gate_groups=tables.groups,
        gate_figures=tables.figures, book={**evaluation.book, "gate": about},
    )  # fmt: skip


def said(section: GateSection) -> str:
    return " ".join([*section.harms, *section.sentences]).replace(NBSP, " ")


def test_without_a_gate_it_says_so(plain: Evaluation) -> None:
    section = gate_section(plain)
    assert (section.harms, section.chart, section.tables) == ((), None, ())
    assert said(section).startswith("No film was judged by a gate: the figures are of all films that could be read")
    old = replace(plain, book={**plain.book, "gate": {"mode": "refuse", "missing": "this bundle has no gate."}})
    assert "by a gate (this bundle has no gate): the figures" in said(gate_section(old))
    page = render_report(plain)
    assert 'id="gate"' not in page
    assert page.count("No film was judged by a gate") == 1


def test_a_gate_that_refuses_the_sick_stands_on_top(plain: Evaluation) -> None:
    evaluation = with_gate(plain, judged(MASS, verdicts_of(MASS, 12, 4)), **{"refused without a prediction": 16})
    section = gate_section(evaluation)
    text = said(section)
    assert "The gate refuses films with mass more often: 12 of 60 are refused (20.0 %), of films without 4" in text
    assert "It refuses 16 (5.3 %; 95 % interval 3.3 % to 8.5 %): blurred 16." in text
    assert "16 refused films are without a prediction, so every figure of this report is of the films that" in text
    assert "No evidence that films" not in text
    assert "less often" not in text
    assert section.chart is not None
    by_label = {(row.label, row.count): row for row in section.chart.rows}
    assert by_label[("with it", "60")].strong
    assert not by_label[("without it", "240")].strong
    assert by_label[("All films", "300")].value == pytest.approx(16 / 300)
    page = render_report(evaluation).replace(NBSP, " ")
    assert "Does it refuse the sick?" in page
    assert '<div class="warn"><ul><li>The gate refuses films with mass more often' in page


def test_no_difference_is_no_harm_and_few_are_called_few(plain: Evaluation) -> None:
    text = said(gate_section(with_gate(plain, judged(MASS, verdicts_of(MASS, 1, 4)))))
    assert "No evidence that films with mass are refused more, or less, often than films without." in text
    assert "Only 5 films are refused: a gate that refuses some findings more often could look the same here." in text
    assert not gate_section(with_gate(plain, judged(MASS, verdicts_of(MASS, 1, 4)))).harms
    text = said(gate_section(with_gate(plain, judged(MASS, verdicts_of(MASS, 0, 60)))))
    assert "Films with mass are refused less often than films without." in text


def test_figures_without_the_refused_films(plain: Evaluation) -> None:
    random = np.random.default_rng(0)
    scores = np.clip(0.3 * MASS + random.random(300) * 0.7, 0, 1)
    verdicts = np.where(random.random(300) < 0.05, REFUSE, ACCEPT)
    evaluation = with_gate(plain, judged(MASS, verdicts, scores))
    text = said(gate_section(evaluation))
    mean = evaluation.gate_figures.set_index(["finding", "figure"]).loc[("mean", "auroc")]
    assert f"the mean AUROC is {mean['without']:.3f} instead of {mean['all']:.3f}" in text
    assert "no evidence of a difference." in text
    assert "No evidence that the AUROC of a finding, or its operating point, changes" in text
    verdicts = np.where(np.argsort(np.argsort(np.where(MASS == 1, scores, 2))) < 20, REFUSE, ACCEPT)
    assert "Higher without the refused films: AUROC of mass (+0." in said(
        gate_section(with_gate(plain, judged(MASS, verdicts, scores)))
    )


def test_a_gate_that_refuses_nothing(plain: Evaluation) -> None:
    scores = np.linspace(0, 1, 300)
    section = gate_section(with_gate(plain, judged(MASS, np.where(np.arange(300) < 6, REVIEW, ACCEPT), scores)))
    text = said(section)
    assert "It refuses 0 (0 %; 95 % interval 0 % to 1.3 %). It wants a person to look at 6 further films first." in text
    assert "No film is refused, so no figure changes." in text
    assert "No evidence" not in text
    assert section.chart is None
