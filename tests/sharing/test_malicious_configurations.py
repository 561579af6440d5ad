"""Configurations made to harm: what commands evaluate only reads and computes, and arguments are of their kind."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from monai.bundle import ConfigParser

from cxr_monai.bundle.evaluated import ENTRIES
from cxr_monai.bundle.shipped import shipped_bundles
from cxr_monai.cli import main
from cxr_monai.sharing.inspection.allowlist import allowed_lists, judge_callable
from cxr_monai.sharing.inspection.bundle_inspection import inspect_bundle
from cxr_monai.sharing.inspection.remarks import Verdict
from cxr_monai.sharing.inspection.signatures import argument_kinds
from scripts.sync_signatures import FILE, arguments, table
from tests.sharing.inspected_configurations import HONEST, LOAD, refused
from tests.support.tiny_bundles import tiny_bundle


def test_honest_one_passes(tmp_path: Path) -> None:
    assert refused(tmp_path, inference=HONEST) == ()
    assert {entry.split("::")[0] for entry in ENTRIES} - {"margin", "normalisation"} <= HONEST.keys()


# what commands evaluate

WRITER = {"_target_": "SaveClassificationd", "keys": "image", "filename": "ignite.py", "output_dir": "output"}

# How a component gets into what commands evaluate.
WAYS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "in place": lambda w: {"preprocessing": {"_target_": "Compose", "transforms": [LOAD, w]}},
    "itself": lambda w: {"preprocessing": w},
    "reference": lambda w: {"x": w, "preprocessing": {"_target_": "Compose", "transforms": [LOAD, "@x"]}},
    "reference into a list": lambda w: {
        "x": [1, {"y": w}], "preprocessing": {"_target_": "Compose", "transforms": [LOAD, "@x#1#y"]}},
    "chain of references": lambda w: {
        "x": w, "y": "@x", "z": "$@y", "preprocessing": {"_target_": "Compose", "transforms": [LOAD, "@z"]}},
    "macro": lambda w: {"x": w, "preprocessing": {"_target_": "Compose", "transforms": [LOAD, "%x"]}},
    "macro of the last": lambda w: {"x": [w], "preprocessing": {"_target_": "Compose", "transforms": [LOAD, "%x#-1"]}},
    "macro with blanks": lambda w: {"x": {"y": w}, "preprocessing": "%x# y "},
    "macro of the section": lambda w: {"x": {"y": w}, "preprocessing": {"_target_": "Compose", "more": "%x"}},
    "relative reference": lambda w: {
        "preprocessing": {"_target_": "Compose", "more": w, "transforms": [LOAD, "@##more"]}},
    "relative macro": lambda w: {"preprocessing": {"_target_": "Compose", "transforms": [LOAD, "%###x"]}, "x": w},
    "expression": lambda w: {"x": w, "preprocessing": {"_target_": "Compose", "transforms": "$[@x]"}},
    "lambda": lambda w: {
        "x": w, "preprocessing": {"_target_": "Compose", "transforms": [
            LOAD, {"_target_": "Lambdad", "keys": "image", "func": "$lambda image: @x(image)"}]}},
    "text of an expression": lambda w: {"x": w, "preprocessing": {"_target_": "Compose", "transforms": "$['@x']"}},
    "requirement": lambda w: {"x": w, "preprocessing": {"_target_": "Compose", "_requires_": "@x", "transforms": []}},
    "requirement in a list": lambda w: {"preprocessing": {"_target_": "Compose", "_requires_": [w]}},
    "switch": lambda w: {"x": w, "preprocessing": {"_target_": "Compose", "_disabled_": "$bool(@x)"}},
    "description": lambda w: {"x": w, "preprocessing": {"_target_": "Compose", "_desc_": "$@x"}},
    "disabled": lambda w: {"preprocessing": {"_target_": "Compose", "transforms": [w | {"_disabled_": "$1 > 2"}]}},
    "overlay's key": lambda w: {"preprocessing#transforms#1": w},
    "overlay's target": lambda w: {"preprocessing#transforms#0#_target_": w["_target_"]},
    "merge": lambda w: {"+preprocessing": {"transforms": [w]}},
    "network": lambda w: {"network_def": w},
    "argument of the network": lambda w: {"x": w, "network_def": {"_target_": "DenseNet121", "act": ["@x"]}},
    "network's size": lambda w: {"x": w, "network_def": {"_target_": "DenseNet121", "in_channels": "$len([@x])"}},
    "head": lambda w: {"head_def": {"_target_": "cxr_monai.components.classification_head", "groups": w}},
    "shape": lambda w: {"dataset": {"shape": [1, 2, w]}},
    "shape by reference": lambda w: {"x": w, "dataset": {"shape": [1, 2, "$@x"]}},
    "shape of a copied data set": lambda w: {"x": {"shape": [w]}, "dataset": "%x"},
    "shape by overlay": lambda w: {"dataset#shape#2": w},
    "overlay's key with a blank": lambda w: {"preprocessing #transforms#1": w},
    "merge with a blank": lambda w: {"+ preprocessing": {"transforms": [w]}},
    "appended to a list": lambda w: {"x": [1, LOAD, LOAD], "+x": [w], "preprocessing": "@x#2"},
    "inherited setting": lambda w: {"x": w, "image_size": "$@x"},
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_no_way_leads_from_what_commands_evaluate_to_what_writes(tmp_path: Path, way: str) -> None:
    added = WAYS[way](WRITER)
    found = refused(tmp_path, inference=HONEST | added)
    assert "stands in what predict, explain and calibrate evaluate" in " ".join(remark.reason for remark in found)
    assert {remark.file for remark in found} == {"configs/inference.json"}


@pytest.mark.parametrize("way", ["in place", "reference", "overlay's key", "merge", "shape by overlay"])
def test_nor_does_another_configuration_that_is_merged(tmp_path: Path, way: str) -> None:
    found = refused(tmp_path, inference=HONEST, more=WAYS[way](WRITER))
    assert {remark.file for remark in found} == {"configs/more.json"}


def test_what_is_merged_from_two_others_is_followed(tmp_path: Path) -> None:
    halves = {"a": {"preprocessing#transforms#1": "@x"}, "b": {"x": WRITER}}
    assert {remark.file for remark in refused(tmp_path, inference=HONEST, **halves)} == {"configs/b.json"}


@pytest.mark.parametrize("index", ["-1", "+0", "00", " 0", "0 ", "\u0660"])
def test_numbers_of_items_have_one_spelling(tmp_path: Path, index: str) -> None:
    listed = {"x": [LOAD], "preprocessing": "@x#0"}
    for value in (WRITER, "SaveImage"):
        key = f"x#{index}" if isinstance(value, dict) else f"x#{index}#_target_"
        assert refused(tmp_path, inference=HONEST | listed, more={key: value})


def test_item_that_another_configuration_appends_is_found(tmp_path: Path) -> None:
    first = HONEST | {"x": [LOAD], "preprocessing": "@x#1"}
    assert refused(tmp_path, inference=first, more={"+x": [WRITER]}, other={"x": [1, 2, 3]})


# All that is allowed or named for attention and is not known to read and compute alone.
ELSEWHERE = sorted(
    {*allowed_lists()["monai"], *allowed_lists()["callables"], *allowed_lists()["attention"]}
    - {*allowed_lists()["evaluates"], *allowed_lists()["functions"]}
    - {name for name in allowed_lists()["callables"] if not name.startswith(("cxr_monai", "torch.optim", "ignite"))}
)


def test_every_component_that_is_not_known_to_read_and_compute_is_refused_there(tmp_path: Path) -> None:
    written = [{"_target_": name} for name in ELSEWHERE]
    found = refused(tmp_path, inference=HONEST | {"preprocessing": {"_target_": "Compose", "transforms": written}})
    assert len(ELSEWHERE) > 150
    named = {remark.where for remark in found if remark.kind == "callable"}
    assert named >= {f"preprocessing#transforms#{number}#_target_" for number in range(len(ELSEWHERE))}
    assert {"SaveImage", "SaveClassificationd", "CheckpointSaver", "SupervisedTrainer"} <= {*ELSEWHERE}
    assert {"cxr_monai.components.PredictionsWriter", "cxr_monai.components.MLflowTracker"} <= {*ELSEWHERE}


def test_names_that_read_and_compute_are_allowed_ones_and_none_that_writes() -> None:
    known = allowed_lists()
    assert {*known["evaluates"]} & known["attention"].keys() == set()
    assert known["monai"] & known["callables"] == set()
    assert {"DenseNet121", "SupervisedTrainer"} <= known["monai"]
    assert {"torch.device", "torch.optim.Adam"} <= known["callables"]
    assert {"DenseNet121", "torch.device"} == known["evaluates"] & {
        "DenseNet121", "SupervisedTrainer", "torch.device", "torch.optim.Adam",
    }  # fmt: skip
    words = ("Save", "Writ", "Handler", "Logger", "Logfile", "Track", "TensorBoard")
    assert not [name for name in known["evaluates"] if any(word in name for word in words)]
    for name in known["evaluates"]:
        assert judge_callable(name, evaluated=True) == (Verdict.ALLOWED, "")


@pytest.mark.parametrize(
    "call",
    [
        "print(1)", "random.seed(1)", "torch.manual_seed(1)", "monai.utils.set_determinism(1)",
        "glob.glob(@dataset_dir + '/*')", "os.path.exists(@bundle_root)",
    ],
)  # fmt: skip
def test_expressions_that_commands_evaluate_read_and_compute(tmp_path: Path, call: str) -> None:
    imports = {"imports": [f"$import {name}" for name in ("os", "glob", "random")]}
    assert refused(tmp_path, inference=HONEST | imports | {"x": f"${call}"}) == ()
    assert refused(tmp_path, inference=HONEST | imports | {"image_size": f"${call}"})


def test_commands_read_no_file_that_is_looked_for_where_they_are_started(tmp_path: Path) -> None:
    macro = {"preprocessing": "%configs/other.json#x"}
    (found,) = refused(tmp_path, inference=HONEST | macro, other={"x": LOAD})
    assert "where they are started" in found.reason
    assert refused(tmp_path, inference=HONEST, other={"x": LOAD}, train=macro) == ()


def test_planting_program_is_refused_by_the_command_and_plants_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tiny_bundle(tmp_path / "bundle", 0)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    planted = WRITER | {
        "output_dir": ".",
        "saver": {"_target_": "CSVSaver", "output_dir": ".", "filename": "ignite.py"},
    }
    for file in sorted((root / "configs").glob("*.json")):
        config = json.loads(file.read_text())
        if "preprocessing" in config:
            config["preprocessing"]["transforms"].append("@planted")
            file.write_text(json.dumps(config | {"planted": planted}))
    with pytest.warns(UserWarning, match="CSV filename"):  # it would work
        ConfigParser({"planted": planted}).get_parsed_content("planted")
    (tmp_path / "film.png").write_bytes(b"")
    for words in (["predict", str(root), "film.png", "--out", "p.csv"], ["bundle", "inspect", str(root)],
                  ["explain", str(root), "film.png", "--out", "maps"]):  # fmt: skip
        assert main(words) == 1
        told = capsys.readouterr()
        assert "SaveClassificationd" in told.out + told.err
        assert os.listdir() == []


# what compiles, and what an argument is

KINDS = {
    "compiled program": {"_target_": "GaussianMixtureModel", "channel_count": "1; touch CANARY; #"},
    "compiled program, a number": {"_target_": "GaussianMixtureModel", "channel_count": 1, "mixture_count": 2},
    "full name": {"_target_": "monai.networks.layers.GaussianMixtureModel", "channel_count": 1},
    "loader of programs": {"_target_": "monai._extensions.load_module", "module_name": "gmm"},
    "torch.compile": {"_target_": "torch.compile", "model": None},
    "backend": {"_target_": "SupervisedEvaluator", "compile": True, "compile_kwargs": {"backend": "evil"}},
    "text for a number": {"_target_": "DenseNet121", "in_channels": "1; touch CANARY"},
    "number as a text": {"_target_": "DenseNet121", "in_channels": "1"},
    "text in a list": {"_target_": "UNet", "channels": [16, "32"]},
    "text in a list for a number": {"_target_": "DenseNet121", "in_channels": ["1"]},
    "section for a number": {"_target_": "DenseNet121", "in_channels": {"a": 1}},
    "text by expression": {"_target_": "DenseNet121", "in_channels": "$'1; touch CANARY'"},
    "text by addition": {"_target_": "DenseNet121", "in_channels": "$'1' + '; touch'"},
    "text by format": {"_target_": "DenseNet121", "in_channels": "$'{}'.format(1)"},
    "text by f-string": {"_target_": "DenseNet121", "in_channels": "$f'{1}'"},
    "text by reference": {"_target_": "DenseNet121", "in_channels": "@text"},
    "text by a reference's reference": {"_target_": "DenseNet121", "in_channels": "@again"},
    "text by macro": {"_target_": "DenseNet121", "in_channels": "%text"},
    "text in a condition": {"_target_": "DenseNet121", "in_channels": "$1 if False else @text"},
    "text for true": {"_target_": "SupervisedEvaluator", "amp": "yes"},
    "other name of a network": {"_target_": "Densenet121", "in_channels": "1"},
    "full name of a network": {"_target_": "monai.networks.nets.DenseNet121", "in_channels": "1"},
    "network of a function": {"_target_": "resnet50", "n_input_channels": "1", "pretrained": False},
    "transform": {"_target_": "CenterSpatialCropD", "keys": "image", "roi_size": "32"},
    "transform's other name": {"_target_": "SpatialPadDict", "keys": "image", "spatial_size": ["a"]},
    "loader": {"_target_": "DataLoader", "num_workers": "4"},
    "ours": {"_target_": "cxr_monai.components.ResizeShortestd", "keys": "image", "size": "224"},
    "torch's": {"_target_": "torch.utils.data.DataLoader", "batch_size": "4"},
    "weights that are downloaded": {"_target_": "TorchVisionFCModel", "model_name": "resnet18", "weights": "DEFAULT"},
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_argument_of_another_kind_or_compiled_program_is_refused(tmp_path: Path, name: str) -> None:
    canary = tmp_path / "canary"
    section = json.loads(json.dumps(KINDS[name]).replace("CANARY", str(canary)))
    added = {"text": "1; touch", "again": "$@text", "x": section}
    assert [remark for remark in refused(tmp_path, train=added) if remark.where.split("#")[0] == "x"]
    assert not canary.exists()


def test_argument_of_another_kind_is_refused_in_an_overlay(tmp_path: Path) -> None:
    overlay = {"network_def#in_channels": "1; touch x"}
    assert [(r.file, r.where) for r in refused(tmp_path, inference=HONEST, more=overlay)] == [
        ("configs/more.json", "network_def#in_channels")
    ]


@pytest.mark.parametrize(
    "section",
    [
        {"_target_": "DenseNet121", "in_channels": 1, "out_channels": "$len(@labels)", "dropout_prob": 0.5},
        {"_target_": "DenseNet121", "in_channels": "@count", "out_channels": "$@count + 1", "pretrained": False},
        {"_target_": "SpatialPadd", "keys": "image", "spatial_size": 32},
        {"_target_": "SpatialPadd", "keys": "image", "spatial_size": [32, -1]},
        {"_target_": "LoadImaged", "keys": "image", "image_only": "true"},
        {"_target_": "UNet", "channels": "$[16 * 2 ** i for i in range(3)]", "strides": "@sizes", "dropout": None},
    ],
)
def test_arguments_of_their_kind_pass(tmp_path: Path, section: dict[str, Any]) -> None:
    settings = {"labels": ["a"], "count": 1, "sizes": [2, 2]}
    section = section if "UNet" not in section["_target_"] else section | {"channels": "@sizes"}
    assert refused(tmp_path, train=settings | {"x": section}) == ()


def test_signatures_are_those_of_the_installed_packages() -> None:
    """``python scripts/sync_signatures.py`` writes them anew."""
    assert argument_kinds() == table()
    assert FILE.stat().st_size < 100_000


def test_kinds_are_read_from_annotations() -> None:
    def called(a: int, b: "int | None", c: "list[int] | float", d: str, e: bool, f: "str | int", g: Any, h=1): ...

    assert arguments(called) == {"a": "n", "b": "n", "c": "ln", "e": "b"}


# references without end

ENDLESS: dict[str, dict[str, Any]] = {
    "two": {"a": "@b", "b": "@a"},
    "one": {"a": "@a"},
    "expressions": {"a": "$@b + 1", "b": "$@a + 1"},
    "macros": {"a": "%b", "b": "%a"},
    "through a section": {"a": {"x": "@b"}, "b": ["@a"]},
    "through what holds it": {"a": {"x": {"y": "@a"}}},
    "components": {
        "a": {"_target_": "Compose", "transforms": ["@b"]}, "b": {"_target_": "Compose", "transforms": ["@a"]}},
    "requirement": {"a": {"_target_": "Compose", "_requires_": "@b"}, "b": "@a"},
    "1,000 in a row": {f"a{n}": f"@a{n + 1}" for n in range(1000)} | {"a1000": 1},
    "1,000 in a row, from the end": {f"a{n}": f"@a{n - 1}" for n in range(1, 1000)} | {"a0": 1},
    "1,000 expressions in a row": {f"a{n}": f"$@a{n + 1} + 1" for n in range(1000)} | {"a1000": 1},
    "10,000 in a circle": {f"a{n}": f"@a{(n + 1) % 10_000}" for n in range(10_000)},
    "20 by 60 levels": {
        f"a{n}": json.loads('{"_target_": "Compose", "transforms": [' * 20 + f'"@a{n + 1}"' + "]}" * 20)
        for n in range(20)
    } | {"a20": 1},
    "above the configuration": {"a": {"b": "@####c"}},
    "copied from above the configuration": {"a": {"b": "%####c"}},
}  # fmt: skip


@pytest.mark.parametrize("name", ENDLESS)
def test_references_without_end_are_refused(tmp_path: Path, name: str) -> None:
    found = refused(tmp_path, train=ENDLESS[name])
    assert found
    assert {(remark.file, remark.kind) for remark in found} == {("configs/train.json", "reference")}


def test_references_in_a_circle_end_every_command_with_a_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tiny_bundle(tmp_path / "bundle", 0)
    for file in sorted((root / "configs").glob("*.json")):
        config = json.loads(file.read_text())
        if "network_def" in config:
            config["network_def"] |= {"in_channels": "@a"}
            file.write_text(json.dumps(config | {"a": "@b", "b": "@a"}))
    (tmp_path / "film.png").write_bytes(b"")
    command = ["predict", str(root), str(tmp_path / "film.png"), "--out", str(tmp_path / "p.csv")]
    assert main(command) == 1
    assert "[bundle-refused]" in capsys.readouterr().err
    assert main([*command, "--trust-folder"]) == 1
    assert "[bundle-invalid]" in capsys.readouterr().err


def test_many_references_that_end_pass_in_little_time(tmp_path: Path) -> None:
    chain = {f"a{n}": f"@a{n + 1}" for n in range(150)} | {"a150": 1}
    star = {f"b{n}": "@a0" for n in range(5_000)}
    assert refused(tmp_path, train=chain | star) == ()


# no false alarm


@pytest.mark.parametrize("name", shipped_bundles())
def test_nothing_of_ours_is_told_of_paths_or_kinds(name: str) -> None:
    found = inspect_bundle(shipped_bundles()[name])
    assert found.refused == ()
    assert not [remark for remark in found.remarks if remark.kind == "argument"]
