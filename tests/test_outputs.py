"""The place of a result: looked at before the work, filled with all files or none; readers ask for the mark."""

import errno
import hashlib
import json
import os
from pathlib import Path

import pytest

from cxr_monai.completion import require_complete, require_own, seal
from cxr_monai.durable import durable_file, durable_folder, write_durably
from cxr_monai.errors import BundleError, Code, CxrError, EvaluationError, StorageError, UsageError
from cxr_monai.outputs import check_folder, check_new_folder, check_output, result_folder


def tree(folder: Path) -> dict[str, bytes | None]:
    """Every file and folder below one, hidden ones included."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def code_of(function, *arguments, **named) -> Code:
    with pytest.raises(CxrError) as caught:
        function(*arguments, **named)
    return caught.value.code


def fail_in(block, error: BaseException) -> None:
    with block as made:
        fill(made, 2, "metrics.csv")
        raise error


# folders that appear whole


def test_a_folder_appears_when_its_block_ends(tmp_path: Path) -> None:
    with durable_folder(tmp_path / "a" / "bundle") as made:
        (made / "deep").mkdir()
        (made / "deep" / "file").write_bytes(b"new")
        assert not (tmp_path / "a" / "bundle").exists()
    assert tree(tmp_path / "a") == {"bundle": None, "bundle/deep": None, "bundle/deep/file": b"new"}


@pytest.mark.parametrize("replace", [False, True])
@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt(), BundleError(Code.BUNDLE_INVALID, "no")]
)
def test_a_block_that_fails_leaves_what_was_there(error: BaseException, replace: bool, tmp_path: Path) -> None:
    if replace:
        write_durably(tmp_path / "bundle" / "file", b"old")
    before = tree(tmp_path)
    with pytest.raises((StorageError, KeyboardInterrupt, BundleError)) as caught:
        fail_in(durable_folder(tmp_path / "bundle", replace), error)
    assert tree(tmp_path) == before
    if isinstance(error, OSError):
        assert (caught.value.code, caught.value.where) == (Code.DISK_FULL, str(tmp_path / "bundle"))


def test_what_is_replaced_goes_and_what_a_killed_process_left_too(tmp_path: Path) -> None:
    write_durably(tmp_path / "bundle" / "older", b"old")
    write_durably(tmp_path / ".bundle.77.part" / "half", b"half")
    assert code_of(durable_folder(tmp_path / "bundle").__enter__) == Code.OUTPUT_EXISTS
    with durable_folder(tmp_path / "bundle", replace=True) as made:
        (made / "newer").write_bytes(b"new")
    assert tree(tmp_path) == {"bundle": None, "bundle/newer": b"new"}


def test_an_error_of_the_block_names_the_folder_that_the_user_gave(tmp_path: Path) -> None:
    with pytest.raises(CxrError) as caught, durable_folder(tmp_path / "bundle") as made:
        raise BundleError(Code.BUNDLE_INVALID, f"{made / 'x'} is bad.", where=made / "configs")
    assert caught.value.where == str(tmp_path / "bundle" / "configs")
    assert ".part" not in str(caught.value)


def test_a_name_as_long_as_can_be(tmp_path: Path) -> None:
    longest = "é" * 127
    write_durably(tmp_path / longest, b"content")
    with durable_folder(tmp_path / "f" / longest) as made:
        (made / "x").write_bytes(b"")
    assert (tmp_path / longest).read_bytes() == b"content"
    assert [path.name for path in (tmp_path / "f").iterdir()] == [longest]


def test_a_stream_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    write_durably(tmp_path / "file", b"old")
    stream = durable_file(tmp_path / "file")
    stream.__enter__().write(b"new")
    assert not stream.__exit__(ZeroDivisionError, ZeroDivisionError(), None)  # it is not swallowed
    assert tree(tmp_path) == {"file": b"old"}


# the place


def test_a_free_place_is_left_as_it_was(tmp_path: Path) -> None:
    check_output(tmp_path / "a" / "b.csv")
    check_folder(tmp_path / "c", ["x"])
    check_new_folder(tmp_path / "d" / "e")
    write_durably(tmp_path / "other" / "y", b"")
    check_folder(tmp_path / "other", ["x"])
    assert tree(tmp_path) == {"other": None, "other/y": b""}


def test_a_place_that_is_taken(tmp_path: Path) -> None:
    write_durably(tmp_path / "folder" / "x", b"old")
    for check in (
        lambda force: check_output(tmp_path / "folder" / "x", force),
        lambda force: check_folder(tmp_path / "folder", ["x", "y"], force),
        lambda force: check_new_folder(tmp_path / "folder", "x", force),
    ):
        with pytest.raises(UsageError, match="--force") as caught:
            check(False)
        assert caught.value.code == Code.OUTPUT_EXISTS
        check(True)
    assert code_of(check_new_folder, tmp_path / "folder", "x", outside=tmp_path, force=True) == Code.OUTPUT_EXISTS


def test_force_replaces_no_folder_of_another_kind(tmp_path: Path) -> None:
    write_durably(tmp_path / "home" / "thesis.tex", b"old")
    with pytest.raises(UsageError) as caught:
        check_new_folder(tmp_path / "home", "configs/metadata.json", force=True)
    assert caught.value.code == Code.OUTPUT_EXISTS
    assert "--force" not in str(caught.value)


@pytest.mark.parametrize("check", [check_output, check_new_folder, lambda path: check_folder(path, ["x"])])
def test_places_that_cannot_be_written(check, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    for path in (tmp_path / "file" / "deep" / "p.csv", tmp_path / ("n" * 256), tmp_path / "new" / ("n" * 256) / "p"):
        with pytest.raises(StorageError) as caught:
            check(path)
        assert (caught.value.code, caught.value.where) == (Code.WRITE_FAILED, str(path))
    assert tree(tmp_path) == {"file": b"old"}


def test_a_folder_where_a_file_should_be_and_the_other_way_round(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"old")
    assert code_of(check_output, tmp_path / "folder", force=True) == Code.WRITE_FAILED
    assert code_of(check_folder, tmp_path / "file", ["x"]) == Code.WRITE_FAILED


def test_too_little_room(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"MB are free, and at least 1,000,000,000,000\.0 MB are needed") as caught:
        check_output(tmp_path / "p.csv", room=10**18)
    assert caught.value.code == Code.DISK_FULL


# results of several files


def fill(made: Path, figure: int, *names: str) -> None:
    for name in names:
        write_durably(made / name, f"{name} {figure}".encode())
    write_durably(made / "metrics.json", json.dumps({"figure": figure}).encode())


@pytest.mark.parametrize("there", [False, True])
def test_a_result_has_all_of_its_files_and_says_so(there: bool, tmp_path: Path) -> None:
    if there:
        write_durably(tmp_path / "out" / "predictions.csv", b"mine")
    with result_folder(tmp_path / "out", "metrics.json") as made:
        fill(made, 1, "metrics.csv", "plots/a.png")
    content = json.loads((tmp_path / "out" / "metrics.json").read_text())
    digests = {name: hashlib.sha256(f"{name} 1".encode()).hexdigest() for name in ("metrics.csv", "plots/a.png")}
    assert content == {"figure": 1, "complete": {**digests, "this file": content["complete"]["this file"]}}
    require_complete(content, tmp_path / "out" / "metrics.json", "again")
    names = {"metrics.csv", "metrics.json", "plots", "plots/a.png"} | ({"predictions.csv"} if there else set())
    assert set(tree(tmp_path / "out")) == names


def test_an_earlier_result_stays_unless_forced_and_then_goes_whole(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with result_folder(out, "metrics.json") as made:
        fill(made, 1, "metrics.csv", "comparison.csv")
    write_durably(out / "mine.txt", b"mine")
    before = tree(out)
    assert code_of(result_folder(out, "metrics.json").__enter__) == Code.OUTPUT_EXISTS
    assert tree(out) == before
    with result_folder(out, "metrics.json", force=True) as made:
        fill(made, 2, "metrics.csv")
    assert set(tree(out)) == {"metrics.csv", "metrics.json", "mine.txt"}
    assert tree(out)["metrics.csv"] == b"metrics.csv 2"


def test_a_file_in_the_way_that_was_not_foreseen(tmp_path: Path) -> None:
    write_durably(tmp_path / "report.html", b"mine")
    before = tree(tmp_path)
    with pytest.raises(UsageError), result_folder(tmp_path, "metrics.json") as made:
        fill(made, 1, "report.html")
    assert tree(tmp_path) == before


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), ZeroDivisionError()])
def test_work_that_fails_leaves_the_earlier_result(error: Exception, tmp_path: Path) -> None:
    with result_folder(tmp_path, "metrics.json") as made:
        fill(made, 1, "metrics.csv")
    before = tree(tmp_path)
    with pytest.raises((StorageError, ZeroDivisionError)):
        fail_in(result_folder(tmp_path, "metrics.json", force=True), error)
    assert tree(tmp_path) == before


def test_a_kill_at_any_rename_leaves_a_result_that_is_whole_or_incomplete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    replace = os.replace
    for at in range(4):
        out = tmp_path / str(at)
        with result_folder(out, "metrics.json") as made:
            fill(made, 1, "metrics.csv", "report.html")
        left = at

        def killed(source: Path, target: Path, out: Path = out) -> None:
            nonlocal left
            if out in Path(target).parents and ".part" not in str(target):
                if left == 0:
                    raise Killed
                left -= 1
            replace(source, target)

        with monkeypatch.context() as patched, pytest.raises(Killed) if at < 3 else patched.context():
            patched.setattr(os, "replace", killed)
            with result_folder(out, "metrics.json", force=True) as made:
                fill(made, 2, "metrics.csv", "report.html")
        assert (out / "metrics.json").exists() == (at == 3)  # never an earlier mark beside newer files
    assert json.loads((out / "metrics.json").read_text())["figure"] == 2


def test_readers_refuse_what_is_not_complete(tmp_path: Path) -> None:
    with result_folder(tmp_path / "out", "metrics.json") as made:
        fill(made, 1, "metrics.csv")
    main = tmp_path / "out" / "metrics.json"
    content = json.loads(main.read_text())
    with pytest.raises(EvaluationError, match="interrupted, or an older version") as caught:
        require_complete({"figure": 1}, main, "cxr-monai evaluate")
    assert caught.value.code == Code.RESULT_INCOMPLETE
    (tmp_path / "out" / "metrics.csv").unlink()
    with pytest.raises(EvaluationError, match=r"missing: metrics\.csv") as caught:
        require_complete(content, main, "cxr-monai evaluate")
    assert caught.value.code == Code.RESULT_INCOMPLETE


@pytest.mark.parametrize("name", ["metrics.csv", "plots/a.png"])
@pytest.mark.parametrize("change", [lambda content: content[:-1], lambda content: b"", lambda content: b"X" + content])
def test_readers_refuse_a_file_that_was_cut_or_exchanged(name: str, change, tmp_path: Path) -> None:
    with result_folder(tmp_path, "metrics.json") as made:
        fill(made, 1, "metrics.csv", "plots/a.png")
    content = json.loads((tmp_path / "metrics.json").read_text())
    write_durably(tmp_path / name, change((tmp_path / name).read_bytes()))
    with pytest.raises(EvaluationError, match=f"cut or changed since it was written: {name}") as caught:
        require_complete(content, tmp_path / "metrics.json", "cxr-monai evaluate")
    assert caught.value.code == Code.RESULT_INCOMPLETE
    assert "Make it again: cxr-monai evaluate." in str(caught.value)


@pytest.mark.parametrize("keys", [range(12), [0.5, 10.5, 9.5], [None, True, 1]])
def test_a_mark_is_of_what_will_be_read_so_that_no_reader_refuses_it(keys, tmp_path: Path) -> None:
    content = {"figures": {key: (float(number), "x") for number, key in enumerate(keys)}}
    main = tmp_path / "figures.json"
    seal(content, tmp_path, [])
    main.write_text(json.dumps(content))
    require_complete(json.loads(main.read_text()), main, "again")
    require_complete(content, main, "again")


def test_readers_refuse_figures_that_were_changed_and_take_another_layout(tmp_path: Path) -> None:
    with result_folder(tmp_path, "metrics.json") as made:
        fill(made, 1)
    main = tmp_path / "metrics.json"
    content = json.loads(main.read_text())
    require_complete(dict(reversed(content.items())), main, "again")
    require_own({"figure": 2}, main, "again")  # of before there were marks: nothing is known
    for require in (require_complete, require_own):
        with pytest.raises(EvaluationError) as caught:
            require(content | {"figure": 2}, main, "again")
        assert caught.value.code == Code.RESULT_INCOMPLETE


@pytest.mark.parametrize("mark", [None, 7, "metrics.csv", True])
def test_a_mark_of_another_form_is_none(mark: object, tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="interrupted"):
        require_complete({"figure": 1, "complete": mark}, tmp_path / "metrics.json", "again")


def test_results_of_before_there_were_digests_have_a_list_of_names(tmp_path: Path) -> None:
    write_durably(tmp_path / "metrics.csv", b"any")
    require_complete({"complete": ["metrics.csv"]}, tmp_path / "metrics.json", "again")
    with pytest.raises(EvaluationError, match=r"missing: report\.html"):
        require_complete({"complete": ["metrics.csv", "report.html"]}, tmp_path / "metrics.json", "again")


def test_an_earlier_list_reaches_no_file_outside(tmp_path: Path) -> None:
    write_durably(tmp_path / "mine.txt", b"mine")
    write_durably(
        tmp_path / "out" / "metrics.json", json.dumps({"complete": ["../mine.txt", "/x", "a/../../mine.txt"]}).encode()
    )
    with result_folder(tmp_path / "out", "metrics.json", force=True) as made:
        fill(made, 2)
    assert (tmp_path / "mine.txt").read_bytes() == b"mine"
