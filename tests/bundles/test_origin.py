"""What a bundle was trained on: in metadata, README, card and lineage, and never NIH for other people's images."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from cxr_monai.bundle.bundle_folder import Bundle, read_json
from cxr_monai.bundle.ensembling import ensemble_bundle
from cxr_monai.bundle.origin import HEADING, add_parent, is_recorded, write_origin
from cxr_monai.bundle.shipped import shipped_bundles
from cxr_monai.data.manifest import Manifest, build_manifest
from cxr_monai.origins import ONLY_TRIED, PHANTOM_LABELS
from cxr_monai.report.card_part import card_markdown
from cxr_monai.report.pages.model_card import card_parts
from cxr_monai.sharing.trust.lineage import read_lineage, trace_lineage, write_lineage
from tests.report.synthetic_evaluation import make_evaluation, make_sample
from tests.support.tiny_bundles import LABELS, tiny_bundle

DEVICE = "Research and education. Not a medical device; not for diagnosis."


def manifest(version: str, drawn: int, images: int = 10) -> Manifest:
    """Return ten images, two of them for testing; the first ``drawn`` are phantoms."""
    table = pd.DataFrame({"image": [f"{at}.png" for at in range(images)]})
    table["patient_id"] = [str(at) for at in range(images)]
    table["source"] = ["phantom" if at < drawn else "ward" for at in range(images)]
    table["split"] = ["train"] * (images - 4) + ["val"] * 2 + ["test"] * 2
    return build_manifest(table.assign(Effusion=1.0, Mass=0.0), ".", version)


def metadata(root: Path) -> dict[str, Any]:
    return read_json(root / "configs" / "metadata.json")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tiny_bundle(tmp_path / "bundle", 0)


@pytest.mark.parametrize(
    ("version", "drawn", "source", "labels", "use"),
    [
        (PHANTOM_LABELS, 10, "synthetic images, drawn by a program", "drawn with the images", ONLY_TRIED),
        ("nih-v2020", 0, "NIH ChestX-ray14 (Wang", "NIH's, mined from written reports", DEVICE),
        ("local", 0, "labels of version 'local'; whose images they are is not recorded", "who made them", DEVICE),
        ("local", 3, "3 of the 8 images are synthetic", "who made them", DEVICE),
    ],
)
def test_metadata_and_readme_say_it(root: Path, version: str, drawn: int, source: str, labels: str, use: str) -> None:
    write_origin(root, manifest(version, drawn))
    told = metadata(root)
    assert told["trained_on"] == {"label_version": version, "images": 8, "synthetic_images": min(drawn, 8)}
    assert source in told["data_source"]
    assert labels in told["label_classes"]
    assert told["intended_use"] == use
    assert ("NIH" in json.dumps([told[key] for key in ("name", "description", "data_source", "label_classes")])) is (
        version == "nih-v2020"
    )
    readme = (root / "docs" / "README.md").read_text()
    assert readme.count(HEADING) == 1
    assert source.partition(" ")[2] in readme.partition(HEADING)[2]
    Bundle.open(root)
    # the same again, and then trained further on something else
    before = (root / "configs" / "metadata.json").read_bytes(), readme
    write_origin(root, manifest(version, drawn))
    assert ((root / "configs" / "metadata.json").read_bytes(), (root / "docs" / "README.md").read_text()) == before
    write_origin(root, manifest("ward-v1", 0))
    assert "labels of version 'ward-v1'" in metadata(root)["data_source"]
    assert (root / "docs" / "README.md").read_text().count(HEADING) == 1


def test_what_authors_wrote_stays(root: Path) -> None:
    path = root / "configs" / "metadata.json"
    own = {"data_source": "our ward, 2019 to 2022", "label_classes": "two readers", "intended_use": "triage in trials"}
    path.write_text(json.dumps(metadata(root) | own | {"description": "ours"}))
    write_origin(root, manifest(PHANTOM_LABELS, 10))
    told = metadata(root)
    assert {key: told[key] for key in own} == own
    assert told["description"] == "ours"
    assert told["trained_on"]["synthetic_images"] == 8


def test_another_set_of_labels_is_not_called_the_fourteen_of_nih(root: Path) -> None:
    write_origin(root, manifest("local", 0))
    assert metadata(root)["name"] == "Chest X-ray, 2 labels"
    assert metadata(root)["description"] == "A network that gives a probability for each of Effusion, Mass."


def test_bundles_as_delivered_are_trained_on_nothing() -> None:
    for folder in shipped_bundles().values():
        told = metadata(folder)
        assert "trained_on" not in told
        assert not any(is_recorded(told, key) for key in ("data_source", "label_classes", "intended_use"))


def test_card_says_that_the_data_are_synthetic_and_an_older_bundle_claims_nothing(root: Path) -> None:
    evaluation = make_evaluation(make_sample(60, LABELS))
    before = dict(
        next(part for part in card_parts(Bundle.open(root), evaluation) if part.title == "Training data").points
    )
    assert before["Source:"].startswith("not recorded; made for: NIH")
    assert before["Labels:"].startswith("not recorded; made for: ")
    write_origin(root, manifest(PHANTOM_LABELS, 10))
    opened = Bundle.open(root)
    text = card_markdown(opened, card_parts(opened, evaluation))
    assert text.splitlines()[4] == (
        "**Trained on synthetic images, drawn by a program (cxr-monai phantom); no patient is among them.**"
    )
    training = dict(next(part for part in card_parts(opened, evaluation) if part.title == "Training data").points)
    assert training["Source:"].startswith("synthetic images")
    assert training["Labels:"].endswith("labels were drawn with the images and are exactly known")
    use = dict(next(part for part in card_parts(opened, evaluation) if part.title == "Intended use").points)
    assert use["Intended use:"] == ONLY_TRIED


def test_lineage_says_it_of_a_bundle_and_of_its_child(root: Path, tmp_path: Path) -> None:
    write_origin(root, manifest(PHANTOM_LABELS, 10))
    told = {"label_version": PHANTOM_LABELS, "images": 8, "synthetic_images": 8}
    assert read_lineage(root).generation.data == told
    assert any("synthetic_images 8" in line for line in trace_lineage(root, []).lines())
    child = tiny_bundle(tmp_path / "child", 1)
    write_origin(child, manifest("local", 0))
    alone = metadata(child)
    add_parent(child, {"name": "of before anything was recorded"})
    assert metadata(child) == alone
    add_parent(child, metadata(root))
    assert metadata(child)["trained_on"]["parent"] == told
    assert metadata(child)["data_source"].endswith("its parent was trained on synthetic images, drawn by a program "
                                                   "(cxr-monai phantom); no patient is among them")  # fmt: skip
    write_lineage(child, [root], "cxr-monai finetune", data={"images": 8})
    (parent,) = trace_lineage(child, []).parents
    assert parent.generation is not None
    assert parent.generation.data == told


def test_an_ensemble_says_it_of_its_members(tmp_path: Path) -> None:
    members = [tiny_bundle(tmp_path / name, seed) for seed, name in enumerate(("one", "two"))]
    bare = ensemble_bundle(members, tmp_path / "bare")
    assert "trained_on" not in bare.metadata
    for member, version, drawn in zip(members, ("local", PHANTOM_LABELS), (0, 10), strict=True):
        write_origin(member, manifest(version, drawn))
    told = ensemble_bundle(members, tmp_path / "ensemble").metadata
    assert told["trained_on"] == {"label_version": f"local, {PHANTOM_LABELS}", "images": 16, "synthetic_images": 8}
    assert "; 8 of the 16 images are synthetic" in told["data_source"]
