"""What a gate refuses, on small tables by hand; and a planted gate that refuses the sick is called out."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import hypergeom

from cxr_monai.data.manifest import Manifest, build_manifest
from cxr_monai.errors import EvaluationError
from cxr_monai.evaluation.bootstrap import Intervals
from cxr_monai.evaluation.gate_effects import (
    ACCEPTED_ALONE,
    ANY_FINDING,
    FALLS,
    LESS_OFTEN,
    LET_THROUGH,
    MORE_OFTEN,
    NOT_SHOWN,
    gate_metrics,
    gate_tables,
)
from cxr_monai.evaluation.gate_table import (
    ACCEPT,
    REFUSE,
    REVIEW,
    JudgedFilms,
    gate_table_beside,
    judged_films,
    read_gate_table,
)
from cxr_monai.evaluation.proportions import wilson
from cxr_monai.evaluation.sample import Sample

QUICK = Intervals(replicates=400)


def judged(mass: np.ndarray, verdicts: np.ndarray, scores: np.ndarray | None = None, **columns: object) -> JudgedFilms:
    """Films of a patient each."""
    size = len(mass)
    table = pd.DataFrame({
        "image": [f"{at}.png" for at in range(size)], "patient_id": [str(at) for at in range(size)], "study_id": "",
        "view": "PA", "age": 50.0, "sex": "", "source": "here", "split": "test",
    }).assign(**columns)  # fmt: skip
    given = np.linspace(0, 1, size) if scores is None else scores
    codes = np.where(verdicts == REFUSE, "gate-blurred", np.where(verdicts == REVIEW, "gate-child", ""))
    sample = Sample.of(table, ["Mass"], given[:, None], mass[:, None].astype(float))
    return JudgedFilms(sample, verdicts, codes, np.ones(size, dtype=bool) if scores is not None else verdicts != REFUSE)


def verdicts_of(mass: np.ndarray, positives: int, negatives: int) -> np.ndarray:
    """Refuse the first of the films with a mass, and the first of those without."""
    verdicts = np.full(len(mass), ACCEPT, dtype=object)
    verdicts[np.flatnonzero(mass == 1)[:positives]] = REFUSE
    verdicts[np.flatnonzero(mass == 0)[:negatives]] = REFUSE
    return verdicts.astype(str)


def test_counts_and_shares_by_hand() -> None:
    mass = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0, np.nan])
    verdicts = np.array([REFUSE, REFUSE, REVIEW, ACCEPT, REFUSE, ACCEPT, ACCEPT, ACCEPT, ACCEPT, REFUSE])
    tables = gate_tables(judged(mass, verdicts, sex=["F", "M"] * 5), intervals=QUICK)
    codes = tables.codes.set_index(["gate", "code"])
    assert codes["images"].to_dict() == {
        (ACCEPT, ""): 5, (REVIEW, ""): 1, (REFUSE, ""): 4, (REFUSE, "gate-blurred"): 4, (REVIEW, "gate-child"): 1,
    }  # fmt: skip
    low, high = map(float, wilson(4, 10))
    assert codes.loc[(REFUSE, ""), ["share", "low", "high"]].tolist() == pytest.approx([0.4, low, high])
    row = tables.findings.set_index("finding").loc["Mass"]
    assert row[["images", "positives", "positives_refused", "negatives", "negatives_refused"]].tolist() == [
        9,
        4,
        2,
        5,
        1,
    ]
    assert row[["positives_share", "negatives_share", "difference"]].tolist() == pytest.approx([0.5, 0.2, 0.3])
    assert row[["prevalence", "prevalence_let_through"]].tolist() == pytest.approx([4 / 9, 2 / 6])
    # of 9 films 3 are refused: the chance of as many or more, or as improbable a number, among the 4 with a mass
    chances = hypergeom(9, 4, 3).pmf(np.arange(4))
    assert row["p"] == pytest.approx(chances[chances <= chances[2] * (1 + 1e-9)].sum())
    assert row["verdict"] == "too few to say"
    by_sex = tables.groups.set_index(["attribute", "group"])
    assert by_sex.loc[("sex", "F"), ["images", "refused", "reviewed"]].tolist() == [5, 2, 1]
    assert by_sex.loc[("sex", "M"), "refused_share"] == pytest.approx(0.4)
    assert tables.figures.empty  # refused films have no prediction


@pytest.mark.parametrize(
    ("positives", "negatives", "verdict"),
    [(12, 4, MORE_OFTEN), (0, 60, LESS_OFTEN), (1, 4, NOT_SHOWN), (0, 0, NOT_SHOWN)],
)
def test_a_gate_that_refuses_the_sick_is_called_out(positives: int, negatives: int, verdict: str) -> None:
    mass = np.array([1.0] * 60 + [0.0] * 240)
    findings = gate_tables(judged(mass, verdicts_of(mass, positives, negatives)), intervals=QUICK).findings
    row = findings.set_index("finding").loc["Mass"]
    assert row["verdict"] == verdict
    assert (row["patient_low"] > 0) == (verdict == MORE_OFTEN)
    assert findings["finding"].tolist() == ["Mass", ANY_FINDING]
    assert set(findings["verdict"]) == {verdict}  # of one finding, any finding is that finding


def test_films_of_one_patient_are_no_evidence() -> None:
    """All refused films are one patient's: by films it looks certain, by patients it is one observation."""
    mass = np.array([1.0] * 60 + [0.0] * 240)
    people = ["one"] * 30 + [str(at) for at in range(30, 300)]
    findings = gate_tables(judged(mass, verdicts_of(mass, 12, 0), patient_id=people), intervals=QUICK).findings
    row = findings.set_index("finding").loc["Mass"]
    assert row["p_holm"] < 0.001
    assert row["verdict"] == NOT_SHOWN


def test_figures_with_and_without_are_paired() -> None:
    random = np.random.default_rng(0)
    mass = np.array([1.0] * 100 + [0.0] * 300)
    scores = np.clip(0.3 * mass + random.random(400) * 0.7, 0, 1)
    verdicts = np.full(400, ACCEPT, dtype=object)
    verdicts[np.argsort(np.where(mass == 1, scores, 2))[:30]] = REFUSE  # the worst ranked positives
    verdicts[-20:] = REVIEW
    films = judged(mass, verdicts.astype(str), scores)
    tables = gate_tables(films, {"Mass": 0.5}, QUICK)
    figures = tables.figures.set_index(["kept", "finding", "figure"])
    row = figures.loc[(LET_THROUGH, "Mass", "auroc")]
    kept = films.verdicts != REFUSE
    assert row[["images", "kept_images", "positives", "positives_lost"]].tolist() == [400, 370, 100, 30]
    pairs = scores[(mass == 1) & kept][:, None] > scores[mass == 0][None]
    assert row["without"] == pytest.approx(pairs.mean())
    assert row["verdict"] == "higher"
    assert row["patient_low"] > 0
    sensitivity = figures.loc[(LET_THROUGH, "Mass", "sensitivity")]
    assert sensitivity["all"] == pytest.approx((scores[mass == 1] >= 0.5).mean())
    assert sensitivity["without"] == pytest.approx((scores[(mass == 1) & kept] >= 0.5).mean())
    assert figures.loc[(LET_THROUGH, "Mass", "specificity"), "difference"] == 0
    assert figures.loc[(LET_THROUGH, "Mass", "specificity"), "verdict"] == NOT_SHOWN
    assert figures.loc[(ACCEPTED_ALONE, "mean", "auroc"), "kept_images"] == 350
    metrics = gate_metrics(tables.codes, tables.figures, "test")
    assert metrics == {
        "test_gate_refused": 30 / 400, "test_gate_reviewed": 20 / 400,
        "test_auroc_let_through_mean": pytest.approx(row["without"]),
    }  # fmt: skip
    assert gate_metrics(pd.DataFrame(), pd.DataFrame(), "test") == {}


def test_a_figure_that_falls_without_refused_films_is_lower() -> None:
    mass = np.array([1.0] * 60 + [0.0] * 240)
    scores = np.where(mass == 1, 0.9, 0.1) + np.linspace(0, 0.05, 300)
    scores[30:60] = 0.0  # badly ranked, and accepted
    verdicts = np.where(np.arange(300) < 25, REFUSE, ACCEPT)
    figures = gate_tables(judged(mass, verdicts, scores), intervals=QUICK).figures
    assert figures.set_index("finding").loc["Mass", "verdict"] == FALLS
    assert set(figures["kept"]) == {LET_THROUGH}  # nothing is to be reviewed


@pytest.fixture
def manifest() -> Manifest:
    table = pd.DataFrame({
        "image": [f"f/{at}.png" for at in range(8)], "patient_id": list("aabbccdd"), "study_id": "",
        "view": ["PA", "AP"] * 4,
        "age": 50.0, "sex": "F", "source": "here", "split": ["test"] * 6 + ["train"] * 2, "Mass": [1.0, 0.0] * 4,
    })  # fmt: skip
    return build_manifest(table, ".", "local")


def gate_of(**verdicts: str) -> pd.DataFrame:
    rows = [(f"f/{name.removeprefix('f')}.png", verdict, "gate-cropped" * (verdict != ACCEPT))
            for name, verdict in verdicts.items()]  # fmt: skip
    return pd.DataFrame(rows, columns=["image", "gate", "code"])


def sample_of(manifest: Manifest, *rows: int) -> Sample:
    table = manifest.table.iloc[list(rows)]
    scores = np.array(rows, dtype=float)[:, None] / 10
    return Sample.of(table, ["Mass"], scores, table[["Mass"]].to_numpy(float))


def test_refused_films_without_a_prediction_are_labelled_too(manifest: Manifest) -> None:
    gate = gate_of(f0=ACCEPT, f1=REFUSE, f2=REVIEW, f3=ACCEPT, f4=REFUSE, f5=REFUSE, f6=REFUSE, f7=ACCEPT)
    films, notes = judged_films(gate, sample_of(manifest, 3, 0, 2), manifest, "test")
    assert films.sample.table["image"].tolist() == [f"f/{at}.png" for at in range(6)]
    assert films.sample.labels[:, 0].tolist() == [1, 0, 1, 0, 1, 0]
    assert films.is_predicted.tolist() == [True, False, True, True, False, False]
    assert films.sample.scores[:, 0].tolist() == [0, 0, 0.2, 0.3, 0, 0]
    assert films.codes.tolist() == ["", "gate-cropped", "gate-cropped", "", "gate-cropped", "gate-cropped"]
    assert notes == []


def test_patients_who_were_set_aside_stay_aside(manifest: Manifest) -> None:
    gate = gate_of(f0=ACCEPT, f1=REFUSE, f2=ACCEPT, f3=REFUSE, f4=REFUSE, f5=REFUSE)
    half = sample_of(manifest, 0)  # b was fitted on: the accepted film of his is not in the sample
    films, _ = judged_films(gate, half, manifest, "test")
    assert films.sample.table["image"].tolist() == ["f/0.png", "f/1.png", "f/4.png", "f/5.png"]
    films, _ = judged_films(gate, half, manifest, "test", ["PA"])
    assert films.sample.table["image"].tolist() == ["f/0.png", "f/4.png"]


def test_films_without_a_verdict_are_counted(manifest: Manifest) -> None:
    films, notes = judged_films(gate_of(f0=ACCEPT), sample_of(manifest, 0, 1, 2), manifest)
    assert len(films.sample) == 1
    assert notes == ["The gate's table has no verdict on 2 of the 3 films."]
    with pytest.raises(EvaluationError, match="no film in common"):
        judged_films(gate_of(f7=ACCEPT), sample_of(manifest, 0), manifest)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("image,gate\na,accept\n", "it has no columns image, gate and code"),
        ("image,gate,code\na,accept,\nb,perhaps,\n", "line 3: 'b' says nothing that a gate can say"),
        ("image,gate,code\na,accept,\na,review,gate-child\n", "line 3: 'a' stands there twice"),
    ],
)
def test_what_is_no_table_of_a_gate_is_refused(content: str, told: str, tmp_path: Path) -> None:
    file = tmp_path / "p.csv.gate.csv"
    file.write_text(content)
    with pytest.raises(EvaluationError, match=told):
        gate_table_beside(tmp_path / "p.csv")


def test_a_table_is_read_and_none_is_none(tmp_path: Path) -> None:
    assert gate_table_beside(tmp_path / "p.csv") is None
    assert gate_table_beside(None) is None
    (tmp_path / "p.csv.gate.csv").write_text("image,gate,code,score\na,refuse,gate-child,1.5\n")
    gate = gate_table_beside(tmp_path / "p.csv")
    assert gate is not None
    assert gate.to_dict(orient="records") == [{"image": "a", "gate": "refuse", "code": "gate-child"}]
    with pytest.raises(EvaluationError, match="no such table"):
        read_gate_table(tmp_path / "absent.csv")
