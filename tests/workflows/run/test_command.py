"""The words of ``cxr-monai run`` mean what MONAI's command makes of them, and name nothing that nobody inspected."""

import json
import shlex
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import fire
import pytest
from monai.bundle import ConfigWorkflow, scripts, workflows

from cxr_monai.errors import CxrError
from cxr_monai.sharing.package.file_list import FILE_LIST, SIGNATURE
from cxr_monai.workflows.run.command import configurations, monai_command
from cxr_monai.workflows.run.options import settings_of
from tests.support.bundle_runs import SHIPPED, process_as_it_was

CONFIGS = SHIPPED / "configs"


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the packaged bundle, and a working directory beside it with files of one's own."""
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path / "home")
    Path("mine.json").write_text('{"epochs": 7, "train#trainer#max_epochs": 9}')
    Path("tracking.json").write_text("{}")
    shutil.copy(CONFIGS / "logging.conf", "plain.conf")
    return Path(shutil.copytree(SHIPPED, tmp_path / "it's a bundle"))


class Reached(Exception):
    """The workflow was made; nothing of it is evaluated."""


def workflow_of(call: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return what decides the workflow that a call makes."""
    reached: dict[str, Any] = {}

    def initialize(self: ConfigWorkflow) -> None:
        ids = {name: getattr(self, name) for name in ("init_id", "run_id", "final_id", "workflow_type")}
        reached.update(ids, config=json.loads(json.dumps(self.parser.get(), default=str)))
        raise Reached

    monkeypatch.setattr(ConfigWorkflow, "initialize", initialize)
    monkeypatch.setattr(workflows, "_apply_logging_file", lambda file: reached.update(logging=file))
    with process_as_it_was(), pytest.warns(UserWarning, match="parsing config_file"), pytest.raises(Reached):
        call()
    return reached


SAME: list[tuple[str, list[str], Mapping[str, Any]]] = [
    ("train", [], {"epochs": 20}),
    ("train.json", ["--epochs", "2", "--batch-size=4"], {"epochs": 2, "batch_size": 4}),
    ("train,multi_gpu_train", ["--restart"], {"restart": True, "tracker::enabled": "@main_process"}),
    ("train,one_cycle.json", ["--train#trainer#max_epochs", "2"], {"train::trainer::max_epochs": 2}),
    ("train", ["--labels", "['Mass']"], {"labels": ["Mass"]}),
    ("train", ["--labels=[Mass, Nodule]"], {"labels": ["Mass", "Nodule"]}),
    ("train", ["--labels", "Mass,Nodule"], {"labels": ["Mass", "Nodule"]}),
    ("train", ["--learning_rate", "1e-4", "--seed", "-1"], {"learning_rate": 1e-4, "seed": -1}),
    ("train", ["--unfreeze", "{'features': 3}", "--run_name", "None"], {"unfreeze": {"features": 3}, "run_name": None}),
    ("train", ["--manifest", "a b's.csv", "--run_name=x=y"], {"manifest": "a b's.csv", "run_name": "x=y"}),
    ("train", ["--device", "$torch.device('cpu')", "--amp", "False"], {"device": "$torch.device('cpu')", "amp": False}),
    ("train,mine.json", ["--seed", "3"], {"epochs": 7, "train::trainer::max_epochs": 9, "seed": 3}),
    ("train", ["--run_id", "initialize", "--init_id", "run", "--final_id=run"], {"epochs": 20}),
    ("evaluate,flip", ["--workflow_type", "infer", "--output_dir", "2024"], {"output_dir": 2024}),
    ("inference", ["--logging_file", "False", "--raw", "True"], {"raw": True}),
    ("inference", ["--logging_file", "plain.conf"], {"raw": False}),
    ("inference", ["--normalisation", "%mine.json#epochs"], {"normalisation": "%mine.json#epochs"}),
    ("explain", ["--images", "a.png,b.dcm", "--count", "None"], {"images": "a.png,b.dcm", "count": 8}),
]


@pytest.mark.parametrize(("configuration", "words", "values"), SAME)
def test_monai_makes_the_same_configuration_of_the_printed_command(
    configuration: str, words: list[str], values: Mapping[str, Any], bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = monai_command(bundle, configuration, words)
    start, pasted = shlex.split(command.shell)[:4], shlex.split(command.shell)[3:]
    assert start == ["python", "-m", "monai.bundle", "run"]
    ours = workflow_of(lambda: scripts.run(**command.arguments()), monkeypatch)
    theirs = workflow_of(lambda: fire.Fire({"run": scripts.run}, command=pasted), monkeypatch)
    assert ours == theirs
    config = ours["config"]
    assert config["bundle_root"] == str(bundle)
    assert config["_meta_"] == json.loads((bundle / "configs" / "metadata.json").read_text())
    for name, value in values.items():
        part = config
        for key in name.split("::"):
            part = part[key]
        assert part == value, name
    given = dict(zip(words[::2], words[1::2], strict=False)).get("--logging_file", str(bundle / "configs/logging.conf"))
    assert ours.get("logging") == (None if given == "False" else given)


def test_overlays_follow_in_their_order_and_own_files_are_named(bundle: Path) -> None:
    command = monai_command(
        bundle, "train,mine.json,one_cycle", ["--tracking", "tracking.json", "--seed", "%mine.json#e"]
    )
    files = command.arguments()["config_file"]
    own = str(Path("mine.json").resolve())
    assert files == [str(bundle / "configs/train.json"), own, str(bundle / "configs/one_cycle.json")]
    assert command.uninspected == ("mine.json", "tracking.json")
    inside = monai_command(
        bundle, f"train,{bundle / 'configs' / 'one_cycle.json'}", ["--seed", f"%{CONFIGS}/train.json#seed"]
    )
    assert inside.arguments()["config_file"][1] == str(bundle / "configs" / "one_cycle.json")
    assert inside.uninspected == (f"{CONFIGS}/train.json",)  # of another bundle, which nobody signed


@pytest.mark.parametrize(
    ("configuration", "words", "said"),
    [
        ("trian", [], "Did you mean 'train'"),
        ("metadata", [], "There are: evaluate, explain, flip"),
        ("", [], "neither a configuration"),
        ("train,", [], "neither a configuration"),
        ("train,train", [], "twice"),
        ("train,nothing.json", [], "nor a JSON file"),
        ("mine.json", [], "a configuration of the bundle comes first"),
        ("train,plain.conf", [], "nor a JSON file"),
        ("train", ["epochs", "2"], "'epochs'"),
        ("train", ["--epochs", "2", "3"], "'3'"),
        ("train", ["run"], "'run'"),
        ("train", ["-e", "2"], "'-e'"),
        ("train", ["--"], "'--'"),
        ("train", ["--", "--interactive"], "'--'"),
        ("train", ["-"], "'-'"),
        ("train", ["--manifest", "-"], "--manifest needs a value"),
        ("train", ["--normalisation"], "--normalisation needs a value"),
        ("train", ["--noamp"], "--noamp needs a value"),
        ("train", ["--epochs", "2", "--epochs=3"], "--epochs is given twice"),
        ("train", ["--batch-size", "2", "--batch_size=3"], "--batch_size is given twice"),
        ("train", ["--config_file", "x.json"], "name the configurations"),
        ("train", ["--config-file=x.json"], "name the configurations"),
        ("train", ["--meta_file", "x.json"], "configs/metadata.json is taken"),
        ("train", ["--bundle_root", "x"], "the bundle's folder"),
        ("train", ["--args_file", "mine.json"], "as an overlay"),
        ("train", ["--workflow_name", "os.system"], "MONAI's command"),
        ("train", ["--properties_path", "x"], "needs none"),
        ("train", ["--logging_file", "nothing.conf"], "no such file"),
        ("train", ["--logging_file", "0"], "no such file"),
    ],
)
def test_other_words_are_wrong_use(configuration: str, words: list[str], said: str, bundle: Path) -> None:
    with pytest.raises(CxrError) as error:
        monai_command(bundle, configuration, words)
    assert (error.value.code, said in str(error.value)) == ("usage", True), str(error.value)


@pytest.mark.parametrize("word", ["tracking", "network_def", "imports", "overlay"])
@pytest.mark.parametrize(
    "place", ["docs/hidden.json", "configs/below/hidden.json", "hidden.yaml", "../received/x.json"]
)
def test_what_nobody_inspected_is_not_named(word: str, place: str, bundle: Path) -> None:
    received = bundle.parent / "received"
    received.mkdir()
    (received / (FILE_LIST if word == "overlay" else SIGNATURE)).write_text("{}")
    path = bundle / place
    path.parent.mkdir(exist_ok=True)
    path.write_text('{"x": "$print(1)"}')
    Path("link.json").symlink_to(path)
    for named in (str(path), "link.json"):
        words = {
            "tracking": ["--tracking", named],
            "network_def": ["--network_def", f"%{named}#x"],
            "imports": ["--imports", repr([f"%{named}::x"])],
            "overlay": [],
        }[word]
        with pytest.raises(CxrError) as error:
            monai_command(bundle, f"train,{named}" if word == "overlay" else "train", words)
        assert error.value.code == ("bundle-untrusted" if "received" in place else "bundle-refused")


@pytest.mark.parametrize(
    "line",
    [b"args=(__import__('os').system('true'),)", b"# a\rargs=(print(1),)", b"class=%(x)s", b"class=FileHandler"],
)
def test_logging_file_that_could_run_code_is_refused_wherever_it_is(line: bytes, bundle: Path) -> None:
    for path in (Path("evil.conf"), bundle / "docs" / "evil.conf"):
        path.write_bytes((CONFIGS / "logging.conf").read_bytes().replace(b"args=(sys.stderr,)", line))
        with pytest.raises(CxrError) as error:
            monai_command(bundle, "train", ["--logging_file", str(path)])
        assert error.value.code == "bundle-refused"


def test_bundle_without_metadata_is_invalid_and_one_without_logging_runs(bundle: Path) -> None:
    (bundle / "configs" / "logging.conf").unlink()
    assert "logging_file" not in monai_command(bundle, "train").arguments()
    (bundle / "configs" / "metadata.json").unlink()
    with pytest.raises(CxrError) as error:
        monai_command(bundle, "train")
    assert error.value.code == "bundle-invalid"


@pytest.mark.parametrize(
    ("environment", "start"),
    [
        ({}, "python -m monai.bundle run --config_file"),
        ({"RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}, "torchrun --nproc_per_node=2 -m monai.bundle run"),
        ({"RANK": "3", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}, "torchrun --nnodes=2 --nproc_per_node=2 -m monai"),
    ],
)
def test_command_of_several_processes(
    environment: dict[str, str], start: str, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert monai_command(bundle, "train").shell.startswith(start)


def test_settings_are_those_of_the_configurations_with_their_meaning(bundle: Path) -> None:
    readme = bundle / "docs" / "README.md"
    readme.write_text(
        "| `seed` | 0 | of \x1b[31meverything |\n| `epochs`, `patience` | 1, 2 | how long; how patient |\n"
    )
    told = settings_of(bundle, [bundle / "configs" / f"{name}.json" for name in ("train", "multi_gpu_train")])
    listed = {setting.name: (setting.default, setting.meaning) for setting in told.settings}
    assert listed["seed"] == ("0", "of \\x1b[31meverything")
    assert listed["patience"] == ("5", "epochs, patience: how long; how patient")
    assert listed["manifest"] == ("null", "")
    assert listed["output_dir"] == ("output", "")
    config = json.loads((bundle / "configs" / "train.json").read_text())
    plain = {name for name, value in config.items() if not isinstance(value, dict) and not name.startswith("_")}
    replaced = {"device"}  # by a section of the overlay
    assert set(listed) == plain - {"imports", "bundle_root", "initialize", "run", "finalize"} - replaced
    assert {"train", "validate", "network_def", "main_process", "device"} <= set(told.sections)
    assert [description.split(":")[0] for description in told.descriptions] == ["train.json", "multi_gpu_train.json"]
    assert configurations(bundle) == sorted(path.stem for path in CONFIGS.glob("*.json") if path.stem != "metadata")
