"""Whoever measures a network on labelled films measures it on all of them: no gate leaves any out unseen."""

import ast
from pathlib import Path

import pytest

import cxr_monai
from cxr_monai.gate.answer import GateVerdict
from cxr_monai.inference.model import Model
from tests.support.bundle_runs import SHIPPED, Phantoms
from tests.support.gates import with_gate
from tests.support.tiny_bundles import tiny_bundle

ROOT = SHIPPED.parents[1]
ANSWERING = {
    "cxr_monai/workflows/predict.py",
    "cxr_monai/cli/predict.py",
    "cxr_monai/workflows/explain.py",
    "cxr_monai/mlflow_model.py",
    "cxr_monai/inference/model.py",
}
"""Where films are asked about: the gate's default, or what the user says."""


def opening(file: Path) -> list[ast.Call]:
    """Return the calls that open a bundle for its network without a word on its gate."""
    calls = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)]
    return [
        call
        for call in calls
        if ast.unparse(call.func) == "Model.open" and "gate" not in {word.arg for word in call.keywords}
    ]


def test_every_measurement_says_what_the_gate_does() -> None:
    library = [*Path(cxr_monai.__file__).parent.rglob("*.py"), *(ROOT / "scripts").rglob("*.py")]
    silent = {str(file.relative_to(ROOT)) for file in library if opening(file)}
    assert silent <= ANSWERING


@pytest.fixture
def film(phantoms: Phantoms) -> Path:
    return phantoms.files("test")[0]


@pytest.mark.parametrize("mode", ["refuse", "review", "off"])
def test_the_table_tells_the_gates_own_verdict_in_whichever_mode(mode: str, film: Path, tmp_path: Path) -> None:
    bundle = with_gate(tiny_bundle(tmp_path / "bundle", 1))
    predicted = Model.open(bundle, gate=mode, num_workers=0).predict([film])
    assert len(predicted.table) == (mode != "refuse")
    assert bool(predicted.errors) == (mode == "refuse")
    if mode == "off":
        assert predicted.gate is None
    else:
        assert predicted.gate is not None
        assert list(predicted.gate["gate"]) == [GateVerdict.REFUSE]


def test_a_gate_may_let_every_film_through(film: Path, tmp_path: Path) -> None:
    predicted = Model.open(with_gate(tiny_bundle(tmp_path / "bundle", 1), 1e9), num_workers=0).predict([film])
    assert len(predicted.table) == 1
    assert predicted.gate is not None
    assert list(predicted.gate["gate"]) == [GateVerdict.ACCEPT]
