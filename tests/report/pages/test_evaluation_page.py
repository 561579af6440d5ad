"""The page: one safe file, what it says, what it leaves out, and that it can be read by everyone."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cxr_monai.errors import Code, StorageError
from cxr_monai.evaluation.assessment import Evaluation
from cxr_monai.report.auroc_table import auroc_markdown
from cxr_monai.report.pages.evaluation_page import finding_cards, render_report, write_report
from cxr_monai.report.words import DASH, NBSP
from tests.report.synthetic_evaluation import ODD, make_evaluation, make_sample

VOID = {"meta", "link", "br", "img", "input", "hr"}
NAN = float("nan")


class Page(HTMLParser):
    """A parsed page; raises where tags are not balanced."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.stack: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.rows: list[list[str]] = []
        self._texts: list[str] = []
        self.feed(source)
        self.close()
        assert self.stack == []
        self.text = " ".join(" ".join(self._texts).replace(NBSP, " ").split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.stack.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th") and self.rows:
            self.rows[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.stack, f"</{tag}> closes nothing"
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self.stack:
            return
        self._texts.append(data)
        if self.rows and self.rows[-1] and ("td" in self.stack or "th" in self.stack):
            self.rows[-1][-1] = " ".join(f"{self.rows[-1][-1]} {data}".split())

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    return make_evaluation()


@pytest.fixture(scope="module")
def source(evaluation: Evaluation) -> str:
    return render_report(evaluation)


@pytest.fixture(scope="module")
def page(source: str) -> Page:
    return Page(source)


@pytest.fixture(scope="module")
def style(source: str) -> str:
    return source[source.index("<style>") : source.index("</style>")]


def test_it_is_written_whole_with_its_table_beside_it(evaluation: Evaluation, source: str, tmp_path: Path) -> None:
    path = write_report(evaluation, tmp_path / "new")
    assert path == tmp_path / "new" / "report.html"
    assert path.read_text(encoding="utf-8") == source
    assert sorted(file.name for file in path.parent.iterdir()) == ["report.html", "report.md"]
    assert (path.parent / "report.md").read_text(encoding="utf-8") == auroc_markdown(evaluation)


def test_a_folder_that_cannot_be_written_is_a_named_error(evaluation: Evaluation, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError) as caught:
        write_report(evaluation, tmp_path / "file")
    assert caught.value.code == Code.WRITE_FAILED


def test_fourteen_findings_stay_small() -> None:
    sample = make_sample(150, tuple(f"Finding_{at}" for at in range(14)))
    assert len(render_report(make_evaluation(sample)).encode()) < 1_000_000


def test_nothing_is_fetched_and_nothing_runs(page: Page, source: str) -> None:
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "link", "iframe", "object", "embed", "img", "form", "base"}
    for tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on") or name in ("src", "srcset", "xlink:href")], (
            tag
        )
        assert attributes.get("href", "#").startswith("#")
    assert "url(" not in source
    assert "@import" not in source
    policy = next(meta["content"] for meta in page.all("meta") if "http-equiv" in meta)
    assert policy.startswith("default-src 'none'")


def test_text_from_data_is_escaped(page: Page, source: str) -> None:
    assert ODD in page.text  # shown as it is ...
    assert "<b>&" not in source  # ... and never markup
    assert "120 images of <the> split 'test' have no prediction & are left out." in page.text
    assert "<the>" not in source
    assert "predictions <1>.csv" in page.text
    assert "one & <first>" in page.text
    for attributes in page.all("svg"):
        assert set(attributes) <= {"viewbox", "role", "aria-label", "class", "preserveaspectratio", "aria-hidden"}


def test_links_and_names_fit(page: Page) -> None:
    names = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(names) == len(set(names))
    targets = {attributes["href"][1:] for attributes in page.all("a")}
    assert targets <= set(names)
    assert {"short", "physicians", "reviewers", "points", "subgroups", "comparison", "site", "how"} <= targets
    labelled = {attributes["aria-labelledby"] for _, attributes in page.elements if "aria-labelledby" in attributes}
    assert labelled <= set(names)


def test_it_can_be_read_without_eyes(page: Page) -> None:
    assert page.all("html")[0]["lang"] == "en"
    assert page.all("meta")[1]["content"] == "width=device-width, initial-scale=1"
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    for attributes in page.all("svg"):
        assert attributes.get("aria-label") or attributes.get("aria-hidden") == "true"
    for attributes in page.all("th"):
        assert attributes["scope"] in ("col", "row", "rowgroup")
    assert len(page.all("caption")) == len(page.all("table"))
    boxes = [attributes for attributes in page.all("div") if attributes.get("class") == "scroll"]
    assert len(boxes) == len(page.all("table"))  # a table scrolls in its own box, which a keyboard reaches
    assert all(box["tabindex"] == "0" and box["aria-label"] for box in boxes)


def luminance(colour: str) -> float:
    digits = colour.lstrip("#")
    digits = "".join(2 * digit for digit in digits) if len(digits) == 3 else digits
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    parts = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


@pytest.mark.parametrize("scheme", [0, 1, 2], ids=["light", "dark", "print"])
@pytest.mark.parametrize(
    ("front", "least"),
    [("ink", 7), ("soft", 4.5), ("first", 4.5), ("second", 4), ("third", 3), ("fourth", 3), ("quiet", 3)],
)
def test_contrast(style: str, scheme: int, front: str, least: float) -> None:
    # WCAG 2.2: 4.5 for text, 3 for drawings and large or bold text
    blocks = [dict(re.findall(r"--(\w+):(#\w+)", block)) for block in re.findall(r":root \{(.*?)\}", style, re.S)]
    assert len(blocks) == 3
    colours = blocks[scheme]
    for back in ("paper", "card", "warn"):
        light, dark = sorted((luminance(colours[front]), luminance(colours[back])), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= least


def test_the_first_screen_says_what_it_can_and_cannot_do(page: Page) -> None:
    texts = ["What it can do", "What it can't do", "AUROC by finding", "Mind this", "What 'has the label' means"]
    order = [page.text.index(text) for text in [*texts, "For reviewers Intervals are at 95 %"]]
    assert order == sorted(order)
    assert "It can't rule a finding out." in page.text


def test_a_physicians_card_speaks_in_counts() -> None:
    evaluation = make_evaluation()
    row = evaluation.operating_points.iloc[0].to_dict() | {
        "finding": "Effusion", "rule": "youden", "ppv": 0.81, "ppv_patient_low": 0.78, "ppv_patient_high": 0.84,
        "sensitivity": 0.88, "sensitivity_patient_low": 0.85, "sensitivity_patient_high": 0.90,
    }  # fmt: skip
    card = finding_cards(replace(evaluation, operating_points=pd.DataFrame([row])))[0]
    expected = "Of 100 images like these in which the model reports effusion, 81 have the label"
    assert card.right == f"{expected} (95{NBSP}% interval 78 to 84)."
    assert card.missed == "Of 100 images with the label, it misses 12 (10 to 15)."
    assert (card.right_dots, card.found_dots) == (81, 88)
    assert card.elsewhere.startswith("Where 2 of 100 images have it (the prevalence stated for this report), ")
    page = Page(render_report(replace(evaluation, operating_points=pd.DataFrame([row]))))
    assert card.right.replace(NBSP, " ") in page.text
    assert card.missed in page.text


def test_findings_without_a_value_have_a_dash_and_a_sentence(evaluation: Evaluation, page: Page) -> None:
    by_title = {card.title: card for card in finding_cards(evaluation)}
    assert by_title["No case"].warning == "No case has no value: none of the 1,200 images with a known label has it."
    assert by_title["Unknown all"].right == ""
    assert by_title["Hernia"].warning == "This rests on 3 patients with the label: a rough hint, no more."
    rows = {row[0]: row for row in page.rows if len(row) == 7 and row[0] in ("No case", "Unknown all")}
    assert rows["No case"][1:3] == [DASH, DASH]
    assert rows["Unknown all"][1:5] == [DASH, DASH, DASH, "0"]
    assert "Unknown all has no value: its label is unknown for every image." in page.text
    assert not re.search(r"\bnan\b|\bNone\b(?! of)|\binf\b", page.text)


def test_a_finding_without_a_threshold_says_so(evaluation: Evaluation) -> None:
    points = evaluation.operating_points
    made = replace(evaluation, operating_points=points[points["finding"] != "COPD"])
    card = next(card for card in finding_cards(made) if card.title == "COPD")
    assert card.warning == "No threshold was chosen for it, so the model reports nothing."
    assert "No threshold was chosen for COPD, No case and Unknown all" in Page(render_report(made)).text


def test_what_labels_are_and_that_ppv_depends_on_prevalence(page: Page) -> None:
    assert "a program read each radiograph's written report" in page.text
    assert "How often a report is right depends on how many have the finding" in page.text
    # Bayes by hand for effusion at 1 of 100, from the page's own sensitivity and specificity
    table = make_evaluation().operating_points.iloc[0]
    found, alarms = table["sensitivity"] * 0.01, (1 - table["specificity"]) * 0.99
    row = next(row for row in page.rows if row[0] == "Effusion" and len(row) == 5 and "of 100" in row[2])
    assert row[2] == f"{100 * found / (found + alarms):.0f} of 100"


def test_both_intervals_stand_below_a_figure(evaluation: Evaluation, page: Page) -> None:
    first = evaluation.findings.iloc[0]
    row = next(row for row in page.rows if row[0] == "Effusion" and len(row) == 7)
    assert row[1] == (
        f"{first['auroc']:.3f} images {first['auroc_low']:.3f} to {first['auroc_high']:.3f} "
        f"patients {first['auroc_patient_low']:.3f} to {first['auroc_patient_high']:.3f}"
    )


def test_operating_points_calibration_site_comparison_and_book_are_there(evaluation: Evaluation, page: Page) -> None:
    first = evaluation.operating_points.iloc[0]
    row = next(row for row in page.rows if row[0] == "Effusion" and row[1] == f"{first['threshold']:.4f}")
    assert row[2].endswith(
        f"{first['tp']:.0f} right, {first['fp']:.0f} false {first['fn']:.0f} missed, {first['tn']:.0f} passed over"
    )
    for rule in ("sensitivity=0.9", "cost=10"):
        assert rule in page.text
    states = {tuple(row[:2]) for row in page.rows if len(row) == 10}
    assert {("Effusion", "as predicted"), ("Effusion", "calibrated")} <= states
    assert "Of 15 thresholds, 8 hold, 4 don't and 3 rest on too few images to say." in page.text
    assert ["Effusion", "0.959", "0.989"] in [row[:3] for row in page.rows]
    assert "promised to hold everything present in 90 of 100 images, held it in 91 of 100" in page.text
    assert "fedcba9876543210" in page.text
    assert "split: name NIH's official split" in page.text
    assert "predicted but not judged 12" in page.text


def test_gaps_are_shaded_bold_where_sure_and_dotted_where_too_few(page: Page, source: str) -> None:
    rows = [
        row for row in page.rows if len(row) == 7 and row[0] in ("Effusion", "Hernia", "Mean") and "/" not in row[1]
    ]
    gaps = [row for row in rows if row[-1] in ("\u22120.06", "\u22120.18", "·")]
    # AUROC of three rows, sensitivity of two: there is no mean of sensitivities; a source alone has no column
    assert [row[0] for row in gaps] == ["Effusion", "Hernia", "Mean", "Effusion", "Hernia"]
    assert gaps[0][1:3] == ["0.00", "0.00"]
    assert gaps[1][1:] == ["·"] * 6
    assert '<td class="below" style="--share:0.40"><strong>\u22120.06</strong></td>' in source  # 0.06 of 0.15


def test_what_is_not_there_has_no_section(evaluation: Evaluation) -> None:
    empty = pd.DataFrame()
    bare = replace(
        evaluation, operating_points=empty, calibration=empty, reliability=empty, conformal=empty, risk_coverage=empty,
        subgroups=empty, studies=empty, prevalence=empty, means=empty, site=None, comparison=None,
        comparison_names=None, curves={}, notes=(), book={},
    )  # fmt: skip
    page = Page(render_report(bare))
    names = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
    assert names == {"short", "physicians", "reviewers", "findings", "pictures", "book", "how"}
    assert "There are no operating points" in page.text
    assert "no split: nothing says that these patients were kept out of training" in page.text
    targets = {attributes["href"][1:] for attributes in page.all("a")}
    assert targets <= names


def test_nothing_at_all_can_be_judged() -> None:
    sample = make_sample(20, ("Effusion",))
    sample = replace(sample, labels=sample.labels * NAN)
    evaluation = make_evaluation(
        sample, points=False, conformal=False, subgroups=False, comparison=False, site=False, calibrated=False
    )
    page = Page(render_report(evaluation))
    assert "These images show nothing that it can do" in page.text
    assert "Effusion has no value: its label is unknown for every image." in page.text


def test_the_diarys_table(evaluation: Evaluation) -> None:
    lines = auroc_markdown(evaluation).splitlines()
    first, mean = evaluation.findings.iloc[0], evaluation.findings.iloc[-1]
    assert lines[0] == "| Finding | AUROC | 95 % interval, images (DeLong) | 95 % interval, patients | #Labels |"
    assert lines[1] == "| --- | :---: | :---: | :---: | ---: |"
    assert lines[2] == (
        f"| Effusion | {first['auroc']:.3f} | {first['auroc_low']:.3f} to {first['auroc_high']:.3f} | "
        f"{first['auroc_patient_low']:.3f} to {first['auroc_patient_high']:.3f} | {first['positives']} |"
    )
    assert lines[6] == f"| No case | {DASH} | {DASH} | {DASH} | 0 |"
    assert lines[8].startswith('| A&lt;b&gt;&amp;"x" \\$y\\$ \\|z\\| | ')
    assert lines[9].startswith(f"| **Mean** | **{mean['auroc']:.3f}** | **{DASH}** | ")
    assert all(len(re.findall(r"(?<!\\)\|", line)) == 6 for line in lines[:10])
    assert lines[11] == "1,200 images of 400 patients; NIH's official split; labels nih-v2020."
    assert "- No case has no value: none of the 1,200 images with a known label has it." in lines


DIGEST = "0123456789ab"


@pytest.mark.parametrize(
    ("book", "name"),
    [
        ({"bundle": DIGEST + "f" * 52, "bundle_name": "Chest X-ray, version 2"}, f"Chest X-ray, version 2 ({DIGEST})"),
        ({"bundle": DIGEST + "f" * 52}, f"a bundle ({DIGEST})"),
        ({"bundle": None}, "predictions <1>.csv"),
        ({"bundle": None, "predictions": None}, "predictions"),
    ],
)
def test_a_model_is_named_so_that_people_can_read_it(book: dict[str, str | None], name: str) -> None:
    page = Page(render_report(make_evaluation(make_sample(20), book=book)))
    assert f"What {name} is worth" in page.text
    assert f"{name}, judged on 60 chest radiographs of 20 patients (NIH's official split)" in page.text


@pytest.mark.parametrize(
    ("version", "drawn", "of", "split"),
    [
        ("phantom-v1", 60, "60 synthetic images of 20 invented patients", "the split that was drawn with the phantoms"),
        ("local", 1, "60 chest radiographs, 1 of them synthetic, of 20 patients", "the split of two lists"),
        ("local", 0, "60 chest radiographs of 20 patients", "the split of two lists"),
    ],
)
def test_drawn_images_and_a_hospitals_own_are_not_called_nihs(version: str, drawn: int, of: str, split: str) -> None:
    book = {"label_version": version, "synthetic_images": drawn, "split": {"scheme": "official"}, "fitted_on": None}
    page = Page(render_report(make_evaluation(make_sample(20), book=book)))
    assert f"judged on {of} ({split}" in page.text
    assert not re.search(r"\bNIH\b|mined|written report and", page.text)
    assert ("a program drew each image with its findings" in page.text) is (version == "phantom-v1")


def test_one_image_of_one_patient_is_singular() -> None:
    sample = make_sample(1)
    evaluation = replace(make_evaluation(make_sample(20)), sample=sample.take(np.arange(1)))
    assert "1 chest radiograph of 1 patient (" in Page(render_report(evaluation)).text
    assert "\n1 image of 1 patient; " in auroc_markdown(evaluation)
