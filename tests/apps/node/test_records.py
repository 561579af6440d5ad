"""Records of the node's answers, as ``cxr-monai predict`` writes them, and as evaluate and drift read them."""

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from apps.node.records import write_records
from apps.node.settings import NodeSettings
from apps.node.spool import MAIN, SHADOW, Spool
from apps.node.spooled import FilmAnswer
from cxr_monai.cli import main
from cxr_monai.data.phantom import make_phantoms
from cxr_monai.errors import UsageError
from tests.support.bundle_runs import code_of
from tests.support.gates import with_gate
from tests.support.node_films import answer_all, node_settings, receive
from tests.support.once import once
from tests.support.tiny_bundles import tiny_bundle

FILMS = 130


@pytest.fixture(scope="session")
def answered_node(tmp_path_factory: pytest.TempPathFactory) -> NodeSettings:
    """A node that has answered phantoms, with a shadow beside it; do not change its spool."""

    def make(folder: Path) -> NodeSettings:
        make_phantoms(folder / "P", FILMS, 64, seed=5, workers=1, masks=False, dicom=True, progress=False)
        first, second = (with_gate(tiny_bundle(folder / f"bundle{seed}", seed), 1e12) for seed in (0, 1))
        settings = node_settings(folder, first, shadow_bundle=str(second), objects=(), batch_size=16)
        spool = Spool(settings.spool)
        receive(spool, sorted((folder / "P" / "dicom").rglob("*.dcm")))
        spool.close()
        answer_all(settings)
        return settings

    return once(tmp_path_factory, "answered-node", make)


@pytest.fixture
def spool(answered_node: NodeSettings) -> Iterator[Spool]:
    opened = Spool(answered_node.spool)
    yield opened
    opened.close()


def test_records_are_what_predict_writes(answered_node: NodeSettings, spool: Spool, tmp_path: Path) -> None:
    [records] = write_records(spool, tmp_path)
    films = [spool.film_path(record.digest) for record in spool.records(MAIN)]
    assert main(["predict", answered_node.analyse.bundle, *map(str, films), "--out", str(tmp_path / "p.csv")]) == 0

    assert (records.answered, records.others, records.films) == (FILMS, 0, FILMS)
    assert records.predictions.parent.name == f"main-{records.bundle[:12]}"
    assert json.loads(Path(f"{records.predictions}.json").read_text()) == json.loads(
        (tmp_path / "p.csv.json").read_text()
    )
    for name in ("", ".gate.csv"):
        ours, theirs = (pd.read_csv(f"{path}{name}") for path in (records.predictions, tmp_path / "p.csv"))
        theirs["image"] = theirs["image"].str.rpartition("/")[2]  # predict names a film by its path
        pd.testing.assert_frame_equal(ours, theirs, rtol=1e-5, atol=1e-6)


def test_refused_and_failed_films_stand_in_the_errors(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    for number, content in enumerate((b"a", b"b", b"c", b"d")):
        part = spool.incoming / "part"
        part.write_bytes(content)
        spool.now = lambda number=number: 100.0 + number  # type: ignore[misc]
        spool.take_in(part, "1", "1", "CT1")
    digests = [film.digest for film in spool.take_up(MAIN, "b" * 64, 3, 3)]
    spool.add_bundle("b" * 64, {"bundle": "b" * 64, "labels": ["Mass"], "calibrated": False})
    spool.store_answer(digests[0], MAIN, FilmAnswer("answered", probabilities={"Mass": 0.25}, remarks="odd"), {})
    spool.store_answer(digests[1], MAIN, FilmAnswer("refused", "gate-lateral", "a lateral"), {})
    spool.store_answer(digests[2], MAIN, FilmAnswer("failed", "system-error", "ended"), {})
    [records] = write_records(spool, tmp_path / "out")

    assert (records.answered, records.others) == (1, 2)
    assert records.predictions.read_text() == f"image,Mass\n{digests[0]}.dcm,0.25\n"
    assert Path(f"{records.predictions}.errors.csv").read_text() == (
        f"image,code,reason\n{digests[1]}.dcm,gate-lateral,a lateral\n{digests[2]}.dcm,system-error,ended\n"
    )
    assert json.loads(Path(f"{records.predictions}.json").read_text()) == {
        "bundle": "b" * 64, "calibrated": False, "notes": {"odd": 1}
    }  # fmt: skip
    assert not Path(f"{records.predictions}.gate.csv").exists()
    received = [f"{digest}.dcm,{datetime.fromtimestamp(100 + at).isoformat()}" for at, digest in enumerate(digests)]
    assert (records.predictions.parent / "received.csv").read_text().splitlines() == ["image,received", *received]
    assert write_records(spool, tmp_path / "none", SHADOW) == []
    assert not (tmp_path / "none").exists()
    with pytest.raises(UsageError) as error:
        write_records(spool, tmp_path / "out")
    assert code_of(error) == "output-exists"
    [records] = write_records(spool, tmp_path / "out", since=101, until=102, force=True)
    assert (records.answered, records.others) == (0, 1)
    assert not records.predictions.exists()  # of the film that was answered nothing is left over
    spool.close()


def test_drift_reads_the_records_of_both_bundles(
    answered_node: NodeSettings, spool: Spool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for role, bundle in ((MAIN, answered_node.analyse.bundle), (SHADOW, answered_node.analyse.shadow_bundle)):
        [records] = write_records(spool, tmp_path / role, role)
        words = ["--reference", "first:5", "--window", "20", "--out", str(tmp_path / f"drift-{role}")]
        if role == SHADOW:  # as of a bundle without a gate: nobody read the headers' times
            Path(f"{records.predictions}.gate.csv").unlink()
            words += ["--time-column", "received", "--manifest", str(records.predictions.parent / "received.csv")]
        assert main(["drift", bundle, str(records.predictions.parent), *words]) in (0, 3)
        result = json.loads((tmp_path / f"drift-{role}" / "drift.json").read_text())
        provenance = result["provenance"]
        assert (provenance["digest"], provenance["films"]) == (records.bundle, FILMS)
        assert provenance["reference_films"] == 100


def test_evaluate_compares_the_shadow_with_the_main_bundle(
    answered_node: NodeSettings, spool: Spool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    [main_records], [shadow_records] = (write_records(spool, tmp_path, role) for role in (MAIN, SHADOW))
    labels, manifest = tmp_path / "labels.csv", tmp_path / "manifest.csv"
    images = [f"{record.digest}.dcm" for record in spool.records(MAIN)]
    known = pd.DataFrame({"image": images, "Effusion": [0, 1] * (FILMS // 2), "Mass": [0, 0, 0, 1, 1] * (FILMS // 5)})
    known.to_csv(labels, index=False)
    words = ["dicom", str(spool.films), "--labels", str(labels), "--out", str(manifest)]
    assert main(["manifest", *words]) == 0
    words = ["--compare", str(shadow_records.predictions), "--manifest", str(manifest), "--replicates", "20"]
    assert main(["evaluate", "--predictions", str(main_records.predictions), *words, "--out", str(tmp_path / "e")]) == 0

    metrics = pd.read_csv(tmp_path / "e" / "metrics.csv").set_index("finding")
    assert metrics.loc["Effusion", ["images", "positives"]].tolist() == [FILMS, FILMS // 2]
    comparison = pd.read_csv(tmp_path / "e" / "comparison.csv").set_index("finding")
    scores = [pd.read_csv(records.predictions) for records in (main_records, shadow_records)]
    ours, theirs = (roc_auc_score(known["Effusion"], table["Effusion"]) for table in scores)
    assert comparison.loc["Effusion", "difference"] == pytest.approx(theirs - ours, abs=1e-6)
