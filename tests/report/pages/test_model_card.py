"""The model card: every figure is the evaluation's, every unknown is called one, and the bundle never changes."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from cxr_monai.attribution.localisation_result import write_localisation
from cxr_monai.bundle.bundle_folder import Bundle
from cxr_monai.bundle.digest import file_digest
from cxr_monai.bundle.ensembling import ensemble_bundle
from cxr_monai.cli import main
from cxr_monai.errors import BundleError, Code, GateError
from cxr_monai.evaluation.assessment import Evaluation
from cxr_monai.evaluation.bootstrap import Intervals
from cxr_monai.evaluation.evaluation_folder import write_evaluation
from cxr_monai.evaluation.fitted import Fitted
from cxr_monai.gate.storage import write_gate
from cxr_monai.report.card_part import NOT_A_DEVICE, card_markdown
from cxr_monai.report.pages.evaluation_page import render_report
from cxr_monai.report.pages.model_card import ASKED, card_parts, check_same, write_card
from cxr_monai.report.words import NBSP
from cxr_monai.sharing.inspection.bundle_inspection import inspect_bundle
from cxr_monai.sharing.package.pack import pack_bundle
from cxr_monai.sharing.trust.lineage import write_lineage
from cxr_monai.workflows.evaluate import EvaluationOptions, evaluate_files
from tests.evaluation.test_gate_effects import judged, verdicts_of
from tests.report.pages.test_evaluation_page import Page
from tests.report.synthetic_evaluation import make_evaluation, make_sample
from tests.report.test_gate_section import MASS
from tests.report.test_gate_section import with_gate as with_gate_judged
from tests.support.bundle_runs import content
from tests.support.gates import gate_of_limit
from tests.support.tiny_bundles import LABELS, tiny_bundle
from tests.workflows.test_localise import localised, made, usual

GATE = "The gate before its answers"
HEADINGS = [
    "The model", "Intended use", "Factors", "Metrics", "Evaluation data", "Training data", GATE, "What it is worth",
    "Lineage", "Ethical considerations", "Limits and recommendations", "What is not known",
]  # fmt: skip


def of_bundle(root: Path, **book: object) -> Evaluation:
    return make_evaluation(make_sample(60, LABELS), book={"bundle": Bundle.open(root).digest, **book})


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    bundle = tiny_bundle(tmp_path_factory.mktemp("bundle") / "bundle", 0)
    fitted = Fitted(dict.fromkeys(LABELS, ()), {}, {}, {}, fitted_on={
        "images": 1234, "patients": 567, "parts": {"val": 1234}, "label_version": "nih-v2020", "bundle": "e" * 64,
    })  # fmt: skip
    fitted.write(bundle / "models" / "calibration.json")
    return bundle


@pytest.fixture(scope="module")
def evaluation(root: Path) -> Evaluation:
    return of_bundle(root)


@pytest.fixture(scope="module")
def text(root: Path, evaluation: Evaluation) -> str:
    bundle = Bundle.open(root)
    return card_markdown(bundle, card_parts(bundle, evaluation))


def answer(root: Path, **answers: object) -> None:
    path = root / "configs" / "metadata.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | answers))


def section(text: str, title: str) -> str:
    return text.partition(f"## {title}\n")[2].partition("\n## ")[0]


def test_headings_are_those_of_model_cards_and_the_first_words_are_a_warning(text: str) -> None:
    assert re.findall(r"^## (.+)$", text, re.M) == HEADINGS
    assert text.startswith(f"# Model card: Chest X-ray, 14 findings, version 0.1.0\n\n**{NOT_A_DEVICE}**\n")
    assert "not a medical device" in NOT_A_DEVICE


def test_figures_are_the_evaluations_with_both_intervals(text: str, evaluation: Evaluation) -> None:
    worth = section(text, "What it is worth")
    for row in evaluation.findings.to_dict(orient="records"):
        (line,) = (line for line in worth.splitlines() if line.startswith((f"| {row['finding']} ", "| **Mean**"))
                   and f"{row['auroc']:.3f}" in line)  # fmt: skip
        assert f"patients {row['auroc_patient_low']:.3f} to {row['auroc_patient_high']:.3f}" in line
        if row["finding"] != "mean":
            assert f"images {row['auroc_low']:.3f} to {row['auroc_high']:.3f}" in line
            assert f"{row['positives']:,}" in line
    assert "**Calibration**" in worth
    assert "**Gaps in AUROC: group minus rest**" in worth
    assert worth.count("At the threshold that") == 1  # one rule of the three
    for table in re.findall(r"(?:^\|.*\n)+", worth, re.M):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1


def test_data_and_what_was_fitted_on_whom(text: str) -> None:
    assert "- **Images:** 180 of 60 patients" in text
    assert "- **Split:** NIH's official split; no patient is in two of its parts" in text
    assert "fitted on 1,234 images of 567 patients (1,234 of 'val'), labels 'nih-v2020'" in text
    assert "NIH ChestX-ray14 (Wang et al." in section(text, "Training data")
    assert "program read each radiograph's written report" in section(text, "Metrics")


def test_what_nobody_said_is_unknown_until_the_authors_answer(
    root: Path, evaluation: Evaluation, tmp_path: Path
) -> None:
    own = tiny_bundle(tmp_path / "bundle", 0)
    before = card_parts(Bundle.open(own), evaluation)
    asked = [lead.rstrip(".").lower() for lead, _ in before[-1].points]
    assert asked[:-1] == [what.lower() for what in ASKED.values()]
    assert asked[-1].startswith("whether its maps point")
    assert dict(before[9].points)["Funding:"] == "unknown"
    answers = {key: f"the answer <{key}> & |more|" for key in ASKED}
    answer(own, **answers)
    opened = Bundle.open(own)
    after = card_parts(opened, evaluation)
    assert [lead for lead, _ in after[-1].points] == [before[-1].points[-1][0]]
    shown = {text for part in after for _, text in part.points}
    assert set(answers.values()) <= shown
    assert r"the answer &lt;funding&gt; &amp; \|more\|" in card_markdown(opened, after)


def test_limits_hold_every_note_of_the_evaluation(text: str) -> None:
    limits = section(text, "Limits and recommendations")
    assert r"120 images of &lt;the&gt; split 'test' have no prediction &amp; are left out." in limits
    assert "It is not tested where you are." in limits
    assert "not where the disease is" in limits


def test_lineage_of_an_ensemble_and_of_a_child(root: Path, evaluation: Evaluation, tmp_path: Path) -> None:
    other = tiny_bundle(tmp_path / "other", 1)
    ensemble = ensemble_bundle([root, other], tmp_path / "ensemble")
    made = {part.title: part for part in card_parts(ensemble, evaluation)}
    assert [text.rpartition(" ")[2] for _, text in made["Lineage"].points] == [
        Bundle.open(member).digest for member in (root, other)
    ]
    assert "DenseNet, the mean of 2 of them" in dict(made["The model"].points)["Network:"]
    write_lineage(other, [root], "cxr-monai finetune", data={"images": 30}, measured={"verdict": "worse"})
    made = {part.title: part for part in card_parts(Bundle.open(other), evaluation)}
    told = dict(made["Lineage"].points)
    assert told.pop("Software:").startswith("cxr-monai ")
    assert told == {
        "Parent:": Bundle.open(root).digest, "Made by:": "cxr-monai finetune", "Data:": "images 30",
        "Measured:": "verdict worse",
    }  # fmt: skip
    assert "No parent is recorded" in card_markdown(Bundle.open(root), card_parts(Bundle.open(root), evaluation))


def test_the_command_writes_a_copy_or_a_file_and_leaves_the_bundle(
    root: Path, evaluation: Evaluation, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = content(root)
    (root / "bundle.sig").write_text("a signature of the bundle without a card")
    write_evaluation(evaluation, tmp_path / "evaluation")
    command = ["bundle", "card", str(root), "--evaluation", str(tmp_path / "evaluation"), "--out"]
    assert main([*command, str(tmp_path / "cards" / "card.md")]) == 0
    assert (tmp_path / "cards" / "card.md").read_text() == text
    assert main([*command, str(tmp_path / "copy")]) == 0
    copied = content(tmp_path / "copy")
    assert set(copied) - set(before) == {"docs/card.md", "metrics.json"}
    assert {name: digest for name, digest in copied.items() if name in before} == before
    assert (tmp_path / "copy" / "docs" / "card.md").read_text() == text
    assert inspect_bundle(tmp_path / "copy").refused == ()
    packed = pack_bundle(tmp_path / "copy", tmp_path / "share")  # complete, and nothing in it looks private
    assert {"docs/card.md", "metrics.json"} <= {file.name for file in packed.contents.files}
    (root / "bundle.sig").unlink()
    assert content(root) == before
    assert main([*command, str(tmp_path / "copy")]) == 2
    assert "output-exists" in capsys.readouterr().err
    assert main([*command, str(root / "inside")]) == 2


def test_figures_of_another_bundle_are_refused(root: Path, evaluation: Evaluation, tmp_path: Path) -> None:
    bundle = Bundle.open(root)
    check_same(bundle, evaluation, "")
    check_same(bundle, replace(evaluation, book={"bundle": "e" * 64}), "")  # before it was calibrated
    for said in ("f" * 64, None):
        write_evaluation(replace(evaluation, book={**evaluation.book, "bundle": said}), tmp_path / "evaluation")
        with pytest.raises(BundleError, match="these figures are of") as caught:
            write_card(root, tmp_path / "evaluation", tmp_path / "copy")
        assert caught.value.code == Code.BUNDLE_DISAGREES
    assert [path.name for path in tmp_path.iterdir()] == ["evaluation"]


def test_without_thresholds_groups_and_calibration_it_says_so(tmp_path: Path) -> None:
    root = tiny_bundle(tmp_path / "bundle", 0)
    evaluation = make_evaluation(
        make_sample(60, LABELS), points=False, subgroups=False, comparison=False, site=False,
        book={"split": None, "bundle": None},
    )  # fmt: skip
    made = card_markdown(Bundle.open(root), card_parts(Bundle.open(root), evaluation))
    assert "There are no thresholds" in made
    assert "No group of patients could be judged by itself" in made
    assert "the bundle is not calibrated" in made
    assert "nothing says that these patients were kept out of training\n" in made


def test_it_tells_which_films_are_meant_and_where_nobody_said(root: Path, tmp_path: Path) -> None:
    bundle = Bundle.open(root)
    films = "ages: 13 years and over; views: PA, AP, AP supine; modalities: CR, DX, DR, RG; devices: any"
    assert f"**Intended films:** {films}\n" in section(card_markdown(bundle, card_parts(bundle)), "Intended use")
    old = tiny_bundle(tmp_path / "old", 0)
    answer(old, intended_films=None)
    told = section(card_markdown(Bundle.open(old), card_parts(Bundle.open(old))), "Intended use")
    assert f"**Intended films:** not stated; a gate that is fitted to it takes {films}\n" in told
    answer(old, intended_films={"minimum_age": None, "maximum_age": 17, "views": ["PA"], "devices": ["Acme"]})
    told = section(card_markdown(Bundle.open(old), card_parts(Bundle.open(old))), "Intended use")
    assert "ages: 0 to 17 years; views: PA; modalities: CR, DX, DR, RG; devices: Acme\n" in told


def test_the_report_shows_the_parts_that_it_lacks(evaluation: Evaluation, tmp_path: Path) -> None:
    root = tiny_bundle(tmp_path / "bundle", 0)
    answer(root, contact="me <b>", failures="gowns")
    page = Page(render_report(evaluation, None, Bundle.open(root)))
    for title in ("Intended use", "Training data", "Lineage", "What is not known"):
        assert title in page.text
    assert "me <b>" in page.text
    assert "gowns" in page.text
    assert page.text.count("Gaps in AUROC: group minus rest") == Page(render_report(evaluation)).text.count(
        "Gaps in AUROC: group minus rest"
    )
    assert "#card" in {link.get("href") for link in page.all("a")}
    assert "Model card" not in Page(render_report(evaluation)).text


@pytest.mark.parametrize("own", [True, False])
def test_an_evaluation_describes_the_bundle_that_predicted_and_no_other(root: Path, tmp_path: Path, own: bool) -> None:
    sample = make_sample(60, LABELS)
    manifest = sample.table.copy()
    for at, name in enumerate(LABELS):
        manifest[name] = sample.labels[:, at]
    manifest.to_csv(tmp_path / "m.csv", index=False)
    scores = dict(zip(LABELS, sample.scores.T, strict=True))
    sample.table[["image"]].assign(**scores).to_csv(tmp_path / "p.csv", index=False)
    about = {"bundle": Bundle.open(root).digest if own else "f" * 64, "label_scheme": "findings"}
    (tmp_path / "p.csv.json").write_text(json.dumps(about))
    files = tmp_path / "p.csv", tmp_path / "m.csv", tmp_path / "out"
    evaluate_files(*files, bundle=root, options=EvaluationOptions(intervals=Intervals(10)))
    assert ("Model card" in Page((tmp_path / "out" / "report.html").read_text()).text) is own
    written = tmp_path / "card.md"
    if own:
        write_card(root, tmp_path / "out", written)
        assert "- **Images:** 180 of 60 patients" in written.read_text()


def test_maps_of_this_bundle_are_a_part_and_others_are_refused(
    root: Path, evaluation: Evaluation, tmp_path: Path
) -> None:
    write_evaluation(evaluation, tmp_path / "evaluation")
    (tmp_path / "localised").mkdir()
    told = localised(made(tmp_path / "localised", usual()))
    for digest in (Bundle.open(root).digest, "f" * 64):
        write_localisation(
            replace(told, provenance={**told.provenance, "bundle": {"digest": digest}}), tmp_path / "maps"
        )
        folders = tmp_path / "evaluation", tmp_path / "card.md", tmp_path / "maps"
        if digest == "f" * 64:
            with pytest.raises(BundleError, match="these figures are of the bundle ffffffffffff"):
                write_card(root, *folders, force=True)
            continue
        text = write_card(root, *folders).read_text()
        assert "**Maps against boxes**" in section(text, "Where its maps point")
        assert "the strongest point of the map lies in the box" in section(text, "Where its maps point")
        assert "whether its maps point" not in text.lower()


def test_the_page_lists_every_key_and_every_item_of_claim() -> None:
    page = (Path(__file__).parents[3] / "docs" / "model-cards.md").read_text(encoding="utf-8")
    assert dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", page, re.M)) == ASKED
    claim = page.partition("## CLAIM")[2]
    rows = re.findall(r"^\| ([\d, ]+) \| .+ \| (.+) \|$", claim, re.M)
    assert [int(number) for numbers, _ in rows for number in numbers.split(",")] == list(range(1, 43))
    for _, where in rows:
        assert set(re.findall(r"`(\w+)`", where)) <= set(ASKED)
        named = re.sub(r"not known: `\w+`|[:;,].*", "", where)
        assert not named.strip() or named.strip().startswith(("an article's", "the part", "Where its maps", *HEADINGS))


def test_a_gate_is_told_with_its_promise_and_what_it_refused(root: Path, tmp_path: Path) -> None:
    assert "The bundle has no gate" in section(card_markdown(Bundle.open(root), card_parts(Bundle.open(root))), GATE)
    copy = Path(shutil.copytree(root, tmp_path / "bundle"))
    about = {"held_out": {"films": 50, "patients": 40, "refused": 1, "reviewed": 2, "low": 0.004, "high": 0.105}}
    write_gate(
        copy,
        replace(gate_of_limit(1.0), fitted_on={**gate_of_limit(1.0).fitted_on, **about, "reviewed_share": 0.04}),
        file_digest(copy / "models" / "model.pt"),
    )
    bundle = Bundle.open(copy)
    told = section(card_markdown(bundle, card_parts(bundle)), GATE).replace(NBSP, " ")
    assert "of films like the training's at most 1.0 % are refused." in told
    assert "100 films of 50 patients" in told
    assert "**Refused of those:** 1.0 %; 4.0 % to be reviewed." in told
    assert "40 other patients; 1 of 50 films refused (95 % interval 0.40 % to 10.5 %), 2 more to be reviewed." in told
    assert "In the evaluation" not in told
    evaluation = with_gate_judged(of_bundle(copy), judged(MASS, verdicts_of(MASS, 12, 4)))
    told = section(card_markdown(bundle, card_parts(bundle, evaluation)), GATE)
    assert "**In the evaluation:** The gate refuses films with mass more often" in told
    assert "blurred 16" in told
    (copy / "models" / "gate.safetensors").write_bytes(b"no gate")
    with pytest.raises(GateError, match="damaged"):
        card_parts(bundle)
