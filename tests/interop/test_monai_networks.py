"""A network that is given ready made (``--network_def``) answers as the bundle's own or is refused."""

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
from monai.bundle import ConfigWorkflow
from monai.networks.utils import convert_to_torchscript

from cxr_monai.errors import CxrError
from tests.interop.monai_workflows import PLAIN, close, own_network, run, workflow
from tests.interop.site import Site
from tests.support.bundle_runs import SHIPPED, code_of, our_errors
from tests.support.tiny_bundles import tiny_network


def torchscript(path: Path, network: torch.nn.Module, frozen: bool = False) -> str:
    program = convert_to_torchscript(network.eval())
    torch.jit.save(torch.jit.freeze(program) if frozen else program, str(path))
    return f"$torch.jit.load('{path}')"


@pytest.mark.parametrize("config", ["inference", "evaluate"])
@pytest.mark.parametrize("frozen", [False, True])
def test_torchscript_in_the_networks_place(config: str, frozen: bool, site: Site, away: Path) -> None:
    """The model zoo's ``--network_def "$torch.jit.load(...)"``."""
    given = torchscript(away / "model.ts", own_network(site), frozen)
    made = workflow(site, config, kind="infer", manifest=str(site.manifest), network_def=given, output_dir="OUT")
    assert isinstance(made.network_def, torch.jit.ScriptModule)
    made.evaluator.run()
    close(pd.read_csv(away / "OUT" / "predictions.csv"), site.predict(raw=config == "evaluate"))


def test_torchscript_by_an_overlay_as_the_zoo_writes_it(site: Site, away: Path) -> None:
    """``inference_trt.json`` of the model zoo replaces imports, handlers, network_def and initialize."""
    given = torchscript(away / "model.ts", own_network(site))
    (away / "inference_trt.json").write_text(json.dumps({
        "imports": ["$import glob", "$import os"], "network_def": given, "evaluator#amp": False,
        "initialize": ["$monai.utils.set_determinism(seed=123)"]}))  # fmt: skip
    made = ConfigWorkflow(
        [site.config("inference"), str(away / "inference_trt.json")], workflow_type="infer", logging_file=False,
        **(PLAIN | {"bundle_root": str(site.bundle), "manifest": str(site.manifest), "output_dir": "OUT"}),
    )  # fmt: skip
    del made.parser.config["seed"]  # of the initialize that is replaced
    made.initialize()
    run(made)
    close(pd.read_csv(away / "OUT" / "predictions.csv"), site.predict())


def with_head(network: torch.nn.Module) -> torch.nn.Module:
    return torch.nn.Sequential(network, torch.nn.Sigmoid())


@pytest.mark.parametrize(
    "network",
    [lambda site: tiny_network(8), lambda site: with_head(own_network(site)), lambda site: torch.nn.Conv2d(3, 2, 32)],
    ids=["other weights", "its head", "other channels"],
)
@pytest.mark.parametrize("frozen", [False, True])
def test_torchscript_that_answers_otherwise_is_refused(
    network: Callable[[Site], torch.nn.Module], frozen: bool, site: Site, away: Path
) -> None:
    given = torchscript(away / "model.ts", network(site), frozen)
    with pytest.raises(CxrError, match="does not answer as the bundle's own") as error:
        workflow(site, "inference", kind="infer", manifest=str(site.manifest), network_def=given)
    assert code_of(error) == "bundle-disagrees"


def test_what_is_no_network_is_refused(site: Site, away: Path) -> None:
    with pytest.raises(CxrError, match="no network but a device") as error:
        workflow(site, "inference", kind="infer", manifest=str(site.manifest), network_def="$torch.device('cpu')")
    assert code_of(error) == "bundle-disagrees"


def test_torchscript_needs_the_bundles_weights(away: Path, site: Site) -> None:
    given = torchscript(away / "model.ts", own_network(site))
    with pytest.raises(CxrError) as error:
        workflow(site, "inference", kind="infer", bundle=SHIPPED, network_def=given)
    assert code_of(error) == "weights-missing"


@pytest.mark.parametrize("seed", [3, 8])
def test_torchscript_where_nothing_was_checked_before(
    seed: int, site: Site, away: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An overlay may replace ``initialize``: weights that can be compared must be the bundle's then as well."""
    given = torchscript(away / "model.ts", tiny_network(seed))
    made = ConfigWorkflow(
        site.config("inference"), logging_file=False, initialize=[], network_def=given, bundle_root=str(site.bundle)
    )
    made.initialize()
    with our_errors():
        if seed == 3:
            assert isinstance(made.parser.get_parsed_content("network"), torch.jit.ScriptModule)
            return
        with pytest.raises(CxrError) as error, our_errors():
            made.parser.get_parsed_content("network")
    assert code_of(error) == "weights-mismatch"


def test_a_frozen_program_where_nothing_was_checked_says_so(
    site: Site, away: Path, caplog: pytest.LogCaptureFixture
) -> None:
    given = torchscript(away / "model.ts", own_network(site), frozen=True)
    made = ConfigWorkflow(
        site.config("inference"), logging_file=False, initialize=[], network_def=given, bundle_root=str(site.bundle)
    )
    made.initialize()
    with caplog.at_level(logging.WARNING, "cxr_monai"):
        made.parser.get_parsed_content("network")
    assert "keeps its own weights" in caplog.text
