"""The gate at the end of a training: fitted with the best weights, the same each time, gone where it is another's."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from cxr_monai.bundle.carried_gate import GATE, GATE_TENSORS
from cxr_monai.bundle.digest import file_digest
from cxr_monai.errors import GateError, SettingError
from cxr_monai.gate.storage import read_gate
from cxr_monai.inference.model import Model
from cxr_monai.training.gate_fitter import GateFitter
from tests.support.bundle_runs import SHIPPED, Phantoms, Trained, code_of, read, rewrite, run
from tests.support.first_training import GATED

FILES = (GATE, GATE_TENSORS)


def test_a_training_leaves_a_gate_of_its_weights(gated: Path, phantoms: Phantoms) -> None:
    bundle = gated / "bundle"
    stored = read_gate(bundle)
    assert stored is not None
    fitted, weights = stored
    assert weights == file_digest(bundle / "models" / "model.pt")
    assert fitted.promise == 0.05
    parts = phantoms.table["split"].value_counts()
    assert fitted.fitted_on["films"] + fitted.fitted_on["films_not_intended"] == parts["train"] + parts["val"]
    assert 0 < fitted.fitted_on["validation_films"] <= parts["val"]
    assert fitted.layers  # the features are of the network that was trained
    assert Model.open(bundle).gate.fitted is not None
    for config in ("inference", "explain", "evaluate"):
        assert read(bundle, config)["gate"]["digest"] == file_digest(bundle / GATE), config


def test_the_same_training_has_the_same_gate_and_none_where_none_is_asked_for(
    gated: Path, phantoms: Phantoms, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(gated, tmp_path / "OUT"))
    bundle = out / "bundle"
    before, weights = {name: file_digest(bundle / name) for name in FILES}, file_digest(bundle / "models" / "model.pt")
    again = {"manifest": str(phantoms.manifest), "output_dir": str(out), **GATED}  # it has ended: nothing to train
    run(SHIPPED, "train", **again, gate="none")
    assert not any((bundle / name).exists() for name in FILES)  # the earlier one is gone
    assert "asked for none" in Model.open(bundle).gate.missing
    run(SHIPPED, "train", **again)
    assert {name: file_digest(bundle / name) for name in FILES} == before
    assert file_digest(bundle / "models" / "model.pt") == weights  # a gate changes nothing in them


def test_too_few_films_for_the_promise_leave_no_gate(trained: Trained) -> None:
    assert not (trained.bundle / GATE).exists()  # 37 films, of which at most 1 % might be refused
    assert "the bundle has no gate: 37 films" in trained.process.stderr + trained.process.stdout
    assert "since 37 films" in Model.open(trained.bundle).gate.missing
    fitter = GateFitter("auto", 0.01)
    assert "98 films" in fitter.too_few(98)
    assert not fitter.too_few(99)  # a hundredth film is the worst of them with a probability of 1 %


@pytest.mark.parametrize("setting", [{"gate": "yes"}, {"gate_promise": 0}, {"gate_promise": True}])
def test_another_setting_is_refused_before_the_training(
    setting: dict[str, Any], phantoms: Phantoms, tmp_path: Path
) -> None:
    with pytest.raises(SettingError) as error:
        run(
            SHIPPED,
            "train",
            manifest=str(phantoms.manifest),
            output_dir=str(tmp_path / "out"),
            **(GATED | setting),
        )
    assert code_of(error) == "setting-invalid"
    assert not (tmp_path / "out").exists()


def test_a_gate_on_fewer_films_than_any_needs_is_refused_before_the_training(
    phantoms: Phantoms, tmp_path: Path
) -> None:
    few = rewrite(phantoms.manifest, tmp_path / "few.csv", lambda table: table.iloc[::3].reset_index(drop=True))
    with pytest.raises(GateError) as error:
        run(SHIPPED, "train", manifest=str(few), output_dir=str(tmp_path / "out"), **GATED, gate="always")
    assert code_of(error) == "gate-missing"
    assert not (tmp_path / "out" / "bundle").exists()
