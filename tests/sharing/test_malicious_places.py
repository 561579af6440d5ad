"""Configurations made to harm: no path, no key and no part of a name leads out of the bundle."""

from inspect import signature
from pathlib import Path
from typing import Any

import pytest
from monai.bundle import ComponentLocator

from cxr_monai.sharing.inspection.allowlist import allowed_lists
from cxr_monai.sharing.inspection.bundle_inspection import inspect_bundle
from cxr_monai.sharing.inspection.places import names_a_place
from cxr_monai.sharing.inspection.remarks import Remark, Verdict
from scripts.sync_signatures import find
from tests.sharing.inspected_configurations import HONEST, refused

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
    ("cxr_monai.components.PredictionsWriter", "path"), ("cxr_monai.components.MLflowTracker", "output_dir"),
    ("cxr_monai.components.TrainedBundle", "output_dir"), ("cxr_monai.components.TrainedBundle", "bundle_root"),
    ("cxr_monai.components.TrainedBundle", "parent"),
    ("cxr_monai.components.open_manifest", "manifest"), ("cxr_monai.components.inference_items", "dataset_dir"),
    ("cxr_monai.components.read_calibration", "path"), ("cxr_monai.components.load_weights", "path"),
    ("cxr_monai.components.initialise_network", "init_weights"), ("cxr_monai.components.ChildBundle", "boxes"),
    ("cxr_monai.components.ChildBundle", "parent"), ("Lambda", "json_file"), ("Lambda", "data_dir"),
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
    network = HONEST["network_def"] | {"_target_": "cxr_monai.components.load_weights", "path": values[0]}
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
        "y": {"_target_": "cxr_monai.components.PredictionsWriter", "path": value},
    }  # fmt: skip
    assert refused(tmp_path, evaluate=config) == ()


def test_places_of_the_zoos_container_are_told_outside_of_what_commands_evaluate(tmp_path: Path) -> None:
    config = {"bundle_root": "/workspace/organ", "dataset_dir": "/workspace/data/organ", "base": "/datasets/ct"}
    assert refused(tmp_path, inference=HONEST | config) == ()
    told = inspect_bundle(tmp_path / "bundle").remarks
    assert [remark.where for remark in told if remark.kind == "argument"] == ["bundle_root", "dataset_dir", "base"]
    assert {remark.verdict for remark in told if remark.kind == "argument"} == {Verdict.ATTENTION}
    assert refused(tmp_path, inference=HONEST | config | {"image_size": "$len(@base)"})
    assert refused(tmp_path, inference=HONEST | {"output_dir": "/workspace/out"})


def test_arguments_that_are_paths_are_known_by_name_in_every_signature() -> None:
    """What an annotation or a name says is a path is judged as one."""
    locator = ComponentLocator()
    for name in (*allowed_lists()["monai"], *allowed_lists()["attention"], *allowed_lists()["callables"]):
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
