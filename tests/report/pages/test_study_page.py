"""A study's page and picture: every number of the tables, whatever is missing, and nothing from anywhere else."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cxr_monai.report.cells import Table
from cxr_monai.report.evaluation_rows import records
from cxr_monai.report.pages.study_page import (
    auroc_by_variant_table,
    difference_forest,
    finding_forest,
    published_tables,
    study_sentences,
    variants_table,
    write_study_page,
)
from cxr_monai.report.words import DASH, MINUS
from tests.report.pages.test_evaluation_page import Page

NAN = float("nan")
ODD = 'a<b>&"c" $x$ 胸'


def findings() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "finding": ["Effusion", "Pleural_Thickening", "Hernia", "mean"],
            "positives": [1200, 30, 0, 1230],
            "base": [0.80, 0.70, NAN, 0.75],
            "focal": [0.83, 0.68, NAN, 0.755],
            "cosine": [0.90, 0.80, NAN, 0.85],
            "broken": [NAN] * 4,
        }
    )


def comparison() -> pd.DataFrame:
    columns = ["variant", "mean_auroc", "difference", "low", "high", "p_holm", "seconds", "image_passes"]
    rows = [
        ("base", 0.75, NAN, NAN, NAN, NAN, 3661.0, 15680),
        ("focal", 0.755, 0.005, -0.01, 0.02, 0.512, 45.0, 15680),
        ("cosine", 0.85, 0.1, 0.08, 0.12, 0.0002, 45.0, 12000),
        ("broken", NAN, NAN, NAN, NAN, NAN, NAN, NAN),
    ]
    return pd.DataFrame(rows, columns=columns)


PUBLISHED = pd.DataFrame(
    [("base", "arXiv 1711.05225", "Effusion", 0.86), ("base", "arXiv 1711.05225", "Edema", 0.88)],
    columns=["variant", "source", "finding", "auroc"],
)


def written(folder: Path, **other: object) -> Page:
    content = {"title": "losses", "question": "Which?", "findings": findings(), "comparison": comparison()}
    content |= {"published": None, "notes": ["Judged on the test part."]}
    page = write_study_page(folder, **content | other)  # type: ignore[arg-type]
    assert page == folder / "study.html"
    return Page(page.read_text(encoding="utf-8"))


def bars(page: Page) -> int:
    return sum(attributes.get("class") == "bar" for attributes in page.all("svg"))


def texts(table: Table) -> list[list[str]]:
    return [[cell.text for cell in row] for row in table.rows]


def test_the_diarys_table_is_shaded_by_the_difference_to_the_baseline() -> None:
    table = auroc_by_variant_table(findings(), records(comparison()), "base")
    assert table.heads == ("Finding", "Labels", "base", "focal", "cosine", "broken")
    assert texts(table) == [
        ["Effusion", "1,200", "0.800", "0.830", "0.900", DASH],
        ["Pleural thickening", "30", "0.700", "0.680", "0.800", DASH],
        ["Hernia", "0", DASH, DASH, DASH, DASH],
        ["Mean", "1,230", "0.750", "0.755", "0.850", DASH],
    ]
    shares = [cell.share for cell in table.rows[0]]
    assert shares == [None, None, None, pytest.approx(0.6), 1.0, None]
    assert table.rows[1][3].share == pytest.approx(-0.4)
    assert [cell.share for cell in table.rows[2]] == [None] * 6


def test_differences_and_costs() -> None:
    table = variants_table(records(comparison()), "base", 0.95)
    assert table.heads == ("Variant", "Mean AUROC", "Minus base", "p (Holm)", "Time", "Image passes")
    assert texts(table) == [
        ["base", "0.750", "baseline", "", "1 h 1 min", "15,680"],
        ["focal", "0.755", "+0.005", "0.51", "45 s", "15,680"],
        ["cosine", "0.850", "+0.100", "< 0.001", "45 s", "12,000"],
        ["broken", DASH, DASH, DASH, DASH, DASH],
    ]
    assert table.rows[1][2].small == (f"{MINUS}0.010 to +0.020",)
    assert [row[2].strong for row in table.rows] == [False, False, True, False]


def test_what_is_said() -> None:
    assert study_sentences(records(comparison()), "base", 0.95) == [
        "Not distinguishable from base: focal.",
        "Better than base: cosine.",
        "No result: broken.",
        "The variants were not trained on equally many images (12,000 to 15,680 image passes): a difference may be one "
        "of effort.",
    ]
    worse = comparison().head(2).assign(low=[NAN, -0.02], high=[NAN, -0.01])
    assert study_sentences(records(worse), "base", 0.95) == ["Worse than base: focal."]
    few = comparison().head(2).assign(low=NAN, high=NAN)
    assert study_sentences(records(few), "base", 0.95) == ["Not to be compared with base: focal."]


def test_the_forest_has_every_variant_and_the_baseline_no_bar() -> None:
    forest = difference_forest(records(comparison()), "base", 0.95)
    assert forest is not None
    assert [(row.label, row.count, row.note, row.strong) for row in forest.rows] == [
        ("base", "0.750", "baseline", False),
        ("focal", "0.755", "", False),
        ("cosine", "0.850", "", True),
        ("broken", DASH, "no result", False),
    ]
    assert (forest.rows[1].low, forest.rows[1].value, forest.rows[1].high) == (-0.01, 0.005, 0.02)
    assert (forest.x.low, forest.x.high) == (-0.12, 0.12)


def test_one_variant_alone_has_its_findings_drawn() -> None:
    forest = finding_forest(findings(), "focal")
    assert forest is not None
    assert [(row.label, row.note) for row in forest.rows] == [
        ("Effusion", ""), ("Pleural thickening", ""), ("Hernia", "no value"), ("Mean", ""),
    ]  # fmt: skip
    assert finding_forest(findings(), "broken") is None
    assert finding_forest(findings(), "not there") is None


def test_published_figures_stand_beside_ours() -> None:
    (table,) = published_tables(PUBLISHED, findings())
    assert texts(table) == [["Effusion", "0.800", "0.860", f"{MINUS}0.060"], ["Edema", DASH, "0.880", DASH]]
    assert "arXiv 1711.05225" in table.notes[0]


def test_the_page_is_one_file_with_everything_in_it(tmp_path: Path) -> None:
    page = written(tmp_path, published=PUBLISHED)
    assert [name for _, attributes in page.elements for name in attributes if name in ("src", "href")] == []
    assert bars(page) == 2  # the baseline and what failed have none
    for text in ("losses", "Which?", "Judged on the test part.", "0.830", "+0.005", "< 0.001", "1 h 1 min", "0.860"):
        assert text in page.text, text
    with Image.open(tmp_path / "study.png") as picture:
        picture.load()
        assert min(picture.size) >= 200
        assert sum(picture.convert("L").histogram()[:250]) > 0.005 * picture.size[0] * picture.size[1]


def test_names_are_shown_as_they_are(tmp_path: Path) -> None:
    named = {"base": ODD}
    page = written(
        tmp_path,
        findings=findings().rename(columns=named).replace({"finding": {"Hernia": "<i>Hernia"}}),
        comparison=comparison().replace({"variant": named}),
        notes=["<script>1</script>"],
        title=ODD,
    )
    assert page.text.count(ODD) >= 4
    assert "<script>1</script>" in page.text
    assert "<i>Hernia" in page.text


@pytest.mark.parametrize("count", [1, 2, 12])
def test_one_to_twelve_variants(tmp_path: Path, count: int) -> None:
    names = [f"variant number {at}" for at in range(count)]
    table = findings()[["finding", "positives"]].assign(**{name: np.array([0.8, 0.7, NAN, 0.75]) for name in names})
    made = pd.DataFrame({"variant": names, "mean_auroc": 0.75, "difference": 0.0, "low": -0.01, "high": 0.01})
    made = made.assign(seconds=10.0, image_passes=100).astype({"difference": float})
    made.loc[0, ["difference", "low", "high"]] = NAN
    page = written(tmp_path, findings=table, comparison=made)
    assert bars(page) == (3 if count == 1 else count - 1)
    assert all(name in page.text for name in names)
    assert (tmp_path / "study.png").is_file()


def test_another_baseline_than_the_first(tmp_path: Path) -> None:
    made = comparison().iloc[[1, 0, 2]]
    page = written(tmp_path, comparison=made, baseline="base")
    assert "Not distinguishable from base: focal." in page.text
    assert bars(page) == 2


def test_where_nothing_has_a_result_there_is_no_picture_not_even_an_old_one(tmp_path: Path) -> None:
    (tmp_path / "study.png").write_bytes(b"old")
    failed = comparison().assign(mean_auroc=NAN, difference=NAN, low=NAN, high=NAN)
    page = written(tmp_path, comparison=failed, findings=findings()[["finding", "positives"]])
    assert "There is nothing to draw: no variant has a result." in page.text
    assert "No result: base, focal, cosine, broken." in page.text
    assert not (tmp_path / "study.png").exists()
