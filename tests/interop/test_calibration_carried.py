"""A calibration goes wherever its bundle goes, and where one ought to be and is not, warning and output say so."""

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cxr_monai.bundle.bundle_folder import Bundle, read_json
from cxr_monai.bundle.calibrated import write_calibration
from cxr_monai.bundle.ensembling import ensemble_bundle
from cxr_monai.bundle.evaluated import MEANING
from cxr_monai.bundle.trained import write_meaning
from cxr_monai.bundle.writing import copy_parts
from cxr_monai.cli import main
from cxr_monai.errors import Code, EvaluationError, WeightsError
from cxr_monai.evaluation.calibration import Calibrator
from cxr_monai.evaluation.carried import OTHER_WEIGHTS, bundle_calibration
from cxr_monai.evaluation.fitted import Fitted
from cxr_monai.inference.model import Model
from cxr_monai.sharing.export.model_zoo import zoo_layout
from cxr_monai.sharing.export.network_export import export
from tests.interop.exported import NEAR, headed_bundle, probabilities
from tests.interop.monai_deploy import Image, Operator
from tests.interop.monai_label import BundleInferTask
from tests.interop.test_images_in_memory import SERIES, pixels
from tests.support.bundle_runs import edit, our_errors, run
from tests.support.tiny_bundles import LABELS

STEPS: tuple[tuple[Calibrator, ...], ...] = (
    (Calibrator("platt", {"slope": 2.5, "intercept": 1.5}),),
    (
        Calibrator("isotonic", {"x": [0.0, 0.4, 1.0], "y": [0.05, 0.7, 0.9]}),
        Calibrator("temperature", {"temperature": 3}),
    ),
    (),
    (Calibrator("platt", {"slope": 0.5, "intercept": -1.0}),),
)


def fitted_of(labels: Any) -> Fitted:
    """Other steps for each label; a label within another one for the hierarchy."""
    within = {"Effusion": "Pleural"} if "Pleural" in labels and "Effusion" in labels else {}
    return Fitted(dict(zip(labels, STEPS, strict=False)), {labels[0]: {"youden": 0.4}}, {}, {}, within=within)


@pytest.fixture(scope="module", params=["sigmoid", "softmax", "hierarchical"])
def calibrated(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    bundle = headed_bundle(request.param, tmp_path_factory.mktemp(request.param))
    write_calibration(bundle, fitted_of(Bundle.open(bundle).labels))
    return bundle


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return headed_bundle("sigmoid", tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def one(plain: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A calibrated bundle of the sigmoid head."""
    bundle = copied(plain, tmp_path_factory.mktemp("one") / "bundle")
    write_calibration(bundle, fitted_of(LABELS))
    return bundle


def copied(bundle: Path, folder: Path, script: Path | None = None) -> Path:
    """Copy a bundle; with a TorchScript file beside its weights where one is given."""
    copy_parts(bundle, folder)
    if script is not None:
        shutil.copy(script, folder / "models" / "model.ts")
    return folder


def assert_everywhere(path: Path, right: dict[str, np.ndarray], films: list[Path], calibrated: bool = True) -> None:
    operator = Operator(path)
    for at, film in enumerate(films):
        made = operator.compute(Image(pixels(film)[None], SERIES))
        assert np.allclose(made["pred"].numpy(), [values[at] for values in right.values()], rtol=0, atol=NEAR)
        assert made["pred_calibrated"] is calibrated
        assert "pred_uncalibrated_because" not in made


def test_every_export_and_client_calibrates(
    calibrated: Path, films: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right, raw = probabilities(calibrated, films, raw=False), probabilities(calibrated, films)
    assert max(np.abs(right[label] - raw[label]).max() for label in right) > 0.1
    export(calibrated, tmp_path / "files", ["torchscript"])
    zoo, _ = zoo_layout(calibrated, tmp_path / "zoo", "cxr_tiny_classification")
    script = tmp_path / "files" / "model.ts"
    without_file = copied(calibrated, tmp_path / "without", script)
    (without_file / "models" / "calibration.json").unlink()
    for path in (script, zoo, copied(calibrated, tmp_path / "both", script), without_file):
        assert_everywhere(path, right, films)
    with monkeypatch.context() as patched:  # without a model.ts Deploy asks for our network, and so for its weights
        with pytest.raises(WeightsError), our_errors():
            Operator(calibrated)
        patched.chdir(calibrated)
        assert_everywhere(calibrated, right, films)
    for path in (zoo, without_file):
        table = Model.open(path, device="cpu", amp=False).predict(films, num_workers=0).table
        assert all(np.allclose(table[label], values, rtol=0, atol=NEAR) for label, values in right.items())
    for at, film in enumerate(films):
        assert BundleInferTask(zoo)(str(film))["pred"].numpy() == pytest.approx(
            [v[at] for v in right.values()], abs=NEAR
        )
    contracts = [json.loads((tmp_path / "files" / "contract.json").read_text())["calibration"]]
    export(without_file, tmp_path / "again", ["torchscript"])
    contracts.append(json.loads((tmp_path / "again" / "contract.json").read_text())["calibration"])
    assert contracts[0]["labels"].keys() == contracts[1]["labels"].keys() == right.keys()
    for label in right:
        assert contracts[0]["labels"][label]["steps"] == contracts[1]["labels"][label]["steps"]


def test_from_another_bundles_folder(
    one: Path, films: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``bundle_root`` is then the working directory: its calibration is not this bundle's."""
    other = copied(one, tmp_path / "other")
    labels = Bundle.open(other).labels
    write_calibration(
        other, Fitted({label: (Calibrator("temperature", {"temperature": 9}),) for label in labels}, {}, {}, {})
    )
    export(one, tmp_path / "files", ["torchscript"])
    both = copied(one, tmp_path / "both", tmp_path / "files" / "model.ts")
    monkeypatch.chdir(other)
    assert_everywhere(tmp_path / "files" / "model.ts", probabilities(one, films, raw=False), films)
    assert_everywhere(both, probabilities(one, films, raw=False), films)
    # a file that somebody changed in its own folder is applied, with a warning
    Fitted({label: (Calibrator("temperature", {"temperature": 2}),) for label in labels}, {}, {}, {}).write(
        other / "models" / "calibration.json"
    )
    changed = Model.open(other, device="cpu").calibration
    assert changed is not None
    assert changed.calibrators[labels[0]][0].parameters == {"temperature": 2}


def test_inference_json_run_by_monai_gives_the_same(one: Path, films: list[Path], tmp_path: Path) -> None:
    settings = {"dataset_dir": str(films[0].parent), "num_workers": 0}
    run(one, "inference", **settings, output_dir=str(tmp_path / "out"))
    assert main(["predict", str(one), str(films[0].parent), "--out", str(tmp_path / "p.csv"), "--float32"]) == 0
    own, theirs = (
        np.loadtxt(path, delimiter=",", skiprows=1, usecols=1)
        for path in (tmp_path / "p.csv", tmp_path / "out" / "predictions.csv")
    )
    assert np.allclose(own, theirs, rtol=0, atol=1e-6)
    assert json.loads((tmp_path / "out" / "predictions.csv.json").read_text())["calibrated"] is True


def said(path: Path, films: list[Path], caplog: pytest.LogCaptureFixture) -> tuple[str, list[str]]:
    """Return what a client's output says of a lost calibration, and the warnings."""
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        made = Operator(path).compute(Image(pixels(films[0])[None], SERIES))
    assert made["pred_calibrated"] is False
    return made.get("pred_uncalibrated_because", ""), [
        record.getMessage() for record in caplog.records if "calibrated" in record.getMessage()
    ]


def test_an_older_bundle_without_its_folder_says_that_nobody_knows(
    plain: Path, films: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(plain, tmp_path / "plain", ["torchscript"])
    old = copied(plain, tmp_path / "old", tmp_path / "plain" / "model.ts")
    fitted_of(LABELS).write(old / "models" / "calibration.json")  # as a calibration was written before: a file alone
    monkeypatch.chdir(tmp_path)
    why, warnings = said(old, films, caplog)
    assert "is not the bundle's folder" in why
    assert warnings == [f"these probabilities are not calibrated: {why}"]
    # an export of it carries what the file has
    export(old, tmp_path / "files", ["torchscript"])
    assert_everywhere(tmp_path / "files" / "model.ts", probabilities(old, films, raw=False), films)
    # a signed one names the component of before: a warning, and the output says that it is raw
    for name in ("inference", "explain"):
        edit(old, name, lambda config: config["calibration"].update(_target_="cxr_monai.components.read_calibration"))
    why, warnings = said(old, films, caplog)
    assert why == ""
    assert warnings == ["not calibrated: bundle_root (.) is not the bundle's folder"]
    export(old, tmp_path / "older", ["torchscript"])
    assert_everywhere(tmp_path / "older" / "model.ts", probabilities(old, films, raw=False), films)


@pytest.mark.parametrize("of_one", ["calibrated", "uncalibrated"])
def test_exports_of_a_bundle_from_before_can_be_opened(
    plain: Path, films: list[Path], tmp_path: Path, of_one: str
) -> None:
    old = copied(plain, tmp_path / "old")
    for name in ("inference", "explain"):
        edit(old, name, lambda config: config["calibration"].update(_target_="cxr_monai.components.read_calibration"))
    if of_one == "calibrated":
        fitted_of(LABELS).write(old / "models" / "calibration.json")
    right = probabilities(old, films, raw=False)
    export(old, tmp_path / "files", ["torchscript"])
    zoo, _ = zoo_layout(old, tmp_path / "zoo", "cxr_old_classification")
    for path in (tmp_path / "files" / "model.ts", zoo):
        assert_everywhere(path, right, films, of_one == "calibrated")
    assert np.array_equal(list(probabilities(zoo, films, raw=False).values()), list(right.values()))


def test_a_bundle_that_never_was_calibrated_is_no_warning(
    plain: Path, films: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    export(plain, tmp_path / "files", ["torchscript"])
    assert said(tmp_path / "files" / "model.ts", films, caplog) == ("", [])
    assert "uncalibrated_because" not in Model.open(plain, device="cpu").about
    script_alone = copied(plain, tmp_path / "script_classification", tmp_path / "files" / "model.ts")
    (script_alone / "models" / "model.pt").unlink()
    caplog.clear()
    assert "pred_uncalibrated_because" not in BundleInferTask(script_alone)(str(films[0]))
    # the log's level depends on what ran before; that it is not calibrated is said there, below a warning
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_ensembles_of_calibrated_networks_say_that_they_are_not(
    one: Path, films: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = ensemble_bundle([one, one], tmp_path / "mean").root
    assert read_json(made / "configs" / "inference.json")["calibration"].get("values") is None
    export(made, tmp_path / "files", ["torchscript"])
    zoo, _ = zoo_layout(made, tmp_path / "zoo", "cxr_mean_classification")
    for path in (zoo, tmp_path / "files" / "model.ts"):
        why, warnings = said(path, films, caplog)
        assert why.startswith("it is the mean of networks that were calibrated one by one")
        assert len(warnings) == 1
    model = Model.open(made, device="cpu", amp=False)
    assert model.about["calibrated"] is False
    assert model.about["uncalibrated_because"] == why
    assert Model.open(made, device="cpu", raw=True).about.get("uncalibrated_because") is None
    write_calibration(made, fitted_of(Bundle.open(made).labels))
    assert Model.open(made, device="cpu").about["calibrated"] is True
    assert read_json(made / "configs" / "inference.json")["calibration"].get("lost") is None


def test_other_weights_lose_it_and_say_so(
    one: Path, films: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copy(one / "models" / "model.pt", tmp_path / "other.pt")
    words = ["predict", str(one), str(films[0]), "--weights", str(tmp_path / "other.pt")]
    with caplog.at_level(logging.WARNING):
        assert main([*words, "--out", str(tmp_path / "p.csv")]) == 0
    assert f"these probabilities are not calibrated: {OTHER_WEIGHTS}" in caplog.messages
    about = json.loads((tmp_path / "p.csv.json").read_text())
    assert (about["calibrated"], about["uncalibrated_because"]) == (False, OTHER_WEIGHTS)


def test_a_calibration_that_could_not_be_fitted_says_why(plain: Path, tmp_path: Path) -> None:
    few = copied(plain, tmp_path / "few")
    note = "Effusion is not calibrated: temperature needs 10 positives and 10 negatives, and there are 3 and 9."
    write_calibration(few, Fitted(dict.fromkeys(LABELS, ()), {}, {}, {}, notes=(note, "Mass has no operating points.")))
    assert Model.open(few, device="cpu").about["uncalibrated_because"] == note


@pytest.mark.parametrize(
    "values",
    [
        [],
        {"findings": {"Effusion": []}},
        {"findings": {"Effusion": [], "Mass": [{"method": "platt", "parameters": {"slope": -1, "intercept": 0}}]}},
        {"findings": {"Effusion": [], "Mass": "platt"}},
        {"findings": {"Effusion": [], "Mass": []}, "within": {"Effusion": "Lung"}},
    ],
)
def test_damaged_ones_are_refused(values: Any) -> None:
    with pytest.raises(EvaluationError) as caught:
        bundle_calibration(None, LABELS, values=values)
    assert caught.value.code == Code.CALIBRATION_INVALID


def test_what_gets_other_weights_forgets_the_numbers(one: Path, tmp_path: Path) -> None:
    made = copied(one, tmp_path / "made")
    before = read_json(made / "configs" / "inference.json")
    write_meaning(made, {key: before[key] for key in MEANING}, 1)  # as every training does
    for name in ("inference.json", "explain.json"):
        item = read_json(made / "configs" / name)["calibration"]
        assert "values" in read_json(one / "configs" / name)["calibration"]
        assert not {"values", "lost"} & item.keys()


def test_numbers_in_a_configuration_pass_the_inspection(one: Path) -> None:
    assert main(["bundle", "inspect", str(one)]) == 0
