"""What components know of the configuration that is being run, by our workflow and by MONAI's; and names of others."""

import json
from pathlib import Path
from typing import Any

import pytest
from monai.bundle import ConfigParser, ConfigWorkflow, create_workflow

from cxr_monai import components
from cxr_monai.bundle import running
from cxr_monai.bundle.bundle_folder import Bundle
from cxr_monai.bundle.component_names import unknown_components
from cxr_monai.bundle.running import CheckedWorkflow, running_overrides, running_parser
from cxr_monai.cli import main
from cxr_monai.errors import BundleError, Code, SettingError, SharingError
from cxr_monai.sharing.inspection.bundle_inspection import inspect_bundle
from cxr_monai.sharing.package.pack import refuse_inspected
from tests.support.bundle_runs import code_of, edit, process_as_it_was
from tests.support.tiny_bundles import tiny_bundle

LATER = "cxr_monai.components.LaterTransformd"


def seen() -> tuple[Any, dict[str, Any]]:
    """What a component can know: stands in the configuration of :func:`configuration`."""
    return running_parser().config["setting"], dict(running_overrides())


@pytest.fixture
def configuration(tmp_path: Path) -> dict[str, Any]:
    file = tmp_path / "seen.json"
    component = {"_target_": "tests.bundles.test_running.seen"}
    file.write_text(json.dumps({"setting": 1, "other": 2, "run": ["$@component"], "component": component}))
    return {"config_file": str(file), "logging_file": False, "workflow_type": None}


@pytest.fixture
def later(tmp_path: Path) -> Path:
    """A bundle whose preprocessing names a component of a later version."""
    bundle = tiny_bundle(tmp_path / "later", seed=0)
    for name in ("train", "evaluate", "inference", "explain"):

        def name_another(config: dict[str, Any]) -> None:
            steps = (config.get("validate", config) if "preprocessing" not in config else config)["preprocessing"]
            steps["transforms"][0]["_target_"] = LATER

        edit(bundle, name, name_another)
    edit(bundle, "metadata", lambda config: config["required_packages_version"].update({"cxr-monai": "7.1.0"}))
    return bundle


def says_it_all(message: str) -> bool:
    return all(words in message for words in ("LaterTransformd", "made with cxr-monai 7.1.0", "cxr-monai==7.1.0"))


@pytest.mark.parametrize("name", ["cxr_monai.components.CheckedWorkflow", None])
def test_a_component_knows_its_configuration(name: str | None, configuration: dict[str, Any]) -> None:
    with process_as_it_was():
        workflow = create_workflow(workflow_name=name, **configuration, setting=3)
        assert isinstance(workflow, CheckedWorkflow) == (name is not None)
        ((setting, overrides),) = workflow.run()
    assert setting == 3
    assert overrides == ({"setting": 3} if name else {})


def test_our_workflow_looks_through_no_calls(configuration: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(running, "_caller")
    with process_as_it_was():
        workflow = CheckedWorkflow(**configuration, other=5, setting=4)
        workflow.initialize()
        assert workflow.run() == [(4, {"other": 5, "setting": 4})]
    assert list(workflow.overrides) == ["other", "setting"]


def test_our_workflow_is_left_when_it_has_run(configuration: dict[str, Any]) -> None:
    with process_as_it_was():
        CheckedWorkflow(**configuration).initialize()
    with pytest.raises(BundleError) as error:
        running_parser()
    assert code_of(error) == Code.BUNDLE_INVALID


def test_our_workflow_gives_our_errors(configuration: dict[str, Any]) -> None:
    head = {"_target_": "cxr_monai.components.classification_head", "name": "none", "labels": ["Mass"], "groups": {}}
    with process_as_it_was(), pytest.raises(SettingError) as error:
        CheckedWorkflow(**configuration, component=head).run()
    assert error.value.__suppress_context__


@pytest.mark.parametrize("kind", [CheckedWorkflow, ConfigWorkflow])
@pytest.mark.parametrize("config", ["inference", "train"])
def test_components_of_another_version_are_refused_in_words(
    kind: type[ConfigWorkflow], config: str, later: Path
) -> None:
    workflow = kind(
        config_file=str(later / "configs" / f"{config}.json"), meta_file=str(later / "configs" / "metadata.json"),
        logging_file=False, bundle_root=str(later), workflow_type=None,
    )  # fmt: skip
    with process_as_it_was(), pytest.raises(Exception) as error:  # noqa: PT011  MONAI wraps what its own workflow raises
        workflow.initialize()
    cause = running.ours(error.value)
    assert cause is not None
    assert cause.code == Code.BUNDLE_INCOMPATIBLE
    assert says_it_all(str(cause))


def test_no_command_runs_or_installs_it(later: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BundleError) as error:
        Bundle.open(later).parser()
    assert code_of(error) == Code.BUNDLE_INCOMPATIBLE
    with pytest.raises(BundleError) as error:
        refuse_inspected(later, later)  # as install, predict, run and finetune do
    assert code_of(error) == Code.BUNDLE_INCOMPATIBLE
    assert says_it_all(str(error.value))
    assert main(["bundle", "inspect", str(later)]) == 1
    assert says_it_all(capsys.readouterr().out)
    film = tmp_path / "film.png"
    film.touch()
    for command in (["predict", str(later), str(film), "--out", str(tmp_path / "p")], ["run", str(later), "inference"]):
        assert main(command) == 1
        told = capsys.readouterr().err
        assert "error [bundle-incompatible]" in told
        assert says_it_all(told)


@pytest.mark.parametrize("kind", [CheckedWorkflow, ConfigWorkflow])
def test_what_lies_below_a_component_that_is_unknown_is_refused(
    kind: type[ConfigWorkflow], configuration: dict[str, Any]
) -> None:
    below = {"_target_": "cxr_monai.components.Later.made"}
    with process_as_it_was(), pytest.raises(Exception) as error:  # noqa: PT011  MONAI wraps what its own workflow raises
        kind(**configuration, component=below).run()
    cause = running.ours(error.value)
    assert cause is not None
    assert cause.code == Code.BUNDLE_INCOMPATIBLE
    assert "Later.made" in str(cause)


def test_what_lies_below_a_component_goes_by_its_first_part() -> None:
    names = ["TrainedBundle.open", "Later.open", "Later"]
    config = [{"_target_": f"cxr_monai.components.{name}"} for name in names]
    assert unknown_components(config) == [f"cxr_monai.components.{name}" for name in names[1:]]


def test_what_is_dangerous_as_well_is_refused_for_that(later: Path) -> None:
    edit(later, "explain", lambda config: config.update({"x": "$__import__('os').system('true')"}))
    assert inspect_bundle(later).unknown_components == []
    with pytest.raises(SharingError) as error:
        refuse_inspected(later, later)
    assert code_of(error) == Code.BUNDLE_REFUSED


@pytest.mark.parametrize(
    "item",
    [
        {"_target_": "cxr_monai.components.Checkpoints"},  # known, and nothing for what a client evaluates
        {"_target_": "cxr_monai.components.LoadRadiographd", "keys": "image", "_mode_": "callable"},
        {"_target_": "cxr_monai.components.CheckedWorkflow", "config_file": "x.json"},
    ],
)
def test_a_known_component_that_is_refused_is_of_no_other_version(tmp_path: Path, item: dict[str, Any]) -> None:
    bundle = tiny_bundle(tmp_path / "bundle", 0)
    edit(bundle, "inference", lambda config: config.update({"preprocessing": item}))
    assert inspect_bundle(bundle).unknown_components == []
    with pytest.raises(SharingError) as error:
        refuse_inspected(bundle, bundle)
    assert code_of(error) == Code.BUNDLE_REFUSED


@pytest.mark.parametrize(
    ("config", "names"),
    [
        ({"a": {"_target_": LATER}, "b": [{"_target_": LATER}]}, [LATER]),
        ({"a": "$cxr_monai.handlers.use(1) + cxr_monai.labels.parse_labels('Mass')[0]"}, ["cxr_monai.handlers.use"]),
        ({"a": "cxr_monai.gone.Thing", "b": "$'cxr_monai.log'", "c": "$my_cxr_monai.x"}, []),
        ({"a": {"_target_": "cxr_monai.losses.AUCMarginLoss"}, "b": {"_target_": "cxr_monai.losses.Gone"}},
         ["cxr_monai.losses.Gone"]),
        ({"a": {"_target_": "cxr_monai.components.LoadRadiographd"}}, []),
    ],
)  # fmt: skip
def test_names_are_known_if_they_lead_to_something(config: dict[str, Any], names: list[str]) -> None:
    assert running.unknown_components(config) == names


def test_a_component_that_is_asked_for_by_monai_alone_is_refused_in_words() -> None:
    parser = ConfigParser({"x": {"_target_": LATER}, "_meta_": {}})
    with pytest.raises(Exception) as error:  # noqa: PT011  MONAI's own, around ours
        parser.get_parsed_content("x")
    cause = running.ours(error.value)
    assert cause is not None
    assert "a version that its metadata does not tell" in str(cause)
    with pytest.raises(BundleError):
        components.LaterTransformd  # type: ignore[attr-defined]  # noqa: B018
