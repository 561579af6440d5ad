"""Phantoms besides the frontal films of adults: the geometry of laterals and children, their share, when they come."""

import csv
import hashlib
import json
from collections.abc import Callable
from datetime import date, datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from cxr_monai.data.phantom import FilmMix, Hospital, Study, draw_phantom, make_cohort, make_phantoms
from cxr_monai.data.phantom.anatomy import Body, sample_body
from cxr_monai.data.phantom.child_anatomy import with_proportions_of
from cxr_monai.errors import CxrError
from tests.support.dicom_validators import errors_of_dciodvfy

PATIENTS = range(1, 9)
MIX = FilmMix(laterals=0.3, children=0.4, first_day=date(2026, 3, 2), days=14)
BODY = sample_body(np.random.default_rng(0), 40, "M")


def extent(mask: np.ndarray) -> tuple[int, int]:
    """Rows and columns of a mask's box."""
    return int(np.ptp(np.flatnonzero(mask.any(1)))) + 1, int(np.ptp(np.flatnonzero(mask.any(0)))) + 1


def height_to_width(age: float, by_age: bool = True) -> float:
    shapes = [extent(draw_phantom(3, 96, patient=patient, age=age, by_age=by_age).lungs) for patient in PATIENTS]
    return float(np.mean([rows / columns for rows, columns in shapes]))


@pytest.fixture(scope="module")
def laterals() -> list:
    return [draw_phantom(3, 128, patient=patient, view="LATERAL") for patient in PATIENTS]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("mixed") / "out"
    make_phantoms(root, 40, 64, seed=5, workers=1, dicom=True, hospital=Hospital(mix=MIX), progress=False)
    return root


@pytest.fixture(scope="module")
def studies() -> list[Study]:
    return make_cohort(40, 5, mix=MIX)


class TestChildren:
    def test_the_chest_is_short_and_broad_and_the_teenager_lies_between(self) -> None:
        newborn, six, fifteen, adult = (height_to_width(age) for age in (0, 6, 15, 30))
        assert newborn < 0.85 * adult
        assert newborn < six < fifteen < adult

    @pytest.mark.parametrize(
        ("number", "grows"),
        [("dome", True), ("rib_drop", True), ("rib_slope", True), ("depth", False), ("cardiothoracic", False)],
    )
    def test_proportions_change_steadily_and_end_as_an_adults(self, number: str, grows: bool) -> None:
        values = [getattr(with_proportions_of(BODY, age), number) for age in np.arange(0, 18.5, 0.5)]
        steps = np.diff(values)
        assert (steps >= 0).all() if grows else (steps <= 0).all()
        assert np.abs(steps).max() < 0.3 * abs(values[-1] - values[0])  # no jump at a birthday
        assert abs(values[-1] - getattr(BODY, number)) < 1e-3

    @pytest.mark.parametrize("age", [18, 50])
    def test_an_adult_stays_as_it_is(self, age: float) -> None:
        assert with_proportions_of(BODY, age) is BODY
        with_age, without = (draw_phantom(3, 64, age=age, by_age=by_age).pixels for by_age in (True, False))
        np.testing.assert_array_equal(with_age, without)

    def test_a_newborns_heart_takes_three_fifths_of_the_chest(self) -> None:
        newborns = [with_proportions_of(sample_body(np.random.default_rng(n), 0, "F"), 0) for n in range(40)]
        assert 0.55 < np.mean([body.cardiothoracic for body in newborns]) < 0.65
        adults = [sample_body(np.random.default_rng(n), 40, "F") for n in range(40)]
        assert np.mean([body.cardiothoracic for body in adults]) < 0.5

    def test_the_thymus_widens_the_upper_mediastinum_of_the_small_ones(self) -> None:
        def middle(age: float) -> float:
            """Columns between the lungs, halfway between apex and heart, as a share of the chest."""
            shares = []
            for patient in PATIENTS:
                lungs = draw_phantom(3, 96, patient=patient, age=age, by_age=True).lungs
                rows = np.flatnonzero(lungs.any(1))
                columns = np.flatnonzero(lungs[rows[0] + round(0.38 * len(rows))])
                shares.append(np.diff(columns).max() / np.ptp(columns))
            return float(np.mean(shares))

        assert middle(0) > 1.5 * middle(8)

    def test_lesions_lie_in_the_childs_chest(self) -> None:
        for patient in PATIENTS:
            phantom = draw_phantom(3, 96, ["Mass", "Effusion"], patient=patient, age=2, by_age=True)
            plain = draw_phantom(3, 96, [], patient=patient, age=2, by_age=True)
            for mask in phantom.masks.values():
                assert (mask & plain.lungs).sum() > 0.4 * mask.sum()


class TestLaterals:
    def test_it_is_narrower_than_the_frontal_film_of_the_same_patient(self, laterals: list) -> None:
        for patient, lateral in zip(PATIENTS, laterals, strict=True):
            frontal = draw_phantom(3, 128, patient=patient, view="PA")
            assert extent(lateral.lungs)[1] < 0.8 * extent(frontal.lungs)[1]
            assert extent(lateral.lungs)[0] > 0.8 * extent(frontal.lungs)[0]

    def test_the_spaces_before_and_behind_the_heart_are_clear(self, laterals: list) -> None:
        # the heart touches the front below; the lung reaches further forwards above it, and behind it
        for lateral in laterals:
            rows = np.flatnonzero(lateral.lungs.any(1))
            upper, lower = (lateral.lungs[rows[0] + round(share * len(rows))] for share in (0.35, 0.66))
            heart_row = np.flatnonzero(lower)
            assert np.flatnonzero(upper)[-1] > heart_row[0] + 0.5 * np.ptp(np.flatnonzero(upper))
            gap = np.diff(heart_row).max()
            assert gap > 0.15 * extent(lateral.lungs)[1] or heart_row[-1] < np.flatnonzero(upper)[-1]

    def test_spine_behind_breastbone_in_front_and_air_between(self) -> None:
        mean = np.mean([draw_phantom(3, 128, patient=p, view="LATERAL").pixels for p in range(1, 25)], axis=0)
        row = mean[round(0.42 * 128) : round(0.5 * 128)].mean(0)
        body = np.flatnonzero(row > 0.3 * row.max())
        back, front = row[body[0] : body[0] + 34].max(), row[body[-1] - 20 : body[-1] + 1].max()
        middle = row[(body[0] + body[-1]) // 2 - 8 : (body[0] + body[-1]) // 2 + 8].min()
        assert middle < back
        assert middle < front

    def test_two_laterals_of_a_patient_show_the_same_anatomy(self) -> None:
        heavy = draw_phantom(3, 64, ["Cardiomegaly"], patient=2, view="LATERAL").lungs.sum()
        assert heavy < 0.95 * draw_phantom(3, 64, [], patient=2, view="LATERAL").lungs.sum()

    @pytest.mark.parametrize("finding", ["Cardiomegaly", "Effusion", "Mass", "Nodule", "Emphysema"])
    def test_findings_that_show_and_none_has_a_box(self, finding: str) -> None:
        phantom = draw_phantom(3, 96, [finding], patient=4, view="LATERAL")
        plain = draw_phantom(3, 96, [], patient=4, view="LATERAL")
        assert np.abs(phantom.pixels - plain.pixels).max() > 0.05
        assert phantom.masks == phantom.boxes == {}

    def test_it_looks_like_no_frontal_film(self) -> None:
        def small(view: str, patient: int) -> np.ndarray:
            pixels = draw_phantom(3, 64, patient=patient, view=view).pixels.reshape(16, 4, 16, 4).mean((1, 3)).ravel()
            return (pixels - pixels.mean()) / pixels.std()

        films = {view: np.stack([small(view, patient) for patient in range(1, 31)]) for view in ("PA", "AP", "LATERAL")}
        usual = {view: of_view[:15].mean(0) for view, of_view in films.items()}
        for view, of_view in films.items():
            for film in of_view[15:]:
                nearest = max(usual, key=lambda name: float(film @ usual[name]) / float(np.linalg.norm(usual[name])))
                assert (nearest == "LATERAL") == (view == "LATERAL")


class TestCohort:
    def test_others_films_stay_as_they_are(self) -> None:
        usual, mixed = make_cohort(300, 7), make_cohort(300, 7, mix=FilmMix(children=0.2))
        rows = {(study.patient, study.index): study for study in usual}
        changed = [study for study in mixed if rows.get((study.patient, study.index), study) != study]
        patients = {study.patient for study in mixed}
        young = {study.patient for study in changed}
        assert 0.12 < len(young) / len(patients) < 0.28
        assert all(study.age <= 15 for study in changed)  # 0 to 12, and a follow-up's months
        assert {study.age for study in changed} >= {1, 6, 12}

    def test_a_lateral_stands_in_a_frontal_films_place(self) -> None:
        usual, mixed = make_cohort(400, 7), make_cohort(400, 7, mix=FilmMix(laterals=0.25))
        assert [(s.image, s.findings, s.age) for s in usual] == [(s.image, s.findings, s.age) for s in mixed]
        assert 0.2 < np.mean([study.view == "LATERAL" for study in mixed]) < 0.3
        assert all(one.view == other.view for one, other in zip(usual, mixed, strict=True) if other.view != "LATERAL")

    def test_times_lie_in_the_period_and_follow_ups_follow(self) -> None:
        studies = make_cohort(200, 7, mix=FilmMix(first_day=date(2026, 3, 2), days=7))
        times = [datetime.fromisoformat(study.taken_on) for study in studies]
        assert min(times) >= datetime(2026, 3, 2, 7)
        assert max(times) < datetime(2026, 3, 8, 19)
        assert {time.date().day for time in times} == set(range(2, 9))
        for one, other in pairwise(studies):
            assert one.patient != other.patient or one.taken_on <= other.taken_on

    @pytest.mark.parametrize(
        "wrong",
        [lambda: FilmMix(laterals=1.1), lambda: FilmMix(children=-0.1), lambda: FilmMix(children=float("nan")),
         lambda: FilmMix(days=0)],
    )  # fmt: skip
    def test_impossible_mixes(self, wrong: Callable[[], FilmMix]) -> None:
        with pytest.raises(CxrError) as refused:
            wrong()
        assert refused.value.code == "setting-invalid"


class TestFolder:
    def test_the_same_bytes_again_and_without_the_mix_the_adults_frontal_films(
        self, written: Path, studies: list[Study], tmp_path: Path
    ) -> None:
        again, usual = tmp_path / "again", tmp_path / "usual"
        make_phantoms(again, 40, 64, seed=5, workers=1, dicom=True, hospital=Hospital(mix=MIX), progress=False)
        files = [path.relative_to(written) for path in written.rglob("*") if path.is_file()]
        assert all((written / file).read_bytes() == (again / file).read_bytes() for file in files)
        make_phantoms(usual, 40, 64, seed=5, workers=1, progress=False)
        digest = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (usual / "images").iterdir()}
        adults = [study for study in studies if study.view != "LATERAL" and study.age >= 18 and study.image in digest]
        assert len(adults) > 5
        for study in adults:
            pixels = (written / "images" / study.image).read_bytes()
            assert hashlib.sha256(pixels).hexdigest() == digest[study.image]

    def test_table_and_boxes(self, written: Path, studies: list[Study]) -> None:
        with (written / "Data_Entry_2017_v2020.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [row["View Position"] for row in rows] == [study.view for study in studies]
        assert [int(row["Patient Age"]) for row in rows] == [study.age for study in studies]
        laterals = {study.image for study in studies if study.view == "LATERAL"}
        assert any(study.findings for study in studies if study.image in laterals)
        with (written / "BBox_List_2017.csv").open(newline="") as file:
            boxed = {row[0] for row in list(csv.reader(file))[1:]}
        assert boxed
        assert not boxed & laterals

    def test_headers(self, written: Path, studies: list[Study]) -> None:
        for study in studies:
            header = dcmread(written / "dicom" / f"{study.patient_id:08d}" / study.image.replace(".png", ".dcm"))
            is_lateral = study.view == "LATERAL"
            assert header.ViewPosition == ("LL" if is_lateral else study.view)
            assert list(header.PatientOrientation) == (["A", "F"] if is_lateral else ["L", "F"])
            assert header.PatientAge == (f"{study.age:03d}Y" if study.age else "006M")
            taken = datetime.strptime(header.AcquisitionDate + header.AcquisitionTime, "%Y%m%d%H%M%S")
            assert taken.isoformat() == study.taken_on
            assert header.StudyDate == header.AcquisitionDate

    def test_the_mark_holds_the_mix(self, written: Path) -> None:
        mark = json.loads((written / "phantom.json").read_text())
        expected = {"laterals": 0.3, "children": 0.4, "from": "2026-03-02", "days": 14}
        assert {name: mark[name] for name in expected} == expected


def test_bodies_of_frontal_films_have_the_numbers_of_before() -> None:
    assert (Body().rib_drop, Body().depth) == (0.20, 0.68)


@pytest.mark.hospital
def test_dciodvfy_has_no_error_in_laterals_and_children_with_dates(written: Path, tmp_path: Path) -> None:
    files = sorted((written / "dicom").rglob("*.dcm"))
    assert {dcmread(path, stop_before_pixels=True).ViewPosition for path in files} > {"LL"}
    assert {path.stem: errors_of_dciodvfy(path, tmp_path) for path in files} == {path.stem: [] for path in files}
