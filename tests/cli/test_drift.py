"""``cxr-monai drift``: a folder of predictions and their evidence in; exit status, page, tables and JSON out."""

import json
from datetime import datetime
from pathlib import Path

import pandas as pd
import pytest

from cxr_monai.bundle.bundle_folder import Bundle
from cxr_monai.cli import main
from cxr_monai.completion import require_complete
from cxr_monai.evaluation.fitted import Fitted
from cxr_monai.gate.drift_charts import ControlCharts
from tests.gate.drift_films import FINDINGS, drawn_films, weekly


@pytest.fixture
def bundle(shipped_copy: Path) -> Bundle:
    """A bundle with one operating point; its network is never run."""
    labels = Bundle.open(shipped_copy).labels
    (shipped_copy / "models").mkdir(exist_ok=True)
    Fitted(dict.fromkeys(labels, ()), {"Effusion": {"youden": 0.5}}, {}, {}).write(
        shipped_copy / "models" / "calibration.json"
    )
    return Bundle.open(shipped_copy)


def write_films(path: Path, films: pd.DataFrame, digest: str, **about: object) -> Path:
    """Write films as ``cxr-monai predict`` does: those that the gate refuses stand in the evidence alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    evidence = films.drop(columns=[name for name in (*FINDINGS, "time") if name in films])
    if "time" in films:
        evidence["taken_on"] = films["time"].map(lambda moment: moment.isoformat())
    evidence.to_csv(f"{path}.gate.csv", index=False)
    predicted = films[films["gate"] != "refuse"]
    if predicted.empty:
        return path
    predicted[["image", *FINDINGS]].to_csv(path, index=False)
    Path(f"{path}.json").write_text(json.dumps({"bundle": digest, "calibrated": True, **about}))
    return path


@pytest.fixture
def reference(bundle: Bundle, tmp_path: Path) -> Path:
    return write_films(tmp_path / "reference.csv", drawn_films(400, seed=1), bundle.digest)


def write_weeks(bundle: Bundle, folder: Path, weeks: list[pd.DataFrame]) -> Path:
    films = weekly(weeks)
    numbers = pd.Series([week for week, part in enumerate(weeks) for _ in range(len(part))])
    for week, part in films.groupby(numbers):
        write_films(folder / f"week{week}.csv", part, bundle.digest)
    return folder


def drift(bundle: Bundle, *words: object) -> int:
    return main(["drift", str(bundle.root), *map(str, words)])


def content(folder: Path) -> dict:
    text = json.loads((folder / "drift.json").read_text())
    require_complete(text, folder / "drift.json", "cxr-monai drift")
    return text


@pytest.fixture(autouse=True)
def known_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The charts' limit, which takes seconds to simulate (tests/gate/test_drift_charts.py); about what it is here."""
    monkeypatch.setattr(ControlCharts, "limit", lambda *_: 6.0)


QUIET = [drawn_films(60, seed=100 + week) for week in range(3)]


def test_a_quiet_stream_ends_with_status_0(
    bundle: Bundle, reference: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = write_weeks(bundle, tmp_path / "stream", QUIET), tmp_path / "drift"
    assert drift(bundle, folder, "--reference", reference, "--out", out) == 0
    assert "No alarm: 3 windows are like the reference" in capsys.readouterr().out
    result = content(out)
    assert result["alarm"] is False
    assert result["alarm_since"] is None
    assert [window["films"] for window in result["windows"]] == [60, 60, 60]
    assert {path.name for path in out.iterdir()} >= {"report.html", "windows.csv", "streams.csv", "charts.csv"}
    assert "No alarm" in (out / "report.html").read_text()
    assert drift(bundle, folder, "--reference", reference, "--out", out) == 2  # it is there


def test_a_week_of_wrong_films_ends_with_status_3(
    bundle: Bundle, reference: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weeks = [*QUIET[:2], drawn_films(200, seed=5, wrong=0.1)]
    folder, out = write_weeks(bundle, tmp_path / "stream", weeks), tmp_path / "drift"
    assert drift(bundle, folder, "--reference", reference, "--out", out) == 3
    text = capsys.readouterr().out
    assert "Alarm: since 2026-01-19" in text
    assert "gate-inverted 20" in text
    assert "Refused: 0 % in the reference, 10 % now." in text.replace("\u00a0", " ").replace(".0 %", " %")
    result = content(out)
    assert (result["alarm"], result["cause"], result["alarm_since"][:10]) == (True, "machine", "2026-01-19")
    assert [row["alarm"] for row in result["windows"]] == [False, False, True]
    page = (out / "report.html").read_text()
    assert page.index("Alarm: since 2026-01-19") < page.index("The windows") < page.index("<svg")
    # what was looked into and put right does not count any more
    words = ("--reference", reference, "--out", out, "--force", "--since", "2026-02-01")
    assert drift(bundle, folder, *words) == 0


def test_the_first_windows_can_be_the_reference(bundle: Bundle, tmp_path: Path) -> None:
    folder, out = write_weeks(bundle, tmp_path / "stream", [*QUIET, drawn_films(100, seed=8)]), tmp_path / "drift"
    assert drift(bundle, folder, "--reference", "first:2", "--out", out) == 0
    result = content(out)
    assert result["provenance"]["reference"] == "the first 2 windows of the stream"
    assert result["provenance"]["reference_films"] == 120
    assert [window["films"] for window in result["windows"]] == [60, 100]


def test_predictions_of_two_bundles_are_no_stream(
    bundle: Bundle, reference: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_weeks(bundle, tmp_path / "stream", QUIET)
    write_films(folder / "other.csv", drawn_films(60, seed=9), "f" * 64)
    assert drift(bundle, folder, "--reference", reference, "--out", tmp_path / "drift") == 1
    text = capsys.readouterr().err
    assert "evaluation-invalid" in text
    assert "other.csv" in text
    assert "another bundle (ffffffffffff...)" in text
    assert not (tmp_path / "drift").exists()


def test_calibrated_and_raw_predictions_are_no_stream(
    bundle: Bundle, reference: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_weeks(bundle, tmp_path / "stream", QUIET)
    write_films(folder / "raw.csv", drawn_films(60, seed=9), bundle.digest, calibrated=False)
    assert drift(bundle, folder, "--reference", reference, "--out", tmp_path / "drift") == 1
    assert "some of these predictions are calibrated and some are raw" in capsys.readouterr().err


def test_films_without_a_time_need_a_time_column(
    bundle: Bundle, reference: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    films = weekly(QUIET)
    path = write_films(tmp_path / "p.csv", films.drop(columns="time"), bundle.digest)
    words = (path, "--reference", reference, "--out", tmp_path / "drift")
    assert drift(bundle, *words) == 1
    assert "none of 180 films has a time of acquisition in its header" in capsys.readouterr().err
    table = films[["image"]].assign(taken=films["time"].map(lambda moment: f"{moment.isoformat()}+02:00"))
    table.loc[:4, "taken"] = ""
    table.to_csv(tmp_path / "times.csv", index=False)
    assert drift(bundle, *words, "--time-column", "taken", "--manifest", tmp_path / "times.csv") == 0
    assert "5 films without a time that can be read have been left out" in capsys.readouterr().out
    assert [window["films"] for window in content(tmp_path / "drift")["windows"]] == [55, 60, 60]
    pd.read_csv(path).merge(table, on="image").to_csv(path, index=False)  # and in the predictions themselves
    assert drift(bundle, *words, "--time-column", "taken", "--force") == 0
    assert [window["films"] for window in content(tmp_path / "drift")["windows"]] == [55, 60, 60]


def test_predictions_without_a_gate_are_watched_by_their_probabilities(
    bundle: Bundle, reference: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (reference, write_films(tmp_path / "p.csv", weekly(QUIET), bundle.digest)):
        Path(f"{path}.gate.csv").unlink()
    table = pd.read_csv(tmp_path / "p.csv").assign(taken=weekly(QUIET)["time"])
    table.to_csv(tmp_path / "p.csv", index=False)
    words = ("--reference", reference, "--time-column", "taken", "--out", tmp_path / "drift")
    assert drift(bundle, tmp_path / "p.csv", *words) == 0
    assert "no evidence of a gate" in capsys.readouterr().out


def test_films_of_two_files_count_once_and_a_week_of_refused_films_is_a_week(
    bundle: Bundle, reference: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_weeks(bundle, tmp_path / "stream", [*QUIET, drawn_films(30, seed=4, wrong=1.0)])
    for name in ("week0.csv", "week0.csv.gate.csv", "week0.csv.json"):
        (folder / f"again{name[5:]}").write_bytes((folder / name).read_bytes())
    assert drift(bundle, folder, "--reference", reference, "--out", tmp_path / "drift") == 3
    text = capsys.readouterr().out
    assert "60 films have more than one row; the first counts" in text
    assert "week3.csv: every film was refused" in text
    assert [window["films"] for window in content(tmp_path / "drift")["windows"]] == [60, 60, 60, 30]


def test_films_without_evidence_are_not_films_that_the_gate_accepts(
    bundle: Bundle, reference: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_weeks(bundle, tmp_path / "stream", QUIET)
    (folder / "week1.csv.gate.csv").unlink()
    table = pd.read_csv(folder / "week1.csv").assign(taken="2026-01-14")
    table.to_csv(folder / "week1.csv", index=False)
    words = ("--reference", reference, "--time-column", "taken", "--out", tmp_path / "drift")
    assert drift(bundle, folder, *words) == 0
    assert f"{len(table)} films have no evidence of a gate" in capsys.readouterr().out
    streams = pd.read_csv(tmp_path / "drift" / "streams.csv").set_index(["window", "stream"])["films"]
    assert [streams[week, "refused"] for week in range(3)] == [60, 0, 60]
    assert [streams[week, "view"] for week in range(3)] == [60, 0, 60]
    assert streams[1, "Effusion"] == 60


def test_names_that_come_again_every_week_are_other_films(bundle: Bundle, reference: Path, tmp_path: Path) -> None:
    names = [f"{number}.png" for number in range(60)]
    folder = write_weeks(bundle, tmp_path / "stream", [films.assign(image=names) for films in QUIET])
    assert drift(bundle, folder, "--reference", reference, "--out", tmp_path / "drift") == 0
    assert [window["films"] for window in content(tmp_path / "drift")["windows"]] == [60, 60, 60]


def test_a_time_of_a_removed_date_is_none(bundle: Bundle, reference: Path, tmp_path: Path) -> None:
    films = weekly(QUIET)
    films["time"] = films["time"].astype(object)
    films.loc[0, "time"] = datetime(1, 1, 1, 9)
    path = write_films(tmp_path / "p.csv", films, bundle.digest)
    assert drift(bundle, path, "--reference", reference, "--out", tmp_path / "drift") == 0
    assert sum(window["films"] for window in content(tmp_path / "drift")["windows"]) == 179


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--window", "7w"), "--window 7w: days, such as 7d"),
        (("--reference", "first:none"), "--reference first:none"),
        (("--since", "yesterday's"), "--since yesterday's: a date"),
        (("--since", ""), "--since : a date"),
        (("--manifest", "m.csv"), "--time-column NAME"),
        (("--false-alarm-every", "1"), "--false-alarm-every 1.0: it must be at least 2"),
    ],
)
def test_wrong_use(
    bundle: Bundle, tmp_path: Path, words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_weeks(bundle, tmp_path / "stream", QUIET)
    reference = () if "--reference" in words else ("--reference", "first:2")
    assert drift(bundle, folder, *reference, "--out", tmp_path / "drift", *words) == 2
    assert message in capsys.readouterr().err


def test_mlflow_has_a_step_a_window(bundle: Bundle, reference: Path, elsewhere: Path, tracking_store: str) -> None:
    from mlflow.tracking import MlflowClient

    folder = write_weeks(bundle, elsewhere / "stream", [*QUIET, drawn_films(60, seed=5, wrong=0.3)])
    words = ("--reference", reference, "--out", elsewhere / "drift", "--experiment", "watched")
    assert drift(bundle, folder, *words) == 3
    client = MlflowClient(tracking_store)
    experiment = client.get_experiment_by_name("watched")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    steps = client.get_metric_history(run.info.run_id, "drift/alarm")
    assert sorted((step.step, step.value) for step in steps) == [(0, 0.0), (1, 0.0), (2, 0.0), (3, 1.0)]
    assert {"report.html", "windows.csv"} <= {file.path for file in client.list_artifacts(run.info.run_id)}
