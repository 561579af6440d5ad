"""The mixture of good and wrong films: what it holds, that it is what it says, and the summary of a prediction."""

import importlib.util
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from pydicom import dcmread

from cxr_monai.data.phantom import draw_phantom
from cxr_monai.data.radiograph import read_radiograph
from cxr_monai.errors import CxrError

ROOT = Path(__file__).resolve().parents[2]
GOOD = 4


@pytest.fixture(scope="module")
def script() -> Any:
    spec = importlib.util.spec_from_file_location("wrong_films", ROOT / "scripts" / "wrong_films.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["wrong_films"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["wrong_films"]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wrong") / "source"
    folder.mkdir()
    for patient in range(1, 13):
        pixels = np.round(draw_phantom(0, 64, patient=patient).pixels * 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{patient:02d}.png")
    return folder


@pytest.fixture(scope="module")
def mixture(script: ModuleType, source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("mixture") / "out"
    script.write_mixture(source, out, good=GOOD, each=1, seed=3)
    return out


def table_of(mixture: Path) -> pd.DataFrame:
    return pd.read_csv(mixture / "wrong.csv", keep_default_na=False)


def film(mixture: Path, kind: str) -> Path:
    [path] = [path for path in (mixture / "films").iterdir() if path.stem.partition("_")[2] == kind]
    return path


def test_good_films_and_one_of_each_of_fifteen_wrong_kinds(script: ModuleType, mixture: Path) -> None:
    table = table_of(mixture)
    assert sorted(table["image"]) == sorted(path.name for path in (mixture / "films").iterdir())
    expected = {"good": GOOD, **{kind.name: 1 for kind in script.KINDS}}
    assert Counter(table["kind"]) == expected
    assert len(script.KINDS) == 15
    assert (table["expected"] == "").sum() == GOOD
    assert all(
        name.partition("_")[2].startswith(kind) for name, kind in zip(table["image"], table["kind"], strict=True)
    )


def test_the_same_seed_the_same_bytes(script: ModuleType, source: Path, mixture: Path, tmp_path: Path) -> None:
    script.write_mixture(source, tmp_path / "again", good=GOOD, each=1, seed=3)
    names = {path.name for path in (mixture / "films").iterdir()}
    assert names == {path.name for path in (tmp_path / "again" / "films").iterdir()}
    for name in names:
        assert (mixture / "films" / name).read_bytes() == (tmp_path / "again" / "films" / name).read_bytes()
    script.write_mixture(source, tmp_path / "other", good=GOOD, each=1, seed=4)
    assert table_of(tmp_path / "other")["image"].tolist() != table_of(mixture)["image"].tolist()


def test_each_is_what_its_name_says(mixture: Path, source: Path) -> None:
    originals = {path: read_radiograph(path).pixels[0] for path in source.iterdir()}

    def undone(kind: str, undo: Any) -> Path:
        pixels = undo(read_radiograph(film(mixture, kind)).pixels[0])
        [origin] = [path for path, plane in originals.items() if np.abs(plane - pixels).max() < 0.005]
        return origin

    origins = [
        undone("inverted", lambda p: 1 - p),
        undone("mirrored", lambda p: p[:, ::-1]),
        undone("rotated-90", lambda p: np.rot90(p, -1)),
        undone("rotated-180", lambda p: np.rot90(p, 2)),
    ]
    good = [path.read_bytes() for path in (mixture / "films").glob("*_good.png")]
    assert len({*origins}) == 4
    assert not {path.read_bytes() for path in origins} & {*good}  # none is a copy of a good one
    assert film(mixture, "duplicate").read_bytes() in good
    assert table_of(mixture)["kind"].iloc[-1] == "duplicate"  # after the film that it repeats
    assert read_radiograph(film(mixture, "over-exposed")).pixels.mean() > 1.3 * np.mean([*originals.values()])
    upper = read_radiograph(film(mixture, "upper-half")).pixels[0]
    assert upper.shape[1] == 2 * upper.shape[0] or upper.shape[0] < upper.shape[1]
    for kind, code in (("black-frame", "radiograph-constant"), ("not-an-image", "radiograph-not-an-image")):
        with pytest.raises(CxrError) as refused:
            read_radiograph(film(mixture, kind))
        assert refused.value.code == code
    assert read_radiograph(film(mixture, "nearly-constant")).pixels.std() < 0.02


def test_laterals_and_children_say_so_in_their_headers(mixture: Path) -> None:
    lateral, child = dcmread(film(mixture, "lateral")), dcmread(film(mixture, "child"))
    assert (lateral.ViewPosition, list(lateral.PatientOrientation)) == ("LL", ["A", "F"])
    assert (child.ViewPosition, child.PatientAge) == ("PA", "001Y")


def test_a_manifests_own_laterals_and_children_are_taken(script: ModuleType, source: Path, tmp_path: Path) -> None:
    names = sorted(path.name for path in source.iterdir())
    table = pd.DataFrame(
        {
            "image": names,
            "patient_id": names,
            "study_id": names,
            "view": "PA",
            "age": 50,
            "sex": "F",
            "source": "ours",
            "split": "",
            "Mass": 0,
        }
    )
    table.loc[0, "view"], table.loc[1, "age"] = "LATERAL", 3
    manifest = source.parent / "manifest.csv"
    table.assign(image=[f"{source.name}/{name}" for name in names]).to_csv(manifest, index=False)
    films = script.choose_from(manifest)
    assert ([path.name for path in films.laterals], [path.name for path in films.children]) == (["01.png"], ["02.png"])
    assert [path.name for path in films.good] == names[2:]
    script.write_mixture(manifest, tmp_path / "out", good=2, each=1, seed=0)
    pixels = read_radiograph(film(tmp_path / "out", "lateral")).pixels[0]
    np.testing.assert_allclose(pixels, read_radiograph(source / "01.png").pixels[0], atol=0.001)


def test_too_few_films_and_a_folder_that_is_there(script: ModuleType, source: Path, mixture: Path) -> None:
    with pytest.raises(CxrError, match="needs at least 1 of each, and 27 films"):
        script.write_mixture(source, mixture.parent / "new", good=20, each=1, seed=0)
    assert not (mixture.parent / "new").exists()
    assert script.main([str(source), "--out", str(mixture), "--good", "2"]) == 1


def test_the_summary_counts_by_kind(script: ModuleType, mixture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = table_of(mixture).set_index("image")
    unreadable = table["expected"].str.startswith("radiograph-")
    judged = table[~unreadable].copy()
    judged["gate"] = "refuse"
    judged.loc[judged["kind"] == "good", "gate"] = "accept"
    judged.loc[judged["kind"] == "duplicate", "gate"] = "review"
    judged["code"] = judged["expected"].where(judged["kind"] != "blurred", "gate-clipped")
    judged[["gate", "code"]].reset_index().to_csv(mixture / "predictions.csv.gate.csv", index=False)
    errors = table[unreadable].reset_index().rename(columns={"expected": "code"}).assign(reason="")
    errors[["image", "code", "reason"]].to_csv(mixture / "predictions.csv.errors.csv", index=False)
    summary = script.summary(script.judge(mixture, mixture / "predictions.csv")).set_index("kind")
    assert summary.loc["good", ["films", "stopped", "noticed"]].tolist() == [GOOD, 0, 0]
    assert summary.loc["duplicate", ["films", "stopped", "noticed", "right"]].tolist() == [1, 0, 1, 1]
    assert summary.loc["blurred", ["stopped", "right", "codes"]].tolist() == [1, 0, "gate-clipped"]
    assert summary["right"].sum() == GOOD + 14
    assert summary["stopped"].sum() == 14
    assert script.main(["--judge", str(mixture)]) == 0
    assert "gate-clipped" in capsys.readouterr().out
