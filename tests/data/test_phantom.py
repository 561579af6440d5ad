"""Synthetic radiographs: reproducible, in NIH's layout, true to their masks, not solvable by mean brightness."""

import csv
import hashlib
import json
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxr_monai.data.phantom import (
    PREVALENCE,
    Hospital,
    Look,
    contact_sheet,
    draw_phantom,
    held_out_patients,
    make_cohort,
    make_phantoms,
    tight_box,
)
from cxr_monai.data.phantom.mark import is_marked
from cxr_monai.data.sources import SourceTable, load
from cxr_monai.errors import Code, CxrError
from cxr_monai.labels import NIH14
from tests.support.dicom_validators import errors_of_dciodvfy

DEMO_COUNT, DEMO_SEED = 8000, 0


def digests(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("phantoms") / "out"
    make_phantoms(root, 40, 64, seed=5, workers=1, dicom=True)
    return root


def rows_of(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


class TestDrawing:
    @pytest.mark.parametrize("finding", NIH14)
    @pytest.mark.parametrize("view", ["PA", "AP"])
    def test_a_finding_changes_the_picture_where_its_mask_is(self, finding: str, view: str) -> None:
        for patient in (1, 2, 3):
            without = draw_phantom(3, 96, [], patient=patient, view=view)
            phantom = draw_phantom(3, 96, [finding], patient=patient, view=view)
            mask, changed = phantom.masks[finding], np.abs(phantom.pixels - without.pixels)
            assert list(phantom.masks) == list(phantom.boxes) == [finding]
            assert mask.any()
            assert changed[mask].mean() > 0.015
            assert changed[mask].mean() > changed[~mask].mean()

    def test_pixels_are_float32_from_0_to_1(self) -> None:
        pixels = draw_phantom(0, 50, ["Edema"]).pixels
        assert pixels.dtype == np.float32
        assert pixels.shape == (50, 50)
        assert 0 <= pixels.min() < 0.2
        assert 0.7 < pixels.max() <= 1

    @pytest.mark.parametrize("size", [32, 77, 128])
    def test_boxes_are_the_tight_boxes_of_masks_inside_the_body(self, size: int) -> None:
        for patient in (1, 2):
            phantom = draw_phantom(8, size, NIH14, patient=patient)
            assert tuple(phantom.boxes) == NIH14
            for finding, (x, y, width, height) in phantom.boxes.items():
                mask = phantom.masks[finding]
                outside = mask.copy()
                outside[y : y + height, x : x + width] = False
                assert not outside.any()
                inner = mask[y : y + height, x : x + width]
                assert inner[0].any()
                assert inner[-1].any()
                assert inner[:, 0].any()
                assert inner[:, -1].any()
                # the body never touches the lungs' outside: nothing is drawn on the air beside the patient
                assert phantom.pixels[mask].min() > 0.0

    def test_tight_box_by_hand(self) -> None:
        mask = np.zeros((6, 8), dtype=bool)
        mask[2, 3] = mask[4, 6] = True
        assert tight_box(mask) == (3, 2, 4, 3)

    def test_the_same_picture_at_another_size(self) -> None:
        small, large = (draw_phantom(2, size, ["Mass"], patient=4) for size in (64, 256))
        reduced = large.pixels.reshape(64, 4, 64, 4).mean(axis=(1, 3))
        inner = np.s_[10:-4, 4:-4]  # letters and the collimator's border are whole pixels
        assert np.abs(reduced - small.pixels)[inner].mean() < 0.03
        np.testing.assert_allclose(np.array(large.boxes["Mass"]) / 4, small.boxes["Mass"], atol=1.5)

    def test_findings_last_over_follow_ups(self) -> None:
        first, second = (draw_phantom(2, 128, ["Nodule"], patient=9, index=index) for index in (0, 1))
        assert not np.array_equal(first.pixels, second.pixels)
        # the same side of the chest, about the same height; patients are placed anew
        assert np.abs(np.subtract(first.boxes["Nodule"][:2], second.boxes["Nodule"][:2])).max() < 128 * 0.2

    def test_cardiomegaly_widens_the_heart_beyond_half_of_the_chest(self) -> None:
        for patient in range(1, 6):
            phantom = draw_phantom(1, 128, ["Cardiomegaly", "Emphysema"], patient=patient)
            assert phantom.boxes["Cardiomegaly"][2] > 0.5 * phantom.boxes["Emphysema"][2]  # emphysema's box: the lungs

    def test_cardiomegaly_lies_mostly_on_the_right_of_the_image(self) -> None:
        for patient in range(1, 6):
            mask = draw_phantom(1, 128, ["Cardiomegaly"], patient=patient).masks["Cardiomegaly"]
            assert np.flatnonzero(mask.any(axis=0)).mean() > 64

    @pytest.mark.parametrize(
        "wrong", [{"size": 31}, {"size": 5000}, {"sex": "X"}, {"view": "LORDOTIC"}, {"findings": ["Gout"]}]
    )
    def test_what_cannot_be_drawn(self, wrong: dict) -> None:
        with pytest.raises(CxrError) as caught:
            draw_phantom(**({"seed": 0, "size": 64} | wrong))
        assert caught.value.code in (Code.SETTING_INVALID, Code.UNKNOWN_FINDING)
        assert str(next(iter(wrong.values()))).strip("[]'") in str(caught.value)


class TestFolder:
    def test_same_seed_same_bytes_whatever_the_workers(self, made: Path, tmp_path: Path) -> None:
        make_phantoms(tmp_path / "two", 40, 64, seed=5, workers=2, dicom=True)
        assert digests(tmp_path / "two") == digests(made)

    def test_another_seed_other_images_and_a_longer_table_the_same_ones(self, made: Path, tmp_path: Path) -> None:
        make_phantoms(tmp_path / "other", 3, 64, seed=6, workers=1)
        make_phantoms(tmp_path / "fewer", 3, 64, seed=5, workers=1, masks=False)
        names = ["images/06000001_000.png", "images/07000001_000.png"]
        assert (made / names[0]).read_bytes() != (tmp_path / "other" / names[1]).read_bytes()
        patients = [
            {row[3] for row in rows_of(root / "Data_Entry_2017_v2020.csv")[1:]} for root in (made, tmp_path / "other")
        ]
        assert not patients[0] & patients[1], "cohorts of two seeds share no patient"
        images = {key: value for key, value in digests(tmp_path / "fewer").items() if key.startswith("images")}
        assert images.items() <= digests(made).items()
        assert len(images) == 3

    def test_nih_layout(self, made: Path) -> None:
        header, *rows = rows_of(made / "Data_Entry_2017_v2020.csv")
        assert ",".join(header) == (
            "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
            "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
        )
        assert len(rows) == 40
        assert {row[0] for row in rows} == {path.name for path in (made / "images").iterdir()}
        for name, labels, follow_up, patient, age, sex, view, *_ in rows:
            assert name == f"{int(patient):08d}_{int(follow_up):03d}.png"
            assert labels == "No Finding" or set(labels.split("|")) <= set(NIH14)
            assert 0 < int(age) <= 95
            assert sex in "MF"
            assert view in ("PA", "AP")
        with Image.open(made / "images" / rows[0][0]) as image:
            assert (image.mode, image.size, image.format) == ("L", (64, 64), "PNG")
        assert "No patient is shown" in (made / "README.txt").read_text()

    def test_lists_partition_the_images_by_patient(self, made: Path) -> None:
        names = [row[0] for row in rows_of(made / "Data_Entry_2017_v2020.csv")[1:]]
        train, test = ((made / f"{name}_list.txt").read_text().split() for name in ("train_val", "test"))
        assert sorted(train + test) == sorted(names)
        assert train
        assert test
        assert not {name[:8] for name in train} & {name[:8] for name in test}

    def test_boxes_are_those_of_the_masks_in_pixels_of_1024(self, made: Path) -> None:
        header, *rows = rows_of(made / "BBox_List_2017.csv")
        assert ",".join(header) == "Image Index,Finding Label,Bbox [x,y,w,h],,,"
        table = {row[0]: row[1] for row in rows_of(made / "Data_Entry_2017_v2020.csv")[1:]}
        expected = {(name, f) for name, labels in table.items() for f in labels.split("|") if f != "No Finding"}
        found = set()
        for name, label, *numbers in rows:
            finding = "Infiltration" if label == "Infiltrate" else label
            found.add((name, finding))
            mask = np.asarray(Image.open(made / "masks" / finding / name))
            assert set(np.unique(mask)) == {0, 255}
            assert [float(value) for value in numbers[:4]] == [16 * value for value in tight_box(mask == 255)]
            assert numbers[4:] == ["", "", ""]
        assert found == expected
        assert len(rows) == len(expected)
        assert "Infiltrate" in {row[1] for row in rows}

    def test_dicom_is_the_png_with_more_bits(self, made: Path) -> None:
        pydicom = pytest.importorskip("pydicom")
        files = sorted((made / "dicom").rglob("*.dcm"))
        assert len(files) == 40
        for path in files[:5]:
            header = pydicom.dcmread(path)
            grey = np.asarray(Image.open(made / "images" / f"{path.stem}.png")).astype(float)
            assert np.abs(header.pixel_array / 4095 - grey / 255).max() <= 0.5 / 255 + 0.5 / 4095 + 1e-6
            assert (header.Modality, header.PhotometricInterpretation, header.BitsStored) == ("DX", "MONOCHROME2", 12)
            assert path.parent.name == path.stem[:8]
            assert "PHANTOM" in str(header.PatientName)
        row = next(row for row in rows_of(made / "Data_Entry_2017_v2020.csv") if row[0] == f"{files[0].stem}.png")
        header = pydicom.dcmread(files[0], stop_before_pixels=True)
        assert [header.PatientAge, header.PatientSex, header.ViewPosition] == [f"{int(row[4]):03d}Y", row[5], row[6]]

    @pytest.mark.hospital
    def test_dciodvfy_has_no_error_in_a_dicom_film(self, made: Path, tmp_path: Path) -> None:
        files = sorted((made / "dicom").rglob("*.dcm"))
        assert {path.stem: errors_of_dciodvfy(path, tmp_path) for path in files} == {path.stem: [] for path in files}

    def test_refuses_a_folder_with_content(self, tmp_path: Path) -> None:
        out = tmp_path / "out"
        out.mkdir()
        (out / "Data_Entry_2017_v2020.csv").write_text("somebody's")
        for force in (False, True):
            with pytest.raises(CxrError, match=str(out)) as caught:
                make_phantoms(out, 1, 32, workers=1, force=force)
            assert caught.value.code == Code.OUTPUT_EXISTS
        assert (out / "Data_Entry_2017_v2020.csv").read_text() == "somebody's"

    def test_force_replaces_an_earlier_output_whole(self, tmp_path: Path) -> None:
        make_phantoms(tmp_path, 4, 32, seed=1, workers=1)
        with pytest.raises(CxrError) as caught:
            make_phantoms(tmp_path, 2, 32, seed=1, workers=1)
        assert caught.value.code == Code.OUTPUT_EXISTS
        make_phantoms(tmp_path, 2, 32, seed=1, workers=1, force=True)
        assert len(list((tmp_path / "images").iterdir())) == 2

    @pytest.mark.parametrize("wrong", [{"count": 0}, {"seed": -1}, {"size": 8}, {"workers": 0}])
    def test_settings_are_checked_before_anything_is_written(self, tmp_path: Path, wrong: dict) -> None:
        with pytest.raises(CxrError, match=str(next(iter(wrong.values())))) as caught:
            make_phantoms(tmp_path / "out", **({"count": 1, "workers": 1} | wrong))
        assert caught.value.code == Code.SETTING_INVALID
        assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def demo() -> list:
    return make_cohort(DEMO_COUNT, DEMO_SEED)


class TestCohort:
    def test_long_tail_with_enough_held_out(self, demo: list) -> None:
        held_out = held_out_patients(demo, DEMO_SEED)
        tested = [study for study in demo if study.patient in held_out]
        assert len(demo) == DEMO_COUNT
        assert 0.22 < len(tested) / len(demo) < 0.28
        counts = Counter(finding for study in demo for finding in study.findings)
        assert min(Counter(f for study in tested for f in study.findings)[finding] for finding in NIH14) >= 20
        for finding, share in PREVALENCE.items():
            assert counts[finding] / DEMO_COUNT == pytest.approx(share, rel=0.3)
        assert counts["Infiltration"] > 4 * counts["Hernia"]

    @pytest.mark.parametrize("seed", range(3))
    def test_4000_images_also_hold_out_20_of_each(self, seed: int) -> None:
        studies = make_cohort(4000, seed)
        held_out = held_out_patients(studies, seed)
        counts = Counter(f for study in studies if study.patient in held_out for f in study.findings)
        assert min(counts[finding] for finding in NIH14) >= 20

    def test_findings_co_occur_as_in_nih(self, demo: list) -> None:
        there = np.array([[finding in study.findings for finding in NIH14] for study in demo], dtype=float)
        share = there.mean(axis=0)
        lift = there.T @ there / len(demo) / np.outer(share, share)

        def of(one: str, other: str) -> float:
            return lift[NIH14.index(one), NIH14.index(other)]

        for one, other in (("Effusion", "Atelectasis"), ("Pneumothorax", "Emphysema"), ("Edema", "Pneumonia")):
            assert of(one, other) > 1.8
        assert of("Hernia", "Pneumonia") < 1.8

    def held_out_patients_return_and_age_and_keep_their_findings(self, demo: list) -> None:
        by_patient: dict[int, list] = {}
        for study in demo:
            by_patient.setdefault(study.patient, []).append(study)
        several = [studies for studies in by_patient.values() if len(studies) > 1]
        assert 0.3 < len(several) / len(by_patient) < 0.7
        for studies in several:
            assert [study.index for study in studies] == list(range(len(studies)))
            assert [study.age for study in studies] == sorted(study.age for study in studies)
            assert len({study.sex for study in studies}) == 1
        kept = [
            "Effusion" in after.findings
            for studies in several
            for before, after in pairwise(studies)
            if "Effusion" in before.findings
        ]
        assert np.mean(kept) > 3 * PREVALENCE["Effusion"]

    def test_edema_is_a_bedside_finding(self, demo: list) -> None:
        share = {
            view: np.mean(["Edema" in study.findings for study in demo if study.view == view]) for view in ("PA", "AP")
        }
        assert share["AP"] > 2 * share["PA"]


def test_contact_sheet_shows_healthy_chests_and_every_finding() -> None:
    sheet = contact_sheet(seed=1, tile=40, columns=2)
    assert (sheet.mode, sheet.size) == ("RGB", (80, 16 * 54))


def test_thumbnails_do_not_solve_it() -> None:
    """The findings are structure, not brightness: a linear model on 16x16 pixels stays below a mean AUROC of 0.70."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    seed = 0
    studies = make_cohort(1600, seed)
    held_out = held_out_patients(studies, seed)
    thumbnails = []
    for study in studies:
        pixels = draw_phantom(
            seed,
            64,
            study.findings,
            patient=study.patient,
            index=study.index,
            age=study.age,
            sex=study.sex,
            view=study.view,
        ).pixels
        thumbnails.append(pixels.reshape(16, 4, 16, 4).mean(axis=(1, 3)).ravel())
    x = np.array(thumbnails, dtype=np.float64)
    test = np.array([study.patient in held_out for study in studies])
    scores = []
    for finding in NIH14:
        y = np.array([finding in study.findings for study in studies])
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500)).fit(x[~test], y[~test])
        scores.append(roc_auc_score(y[test], model.decision_function(x[test])))
    assert np.mean(scores) < 0.70


@pytest.mark.realdata
def test_sizes_follow_nih_boxes(realdata: Path) -> None:
    """Medians and quartiles of width and height within 20 % of NIH's, for each of its eight findings.

    Lesions lose a little of their box where the chest's wall, the heart or the diaphragm cuts them off.
    """
    boxes: dict[str, list[list[float]]] = {}
    for _, label, *numbers in rows_of(realdata / "nih" / "BBox_List_2017.csv")[1:]:
        boxes.setdefault("Infiltration" if label == "Infiltrate" else label, []).append(
            [float(v) for v in numbers[2:4]]
        )
    assert len(boxes) == 8
    for finding, real in boxes.items():
        drawn = []
        for patient in range(1, 101):
            phantom = draw_phantom(
                11, 96, [finding], patient=patient, sex="MF"[patient % 2], view=("PA", "AP")[patient % 5 < 2]
            )
            drawn.append(np.array(phantom.boxes[finding][2:]) * 1024 / 96)
        ratio = np.quantile(drawn, [0.25, 0.5, 0.75], axis=0) / np.quantile(real, [0.25, 0.5, 0.75], axis=0)
        assert np.abs(ratio - 1).max() < 0.20, (finding, ratio)


class TestMark:
    """Whoever reads phantoms, in whatever form, learns that they are drawn."""

    def read(self, root: Path, source: str, tmp_path: Path) -> SourceTable:
        if source == "nih":
            return load("nih").read(root)
        if source == "dicom":
            return load("dicom").read(root / "dicom", key=None)
        labels = tmp_path / "labels.csv"
        names = [path.name for path in sorted((root / "images").iterdir())]
        labels.write_text("image,patient,Mass\n" + "".join(f"{name},{name[:8]},0\n" for name in names))
        return load("folder").read(root / "images", labels=labels)

    @pytest.mark.parametrize("source", ["nih", "dicom", "folder"])
    def test_a_manifest_of_phantoms_says_what_they_are(self, made: Path, source: str, tmp_path: Path) -> None:
        table = self.read(made, source, tmp_path)
        assert table.label_version == "phantom-v1"
        assert set(table.table["source"]) == {"phantom"}
        assert "no patient is shown" in table.notes[0]
        assert len(table.table) == 40

    def test_the_mark_is_for_programs_and_older_folders_have_the_card_alone(self, made: Path, tmp_path: Path) -> None:
        mark = json.loads((made / "phantom.json").read_text())
        assert mark == {
            "synthetic": True, "made_by": "cxr-monai phantom", "label_version": "phantom-v1", "count": 40, "size": 64,
            "seed": 5,
        }  # fmt: skip
        assert is_marked(made)
        assert is_marked(made / "dicom" / "00000001")
        (tmp_path / "README.txt").write_text((made / "README.txt").read_text())
        assert is_marked(tmp_path)

    @pytest.mark.parametrize("content", ['{"synthetic": false}', "[]", "no json", '{"synthetic": "yes"}'])
    def test_another_file_of_that_name_is_no_mark(self, content: str, tmp_path: Path) -> None:
        (tmp_path / "phantom.json").write_text(content)
        (tmp_path / "README.txt").write_text("Chest radiographs of our ward\n")
        assert not is_marked(tmp_path)

    def test_real_images_in_nihs_layout_stay_nihs(self, made: Path, tmp_path: Path) -> None:
        for name in ("Data_Entry_2017_v2020.csv", "BBox_List_2017.csv"):
            (tmp_path / name).write_bytes((made / name).read_bytes())
        table = load("nih").read(tmp_path, table_only=True)
        assert table.label_version == "nih-v2020"
        assert set(table.table["source"]) == {"nih"}
        (tmp_path / "Data_Entry_2017_v2020.csv").rename(tmp_path / "ours.csv")
        assert load("nih").read(tmp_path, table=tmp_path / "ours.csv", table_only=True).label_version == "nih-other"


class TestHospital:
    """Two hospitals differ as planned, and the usual one is the phantoms as they were."""

    @pytest.mark.parametrize("usual", [Hospital(), Hospital({}, Look(1, 1, 0), None)])
    def test_the_usual_hospital_writes_the_same_bytes(self, made: Path, usual: Hospital, tmp_path: Path) -> None:
        make_phantoms(tmp_path / "out", 40, 64, seed=5, workers=1, dicom=True, hospital=usual)
        assert digests(tmp_path / "out") == digests(made)

    def test_prevalence_moves_its_finding_alone(self, demo: list) -> None:
        moved = make_cohort(DEMO_COUNT, DEMO_SEED, Hospital({"mass": 0.3, "Infiltration": 0.0}).prevalences)
        counts = Counter(finding for study in moved for finding in study.findings)
        assert counts["Mass"] / DEMO_COUNT == pytest.approx(0.3, rel=0.1)
        assert counts["Infiltration"] == 0
        assert [(s.image, s.age, s.sex, s.view) for s in moved] == [(s.image, s.age, s.sex, s.view) for s in demo]
        others = set(NIH14) - {"Mass", "Infiltration"}
        assert [set(study.findings) & others for study in moved] == [set(study.findings) & others for study in demo]
        assert all("Mass" in after.findings for after, s in zip(moved, demo, strict=True) if "Mass" in s.findings)

    def test_look_by_hand(self) -> None:
        film = np.array([[0.0, 0.25], [0.5, 1.0]], dtype=np.float32)
        rng = np.random.default_rng(0)
        np.testing.assert_allclose(Look(gamma=2).apply(film, rng), [[0, 0.0625], [0.25, 1]], atol=1e-7)
        np.testing.assert_allclose(Look(contrast=2).apply(film, rng), [[0, 0], [0.5, 1]], atol=1e-7)
        np.testing.assert_allclose(Look(contrast=0.5).apply(film, rng), [[0.25, 0.375], [0.5, 0.75]], atol=1e-7)
        grey = np.full((200, 200), 0.5, np.float32)
        assert Look(noise=0.05).apply(grey, rng).std() == pytest.approx(0.05, rel=0.02)

    def test_look_leaves_truth_and_chest_as_they_are(self) -> None:
        plain = draw_phantom(3, 64, ["Mass"])
        dark = draw_phantom(3, 64, ["Mass"], hospital=Hospital(look=Look(gamma=2)))
        np.testing.assert_allclose(dark.pixels, plain.pixels**2, atol=1e-6)
        assert dark.boxes == plain.boxes
        noisy = [draw_phantom(3, 64, hospital=Hospital(look=Look(noise=0.1))).pixels for _ in range(2)]
        np.testing.assert_array_equal(*noisy)

    @pytest.mark.parametrize(("share", "expected"), [(1.0, (40, 0)), (0.5, (20, 20)), (0.8, (32, 8))])
    def test_a_marker_goes_with_its_finding_in_a_corner(self, share: float, expected: tuple[int, int]) -> None:
        marked, outside = [0, 0], 0.0
        for patient in range(1, 41):
            for position, findings in enumerate((["Mass"], [])):
                plain = draw_phantom(3, 64, findings, patient=patient).pixels
                film = draw_phantom(3, 64, findings, patient=patient, hospital=Hospital(marker=("Mass", share))).pixels
                changed = film != plain
                marked[position] += bool(changed.any())
                outside += changed[: int(0.85 * 64)].sum() + changed[:, int(0.15 * 64) :].sum()
        assert outside == 0
        assert np.abs(np.subtract(marked, expected)).max() <= (0 if share == 1 else 6)

    def test_lungs_are_written_and_hold_the_lesions_of_the_lung(self, tmp_path: Path) -> None:
        made = make_phantoms(tmp_path, 3, 64, seed=5, workers=1, masks=False, lungs=True)
        study = make_cohort(3, 5)[0]
        phantom = draw_phantom(5, 64, study.findings, patient=1, age=study.age, sex=study.sex, view=study.view)
        with Image.open(tmp_path / "masks" / "lungs" / study.image) as written:
            np.testing.assert_array_equal(np.asarray(written), phantom.lungs * np.uint8(255))
        assert [path.name for path in (made.root / "masks").iterdir()] == ["lungs"]
        assert len(load("nih").read(made.root).table) == 3  # the masks, of the images' names, are no second images
        with_mass = draw_phantom(3, 96, ["Mass"])
        assert (with_mass.masks["Mass"] & with_mass.lungs).sum() > 0.95 * with_mass.masks["Mass"].sum()
        np.testing.assert_array_equal(with_mass.lungs, draw_phantom(3, 96).lungs)
        assert 0.1 < with_mass.lungs.mean() < 0.5

    def test_the_mark_tells_what_differs(self, tmp_path: Path) -> None:
        make_phantoms(tmp_path, 2, 32, workers=1, hospital=Hospital({"Mass": 0.3}, Look(1.4, 0.8, 0.02), ("Mass", 0.9)))
        mark = json.loads((tmp_path / "phantom.json").read_text())
        assert mark["prevalence"] == {"Mass": 0.3}
        assert mark["look"] == {"gamma": 1.4, "contrast": 0.8, "noise": 0.02}
        assert mark["marker"] == {"Mass": 0.9}

    @pytest.mark.parametrize(
        "wrong",
        [
            lambda: Hospital({"Mass": 1.2}),
            lambda: Hospital({"Gout": 0.1}),
            lambda: Hospital(marker=("Mass", -0.1)),
            lambda: Look(gamma=0),
            lambda: Look(contrast=float("nan")),
            lambda: Look(noise=-1),
        ],
    )
    def test_impossible_hospitals(self, wrong: Callable[[], object]) -> None:
        with pytest.raises(CxrError) as caught:
            wrong()
        assert caught.value.code in (Code.SETTING_INVALID, Code.UNKNOWN_FINDING)
