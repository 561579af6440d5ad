"""``cxr-monai predict --dicom-out``: one file an object, a table of them, whole or not at all, and going on."""

import os
import shutil
import signal
import sys
from pathlib import Path
from subprocess import run as run_process
from typing import Any

import pandas as pd
import pytest
from pydicom import dcmread

import cxr_monai as cxr
from cxr_monai.cli import build_parser, main
from cxr_monai.errors import CxrError
from cxr_monai.inference.model import Model
from cxr_monai.locking import FileHold
from cxr_monai.objects import ResultKind
from cxr_monai.workflows.dicom_folder import BYTES_OF_KIND, object_stems
from cxr_monai.workflows.dicom_results import DicomResults
from tests.support.dicom_films import ObjectsForTests, answering_bundle, light_objects, save_film
from tests.support.geometry_gates import altered, film, save
from tests.support.small_disks import fill, make_room, small_disk

__all__ = ["light_objects"]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return answering_bundle(tmp_path_factory.mktemp("answering") / "bundle")


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In folders: three films, one turned, a copy byte for byte, a PNG, and a file that is none."""
    root = tmp_path_factory.mktemp("films")
    save_film(root / "1" / "a.dcm", film(0), "1.2.3.0")
    save_film(root / "1" / "b.dcm", altered(film(1), "turned by 90 degrees"), "1.2.3.1")
    save_film(root / "2" / "a.dcm", film(2), "1.2.3.2")
    save_film(root / "2" / "copy.dcm", film(2), "1.2.3.2")
    save_film(root / "2" / "c", film(3), "1.2.3.3")
    save(root / "3.png", film(4))
    (root / "bad.dcm").write_bytes(b"no film")
    return root


def predict(bundle: Path, *inputs: Path, words: tuple[str, ...] = ("--dicom-out", "results")) -> int:
    return main(["predict", str(bundle), *map(str, inputs), "--out", "p.csv", "--workers", "0", "--batch-size", "2",
                 *words])  # fmt: skip


def tree(folder: Path = Path()) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def taken_away() -> dict[str, bytes]:
    files = tree()
    shutil.rmtree("results")
    for path in Path().glob("p.csv*"):
        path.unlink()
    return files


def table() -> pd.DataFrame:
    return pd.read_csv("results/objects.csv", dtype="str")


OBJECTS = ["1/a", "1/b", "2/a", "2/c"]
FILES = {f"{stem}.{kind}.dcm" for stem in OBJECTS for kind in ("sr", "sc")} | {"objects.csv", "objects.csv.errors.csv"}


def test_one_file_an_object_and_a_table_of_them(
    bundle: Path, films: Path, elsewhere: Path, light_objects: ObjectsForTests, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict(bundle, films) == 0
    assert set(tree(Path("results"))) == FILES
    rows = table()
    assert list(rows.columns) == ["image", "kind", "sop_instance_uid", "file"]
    assert list(rows["image"]) == [
        name for name in ("1/a.dcm", "1/b.dcm", "2/a.dcm", "2/c", "2/copy.dcm") for _ in range(2)
    ]
    assert list(rows["kind"]) == ["sr", "sc"] * 5
    for row in rows.itertuples():
        assert dcmread(f"results/{row.file}").SOPInstanceUID == row.sop_instance_uid
    by_image = rows.set_index("image")
    assert list(by_image.loc["2/copy.dcm", "file"]) == list(
        by_image.loc["2/a.dcm", "file"]
    )  # the same film: one object
    assert len(light_objects.built) == 8
    errors = pd.read_csv("results/objects.csv.errors.csv").set_index("image")["code"]
    assert dict(errors) == {"3.png": "result-impossible", "bad.dcm": "radiograph-not-an-image"}
    told = capsys.readouterr()
    assert "8 DICOM objects of 5 of 7 films: results/objects.csv" in told.out
    assert "2 of 7 films are without DICOM objects: results/objects.csv.errors.csv" in told.err
    assert "  3.png [result-impossible]: no DICOM object can refer to this file: it is a PNG file" in told.err
    assert set(pd.read_csv("p.csv")["image"]) == {"1/a.dcm", "2/a.dcm", "2/c", "2/copy.dcm", "3.png"}


def test_predictions_are_the_same_bytes_with_and_without(
    bundle: Path, films: Path, elsewhere: Path, light_objects: ObjectsForTests
) -> None:
    assert predict(bundle, films, words=()) == 0
    before = {name: content for name, content in tree().items() if name.startswith("p.csv")}
    assert set(before) == {"p.csv", "p.csv.json", "p.csv.errors.csv", "p.csv.gate.csv"}
    for name in before:
        Path(name).unlink()
    assert predict(bundle, films) == 0
    assert {name: content for name, content in tree().items() if name.startswith("p.csv")} == before


def test_interrupted_it_goes_on_and_builds_nothing_twice(
    bundle: Path, films: Path, elsewhere: Path, light_objects: ObjectsForTests, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert predict(bundle, films) == 0
    whole = taken_away()
    light_objects.built.clear()
    build = DicomResults.build

    def stop(self: DicomResults, *arguments: Any) -> Any:
        if len(light_objects.built) == 6:  # in the middle of a batch, one of whose films is done
            raise KeyboardInterrupt
        return build(self, *arguments)

    with monkeypatch.context() as context:
        context.setattr(DicomResults, "build", stop)
        assert predict(bundle, films) == 130
    names = set(tree())
    assert "results/objects.csv" not in names
    assert "p.csv" not in names
    assert {"p.csv.part", "results/objects.csv.part", "results/objects.part/1/a.sr.dcm"} <= names
    for words in (("--dicom-out", "results", "--dicom-objects", "sr"), ("--dicom-out", "other"), ()):
        assert predict(bundle, films, words=words) == 2
        assert "differs in dicom" in capsys.readouterr().err
    assert set(tree()) == names
    assert predict(bundle, films) == 0
    assert tree() == whole
    assert len(light_objects.built) == 8


def test_killed_behind_its_second_batch_it_comes_to_the_same_bytes(bundle: Path, films: Path, elsewhere: Path) -> None:
    """With the true builder of pictures, in a process of its own."""
    words = ("--dicom-out", "results", "--dicom-objects", "sc")
    assert predict(bundle, films, words=words) == 0
    whole = taken_away()
    code = (
        "import os, signal, sys\n"
        "from cxr_monai.cli import main\n"
        "from cxr_monai.evaluation.streaming import PredictionRows\n"
        "add, batches = PredictionRows.add, []\n"
        "def kill(self, *batch):\n"
        "    batches.append(batch)\n"
        "    if len(batches) == 2:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)  # its objects are there, and its row is not\n"
        "    add(self, *batch)\n"
        "PredictionRows.add = kill\n"
        "main(sys.argv[1:])\n"
    )
    command = ["predict", str(bundle), str(films), "--out", "p.csv", "--workers", "0", "--batch-size", "2", *words]
    process = run_process([sys.executable, "-c", code, *command], capture_output=True)
    assert process.returncode == -signal.SIGKILL, process.stderr
    left = {name: os.stat(name).st_mtime_ns for name in tree() if name.endswith(".dcm")}
    assert len(left) == 4
    assert not Path("results/objects.csv").exists()
    assert predict(bundle, films, words=words) == 0
    assert tree() == whole
    for name, changed in left.items():
        assert os.stat(name.replace("objects.part/", "")).st_mtime_ns == changed  # moved, and not built again


def test_ended_while_objects_take_their_places_it_goes_on(
    bundle: Path, films: Path, elsewhere: Path, light_objects: ObjectsForTests, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace, moved = os.replace, []

    def stop(source: Any, target: Any) -> None:
        if "objects.part" in str(source) and str(source).endswith(".dcm") and ".part" not in Path(source).name:
            moved.append(source)
            if len(moved) == 4:
                raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr("cxr_monai.workflows.dicom_folder.os.replace", stop)
    assert predict(bundle, films) == 130
    assert not Path("results/objects.csv").exists()
    monkeypatch.setattr("cxr_monai.workflows.dicom_folder.os.replace", replace)
    count = len(light_objects.built)
    assert predict(bundle, films) == 0
    assert (count, len(light_objects.built)) == (8, 8)
    assert set(tree(Path("results"))) == FILES


def test_an_object_that_is_gone_is_told(
    bundle: Path, films: Path, elsewhere: Path, light_objects: ObjectsForTests, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    finish = "cxr_monai.workflows.dicom_folder.DicomFolder.finish"

    def stop(folder: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr(finish, stop)
        assert predict(bundle, films) == 130
    Path("results/objects.part/2/a.sr.dcm").unlink()
    capsys.readouterr()
    assert predict(bundle, films) == 1
    assert "error [result-incomplete]: results/objects.part/2/a.sr.dcm" in capsys.readouterr().err


def test_an_earlier_result_stays_until_the_new_one_is_whole(
    bundle: Path, films: Path, elsewhere: Path, light_objects: ObjectsForTests, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert predict(bundle, films) == 0
    before = tree(Path("results"))
    Path("results/note.txt").write_text("mine")
    assert main(["predict", str(bundle), str(films), "--out", "q.csv", "--dicom-out", "results"]) == 2
    assert "error [output-exists]: results/objects.csv" in capsys.readouterr().err
    words = ("--dicom-out", "results", "--force", "--rule", "f1")

    def stop(folder: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr("cxr_monai.workflows.dicom_folder.DicomFolder.finish", stop)
        assert predict(bundle, films / "2", words=words) == 130
    after = tree(Path("results"))
    assert {name: after[name] for name in before} == before
    assert predict(bundle, films / "2", words=words) == 0
    objects = {f"{stem}.{kind}.dcm" for stem in "ac" for kind in ("sr", "sc")}
    assert set(tree(Path("results"))) == {*objects, "objects.csv", "note.txt"}
    assert {path.name for path in Path("results").iterdir() if path.is_dir()} == set()


@pytest.mark.parametrize("listed", ["../p.dcm", "/p.dcm", "note.txt"])
def test_a_table_that_was_tampered_with_removes_nothing_else(
    listed: str, bundle: Path, films: Path, elsewhere: Path, light_objects: ObjectsForTests
) -> None:
    Path("results").mkdir()
    Path("p.dcm").write_text("mine")
    Path("results/note.txt").write_text("mine")
    Path("results/objects.csv").write_text(f"image,kind,sop_instance_uid,file\na,sr,1.2,{listed}\n")
    assert predict(bundle, films / "1", words=("--dicom-out", "results", "--force")) == 0
    assert Path("p.dcm").read_text() == Path("results/note.txt").read_text() == "mine"


def test_a_folder_of_other_files_is_not_taken(
    bundle: Path, films: Path, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("results").mkdir()
    Path("results/film.dcm").write_bytes(b"somebody's")
    for words in ((), ("--force",)):
        assert predict(bundle, films, words=("--dicom-out", "results", *words)) == 2
        assert "error [output-exists]: results: this folder holds other files" in capsys.readouterr().err
    for folder in (films, films / "results"):
        assert predict(bundle, films, words=("--dicom-out", str(folder))) == 2
        assert f"error [output-exists]: {folder}: it lies in {films}" in capsys.readouterr().err
    assert set(tree()) == {"results/film.dcm"}


def test_one_process_at_a_time(
    bundle: Path, films: Path, elsewhere: Path, light_objects: ObjectsForTests, capsys: pytest.CaptureFixture[str]
) -> None:
    hold = FileHold.of(Path("results/objects.csv.part"), Path("results/objects.csv"))
    assert predict(bundle, films) == 1
    assert "error [output-locked]: results/objects.csv" in capsys.readouterr().err
    hold.remove()
    assert set(tree()) == set()
    assert predict(bundle, films) == 0


def test_a_full_disk_keeps_what_is_done(
    bundle: Path, films: Path, elsewhere: Path, light_objects: ObjectsForTests, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("disk").mkdir()
    words = ("--dicom-out", "disk/results", "--dicom-objects", "sr")
    with small_disk(Path("disk"), 1 << 20) as disk:
        fill(disk, 8_000)
        assert predict(bundle, films, words=words) == 1  # less than it takes at least
        assert "error [disk-full]: disk/results" in capsys.readouterr().err
        assert set(tree(disk)) == {"filler"}
        make_room(disk)
        with pytest.MonkeyPatch.context() as context:
            context.setitem(BYTES_OF_KIND, ResultKind.REPORT, 0)
            fill(disk, 16_000)  # room for a part of them
            assert predict(bundle, films, words=words) == 1
            said = capsys.readouterr().err
            assert "error [disk-full]: disk/results" in said
            assert "it continues" in said
            assert not (disk / "results" / "objects.csv").exists()
            count = len(light_objects.built)
            make_room(disk)
            assert predict(bundle, films, words=words) == 0
        assert len(light_objects.built) <= count + 4
        assert len(pd.read_csv(disk / "results" / "objects.csv")) == 5
        assert not list(disk.rglob("*.part"))


def test_without_highdicom_it_says_so_before_the_work(
    bundle: Path, films: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("cxr_monai.objects.result_attributes.find_spec", lambda name: None)
    monkeypatch.setattr(Model, "open", lambda *arguments, **settings: pytest.fail("the bundle was opened"))
    assert predict(bundle, films) == 1
    said = capsys.readouterr().err
    assert "error [runtime-missing]" in said
    assert "pip install 'cxr-monai[dicom-results]'" in said
    assert tree() == {}


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("--dicom-objects", "sr"), 2, "say --dicom-out FOLDER, too"),
        (("--rule", "f1"), 2, "say --dicom-out FOLDER, too"),
        (
            ("--dicom-out", "results", "--dicom-objects", "sr,ps"),
            1,
            "kinds of DICOM objects are sr, sc, gsps, seg; 'ps'",
        ),
        (("--dicom-out", "results", "--dicom-objects", ","), 1, "none was asked for"),
        (("--dicom-out", "results", "--rule", "g"), 1, "there is no operating point 'g'"),
    ],
)
def test_wrong_use(
    words: tuple[str, ...], status: int, said: str, bundle: Path, films: Path, elsewhere: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert predict(bundle, films, words=words) == status
    assert said in capsys.readouterr().err
    assert tree() == {}


def test_strict_counts_films_without_objects(
    bundle: Path, films: Path, elsewhere: Path, light_objects: ObjectsForTests
) -> None:
    assert predict(bundle, films / "3.png", words=("--strict",)) == 0
    assert predict(bundle, films / "3.png", words=("--strict", "--force", "--dicom-out", "results")) == 1
    assert table().empty


def test_all_refused_has_objects_and_no_predictions(
    bundle: Path, films: Path, elsewhere: Path, light_objects: ObjectsForTests
) -> None:
    assert predict(bundle, films / "1" / "b.dcm") == 1
    assert not Path("p.csv").exists()
    assert list(table()["file"]) == ["b.sr.dcm", "b.sc.dcm"]


def test_python(bundle: Path, films: Path, elsewhere: Path, light_objects: ObjectsForTests) -> None:
    cxr.predict_images(bundle, films, "p.csv", trust_folder=True, dicom_out="results", dicom_objects=["sc"], workers=0)
    assert list(table()["kind"]) == ["sc"] * 5
    with pytest.raises(CxrError, match="dicom_out needs out"):
        cxr.predict_images(bundle, films, trust_folder=True, dicom_out="results")


def test_names_differ_and_say_nothing_new() -> None:
    long = "x" * 250
    stems = object_stems(
        ["a/1.dcm", "a/1.DCM", "b/1", "../up/2.dcm", "/abs/3.dcm", f"{long}.dcm", "objects.part/4.dcm"]
    )
    assert stems["b/1"] == "b/1"
    assert (stems["../up/2.dcm"], stems["/abs/3.dcm"]) == ("2", "3")
    assert stems["a/1.dcm"].startswith("a/1-")
    assert stems["a/1.dcm"] != stems["a/1.DCM"]
    assert len(stems[f"{long}.dcm"]) == 32
    assert stems["objects.part/4.dcm"].startswith("objects.part/4-")
    assert len(set(stems.values())) == 7


def test_the_help_shows_how(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        build_parser("predict").parse_args(["predict", "--help"])
    text = capsys.readouterr().out
    for part in ("--dicom-out results", "--dicom-objects sr,sc,gsps", "cxr-monai[dicom-results]", "dcmsend"):
        assert part in text
