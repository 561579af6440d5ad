"""Maps, boxes and a manifest to tables, a sheet and pages: what is chosen on whom, who is refused, what is written."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest

from cxr_monai.attribution.localisation import POOLED_FINDINGS, centre_map, raster, score
from cxr_monai.attribution.localisation_result import Localisation, read_localisation
from cxr_monai.attribution.localisation_scoring import LocalisationOptions
from cxr_monai.attribution.map_store import MapStore, MapWriter
from cxr_monai.attribution.reference_boxes import in_shares, read_boxes
from cxr_monai.attribution.view import View
from cxr_monai.bundle.bundle_folder import Bundle
from cxr_monai.data.manifest import build_manifest, write_manifest
from cxr_monai.errors import Code, CxrError
from cxr_monai.evaluation.bootstrap import Intervals
from cxr_monai.evaluation.fitted import Fitted
from cxr_monai.evaluation.metrics_table import MEAN
from cxr_monai.evaluation.patients import remember_patients
from cxr_monai.report.pages.evaluation_page import render_report
from cxr_monai.report.pages.localisation_page import localisation_section, localisation_sentences
from cxr_monai.workflows.localise import Choosing, localise_files, track_localisation
from tests.attribution.map_stores import made_images
from tests.report.pages.test_evaluation_page import Page
from tests.report.synthetic_evaluation import make_evaluation, make_sample
from tests.support.bundle_runs import rewrite

FINDINGS = ("Mass", "Nodule")
HEIGHT, WIDTH, CELL = 48, 64, 8
"""The view is the middle 48 by 48, the grid 6 by 6."""
FEW = LocalisationOptions(intervals=Intervals(60), draws=2)
Place = tuple[int, int]
COLUMNS = ["image", "finding", "x", "y", "width", "height", "image_width", "image_height"]


def box_at(place: Place) -> tuple[int, int, int, int]:
    """The box of one cell of the grid and its neighbour to the right, in pixels."""
    row, column = place
    return 8 + column * CELL, row * CELL, 2 * CELL, CELL


def made(
    folder: Path,
    cases: Mapping[tuple[str, str], Place],
    splits: Mapping[str, str] | None = None,
    *,
    patients: Mapping[str, str] | None = None,
    hot: Mapping[tuple[str, str], Place | None] | None = None,
    without: Sequence[tuple[str, str]] = (),
    **about: object,
) -> Path:
    """Write maps, boxes.csv and manifest.csv; a map is 1 at its box, else where ``hot`` says (None: nowhere)."""
    images = list(dict.fromkeys(image for image, _ in cases))
    writer = MapWriter(
        folder / "maps",
        {"findings": list(FINDINGS), "points": None, "method": "cam", "layer": None, "bundle": {"name": "B"}, **about},
    )
    random = np.random.default_rng(0)
    for image in images:
        maps = np.zeros((2, 6, 6), np.float32)
        for channel, finding in enumerate(FINDINGS):
            key = (image, finding)
            place = (hot or {}).get(key, cases.get(key, (5, 0)))
            if place is not None:
                maps[channel] = random.random((6, 6)) * 0.2
                maps[channel, place[0], place[1] : place[1] + 2] = 1
            if key in without:
                maps[channel] = np.nan
        writer.add(image, View(HEIGHT, WIDTH, 0, 8, HEIGHT, HEIGHT), np.array([0.6, 0.3], np.float32), maps)
    writer.finish()
    rows = [(image, finding, *box_at(place), WIDTH, HEIGHT) for (image, finding), place in cases.items()]
    pd.DataFrame(rows, columns=COLUMNS).to_csv(folder / "boxes.csv", index=False)
    table = pd.DataFrame({"image": images})
    table["patient_id"] = [(patients or {}).get(image, f"p{image}") for image in images]
    table["split"] = [(splits or {}).get(image, "test") for image in images]
    for finding in FINDINGS:
        table[finding] = [float((image, finding) in cases) for image in images]
    write_manifest(build_manifest(table, folder, "local"), folder / "manifest.csv")
    return folder


def usual(count: int = 24, seed: int = 0) -> dict[tuple[str, str], Place]:
    """Mass at places all over in each image, Nodule low on the left in every other."""
    random = np.random.default_rng(seed)
    cases: dict[tuple[str, str], Place] = {}
    for number in range(count):
        cases[f"i/{number}.png", "Mass"] = (int(random.integers(0, 6)), int(random.integers(0, 5)))
        if number % 2:
            cases[f"i/{number}.png", "Nodule"] = (5, int(random.integers(0, 2)))
    return cases


def localised(folder: Path, choosing: Choosing | None = None, options: LocalisationOptions = FEW) -> Localisation:
    files = folder / "maps", folder / "boxes.csv", folder / "manifest.csv"
    return localise_files(*files, folder / "out", choosing=choosing, options=options, force=True)[0]


def refused(code: Code, folder: Path, choosing: Choosing | None = None, options: LocalisationOptions = FEW) -> str:
    with pytest.raises(CxrError) as raised:
        localised(folder, choosing, options)
    assert raised.value.code is code
    return str(raised.value)


def figure(localisation: Localisation, finding: str, name: str, score: str) -> float:
    table = localisation.scores
    return float(table[(table["finding"] == finding) & (table["map"] == name)][score].iloc[0])


def halved(count: int = 24) -> dict[str, str]:
    """Even images in val, odd ones in test."""
    return {f"i/{number}.png": ("val", "test")[number % 2] for number in range(count)}


# ------------------------------------------------------------------------------------------------------------- scores


def test_maps_that_point_at_their_boxes_beat_both_controls(tmp_path: Path) -> None:
    localisation = localised(made(tmp_path, usual(48)))
    assert figure(localisation, "Mass", "cam", "pointing") == 1
    assert figure(localisation, MEAN, "cam", "iou") > 0.5
    gains = localisation.gains[localisation.gains["finding"] == "Mass"].set_index(["over", "score"])
    for control in ("random", "centre"):
        assert gains.loc[(control, "pointing"), "low"] > 0
        assert gains.loc[(control, "iou"), "low"] > 0


def test_a_centre_map_is_not_beaten_where_the_place_says_all(tmp_path: Path) -> None:
    cases = {(f"i/{number}.png", "Nodule"): (5, 0) for number in range(30)}
    localisation = localised(made(tmp_path, cases))
    assert figure(localisation, "Nodule", "centre", "iou") == 1
    gains = localisation.gains[localisation.gains["finding"] == "Nodule"].set_index(["over", "score"])
    assert gains.loc[("random", "iou"), "low"] > 0
    assert gains.loc[("centre", "iou"), "high"] <= 0
    assert "That of a centre map does in 100 of 100; the difference may be chance." in localisation_sentences(
        localisation
    )


def test_cases_are_scored_as_by_hand(tmp_path: Path) -> None:
    folder = made(tmp_path, usual())
    localisation = localised(folder)
    store = MapStore.open(folder / "maps")
    boxes = in_shares(read_boxes(folder / "boxes.csv", store.table, FINDINGS)[0])
    for case in localisation.cases.to_dict(orient="records"):
        image, finding = case["image"], case["finding"]
        share = figure(localisation, finding, "cam", "map_threshold")
        heat = store.on_image(image, finding, raster(HEIGHT, WIDTH))
        assert heat is not None
        expected = score(heat, boxes[image, finding], [share])
        assert case["iou"] == expected.iou[0]
        assert case["energy"] == expected.energy
        left, top, right, bottom = expected.detected[0] * [WIDTH, HEIGHT, WIDTH, HEIGHT]
        assert [case[name] for name in ("x", "y", "width", "height")] == pytest.approx(
            [left, top, right - left, bottom - top]
        )
        assert case["probability"] == pytest.approx({"Mass": 0.6, "Nodule": 0.3}[finding])
    means = localisation.cases.groupby("finding")[["pointing", "iou", "random_energy", "centre_iobb"]].mean()
    assert means.loc["Mass", "iou"] == pytest.approx(figure(localisation, "Mass", "cam", "iou"))
    assert means.loc["Nodule", "random_energy"] == pytest.approx(figure(localisation, "Nodule", "random", "energy"))
    assert means.loc["Nodule", "centre_iobb"] == pytest.approx(figure(localisation, "Nodule", "centre", "iobb"))


def test_the_mean_is_over_the_findings_that_are_asked_for(tmp_path: Path) -> None:
    folder = made(tmp_path, usual(48), halved(48) | {f"i/{n}.png": "val" for n in range(1, 48, 4)})
    both = localised(folder, Choosing(split="val"))
    one = localised(folder, Choosing(split="val"), replace(FEW, findings=("Mass",)))
    assert both.provenance["in_mean"] == ["Mass", "Nodule"]
    assert one.provenance["in_mean"] == ["Mass"]
    for name in ("energy", "iou"):
        ours = [figure(both, finding, "cam", name) for finding in FINDINGS]
        assert ours[0] != ours[1]
        assert figure(both, MEAN, "cam", name) == pytest.approx(np.mean(ours))
        # what is asked for beside it changes nothing of a finding
        assert figure(one, MEAN, "cam", name) == figure(one, "Mass", "cam", name) == ours[0]
    assert "The mean is over mass and nodule, which weigh the same." in localisation_section(both)["scores"].notes
    assert not any("weigh" in note for note in localisation_section(one)["scores"].notes)


def test_findings_stand_in_the_stores_order(tmp_path: Path) -> None:
    cases = dict(reversed(usual().items()))
    assert localised(made(tmp_path, cases)).scores["finding"].unique().tolist() == ["Mass", "Nodule", MEAN]


# --------------------------------------------------------------------------------------- chosen on others than scored


def test_thresholds_and_centre_maps_know_nothing_of_the_images_that_are_scored(tmp_path: Path) -> None:
    cases, splits = usual(48), halved(48)
    first = localised(made(tmp_path / "a", cases, splits), Choosing(split="val"))
    assert first.cases["split"].eq("test").all()
    # other maps and other boxes of the scored images
    other = {key: ((0, 4) if splits[key[0]] == "test" else place) for key, place in cases.items()}
    hot = {key: ((3, 3) if splits[key[0]] == "test" else place) for key, place in cases.items()}
    second = localised(made(tmp_path / "b", other, splits, hot=hot), Choosing(split="val"))
    columns = ["finding", "map", "map_threshold", "chosen_on"]
    pd.testing.assert_frame_equal(first.scores[columns], second.scores[columns])
    # the centre map is where the boxes of the others are
    store = MapStore.open(tmp_path / "b" / "maps")
    boxes = in_shares(read_boxes(tmp_path / "b" / "boxes.csv", store.table, FINDINGS)[0])
    chosen = np.concatenate(
        [drawn for (image, name), drawn in boxes.items() if name == "Mass" and splits[image] == "val"]
    )
    share = figure(second, "Mass", "centre", "map_threshold")
    expected = score(centre_map(chosen, (HEIGHT, WIDTH)), boxes["i/1.png", "Mass"], [share])
    case = second.cases.set_index(["image", "finding"]).loc[("i/1.png", "Mass")]
    assert case["centre_energy"] == pytest.approx(expected.energy)
    assert case["centre_iou"] == pytest.approx(expected.iou[0])


def test_the_images_to_choose_on_do_matter(tmp_path: Path) -> None:
    """Maps of two cells want a high threshold, maps whose box holds their faint part a low one."""
    cases, splits = {(f"i/{number}.png", "Mass"): (2, 2) for number in range(48)}, halved(48)
    sharp = localised(made(tmp_path / "a", cases, splits), Choosing(split="val"))
    wrong = {key: ((0, 0) if splits[key[0]] == "val" else place) for key, place in cases.items()}
    blurred = localised(made(tmp_path / "b", cases, splits, hot=wrong), Choosing(split="val"))
    assert figure(sharp, "Mass", "cam", "map_threshold") > figure(blurred, "Mass", "cam", "map_threshold")
    assert figure(sharp, "Mass", "cam", "iou") > figure(blurred, "Mass", "cam", "iou")


def test_halves_are_of_patients_and_of_every_finding(tmp_path: Path) -> None:
    cases = usual(48)
    patients = {f"i/{number}.png": f"p{number // 3}" for number in range(48)}
    localisation = localised(made(tmp_path, cases, patients=patients))
    scored = localisation.cases
    counts = scored.groupby("finding").size()
    assert abs(counts["Mass"] - 24) <= 3
    assert abs(counts["Nodule"] - 12) <= 3
    images = scored[scored["finding"] == "Mass"].groupby("patient_id").size()
    assert images.eq(3).all()  # a patient is on one side with all images
    told = localisation.provenance["map_thresholds_from"]
    assert told == f"one half of the patients, {len(cases) - len(scored)} cases of {16 - len(images)} patients"
    other = localised(
        made(tmp_path / "b", cases, patients=patients), options=replace(FEW, intervals=Intervals(60, seed=1))
    )
    assert set(other.cases["image"]) != set(scored["image"])


def test_a_rare_finding_takes_the_threshold_of_all(tmp_path: Path) -> None:
    localisation = localised(made(tmp_path, usual(24)))  # 6 cases of Nodule to choose on, 12 of Mass
    table = localisation.scores[localisation.scores["map"] == "cam"].set_index("finding")
    assert table["chosen_on"].tolist() == ["Mass", POOLED_FINDINGS, ""]
    assert any("Map thresholds of Nodule were chosen on all findings together" in note for note in localisation.notes)


def test_other_maps_to_choose_on(tmp_path: Path) -> None:
    ours = made(tmp_path / "ours", usual(16))
    theirs = made(tmp_path / "theirs", {(f"z/z{n}.png", "Mass"): (1, n % 5) for n in range(12)})
    choosing = Choosing(maps=theirs / "maps", boxes=theirs / "boxes.csv", manifest=theirs / "manifest.csv")
    localisation = localised(ours, choosing)
    assert len(localisation.cases) == 24  # all are scored
    assert localisation.provenance["map_thresholds_from"] == "other maps (maps), 12 cases of 12 patients"
    assert any("No box of Nodule to choose on" in note for note in localisation.notes)
    assert "no image in common" in refused(Code.MANIFEST_INVALID, ours, replace(choosing, manifest=None))
    other = made(tmp_path / "other", {(f"z/z{n}.png", "Mass"): (1, 1) for n in range(12)}, method="gradcam")
    told = refused(Code.MAPS_INVALID, ours, replace(choosing, maps=other / "maps"))
    assert "thresholds chosen on maps by gradcam are not those of maps by cam" in told


def test_patients_on_both_sides_are_refused_unless_they_are_others(tmp_path: Path) -> None:
    ours = made(tmp_path / "ours", usual(16))
    same = {f"z/z{n}.png": f"pi/{n}.png" for n in range(12)}
    theirs = made(tmp_path / "theirs", {(f"z/z{n}.png", "Mass"): (1, 1) for n in range(12)}, patients=same)
    choosing = Choosing(maps=theirs / "maps", boxes=theirs / "boxes.csv", manifest=theirs / "manifest.csv")
    told = refused(Code.PATIENTS_SHARED, ours, choosing)
    assert "12 of the 16 patients" in told
    assert "--other-hospital" in told
    assert len(localised(ours, replace(choosing, other_hospital=True)).cases) == 24


def test_one_patient_cannot_be_halved(tmp_path: Path) -> None:
    folder = made(
        tmp_path, {("i/0.png", "Mass"): (1, 1), ("i/1.png", "Mass"): (1, 2)}, patients={"i/0.png": "p", "i/1.png": "p"}
    )
    assert "there is one patient" in refused(Code.EVALUATION_INVALID, folder)


# -------------------------------------------------------------------------------------------- seen, missing, left out


def test_images_that_the_model_was_trained_on(tmp_path: Path) -> None:
    splits = {f"i/{number}.png": ("train", "test", "val")[number % 3] for number in range(24)}
    patients = {f"i/{number}.png": f"p{number // 6}{number % 3}" for number in range(24)}
    folder = made(tmp_path, usual(24), splits, patients=patients)
    told = refused(Code.IMAGES_SEEN, folder)
    assert "8 of the 24 boxed images (4 of 12 patients) are in the manifest's training part" in told
    assert "--seen skip" in told
    skipped = localised(folder, options=replace(FEW, seen="skip"))
    assert skipped.provenance["split"].keys() <= {"test", "val"}
    assert any("training part, and left out." in note for note in skipped.notes)
    assert "4 patients are of the validation part, on which the model's epoch was chosen." in skipped.notes
    allowed = localised(folder, options=replace(FEW, seen="allow"))
    assert any("it points at better than it would elsewhere" in note for note in allowed.notes)
    assert localised(folder, options=replace(FEW, split="test")).provenance["split"].keys() == {"test"}


def bundle_of(bundle: Path, trained_on: Sequence[str]) -> dict[str, dict[str, object]]:
    """Write the list beside a bundle; returns what maps by it say of it."""
    fitted = Fitted({}, {}, {}, {}, fitted_on={"patients_digest": "salt"})
    remember_patients(fitted, make_sample(4), bundle, trained_on)
    return {"bundle": {"name": "B", "digest": Bundle.open(bundle).digest, "own_weights": True}}


def with_bundle(folder: Path, bundle: Path, options: LocalisationOptions = FEW) -> Localisation:
    files = folder / "maps", folder / "boxes.csv", folder / "manifest.csv", folder / "out"
    return localise_files(*files, bundle=bundle, options=options, force=True)[0]


@pytest.mark.parametrize("split", ["test", ""])
def test_patients_of_the_bundles_training_are_refused_whatever_the_manifest_says(
    tmp_path: Path, shipped_copy: Path, split: str
) -> None:
    patients = {f"i/{number}.png": f"p{number // 2}" for number in range(24)}
    about = bundle_of(shipped_copy, ["p0", "p5", "of another hospital"])
    folder = made(tmp_path, usual(24), dict.fromkeys(patients, split), patients=patients, **about)
    localised(folder)  # the manifest alone does not know
    with pytest.raises(CxrError) as raised:
        with_bundle(folder, shipped_copy)
    assert raised.value.code is Code.IMAGES_SEEN
    told = "4 of the 24 boxed images (2 of 12 patients) are of patients that the bundle was trained on"
    assert told in str(raised.value)
    skipped = with_bundle(folder, shipped_copy, replace(FEW, seen="skip"))
    assert not {"p0", "p5"} & set(skipped.cases["patient_id"])
    assert skipped.notes[0] == f"{told}, and left out."
    assert not any("is not known" in note for note in skipped.notes)
    allowed = with_bundle(folder, shipped_copy, replace(FEW, seen="allow"))
    assert allowed.notes[0].startswith(told)
    assert len(allowed.cases) > 12


def test_both_ways_of_having_been_seen_are_counted_once(tmp_path: Path, shipped_copy: Path) -> None:
    splits = {f"i/{number}.png": ("train", "test", "test", "test")[number % 4] for number in range(24)}
    about = bundle_of(shipped_copy, ["pi/0.png", "pi/1.png"])
    folder = made(tmp_path, usual(24), splits, **about)
    with pytest.raises(CxrError) as raised:
        with_bundle(folder, shipped_copy)
    assert "7 of the 24 boxed images (7 of 24 patients) are in the manifest's training part or of patients" in str(
        raised.value
    )
    clean = with_bundle(folder, shipped_copy, replace(FEW, seen="skip"))
    assert set(clean.cases["split"]) == {"test"}


def test_what_a_bundle_cannot_tell_is_said(tmp_path: Path, shipped_copy: Path) -> None:
    def notes(name: str, **about: object) -> list[str]:
        localisation = with_bundle(made(tmp_path / name, usual(24), **about), shipped_copy)
        return [note for note in localisation.notes if "is not known" in note]

    (note,) = notes("a", **bundle_of(shipped_copy, ()))
    assert "no list of its training's patients lies beside it" in note
    made_by = bundle_of(shipped_copy, ["p"])["bundle"]
    assert notes("b", bundle=made_by) == []
    (note,) = notes("c", bundle={**made_by, "own_weights": False})
    assert "other weights than the bundle's own" in note
    with pytest.raises(CxrError, match="made by another bundle") as raised:
        notes("d", bundle={**made_by, "digest": "of another"})
    assert raised.value.code is Code.MAPS_INVALID


def test_choosing_on_one_part_and_scoring_another_sees_neither_the_third(tmp_path: Path) -> None:
    splits = {f"i/{number}.png": ("train", "test", "val")[number % 3] for number in range(24)}
    folder = made(tmp_path, usual(24), splits)
    localisation = localised(folder, Choosing(split="val"), replace(FEW, split="test"))
    assert localisation.provenance["split"] == {"test": 12}
    assert localisation.provenance["map_thresholds_from"] == "the split 'val', 12 cases of 8 patients"
    refused(Code.IMAGES_SEEN, folder, Choosing(split="val"))


def test_a_manifest_without_a_split_says_so(tmp_path: Path) -> None:
    localisation = localised(made(tmp_path, usual(12), {f"i/{n}.png": "" for n in range(12)}))
    assert any("whether the model was trained on them is not known" in note for note in localisation.notes)


@pytest.mark.parametrize(
    ("choosing", "options", "code", "said"),
    [
        (
            None,
            replace(FEW, split="val"),
            Code.EVALUATION_INVALID,
            "no boxed case in the split 'val'; there are 18 in test",
        ),
        (Choosing(split="val"), FEW, Code.EVALUATION_INVALID, "no boxed case in the split 'val', to choose on"),
        (Choosing(split="test"), FEW, Code.EVALUATION_INVALID, "no boxed case outside the split 'test'"),
        (Choosing(maps="maps"), FEW, Code.EVALUATION_INVALID, "--choose-boxes"),
        (None, replace(FEW, findings=("Mass", "Edema")), Code.MAPS_INVALID, "no maps of Edema, only of Mass, Nodule"),
    ],
)
def test_what_is_not_there(
    tmp_path: Path, choosing: Choosing | None, options: LocalisationOptions, code: Code, said: str
) -> None:
    assert said in refused(code, made(tmp_path, usual(12)), choosing, options)


def test_cases_without_a_map_are_left_out_and_said(tmp_path: Path) -> None:
    folder = made(tmp_path / "a", usual(12), without=[("i/1.png", "Mass"), ("i/2.png", "Nodule")])
    localisation = localised(folder)
    assert any(note.startswith("1 of 18 boxed cases have no map") for note in localisation.notes)
    cases = usual(4)
    folder = made(tmp_path / "b", cases, without=list(cases))
    assert "none of the 6 boxed cases has a map" in refused(Code.MAPS_INVALID, folder)


def test_images_that_the_manifest_lacks_are_left_out_and_said(tmp_path: Path) -> None:
    folder = made(tmp_path, usual(12))
    lines = (folder / "manifest.csv").read_text().splitlines(keepends=True)
    (folder / "manifest.csv").write_text("".join(lines[:-1]))
    assert any("2 of 18 boxed cases are not in the manifest, and left out." in note for note in localised(folder).notes)


def test_maps_that_are_empty_are_misses(tmp_path: Path) -> None:
    cases = {(f"i/{number}.png", "Mass"): (number % 6, 2) for number in range(24)}
    splits = halved()
    empty = dict.fromkeys(list(cases)[1:6:2])
    localisation = localised(made(tmp_path, cases, splits, hot=empty), Choosing(split="val"))
    assert figure(localisation, "Mass", "cam", "empty") == 3
    assert figure(localisation, "Mass", "random", "empty") == 0
    assert figure(localisation, "Mass", "cam", "pointing") == 0.75
    assert localisation.cases["x"].isna().sum() == 3
    assert "3 maps are 0 everywhere, which counts as a miss in every score." in localisation.notes


def test_the_random_map_of_a_case_is_its_own_whatever_else_is_scored(tmp_path: Path) -> None:
    folder = made(tmp_path, usual(24), halved())
    both = localised(folder, Choosing(split="val"), replace(FEW, intervals=Intervals(60, seed=3)))
    alone = localised(
        folder, Choosing(split="val"), replace(FEW, intervals=Intervals(60, seed=3), findings=("Nodule",))
    )
    merged = both.cases.merge(alone.cases, on=["image", "finding"])
    assert len(merged) == 12
    np.testing.assert_array_equal(merged["random_energy_x"], merged["random_energy_y"])
    assert merged["random_energy_x"].nunique() == 12
    other = localised(folder, Choosing(split="val"), replace(FEW, intervals=Intervals(60, seed=4)))
    assert (other.cases["random_energy"] != both.cases["random_energy"]).all()
    # over many cases it points at a box as often as the box is large: 2 of 36 cells of the view
    many = localised(folder, Choosing(split="val"), replace(FEW, draws=30))
    assert figure(many, "Mass", "random", "energy") == pytest.approx(2 / 36, abs=0.015)


def test_random_maps_are_noise_on_the_maps_own_grid_placed_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    placed: list[tuple] = []
    place = View.place

    def watched(view: View, grid: np.ndarray, points: object = None, shape: object = None) -> np.ndarray:
        placed.append((grid.shape, points, shape, float(grid.max()), view.left))
        return place(view, grid, points, shape)  # type: ignore[arg-type]

    monkeypatch.setattr(View, "place", watched)
    scored = len(localised(made(tmp_path, usual(12), points=[0.1, 0.16]), options=replace(FEW, draws=3)).cases)
    random = (18 - scored) * 1 + scored * 3  # one to choose a threshold on, three to score
    assert {each[:3] for each in placed} == {((6, 6), (0.1, 0.16), (HEIGHT, WIDTH))}
    assert {each[4] for each in placed} == {8}
    assert len(placed) == 18 + random
    assert len({each[3] for each in placed}) == random + 1  # each draw is another; the maps themselves have 1


# -------------------------------------------------------------------------------------------------- tables and pages


def test_what_is_written_can_be_read_again(tmp_path: Path) -> None:
    folder = made(tmp_path, usual(24) | {("i/0.png", "Nodule"): (5, 0)})
    made_images(folder, [f"i/{n}.png" for n in range(24)], (HEIGHT, WIDTH))
    files = folder / "maps", folder / "boxes.csv", folder / "manifest.csv"
    localisation, written = localise_files(*files, folder / "out", options=FEW, force=True)
    assert [path.name for path in written] == [
        "localisation.csv", "gains.csv", "cases.csv", "localisation.json", "cases.png", "localisation.html",
    ]  # fmt: skip
    assert all(path.is_file() for path in written)
    again = read_localisation(folder / "out")
    pd.testing.assert_frame_equal(again.scores, localisation.scores, check_dtype=False)
    pd.testing.assert_frame_equal(again.gains, localisation.gains, check_dtype=False)
    assert (again.level, again.notes) == (localisation.level, localisation.notes)
    assert localisation_section(again) == localisation_section(localisation)
    table = pd.read_csv(folder / "out" / "localisation.csv")
    assert table.columns[:8].tolist() == [
        "finding", "map", "cases", "patients", "empty", "map_threshold", "chosen_on", "pointing",
    ]  # fmt: skip
    assert {"iou_above_0.1", "iobb_above_0.9_high", "energy_low"} <= set(table)
    assert str(tmp_path) not in (folder / "out" / "localisation.json").read_text()


def test_without_the_image_files_there_is_no_sheet_and_no_old_one(tmp_path: Path) -> None:
    folder = made(tmp_path, usual(12))
    (folder / "out").mkdir()
    (folder / "out" / "cases.png").write_bytes(b"old")
    assert any("There is no sheet of cases" in note for note in localised(folder).notes)
    assert not (folder / "out" / "cases.png").exists()


def test_images_of_another_size_are_not_drawn_under_the_maps(tmp_path: Path) -> None:
    folder = made(tmp_path, usual(12))
    made_images(folder, [f"i/{n}.png" for n in range(12)], (HEIGHT, WIDTH + 1))
    assert any("There is no sheet of cases" in note for note in localised(folder).notes)


@pytest.mark.parametrize("content", [None, "{}", '{"level": 1}', "not json"])
def test_a_folder_without_a_localisation(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "localisation.json").write_text(content)
    with pytest.raises(CxrError, match="maps localise") as raised:
        read_localisation(tmp_path)
    assert raised.value.code is Code.EVALUATION_INVALID


def test_the_page_says_what_the_tables_say(tmp_path: Path) -> None:
    localisation = localised(made(tmp_path, usual(48), method="<i>cam</i> & more"))
    source = (tmp_path / "out" / "localisation.html").read_text()
    page = Page(source)
    assert not re.search(r"""(?:src|href)=["'](?:https?:)?//|<script|@import|url\(""", source)
    assert "&lt;i&gt;cam&lt;/i&gt; &amp; more" in source
    assert "<i>cam" not in source
    assert "strongest point of the map lies in the box in 100" in page.text
    assert re.search(r"That of a random map does in \d+ of 1[0,]+; the map does better\.", page.text)
    row = next(row for row in page.rows if row and row[0] == "Mass")
    assert f"random {figure(localisation, 'Mass', 'random', 'pointing'):.2f}" in row[2]
    assert [row[0] for row in page.rows].count("Mean, centre map") == 2  # IoU and IoBB at every limit
    headings = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert headings == [1, 2, 2, 2]
    assert "one half of the patients" in page.text


def test_a_single_finding_has_no_mean_beside_it(tmp_path: Path) -> None:
    cases = {key: place for key, place in usual(40).items() if key[1] == "Mass"}
    localisation = localised(made(tmp_path, cases))
    assert "radiographs with a box of mass" in localisation_sentences(localisation)[0]
    page = Page((tmp_path / "out" / "localisation.html").read_text())
    assert not [row for row in page.rows if row and row[0].startswith("Mean")]


def test_too_few_to_compare_say_so(tmp_path: Path) -> None:
    localisation = localised(made(tmp_path, {(f"i/{n}.png", "Mass"): (1, 1) for n in range(4)}))
    assert any("too few patients to compare" in sentence for sentence in localisation_sentences(localisation))
    assert any("Fewer than 6 patients have boxes of Mass" in note for note in localisation.notes)
    assert Page((tmp_path / "out" / "localisation.html").read_text()).rows


def test_the_models_report_has_the_section_where_there_is_one(tmp_path: Path) -> None:
    evaluation = make_evaluation(make_sample(60), comparison=False, site=False)
    localisation = localised(made(tmp_path, usual(24)))
    with_it, without = Page(render_report(evaluation, localisation)), Page(render_report(evaluation))
    assert "Where the maps point" in with_it.text
    assert "localisation" in {element.get("id") for _, element in with_it.elements}
    assert "#localisation" in {link.get("href") for link in with_it.all("a")}
    assert "Where the maps point" not in without.text
    assert "#localisation" not in {link.get("href") for link in without.all("a")}


def test_mlflow_is_told_no_image_and_no_patient(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tracking_store: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_store)
    folder = made(tmp_path, usual(24))
    made_images(folder, [f"i/{n}.png" for n in range(24)], (HEIGHT, WIDTH))
    files = folder / "maps", folder / "boxes.csv", folder / "manifest.csv"
    monkeypatch.setattr("cxr_monai.training.delivery.PATIENCE", 60)  # making a store takes long on a busy machine
    localisation, written = localise_files(*files, folder / "out", options=FEW, force=True)
    track_localisation("localised maps", folder / "out", localisation, written)
    client = mlflow.MlflowClient(tracking_store)
    experiment = client.get_experiment_by_name("localised maps")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.data.metrics["pointing_Mass"] == figure(localisation, "Mass", "cam", "pointing")
    assert run.data.metrics["pointing_mean_centre_low"] == pytest.approx(
        figure(localisation, MEAN, "centre", "pointing_low")
    )
    logged = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert {"localisation.csv", "gains.csv", "localisation.json", "localisation.html", "pictures"} <= logged
    assert "cases.csv" not in logged
    for path in written:
        if path.name != "cases.csv" and path.suffix != ".png":
            assert "i/1.png" not in path.read_text()


# ----------------------------------------------------------------------------------------------------------- real data


@pytest.mark.realdata
def test_606_of_nihs_880_boxed_images_are_in_the_chexnet_splits_training_list(
    realdata: Path, chexnet_manifest: Path, tmp_path: Path
) -> None:
    boxes = pd.read_csv(chexnet_manifest.with_name("manifest.boxes.csv"))
    manifest = rewrite(
        chexnet_manifest, tmp_path / "manifest.csv", lambda table: table[table["image"].isin(boxes["image"])]
    )
    findings = sorted(boxes["finding"].unique())
    writer = MapWriter(tmp_path / "maps", {"findings": findings, "points": None, "method": "cam"})
    for image in boxes["image"].unique():
        maps = np.ones((len(findings), 2, 2), np.float32)
        writer.add(image, View(1024, 1024, 0, 0, 1024, 1024), np.full(len(findings), 0.5), maps)
    writer.finish()
    with pytest.raises(CxrError, match="606 of the 880 boxed images") as raised:
        localise_files(
            tmp_path / "maps", realdata / "nih" / "BBox_List_2017.csv", manifest, tmp_path / "out", options=FEW
        )
    assert raised.value.code is Code.IMAGES_SEEN
