"""The bundle cxr_transfer: what a child takes over, what it leaves, what is refused."""

import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from cxr_monai.bundle.bundle_folder import Bundle
from cxr_monai.bundle.intended_films import IntendedFilms
from cxr_monai.bundle.writing import new_bundle
from cxr_monai.cli import main
from cxr_monai.errors import CxrError
from cxr_monai.evaluation.evaluation_folder import write_evaluation
from cxr_monai.finetune.disease import disease_manifest
from cxr_monai.inference.model import Model
from cxr_monai.report.card_part import NOT_A_DEVICE
from cxr_monai.report.pages.model_card import card_parts, write_card
from cxr_monai.schemes import SCHEMES
from cxr_monai.sharing.trust.lineage import write_lineage
from tests.finetune.family import QUICK, TRANSFER, Family
from tests.report.synthetic_evaluation import make_evaluation, make_sample
from tests.support.bundle_runs import code_of, edit, our_errors, process_as_it_was, read, rewrite, workflow
from tests.support.tiny_bundles import LABELS, SIZE


def test_child_is_a_complete_bundle(family: Family) -> None:
    bundle = Bundle.open(family.child)
    assert bundle.labels == ("Effusion",)
    assert bundle.scheme == SCHEMES["Effusion_vs_normal"]
    assert bundle.image_size == SIZE
    assert read(family.child, "inference")["network_def"]["out_channels"] == 1
    for part in ("models/model.pt", "models/calibration.json", "docs/card.md", "docs/README.md", "LICENSE"):
        assert (family.child / part).is_file(), part
    assert "Effusion" in bundle.metadata["name"]
    assert bundle.intended_films == IntendedFilms(16, views=("PA", "AP"))  # the parent's
    assert "too few for a gate" in Model.open(family.child).gate.missing  # and none of the parent's
    text = "".join(path.read_text() for path in family.child.rglob("*") if path.suffix in (".json", ".md"))
    assert str(family.manifest.parent) not in text
    assert str(family.parent) not in text
    assert "secret" not in text


def test_first_epoch_trains_the_classifier_alone_from_the_parents_row(family: Family, tmp_path: Path) -> None:
    made, _ = trained(family, epochs=1, head_epochs=1, output_dir=str(tmp_path / "OUT"))
    theirs = torch.load(family.parent / "models" / "model.pt")
    ours = made.state_dict()
    changed = {name for name in ours if not torch.equal(ours[name], theirs.get(name, torch.empty(0)))}
    assert changed == {"class_layers.out.weight", "class_layers.out.bias"}
    row = theirs["class_layers.out.weight"][LABELS.index("Effusion")]
    # an AdamW step moves a weight by at most the learning rate, and an epoch of 8 of 16 images has two
    assert 0 < (ours["class_layers.out.weight"][0] - row).abs().max() <= 2 * 0.001 * 1.01


def test_second_epoch_trains_blocks_with_frozen_statistics(family: Family) -> None:
    ours, theirs = (torch.load(root / "models" / "model.pt") for root in (family.child, family.parent))
    best = json.loads((family.out / "bundle" / "lineage.json").read_text())["own"]["settings"]
    assert best["norm_statistics"] == "frozen"
    for name in theirs:
        if "running" in name:
            assert torch.equal(ours[name], theirs[name]), name


def test_lineage_names_the_parent_and_what_was_measured(family: Family) -> None:
    content = json.loads((family.child / "lineage.json").read_text())
    own, digest = content["own"], Bundle.open(family.parent).digest
    assert content["format"] == 1
    assert own["parents"] == [digest]
    assert content["ancestors"][digest]["name"] == "Chest X-ray, 14 findings"
    assert own["measured"]["part"] == "test"
    assert own["measured"]["difference"] == pytest.approx(own["measured"]["auroc"] - own["measured"]["parent_auroc"])
    assert own["measured"]["against_others"]["images"] > own["measured"]["images"]
    assert own["settings"]["disease"] == "effusion"
    table = pd.read_csv(family.manifest)
    known = table[(table["split"] == "train") & ((table["Effusion"] == 1) | (table["Mass"] == 0))]
    assert own["data"]["train_images"] == len(known)
    assert own["data"]["train_patients_with"] == known.loc[known["Effusion"] == 1, "patient_id"].nunique()


def test_card_says_what_the_lineage_says(family: Family) -> None:
    card = (family.child / "docs" / "card.md").read_text()
    verdict = json.loads((family.child / "lineage.json").read_text())["own"]["measured"]["verdict"]
    assert verdict == "too few to say"
    assert "too few patients to say" in card
    assert NOT_A_DEVICE in card
    assert "has seen no image with other findings alone" in card
    headings = re.findall(r"^## (.+)$", card, re.MULTILINE)
    assert {"The model", "Better than its parent?", "Training data", "Lineage", "What is not known"} <= set(headings)
    assert "What it is worth on other patients (no evaluation was given)" in card


@pytest.mark.parametrize("calibrated", [False, True])
def test_a_card_that_is_written_later_keeps_what_fine_tuning_said(
    family: Family, tmp_path: Path, calibrated: bool
) -> None:
    child = family.child
    if calibrated:
        with new_bundle(tmp_path / "calibrated", child) as folder:
            write_lineage(folder, [child], "cxr-monai calibrate", data={})
        child = tmp_path / "calibrated"
    evaluation = make_evaluation(make_sample(60, ["Effusion"]), book={"bundle": Bundle.open(child).digest})
    write_evaluation(evaluation, tmp_path / "evaluation")
    later = write_card(child, tmp_path / "evaluation", tmp_path / "copy").read_text()
    before = (family.child / "docs" / "card.md").read_text()
    parts = [text.partition("## Better than its parent?\n")[2].partition("\n## ")[0] for text in (before, later)]
    assert parts[0] == parts[1] != ""
    assert "It knows Effusion alone" in later
    assert "What it is worth" in later


@pytest.mark.parametrize("damage", [{"images": "many"}, {"verdict": "splendid"}, {"patients": None}])
def test_figures_that_no_fine_tuning_wrote_are_refused(family: Family, tmp_path: Path, damage: dict[str, Any]) -> None:
    with new_bundle(tmp_path / "copy", family.child) as folder:
        lineage = json.loads((folder / "lineage.json").read_text())
        lineage["own"]["measured"] |= damage
        (folder / "lineage.json").write_text(json.dumps(lineage))
    with pytest.raises(CxrError) as error:
        card_parts(Bundle.open(tmp_path / "copy"))
    assert code_of(error) == "lineage-invalid"


def test_judged_predictions_are_the_bundles_own(family: Family) -> None:
    told = pd.read_csv(family.out / "predictions_child.csv")
    files = [family.manifest.parent / image for image in told["image"]]
    root = Path(json.loads((family.manifest.parent / "m.csv.json").read_text())["root"])
    files = [root / image for image in told["image"]]
    again = Model.open(family.child, amp=False).predict(files).table
    assert told["Effusion"].to_numpy() == pytest.approx(again["Effusion"].to_numpy(), abs=1e-6)


@pytest.mark.parametrize(
    ("settings", "code", "says"),
    [
        ({"parent": None}, "setting-invalid", "--parent BUNDLE"),
        ({"disease": None}, "setting-invalid", "--disease Pneumonia"),
        ({"disease": "Gout"}, "setting-invalid", "against others"),
        ({"against": "all"}, "setting-invalid", "normal or others"),
        ({"labels": ["Mass"]}, "setting-invalid", "the disease, Effusion"),
        ({"parent": str(TRANSFER)}, "weights-missing", "Train it first"),
        ({"blocks": -1}, "setting-invalid", "--blocks -1"),
        ({"block_rate": 0}, "setting-invalid", "--block_rate 0"),
        ({"norm_statistics": "half"}, "setting-invalid", "adapted or frozen"),
        ({"disease": "Hernia"}, "too-few-patients", "at least 5"),
    ],
)
def test_refused(family: Family, tmp_path: Path, settings: dict[str, object], code: str, says: str) -> None:
    with pytest.raises(CxrError, match=says) as error:
        trained(family, output_dir=str(tmp_path / "OUT"), starts=False, **settings)
    assert code_of(error) == code


def test_parent_with_another_preprocessing_is_refused(family: Family, tmp_path: Path) -> None:
    from tests.support.tiny_bundles import tiny_bundle

    other = tiny_bundle(tmp_path / "other", seed=2)
    edit(other, "inference", lambda config: config["preprocessing"]["transforms"].pop(2))
    for name in ("train", "evaluate", "explain"):
        path = other / "configs" / f"{name}.json"
        config = json.loads(path.read_text())
        if "preprocessing" in config:
            config["preprocessing"] = read(other, "inference")["preprocessing"]
            path.write_text(json.dumps(config))
    with pytest.raises(CxrError, match="preprocessing") as error:
        trained(family, parent=str(other), output_dir=str(tmp_path / "OUT"), starts=False)
    assert code_of(error) == "bundle-disagrees"


def test_a_received_parent_must_be_trusted(family: Family, tmp_path: Path) -> None:
    from tests.support.tiny_bundles import tiny_bundle

    received = tiny_bundle(tmp_path / "received", seed=2)
    (received / "captum.py").write_text("raise SystemExit('canary')")
    told = {"parent": str(received), "disease": "Hernia", "output_dir": str(tmp_path / "OUT"), "starts": False}
    with pytest.raises(CxrError, match="captum") as error:
        trained(family, **told)
    assert code_of(error) == "bundle-refused"
    with pytest.raises(CxrError) as error:
        trained(family, **told, trust_folder=True)
    assert code_of(error) == "too-few-patients"  # what is wrong next: it got past the parent


def test_against_others_keeps_all_images(family: Family) -> None:
    everything = disease_manifest(str(family.manifest), None, SCHEMES["findings"], ["Effusion"])
    normal = disease_manifest(str(family.manifest), None, SCHEMES["Effusion_vs_normal"], ["Effusion"])
    assert len(everything) == 48
    assert len(normal) == 32


def test_few_patients_are_a_warning(family: Family, caplog: pytest.LogCaptureFixture) -> None:
    disease_manifest(str(family.manifest), None, SCHEMES["findings"], ["Effusion"])
    assert "depends on who they happen to be" in caplog.text


def test_four_patients_are_refused(family: Family, tmp_path: Path) -> None:
    def spare(table: pd.DataFrame) -> None:
        ill = table[(table["split"] == "train") & (table["Effusion"] == "1")]
        table.loc[ill.index[4:], "Effusion"] = "0"

    few = rewrite(family.manifest, tmp_path / "few.csv", spare)
    with pytest.raises(CxrError, match="has 4 patients with Effusion") as error:
        disease_manifest(str(few), None, SCHEMES["findings"], ["Effusion"])
    assert code_of(error) == "too-few-patients"


def trained(family: Family, starts: bool = True, **settings: object) -> tuple[torch.nn.Module, object]:
    """Train without the end of a fine-tuning; returns network and workflow. Without ``starts`` it is made alone."""
    given = {"parent": str(family.parent), "disease": "Effusion", "manifest": str(family.manifest), **QUICK, **settings}
    with process_as_it_was(), our_errors():
        made = workflow(TRANSFER, "train", **given)
        made.initialize()
        trainer = made.parser.get_parsed_content("train#trainer")
        if starts:
            made.parser.get_parsed_content("best").bundle.write()
            trainer.run()
        return trainer.network, made


def test_the_command_makes_a_child_and_says_what_came_of_it(
    family: Family, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--parent", str(family.parent), "--disease", "Mass", "--manifest", str(family.manifest), "--out", "mass"]
    settings = ["epochs=1", "batch_size=8", "cache_dir=none", "amp=false", "num_workers=0"]
    with process_as_it_was():
        assert main(["finetune", *words, "--against", "others", *(x for s in settings for x in ("--set", s))]) == 0
    said = capsys.readouterr().out
    assert "too few patients to say" in said
    assert "Mass against all other images" in said
    assert Bundle.open(elsewhere / "mass" / "bundle").scheme == SCHEMES["findings"]


def test_command_refuses_in_one_line(family: Family, elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--parent", str(elsewhere), "--disease", "Mass", "--manifest", str(family.manifest), "--out", "mass"]
    with process_as_it_was():
        assert main(["finetune", *words]) == 1
    assert "error [bundle-invalid]" in capsys.readouterr().err
