"""``cxr-monai explain``: the command's words, what it says, its exit status."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cxr_monai.attribution.map_store import MapStore
from cxr_monai.cli import main
from cxr_monai.labels import NIH14
from tests.support.bundle_runs import Phantoms
from tests.support.gates import with_gate


def explain(bundle: Path, *words: object) -> int:
    return main(["explain", str(bundle), *map(str, words), "--workers", "0"])


def test_a_part_of_a_manifest(
    small: Path, phantoms: Phantoms, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert explain(small, phantoms.manifest, "--split", "test", "--out", "maps") == 0
    store = MapStore.open("maps")
    table = phantoms.table
    assert store.images == list(table.loc[table["split"] == "test", "image"])
    assert store.findings == NIH14
    assert f"maps of {len(store.images)} images, 14 findings each: maps" in capsys.readouterr().out
    assert Path(store.about["root"]) == phantoms.root
    # and the probabilities are those of predict
    assert main(["predict", str(small), str(phantoms.manifest), "--out", "p.csv", "--workers", "0"]) == 0
    predicted = pd.read_csv("p.csv").set_index("image").loc[store.images, list(NIH14)]
    np.testing.assert_allclose(store.table[list(NIH14)], predicted, rtol=0, atol=0.01)
    # the same command again has nothing to do, and says what is there
    before = [path.stat().st_mtime_ns for path in sorted(Path("maps").glob("*.npz"))]
    assert explain(small, phantoms.manifest, "--split", "test", "--out", "maps") == 0
    assert [path.stat().st_mtime_ns for path in sorted(Path("maps").glob("*.npz"))] == before


def test_pictures_of_files(small: Path, phantoms: Phantoms, elsewhere: Path) -> None:
    files = phantoms.files("test")[:2]
    assert explain(small, *files, "--out", "maps", "--pictures", 1, "--method", "gradcam", "--finding", "mass") == 0
    assert MapStore.open("maps").findings == ("Mass",)
    assert [path.name for path in Path("maps/pictures").iterdir()] == [f"{files[0].stem}.png"]


def test_so_many_images_one_picture_each(small: Path, phantoms: Phantoms, elsewhere: Path) -> None:
    files = phantoms.files("test")
    assert explain(small, *files[:4], "--out", "maps", "--pictures", 3) == 0
    assert sorted(path.name for path in Path("maps/pictures").iterdir()) == [f"{file.stem}.png" for file in files[:3]]


def test_only_boxed_findings(small: Path, phantoms: Phantoms, elsewhere: Path) -> None:
    boxes = phantoms.manifest.with_name("manifest.boxes.csv")
    assert explain(small, phantoms.manifest, "--boxes", boxes, "--out", "maps") == 0
    store, table = MapStore.open("maps"), pd.read_csv(boxes)
    pairs = {
        (image, finding) for image in store.images for finding in NIH14 if store.on_image(image, finding) is not None
    }
    assert pairs == set(zip(table["image"], table["finding"], strict=True))


def test_a_bad_file(small: Path, phantoms: Phantoms, elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("bad.png").write_bytes(b"not a picture")
    words = ("bad.png", phantoms.files("test")[0], "--out", "maps")
    assert explain(small, *words) == 0
    assert "1 left out: maps.errors.csv\n  " in (printed := capsys.readouterr().err)
    assert "[radiograph-" in printed
    assert explain(small, *words, "--strict") == 1
    assert explain(small, "bad.png", "--out", "none") == 1
    assert "radiograph-not-an-image" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "told", "status"),
    [
        (("--batch-size", 0), "--batch-size 0", 2),
        (("--pictures", -1), "--pictures -1", 2),
        (("--map-stride", 5), "Choose one of 8, 4", 1),
        (("--finding", "Massive"), "Massive", 1),
        (("--method", "gradcam", "--target-layer", "no"), "no layer 'no'", 1),
    ],
)
def test_wrong_words(
    words: tuple, told: str, status: int, small: Path, phantoms: Phantoms, elsewhere: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert explain(small, phantoms.files("test")[0], "--out", "maps", *words) == status
    assert told in capsys.readouterr().err
    assert not list(Path().rglob("*.npz"))


def test_other_maps_are_not_mixed(
    small: Path, phantoms: Phantoms, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = phantoms.files("test")[0]
    assert explain(small, file, "--out", "maps") == 0
    kept = json.loads(Path("maps/maps.json").read_text())
    assert explain(small, file, "--out", "maps", "--method", "gradcam") == 2
    assert "output-exists" in capsys.readouterr().err
    assert json.loads(Path("maps/maps.json").read_text()) == kept


def test_the_gate_in_each_mode(
    small: Path, phantoms: Phantoms, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = phantoms.files("test")[:3]
    bundle = with_gate(Path(shutil.copytree(small, "gated")))  # it refuses every film
    assert explain(bundle, *files, "--out", "refused") == 1
    assert "gate-" in capsys.readouterr().err
    evidence = pd.read_csv("refused.gate.csv")
    assert list(evidence["image"]) == [str(file) for file in files]
    assert set(evidence["gate"]) == {"refuse"}
    assert list(pd.read_csv("refused.errors.csv")["code"]) == list(evidence["code"])
    assert explain(bundle, *files, "--out", "reviewed", "--gate", "review") == 0
    store = MapStore.open("reviewed")
    assert store.images == [str(file) for file in files]
    assert store.about["gate"]["mode"] == "review"
    assert len(store.about["gate"]["digest"]) == 64
    assert Path("reviewed.gate.csv").read_bytes() == Path("refused.gate.csv").read_bytes()
    assert explain(bundle, *files, "--out", "off", "--gate", "off") == 0
    assert not Path("off.gate.csv").exists()
    # maps that are to be scored lose no film
    boxes = phantoms.manifest.with_name("manifest.boxes.csv")
    assert explain(bundle, phantoms.manifest, "--boxes", boxes, "--out", "boxed") == 0
    assert MapStore.open("boxed").about["gate"]["mode"] == "review"


def test_a_bundle_without_a_gate_says_so(
    small: Path, phantoms: Phantoms, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert explain(small, phantoms.files("test")[0], "--out", "maps") == 0
    assert "note: this bundle has no gate" in capsys.readouterr().err
    assert not Path("maps.gate.csv").exists()
