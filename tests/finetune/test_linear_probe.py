"""Heads on kept features: the same training, the same kind of bundles."""

import json
from pathlib import Path

import pandas as pd
import pytest
import torch

from cxr_monai.bundle.bundle_folder import Bundle
from cxr_monai.bundle.digest import file_digest
from cxr_monai.bundle.intended_films import IntendedFilms
from cxr_monai.cli import main
from cxr_monai.completion import require_complete
from cxr_monai.errors import CxrError
from cxr_monai.finetune.linear_probe import train_linear_probes
from cxr_monai.finetune.task import FineTuneTask
from cxr_monai.gate.storage import read_gate
from cxr_monai.inference.model import Model
from cxr_monai.inference.pooled_features import features_of
from tests.finetune.family import Family
from tests.finetune.test_transfer import trained
from tests.support.bundle_runs import code_of

EPOCHS = 3


@pytest.fixture(scope="module")
def heads(family: Family, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Children for two diseases, by the command; Mass and Hernia have no patient in it, and are not made."""
    out = tmp_path_factory.mktemp("heads") / "OUT"
    words = ["--parent", str(family.parent), "--manifest", str(family.manifest), "--out", str(out), "--disease", "all"]
    words += [
        "--head-only",
        "--set",
        f"epochs={EPOCHS}",
        "--set",
        "batch_size=8",
        "--set",
        "amp=false",
        "--set",
        "gate_promise=0.05",
    ]
    assert main(["finetune", *words]) == 0
    return out


def test_a_child_for_each_disease_with_patients(heads: Path) -> None:
    assert sorted(path.name for path in heads.iterdir() if path.is_dir()) == ["Effusion", "Mass"]
    for label in ("Effusion", "Mass"):
        bundle = Bundle.open(heads / label / "bundle")
        assert bundle.labels == (label,)
        assert bundle.intended_films == IntendedFilms(16, views=("PA", "AP"))  # the parent's
        assert (bundle.root / "models" / "calibration.json").is_file()
        assert label in (bundle.root / "docs" / "card.md").read_text()
        own = json.loads((bundle.root / "lineage.json").read_text())["own"]
        assert own["settings"]["epochs"] == EPOCHS


def test_children_have_one_gate_each_of_its_own_weights(heads: Path) -> None:
    gates = [read_gate(heads / label / "bundle") for label in ("Effusion", "Mass")]
    for label, gate in zip(("Effusion", "Mass"), gates, strict=True):
        assert gate is not None
        assert gate[1] == file_digest(heads / label / "bundle" / "models" / "model.pt")
        assert gate[0].layers  # features of the network that the children share
    assert gates[0] is not None
    assert gates[1] is not None
    assert gates[0][0].limits == gates[1][0].limits
    assert Model.open(heads / "Mass" / "bundle").gate.fitted is not None


def test_they_are_what_ordinary_training_of_the_head_gives(heads: Path, family: Family, tmp_path: Path) -> None:
    settings = {"epochs": EPOCHS, "blocks": 0, "augmentation": "none", "output_dir": str(tmp_path / "OUT")}
    _, made = trained(family, **settings)
    best = made.parser.get_parsed_content("best")
    ours = torch.load(heads / "Effusion" / "bundle" / "models" / "model.pt")
    assert json.loads((heads / "Effusion" / "bundle" / "lineage.json").read_text())["own"]["settings"][
        "best_epoch"
    ] == (best.epoch)
    start = torch.load(family.parent / "models" / "model.pt")["class_layers.out.weight"][:1]
    moved = (ours["class_layers.out.weight"] - start).abs().max()
    assert moved > 1e-3
    for name, theirs in best.weights.items():
        torch.testing.assert_close(ours[name], theirs.cpu(), rtol=0, atol=1e-5, msg=name)


def test_predictions_from_kept_features_are_the_bundles_own(heads: Path, family: Family) -> None:
    told = pd.read_csv(heads / "Mass" / "predictions_child.csv")
    root = Path(json.loads((family.manifest.parent / "m.csv.json").read_text())["root"])
    again = (
        Model.open(heads / "Mass" / "bundle", amp=False, gate="off")
        .predict([root / image for image in told["image"]])
        .table
    )
    assert told["Mass"].to_numpy() == pytest.approx(again["Mass"].to_numpy(), abs=1e-5)


def test_features_give_the_parents_predictions(family: Family) -> None:
    from cxr_monai.data.manifest import read_manifest

    test = read_manifest(family.manifest).part("test")
    features = features_of(Model.open(family.parent, amp=False), test)
    theirs = Model.open(family.parent, amp=False).predict(test.paths(), list(test.table["image"])).table
    assert list(features.images) == list(test.table["image"])
    pd.testing.assert_frame_equal(features.parent, theirs, atol=1e-5, rtol=0, check_dtype=False)


@pytest.mark.parametrize(
    ("settings", "code"), [({"unfreeze": {}}, "override-unknown"), ({"epochs": 0}, "setting-invalid")]
)
def test_settings_that_mean_nothing_are_refused(
    family: Family, tmp_path: Path, settings: dict[str, object], code: str
) -> None:
    with pytest.raises(CxrError) as error:
        train_linear_probes(FineTuneTask(family.parent, family.manifest), ["Mass"], tmp_path, settings)
    assert code_of(error) == code


def test_a_child_is_not_overwritten(heads: Path, family: Family) -> None:
    with pytest.raises(CxrError) as error:
        train_linear_probes(FineTuneTask(family.parent, family.manifest), ["Mass"], heads)
    assert code_of(error) == "output-exists"


def test_what_was_judged_has_a_mark(heads: Path) -> None:
    content = json.loads((heads / "Mass" / "judged.json").read_text())
    require_complete(content, heads / "Mass" / "judged.json", "cxr-monai finetune")
    judged = {f"predictions_{who}.csv{end}" for who in ("child", "parent", "val") for end in ("", ".json")}
    assert set(content["complete"]) == {*judged, "this file"}
    own = json.loads((heads / "Mass" / "bundle" / "lineage.json").read_text())["own"]
    assert (content["disease"], content["measured"]) == ("Mass", own["measured"])
