"""The files that pictures of maps go into."""

from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from cxr_monai.attribution.drawing import MapPanel, compare_figure
from cxr_monai.attribution.gallery import Gallery
from cxr_monai.attribution.map_pictures import write_example_sheet, write_nifti_maps, write_overlays, write_pictures
from cxr_monai.attribution.map_store import MapStore
from cxr_monai.data.radiograph import read_radiograph
from cxr_monai.errors import Code, EvaluationError, RadiographError, SettingError
from tests.attribution.map_stores import made_images, made_manifest, made_store

ROWS = {"a/1.png": (0.9, 0.6, 0.1), "a/2.png": (0.2, 0.3, 0.7), "b/2.png": (0.3, 0.1, 0.2)}


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    made_images(tmp_path, list(ROWS))
    store = made_store(tmp_path / "maps", ROWS, without=[("a/1.png", "Hernia")], spacing=(0.2, 0.1))
    return Gallery([store], tmp_path, points=24)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_picture_for_each_image_and_finding(gallery: Gallery, tmp_path: Path) -> None:
    written = write_overlays(gallery, ["a/1.png"], tmp_path / "out")
    assert [path.name for path in written] == ["1_Effusion.png", "1_Mass.png"]
    assert names_in(tmp_path / "out") == ["1_Effusion.png", "1_Mass.png"]
    write_overlays(gallery, ["a/2.png"], tmp_path / "pdf", ["Mass"], suffix=".pdf")
    assert names_in(tmp_path / "pdf") == ["2_Mass.pdf"]


def test_all_rows_in_one_picture(gallery: Gallery, tmp_path: Path) -> None:
    one, both = (
        read_radiograph_size(write_overlays(gallery, list(ROWS)[:count], tmp_path / f"{count}.png", ["Mass"])[0])
        for count in (1, 2)
    )
    assert one[0] == both[0]
    assert both[1] > one[1] + 600  # a panel's height more


def read_radiograph_size(path: Path) -> tuple[int, int]:
    from PIL import Image

    with Image.open(path) as image:
        return image.size


def test_images_of_one_file_name_have_their_paths(gallery: Gallery, tmp_path: Path) -> None:
    write_overlays(gallery, ["a/2.png", "b/2.png"], tmp_path / "out", ["Mass"])
    assert names_in(tmp_path / "out") == ["a_2_Mass.png", "b_2_Mass.png"]


def test_names_stay_files_of_the_folder(tmp_path: Path) -> None:
    images = ["../x.dcm", "1.2.840.113", "1.2.840.114.nii.gz"]
    store = made_store(tmp_path / "maps", dict.fromkeys(images, (0.5,)), findings=["Support/Devices, left"])
    gallery = Gallery([store], tmp_path / "root", points=24)
    made_images(tmp_path / "root" / "deep", ["x.png"])
    gallery.paths = dict.fromkeys(images, tmp_path / "root" / "deep" / "x.png")
    write_overlays(gallery, images, tmp_path / "out")
    assert names_in(tmp_path / "out") == [
        "1.2.840.113_Support_Devices_left.png",
        "1.2.840.114_Support_Devices_left.png",
        "x_Support_Devices_left.png",
    ]


def test_images_that_cannot_be_read_are_listed_and_the_rest_is_drawn(gallery: Gallery, tmp_path: Path) -> None:
    (tmp_path / "a/2.png").write_bytes(b"no image")
    written = write_overlays(gallery, ["a/2.png", "a/1.png"], tmp_path / "out", ["Mass"])
    assert len(written) == 1
    errors = pd.read_csv(tmp_path / "out.errors.csv")
    assert errors[["image", "code"]].to_numpy().tolist() == [["a/2.png", "radiograph-not-an-image"]]
    with pytest.raises(RadiographError):
        write_overlays(gallery, ["a/2.png"], tmp_path / "none")
    made_images(tmp_path, list(ROWS))
    write_overlays(gallery, ["a/2.png"], tmp_path / "out", ["Mass"])
    assert not (tmp_path / "out.errors.csv").exists()


def test_nothing_to_draw_is_an_error(tmp_path: Path) -> None:
    made_images(tmp_path, ["1.png"])
    store = made_store(tmp_path / "maps", {"1.png": (0.1,)}, findings=["Mass"], without=[("1.png", "Mass")])
    with pytest.raises(EvaluationError, match="no map of this image") as caught:
        write_overlays(Gallery([store], tmp_path), ["1.png"], tmp_path / "out")
    assert caught.value.code == Code.MAPS_INVALID
    assert len(write_overlays(Gallery([store], tmp_path), ["1.png"], tmp_path / "out", ["Mass"])) == 1


def test_an_unknown_finding_is_an_error_and_not_a_file_left_out(gallery: Gallery, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="Rash"):
        write_overlays(gallery, ["a/1.png"], tmp_path / "out", ["Rash"])


def test_a_sheet_and_what_is_on_it(gallery: Gallery, tmp_path: Path) -> None:
    labels = [("a/1.png", "p", (1, 0, 0)), ("a/2.png", "q", (0, 0, 0)), ("b/2.png", "r", (0, 1, 0))]
    gallery = Gallery([gallery.store], tmp_path, made_manifest(tmp_path, labels), points=24)
    chosen = write_example_sheet(gallery, tmp_path / "sheet.pdf", count=2)
    beside = pd.read_csv(tmp_path / "sheet.csv", keep_default_na=False)
    assert beside[["row", "image", "finding"]].to_numpy().tolist() == [
        ["Normal", "a/2.png", "Hernia"],
        ["Effusion", "a/1.png", "Effusion"],
        ["Mass", "b/2.png", "Mass"],
        ["Hernia", "", ""],
    ]
    assert chosen["row"].tolist() == beside["row"].tolist()
    assert (tmp_path / "sheet.pdf").read_bytes().startswith(b"%PDF")


def test_maps_as_nifti_lie_on_the_radiograph_in_its_pixels(tmp_path: Path) -> None:
    made_images(tmp_path, ["1.png"], (40, 60))
    store = made_store(tmp_path / "maps", {"1.png": (0.9, 0.6, 0.1)}, shape=(40, 60))
    written = write_nifti_maps(Gallery([store], tmp_path), ["1.png"], tmp_path / "out")
    assert [path.name for path in written] == ["1.nii.gz", "1_Effusion.nii.gz", "1_Mass.nii.gz"]
    stored = read_radiograph(tmp_path / "1.png")
    np.testing.assert_allclose(read_radiograph(written[0]).pixels, stored.pixels, atol=1e-6)
    heat = store.on_image("1.png", "Mass")
    assert heat is not None
    np.testing.assert_allclose(read_radiograph(written[2]).pixels[0], heat / heat.max(), atol=1e-6)
    image = nibabel.load(written[2])
    np.testing.assert_array_equal(image.get_fdata()[..., 0].T, heat)  # its own unit
    assert b"Mass, A bundle, cam" in image.header["descrip"].item()


def test_several_stores_have_their_names_in_the_files(gallery: Gallery, tmp_path: Path) -> None:
    other = made_store(tmp_path / "other", ROWS, method="gradcam++")
    both = Gallery([gallery.store, other], tmp_path)
    written = write_nifti_maps(both, ["a/1.png"], tmp_path / "out", ["Hernia", "Mass"])
    assert [path.name for path in written] == [
        "1.nii.gz",
        "1_Hernia_A_bundle_gradcam.nii.gz",  # the first store did not keep it
        "1_Mass_A_bundle_cam.nii.gz",
        "1_Mass_A_bundle_gradcam.nii.gz",
    ]


def test_one_picture_an_image_with_the_maps_of_its_findings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[list[list[str]], str]] = []

    def figure(rows: Sequence[Sequence[MapPanel]], heading: str, note: str) -> Figure:
        drawn.append(([[panel.finding or panel.title for panel in row] for row in rows], note))
        return compare_figure(rows, heading=heading, note=note)

    monkeypatch.setattr("cxr_monai.attribution.map_pictures.compare_figure", figure)
    names = ["A", "B", "C", "D", "E"]
    rows = {"a/1.png": (0.9, 0.8, 0.7, 0.6, 0.5), "a/2.png": (0.1, 0.3, 0.2, 0.0, 0.0), "b/1.png": (0.6, 0.6, 0, 0, 0)}
    made_images(tmp_path, list(rows))
    points = dict.fromkeys(names, 0.45)
    made_store(
        tmp_path / "maps",
        rows,
        findings=names,
        without=[("a/1.png", "B"), ("b/1.png", "B")],
        empty=[("b/1.png", "A")],
        thresholds=points,
    )
    gallery = Gallery([MapStore.open(tmp_path / "maps")], tmp_path, points=24)
    written = write_pictures(gallery, list(rows), tmp_path / "out")
    assert [path.name for path in written] == ["a_1.png", "a_2.png", "b_1.png"]
    assert names_in(tmp_path / "out") == ["a_1.png", "a_2.png", "b_1.png"]
    assert drawn == [
        ([["1.png", "A", "C", "D"], ["E"]], "No map, since none was made: B (0.80, reported from 0.45)."),
        ([["2.png", "B", "C", "A"]], ""),  # none is reported: the most probable ones
        (
            [["1.png"]],
            "No map, since no place in the image speaks for it: A (0.60, reported from 0.45). "
            "No map, since none was made: B (0.60, reported from 0.45).",
        ),
    ]
    drawn.clear()
    write_pictures(gallery, ["a/2.png"], tmp_path / "asked", ["E"])
    assert drawn == [([["2.png", "E"]], "")]


def test_the_table_says_which_findings_have_no_map(tmp_path: Path) -> None:
    made_store(tmp_path / "maps", ROWS, without=[("a/1.png", "Hernia")], empty=[("a/1.png", "Mass")])
    table = pd.read_csv(tmp_path / "maps" / "maps.csv", keep_default_na=False)
    assert dict(zip(table["image"], table["no_map"], strict=True)) == {
        "a/1.png": "Mass, Hernia",
        "a/2.png": "",
        "b/2.png": "",
    }
