"""A copy of a bundle with a gate: fitted on some patients, tested on others, with a lineage; the bundle stays."""

import contextlib
import io
import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import pytest
from monai.transforms import Compose

from cxr_monai.bundle.bundle_folder import Bundle
from cxr_monai.bundle.digest import content_digest, file_digest
from cxr_monai.cli import main
from cxr_monai.data.manifest import read_manifest
from cxr_monai.errors import Code, CxrError
from cxr_monai.gate.fitted_gate import FittedGate
from cxr_monai.gate.storage import has_gate, read_gate
from cxr_monai.inference.gate_material import fit_gate_of
from cxr_monai.inference.model import Model
from cxr_monai.sharing.inspection.bundle_inspection import inspect_bundle
from cxr_monai.sharing.package.privacy import Identifiers, search_private_texts
from cxr_monai.sharing.trust.lineage import read_lineage
from cxr_monai.training.gate_fitter import GateFitter
from cxr_monai.transforms.quantise import QuantiseRadiographd
from cxr_monai.workflows import gate_fit
from cxr_monai.workflows.gate_fit import fit_bundle_gate
from tests.support.bundle_runs import Phantoms
from tests.support.tiny_bundles import tiny_bundle


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of before: it has no gate, and does not say which films it is meant for."""
    root = tiny_bundle(tmp_path_factory.mktemp("plain") / "bundle", 1)
    path = root / "configs" / "metadata.json"
    content = json.loads(path.read_text())
    del content["intended_films"]
    path.write_text(json.dumps(content))
    return root


@dataclass(frozen=True)
class Fitted:
    """A copy with a gate, and what the command printed."""

    bundle: Path
    gate: FittedGate
    printed: str


@pytest.fixture(scope="module")
def fitted(plain: Path, phantoms: Phantoms, tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    out, printed = tmp_path_factory.mktemp("gated") / "bundle", io.StringIO()
    plain.with_name("bundle.patients.json").write_text("{}")
    words = ["gate", "fit", str(plain), "--manifest", str(phantoms.manifest), "--out", str(out)]
    with contextlib.redirect_stdout(printed):
        assert main([*words, "--promise", "0.05", "--workers", "0"]) == 0
    read = read_gate(out)
    assert read is not None
    return Fitted(out, read[0], printed.getvalue())


def left_aside(phantoms: Phantoms) -> pd.DataFrame:
    """The good films of the part that no gate is fitted on."""
    return phantoms.table[(phantoms.table["split"] == "test") & ~(phantoms.table["age"] < 13)]


def test_the_copy_has_the_gate_and_the_bundle_stays(plain: Path, fitted: Fitted) -> None:
    read = read_gate(fitted.bundle)
    assert read is not None
    assert read[1] == file_digest(plain / "models" / "model.pt") == file_digest(fitted.bundle / "models" / "model.pt")
    assert fitted.gate.promise == 0.05
    assert not has_gate(plain)
    assert not inspect_bundle(fitted.bundle).refused


def test_films_left_aside_are_the_test_patients(phantoms: Phantoms, fitted: Fitted) -> None:
    aside = left_aside(phantoms)
    held_out = fitted.gate.fitted_on["held_out"]
    good = phantoms.table[~(phantoms.table["age"] < 13)]
    assert fitted.gate.fitted_on["films"] == len(good) - len(aside)
    assert (held_out["films"], held_out["patients"]) == (len(aside), aside["patient_id"].nunique())
    judged = Model.open(fitted.bundle).predict([phantoms.root / image for image in aside["image"]])
    assert judged.gate is not None
    assert held_out["refused"] == (judged.gate["gate"] == "refuse").sum()
    assert held_out["low"] <= held_out["refused"] / len(aside) <= held_out["high"]


def test_the_command_says_how_the_promise_did(phantoms: Phantoms, fitted: Fitted) -> None:
    assert "promise: at most 5.0%" in fitted.printed
    assert f"left aside (test): 0 of {len(left_aside(phantoms))} films refused" in fitted.printed
    assert "age 13 and over" in fitted.printed


def test_its_figures_are_counts_and_name_no_film(phantoms: Phantoms, fitted: Fitted) -> None:
    text = (fitted.bundle / "models" / "gate.json").read_text() + (fitted.bundle / "lineage.json").read_text()
    assert search_private_texts(fitted.bundle, Identifiers.of(read_manifest(phantoms.manifest))) == []
    assert not any(Path(image).stem in text for image in phantoms.table["image"])


def test_lineage(plain: Path, fitted: Fitted) -> None:
    generation = read_lineage(fitted.bundle).generation
    assert generation.made_by == "cxr-monai gate fit"
    assert generation.parents == (content_digest(plain),)
    assert generation.data["films"] == fitted.gate.fitted_on["films"]
    assert generation.settings == {"promise": 0.05, "seed": 0}


def test_the_list_of_patients_goes_along(fitted: Fitted) -> None:
    beside = fitted.bundle.with_name("bundle.patients.json")
    assert beside.read_text() == "{}"
    assert beside.stat().st_mode & 0o777 == 0o600


def test_it_is_never_written_over_what_is_there(
    plain: Path, phantoms: Phantoms, fitted: Fitted, capsys: pytest.CaptureFixture[str]
) -> None:
    before = content_digest(fitted.bundle)
    words = ["gate", "fit", str(plain), "--manifest", str(phantoms.manifest), "--out", str(fitted.bundle)]
    assert main(words) == 2
    assert "output-exists" in capsys.readouterr().err
    assert content_digest(fitted.bundle) == before


def test_intended_films_and_a_manifest_without_a_split(
    plain: Path, phantoms: Phantoms, fitted: Fitted, tmp_path: Path
) -> None:
    assert Bundle.open(fitted.bundle).metadata["intended_films"]["minimum_age"] == 13
    bundle = Path(shutil.copytree(plain, tmp_path / "bundle"))
    path = bundle / "configs" / "metadata.json"
    intended = {"minimum_age": None, "maximum_age": None, "views": ["PA"], "modalities": ["DX"], "devices": []}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"intended_films": intended}))
    manifest = read_manifest(phantoms.manifest)
    loose = replace(manifest, table=manifest.table.assign(split=""))
    fit = fit_bundle_gate(bundle, loose, tmp_path / "out", workers=0)
    assert Bundle.open(tmp_path / "out").metadata["intended_films"] == intended
    assert not any("meant for" in note for note in fit.notes)
    other_views = ~loose.table["view"].isin(["PA"])
    assert fit.gate.fitted_on["films_not_intended"] == other_views.sum() > 0
    # films that no part is known of count as not seen by the network
    assert fit.gate.fitted_on["validation_films"] == fit.gate.fitted_on["films"] == (~other_views).sum()
    assert fit.held_out == {}
    assert any("no good film was left aside" in note for note in fit.notes)
    assert any("too few for this promise, which takes 99" in note for note in fit.notes)


def test_files_without_a_modality_are_read_on_request(
    plain: Path, phantoms: Phantoms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def fit(model: Model, *_: object) -> FittedGate:
        asked.append(model.settings.any_modality)
        raise CxrError(Code.GATE_MISSING, "too few.")

    monkeypatch.setattr(gate_fit, "fit_gate_of", fit)
    words = ["gate", "fit", str(plain), "--manifest", str(phantoms.manifest), "--out", str(tmp_path / "out")]
    assert main(words) == main([*words, "--any-modality"]) == 1
    assert asked == [False, True]


def test_refusals_leave_nothing(plain: Path, phantoms: Phantoms, tmp_path: Path) -> None:
    manifest = read_manifest(phantoms.manifest)
    few = replace(manifest, table=manifest.table[manifest.table["split"] == "val"].head(5).reset_index(drop=True))
    out = tmp_path / "out"
    for options, code in (
        ({"manifest": few}, Code.GATE_MISSING),
        ({"split": ["train"], "manifest": few}, Code.SPLIT_INVALID),
        ({"promise": 0.0}, Code.SETTING_INVALID),
        ({"promise": 0.9}, Code.SETTING_INVALID),
    ):
        with pytest.raises(CxrError) as caught:
            fit_bundle_gate(plain, out=out, **({"manifest": manifest, "workers": 0} | options))
        assert caught.value.code == code
        assert not out.exists()


def test_a_manifest_without_films_is_an_error(plain: Path, phantoms: Phantoms) -> None:
    manifest = read_manifest(phantoms.manifest)
    with pytest.raises(CxrError) as caught:
        fit_gate_of(Model.open(plain, gate="off"), replace(manifest, table=manifest.table.iloc[:0]))
    assert caught.value.code == Code.GATE_MISSING


def test_films_without_the_plane_that_a_gate_looks_at_are_an_error(plain: Path, phantoms: Phantoms) -> None:
    model = Model.open(plain, gate="off", num_workers=0)
    steps = [step for step in model.preprocessing.flatten().transforms if not isinstance(step, QuantiseRadiographd)]
    model = replace(model, preprocessing=Compose(steps))
    manifest = read_manifest(phantoms.manifest)
    with pytest.raises(CxrError, match="QuantiseRadiographd") as caught:
        fit_gate_of(model, replace(manifest, table=manifest.table.iloc[:4]))
    assert caught.value.code == Code.GATE_INVALID
    fitter = GateFitter("auto", 0.05)  # a training ends well, and says why it left no gate
    fitted, why = fitter.fitted(model, manifest)
    assert (fitted, "QuantiseRadiographd" in why) == (None, True)
    with pytest.raises(CxrError, match="QuantiseRadiographd"):
        GateFitter("always", 0.05).fitted(model, manifest)
