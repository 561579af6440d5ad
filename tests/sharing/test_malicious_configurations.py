"""Configurations made to harm: what commands evaluate only reads and computes, and no path leads out of the bundle."""

import json
import os
from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
from monai.bundle import ComponentLocator, ConfigParser

from cxr_monai.bundle.evaluated import ENTRIES
from cxr_monai.bundle.shipped import shipped_bundles
from cxr_monai.cli import main
from cxr_monai.sharing.allowlist import judge_callable, lists
from cxr_monai.sharing.inspection import inspect
from cxr_monai.sharing.places import names_a_place
from cxr_monai.sharing.remarks import Remark, Verdict
from cxr_monai.sharing.signatures import signatures
from scripts.sync_signatures import FILE, arguments, find, table
from tests.bundles.making import tiny_bundle

LOAD = {"_target_": "cxr_monai.transforms.LoadRadiographd", "keys": "image"}
HONEST: dict[str, Any] = {
    "imports": ["$import os"],
    "bundle_root": ".",
    "output_dir": "output",
    "dataset_dir": None,
    "image_size": 32,
    "network_def": {"_target_": "DenseNet121", "spatial_dims": 2, "in_channels": 1, "out_channels": 1},
    "head_def": {"_target_": "cxr_monai.networks.heads.head", "name": "sigmoid", "labels": ["Mass"]},
    "preprocessing": {"_target_": "Compose", "transforms": [LOAD]},
    "dataset": {"_target_": "Dataset", "data": [], "shape": [1, "@image_size", "@image_size"]},
}
"""Passes, and every entry of what commands evaluate is there."""


def refused(folder: Path, **configurations: Any) -> tuple[Remark, ...]:
    """Return what speaks against a bundle of these configurations, within the budget."""
    root = folder / "bundle"
    (root / "configs").mkdir(parents=True, exist_ok=True)
    for name, config in configurations.items():
        (root / "configs" / f"{name}.json").write_text(json.dumps(config))
    found = inspect(root).refused
    assert "time" not in {remark.kind for remark in found}, "the budget was spent"
    assert all(remark.reason.endswith(".") for remark in found)
    return found


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
    "head": lambda w: {"head_def": {"_target_": "cxr_monai.networks.heads.head", "groups": w}},
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
    {*lists()["monai"], *lists()["callables"], *lists()["attention"]}
    - {*lists()["evaluates"], *lists()["functions"]}
    - {name for name in lists()["callables"] if not name.startswith(("cxr_monai", "torch.optim", "ignite"))}
)


def test_every_component_that_is_not_known_to_read_and_compute_is_refused_there(tmp_path: Path) -> None:
    written = [{"_target_": name} for name in ELSEWHERE]
    found = refused(tmp_path, inference=HONEST | {"preprocessing": {"_target_": "Compose", "transforms": written}})
    assert len(ELSEWHERE) > 150
    named = {remark.where for remark in found if remark.kind == "callable"}
    assert named >= {f"preprocessing#transforms#{number}#_target_" for number in range(len(ELSEWHERE))}
    assert {"SaveImage", "SaveClassificationd", "CheckpointSaver", "SupervisedTrainer"} <= {*ELSEWHERE}
    assert {"cxr_monai.training.handlers.PredictionsWriter", "cxr_monai.training.tracking.Tracker"} <= {*ELSEWHERE}


def test_names_that_read_and_compute_are_allowed_ones_and_none_that_writes() -> None:
    known = lists()
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


# places

OUTSIDE = {
    "absolute": "/tmp/evil",
    "above": "../evil",
    "above later": "a/../../evil",
    "only above": "..",
    "home": "~/.ssh/authorized_keys",
    "another's home": "~root/x",
    "variable": "${HOME}/x",
    "variable of Windows": "%USERPROFILE%/x",
    "drive": "C:/evil",
    "drive without a slash": "C:evil",
    "backslashes": "a\\..\\..\\evil",
    "share": "\\\\server\\share",
    "share of slashes": "//server/share",
    "zero byte": "a\0b",
    "line": "a\nb",
    "encoded": "%2e%2e/evil",
    "encoded slash": "..%2fevil",
    "URL of a file": "file:///etc/passwd",
    "bucket": "s3://bucket/x",
    "root": "/",
    "container and above": "/workspace/../etc",
}

# Callables that take a path, with the argument that it is.
TAKING = [
    ("SaveImage", "output_dir"), ("SaveImaged", "data_root_dir"), ("SaveImaged", "output_postfix"),
    ("CheckpointLoader", "load_path"), ("CheckpointSaver", "save_dir"), ("CheckpointSaver", "final_filename"),
    ("CheckpointSaver", "file_prefix"), ("CSVSaver", "filename"), ("LogfileHandler", "output_dir"),
    ("MetricsSaver", "save_dir"), ("TensorBoardHandler", "log_dir"), ("PersistentDataset", "cache_dir"),
    ("LMDBDataset", "db_name"), ("FolderLayout", "postfix"), ("WriteFileMapping", "mapping_file_path"),
    ("NPZDictItemDataset", "npzfile"), ("ImageDataset", "image_files"),
    ("load_decathlon_datalist", "data_list_file_path"),
    ("load_decathlon_datalist", "base_dir"), ("load_decathlon_properties", "data_property_file_path"),
    ("cxr_monai.training.handlers.PredictionsWriter", "path"), ("cxr_monai.training.tracking.Tracker", "output_dir"),
    ("cxr_monai.bundle.trained.TrainedBundle", "output_dir"), ("cxr_monai.bundle.trained.TrainedBundle", "bundle_root"),
    ("cxr_monai.data.dataset.open_manifest", "manifest"), ("cxr_monai.data.dataset.inference_items", "dataset_dir"),
    ("cxr_monai.evaluation.fitted.read_fitted", "path"), ("cxr_monai.networks.weights.load_weights", "path"),
    ("cxr_monai.networks.weights.initialise", "init_weights"), ("cxr_monai.finetune.child.Child", "boxes"),
    ("cxr_monai.finetune.child.Child", "parent"), ("Lambda", "json_file"), ("Lambda", "data_dir"),
]  # fmt: skip


def given(value: Any) -> dict[str, Any]:
    """Give it to every callable that takes a path."""
    return {
        f"x{number}": {"_target_": target, "pretrained": False, name: value}
        for number, (target, name) in enumerate(TAKING)
    }


def judged_arguments(found: tuple[Remark, ...]) -> set[str]:
    """Return which of ``TAKING`` something is said of."""
    return {remark.where.split("#")[0] for remark in found if len(remark.where.split("#")) > 1}


@pytest.mark.parametrize("spelling", OUTSIDE)
def test_path_that_leads_elsewhere_is_refused_whatever_takes_it(tmp_path: Path, spelling: str) -> None:
    path = OUTSIDE[spelling]
    plain = path.isprintable() and "\\" not in path
    for value in (path, [path], *([f"$'{path}'", f"$['{path}']"] if plain else [])):
        assert judged_arguments(refused(tmp_path, evaluate=given(value))) == given(value).keys(), value


COMPUTED = {
    "in pieces": "$'/' + 'etc'",
    "in pieces of one letter": "$'.' + './x'",
    "two dots": "$'.' + '.'",
    "nothing and a root": "$'' + '/etc'",
    "joined": "$'/'.join(['', 'etc'])",
    "joined paths": "$os.path.join('a', '/etc')",
    "joined upwards": "$os.path.join(@bundle_root, '..', 'x')",
    "path of pieces": "$pathlib.Path('a') / '/etc'",
    "parent of a place": "$pathlib.Path(@bundle_root).parent",
    "folder of a place": "$os.path.dirname(@bundle_root)",
    "formatted": "$'{}etc'.format(@slash)",
    "percent": "$'%setc' % @slash",
    "f-string": "$f'{@slash}etc'",
    "turned round": "$'cte/'[::-1]",
    "a letter of another": "$os.path.abspath('x')[0] + 'etc'",
    "condition": "$'/etc' if True else 'a'",
    "or": "$@nothing or '/etc'",
    "replaced": "$'Xetc'.replace('X', '/')",
    "reference to pieces": "@pieces",
    "reference to an absolute one": "@etc",
    "reference to a chain": "@chain",
    "copy of an absolute one": "%etc",
    "behind nothing": "$@nothing + '/etc'",
    "behind a place, upwards": "$@output_dir + '/../../x'",
    "behind a place, a tilde": "$@nothing + '~/x'",
    "made by a component": "@made",
    "made in place": {"_target_": "os.path.join", "a": "@slash", "p": "etc"},
    "environment": "$os.environ['HOME']",
    "macro of a file": "%configs/other.json#x",
    "backslash": "$'a\\\\..\\\\x'",
}
SETTINGS = {
    "imports": ["$import os", "$import pathlib"],
    "bundle_root": ".",
    "output_dir": "output",
    "nothing": "",
    "slash": "$'%c' % 47",
    "pieces": "$'%c' % 47 + 'etc'",
    "etc": "/etc",
    "chain": "@chained",
    "chained": "$@pieces",
    "made": {"_target_": "str", "object": "$'%c' % 47"},
}


@pytest.mark.parametrize("name", COMPUTED)
def test_path_that_is_computed_is_refused_whatever_takes_it(tmp_path: Path, name: str) -> None:
    sections = given(COMPUTED[name])
    assert judged_arguments(refused(tmp_path, evaluate=SETTINGS | sections, other={"x": "a"})) >= sections.keys()


# keys and parts of names: what files are named after

KEYS = ["/tmp/evil", "../../../tmp/evil", "..", "a/b", "a/../../b", "a\\b", "~/x", "C:x"]
# Ignite names the file of a single object after its key, MONAI's MetricsSaver a table after a metric's.
NAMING = [
    ("CheckpointSaver", "save_dict"), ("SupervisedEvaluator", "key_val_metric"),
    ("EnsembleEvaluator", "key_val_metric"),
    ("SupervisedEvaluator", "additional_metrics"), ("SupervisedTrainer", "key_train_metric"),
]  # fmt: skip


@pytest.mark.parametrize("key", KEYS)
def test_key_that_leads_elsewhere_is_refused_wherever_it_stands(tmp_path: Path, key: str) -> None:
    inside = {"x": {"_target_": "CheckpointSaver", "save_dir": "@output_dir", "save_dict": {key: "@network"}}}
    merged = {"save_dict": {}, "+save_dict": {key: "@network"}}
    for config in ({"x": {key: 1}}, inside, merged, {"x": [{"y": {key: {}}}]}, {f"save_dict#{key}": 1}, {key: 1}):
        found = refused(tmp_path, evaluate={"output_dir": "output", "network": 1} | config)
        assert "files are named after keys" in " ".join(remark.reason for remark in found), config
    assert refused(tmp_path, evaluate={}, metadata={"network_data_format": {"outputs": {"a/b": 1}}}) == ()


COMPUTED_KEYS = {
    "expression": "${os.sep + 'tmp': 1}",
    "literal expression": "${'a': 1}",
    "comprehension": "${k: 1 for k in [os.sep]}",
    "pairs": "$dict([[os.sep, 1]])",
    "merged": "${'a': 1} | {os.sep: 1}",
    "reference to an expression": "@made",
    "reference in an expression": "$@section",
    "chain": "@chain",
    "macro": "%made",
    "component": {"_target_": "dict", "a": 1},
    "reference to a component": "@component",
    "circle": "@circle",
    "nothing there": "@absent",
    "relative": "@##made",
    "file": "%configs/other.json#made",
}


@pytest.mark.parametrize("name", COMPUTED_KEYS)
def test_section_whose_keys_name_files_is_literal(tmp_path: Path, name: str) -> None:
    config = {
        "imports": ["$import os"], "made": "${os.sep: 1}", "chain": "@made", "section": {"a": 1}, "circle": "@circle",
        "component": {"_target_": "dict", "a": 1},
    }  # fmt: skip
    sections = {
        f"x{number}": {"_target_": target, argument: COMPUTED_KEYS[name]}
        for number, (target, argument) in enumerate(NAMING)
    }
    found = refused(tmp_path, evaluate=config | sections, other={"made": "${os.sep: 1}"})
    assert judged_arguments(found) >= sections.keys()


@pytest.mark.parametrize("value", [{"a": 1, "val_b": "@section"}, "@section", "%section", "@again", "@#beside", None])
def test_section_of_literal_keys_passes(tmp_path: Path, value: Any) -> None:
    config = {"section": {"mean_auroc": 1}, "again": "@section"}
    sections = {
        f"x{number}": {"_target_": target, argument: value, "beside": {"b": 1}}
        for number, (target, argument) in enumerate(NAMING)
    }
    assert refused(tmp_path, evaluate=config | sections) == ()


@pytest.mark.parametrize(
    "name", ["key_metric_filename", "file_prefix", "filename_prefix", "output_postfix", "output_ext", "save_key_metric",
             "final_filename", "filename_suffix", "comment", "extension"],
)  # fmt: skip
def test_part_of_a_files_name_is_not_computed_and_leads_nowhere(tmp_path: Path, name: str) -> None:
    for value in ("$os.sep + 'tmp'", "@made", "%made", "$'%c' % 47", "../x", "/x", "a\\b"):
        config = {
            "imports": ["$import os"],
            "made": "$os.sep + 'tmp'",
            "x": {"_target_": "CheckpointSaver", name: value},
        }
        assert "x" in judged_arguments(refused(tmp_path, evaluate=config)), value
    for value in ("a_b", True, "@plain", None):
        config = {"plain": "model", "x": {"_target_": "CSVSaver", name: value}}
        assert refused(tmp_path, evaluate=config) == (), value


DOTS = {"a literal": "'./.'", "a reference": "@dots", "a join": "os.path.join('.', '.')", "a macro's": "@copied",
        "a path's text": "str(pathlib.Path('.'))", "a chain": "@again", "in brackets": "('./' + '.')",
        "a path's own": "str(@path)"}  # fmt: skip
STEPS = {"a literal": "'./b'", "a reference": "@step", "a join": "os.path.join('./.', './b')",
         "a path's text": "str(pathlib.Path('.')) + '/b'", "in brackets": "('./' + 'b')", "a macro's": "@stepped",
         "a list's": "@steps#0", "dots": "@dots", "a relative reference": "@#step", "a number": "str(@one)",
         "sliced": "'x./b'[1:]", "replaced": "'X/b'.replace('X', '.')", "joined": "'/'.join(['.', 'b'])",
         "formatted": "'{}/b'.format('.')", "percent": "'%s/b' % '.'", "f-string": "f'{@dot}/b'"}  # fmt: skip


@pytest.mark.parametrize("dots", DOTS)
@pytest.mark.parametrize("step", STEPS)
def test_no_two_pieces_make_a_path_that_leads_upwards(tmp_path: Path, dots: str, step: str) -> None:
    """``'.' + './b'`` is ``'../b'``, whatever says one of the two, where it stands, and in what it is taken."""
    pieces = {"dot": ".", "dots": "./.", "step": "./b", "steps": ["./b"], "copied": "%dots", "stepped": "%step",
              "again": "$@copied", "path": "$pathlib.Path('.')", "one": 1}  # fmt: skip
    parts = (DOTS[dots], f"@output_dir + '/.' + {DOTS[dots]}")
    values = [f"${left} + {STEPS[step]}" for left in parts] + [f"$os.path.join('a', {DOTS[dots]} + {STEPS[step]})"]
    sections = {f"x{n}": {"_target_": "CheckpointLoader", "load_path": value} for n, value in enumerate(values)}
    found = judged_arguments(refused(tmp_path, evaluate=SETTINGS | pieces | sections))
    assert found == sections.keys()
    network = HONEST["network_def"] | {"_target_": "cxr_monai.networks.weights.load_weights", "path": values[0]}
    modules = {"imports": SETTINGS["imports"]}
    found = judged_arguments(refused(tmp_path, inference=HONEST | modules | pieces | {"network_def": network}))
    assert "network_def" in found
    assert "output_dir" in {
        remark.where for remark in refused(tmp_path, evaluate=SETTINGS | pieces | {"output_dir": values[0]})
    }


BEGINNINGS = {
    "dates without text": "$datetime.now().strftime('') + '/etc'",
    "a zone that is none": "$datetime.now().strftime('%Z') + '/etc'",
    "a date of parts": "$datetime.now().strftime('%D')",
    "a drive": "$'C' + ':/x'",
    "an address": "$'file' + ':///etc'",
    "encoded": "$'a/%2' + 'e%2' + 'e/x'",
    "a backslash": "$'a' + '\\x5c..'",
}


@pytest.mark.parametrize("name", BEGINNINGS)
def test_no_two_pieces_make_an_absolute_path(tmp_path: Path, name: str) -> None:
    sections = given(BEGINNINGS[name])
    config = SETTINGS | {"imports": ["$from datetime import datetime"]}
    assert judged_arguments(refused(tmp_path, evaluate=config | sections)) >= sections.keys()


CALLS = {
    "os.mkdir": "os.mkdir('a')",
    "os.makedirs": "os.makedirs(@output_dir)",
    "os.listdir": "os.listdir(@dataset_dir)",
    "os.scandir": "os.scandir('.')",
    "os.walk": "os.walk('.')",
    "os.remove": "os.remove('a')",
    "os.rename": "os.rename('a', 'b')",
    "os.open": "os.open('a', 0)",
    "os.symlink": "os.symlink('a', 'b')",
    "os.chdir": "os.chdir('a')",
    "os.getcwd": "os.getcwd()",
    "os.path.expanduser": "os.path.expanduser('a')",
    "os.path.realpath": "os.path.realpath('a')",
    "open": "open('a')",
    "json": "json.load('a')",
    "Path.mkdir": "pathlib.Path('a').mkdir()",
    "Path.open": "pathlib.Path('a').open('w')",
    "Path.write_text": "pathlib.Path('a').write_text('x')",
    "Path.read_text": "pathlib.Path('a').read_text()",
    "Path.iterdir": "list(pathlib.Path('a').iterdir())",
    "Path.glob": "list(pathlib.Path('a').glob('*'))",
    "Path.touch": "pathlib.Path('a').touch()",
    "Path.unlink": "pathlib.Path('a').unlink()",
    "Path.home": "pathlib.Path.home()",
    "Path.cwd": "pathlib.Path.cwd()",
    "Path.resolve": "pathlib.Path('a').resolve()",
    "Path.parent and up": "pathlib.Path('..')",
    "glob of all": "glob.glob('/etc/*')",
    "glob of what is here": "glob.glob('*')",
    "glob of pieces": "glob.glob('/'.join(['', 'etc', '*']))",
    "glob upwards": "glob.glob(@dataset_dir + '/../*')",
    "glob elsewhere by name": "glob.glob('*', root_dir='/etc')",
    "glob of a place in another": "glob.glob('*', root_dir=@dataset_dir)",
    "glob handed on": "list(map(glob.glob, [@dataset_dir]))",
    "glob handed on in part": "functools.partial(glob.glob, @dataset_dir)()",
    "iglob": "list(glob.iglob('*'))",
    "exists": "os.path.exists('/etc/passwd')",
    "isfile of pieces": "os.path.isfile('/'.join(['', 'etc']))",
    "exists handed on": "list(map(os.path.exists, ['/etc']))",
    "list of data by position": "monai.data.load_decathlon_datalist('/etc/x.json')",
    "list of data by name": "monai.data.load_decathlon_datalist(data_list_file_path='../x.json')",
    "list of data in pieces": "monai.data.load_decathlon_datalist('/'.join(['', 'x.json']))",
    "base by position": "monai.data.load_decathlon_datalist('a.json', True, 'training', '/etc')",
    "list of data handed on": "functools.partial(monai.data.load_decathlon_datalist, @etc)",
    "properties": "monai.data.load_decathlon_properties('/etc/x.json', 'a')",
    "event file": "torch.utils.tensorboard.SummaryWriter('/tmp/x')",
    "shutil": "shutil.rmtree('a')",
    "tempfile": "tempfile.mkdtemp()",
    "io": "io.open('a')",
    "numpy's text": "numpy.loadtxt('a')",
    "numpy's file": "numpy.genfromtxt('a')",
    "torch's file": "torch.from_file('a')",
    "instance that saves": "@saver(@image, '/etc/x')",
    "instance that saves in pieces": "@saver(@image, '/'.join(['', 'etc']))",
    "instance that saves by name": "@saver(@image, filename=@etc)",
    "run of an instance": "@explainer.run(@image, '/tmp/evil')",
    "run of an instance in pieces": "@explainer.run(@image, '%setc' % @slash)",
    "instance handed on": "list(map(@saver, [@image], ['/'.join(['', 'etc'])]))",
    "instance in part": "functools.partial(@saver, @image, '%c' % 47)()",
    "instance one by one": "[@saver(@image, path) for path in ['/'.join(['', 'etc'])]]",
    "function of a comprehension": "[f('/tmp/x') for f in [@saver]]",
    "a lambda of its own": "(lambda path: @saver(path))('/tmp/x')",
}


@pytest.mark.parametrize("name", CALLS)
def test_call_that_opens_lists_or_makes_files_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    modules = ("os", "glob", "pathlib", "json", "functools")
    config = SETTINGS | {
        "imports": [f"$import {module}" for module in modules],
        "dataset_dir": None, "image": 1, "saver": None, "explainer": None, "x": f"${CALLS[name]}",
    }  # fmt: skip
    assert [remark for remark in refused(tmp_path, evaluate=config) if remark.where == "x"]


@pytest.mark.parametrize("setting", ["bundle_root", "output_dir", "dataset_dir", "manifest"])
@pytest.mark.parametrize("spelling", OUTSIDE)
def test_settings_that_are_places_are_literals_of_the_bundle(tmp_path: Path, setting: str, spelling: str) -> None:
    assert {remark.where for remark in refused(tmp_path, evaluate={setting: OUTSIDE[spelling]})} == {setting}


@pytest.mark.parametrize("setting", ["bundle_root", "output_dir", "dataset_dir", "manifest"])
def test_settings_that_are_places_are_not_computed(tmp_path: Path, setting: str) -> None:
    config = {"imports": ["$import os"], "slash": "$'%c' % 47"}
    for value in ("$@slash + 'etc'", "$'%c' % 47", "$os.environ['RANK']", "@slash"):
        assert {remark.where for remark in refused(tmp_path, evaluate=config | {setting: value})} == {setting}


PLACES = [
    "a.csv", "./eval", "eval/a b", ".", "", None, "@bundle_root", "@output_dir", "@dataset_dir", "@manifest", "@mine",
    "@joined", "$@bundle_root", "$@bundle_root + '/models/model.pt'", "$@output_dir + '/' + 'a.csv'",
    "$os.path.join(@bundle_root, 'models', 'model.pt')", "$str(pathlib.Path(@bundle_root) / 'a' / 'b.json')",
    "$pathlib.Path(@dataset_dir, 'a')", "$@joined + '.pt'", "%joined", "$'a' + '.csv'", "@deep#place",
    "$@output_dir + '/' + @mine", "$@output_dir + '/' + os.path.join('a', 'b') + '.csv'", "$['a'] + ['b']",
    "$'a_' + 'b.' + 'csv'", "$pathlib.Path(@output_dir) / @mine", "$@output_dir + '/.hidden'",
]  # fmt: skip


@pytest.mark.parametrize("value", PLACES)
def test_places_of_the_closed_list_pass(tmp_path: Path, value: Any) -> None:
    config: dict[str, Any] = {
        "imports": ["$import os", "$import pathlib"], "bundle_root": ".", "output_dir": "output", "dataset_dir": None,
        "mine": "results", "joined": "$@output_dir + '/a'", "deep": {"place": "@joined"},
        "x": {"_target_": "CheckpointLoader", "load_path": value, "load_dict": {}},
        "y": {"_target_": "cxr_monai.training.handlers.PredictionsWriter", "path": value},
    }  # fmt: skip
    assert refused(tmp_path, evaluate=config) == ()


def test_places_of_the_zoos_container_are_told_outside_of_what_commands_evaluate(tmp_path: Path) -> None:
    config = {"bundle_root": "/workspace/organ", "dataset_dir": "/workspace/data/organ", "base": "/datasets/ct"}
    assert refused(tmp_path, inference=HONEST | config) == ()
    told = inspect(tmp_path / "bundle").remarks
    assert [remark.where for remark in told if remark.kind == "argument"] == ["bundle_root", "dataset_dir", "base"]
    assert {remark.verdict for remark in told if remark.kind == "argument"} == {Verdict.ATTENTION}
    assert refused(tmp_path, inference=HONEST | config | {"image_size": "$len(@base)"})
    assert refused(tmp_path, inference=HONEST | {"output_dir": "/workspace/out"})


def test_arguments_that_are_paths_are_known_by_name_in_every_signature() -> None:
    """What an annotation or a name says is a path is judged as one."""
    locator = ComponentLocator()
    for name in (*lists()["monai"], *lists()["attention"], *lists()["callables"]):
        called = find(name, locator)
        if not callable(called) or name.startswith(("os.path", "glob", "pathlib")):
            continue
        try:
            parameters = signature(called).parameters.values()
        except (TypeError, ValueError):
            continue
        for one in parameters:
            if "Path" in str(one.annotation) and "str" not in one.name:
                assert names_a_place(one.name) or one.name in ("artifacts", "report"), (name, one.name)


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
    "ours": {"_target_": "cxr_monai.transforms.ResizeShortestd", "keys": "image", "size": "224"},
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
    assert signatures() == table()
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
    found = inspect(shipped_bundles()[name])
    assert found.refused == ()
    assert not [remark for remark in found.remarks if remark.kind == "argument"]
