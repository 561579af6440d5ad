"""What header and manifest say of a film reaches the gate: through transforms, cache, processes, and every command."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from monai.transforms import Compose
from PIL import Image

from cxr_monai.cli import main
from cxr_monai.data.dataset import RadiographDataset, inference_items, manifest_items
from cxr_monai.data.film_header import NO_FACTS, FilmFacts, FilmHeader
from cxr_monai.data.inputs import gather_films
from cxr_monai.data.loading import data_loader
from cxr_monai.data.manifest import Manifest, build_manifest, read_manifest, write_manifest
from cxr_monai.gate.film_observer import FilmObserver
from cxr_monai.transforms.load_radiograph import LoadRadiographd
from cxr_monai.transforms.quantise import QuantiseRadiographd
from cxr_monai.transforms.resize_shortest import ResizeShortestd
from cxr_monai.workflows.explain import explain_images
from cxr_monai.workflows.predict import predict_images
from tests.data.test_radiograph_dicom import dicom, written
from tests.support.bundle_runs import run
from tests.support.gates import with_gate
from tests.support.tiny_bundles import tiny_bundle

PIXELS = np.random.default_rng(0).integers(0, 256, (48, 48), dtype=np.uint8)
# film: what its DICOM header says (None: it is a PNG), what the manifest says
FILMS: dict[str, tuple[dict[str, Any] | None, FilmFacts]] = {
    "adult.png": (None, FilmFacts("PA", 40.0)),
    "child.png": (None, FilmFacts("AP", 5.0)),
    "lateral.png": (None, FilmFacts("LATERAL", 40.0)),
    "unknown.png": (None, NO_FACTS),
    "silent.dcm": ({}, FilmFacts("AP", 7.0)),
    "other.dcm": ({"ViewPosition": "AP", "PatientAge": "040Y"}, FilmFacts("LATERAL", 7.0)),
    "child.dcm": ({"PatientAge": "003M"}, FilmFacts("PA", 40.0)),
}
REFUSED = {
    "child.png": "gate-child", "lateral.png": "gate-lateral", "silent.dcm": "gate-child", "child.dcm": "gate-child",
}  # fmt: skip


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("facts") / "films"
    root.mkdir()
    for number, (name, (header, _)) in enumerate(FILMS.items()):
        pixels = np.roll(PIXELS, number, axis=1)
        if header is None:
            Image.fromarray(pixels).save(root / name)
        else:
            (root / name).write_bytes(written(dicom(pixels, **header)))
    facts = [facts for _, facts in FILMS.values()]
    table = pd.DataFrame({
        "image": list(FILMS), "patient_id": list("abcdefg"), "study_id": "", "view": [one.view for one in facts],
        "age": [one.age for one in facts], "sex": "", "source": "local", "split": "test",
        "Effusion": [0.0, 1.0] * 3 + [0.0],
        "Mass": [1.0, 0.0] * 3 + [1.0],
    })  # fmt: skip
    path = root.parent / "manifest.csv"
    write_manifest(build_manifest(table, root, label_version="local"), path)
    return path


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a gate that accepts all pixels."""
    return with_gate(tiny_bundle(tmp_path_factory.mktemp("tiny") / "bundle", 0), 1e12)


def pipeline() -> Compose:
    return Compose([LoadRadiographd("image"), ResizeShortestd("image", 32), QuantiseRadiographd("image")])


EXPECTED = {
    "adult.png": FilmHeader(view="PA", age=40.0),
    "child.png": FilmHeader(view="AP", age=5.0),
    "lateral.png": FilmHeader(view="LATERAL", is_lateral=True, age=40.0),
    "unknown.png": None,
    "silent.dcm": FilmHeader("CR", view="AP", age=7.0),
    "other.dcm": FilmHeader("CR", view="AP", age=40.0),
    "child.dcm": FilmHeader("CR", view="PA", age=0.0),
}


@pytest.mark.parametrize("num_workers", [0, 2])
def test_header_and_facts_come_through_transforms_and_processes(num_workers: int, manifest: Path) -> None:
    items = manifest_items(read_manifest(manifest), "test", ["Effusion", "Mass"])
    dataset = RadiographDataset(items, pipeline(), (1, 32, 32), observer=FilmObserver())
    headers = {
        name: FilmHeader.from_text(text)
        for batch in data_loader(dataset, 3, num_workers)
        for name, text in zip(batch["name"], batch["header"], strict=True)
    }
    assert headers == EXPECTED


def test_facts_count_where_the_pixels_come_from_the_cache(manifest: Path, tmp_path: Path) -> None:
    """The cache keeps no headers: of a file that was decoded before, the manifest alone says something."""
    items = inference_items(str(manifest), None, ["Effusion", "Mass"])
    dataset = RadiographDataset(items, pipeline(), (1, 32, 32), tmp_path / "cache", observer=FilmObserver())
    dataset.prepare(workers=1)
    headers = {dataset[at]["name"]: FilmHeader.from_text(dataset[at]["header"]) for at in range(len(dataset))}
    assert headers["child.png"] == FilmHeader(view="AP", age=5.0)
    assert headers["other.dcm"] == FilmHeader(view="LATERAL", is_lateral=True, age=7.0)
    assert headers["unknown.png"] is None


def test_a_folder_of_films_has_no_facts(manifest: Path) -> None:
    items = inference_items(None, str(manifest.parent / "films"), ["Effusion"])
    assert len(items) == len(FILMS)
    assert not any("film_facts" in item for item in items)


def test_a_film_that_cannot_be_read_has_no_header(manifest: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no picture")
    item = {"image": str(tmp_path / "bad.png"), "film_facts": FilmFacts("AP", 5.0)}
    dataset = RadiographDataset([item], pipeline(), (1, 32, 32), observer=FilmObserver())
    assert dataset[0]["header"] == ""


def test_inputs_of_a_command_have_the_facts_of_their_manifests(manifest: Path) -> None:
    root = manifest.parent / "films"
    films = gather_films([manifest, root / "adult.png"])
    assert [path.name for path in films.files] == list(FILMS)  # the file that was named twice is one
    assert films.facts == [facts for _, facts in FILMS.values()]
    child = films.named(["child.png", "unknown.png"])
    assert child.items() == [
        {"image": root / "child.png", "film_facts": FilmFacts("AP", 5.0)}, root / "unknown.png",
    ]  # fmt: skip
    assert gather_films([root]).facts == [NO_FACTS] * len(FILMS)


def test_predict_refuses_by_the_manifest_and_the_header_first(bundle: Path, manifest: Path, tmp_path: Path) -> None:
    out = tmp_path / "predictions.csv"
    assert main(["predict", str(bundle), str(manifest), "--out", str(out), "--workers", "0"]) == 0
    errors = pd.read_csv(f"{out}.errors.csv").set_index("image")["code"]
    assert errors.to_dict() == REFUSED
    evidence = pd.read_csv(f"{out}.gate.csv").set_index("image")
    assert evidence["age"].to_dict() == {name: header.age if header else None for name, header in EXPECTED.items()} | {
        "unknown.png": pytest.approx(np.nan, nan_ok=True)
    }
    assert sorted(pd.read_csv(out)["image"]) == ["adult.png", "other.dcm", "unknown.png"]
    # without the manifest the headers alone count
    alone = predict_images(bundle, manifest.parent / "films", workers=0, trust_folder=True)
    assert {name: code for name, code, _ in alone.errors} == {"child.dcm": "gate-child"}


def test_from_python_by_path_or_table(bundle: Path, manifest: Path) -> None:
    table = read_manifest(manifest)
    only = replace(table, table=table.table.iloc[:2].reset_index(drop=True))
    for images, refused in ((manifest, REFUSED), (only, {"child.png": "gate-child"})):
        result = predict_images(bundle, images, workers=0, trust_folder=True)
        assert {name: code for name, code, _ in result.errors} == refused
        assert isinstance(images, Path | Manifest)


def test_explain_refuses_by_the_manifest(bundle: Path, manifest: Path, tmp_path: Path) -> None:
    explain_images(bundle, manifest, tmp_path / "maps", split="test", workers=0, trust_folder=True)
    errors = pd.read_csv(tmp_path / "maps.errors.csv").set_index("image")["code"]
    assert errors.to_dict() == REFUSED


@pytest.mark.parametrize("config", ["inference", "evaluate"])
def test_monais_configurations_refuse_by_the_manifest(
    config: str, bundle: Path, manifest: Path, elsewhere: Path
) -> None:
    run(bundle, config, manifest=str(manifest), output_dir="out", batch_size=4, num_workers=0)
    evidence = pd.read_csv(elsewhere / "out" / "predictions.csv.gate.csv").set_index("image")["code"].dropna()
    assert evidence.to_dict() == REFUSED
