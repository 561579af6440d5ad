"""The analyser: every film gets one answer, that of the bundle which took it up; whose fault an error is."""

import json
import logging
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest

from apps.node import analyser, bundle_keeper
from apps.node.analyser import Analyser, film_answer
from apps.node.settings import Destination, NodeSettings
from apps.node.spool import MAIN, SHADOW, Spool
from cxr_monai import predict_images
from cxr_monai.errors import BundleError, Code, StorageError
from cxr_monai.workflows.dicom_results import AnsweredFilm, DicomResults
from tests.support.node_films import answer_all, node_settings, receive
from tests.support.tiny_bundles import LABELS


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle_keeper, "FIRST_PAUSE_S", 0.0)
    monkeypatch.setattr(bundle_keeper, "LONGEST_PAUSE_S", 0.0)
    monkeypatch.setattr(bundle_keeper, "LOOK_S", 0.0)
    monkeypatch.setattr(analyser, "STORAGE_PAUSE_S", 0.0)


@pytest.fixture
def settings(tmp_path: Path, bundles: Path) -> NodeSettings:
    return node_settings(tmp_path, bundles / "first", [Destination("archive"), Destination("other", objects=("sr",))])


@pytest.fixture
def spool(settings: NodeSettings) -> Iterator[Spool]:
    opened = Spool(settings.spool)
    yield opened
    opened.close()


def rows(spool: Spool, query: str) -> list[tuple[Any, ...]]:
    with spool.transaction() as database:
        return database.execute(query).fetchall()


def states(spool: Spool, role: str = MAIN) -> dict[str, tuple[str, str, int]]:
    """State, code and attempts by digest."""
    found = rows(spool, f"SELECT digest, state, code, attempts FROM answers WHERE role = '{role}'")
    return {digest: tuple(values) for digest, *values in found}


def raise_over(monkeypatch: pytest.MonkeyPatch, digest: str, error: Exception) -> None:
    """Let the library raise over one film, when it is its turn in its batch."""
    answer = DicomResults.answer

    def answer_or_raise(results: DicomResults, *words: Any) -> Iterator[AnsweredFilm]:
        for answered in answer(results, *words):
            if answered.name == f"{digest}.dcm":
                raise error
            yield answered

    monkeypatch.setattr(DicomResults, "answer", answer_or_raise)


def test_films_are_answered_as_predict_does(settings: NodeSettings, spool: Spool, films: list[Path]) -> None:
    digests = receive(spool, films)
    answer_all(settings)

    assert states(spool) == dict.fromkeys(digests, ("answered", "", 1))
    predicted = predict_images(settings.analyse.bundle, [spool.film_path(digest) for digest in digests])
    for record, row in zip(spool.records(MAIN), predicted.table.itertuples(), strict=True):
        assert record.probabilities == pytest.approx({name: getattr(row, name) for name in LABELS}, abs=1e-6)
    objects = rows(spool, "SELECT uid, digest, kind FROM objects")
    assert sorted(digest for _, digest, _ in objects) == sorted(digests)
    assert {path.stem for path in spool.results.iterdir()} == {uid for uid, _, _ in objects}
    # the destination that wants reports gets no pictures
    assert rows(spool, "SELECT DISTINCT destination, state FROM deliveries") == [("archive", "waiting")]
    assert rows(spool, "SELECT DISTINCT bundle FROM answers") == [(predicted.about["bundle"],)]
    about = spool.bundles()[predicted.about["bundle"]]
    assert about.pop("labels") == list(LABELS)
    assert about == json.loads(json.dumps({**predicted.about, "gate": about["gate"]}))


def test_what_cannot_be_analysed_is_refused_with_its_code(
    tmp_path: Path, settings: NodeSettings, spool: Spool, bundles: Path, films: list[Path]
) -> None:
    cut = tmp_path / "cut.dcm"
    cut.write_bytes(films[0].read_bytes()[:-2000])
    knee = pydicom.dcmread(films[1])
    knee.Modality = "CT"
    knee.save_as(tmp_path / "ct.dcm")
    digests = receive(spool, [cut, tmp_path / "ct.dcm", films[2]])
    answer_all(node_settings(tmp_path, bundles / "strict"))

    assert [code for _, code, _ in map(states(spool).get, digests)] == [  # type: ignore[misc]
        "radiograph-truncated", "radiograph-wrong-modality", "gate-unlike-training",
    ]  # fmt: skip
    # the one that can be read has a picture that says why
    assert rows(spool, "SELECT digest FROM objects") == [(digests[2],)]
    assert [record.probabilities for record in spool.records(MAIN)] == [None] * 3
    assert all(record.reason and str(spool.folder) not in record.reason for record in spool.records(MAIN))


def test_a_reason_names_no_uid_and_no_path() -> None:
    answered = AnsweredFilm(
        "a.dcm", ("radiograph-undecodable", "/s/films/a.dcm: 1.2.840.113.7.99 is odd; v1.2.3, 0.25")
    )

    assert film_answer(answered, "/s/films/a.dcm").reason == "the film: <uid> is odd; v1.2.3, 0.25"


def test_films_wait_for_a_bundle_that_cannot_be_loaded(
    tmp_path: Path, settings: NodeSettings, spool: Spool, bundles: Path, films: list[Path]
) -> None:
    folder = tmp_path / "bundle"
    receive(spool, films[:2])
    waiting = Analyser(spool, node_settings(tmp_path, folder))

    assert not waiting.answer_some(threading.Event())
    assert [(part.name, part.state, part.code) for part in spool.parts()] == [("analyse", "failed", "bundle-invalid")]
    assert states(spool) == {}
    shutil.copytree(bundles / "first", folder)
    assert waiting.answer_some(threading.Event())
    assert [(part.name, part.state, part.text) for part in spool.parts()] == [("analyse", "running", "")]
    assert {state for state, _, _ in states(spool).values()} == {"answered"}


def test_a_film_is_answered_by_the_bundle_that_was_loaded_when_it_was_taken_up(
    tmp_path: Path, spool: Spool, bundles: Path, films: list[Path]
) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(bundles / "first", folder)
    working = Analyser(spool, node_settings(tmp_path, folder))
    [first] = receive(spool, films[:1])
    working.answer_some(threading.Event())
    # half of another bundle is there: the one that was loaded goes on, and the status says so
    weights = folder / "models" / "model.pt"
    weights.unlink()
    [second] = receive(spool, films[1:2])
    working.answer_some(threading.Event())
    [part] = spool.parts()
    assert (part.state, part.code) == ("running", "weights-missing")
    shutil.rmtree(folder)
    shutil.copytree(bundles / "second", folder)
    [third] = receive(spool, films[2:3])
    working.answer_some(threading.Event())

    answered_by = dict(rows(spool, "SELECT digest, bundle FROM answers"))
    assert answered_by[first] == answered_by[second] != answered_by[third]
    assert list(spool.bundles()) == [answered_by[first], answered_by[third]]
    assert [(part.state, part.code, part.text) for part in spool.parts()] == [("running", "", "")]


def test_a_film_over_which_the_library_raises_fails_alone(
    settings: NodeSettings,
    spool: Spool,
    films: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    digests = receive(spool, films)
    raise_over(monkeypatch, digests[1], ValueError("Doe^John"))
    caplog.set_level(logging.INFO)
    answer_all(settings)

    found = states(spool)
    assert found.pop(digests[1]) == ("failed", "system-error", 3)
    assert {state for state, _, _ in found.values()} == {"answered"}
    # those before it in its batch were answered at once, those behind it alone, and those of the next batch together
    assert [found[digest][2] for digest in digests if digest in found] == [1, 2, 2, 1, 1]
    tried = [line for line in caplog.messages if line.startswith(digests[1][:12])]
    assert [line.partition(", attempt ")[2][:6] for line in tried] == ["1 of 3", "2 of 3", "3 of 3"]
    assert all("ValueError at test_analyser.py" in line for line in tried)
    assert "Doe" not in caplog.text


def test_an_error_of_the_bundle_is_no_films(
    settings: NodeSettings, spool: Spool, films: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = receive(spool, films)
    working = Analyser(spool, settings)
    with monkeypatch.context() as broken:
        raise_over(broken, digests[1], RuntimeError("the device is gone"))
        check = DicomResults.check

        def check_or_raise(results: DicomResults) -> None:
            if rows(spool, "SELECT * FROM answers"):  # it was loaded, and breaks then
                raise RuntimeError("the device is gone")
            check(results)

        broken.setattr(DicomResults, "check", check_or_raise)
        assert working.answer_some(threading.Event())
        for _ in range(5):
            assert not working.answer_some(threading.Event())
        assert [(part.state, part.code) for part in spool.parts()] == [("failed", "system-error")]
        assert "RuntimeError at test_analyser.py" in spool.parts()[0].text
        assert states(spool) == {digests[0]: ("answered", "", 1)}
    answer_all(settings)
    assert states(spool) == dict.fromkeys(digests, ("answered", "", 1))


def test_a_full_disk_is_waited_for_and_no_films_fault(
    settings: NodeSettings, spool: Spool, films: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = receive(spool, films[:2])
    store, stop, times = Spool.store_answer, threading.Event(), []

    def store_or_raise(self: Spool, digest: str, *words: Any) -> None:
        times.append(digest)
        if len(times) < 6:
            raise StorageError(Code.DISK_FULL, "the disk is full.")
        store(self, digest, *words)
        if len(times) == 7:
            stop.set()

    monkeypatch.setattr(Spool, "store_answer", store_or_raise)
    analyser.run_analyser(settings, stop)

    assert states(spool) == dict.fromkeys(digests, ("answered", "", 1))


def test_told_to_end_it_finishes_the_film_and_leaves_the_rest(
    settings: NodeSettings, spool: Spool, films: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = receive(spool, films)
    stop, store = threading.Event(), Spool.store_answer

    def store_and_stop(self: Spool, digest: str, *words: Any) -> None:
        store(self, digest, *words)
        if digest == digests[1]:
            stop.set()

    monkeypatch.setattr(Spool, "store_answer", store_and_stop)
    analyser.run_analyser(settings, stop)

    assert states(spool) == dict.fromkeys(digests[:2], ("answered", "", 1))
    assert [(part.name, part.state) for part in spool.parts()] == [("analyse", "ended")]


def test_what_comes_while_it_waits_is_answered(settings: NodeSettings, spool: Spool, films: list[Path]) -> None:
    stop = threading.Event()
    thread = threading.Thread(target=analyser.run_analyser, args=(settings, stop))
    thread.start()
    try:
        for film in films[:2]:
            [digest] = receive(spool, [film])
            for _ in range(600):
                if digest in states(spool) and states(spool)[digest][0] == "answered":
                    break
                stop.wait(0.1)
            assert states(spool)[digest][0] == "answered"
    finally:
        stop.set()
        thread.join()


def test_the_shadow_answers_after_the_main_bundle_and_nothing_of_it_is_sent(
    tmp_path: Path, spool: Spool, bundles: Path, films: list[Path]
) -> None:
    settings = node_settings(
        tmp_path, bundles / "first", [Destination("archive")], shadow_bundle=str(bundles / "second")
    )
    digests = receive(spool, films)
    answer_all(settings)

    assert states(spool) == states(spool, SHADOW) == dict.fromkeys(digests, ("answered", "", 1))
    done = rows(spool, "SELECT role FROM answers ORDER BY done_at")
    assert [role for (role,) in done] == [MAIN] * 6 + [SHADOW] * 6
    assert len(rows(spool, "SELECT * FROM objects")) == len(list(spool.results.iterdir())) == len(digests)
    main, shadow = ([record.probabilities for record in spool.records(role)] for role in (MAIN, SHADOW))
    predicted = predict_images(bundles / "second", [spool.film_path(digest) for digest in digests]).table
    for given, row in zip(shadow, predicted.itertuples(), strict=True):
        assert given == pytest.approx({name: getattr(row, name) for name in LABELS}, abs=1e-6)
    assert main != shadow


def test_a_shadow_that_cannot_be_loaded_changes_nothing_for_the_main_bundle(
    tmp_path: Path, spool: Spool, bundles: Path, films: list[Path]
) -> None:
    digests = receive(spool, films[:2])
    answer_all(node_settings(tmp_path, bundles / "first", shadow_bundle=str(tmp_path / "nothing")))

    assert {digest: state for digest, (state, _, _) in states(spool).items()} == dict.fromkeys(digests, "answered")
    assert [(part.name, part.state, part.code) for part in spool.parts()] == [
        ("analyse", "running", ""),
        ("shadow", "failed", "bundle-invalid"),
    ]


@pytest.mark.parametrize("is_restarted", [True, False])
def test_a_copy_of_an_earlier_film_is_noticed(
    is_restarted: bool, tmp_path: Path, settings: NodeSettings, spool: Spool, films: list[Path]
) -> None:
    [first] = receive(spool, films[:1])
    if is_restarted:
        answer_all(settings)
    again = pydicom.dcmread(films[0])
    again.StudyDescription = "sent by another machine"
    again.save_as(tmp_path / "again.dcm")
    [second] = receive(spool, [tmp_path / "again.dcm"])
    answer_all(settings)

    evidence = {record.digest: record.evidence or {} for record in spool.records(MAIN)}
    assert (evidence[first]["code"], evidence[first]["duplicate_of"]) == ("", "")
    assert (evidence[second]["code"], evidence[second]["duplicate_of"]) == ("gate-duplicate", f"{first}.dcm")


def test_copies_are_looked_for_among_so_many_films(
    tmp_path: Path, settings: NodeSettings, spool: Spool, films: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle_keeper, "DUPLICATES_AMONG", 2)
    receive(spool, films)
    working = Analyser(spool, settings)
    while working.answer_some(threading.Event()):
        pass
    loaded = working.keepers[0].loaded
    assert loaded is not None
    assert len(loaded.recent.films._names) <= 4
    assert len(loaded.recent._last) == 2


def test_a_rule_that_the_bundle_does_not_have_is_the_status(
    tmp_path: Path, spool: Spool, bundles: Path, films: list[Path]
) -> None:
    receive(spool, films[:1])
    answer_all(node_settings(tmp_path, bundles / "first", rule="nonsense"))

    assert [(part.state, part.code) for part in spool.parts()] == [("failed", "setting-invalid")]


def test_a_bundle_that_computes_nothing_is_noticed_when_it_is_loaded(
    settings: NodeSettings, spool: Spool, films: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*words: Any, **settings: Any) -> None:
        raise BundleError(Code.BUNDLE_INVALID, "it computes nothing.")

    receive(spool, films[:1])
    monkeypatch.setattr("cxr_monai.inference.model.Model.logits_and_features", gone)
    answer_all(settings)

    assert [(part.state, part.code) for part in spool.parts()] == [("failed", "bundle-invalid")]
    assert states(spool) == {}


def test_a_log_has_no_lines_of_progress(
    settings: NodeSettings,
    spool: Spool,
    films: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("CXR_MONAI_PROGRESS_SECONDS", "0.001")
    receive(spool, films)
    answer_all(settings)

    assert len(states(spool)) == len(films)
    assert capsys.readouterr().err == ""
