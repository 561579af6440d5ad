"""Whatever a stranger's file holds, looking at it ends: in linear time, within a budget, with a code."""

import json
import runpy
import shutil
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from cxr_monai import budget
from cxr_monai.budget import OverBudget, check_time, limited
from cxr_monai.bundle.bundle_folder import Bundle
from cxr_monai.errors import CxrError, SharingError
from cxr_monai.evaluation.evaluation_folder import read_evaluation
from cxr_monai.evaluation.fitted import read_calibration
from cxr_monai.networks.weights_files import examine_weights
from cxr_monai.sharing.inspection import bundle_inspection
from cxr_monai.sharing.inspection.bundle_inspection import inspect_bundle
from cxr_monai.sharing.inspection.picture_files import picture_problem
from cxr_monai.sharing.inspection.texts import markdown_problems
from cxr_monai.sharing.package.file_list import list_problems, read_contents
from cxr_monai.sharing.package.pack import refuse_inspected
from cxr_monai.sharing.trust import lineage
from cxr_monai.sharing.trust.lineage import LinkState, read_lineage, trace_lineage
from cxr_monai.strict_json import parse_strictly
from tests.support.bundle_runs import SHIPPED

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "fuzz_bundles.py"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """The least that is one."""
    root = tmp_path / "bundle"
    for folder in ("configs", "docs", "models"):
        (root / folder).mkdir(parents=True)
    (root / "configs" / "inference.json").write_text("{}")
    (root / "configs" / "metadata.json").write_text('{"name": "a", "version": "1.0"}')
    return root


# the budget


def test_budget_ends_what_it_holds_and_nothing_else() -> None:
    check_time()
    with limited(1000):
        check_time()
        with limited(0), pytest.raises(OverBudget) as error:
            check_time()
        assert error.value.seconds == 0
        check_time()
    check_time()


def test_a_larger_budget_within_a_smaller_one_adds_nothing() -> None:
    with limited(0), limited(1000), pytest.raises(OverBudget):
        check_time()


def test_short_steps_look_at_the_clock_first_and_then_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[None] = []
    monkeypatch.setattr(budget.time, "thread_time", lambda: looks.append(None) or 0.0)
    with limited(1):
        for _ in range(10 * budget.EVERY):
            check_time(short=True)
    assert len(looks) == 1 + 10


def test_what_takes_too_long_is_refused_with_a_code(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle_inspection, "INSPECTION_SECONDS", 0.0)
    (remark,) = inspect_bundle(bundle).refused
    assert remark.kind == "time"
    with pytest.raises(SharingError, match="seconds of a processor") as error:
        refuse_inspected(bundle, bundle)
    assert error.value.code == "bundle-refused"


def png(path: Path) -> None:
    path.write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\0IDAT" + zlib.crc32(b"IDAT").to_bytes(4))


READERS: dict[str, Callable[[Path], Any]] = {
    "JSON": lambda path: parse_strictly(b"[]"),
    "weights": lambda path: (torch.save({"weight": torch.zeros(2)}, path / "a.pt"), examine_weights(path / "a.pt")),
    "PNG": lambda path: (png(path / "a.png"), picture_problem(path / "a.png", png=True)),
    "Markdown": lambda path: list(markdown_problems("<b>")),
}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_every_reader_asks_for_the_time(read: Callable[[Path], Any], tmp_path: Path) -> None:
    with limited(0), pytest.raises(OverBudget):
        read(tmp_path)


# linear time: a list eight times as long takes eight times the time, and not sixty-four times

LONG: dict[str, Callable[[int], dict[str, Any]]] = {
    "imports": lambda count: {"imports": ["$import os"] * count},
    "imports under names": lambda count: {"imports": [f"$import os as a{n}" for n in range(count)]},
    "imports, and what uses them": lambda count: {
        "imports": [f"$import os as a{n}" for n in range(count)], "x": [f"$a{n}.path" for n in range(count)]},
    "imports in lists, and references": lambda count: {
        **{f"a{n}": ["$import os"] for n in range(count)}, "x": [f"@y{n}" for n in range(count)]},
    "imports within keys": lambda count: {"#".join("abcdefgh" * 25) + f"#{n}": "$import os" for n in range(count)},
    "contradicting imports": lambda count: {
        "imports": [f"$import {('os', 'glob')[n % 2]} as g{n // 2}" for n in range(count)]},
}  # fmt: skip


@pytest.mark.parametrize("config", LONG.values(), ids=LONG)
def test_long_lists_of_imports_are_judged_in_linear_time(config: Callable[[int], dict[str, Any]], bundle: Path) -> None:
    def taken(count: int) -> float:
        (bundle / "configs" / "train.json").write_text(json.dumps(config(count)))
        began = time.thread_time()
        inspect_bundle(bundle)
        return time.thread_time() - began

    assert min(taken(4000) for _ in range(3)) < 32 * min(taken(500) for _ in range(3))


def test_imports_in_too_many_places_are_refused(bundle: Path) -> None:
    for number, name in enumerate(("train.json", "evaluate.json")):
        keys = {"#".join(f"{number}x{place}x{part}" for part in range(80)): "$import os" for place in range(1500)}
        (bundle / "configs" / name).write_text(json.dumps(keys))
    (remark,) = inspect_bundle(bundle).refused
    assert (remark.file, remark.reason) == ("configs", "its imports stand in more than 200,000 places.")


@pytest.mark.parametrize("name", ["a/" * 1_000_000 + "b", "/" * 1_000_000, "a" * 1_000_000, "." * 1_000_000])
def test_a_name_of_a_megabyte_is_one_problem(name: str) -> None:
    (problem,) = list_problems([name])
    assert len(problem) < 400


# JSON that ends in no traceback

HOSTILE = {
    "100,000 brackets": b"[" * 100_000,
    "100,000 objects": b'{"a":' * 100_000,
    "a list": b"[]",
    "nothing": b"",
    "half a file": b'{"a": ',
    "a key twice": b'{"format": 1, "format": 1}',
    "no text": b"\xff\xfe",
    "5 MB": b'{"a": "' + b"a" * (5 << 20) + b'"}',
    "a number of 5,000 digits": b'{"format": ' + b"9" * 5000 + b"}",
    "a small object": b"{}",
}
FILES: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "models/calibration.json": (
        "calibration-invalid", lambda root: read_calibration(root / "models" / "calibration.json", ["a"])),
    "lineage.json": ("lineage-invalid", read_lineage),
    "metrics.json": ("evaluation-invalid", read_evaluation),
    "bundle.manifest.json": ("archive-invalid", lambda root: read_contents(root / "bundle.manifest.json")),
    "configs/metadata.json": ("bundle-invalid", Bundle.open),
    "configs/inference.json": ("bundle-invalid", Bundle.open),
}  # fmt: skip


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("name", FILES)
def test_json_of_a_bundle_is_refused_by_the_inspection_and_with_a_code_by_what_reads_it(
    name: str, content: bytes, bundle: Path
) -> None:
    (bundle / name).write_bytes(content)
    if content != b"{}":
        assert [remark.file for remark in inspect_bundle(bundle).refused] == [name]
    code, read = FILES[name]
    if content != b"{}" or code != "bundle-invalid":
        with pytest.raises(CxrError) as error:
            read(bundle)
        assert error.value.code == code


def code_of(read: Callable[[], Any]) -> str:
    """Return the code of the error that comes of it, "" for none."""
    try:
        read()
    except CxrError as error:
        return error.code.value
    return ""


VALUES = [None, 5, 10**400, "a", [], {}, True, [{}], {"a": 1}]


@pytest.mark.parametrize("value", VALUES, ids=str)
@pytest.mark.parametrize("key", ["operating_points", "calibration", "prevalence", "conformal", "fitted_on", "notes"])
def test_calibration_with_other_types_is_refused_with_its_code_or_read(key: str, value: Any, bundle: Path) -> None:
    row = {"operating_points": {}, "calibration": [], "prevalence": 0.5}
    content = {"format": 1, "findings": {"a": row}, "conformal": None, "fitted_on": {}, "notes": [], "within": {}}
    (row if key in row else content)[key] = value
    path = bundle / "models" / "calibration.json"
    path.write_text(json.dumps(content))
    assert code_of(lambda: read_calibration(path, ["a"])) in ("", "calibration-invalid")


@pytest.mark.parametrize("channels", [{"0": ["a"]}, {"@4": "a"}, [["a"]], 5, {"0": {}}], ids=str)
def test_metadata_with_other_types_is_refused_with_a_code(channels: Any, tmp_path: Path) -> None:
    root = Path(shutil.copytree(SHIPPED, tmp_path / "bundle"))
    metadata = json.loads((root / "configs" / "metadata.json").read_text())
    metadata["network_data_format"]["outputs"]["pred"]["channel_def"] = channels
    (root / "configs" / "metadata.json").write_text(json.dumps(metadata))
    assert code_of(lambda: Bundle.open(root)) in ("bundle-invalid", "bundle-disagrees")


def test_a_long_line_of_ancestors_ends(bundle: Path) -> None:
    def generation(parents: list[str]) -> dict[str, Any]:
        told: dict[str, Any] = {"data": {}, "settings": {}, "software": {}, "measured": {}}
        return {"name": "a", "version": "1.0", "made_by": "", "parents": parents, **told}

    digests = [f"{number:064x}" for number in range(lineage.MOST_ANCESTORS)]
    following = [[digest] for digest in digests[1:]] + [[]]
    ancestors = {digest: generation(parents) for digest, parents in zip(digests, following, strict=True)}
    content = {"format": 1, "own": generation(digests[:1]), "ancestors": ancestors}
    (bundle / "lineage.json").write_text(json.dumps(content))
    tree = trace_lineage(bundle, [])
    nodes = list(tree.walk())
    assert len(nodes) == 2 + lineage.MOST_GENERATIONS
    assert (nodes[-1].state, nodes[-1].explanation) == (LinkState.DAMAGED, "there are more than 100 generations")
    assert len(tree.lines()) >= len(nodes)


# everything at once


def test_damaged_archives_and_configurations_are_refused_with_codes_or_accepted() -> None:
    """A quick version of ``scripts/fuzz_bundles.py``."""
    fuzzer = runpy.run_path(str(SCRIPT))["fuzz"](archives=50, configurations=30, seed=2)
    assert not [result for result in fuzzer.counts if result.endswith("FINDING")]
    assert sum(fuzzer.counts.values()) == 3 * 50 + 30
    assert {result.split(": ")[1] for result in fuzzer.counts} >= {"accepted", "archive-invalid", "bundle-refused"}
