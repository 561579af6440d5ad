"""Answers as DICOM objects: probabilities of ``Model.predict``, maps of ``explain``, and why there is none."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cxr_monai.attribution.explainer import Explainer
from cxr_monai.errors import CxrError
from cxr_monai.evaluation.fitted import Fitted
from cxr_monai.inference.model import Model
from cxr_monai.objects import FilmResult, ResultKind
from cxr_monai.workflows.dicom_results import DUPLICATE_SENTENCE, AnsweredFilm, DicomResults
from tests.support.dicom_films import (
    BUILDING,
    SMOOTH,
    ObjectsForTests,
    answering_bundle,
    film_header,
    light_objects,
    save_film,
)
from tests.support.film_results import film_content
from tests.support.geometry_gates import altered, film
from tests.support.geometry_gates import save as save_picture
from tests.support.tiny_bundles import LABELS, tiny_bundle

__all__ = ["light_objects"]
ALL = tuple(ResultKind)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return answering_bundle(tmp_path_factory.mktemp("answering") / "bundle")


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A film, one turned, one that is none, one without pixels, a PNG, another film and its copy under another UID."""
    root = tmp_path_factory.mktemp("films")
    paths = [
        save_film(root / "a.dcm", film(0), "1.2.3.0"),
        save_film(root / "b.dcm", altered(film(1), "turned by 90 degrees"), "1.2.3.1"),
        root / "c.dcm",
        root / "d.dcm",
        save_picture(root / "e.png", film(2)),
        save_film(root / "f.dcm", film(3), "1.2.3.5"),
        save_film(root / "DOE^JOHN.dcm", film(3), "1.2.3.6"),
    ]
    paths[2].write_bytes(b"no film")
    paths[3].write_bytes(film_content(film_header(film(4)) | {"PixelData": b""}))
    return paths


def open_model(bundle: Path, **settings: Any) -> Model:
    return Model.open(bundle, amp=False, num_workers=0, **settings)


def answers_of(results: DicomResults, films: Sequence[Path]) -> dict[str, AnsweredFilm]:
    return {answer.name: answer for answer in results.answer(films, [path.name for path in films])}


def results_by_kind(objects: ObjectsForTests, kind: ResultKind = ResultKind.PICTURE) -> list[FilmResult]:
    return [result for result, of in objects.built if of == kind]


def expected_map(model: Model, path: Path, finding: str, folder: Path, shape: tuple[int, int]) -> np.ndarray:
    """What ``cxr-monai explain`` keeps of a film, enlarged."""
    explainer = Explainer(model)
    store = explainer.write_maps([path], [path.name], folder)
    grid = store.grid(path.name)[explainer.findings.index(finding)]
    return store.view(path.name).place(grid, explainer.points, shape)


def test_probabilities_gate_and_errors_are_those_of_predict(
    bundle: Path, films: list[Path], light_objects: ObjectsForTests
) -> None:
    for mode in ("refuse", "review", "off"):
        model = open_model(bundle, gate=mode, batch_size=3)
        names = [path.name for path in films]
        predicted, answered = model.predict(films, names), answers_of(DicomResults(model), films)
        assert list(answered) == names
        for name, row in predicted.table.set_index("image").iterrows():
            if name != "e.png":
                assert answered[str(name)].probabilities == dict(row)
                assert answered[str(name)].error is None
        errors = {name: (code, reason) for name, code, reason in predicted.errors}
        assert {name: answer.error for name, answer in answered.items() if answer.error and name != "e.png"} == errors
        assert set(errors) == {"c.dcm", "d.dcm"} | ({"b.dcm"} if mode == "refuse" else set())
        if predicted.gate is None:
            assert all(answer.evidence is None for answer in answered.values())
        else:
            for row in predicted.gate.to_dict("records"):
                evidence = answered[row["image"]].evidence
                assert evidence is not None or row["image"] == "e.png"
                np.testing.assert_equal(evidence or row, row)
        unreadable = {"c.dcm", "d.dcm", "e.png"}
        assert {name for name, answer in answered.items() if not answer.objects} == unreadable
        assert answered["e.png"].error is not None
        assert answered["e.png"].error[0] == "result-impossible"


def test_a_refused_film_has_its_reason_and_no_finding(
    bundle: Path, films: list[Path], light_objects: ObjectsForTests
) -> None:
    answered = answers_of(DicomResults(open_model(bundle)), films)
    assert [str(each.kind) for each in answered["b.dcm"].objects] == ["sr", "sc"]
    (result,) = [each for each in results_by_kind(light_objects) if each.is_refused]
    assert (result.gate.verdict, result.gate.code, result.gate.mode) == ("refuse", "gate-rotated", "refuse")
    assert result.gate.sentence.startswith("The film looks turned by 90 degrees")
    assert result.picture.shape == (84, 60)  # as it is stored
    light_objects.built.clear()
    answers_of(DicomResults(open_model(bundle, gate="review")), films)
    verdicts = [result.gate.verdict for result in results_by_kind(light_objects)]
    assert verdicts == ["accept", "review", "accept", "review"]
    assert all(len(result.findings) == 2 for result in results_by_kind(light_objects))


def test_no_object_names_another_film(bundle: Path, films: list[Path], light_objects: ObjectsForTests) -> None:
    answered = answers_of(DicomResults(open_model(bundle)), [films[6], films[5]])
    evidence = answered["f.dcm"].evidence
    assert evidence is not None
    assert evidence["duplicate_of"] == "DOE^JOHN.dcm"  # in the user's own table
    gate = results_by_kind(light_objects)[1].gate
    assert (gate.verdict, gate.code, gate.sentence) == ("review", "gate-duplicate", DUPLICATE_SENTENCE)


def test_maps_are_those_of_explain_on_the_whole_film(
    bundle: Path, films: list[Path], light_objects: ObjectsForTests, tmp_path: Path
) -> None:
    model = open_model(bundle)
    answers_of(DicomResults(model), [films[0], films[5]])
    for path, result in zip((films[0], films[5]), results_by_kind(light_objects), strict=True):
        reached, other = result.findings
        assert (reached.is_reached, other.is_reached) == (True, False)
        assert other.class_map is None
        assert reached.class_map is not None
        assert reached.class_map.shape == result.picture.shape == (60, 84)
        expected = expected_map(model, path, LABELS[0], tmp_path / path.stem, (60, 84))
        np.testing.assert_allclose(reached.class_map, expected, rtol=1e-3, atol=1e-6)
        assert reached.class_map.min() >= 0
        assert not reached.class_map[:, :5].any()  # outside of the square that the network saw
        np.testing.assert_array_equal(result.picture, film(0 if path == films[0] else 3))


def test_only_films_with_a_finding_over_its_point_go_through_the_maps_pass(
    bundle: Path, tmp_path: Path, light_objects: ObjectsForTests, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = open_model(bundle, batch_size=4)
    paths = [save_film(tmp_path / f"{number}.dcm", film(number), f"1.2.{number}") for number in range(6)]
    paths.append(save_film(tmp_path / "turned.dcm", altered(film(7), "turned by 180 degrees"), "1.2.7"))
    passed, forward, mapped = [], Model.logits_and_features, Model.probabilities_and_maps

    def count(what: str, function: Any) -> Any:
        def counted(model: Model, images: torch.Tensor, *more: Any) -> Any:
            passed.append((what, len(images)))
            return function(model, images, *more)

        return counted

    fitted = Fitted(dict.fromkeys(LABELS, ()), {}, {}, {})
    raw = replace(model, calibration=fitted)
    values = raw.predict(paths).table[LABELS[0]].to_numpy()
    point = float(np.sort(values)[3])  # three of six are at or over it
    results = DicomResults(replace(raw, calibration=replace(fitted, points={LABELS[0]: {"youden": point}})))
    monkeypatch.setattr(Model, "logits_and_features", count("network", forward))
    monkeypatch.setattr(Model, "probabilities_and_maps", count("maps", mapped))
    list(results.answer(paths))
    over = [int((values[:4] >= point).sum()), int((values[4:] >= point).sum())]
    assert sum(over) == 3
    expected = [
        ("network", 4),
        *[("maps", over[0])] * bool(over[0]),
        ("network", 3),
        *[("maps", over[1])] * bool(over[1]),
    ]
    assert passed == expected
    shown = [
        result for result in results_by_kind(light_objects) if any(f.class_map is not None for f in result.findings)
    ]
    assert len(shown) == 3
    passed.clear()
    list(DicomResults(model, [ResultKind.REPORT]).answer(paths))  # a report shows no map
    list(DicomResults(model, []).answer(paths))  # a shadow's answers neither
    assert {what for what, _ in passed} == {"network"}


def test_another_rule_is_another_result(bundle: Path, films: list[Path], light_objects: ObjectsForTests) -> None:
    model = open_model(bundle)
    for rule in (None, "youden", "f1"):
        list(DicomResults(model, rule=rule).answer(films[:1]))
    first, youden, f1 = results_by_kind(light_objects)
    assert (first.model.rule, f1.model.rule) == ("youden", "f1")
    assert [finding.is_reached for finding in f1.findings] == [False, True]
    assert [finding.is_calibrated for finding in f1.findings] == [True, False]
    assert [finding.class_map is not None for finding in f1.findings] == [False, True]
    assert first.uid_of(ResultKind.REPORT) == youden.uid_of(ResultKind.REPORT) != f1.uid_of(ResultKind.REPORT)
    with pytest.raises(CxrError, match="there is no operating point 'g'; there are youden, f1"):
        DicomResults(model, rule="g")


def test_without_operating_points(films: list[Path], tmp_path: Path, light_objects: ObjectsForTests) -> None:
    """A bundle without calibration, raw values, and weights whose calibration is lost: no threshold, no map."""
    plain = open_model(answering_bundle(tmp_path / "plain", None))
    bundle = answering_bundle(tmp_path / "bundle")
    other = tmp_path / "other.pt"
    state = torch.load(bundle / "models" / "model.pt", weights_only=True)
    torch.save({name: value * 1.5 for name, value in state.items()}, other)
    raw, lost = open_model(bundle, raw=True, gate="off"), open_model(bundle, weights=other, gate="off")
    assert lost.calibration is not None
    assert lost.calibration.lost
    for model in (plain, raw, lost):
        list(DicomResults(model).answer(films[:1]))
    for result in results_by_kind(light_objects):
        assert {finding.threshold for finding in result.findings} == {None}
        assert not any(finding.is_calibrated for finding in result.findings)
        assert {finding.is_reached for finding in result.findings} == {None}
        assert "no operating points" in result.no_maps
    results = results_by_kind(light_objects)
    assert results[1].model.digest == results[2].model.digest  # one bundle, and three answers
    assert len({result.uid_of(ResultKind.REPORT) for result in results}) == 3
    assert results[1].settings == ("", "off", "raw")
    assert results[1].model.device_uid != results[2].model.device_uid  # other weights are another model


def test_a_bundle_of_before_says_that_it_has_no_gate(
    films: list[Path], tmp_path: Path, light_objects: ObjectsForTests
) -> None:
    list(DicomResults(open_model(tiny_bundle(tmp_path / "bundle", 0))).answer(films[:2]))
    gates = [result.gate for result in results_by_kind(light_objects)]
    assert [(gate.verdict, gate.mode) for gate in gates] == [("", "refuse")] * 2
    assert "no gate" in gates[0].sentence


class Averages(torch.nn.Module):
    """A network without the end that class maps need."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = torch.nn.Parameter(torch.ones(1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        means = self.slope * images.mean((1, 2, 3))
        return torch.stack([means, -means], 1)


def test_a_network_without_class_maps_answers_without(
    bundle: Path, films: list[Path], light_objects: ObjectsForTests
) -> None:
    opened = open_model(bundle, gate="off")
    model = replace(opened, network=Averages())
    list(DicomResults(model, ALL).answer(films[:1]))
    (result,) = results_by_kind(light_objects)
    assert result.no_maps == (
        "This network has no maps: Averages does not end in global average pooling and one linear layer: no class maps."
    )
    assert [finding.class_map for finding in result.findings] == [None, None]
    assert {kind for _, kind in light_objects.built} == {ResultKind.REPORT, ResultKind.PICTURE, ResultKind.MAPS}


def test_a_mended_film_has_words_and_no_map(bundle: Path, tmp_path: Path, light_objects: ObjectsForTests) -> None:
    stored = altered(film(2), "turned by 90 degrees")
    paths = [save_film(tmp_path / "a.dcm", stored), save_film(tmp_path / "b.dcm", film(1), "1.2.9")]
    model = open_model(bundle, mend="rotation,inversion")
    answered = list(DicomResults(model).answer(paths))
    mended, plain = results_by_kind(light_objects)
    assert answered[0].probabilities == dict(model.predict(paths).table.loc[0, list(LABELS)])
    assert answered[0].evidence is not None
    assert answered[0].evidence["mended"] == "rotation"
    assert mended.findings[0].is_reached
    assert mended.findings[0].class_map is None
    assert mended.no_maps.startswith("The film was predicted without its rotation, so a map would not lie on it")
    assert "Before the prediction this was undone: rotation." in mended.remarks
    np.testing.assert_array_equal(mended.picture, stored)
    assert plain.findings[0].class_map is not None
    assert not plain.no_maps
    assert mended.settings == ("youden", "refuse", "mend=rotation,inversion")


def test_workers_and_batches_change_nothing(bundle: Path, films: list[Path], light_objects: ObjectsForTests) -> None:
    for settings in ({"batch_size": 1}, {"batch_size": 7}, {"batch_size": 2, "num_workers": 2}):
        list(DicomResults(Model.open(bundle, amp=False, **{"num_workers": 0} | settings)).answer(films))
    results = results_by_kind(light_objects)
    count = len(results) // 3
    for one, *others in zip(results[:count], results[count : 2 * count], results[2 * count :], strict=True):
        for other in others:
            assert one.gate == other.gate
            assert one.uid_of(ResultKind.PICTURE) == other.uid_of(ResultKind.PICTURE)
            for here, there in zip(one.findings, other.findings, strict=True):
                assert here.probability == pytest.approx(there.probability, abs=1e-6)
                assert (here.class_map is None) == (there.class_map is None)
                if here.class_map is not None and there.class_map is not None:
                    np.testing.assert_allclose(here.class_map, there.class_map, rtol=1e-3, atol=1e-6)


def test_the_uids_are_those_of_the_objects(bundle: Path, films: list[Path]) -> None:
    """By the true builders of pictures and contours."""
    results = DicomResults(open_model(bundle), [ResultKind.PICTURE, ResultKind.CONTOURS])
    (answered,) = results.model.answer_batches(films[:1])
    ((_, result),) = results.film_results(answered)
    assert result is not None
    objects = results.build(result)
    assert [(each.kind, each.uid) for each in objects][:1] == [(ResultKind.PICTURE, result.uid_of(ResultKind.PICTURE))]
    assert all(each.uid == result.uid_of(each.kind) for each in objects)


def test_a_report_read_back_has_the_predictions_and_the_bundle_s_thresholds(bundle: Path, films: list[Path]) -> None:
    from highdicom.sr import srread

    model = open_model(bundle)
    (answered,) = DicomResults(model, [ResultKind.REPORT], "f1").answer(films[:1])
    groups = srread(BytesIO(answered.objects[0].content)).content.get_image_measurement_groups()
    values = [[item.value for item in group.get_measurements()] for group in groups]
    row = model.predict(films[:1]).table.loc[0, list(LABELS)]
    points = [SMOOTH.points[finding]["f1"] for finding in LABELS]
    np.testing.assert_allclose(values, list(zip(row, points, strict=True)), atol=1e-6)


def test_a_film_that_goes_away_meanwhile(bundle: Path, tmp_path: Path, light_objects: ObjectsForTests) -> None:
    path = save_film(tmp_path / "a.dcm", film(0))
    results = DicomResults(open_model(bundle))
    (answered,) = results.model.answer_batches([path, save_film(tmp_path / "b.dcm", film(1), "1.2.9")])
    path.unlink()
    (gone, nothing), (_, result) = results.film_results(answered)
    assert gone.error == ("radiograph-not-found", "it can no longer be read: No such file or directory.")
    assert nothing is None
    assert result is not None


def test_what_no_object_can_be_made_of_is_said_and_the_rest_is_done(
    bundle: Path, films: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def builder(kind: ResultKind) -> Any:
        def build(result: FilmResult) -> Any:
            if result.source.header.SOPInstanceUID == "1.2.3.0":
                raise ValueError(f"bad name {result.source.header.PatientName}")
            return ObjectsForTests().builder(kind)(result)

        return build

    monkeypatch.setattr(BUILDING, "_builder", builder)
    nameless = save_film(tmp_path / "nameless.dcm", film(5), StudyInstanceUID="")
    with caplog.at_level(logging.INFO):
        answered = list(DicomResults(open_model(bundle)).answer([films[0], nameless, films[5]]))
    assert [answer.error and answer.error[0] for answer in answered] == ["result-impossible", "result-impossible", None]
    assert "StudyInstanceUID" in str(answered[1].error)
    assert [len(answer.objects) for answer in answered] == [0, 0, 2]
    assert "Müller" not in caplog.text + str(answered[0].error)
