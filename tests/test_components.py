"""The names that bundles may call: each is there, is called so, is on the list, and is loaded when it is asked for."""

import ast
import json
import subprocess
import sys
from importlib import resources
from pathlib import Path
from pydoc import locate

import pytest
from monai.bundle import ConfigParser

import cxr_monai
from cxr_monai import components
from cxr_monai.sharing.inspection.allowlist import allowed_lists

REPOSITORY = Path(cxr_monai.__file__).parents[1]
PREFIX = "cxr_monai.components."


def targets(config: object) -> set[str]:
    """Return every ``_target_`` below a piece of configuration."""
    if isinstance(config, dict):
        named = {config["_target_"]} if isinstance(config.get("_target_"), str) else set()
        return named.union(*map(targets, config.values()))
    return set().union(*map(targets, config)) if isinstance(config, list) else set()


CONFIGURATIONS = [*REPOSITORY.glob("bundles/*/configs/*.json"), *REPOSITORY.glob("recipes/*.json")]
USED = {name for file in CONFIGURATIONS for name in targets(json.loads(file.read_text("utf-8"))) if "cxr_monai" in name}


@pytest.mark.parametrize("name", components.__all__)
def test_a_name_is_the_name_of_what_it_gives(name: str) -> None:
    component = getattr(components, name)
    assert component.__name__ == name
    assert locate(PREFIX + name) is component  # as MONAI looks for it
    assert component.__module__ == f"cxr_monai.{components._MODULES[name]}"
    assert name[0].isupper() == isinstance(component, type)


def test_the_names_are_those_that_a_bundle_may_call() -> None:
    allowed = {name for kind in ("callables", "attention", "evaluates") for name in allowed_lists()[kind]}
    assert {name for name in allowed if name.startswith("cxr_monai")} == {
        PREFIX + name for name in components.__all__
    } - {PREFIX + "CheckedWorkflow"}  # of a command, not a configuration


def test_our_configurations_use_no_other_prefix() -> None:
    assert USED
    assert {name.removeprefix(PREFIX) for name in USED} <= set(components.__all__)


def test_the_stub_says_the_same() -> None:
    tree = ast.parse((resources.files("cxr_monai") / "components.pyi").read_text("utf-8"))
    imported = {
        alias.asname: f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert imported == {name: f"cxr_monai.{module}.{name}" for name, module in components._MODULES.items()}


def test_monai_makes_a_component_by_its_name() -> None:
    parser = ConfigParser({"head": {"_target_": PREFIX + "classification_head", "name": "sigmoid", "labels": ["Mass"],
                                    "groups": {}}})  # fmt: skip
    assert parser.get_parsed_content("head").outputs == 1


def test_names_are_offered_before_they_are_loaded() -> None:
    assert {"LoadRadiographd", "prepare_run"} <= set(dir(components))
    assert not hasattr(components, "_nothing")


def test_a_transform_brings_neither_mlflow_nor_plots_nor_explanations() -> None:
    """With None in the place of a module it cannot be imported; MONAI itself imports those it finds, and needs none."""
    program = (
        "import sys; sys.modules.update(dict.fromkeys(('mlflow', 'matplotlib', 'captum'))); "
        "from cxr_monai import components; assert 'torch' not in sys.modules; "
        "print(components.LoadRadiographd.__name__, components.classification_head.__name__)"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["LoadRadiographd", "classification_head"]
