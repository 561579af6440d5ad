"""Every workflow of the bundle for one tiny epoch, from a directory that is neither the bundle's nor the data's."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from cxr_monai.labels import NIH14
from tests.bundles.running import TINY, Phantoms, Trained, run

pytest_plugins = ["tests.bundles.fixtures"]


def test_training_leaves_its_source_alone(trained: Trained) -> None:
    assert trained.source_after == trained.source_before
    assert not trained.source.exists()


def test_evaluation(trained: Trained, phantoms: Phantoms, elsewhere: Path) -> None:
    run(trained.bundle, "evaluate", manifest=str(phantoms.manifest), output_dir="results", batch_size=8)
    assert (elsewhere / "results" / "metrics.csv").is_file()
