"""Where child and parent look: the same boxed held-out images, scored for both."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from cxr_monai.attribution.boxed_cases import read_boxed_cases
from cxr_monai.attribution.map_store import MapStore
from cxr_monai.cli import main
from cxr_monai.data.manifest import read_manifest
from cxr_monai.errors import CxrError
from cxr_monai.finetune.box_comparison import boxed_labels, localise_both, scored
from cxr_monai.report.fine_tuning import map_sentences
from tests.finetune.family import Family
from tests.finetune.test_transfer import trained
from tests.support.bundle_runs import code_of
from tests.support.gates import with_gate

SIZE = 64


def boxes_of(
    family: Family, path: Path, box: tuple[int, int, int, int], part: str = "test", label: str = "Effusion"
) -> Path:
    """A box on each image of a part that has the disease, of pictures of SIZE pixels."""
    table = pd.read_csv(family.manifest)
    images = table.loc[(table["split"] == part) & (table[label] == 1), "image"]
    x, y, width, height = box
    rows = {"finding": label, "x": x, "y": y, "width": width, "height": height}
    pd.DataFrame({"image": images, **rows, "image_width": SIZE, "image_height": SIZE}).to_csv(path, index=False)
    return path


def looking(bundle: Path, copy: Path) -> Path:
    """A copy whose class maps are nowhere 0: its classifier adds up what the features say."""
    shutil.copytree(bundle, copy)
    weights = torch.load(copy / "models" / "model.pt")
    weights["class_layers.out.weight"].abs_()
    torch.save(weights, copy / "models" / "model.pt")
    return copy


def test_figures_are_those_of_the_maps(family: Family, tmp_path: Path) -> None:
    left = boxes_of(family, tmp_path / "left.csv", (0, 0, SIZE // 2, SIZE))
    base = read_manifest(family.manifest)
    child = looking(family.child, tmp_path / "child")
    found = localise_both(child, family.parent, left, base, "Effusion", tmp_path, amp=False)
    boxed = set(pd.read_csv(left)["image"])
    assert found.cases == found.patients == len(boxed)
    for who in ("child", "parent"):
        store = MapStore.open(tmp_path / f"maps_{who}")
        assert set(store.images) == boxed
        shares = []
        for image in store.images:
            view = store.view(image)
            heat = view.place(store.grid(image)[0], store.points, (view.height, view.width))
            shares.append(heat[:, : view.width // 2].sum() / max(heat.sum(), 1e-9))  # an empty map has no energy
        assert found.figures[who]["energy"] == pytest.approx(np.mean(shares), abs=1e-3)
    assert 0.2 < found.figures["child"]["energy"] < 0.8
    value, _, _ = found.differences["energy"]
    assert value == pytest.approx(found.figures["child"]["energy"] - found.figures["parent"]["energy"])


def test_a_gate_that_refuses_everything_leaves_no_map_out(family: Family, tmp_path: Path) -> None:
    left, base = boxes_of(family, tmp_path / "left.csv", (0, 0, SIZE // 2, SIZE)), read_manifest(family.manifest)
    child = looking(family.child, tmp_path / "child")
    without = localise_both(child, family.parent, left, base, "Effusion", tmp_path / "without", amp=False)
    refusing = localise_both(with_gate(child), family.parent, left, base, "Effusion", tmp_path, amp=False)
    assert (refusing.cases, refusing.figures) == (without.cases, without.figures)


def test_parent_that_does_not_know_the_disease(family: Family, tmp_path: Path) -> None:
    left = boxes_of(family, tmp_path / "left.csv", (0, 0, SIZE // 2, SIZE))
    child = looking(family.child, tmp_path / "child")
    localise_both(child, family.parent, left, read_manifest(family.manifest), "Effusion", tmp_path, amp=False)
    alone = scored(
        {"child": read_boxed_cases(tmp_path / "maps_child", left, read_manifest(family.manifest))[0]}, "Effusion"
    )
    assert set(alone.figures) == {"child"}
    assert alone.differences == {}
    assert "parent" not in " ".join(map_sentences("Effusion", alone.to_json()))


def test_diseases_without_boxes_are_left_out_and_none_at_all_is_an_error(family: Family, tmp_path: Path) -> None:
    base, left = read_manifest(family.manifest), boxes_of(family, tmp_path / "left.csv", (0, 0, SIZE, SIZE))
    assert boxed_labels(left, base, ["Effusion", "Mass"]) == ["Effusion"]
    with pytest.raises(CxrError, match="no image of the held-out part has a box of Mass"):
        boxed_labels(left, base, ["Mass", "Hernia"])


def test_card_and_lineage_say_it(family: Family, tmp_path: Path) -> None:
    whole = boxes_of(family, tmp_path / "whole.csv", (0, 0, SIZE, SIZE))
    parent = looking(family.parent, tmp_path / "parent")
    words = ["--parent", str(parent), "--manifest", str(family.manifest), "--out", str(tmp_path / "OUT")]
    words += [
        "--disease",
        "Effusion",
        "--head-only",
        "--set",
        "epochs=1",
        "--set",
        "learning_rate=1e-5",
        "--boxes",
        str(whole),
    ]
    assert main(["finetune", *words]) == 0
    bundle = tmp_path / "OUT" / "Effusion" / "bundle"
    card = (bundle / "docs" / "card.md").read_text()
    assert "maximum in a box: 1.000, the parent's 1.000, difference +0.000" in card
    assert "was not compared" not in card
    measured = json.loads((bundle / "lineage.json").read_text())["own"]["measured"]["localisation"]
    assert measured["child_energy"] == pytest.approx(1)
    assert measured["pointing_difference"] == 0
    assert str(tmp_path) not in (bundle / "lineage.json").read_text()


def test_boxes_of_nobody_are_refused_before_anything_trains(family: Family, tmp_path: Path) -> None:
    theirs = boxes_of(family, tmp_path / "train.csv", (0, 0, SIZE, SIZE), part="train")
    with pytest.raises(CxrError) as error:
        trained(family, output_dir=str(tmp_path / "OUT"), boxes=str(theirs), starts=False)
    assert code_of(error) in ("boxes-invalid", "manifest-invalid")
    assert not (tmp_path / "OUT").exists()
