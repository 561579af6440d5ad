"""Two folders of maps to tables, a sheet and a page."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cxr_monai.attribution.map_store import MapWriter
from cxr_monai.attribution.view import View
from cxr_monai.data.manifest import build_manifest, write_manifest
from cxr_monai.errors import Code, EvaluationError, SettingError
from cxr_monai.evaluation.bootstrap import Intervals
from cxr_monai.workflows.agree import AgreementOptions, agree_files

FINDINGS = ("Mass", "Nodule")
IMAGES = [f"secret-{number:02d}.png" for number in range(16)]
QUICK = {"intervals": Intervals(50), "count": 2}


def store(folder: Path, share: float, seed: int) -> Path:
    """Write maps that have ``share`` of their places' values in common with all others, the rest of their own."""
    common, own = np.random.default_rng(99), np.random.default_rng(seed)
    about = {
        "findings": list(FINDINGS),
        "points": None,
        "root": str(folder.parent),
        "method": "cam",
        "bundle": {"name": folder.name},
    }
    writer = MapWriter(folder, about)
    for image in IMAGES:
        made = share * common.random((2, 8, 8)) + (1 - share) * own.random((2, 8, 8))
        writer.add(image, View(32, 32, 0, 0, 32, 32), np.array([0.3, 0.6]), made)
    writer.finish()
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models A and B, three seeds that are more alike; images, a manifest of all but one of them."""
    made = tmp_path_factory.mktemp("agree")
    for number, (name, share) in enumerate({"A": 0.2, "B": 0.2, "S1": 0.7, "S2": 0.7, "S3": 0.7}.items()):
        store(made / name, share, number)
    for number, image in enumerate(IMAGES):
        pixels = np.random.default_rng(number).integers(0, 256, (32, 32), dtype=np.uint8)
        Image.fromarray(pixels).save(made / image)
    table = pd.DataFrame({"image": IMAGES[1:], "patient_id": [str(at // 2) for at in range(15)]})
    table = table.assign(Mass=[1.0] * 8 + [0.0] * 7, Nodule=np.nan)
    write_manifest(build_manifest(table, made, "local"), made / "manifest.csv")
    return made


def test_tables_sheet_and_page(folder: Path, tmp_path: Path) -> None:
    seeds = [folder / name for name in ("S1", "S2", "S3")]
    options = AgreementOptions(thresholds=(0.5, 0.8), seeds=seeds, **QUICK)
    agreement, written = agree_files(folder / "A", folder / "B", tmp_path, options, folder / "manifest.csv", force=True)
    names = ["agreement.csv", "agreement_cases.csv", "seeds.csv", "agreement.png", "agreement.html"]
    assert [path.name for path in written] == names
    assert all(path.is_file() for path in written)
    table = agreement.findings.set_index("finding")
    assert table.index.tolist() == ["Mass", "Nodule", "mean"]
    assert table["cases"].tolist() == [15, 15, 30]
    assert table["patients"].tolist() == [8, 8, 8]
    assert table.loc["mean", "rank_correlation"] == pytest.approx(table["rank_correlation"].iloc[:2].mean())
    assert (table["rank_correlation_low"] < table["rank_correlation_high"]).all()
    cases = pd.read_csv(tmp_path / "agreement_cases.csv")
    assert IMAGES[0] not in set(cases["image"])
    # what of the disagreement is just the seed, by hand
    share = agreement.seeds.set_index(["measure", "finding"]).loc[("rank_correlation", "all")]
    assert share["between"] == pytest.approx(1 - cases["rank_correlation"].mean(), abs=1e-4)
    assert share["share"] == pytest.approx(share["within"] / share["between"])
    assert 0 < share["low"] < share["share"] < share["high"] < 0.6
    assert agreement.seeds["measure"].unique().tolist() == ["rank_correlation", "iou_0.5", "iou_0.8"]
    # the images that differ most, each once
    shown = cases.dropna(subset="shown").sort_values("shown")
    assert shown["shown"].tolist() == [1, 2]
    assert shown["rank_correlation"].iloc[0] == cases["rank_correlation"].min()
    assert shown["image"].is_unique
    assert any("1 of 16 images are not in the manifest" in note for note in agreement.notes)
    page = (tmp_path / "agreement.html").read_text()
    assert "secret" not in page
    assert "data:image/jpeg;base64," in page
    assert "The models differ by more than that." in page
    assert not re.search(r"""(?:src|href)=["']https?:|<script""", page)


def test_only_where_the_finding_is_present(folder: Path, tmp_path: Path) -> None:
    options = AgreementOptions(present=True, **QUICK)
    agreement, _ = agree_files(folder / "A", folder / "B", tmp_path, options, folder / "manifest.csv", force=True)
    assert agreement.findings["finding"].tolist() == ["Mass", "mean"]  # unknown is not present
    assert agreement.findings["cases"].tolist() == [8, 8]
    assert set(agreement.cases["image"]) == set(IMAGES[1:9])
    only = AgreementOptions(present=True, findings=("Nodule",))
    with pytest.raises(EvaluationError, match="the manifest says is there") as caught:
        agree_files(folder / "A", folder / "B", tmp_path, only, folder / "manifest.csv", force=True)
    assert caught.value.code == Code.MAPS_INVALID


def test_without_images_there_is_no_sheet(folder: Path, tmp_path: Path) -> None:
    options = AgreementOptions(root=tmp_path, **QUICK)
    agreement, written = agree_files(folder / "A", folder / "B", tmp_path / "out", options)
    assert "agreement.png" not in [path.name for path in written]
    assert any("no sheet" in note and "--root" in note for note in agreement.notes)
    assert agreement.provenance["intervals_over"].startswith("images")
    assert "<img" not in (tmp_path / "out" / "agreement.html").read_text()


def test_none_is_wanted(folder: Path, tmp_path: Path) -> None:
    _, written = agree_files(folder / "A", folder / "B", tmp_path, AgreementOptions(count=0, intervals=Intervals(20)))
    assert [path.name for path in written] == ["agreement.csv", "agreement_cases.csv", "agreement.html"]


def test_a_threshold_that_is_none(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingError) as caught:
        agree_files(folder / "A", folder / "B", tmp_path, AgreementOptions(thresholds=(1.5,)))
    assert caught.value.code == Code.SETTING_INVALID
