"""A bundle whose gate refuses every film: its evaluation is of all of them, and tells what the gate would do."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cxr_monai.evaluation.evaluation_folder import read_evaluation
from cxr_monai.evaluation.gate_effects import gate_metrics
from cxr_monai.inference.model import Model
from cxr_monai.workflows.evaluate_tables import evaluate_predictions
from tests.support.bundle_runs import Phantoms, run
from tests.support.gates import with_gate
from tests.support.tiny_bundles import tiny_bundle

SETTINGS = {"split": "test", "amp": False, "num_workers": 0, "batch_size": 8, "replicates": 20}


def test_monais_evaluation_is_of_all_films_and_tells_the_gate(
    phantoms: Phantoms, elsewhere: Path, tracking_store: str
) -> None:
    tables = []
    for name in ("without", "with"):
        bundle = tiny_bundle(elsewhere / name, 1)
        if name == "with":
            with_gate(bundle)
        settings = {**SETTINGS, "manifest": str(phantoms.manifest), "tracking_uri": tracking_store}
        run(bundle, "evaluate", output_dir=f"{name}-out", **settings)
        tables.append(pd.read_csv(f"{name}-out/metrics.csv"))
    pd.testing.assert_frame_equal(*tables)
    evaluation = read_evaluation("with-out")
    assert gate_metrics(evaluation.gate_codes, evaluation.gate_figures)["gate_refused"] == 1
    assert (evaluation.gate_findings["positives_refused"] == evaluation.gate_findings["positives"]).all()
    book = json.loads(Path("with-out/metrics.json").read_text())["book"]["gate"]
    assert book["refused"] == book["films"] == len(pd.read_csv("with-out/predictions.csv"))
    assert book["refused without a prediction"] == 0
    assert "What the gate refuses" in Path("with-out/report.html").read_text()
    assert "No film was judged by a gate (this bundle has no gate" in Path("without-out/report.html").read_text()


@pytest.mark.parametrize("mode", ["review", "refuse"])
def test_predictions_in_memory_bring_their_gate(phantoms: Phantoms, tmp_path: Path, mode: str) -> None:
    model = Model.open(with_gate(tiny_bundle(tmp_path / "bundle", 1), 1e9), gate=mode, num_workers=0)
    table = phantoms.table
    part = table[table["split"] == "test"]
    predicted = model.predict([phantoms.root / image for image in part["image"]], list(part["image"]))
    evaluation = evaluate_predictions(predicted, phantoms.manifest, replicates=20)
    codes = evaluation.gate_codes.set_index("gate")
    assert codes.loc["accept", "images"] == len(part)
    assert (
        np.isnan(evaluation.gate_findings["positives_share"]).sum()
        == (evaluation.gate_findings["positives"] == 0).sum()
    )
