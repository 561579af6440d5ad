"""What is fitted on validation patients: written, read, applied, moved, and never reported on its own patients."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cxr_monai.errors import Code, CxrError, EvaluationError
from cxr_monai.evaluation.calibration import Calibrator
from cxr_monai.evaluation.fitted import DEFAULT_RULES, Fitted, describe_sample, fit_calibration, read_calibration, refit
from cxr_monai.evaluation.operating_points import Rule, choose_threshold, counts_at
from cxr_monai.evaluation.patients import patients_trained_on, refuse_shared, remember_patients
from cxr_monai.evaluation.sample import Sample
from tests.evaluation.synthetic_scores import FINDINGS, made_manifest, made_sample, made_scores, made_table

VAL, TEST = made_table(300, 2, 3, "val"), made_table(300, 2, 4, "test")
MANIFEST = made_manifest(VAL, TEST)


def part(name: str) -> Sample:
    table = MANIFEST.part(name)
    scores = made_scores(table.table, 7)[list(FINDINGS)].to_numpy()
    return Sample.of(table.table, FINDINGS, scores, table.labels(FINDINGS))


@pytest.fixture(scope="module")
def fitted() -> Fitted:
    val = part("val")
    return fit_calibration(val, fitted_on=describe_sample(val, MANIFEST))


@pytest.fixture
def file(fitted: Fitted, tmp_path: Path) -> Path:
    path = tmp_path / "bundle" / "models" / "calibration.json"
    fitted.write(path)
    return path


def test_calibration_helps_on_other_patients(fitted: Fitted) -> None:
    test = part("test")
    after = fitted.apply(test.scores, FINDINGS)
    for column, name in enumerate(FINDINGS[:2]):
        truth = test.labels[:, column]
        known = ~np.isnan(truth)
        losses = [np.mean((values[known, column] - truth[known]) ** 2) for values in (test.scores, after)]
        assert losses[1] < losses[0], name
    np.testing.assert_array_equal(after[:, 2], test.scores[:, 2])  # nothing is known of Hernia
    assert any(note.startswith("Hernia is not calibrated") for note in fitted.notes)
    assert any(note.startswith("Hernia has no operating points") for note in fitted.notes)
    assert fitted.shortages() == [
        "1 of 3 findings are not calibrated: Hernia",
        "1 of 3 findings are without operating points: Hernia",
    ]


def test_points_are_chosen_on_the_calibrated_scale(fitted: Fitted) -> None:
    val = part("val")
    scores = fitted.apply(val.scores, FINDINGS)[:, 0]
    assert tuple(fitted.points["Mass"]) == DEFAULT_RULES
    for rule, threshold in fitted.points["Mass"].items():
        assert threshold == choose_threshold(scores, val.labels[:, 0], rule)
        tp, fp, tn, fn = (int(part.sum()) for part in counts_at(scores, val.labels[:, 0], threshold))
        assert fitted.expected["Mass"][rule]["sensitivity"] == pytest.approx(tp / (tp + fn))
        assert fitted.expected["Mass"][rule]["specificity"] == pytest.approx(tn / (tn + fp))
    assert fitted.points["Hernia"] == {}


def test_a_finding_is_never_more_probable_than_its_category(tmp_path: Path) -> None:
    finding, category, other = FINDINGS
    up, down = (
        Calibrator("platt", {"slope": 1.0, "intercept": 2.0}),
        Calibrator("platt", {"slope": 2.0, "intercept": -1.0}),
    )
    made = Fitted({finding: (up,), category: (down,), other: ()}, {}, {}, {}, within={finding: category})
    raw = np.array([[0.2, 0.4, 0.9], [0.01, 0.999, 0.9]])
    plain = replace(made, within={}).apply(raw, FINDINGS)
    assert plain[0, 0] > plain[0, 1]  # each calibrated by itself
    assert plain[1, 0] < plain[1, 1]
    after = made.apply(raw, FINDINGS)
    np.testing.assert_array_equal(after[:, 0], [plain[0, 1], plain[1, 0]])
    np.testing.assert_array_equal(after[:, 1:], plain[:, 1:])
    np.testing.assert_array_equal(made.apply(raw[:, :1], [finding]), plain[:, :1])  # its category isn't there
    made.write(tmp_path / "calibration.json")
    again = read_calibration(tmp_path / "calibration.json", FINDINGS)
    assert again is not None
    np.testing.assert_array_equal(again.apply(raw, FINDINGS), after)


def test_points_are_chosen_on_what_is_lowered_to_the_category() -> None:
    val = part("val")
    made = fit_calibration(val, within={FINDINGS[0]: FINDINGS[1]})
    scores = made.apply(val.scores, FINDINGS)
    assert (scores[:, 0] <= scores[:, 1]).all()
    assert not (replace(made, within={}).apply(val.scores, FINDINGS)[:, 0] <= scores[:, 1]).all()
    assert made.points[FINDINGS[0]]["youden"] == choose_threshold(scores[:, 0], val.labels[:, 0], Rule.parse("youden"))
    again = refit(made, val, "intercept")
    assert again.within == made.within


def test_written_and_read_it_does_the_same(fitted: Fitted, file: Path) -> None:
    again = read_calibration(file, FINDINGS)
    assert again is not None
    test = part("test")
    np.testing.assert_array_equal(again.apply(test.scores, FINDINGS), fitted.apply(test.scores, FINDINGS))
    assert (again.points, again.expected, again.prevalence) == (fitted.points, fitted.expected, fitted.prevalence)
    assert again.notes == fitted.notes
    again.write(file.with_name("again.json"))
    assert file.with_name("again.json").read_bytes() == file.read_bytes()


def test_no_patient_stands_in_it(file: Path) -> None:
    assert "val-" not in file.read_text()
    assert "val/" not in file.read_text()


def test_findings_come_in_any_order_and_number(fitted: Fitted) -> None:
    test = part("test")
    whole = fitted.apply(test.scores, FINDINGS)
    np.testing.assert_array_equal(fitted.apply(test.scores[:, [1]], ["Edema"])[:, 0], whole[:, 1])
    np.testing.assert_array_equal(fitted.apply(test.scores[:, [0]], ["Nodule"])[:, 0], test.scores[:, 0])


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: content.pop("findings"),
        lambda content: content.update(format=2),
        lambda content: content["findings"].pop("Mass"),
        lambda content: content["findings"].update(Nodule=content["findings"]["Mass"]),
        lambda content: content["findings"]["Mass"]["operating_points"]["youden"].update(threshold="high"),
        lambda content: content["findings"]["Mass"]["operating_points"]["youden"].update(threshold=-1),
        lambda content: content["findings"]["Mass"]["calibration"][0].update(method="magic"),
        lambda content: content["findings"]["Mass"].update(calibration=3),
        lambda content: content.update(conformal=[1]),
        lambda content: content.update(within={"Mass": "Lung"}),
        lambda content: content.update(within=3),
    ],
)
def test_damaged_file(file: Path, spoil) -> None:
    content = json.loads(file.read_text())
    spoil(content)
    file.write_text(json.dumps(content))
    with pytest.raises(EvaluationError) as error:
        read_calibration(file, FINDINGS)
    assert error.value.code == Code.CALIBRATION_INVALID
    assert error.value.where == str(file)


def test_not_json(file: Path) -> None:
    file.write_text("{")
    with pytest.raises(EvaluationError, match="not a calibration"):
        read_calibration(file, FINDINGS)


def test_none_where_there_is_none_or_it_is_of_other_weights(file: Path, tmp_path: Path) -> None:
    assert read_calibration(tmp_path / "nothing.json", FINDINGS) is None
    assert read_calibration(file, FINDINGS, raw=True) is None
    assert read_calibration(file, FINDINGS, weights=tmp_path / "other.pt") is None
    assert read_calibration(file, FINDINGS, weights=file.with_name("model.pt")) is not None


@pytest.mark.parametrize(
    "settings", [{"method": "magic"}, {"rules": ["luck"]}, {"coverage": 0.0}, {"coverage": 1.0}, {"rules": ["cost=-1"]}]
)
def test_what_does_not_exist(settings: dict) -> None:
    with pytest.raises(CxrError) as error:
        fit_calibration(made_sample(40), **settings)
    assert error.value.code == Code.EVALUATION_INVALID


def test_recalibration_moves_points_and_keeps_every_decision(fitted: Fitted) -> None:
    test = part("test")
    shifted = test.with_scores(1 / (1 + (1 / np.clip(test.scores, 1e-6, 1 - 1e-6) - 1) * np.exp(1.0)))
    moved = refit(fitted, shifted, "intercept")
    before, after = (of.apply(shifted.scores, FINDINGS)[:, 0] for of in (fitted, moved))
    assert after.mean() == pytest.approx(np.nanmean(shifted.labels[:, 0]), abs=2e-3)
    assert abs(before.mean() - np.nanmean(shifted.labels[:, 0])) > 0.03
    for rule, threshold in fitted.points["Mass"].items():
        np.testing.assert_array_equal(before >= threshold, after >= moved.points["Mass"][rule])
    assert moved.expected == fitted.expected
    chosen = refit(fitted, shifted, "intercept", points="choose")
    assert chosen.points["Mass"] != moved.points["Mass"]


# ---------------------------------------------------------------- never on the same patients


def test_the_same_patients_are_refused_without_any_list(fitted: Fitted, tmp_path: Path) -> None:
    with pytest.raises(EvaluationError) as error:
        refuse_shared(fitted, part("val"), MANIFEST, tmp_path / "bundle")
    assert error.value.code == Code.PATIENTS_SHARED
    assert "300 of the 300 patients" in str(error.value)
    assert refuse_shared(fitted, part("test"), MANIFEST, tmp_path / "bundle") == []


def test_some_of_a_part_of_the_same_split_are_refused(fitted: Fitted) -> None:
    with pytest.raises(EvaluationError, match="10 of the 10 patients"):
        refuse_shared(fitted, part("val").take(np.arange(20)), MANIFEST)


def test_another_manifest_cannot_tell_and_the_list_beside_the_bundle_can(fitted: Fitted, tmp_path: Path) -> None:
    other = replace(MANIFEST, split=None)
    bundle = tmp_path / "bundle"
    one_shared = part("test").take(np.arange(20))
    one_shared.table.loc[0, "patient_id"] = "val-7"
    (note,) = refuse_shared(fitted, one_shared, other, bundle)
    assert "could not be checked" in note
    remember_patients(fitted, part("val"), bundle)
    with pytest.raises(EvaluationError, match="1 of the 11 patients"):
        refuse_shared(fitted, one_shared, other, bundle)
    assert refuse_shared(fitted, part("test"), other, bundle) == []
    listed = tmp_path / "bundle.patients.json"
    assert "val-7" not in listed.read_text()
    assert listed.stat().st_mode & 0o777 == 0o600


def test_where_a_manifest_does_not_know_patients_nothing_shows_that_none_are_shared(
    fitted: Fitted, tmp_path: Path
) -> None:
    bundle = tmp_path / "bundle"
    remember_patients(fitted, part("val"), bundle)
    for patients in ("unknown", "assumed"):
        nobody = replace(MANIFEST, patients=patients)
        for manifest in (nobody, replace(nobody, split=None)):
            (note,) = refuse_shared(fitted, part("test"), manifest, bundle)
            assert "does not tell whose films they are" in note
        with pytest.raises(EvaluationError, match="300 of the 300 patients"):
            refuse_shared(fitted, part("val"), nobody, bundle)
        on_nobody = fit_calibration(part("val"), fitted_on=describe_sample(part("val"), nobody))
        remember_patients(on_nobody, part("val"), tmp_path / patients, trained_on=["a"])
        (note,) = refuse_shared(on_nobody, part("test"), MANIFEST, tmp_path / patients)
        assert "could not be checked" in note
        assert patients_trained_on(tmp_path / patients, ["b"]) is None  # not known, which is not "nobody"
    assert "patients_known" not in describe_sample(part("val"), MANIFEST)  # what was written before stays the same


# ---------------------------------------------------------------- who the network was trained on


def test_who_was_trained_on_is_known_by_hashes_beside_the_bundle(fitted: Fitted, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    assert patients_trained_on(bundle, ["val-7"]) is None  # no list: not known, which is not "nobody"
    remember_patients(fitted, part("val"), bundle)
    assert patients_trained_on(bundle, ["val-7"]) is None
    remember_patients(fitted, part("val"), bundle, trained_on=["b", "secret", "b"])
    # neither those of the calibration nor a part of a name
    assert patients_trained_on(bundle, ["secret", "val-7", "a", "secre", "b", "b"]) == {"secret", "b"}
    assert patients_trained_on(bundle, []) == set()
    listed = tmp_path / "bundle.patients.json"
    assert "secret" not in listed.read_text()
    assert len(json.loads(listed.read_text())["trained_on"]["patients"]) == 2
    assert listed.stat().st_mode & 0o777 == 0o600
    refuse_shared(fitted, part("test"), replace(MANIFEST, split=None), bundle)  # the other list is what it was


def test_a_copy_was_trained_on_the_same_patients(fitted: Fitted, tmp_path: Path) -> None:
    remember_patients(fitted, part("val"), tmp_path / "bundle", trained_on=["a", "b"])
    test = part("test")
    refitted = fit_calibration(test, fitted_on=describe_sample(test, MANIFEST))
    remember_patients(refitted, test, tmp_path / "copy", copy_of=tmp_path / "bundle")
    remember_patients(fitted, part("val"), tmp_path / "second", copy_of=tmp_path / "copy")
    for name in ("copy", "second"):
        assert patients_trained_on(tmp_path / name, ["a", "c"]) == {"a"}
    with pytest.raises(EvaluationError, match="300 of the 300"):
        refuse_shared(refitted, test, MANIFEST, tmp_path / "copy")
    remember_patients(fitted, part("val"), tmp_path / "third", copy_of=tmp_path / "unlisted")
    assert patients_trained_on(tmp_path / "third", ["a"]) is None


@pytest.mark.parametrize(
    "content", ["[" * 100_000, "no json", "[]", '{"trained_on": []}', '{"trained_on": {"salt": "s"}}', "\xff"]
)
def test_a_damaged_list_is_not_taken_for_an_empty_one(fitted: Fitted, tmp_path: Path, content: str) -> None:
    (tmp_path / "bundle.patients.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(EvaluationError) as error:
        patients_trained_on(tmp_path / "bundle", ["a"])
    assert error.value.code == Code.CALIBRATION_INVALID
    with pytest.raises(EvaluationError) as error:
        refuse_shared(fitted, part("test"), MANIFEST, tmp_path / "bundle")
    assert error.value.code == Code.CALIBRATION_INVALID


# ---------------------------------------------------------------- patients of several collections


def of_collections(sample: Sample, *sources: str) -> Sample:
    """The same images, from these sources by turns, patient by patient."""
    table = sample.table.assign(source=np.array(sources)[sample.patients % len(sources)])
    return Sample.of(table, sample.findings, sample.scores, sample.labels)


def test_a_list_knows_the_collection_and_other_peoples_numbers_are_no_patients_of_it(
    fitted: Fitted, tmp_path: Path
) -> None:
    bundle, other = tmp_path / "bundle", replace(MANIFEST, split=None)
    remember_patients(fitted, of_collections(part("val"), "rsna"), bundle, trained_on=["nih\t7", "nih\t8"])
    listed = json.loads((tmp_path / "bundle.patients.json").read_text())
    assert listed["collections"] == listed["trained_on"]["collections"] == ["nih"]
    assert patients_trained_on(bundle, ["nih\t7", "chexpert\t7", "\t8", "8"]) == {"nih\t7", "\t8", "8"}
    for source, shared in (("nih", True), ("siim", True), ("", True), ("chexpert", False)):
        asked = of_collections(part("val").take(np.arange(20)), source)
        if shared:
            with pytest.raises(EvaluationError, match="10 of the 10 patients"):
                refuse_shared(fitted, asked, other, bundle)
        else:
            assert refuse_shared(fitted, asked, other, bundle) == []


def test_a_list_of_several_collections(fitted: Fitted, tmp_path: Path) -> None:
    bundle, other = tmp_path / "bundle", replace(MANIFEST, split=None)
    both = of_collections(part("val"), "nih", "chexpert")
    refitted = replace(fitted, fitted_on=describe_sample(both, MANIFEST))
    assert refitted.fitted_on["patients_digest"] != fitted.fitted_on["patients_digest"]
    remember_patients(refitted, both, bundle, trained_on=["nih\t7", "chexpert\t8"])
    assert patients_trained_on(bundle, ["nih\t7", "chexpert\t7", "7", "\t8", "nih\t8"]) == {"nih\t7", "7", "\t8"}
    with pytest.raises(EvaluationError, match="5 of the 10 patients"):  # those of the other collection are other people
        refuse_shared(refitted, of_collections(part("val").take(np.arange(20)), "nih"), other, bundle)


def test_a_list_without_collections_is_read_as_ever(fitted: Fitted, tmp_path: Path) -> None:
    remember_patients(fitted, part("val"), tmp_path / "bundle", trained_on=["7"])
    path = tmp_path / "bundle.patients.json"
    content = json.loads(path.read_text())
    assert "collections" not in content["trained_on"]
    del content["collections"]
    path.write_text(json.dumps(content))
    assert patients_trained_on(tmp_path / "bundle", ["nih\t7", "7", "nih\t8"]) == {"nih\t7", "7"}
    with pytest.raises(EvaluationError, match="10 of the 10 patients"):
        refuse_shared(fitted, of_collections(part("val").take(np.arange(20)), "nih"), MANIFEST, tmp_path / "bundle")


def test_patients_of_a_sample_are_told_apart_by_collection() -> None:
    sample = part("val").take(np.arange(4))
    one = sample.table.assign(patient_id="7")
    for source, patients in (("nih", [0, 0, 0, 0]), (["nih", "rsna", "mimic", ""], [0, 0, 1, 2])):
        made = Sample.of(one.assign(source=source), sample.findings, sample.scores, sample.labels)
        assert made.patients.tolist() == patients
