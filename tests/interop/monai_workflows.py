"""A bundle's workflows as MONAI's documentation makes them, for the tests of MONAI's own ways."""

from pathlib import Path
from typing import Any

import pandas as pd
import torch
from monai.bundle import ConfigWorkflow
from monai.networks.nets import DenseNet

from tests.interop.site import Site
from tests.support.bundle_runs import no_pictures, our_errors
from tests.support.tiny_bundles import tiny_network

PLAIN = {"num_workers": 0, "batch_size": 4, "amp": False, "seed": 0}


def workflow(site: Site, *configs: str, kind: str, bundle: Path | None = None, **settings: Any) -> ConfigWorkflow:
    """Return an initialised workflow as MONAI's documentation makes it, named by its files alone."""
    plain = {} if configs == ("explain",) else PLAIN
    files = [str((bundle or site.bundle) / "configs" / f"{name}.json") for name in configs]
    with our_errors():
        made = ConfigWorkflow(files, workflow_type=kind, logging_file=False, **(plain | settings))
        made.initialize()
    return made


def run(made: ConfigWorkflow) -> None:
    with our_errors(), no_pictures():
        made.run()
        made.finalize()


def close(table: pd.DataFrame, expected: pd.DataFrame, tolerance: float = 1e-5) -> None:
    """Compare predictions by the films' names."""
    table = table.assign(image=[Path(str(image)).name for image in table["image"]]).set_index("image")
    pd.testing.assert_frame_equal(table, expected.loc[table.index], atol=tolerance, rtol=0, check_dtype=False)


def own_network(site: Site) -> DenseNet:
    network = tiny_network(0)
    network.load_state_dict(torch.load(site.bundle / "models" / "model.pt", weights_only=True))
    return network.eval()
