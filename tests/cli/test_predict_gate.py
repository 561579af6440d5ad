"""``cxr-monai predict`` with a bundle that has a gate: what it prints, writes, and how it ends."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cxr_monai.cli import main
from cxr_monai.evaluation.gate_evidence import read_gate_evidence
from cxr_monai.evaluation.streaming import PredictionRows
from cxr_monai.gate.bundle_gate import GATE_COLUMNS
from cxr_monai.inference.model import Model
from cxr_monai.workflows.predict import predict_images
from tests.data.test_radiograph_dicom import dicom
from tests.data.test_radiograph_dicom import written as dicom_bytes
from tests.support.geometry_gates import altered, film, save, with_geometry_gate
from tests.support.tiny_bundles import tiny_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_geometry_gate(tiny_bundle(tmp_path_factory.mktemp("gated") / "bundle", 0))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nine films: good ones, three wrong ones, a copy that comes late, and a file that is none."""
    monkeypatch.chdir(tmp_path)
    films = {f"{number}.png": film(number) for number in range(1, 6)}
    films |= {"6.png": altered(film(6), "turned by 90 degrees"), "3b.png": altered(film(7), "inverted")}
    films |= {"7.png": altered(film(8), "mirrored"), "8.png": film(1)}
    for name, levels in films.items():
        save(tmp_path / "films" / name, levels)
    (tmp_path / "films" / "9.png").write_bytes(b"no film")
    return tmp_path / "films"


def predict(bundle: Path, *inputs: Path, words: tuple[str, ...] = ()) -> int:
    arguments = ["predict", str(bundle), *map(str, inputs), "--out", "p.csv", "--workers", "0", "--batch-size", "2"]
    return main([*arguments, "--trust-folder", *words])


def written() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path().glob("p.csv*")}


def test_what_is_refused_and_marked_is_told_and_written(
    bundle: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict(bundle, folder) == 0
    told = capsys.readouterr()
    assert "6 of 10 images predicted" in told.out
    assert "4 left out (3 refused by the gate): p.csv.errors.csv" in told.err
    assert "  3b.png [gate-inverted]: The film looks inverted: bone is dark and air is bright (alteration: " in told.err
    assert "1 of 9 films for review, and predicted:\n  8.png [gate-duplicate]: the same film as 1.png" in told.err
    assert "--mend rotation would undo it for 1 film" in told.err
    assert "--mend inversion would undo it for 1 film" in told.err
    assert "the gate's evidence of every film: p.csv.gate.csv" in told.err
    assert list(pd.read_csv("p.csv").columns) == ["image", "Effusion", "Mass"]
    errors = pd.read_csv("p.csv.errors.csv").set_index("image")
    assert list(errors.columns) == ["code", "reason"]
    assert errors["code"].to_dict() == {
        "3b.png": "gate-inverted",
        "6.png": "gate-rotated",
        "7.png": "gate-mirrored",
        "9.png": "radiograph-not-an-image",
    }
    evidence = read_gate_evidence("p.csv.gate.csv")
    assert tuple(evidence.columns) == GATE_COLUMNS
    assert list(evidence["image"]) == ["1.png", "2.png", "3.png", "3b.png", *(f"{n}.png" for n in range(4, 9))]
    about = json.loads(Path("p.csv.json").read_text())
    assert about["gate"]["films"] == {"accept": 5, "review": 1, "refuse": 3}
    assert (about["gate"]["mode"], about["gate"]["promise"], len(about["gate"]["digest"])) == ("refuse", 0.01, 64)


def test_what_is_odd_about_a_refused_film_is_no_note_on_the_predictions(
    bundle: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lateral = dicom(np.random.default_rng(9).integers(0, 4096, (64, 64), dtype=np.uint16), ViewPosition="LL")
    (folder / "lateral.dcm").write_bytes(dicom_bytes(lateral))
    assert predict(bundle, folder) == 0
    told = capsys.readouterr()
    assert "  lateral.dcm [gate-lateral]: " in told.err
    assert "note: " not in told.out
    assert predict(bundle, folder, words=("--gate", "review", "--force")) == 0
    told = capsys.readouterr()
    assert "(lateral.dcm): a lateral view" in told.out
    assert "  lateral.dcm [gate-lateral]: " in told.err


def test_mended_films_are_told(bundle: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert predict(bundle, folder, words=("--mend", "rotation,inversion")) == 0
    told = capsys.readouterr()
    assert "8 of 10 images predicted" in told.out
    assert "1 film was mended before the prediction: rotation" in told.err
    assert "1 film was mended before the prediction: inversion" in told.err
    assert "would undo it for" not in told.err
    about = json.loads(Path("p.csv.json").read_text())
    assert about["gate"]["films"]["mended"] == {"inversion": 1, "rotation": 1}
    mended = read_gate_evidence("p.csv.gate.csv").set_index("image")["mended"]
    assert mended[mended != ""].to_dict() == {"3b.png": "inversion", "6.png": "rotation"}


def test_for_review_nothing_is_left_out(bundle: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert predict(bundle, folder, words=("--gate", "review")) == 0
    told = capsys.readouterr()
    assert "9 of 10 images predicted" in told.out
    assert "1 left out: p.csv.errors.csv" in told.err
    assert "3 of 9 films would be refused, and are predicted (--gate review):\n  3b.png [gate-inverted]" in told.err


def test_where_every_film_is_refused_nothing_was_done(bundle: Path, folder: Path) -> None:
    assert predict(bundle, folder / "1.png") == 0
    assert predict(bundle, folder / "6.png", folder / "7.png", words=("--force",)) == 1
    assert set(written()) == {"p.csv.errors.csv", "p.csv.gate.csv"}  # nothing of the earlier result
    assert list(read_gate_evidence("p.csv.gate.csv")["gate"]) == ["refuse", "refuse"]


def test_strict_counts_refused_films(bundle: Path, folder: Path) -> None:
    films = (folder / "1.png", folder / "6.png")
    assert predict(bundle, *films, words=("--strict",)) == 1
    assert predict(bundle, *films, words=("--strict", "--force", "--mend", "rotation")) == 0
    assert predict(bundle, *films, words=("--strict", "--force", "--gate", "off")) == 0
    assert set(written()) == {"p.csv", "p.csv.json"}  # the evidence of before is gone
    assert json.loads(Path("p.csv.json").read_text())["gate"] == {"mode": "off"}


def test_a_bundle_without_a_gate_says_so_once_and_goes_on(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = tiny_bundle(tmp_path / "old", 0)
    assert predict(old, folder, words=("--mend", "rotation")) == 0
    told = capsys.readouterr().err
    assert told.count("this bundle has no gate") == 1
    assert "--mend does nothing without one" in told
    assert len(pd.read_csv("p.csv")) == 9
    assert not Path("p.csv.gate.csv").exists()


class KilledError(BaseException):
    """As a kill: nothing behind it runs."""


def test_killed_at_any_batch_it_goes_on_to_the_same_bytes(
    bundle: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--mend", "rotation")
    assert predict(bundle, folder, words=words) == 0
    whole = written()
    assert set(whole) == {"p.csv", "p.csv.json", "p.csv.errors.csv", "p.csv.gate.csv"}
    assert b"8.png,review,gate-duplicate" in whole["p.csv.gate.csv"]  # of a film that came before each kill
    add, choose = PredictionRows.add, random.Random(7)
    for batches in (1, 2, 3, 4):
        for name in whole:
            Path(name).unlink()
        done = []

        def killed(rows: PredictionRows, *batch: Any, limit: int = batches, done: list[int] = done) -> None:
            add(rows, *batch)
            done.append(1)
            if len(done) == limit:
                raise KilledError

        with monkeypatch.context() as patched:
            patched.setattr(PredictionRows, "add", killed)
            with pytest.raises(KilledError):
                predict(bundle, folder, words=words)
        part = written()
        assert set(part) == {"p.csv.part"}
        for other in ((), ("--mend", "inversion"), ("--mend", "rotation", "--gate", "review"), ("--gate", "off")):
            assert predict(bundle, folder, words=other) == 2  # other settings do not go on with it
        assert written() == part
        cut = len(part["p.csv.part"]) - choose.randrange(200)  # within the last batch, as a power cut leaves it
        Path("p.csv.part").write_bytes(part["p.csv.part"][:cut])
        assert predict(bundle, folder, words=words) == 0
        assert written() == whole


def test_what_a_manifest_says_counts_and_another_manifest_does_not_go_on(
    bundle: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    head = "image,patient_id,study_id,view,age,sex,source,split,Effusion,Mass"
    ages = {"1.png": 40, "2.png": 4, "4.png": 50}
    rows = [f"{name},{name[0]},{name[0]},PA,{age},F,,test,0,1" for name, age in ages.items()]
    manifest = Path("films/m.csv")
    manifest.write_text("\n".join([head, *rows]) + "\n")
    assert predict(bundle, manifest) == 0
    assert pd.read_csv("p.csv.errors.csv")[["image", "code"]].to_numpy().tolist() == [["2.png", "gate-child"]]
    whole, add = written(), PredictionRows.add
    for name in whole:
        Path(name).unlink()

    def killed(rows: PredictionRows, *batch: Any) -> None:
        add(rows, *batch)
        raise KilledError

    with monkeypatch.context() as patched:
        patched.setattr(PredictionRows, "add", killed)
        with pytest.raises(KilledError):
            predict(bundle, manifest)
    text = manifest.read_text()
    manifest.write_text(text.replace(",50,", ",5,"))
    capsys.readouterr()
    assert predict(bundle, manifest) == 2
    assert "differs in facts" in capsys.readouterr().err
    manifest.write_text(text)
    assert predict(bundle, manifest) == 0
    assert written() == whole


def test_python_gives_the_same_from_memory_and_from_a_file(bundle: Path, folder: Path) -> None:
    options: dict[str, Any] = {"batch_size": 2, "workers": 0, "trust_folder": True, "mend": "inversion"}
    memory, file = predict_images(bundle, folder, **options), predict_images(bundle, folder, "p.csv", **options)
    assert memory.about == file.about
    assert memory.errors == file.errors
    assert memory.gate is not None
    assert file.gate is not None
    pd.testing.assert_frame_equal(file.gate, memory.gate, check_dtype=False, rtol=1e-5, atol=1e-6)
    pd.testing.assert_frame_equal(file.table, memory.table, check_dtype=False, rtol=1e-6)
    assert Model.open(bundle).predict([]).gate is None
