"""Each planted cause of a drop is named by the decomposition, and its parts sum to the drop."""

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from cxr_monai.errors import EvaluationError
from cxr_monai.evaluation.bootstrap import Intervals
from cxr_monai.evaluation.drop_causes import (
    AGE_AND_SEX_MIX,
    ANOTHER_PREVALENCE,
    CAUSES,
    DROP,
    FINDING_BY_GROUP,
    LABEL_DEFINITION,
    UNEXPLAINED,
    VIEW_MIX,
    drop_causes,
)
from cxr_monai.evaluation.sample import Sample
from cxr_monai.evaluation.two_sites import TwoSites
from tests.evaluation.drops import drop_between

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
PARTS = [cause for cause in CAUSES if cause != DROP]


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    names = ("simulate_coverage", "simulate_drops")
    for name in names:
        spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    yield sys.modules["simulate_drops"]
    for name in names:
        del sys.modules[name]


def causes_of(script: ModuleType, name: str, patients: int = 2500) -> pd.DataFrame:
    table, _ = script.judge(script.SCENARIOS[name], patients, 60, np.random.default_rng(7))
    return table


@pytest.mark.parametrize(
    ("planted", "named"),
    [
        ("view mix", VIEW_MIX),
        ("age mix", AGE_AND_SEX_MIX),
        ("sicker at the bedside", FINDING_BY_GROUP),
        ("labels", LABEL_DEFINITION),
        ("blur", UNEXPLAINED),
    ],
)
def test_the_planted_cause_is_named(script: ModuleType, planted: str, named: str) -> None:
    table = causes_of(script, planted)
    assert table.index.tolist() == list(CAUSES)
    parts = table.loc[PARTS, "part"]
    assert parts.sum() == pytest.approx(table.loc[DROP, "part"], abs=1e-12)
    assert parts.abs().idxmax() == named
    assert not table.loc[named, "low"] <= 0 <= table.loc[named, "high"]
    assert not table.loc[named, "evidence"].startswith("no evidence")
    others = table.drop([DROP, ANOTHER_PREVALENCE, named])
    assert (others["part"].abs() < 0.4 * abs(parts[named])).all()


def test_prevalence_alone_lowers_nothing_and_its_consequence_is_said(script: ModuleType) -> None:
    table = causes_of(script, "prevalence")
    assert table.loc[DROP, "low"] < 0 < table.loc[DROP, "high"]
    assert table.loc[DROP, "evidence"].startswith("no evidence of a drop")
    assert tuple(table.loc[ANOTHER_PREVALENCE, ["part", "low", "high"]]) == (0, 0, 0)
    evidence = table.loc[ANOTHER_PREVALENCE, "evidence"]
    assert "the AUROC does not depend on it, but what is right half the time at home is right in" in evidence
    assert evidence.endswith("calibrated at home are too high")


def test_the_same_twice_has_no_evidence_of_anything(script: ModuleType) -> None:
    table = causes_of(script, "nothing")
    for cause in (DROP, VIEW_MIX, AGE_AND_SEX_MIX, LABEL_DEFINITION, UNEXPLAINED):
        assert table.loc[cause, "low"] <= 0 <= table.loc[cause, "high"], cause
        assert table.loc[cause, "evidence"].startswith("no evidence")
    assert table.loc[ANOTHER_PREVALENCE, "evidence"].startswith("no evidence that it differs")


def test_the_drop_is_that_of_the_matrix(script: ModuleType) -> None:
    random = np.random.default_rng(1)
    home, _ = script.simulate(random, script.HOME, 200, "home")
    there, right = script.simulate(random, script.SCENARIOS["everything"], 200)
    table = drop_causes(TwoSites.of(home, there, Intervals(40, 0.9, 5)), right)
    expected = drop_between(home, there, Intervals(40, 0.9, 5)).set_index("finding")
    for finding in (script.FINDING, "mean"):
        row = table[(table["finding"] == finding) & (table["cause"] == DROP)].iloc[0]
        assert row["part"] == pytest.approx(expected.loc[finding, "drop"], abs=1e-12)
        assert (row["low"], row["high"]) == pytest.approx(tuple(expected.loc[finding, ["low", "high"]]), abs=1e-9)


def test_what_cannot_be_judged_stays_in_the_rest(script: ModuleType) -> None:
    random = np.random.default_rng(2)
    home, _ = script.simulate(random, script.HOME, 300, "home")
    there, right = script.simulate(random, script.SCENARIOS["labels"], 300)
    there.table["view"] = ""
    table = drop_causes(TwoSites.of(home, there, Intervals(20))).set_index(["finding", "cause"])
    row = table.loc[script.FINDING]
    assert np.isnan(row.loc[VIEW_MIX, "part"])
    assert row.loc[VIEW_MIX, "evidence"] == "not known: view of most images of a site"
    assert row.loc[LABEL_DEFINITION, "evidence"].startswith("not measured")
    assert row.loc[PARTS, "part"].sum() == pytest.approx(row.loc[DROP, "part"])
    scarce = Sample.of(
        there.table, there.findings, there.scores, there.labels * (np.arange(len(there)) % 5 == 0)[:, None]
    )
    row = drop_causes(TwoSites.of(home, scarce, Intervals(20))).set_index(["finding", "cause"]).loc[script.FINDING]
    assert np.isnan(row.loc[FINDING_BY_GROUP, "part"])
    assert row.loc[FINDING_BY_GROUP, "evidence"].startswith("too few to say")
    few = there.take(np.arange(60))
    row = drop_causes(TwoSites.of(home, few, Intervals(20))).set_index(["finding", "cause"]).loc[script.FINDING]
    assert row.loc[AGE_AND_SEX_MIX, "evidence"].startswith("too few to say")
    assert row.loc[UNEXPLAINED, "part"] == pytest.approx(row.loc[DROP, "part"])
    with pytest.raises(EvaluationError, match="are not the"):
        drop_causes(TwoSites.of(home, there, Intervals(5)), right.take(np.arange(10)))


def test_the_mean_is_over_the_findings(script: ModuleType) -> None:
    random = np.random.default_rng(3)
    samples = []
    for site, name in ((script.HOME, "home"), (script.SCENARIOS["view mix"], "there")):
        sample, _ = script.simulate(random, site, 500, name)
        labels = np.column_stack([sample.labels, random.permutation(sample.labels), np.full(len(sample), np.nan)])
        samples.append(Sample.of(sample.table, ["Effusion", "Mass", "Hernia"], np.tile(sample.scores, 3), labels))
    table = drop_causes(TwoSites.of(*samples, Intervals(20))).set_index(["finding", "cause"])
    for cause in (DROP, VIEW_MIX, UNEXPLAINED):
        both = table.loc[[("Effusion", cause), ("Mass", cause)], "part"]
        assert table.loc[("mean", cause), "part"] == pytest.approx(both.mean())
    assert np.isnan(table.loc[("Hernia", DROP), "part"])
    assert table.loc[("mean", DROP), "evidence"].endswith("mean of 2 findings")


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_the_script_goes_on_where_it_was(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script, "CHUNK", 2)
    monkeypatch.setattr(script, "POPULATION", 500)
    monkeypatch.setattr(script.truth_of, "__defaults__", (500,))

    def run(sets: int, out: str) -> dict:
        words = ["--sets", str(sets), "--replicates", "20", "--patients", "80", "--only", "view mix", "--jobs", "1"]
        monkeypatch.setattr(sys, "argv", ["simulate_drops.py", "--out", str(tmp_path / out), *words])
        assert script.main() == 0
        return json.loads((tmp_path / out / "drops.json").read_text())

    whole = run(4, "whole")
    run(2, "parts")
    assert run(4, "parts") == whole
    row = whole["scenarios"]["view mix"]
    assert row[DROP]["held"] + row[DROP]["below"] + row[DROP]["above"] + row[DROP]["none"] == row["sets"] == 4
    lines = (tmp_path / "whole" / "drops.md").read_text().splitlines()
    assert lines[2].startswith("| view mix | drop |")
