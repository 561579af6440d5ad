"""Predictions that are written as they come: wherever the run was cut off, going on gives the same bytes."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from cxr_monai.durable import write_durably
from cxr_monai.errors import Code, EvaluationError, StorageError, TrainingError, UsageError
from cxr_monai.evaluation.gate_evidence import read_gate_evidence
from cxr_monai.evaluation.predictions import read_predictions, write_predictions
from cxr_monai.evaluation.streaming import PredictionRows, digest_of_list, part_of

FINDINGS = ("Effusion", "Mass")
ABOUT = {"bundle": "b" * 64, "calibrated": True}
HEAD = {**ABOUT, "batch_size": 2, "images": "i" * 64}
NAMES = ["plain.png", 'a "b", c.png', "# {}", "two\nlines.png", "é.png", "bad.png", "last.png"]
VALUES = np.random.default_rng(0).random((7, 2)).astype("float32")
LEFT_OUT = ("bad.png", "radiograph-empty", "no\nbytes, at all")


def go_on(path: Path, head: dict = HEAD, until: int = 7, force: bool = False) -> PredictionRows:
    """Predict what is left, two images at a time; finish if that is all."""
    rows = PredictionRows.open(path, FINDINGS, head, 7, force)
    for start in range(rows.done, until, 2):
        kept = [at for at in range(start, min(start + 2, 7)) if NAMES[at] != "bad.png"]
        errors = [LEFT_OUT] if 5 in range(start, start + 2) else []
        rows.add([NAMES[at] for at in kept], VALUES[kept], errors)
    if rows.done == 7:
        rows.finish(ABOUT)
    return rows


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def whole(tmp_path: Path) -> dict[str, bytes]:
    """What an uninterrupted run leaves."""
    (tmp_path / "whole").mkdir()
    go_on(tmp_path / "whole" / "p.csv")
    return files_of(tmp_path / "whole")


def test_it_is_what_is_written_at_once(whole: dict[str, bytes], tmp_path: Path) -> None:
    kept = [at for at in range(7) if at != 5]
    (tmp_path / "once").mkdir()
    write_predictions(
        tmp_path / "once" / "p.csv", [NAMES[at] for at in kept], VALUES[kept], FINDINGS, ABOUT, [LEFT_OUT]
    )
    assert files_of(tmp_path / "once") == whole
    assert set(whole) == {"p.csv", "p.csv.json", "p.csv.errors.csv"}
    assert read_predictions(tmp_path / "once" / "p.csv").about == ABOUT


def test_cut_off_at_any_byte_it_goes_on_to_the_same(whole: dict[str, bytes], tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    go_on(out / "p.csv", until=6)
    part = (out / "p.csv.part").read_bytes()
    head = part.index(b"\n") + 1
    assert json.loads(part[2:head]) == {**HEAD, "findings": list(FINDINGS)}
    done = set()
    for length in range(head, len(part) + 1):
        (out / "p.csv.part").write_bytes(part[:length])
        done.add(PredictionRows.open(out / "p.csv", FINDINGS, HEAD, 7).done)
        go_on(out / "p.csv")
        assert files_of(out) == whole
        (out / "p.csv").unlink()
    assert done == {0, 2, 4, 6}


def test_zeros_of_a_power_cut_are_no_rows(whole: dict[str, bytes], tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    go_on(out / "p.csv", until=4)
    with (out / "p.csv.part").open("ab") as file:
        file.write(bytes(100))
    assert go_on(out / "p.csv").predicted == 6
    assert files_of(out) == whole


@pytest.mark.parametrize("key", ["bundle", "calibrated", "batch_size", "images"])
def test_another_head_is_refused_and_named(key: str, tmp_path: Path) -> None:
    go_on(tmp_path / "p.csv", until=4)
    before = files_of(tmp_path)
    with pytest.raises(UsageError, match=f"differs in {key}") as caught:
        go_on(tmp_path / "p.csv", {**HEAD, key: "another"})
    assert caught.value.code == Code.OUTPUT_EXISTS
    assert files_of(tmp_path) == before
    assert PredictionRows.open(tmp_path / "p.csv", FINDINGS, {**HEAD, key: "another"}, 7, force=True).done == 0


def test_what_lies_there_and_is_no_part_is_refused(tmp_path: Path) -> None:
    write_durably(tmp_path / "p.csv.part", b"somebody's\n")
    with pytest.raises(UsageError):
        go_on(tmp_path / "p.csv")
    assert files_of(tmp_path) == {"p.csv.part": b"somebody's\n"}


def test_an_earlier_result_stays_unless_forced(whole: dict[str, bytes], tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_durably(out / "p.csv", b"image,Mass\na,1\n")
    before = files_of(out)
    with pytest.raises(UsageError) as caught:
        go_on(out / "p.csv")
    assert caught.value.code == Code.OUTPUT_EXISTS
    assert files_of(out) == before
    go_on(out / "p.csv", until=4, force=True)  # interrupted: the earlier one is there until the new one is whole
    assert (out / "p.csv").read_bytes() == b"image,Mass\na,1\n"
    assert PredictionRows.open(out / "p.csv", FINDINGS, HEAD, 7, force=True).done == 4
    go_on(out / "p.csv", force=True)
    assert files_of(out) == whole


@pytest.mark.parametrize("at", range(4))
def test_killed_while_the_files_take_their_places(
    at: int, whole: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every step: no table stands beside another one's .json, and the same command ends with the same files."""

    class Killed(BaseException):
        pass

    out, replace, placed = tmp_path / "out", os.replace, []
    for name in ("p.csv", "p.csv.json", "p.csv.errors.csv"):
        write_durably(out / name, b"old")
    go_on(out / "p.csv", until=6, force=True)

    def killed(source: Path, target: Path) -> None:
        if len(placed) == at:
            raise Killed
        placed.append(Path(target).name)
        replace(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", killed)
        with pytest.raises(Killed) if at < 3 else patched.context():
            go_on(out / "p.csv", force=True)
    there = {name: content for name, content in files_of(out).items() if name != "p.csv.part"}
    assert {name: there[name] for name in placed} == {name: whole[name] for name in placed}
    assert ("p.csv" in there) == (at == 3)  # in between there is none
    go_on(out / "p.csv", force=at == 3)
    assert files_of(out) == whole


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_disk_that_takes_no_more_keeps_what_is_done(
    number: int, whole: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    go_on(out / "p.csv", until=4)

    def full(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match="4 images are done and kept") as caught:
            go_on(out / "p.csv")
    assert caught.value.where == str(out / "p.csv")
    assert caught.value.code == (Code.WRITE_FAILED if number == errno.EIO else Code.DISK_FULL)
    assert go_on(out / "p.csv").predicted == 6
    assert files_of(out) == whole


def test_nothing_predicted_leaves_the_errors_alone(tmp_path: Path) -> None:
    rows = PredictionRows.open(tmp_path / "p.csv", FINDINGS, HEAD, 1)
    rows.add([], np.empty((0, 2)), [LEFT_OUT])
    rows.finish(ABOUT)
    assert set(files_of(tmp_path)) == {"p.csv.errors.csv"}
    assert part_of(tmp_path / "p.csv") == tmp_path / "p.csv.part"


def test_a_list_is_known_by_its_names_files_and_order() -> None:
    lists = [(["a", "b"], ["x", "y"]), (["b", "a"], ["y", "x"]), (["a", "b"], ["x", "z"]), (["a", "by"], ["x", ""])]
    assert len({digest_of_list(*each) for each in lists}) == 4
    assert digest_of_list(["a"], [Path("x")]) == digest_of_list(["a"], ["x"])


def test_a_bundles_own_evaluation_refuses_an_earlier_file_unless_forced(tmp_path: Path) -> None:
    from ignite.engine import Engine, Events

    from cxr_monai.training.handlers import PredictionsWriter

    write_durably(tmp_path / "predictions.csv", b"old")
    for force in (False, True):
        engine = Engine(lambda engine, batch: batch)
        PredictionsWriter(str(tmp_path / "predictions.csv"), FINDINGS, force=force).attach(engine)
        if force:
            engine.fire_event(Events.STARTED)
            continue
        with pytest.raises(UsageError, match="--force True"):
            engine.fire_event(Events.STARTED)
    assert files_of(tmp_path) == {"predictions.csv": b"old"}


def test_a_bundles_own_engine_leaves_out_by_place_not_by_name(tmp_path: Path) -> None:
    from ignite.engine import Engine, State

    from cxr_monai.training.handlers import PredictionsWriter

    engine = Engine(lambda engine, batch: batch)
    engine.state = State(batch={"name": ["scan", "scan"], "error": ["radiograph-empty: the file is empty.", ""]})
    engine.state.output = {"pred": torch.tensor([[9.0] * len(FINDINGS), [0.0] * len(FINDINGS)])}
    writer = PredictionsWriter(str(tmp_path / "predictions.csv"), FINDINGS)
    writer._start(engine)
    writer._collect(engine)
    writer._write(engine)
    assert engine.state.written[1] == ["scan"]
    assert engine.state.written[2].tolist() == [[0.5] * len(FINDINGS)]


def test_two_at_once_the_second_is_refused(whole: dict[str, bytes], tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = PredictionRows.open(out / "p.csv", FINDINGS, HEAD, 7)
    for head in (HEAD, {**HEAD, "batch_size": 3}):
        for force in (False, True):
            with pytest.raises(TrainingError, match="another process is writing it") as caught:
                PredictionRows.open(out / "p.csv", FINDINGS, head, 7, force)
            assert (caught.value.code, caught.value.where) == (Code.OUTPUT_LOCKED, str(out / "p.csv"))
    PredictionRows.open(out / "q.csv", FINDINGS, HEAD, 7)  # another file is free
    first.add(NAMES[:2], VALUES[:2])
    del first
    go_on(out / "p.csv")
    assert {name: content for name, content in files_of(out).items() if name[0] == "p"} == whole


def test_a_lock_that_a_killed_process_left_blocks_nobody(whole: dict[str, bytes], tmp_path: Path) -> None:
    """The other process says that it has begun, and is killed while it waits."""
    out = tmp_path / "out"
    code = (
        "import sys, time; from cxr_monai.evaluation.streaming import PredictionRows\n"
        f"rows = PredictionRows.open({str(out / 'p.csv')!r}, {FINDINGS!r}, {HEAD!r}, 7)\n"
        "print('begun', flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        with pytest.raises(TrainingError) as caught:
            go_on(out / "p.csv")
        process.kill()
    assert caught.value.code == Code.OUTPUT_LOCKED
    assert set(files_of(out)) == {"p.csv.part"}
    go_on(out / "p.csv")
    assert files_of(out) == whole


# ---------------------------------------------------------------- the gate's evidence

EVIDENCE = ("image", "gate", "code", "mended", "mendable", "score", "duplicate_of")


def evidence_of(positions: list[int]) -> pd.DataFrame:
    """A row for every film that could be read, refused ones too."""
    rows = [(NAMES[at], "refuse" if at == 2 else "accept", "", "", "", at / 7, "") for at in positions]
    return pd.DataFrame(rows, columns=list(EVIDENCE))


def go_on_gated(path: Path, until: int = 7) -> PredictionRows:
    rows = PredictionRows.open(path, FINDINGS, HEAD, 7, evidence=EVIDENCE)
    for start in range(rows.done, until, 2):
        read = [at for at in range(start, min(start + 2, 7)) if at != 5]
        kept = [at for at in read if at != 2]
        errors = [LEFT_OUT] if 5 in range(start, start + 2) else []
        errors += [(NAMES[2], "gate-rotated", "why")] if 2 in read else []
        rows.add([NAMES[at] for at in kept], VALUES[kept], errors, evidence=evidence_of(read))
    if rows.done == 7:
        rows.finish(ABOUT)
    return rows


def test_evidence_cut_off_at_any_byte_is_the_same_in_the_end(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    go_on_gated(out / "p.csv")
    whole = files_of(out)
    assert set(whole) == {"p.csv", "p.csv.json", "p.csv.errors.csv", "p.csv.gate.csv"}
    table = read_gate_evidence(out / "p.csv.gate.csv")
    assert list(table["image"]) == [name for name in NAMES if name != "bad.png"]
    assert list(table["score"]) == pytest.approx([at / 7 for at in range(7) if at != 5], abs=1e-6)
    assert json.loads(whole["p.csv.json"])["gate"] == {"films": {"accept": 5, "review": 0, "refuse": 1}}
    for name in whole:
        (out / name).unlink()
    go_on_gated(out / "p.csv", until=6)
    part = (out / "p.csv.part").read_bytes()
    for length in range(part.index(b"\n") + 1, len(part) + 1, 19):
        (out / "p.csv.part").write_bytes(part[:length])
        go_on_gated(out / "p.csv")
        assert files_of(out) == whole
        (out / "p.csv").unlink()


def test_another_gate_s_columns_do_not_go_on(tmp_path: Path) -> None:
    go_on_gated(tmp_path / "p.csv", until=4)
    with pytest.raises(UsageError, match="differs in evidence"):
        go_on(tmp_path / "p.csv")


def test_evidence_of_before_does_not_stand_beside_a_result_without(tmp_path: Path) -> None:
    go_on_gated(tmp_path / "p.csv")
    go_on(tmp_path / "p.csv", force=True)
    assert set(files_of(tmp_path)) == {"p.csv", "p.csv.json", "p.csv.errors.csv"}


@pytest.mark.parametrize("content", [b"", b"image,Mass\na,1\n", b"image,gate,code,score\na,accept,,much\n"])
def test_what_is_no_evidence_is_refused(content: bytes, tmp_path: Path) -> None:
    write_durably(tmp_path / "p.csv.gate.csv", content)
    with pytest.raises(EvaluationError, match="no evidence of a gate") as caught:
        read_gate_evidence(tmp_path / "p.csv.gate.csv")
    assert caught.value.code == Code.PREDICTIONS_INVALID
