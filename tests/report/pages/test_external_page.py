"""The page of an external validation: everything escaped, figures in words, nothing loaded."""

import math
import re
from dataclasses import replace
from html import unescape
from pathlib import Path

import pandas as pd
import pytest

from cxr_monai.evaluation.external_result import ExternalValidation
from cxr_monai.evaluation.metrics_table import MEAN
from cxr_monai.report.external_tables import drops_forest, matrix_table
from cxr_monai.report.pages.external_page import external_markdown, render_external, write_external_page

ODD = "<b>A&B</b>|x"
MATRIX = ["trained_on", "tested_on", "relation", "finding", "images", "positives", "positive_patients", "patients",
          "findings", "auroc", "low", "high", "why"]  # fmt: skip
DROPS = ["trained_on", "home", "tested_on", "relation", "finding", "findings", "home_auroc", "there_auroc", "drop",
         "low", "high", "evidence"]  # fmt: skip


def validation_of(**more: pd.DataFrame) -> ExternalValidation:
    nan = math.nan
    matrix = pd.DataFrame([
        (ODD, "M", "home", "Mass", 100, 20, 18, 90, 1, 0.91, 0.85, 0.96, ""),
        (ODD, "M", "home", MEAN, 100, 20, 18, 90, 1, 0.91, 0.85, 0.96, ""),
        (ODD, "N", "external", "Mass", 80, 10, 9, 70, 1, 0.4, 0.3, 0.52, ""),
        (ODD, "N", "external", MEAN, 80, 10, 9, 70, 1, 0.4, 0.3, 0.52, ""),
        (ODD, "O", "external", "Mass", 0, 0, 0, 0, 0, nan, nan, nan, "its label is not known here"),
        (ODD, "O", "external", MEAN, 0, 0, 0, 0, 0, nan, nan, nan, "no finding is known to both"),
    ], columns=MATRIX)  # fmt: skip
    drops = pd.DataFrame([
        (ODD, "M", "N", "external", name, 1, 0.91, 0.4, 0.51, 0.36, 0.66, "lower there") for name in ("Mass", MEAN)
    ], columns=DROPS)  # fmt: skip
    networks = pd.DataFrame([{"network": ODD, "digest": "0" * 64, "calibrated": True, "learned_from": "nih"}])
    sites = pd.DataFrame([{"manifest": name, "images": 1234, "settings": "uncertain: unknown"} for name in "MNO"])
    return ExternalValidation(
        matrix, drops, 0.95, 1000, networks=networks, sites=sites, notes=("Mind <i>this</i>.",), **more
    )


def shown(page: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", page)).split())


def test_the_page_says_everything_in_words_and_escapes_it() -> None:
    page = render_external(validation_of())
    assert "<b>A" not in page
    assert "<i>this" not in page
    text = shown(page)
    assert f"{ODD} in the patients of N" in text
    assert f"What {ODD} is worth in these patients can't be said: no finding is known to both." in text
    assert "0.910 (0.850 to 0.960) home tells apart well 1 finding" in text
    assert "0.400 (0.300 to 0.520) external no better than guessing" in text
    assert f"{ODD} on O: no finding is known to both." in text
    assert "Mass: lower there" in text
    assert "uncertain: unknown" in text
    assert "0" * 64 in text
    assert "1,234" in text
    assert "default-src 'none'" in page
    assert not re.search(r"(src|href)=\"(?!#)", page)


def test_the_matrix_is_shaded_by_its_distance_from_guessing() -> None:
    cells = matrix_table(validation_of(), "Mass").rows[0]
    assert [cell.share for cell in cells[1:]] == [pytest.approx(0.82), pytest.approx(-0.2), None]
    assert [cell.strong for cell in cells[1:]] == [True, False, False]  # bold is home
    assert cells[1].small == ("(0.850 to 0.960)", "home", "tells apart well", "20 of 100 films")


def test_drops_stand_around_zero_with_their_words() -> None:
    nan = math.nan
    validation = validation_of()
    without = pd.DataFrame(
        [(ODD, "M", "N", "external", "Hernia", 1, 0.9, nan, nan, nan, nan, "no value")], columns=DROPS
    )
    forest = drops_forest(replace(validation, drops=pd.concat([validation.drops, without])))  # Hernia is left out
    assert forest is not None
    assert forest.reference == 0
    assert [(row.label, row.strong, row.count) for row in forest.rows] == [
        (f"{ODD}: M minus N", False, ""), ("Mean of 1 finding: lower there", True, "10"),
        ("Mass: lower there", True, "10"),
    ]  # fmt: skip
    empty = validation_of()
    assert drops_forest(ExternalValidation(empty.matrix, empty.drops.iloc[:0], 0.95, 1000)) is None


def test_causes_and_what_needs_no_picture_have_their_tables() -> None:
    place = {"trained_on": ODD, "tested_on": "N", "finding": MEAN}
    causes = pd.DataFrame([
        {**place, "cause": "view mix", "part": 0.04, "low": 0.01, "high": 0.07, "evidence": "makes it lower"},
        {**place, "cause": "rest", "part": math.nan, "low": math.nan, "high": math.nan, "evidence": "unknown"},
    ])  # fmt: skip
    ends = {"auroc": 0.707, "auroc_low": 0.69, "auroc_high": 0.72}
    alone = pd.DataFrame([{"tested_on": "N", "finding": "Mass", "attribute": "view", "note": "", **ends}])
    within = pd.DataFrame([
        {**place, "finding": "Mass", "group": group, "images": 80, "positives": 10, **ends}
        for group in ("pooled", "PA", "within")
    ])  # fmt: skip
    text = shown(render_external(validation_of(causes=causes, metadata_only=alone, within_view=within)))
    assert "View mix Mean" in text
    assert "+0.040 +0.010 to +0.070" in text
    assert "makes it lower" in text
    assert "0.707 (0.690 to 0.720)" in text
    assert "Pooled PA Within views" in text


def test_each_row_tells_its_change_and_its_rule() -> None:
    place = {"trained_on": ODD, "tested_on": "N", "finding": "Mass"}
    figures = dict.fromkeys(("auroc", "auroc_changed", "difference"), 0.5)
    effects = pd.DataFrame([{**place, **figures, "change": change} for change in ("without the lungs", "blurred")])
    verdicts = pd.DataFrame([{**place, "flagged": False, "sentence": "No shortcut is seen."}])
    points = pd.DataFrame([{**place, "rule": "youden", "holds": "yes", "why": ""}])
    page = validation_of(shortcuts=effects, shortcut_verdicts=verdicts, operating_points=points)
    text = shown(render_external(page))
    assert f"Mass without the lungs {ODD} on N" in text
    assert f"Mass blurred {ODD} on N" in text
    assert f"Mass youden {ODD} on N" in text


def test_markdown(tmp_path: Path) -> None:
    text = external_markdown(validation_of())
    assert "| tested on N |" in text
    assert "+0.510 (+0.360 to +0.660) | lower there |" in text
    assert "<b>" not in text
    page = write_external_page(validation_of(), tmp_path)
    assert page.name == "report.html"
    assert (tmp_path / "report.md").read_text() == text
