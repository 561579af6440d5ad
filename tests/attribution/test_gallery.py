"""From stores to panels: which image, which findings, which examples, and what each panel says."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cxr_monai.attribution.gallery import NONE_REPORTED, NORMAL_IMAGES, Gallery, store_titles
from cxr_monai.attribution.map_store import MapStore
from cxr_monai.errors import Code, EvaluationError, RadiographError, SettingError
from tests.attribution.map_stores import SIDE, made_images, made_manifest, made_store

ONE = {"a/1.png": (0.9, 0.6, 0.1), "a/2.png": (0.2, 0.3, 0.7), "b/2.png": (0.3, 0.1, 0.2)}


@pytest.fixture
def store(tmp_path: Path) -> MapStore:
    made_images(tmp_path, list(ONE))
    return made_store(tmp_path / "maps", ONE, without=[("a/1.png", "Hernia")], root=str(tmp_path))


def test_images_go_by_path_or_by_a_file_name_of_their_own(store: MapStore) -> None:
    gallery = Gallery([store])
    assert gallery.find("a/2.png") == "a/2.png"
    assert gallery.find("1.png") == "a/1.png"
    for name, told in (("2.png", "2 images"), ("3.png", "'3.png'")):
        with pytest.raises(EvaluationError, match=told) as caught:
            gallery.find(name)
        assert caught.value.code == Code.MAPS_INVALID
        assert "a/1.png" in str(caught.value)


def test_what_is_reported_is_shown_the_most_probable_first(store: MapStore) -> None:
    gallery = Gallery([store])
    assert gallery.findings("a/1.png") == ["Effusion", "Mass"]
    assert gallery.findings("b/2.png") == ["Effusion"]
    assert gallery.findings("a/2.png") == ["Hernia"]  # nothing is reported: Hernia has no operating point
    assert gallery.findings("a/2.png", ["Mass", "Effusion"]) == ["Mass", "Effusion"]


@pytest.mark.parametrize("point", [0.1, 0.3, 0.5, 0.7])
def test_at_the_operating_point_is_reported(tmp_path: Path, point: float) -> None:
    above = np.nextafter(np.float32(point), np.float32(1))
    rows = {"at.png": (point, 0.9), "above.png": (above, 0.9), "below.png": (point - 1e-4, 0.9)}
    made = made_store(tmp_path / "m", rows, findings=["Mass", "Edema"], thresholds={"Mass": point})
    gallery = Gallery([made])
    assert [gallery.findings(image) for image in rows] == [["Mass"], ["Mass"], ["Edema"]]
    assert gallery.choose()[0].query("row == @NONE_REPORTED")["image"].tolist() == ["below.png"]


def test_a_map_that_was_not_kept_is_not_shown_unless_it_is_asked_for(tmp_path: Path) -> None:
    made = made_store(tmp_path / "m", {"1.png": (0.9, 0.6, 0.1)}, without=[("1.png", "Effusion")])
    assert Gallery([made]).findings("1.png") == ["Mass"]
    none = made_store(tmp_path / "n", {"1.png": (0.1,)}, without=[("1.png", "Mass")], findings=["Mass"])
    assert Gallery([none]).findings("1.png") == []
    assert Gallery([none]).findings("1.png", ["Mass"]) == ["Mass"]


def test_a_finding_of_any_store_may_be_asked_for(store: MapStore, tmp_path: Path) -> None:
    other = made_store(tmp_path / "other", dict.fromkeys(ONE, (0.5,)), findings=["Edema"])
    gallery = Gallery([store, other])
    assert gallery.findings("a/1.png", ["Edema"]) == ["Edema"]
    with pytest.raises(SettingError, match="'Rash'; there are maps of Effusion, Mass, Hernia, Edema"):
        gallery.findings("a/1.png", ["Rash"])
    with pytest.raises(SettingError, match="'Edema'"):
        gallery.choose(findings=["Edema"])  # a sheet is the first store's


def test_a_row_is_the_radiograph_and_a_panel_a_store(store: MapStore, tmp_path: Path) -> None:
    other = made_store(
        tmp_path / "other", {"a/1.png": (0.4,)}, findings=["Mass"], thresholds={}, bundle={"name": "B bundle"}
    )
    gallery = Gallery([store, other], truth={("a/1.png", "Mass"): [(1, 2, 3, 4)]})
    radiograph, first, second = gallery.row("a/1.png", "Mass")
    assert radiograph.heat is None
    assert (radiograph.title, radiograph.finding, radiograph.likely) == ("1.png", "", "")
    assert (first.title, first.finding, first.likely) == ("A bundle, cam", "Mass", "0.60, reported from 0.50")
    assert (second.title, second.likely) == ("B bundle, cam", "0.40, no operating point")
    assert [panel.truth for panel in (radiograph, first, second)] == [[(1, 2, 3, 4)]] * 3
    assert first.heat is not None
    place = np.unravel_index(first.heat.argmax(), first.heat.shape)
    assert tuple(part / SIDE for part in place) == pytest.approx((2.5 / 6, 4.5 / 6), abs=0.05)  # of Mass, not another
    effusion = gallery.row("a/1.png", "Effusion")
    assert effusion[2].heat is None
    assert effusion[2].finding == "no map of Effusion"
    assert effusion[2].likely == ""
    assert list(effusion[1].truth) == []


def test_a_map_that_was_not_kept_keeps_its_probability(store: MapStore) -> None:
    panel = Gallery([store]).row("a/1.png", "Hernia")[1]
    assert panel.heat is None
    assert panel.finding == "no map of Hernia"
    assert panel.likely == "0.10, no operating point"


def test_labels_are_written_where_they_are_known(store: MapStore, tmp_path: Path) -> None:
    rows = [("a/1.png", "p", (1, 1, 0)), ("a/2.png", "p", (0, 0, np.nan))]
    gallery = Gallery([store], manifest=made_manifest(tmp_path, rows))
    assert gallery.row("a/1.png", "Mass")[0].finding == "labelled Effusion, Mass"
    assert gallery.row("a/2.png", "Mass")[0].finding == "labelled with none of the findings"
    assert gallery.row("b/2.png", "Mass")[0].finding == ""  # not in the manifest


def test_maps_are_drawn_in_the_pixels_of_the_stored_image(tmp_path: Path) -> None:
    made_images(tmp_path, ["1.png"], (40, 100))
    made = made_store(tmp_path / "maps", {"1.png": (0.9, 0.1, 0.1)}, shape=(40, 100))
    _, panel = Gallery([made], tmp_path, points=50).row("1.png", "Effusion")
    assert panel.stored == (40, 100)
    assert panel.heat is not None
    assert panel.heat.shape == (20, 50)


def test_pictures_hold_no_more_points_than_they_need(store: MapStore) -> None:
    full, small = (Gallery([store], points=points).row("a/1.png", "Mass")[1] for points in (512, 3))
    assert full.pixels.shape == full.stored == small.stored == (SIDE, SIDE)
    assert small.pixels.shape == (12, 12)  # four times three
    assert small.tall == full.tall
    np.testing.assert_allclose(small.pixels, full.pixels.reshape(12, 4, 12, 4).mean((1, 3)), atol=1e-6)


def test_an_empty_map_is_told_from_none(store: MapStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "on_image", lambda *_: np.zeros((SIDE, SIDE), np.float32))
    assert Gallery([store]).row("a/1.png", "Mass")[1].finding == "no map of Mass"


def test_an_image_that_is_not_there_names_the_option(store: MapStore, tmp_path: Path) -> None:
    with pytest.raises(RadiographError, match="--root") as caught:
        Gallery([store], tmp_path / "elsewhere").row("a/1.png", "Mass")
    assert caught.value.code == Code.RADIOGRAPH_NOT_FOUND


def test_an_image_of_another_size_is_refused(store: MapStore, tmp_path: Path) -> None:
    made_images(tmp_path / "large", list(ONE), (2 * SIDE, 2 * SIDE))
    with pytest.raises(EvaluationError, match=r"96 rows and 96 columns.*48 and 48") as caught:
        Gallery([store], tmp_path / "large").row("a/1.png", "Mass")
    assert caught.value.code == Code.MAPS_INVALID


def test_a_second_store_may_have_the_image_in_other_pixels_but_not_another_image(
    store: MapStore, tmp_path: Path
) -> None:
    reduced = made_store(tmp_path / "reduced", ONE, shape=(96, 96), layer="early")
    row = Gallery([store, reduced]).row("a/1.png", "Mass")
    assert row[1].heat is not None
    assert row[2].heat is not None
    np.testing.assert_allclose(row[1].heat, row[2].heat, atol=1e-5)
    wide = made_store(tmp_path / "wide", ONE, shape=(48, 60))
    with pytest.raises(EvaluationError, match="48 rows and 60 columns"):
        Gallery([store, wide]).row("a/1.png", "Mass")
    lacking = made_store(tmp_path / "lacking", {"a/2.png": (0.1, 0.1, 0.1)})
    with pytest.raises(EvaluationError, match=r"a/1\.png"):
        Gallery([store, lacking]).row("a/1.png", "Mass")


@pytest.mark.parametrize(
    ("about", "names"),
    [
        ([{}], ["A bundle, cam"]),
        ([{}, {"bundle": {"name": "B"}}], ["A bundle, cam", "B, cam"]),
        ([{}, {"method": "gradcam", "layer": "x"}], ["A bundle, cam", "A bundle, gradcam"]),
        ([{"layer": "x"}, {"layer": "y"}], ["A bundle, cam, x", "A bundle, cam, y"]),
        ([{}, {"stride": 8}], ["A bundle, cam, stride 32", "A bundle, cam, stride 8"]),
        ([{"layer": "x"}, {"layer": "x"}], ["A bundle, cam, m0", "A bundle, cam, m1"]),
    ],
)
def test_titles_say_what_differs(tmp_path: Path, about: list[dict], names: list[str]) -> None:
    stores = [made_store(tmp_path / f"m{number}", {}, **more) for number, more in enumerate(about)]
    assert store_titles(stores) == names


SHEET = {f"{number}.png": (0.9 - number / 100, number / 100, 0.2) for number in range(30)}


def made_sheet(tmp_path: Path, **options: object) -> tuple[MapStore, list[tuple[str, str, tuple[float, ...]]]]:
    """30 images of 10 patients: 12 with effusion, of 4 patients; one with a mass; the others with nothing."""
    made = made_store(tmp_path / "maps", SHEET, **options)  # type: ignore[arg-type]
    rows = [(name, f"p{n // 3}", (float(n < 12), float(n == 12), np.nan)) for n, name in enumerate(SHEET)]
    return made, [(name, patient, (effusion, mass, 0.0)) for name, patient, (effusion, mass, _) in rows]


def test_examples_are_labelled_with_the_finding_and_of_different_patients(tmp_path: Path) -> None:
    made, rows = made_sheet(tmp_path)
    gallery = Gallery([made], manifest=made_manifest(tmp_path, rows))
    chosen, how = gallery.choose(4, seed=1)
    assert list(dict.fromkeys(chosen["row"])) == [NORMAL_IMAGES, "Effusion", "Mass", "Hernia"]
    effusion = chosen[chosen["row"] == "Effusion"]
    numbers = effusion["image"].str.removesuffix(".png").astype(int)
    assert (numbers < 12).all()
    for seed in range(8):  # 12 images of 4 patients: by chance, four of different patients are rare
        drawn = gallery.choose(4, seed=seed)[0].query("row == 'Effusion'")["image"]
        assert (drawn.str.removesuffix(".png").astype(int) // 3).nunique() == 4
    assert effusion["probability"].is_monotonic_decreasing
    assert chosen.loc[chosen["row"] == "Mass", "image"].tolist() == ["12.png"]
    assert chosen.loc[chosen["row"] == "Hernia", "image"].tolist() == [""]
    normal = chosen[chosen["row"] == NORMAL_IMAGES]
    assert len(normal) == 4
    assert (normal["image"].str.removesuffix(".png").astype(int) > 12).all()
    assert set(normal["finding"]) == {"Effusion"}  # the most probable one of these images
    assert "seed 1" in how
    assert "box" not in how


def test_the_draw_is_the_seeds_and_no_others(tmp_path: Path) -> None:
    made, rows = made_sheet(tmp_path)
    gallery = Gallery([made], manifest=made_manifest(tmp_path, rows))
    pd.testing.assert_frame_equal(gallery.choose(2, seed=1)[0], gallery.choose(2, seed=1)[0])
    drawn = {tuple(gallery.choose(2, seed=seed)[0].query("row == 'Effusion'")["image"]) for seed in range(6)}
    assert len(drawn) > 2
    # what else is on the sheet changes nothing
    alone = gallery.choose(2, seed=1, findings=["Effusion"])[0]
    assert alone.query("row == 'Effusion'")["image"].tolist() == (
        gallery.choose(2, seed=1)[0].query("row == 'Effusion'")["image"].tolist()
    )


def test_boxed_images_come_first_and_several_of_a_patient_only_where_others_are_lacking(tmp_path: Path) -> None:
    made, rows = made_sheet(tmp_path)
    truth = {("7.png", "Effusion"): [(1.0, 1.0, 2.0, 2.0)], ("8.png", "Mass"): [(1.0, 1.0, 2.0, 2.0)]}
    gallery = Gallery([made], manifest=made_manifest(tmp_path, rows), truth=truth)
    for seed in range(5):
        chosen, how = gallery.choose(1, seed=seed)
        assert chosen.query("row == 'Effusion'")["image"].tolist() == ["7.png"]
    assert "with a box first" in how
    many = gallery.choose(6)[0].query("row == 'Effusion'")["image"].str.removesuffix(".png").astype(int) // 3
    assert len(many) == 6
    assert many.nunique() == 4


def test_unknown_labels_are_neither_a_finding_nor_normal(tmp_path: Path) -> None:
    made, rows = made_sheet(tmp_path)
    unknown = [(name, patient, (labels[0] or np.nan, labels[1], labels[2])) for name, patient, labels in rows]
    chosen, _ = Gallery([made], manifest=made_manifest(tmp_path, unknown)).choose()
    assert chosen.query("row == @NORMAL_IMAGES")["image"].tolist() == [""]
    assert len(chosen.query("row == 'Effusion'")) == 4


def test_images_without_a_kept_map_are_not_examples_of_it(tmp_path: Path) -> None:
    without = [(f"{number}.png", "Effusion") for number in range(12) if number != 5]
    made, rows = made_sheet(tmp_path, without=without)
    chosen, _ = Gallery([made], manifest=made_manifest(tmp_path, rows)).choose()
    assert chosen.query("row == 'Effusion'")["image"].tolist() == ["5.png"]


def test_without_labels_the_most_probable_and_those_where_nothing_is_reported(tmp_path: Path) -> None:
    rows = {
        "1.png": (0.9, 0.1, 0.3), "2.png": (0.29, 0.4, 0.1), "3.png": (0.1, 0.49, 0.2), "4.png": (0.5, 0.7, 0.9),
        "5.png": (0.3, 0.1, 0.1),
    }  # fmt: skip
    chosen, how = Gallery([made_store(tmp_path / "maps", rows)]).choose(2)
    found = {row: list(of["image"]) for row, of in chosen.groupby("row", sort=False)}
    assert found == {
        NONE_REPORTED: ["3.png", "2.png"],  # 5.png is at an operating point
        "Effusion": ["1.png", "4.png"],
        "Mass": ["4.png", "3.png"],
        "Hernia": ["4.png", "1.png"],
    }
    assert "No labels" in how
    nothing = Gallery([made_store(tmp_path / "none", rows, thresholds={})]).choose(2)[0]
    assert set(nothing["row"]) == {"Effusion", "Mass", "Hernia"}


def test_the_panels_of_a_sheet_name_no_image(tmp_path: Path) -> None:
    made, rows = made_sheet(tmp_path)
    made_images(tmp_path, list(SHEET))
    gallery = Gallery([made], tmp_path, made_manifest(tmp_path, rows), {("12.png", "Mass"): [(1, 2, 3, 4)]})
    panels = gallery.sheet(gallery.choose(2)[0])
    assert [len(row) for row in panels.values()] == [2, 2, 1, 0]
    assert {panel.title for row in panels.values() for panel in row} == {""}
    mass = panels["Mass"][0]
    assert (mass.finding, mass.chance, mass.operating_point) == ("Mass", "0.12", 0.5)
    assert list(mass.truth) == [(1, 2, 3, 4)]
    assert mass.heat is not None
