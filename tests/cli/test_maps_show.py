"""``cxr-monai maps show``, as a user types it."""

import argparse
from pathlib import Path

import mlflow
import nibabel
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cxr_monai.attribution import drawing, map_pictures
from cxr_monai.attribution.drawing import MapPanel
from cxr_monai.attribution.map_store import MapStore
from cxr_monai.cli import maps_show
from cxr_monai.data.manifest import write_manifest
from cxr_monai.errors import Code, EvaluationError, RadiographError, SettingError, UsageError
from tests.attribution.map_stores import SIDE, made_images, made_manifest, made_store

ROWS = {"a/1.png": (0.9, 0.6, 0.1), "a/2.png": (0.2, 0.3, 0.7), "b/3.png": (0.4, 0.1, 0.2)}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    made_images(tmp_path / "images", list(ROWS))
    made_store(tmp_path / "maps", ROWS, root=str(tmp_path / "images"))
    labels = [("a/1.png", "p", (1, 1, 0)), ("a/2.png", "q", (0, 0, 0)), ("b/3.png", "r", (1, 0, 0))]
    write_manifest(made_manifest(tmp_path / "images", labels), "manifest.csv")
    box = ("1.png", "Effusion", 4, 5, 6, 7, SIDE, SIDE)
    names = ["image", "finding", "x", "y", "width", "height", "image_width", "image_height"]
    pd.DataFrame([box], columns=names).to_csv("boxes.csv", index=False)
    return tmp_path


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> list[list[MapPanel]]:
    """Collect what is drawn in overlays, and how, instead of drawing it well."""
    drawn: list[list[MapPanel]] = []

    def compare(panels: list[list[MapPanel]], **options: object) -> object:
        drawn.extend(panels)
        drawn_with.append(options)
        return drawing.compare_figure([[MapPanel(np.zeros((4, 4), np.float32))]])

    drawn_with.clear()
    monkeypatch.setattr(map_pictures, "compare_figure", compare)
    return drawn


drawn_with: list[dict[str, object]] = []


def show(*words: str) -> int:
    parser = argparse.ArgumentParser()
    maps_show.add_arguments(parser)
    return maps_show.run(parser.parse_args(list(words)))


def test_a_folder_of_overlays(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert show("maps", "--images", "1.png", "b/3.png", "--out", "out") == 0
    names = ["1_Effusion.png", "1_Mass.png", "3_Effusion.png"]  # what is reported
    assert sorted(path.name for path in (folder / "out").iterdir()) == names
    assert "3 pictures: out/1_Effusion.png, out/1_Mass.png, out/3_Effusion.png\n" in capsys.readouterr().out
    with Image.open("out/1_Mass.png") as picture:
        assert picture.info["dpi"] == pytest.approx((300, 300), abs=0.1)


def test_one_file_of_other_findings_and_models(folder: Path, rows: list[list[MapPanel]]) -> None:
    made_store(folder / "other", ROWS, method="gradcam")
    assert show("maps", "other", "--images", "2.png", "1.png", "2.png", "--finding", "mass", "--out", "two.PDF") == 0
    assert Path("two.PDF").read_bytes()[:5] == b"%PDF-"
    assert [[panel.title for panel in row] for row in rows] == [
        ["2.png", "A bundle, cam", "A bundle, gradcam"],
        ["1.png", "A bundle, cam", "A bundle, gradcam"],
    ]
    assert {panel.finding for row in rows for panel in row[1:]} == {"Mass"}


def test_labels_and_boxes_are_shown(folder: Path, rows: list[list[MapPanel]]) -> None:
    words = ("--finding", "Effusion", "--manifest", "manifest.csv", "--boxes", "boxes.csv")
    assert show("maps", "--images", "1.png", *words, "--out", "one.png") == 0
    radiograph, overlay = rows[0]
    assert radiograph.finding == "labelled Effusion, Mass"
    assert list(overlay.truth) == list(radiograph.truth) == [(4, 5, 6, 7)]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], ("at least 0.5 of the maximum", True, True)),
        (["--threshold", "area=0.1", "--no-parts"], ("the strongest 10 % of the image", True, False)),
        (["--threshold", "0.8", "--no-contours"], ("at least 0.8 of the maximum", False, True)),
    ],
)
def test_how_it_is_drawn(folder: Path, rows: list[list[MapPanel]], words: list[str], expected: tuple) -> None:
    assert show("maps", "--images", "1.png", *words, "--out", "one.png") == 0
    told = drawn_with[0]
    assert (str(told["threshold"]), told["contours"], told["boxes"]) == expected


@pytest.mark.parametrize("out", ["sheet.png", "sheet.pdf", "sheets"])
def test_a_sheet(folder: Path, out: str) -> None:
    assert (
        show("maps", "--sheet", "--manifest", "manifest.csv", "--boxes", "boxes.csv", "--count", "2", "--out", out) == 0
    )
    made = {path.relative_to(folder).as_posix() for path in folder.rglob("sheet*.*")}
    names = {"sheets/sheet.png", "sheets/sheet.pdf", "sheets/sheet.csv"} if out == "sheets" else {out, "sheet.csv"}
    assert made == names
    chosen = pd.read_csv(next(folder.rglob("sheet.csv")))
    assert chosen["row"].tolist() == ["Normal", "Effusion", "Effusion", "Mass", "Hernia"]
    assert chosen["image"].tolist()[:4] == ["a/2.png", "a/1.png", "b/3.png", "a/1.png"]


def test_maps_for_viewers_lie_on_the_radiograph(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert show("maps", "--images", "1.png", "--finding", "Mass", "--nifti", "--out", "out") == 0
    assert "2 NIfTI files: out" in capsys.readouterr().out
    radiograph, heat = (nibabel.load(folder / "out" / name) for name in ("1.nii.gz", "1_Mass.nii.gz"))
    with Image.open("images/a/1.png") as image:
        np.testing.assert_allclose(radiograph.get_fdata()[..., 0].T, np.asarray(image) / 255, atol=1e-6)
    expected = MapStore.open("maps").on_image("a/1.png", "Mass")
    assert expected is not None
    np.testing.assert_array_equal(heat.get_fdata()[..., 0].T, expected)  # in the method's own unit


def test_one_bad_file_is_told_and_the_others_are_drawn(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "images/a/1.png").write_bytes(b"no image")
    assert show("maps", "--images", "1.png", "3.png", "--out", "out") == 0
    assert "some images were left out: out.errors.csv" in capsys.readouterr().err
    assert pd.read_csv("out.errors.csv")["image"].tolist() == ["a/1.png"]
    assert [path.name for path in Path("out").iterdir()] == ["3_Effusion.png"]
    with pytest.raises(RadiographError):
        show("maps", "--images", "1.png", "--out", "none")


def test_the_root_may_be_named(folder: Path) -> None:
    (folder / "images").rename(folder / "moved")
    with pytest.raises(RadiographError) as caught:
        show("maps", "--images", "1.png", "--out", "out")
    assert caught.value.code == Code.RADIOGRAPH_NOT_FOUND
    assert show("maps", "--images", "1.png", "--root", "moved", "--out", "out") == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--images", "1.png", "--out", "a.jpg"], "a.jpg"),
        (["--images", "1.png", "--out", "manifest.csv"], "manifest.csv"),
        (["--images", "1.png", "--out", "a.png", "--nifti"], "--nifti"),
        (["--images", "1.png", "--out", "a.png", "--experiment", "x"], "--sheet"),
        (["maps", "--sheet", "--out", "a.png"], "--sheet"),
        (["--sheet", "--out", "a.png", "--count", "0"], "--count 0"),
        (["--sheet", "--out", "a.png", "--count", "9"], "--count 9"),
    ],
)
def test_words_that_do_not_go_together(folder: Path, words: list[str], told: str) -> None:
    before = sorted(folder.rglob("*"))
    with pytest.raises(UsageError, match=told):
        show("maps", *words)
    assert sorted(folder.rglob("*")) == before


def test_what_is_not_there_is_named(folder: Path) -> None:
    with pytest.raises(EvaluationError, match="cxr-monai explain") as caught:
        show("images", "--sheet", "--out", "a.png")
    assert caught.value.code == Code.MAPS_INVALID
    with pytest.raises(EvaluationError, match=r"'9\.png'"):
        show("maps", "--images", "9.png", "--out", "a.png")
    with pytest.raises(SettingError, match="Effusion, Mass, Hernia"):
        show("maps", "--images", "1.png", "--finding", "Edema", "--out", "a.png")
    with pytest.raises(SettingError, match="area"):
        show("maps", "--images", "1.png", "--threshold", "2", "--out", "a.png")
    assert not Path("a.png").exists()


def test_images_or_a_sheet_and_not_both(folder: Path) -> None:
    for words in (["maps", "--out", "a.png"], ["maps", "--sheet", "--images", "1.png", "--out", "a.png"]):
        with pytest.raises(SystemExit) as caught:
            show(*words)
        assert caught.value.code == 2


def test_the_sheet_is_logged_and_the_names_of_images_are_not(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tracking_store: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_store)
    monkeypatch.setattr("cxr_monai.training.delivery.PATIENCE", 60)  # making a store takes long on a busy machine
    words = ("--manifest", "manifest.csv", "--out", "sheets", "--experiment", "sheets of maps")
    assert show("maps", "--sheet", *words) == 0
    client = mlflow.MlflowClient(tracking_store)
    experiment = client.get_experiment_by_name("sheets of maps")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params["threshold"] == "0.5"
    logged = sorted(item.path for item in client.list_artifacts(run.info.run_id, "sheets"))
    assert logged == ["sheets/sheet.pdf", "sheets/sheet.png"]
