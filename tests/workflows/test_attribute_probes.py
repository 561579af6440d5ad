"""Probes of features: a network that sees how bright a place's films are tells the place; drawn patients are whole."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from monai.transforms import Compose
from PIL import Image
from torch import nn

from cxr_monai.data.manifest import Manifest, build_manifest
from cxr_monai.evaluation.bootstrap import Intervals
from cxr_monai.inference.model import Model, ModelSettings
from cxr_monai.transforms.load_radiograph import LoadRadiographd
from cxr_monai.workflows.attribute_probes import attribute_probes

SIZE, COUNT = 32, 60
QUICK = Intervals(replicates=100)


class Quadrants(nn.Module):
    """Four features, the means of the quadrants, and a linear classifier on them."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.out = nn.Linear(4, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.out(self.pool(images).flatten(1))


@pytest.fixture(scope="module")
def model() -> Model:
    settings = ModelSettings(device="cpu", amp=False, num_workers=0)
    return Model(Quadrants(), Compose([LoadRadiographd(keys="image")]), ("Mass",), (1, SIZE, SIZE), settings=settings)


def site(root: Path, name: str, grey: float, first: int = 0) -> Manifest:
    """Films of one grey, two a patient; women's are brighter in the first quadrant."""
    rng = np.random.default_rng(len(name))
    rows = []
    for row in range(COUNT):
        film = np.clip(rng.normal(grey, 0.1) + rng.normal(0, 0.05, (SIZE, SIZE)), 0, 1)
        sex = "FM"[row // 2 % 2]
        film[:16, :16] += 0.3 * (sex == "F")
        Image.fromarray((np.clip(film, 0, 1) * 255).astype(np.uint8)).save(root / f"{name}{row}.png")
        rows.append({
            "image": f"{name}{row}.png", "patient_id": str(first + row // 2), "study_id": "", "view": "PA",
            "age": 50.0, "sex": sex, "source": "nih", "split": "", "Mass": 0.0,
        })  # fmt: skip
    return build_manifest(pd.DataFrame(rows), root, "local")


def test_the_place_is_told_where_its_films_are_brighter(model: Model, tmp_path: Path) -> None:
    sites = {"A": site(tmp_path, "a", 0.3), "B": site(tmp_path, "bb", 0.6, first=1000)}
    probes = attribute_probes(model, sites, QUICK).set_index("attribute")
    assert probes.loc["source", "groups"] == "A | B"
    assert probes.loc["source", ["images", "patients"]].tolist() == [2 * COUNT, COUNT]
    assert probes.loc["source", "auroc_low"] > 0.85
    assert probes.loc["sex", "auroc_low"] > 0.8
    assert probes.loc["view", "note"].startswith("too few to say")


def test_a_place_alike_is_not_told_and_its_own_patients_are_one(model: Model, tmp_path: Path) -> None:
    """Both places are of one collection: the same number is the same patient, in one fold."""
    alike = {"A": site(tmp_path, "a", 0.5), "B": site(tmp_path, "bb", 0.5)}
    probes = attribute_probes(model, alike, QUICK).set_index("attribute")
    assert probes.loc["source", "patients"] == COUNT // 2
    assert probes.loc["source", "auroc_low"] < 0.6
    alone = attribute_probes(model, {"A": alike["A"]}, QUICK).set_index("attribute")
    assert np.isnan(alone.loc["source", "auroc"])


def test_whole_patients_are_drawn_and_bad_files_left_out(model: Model, tmp_path: Path) -> None:
    manifest = site(tmp_path, "a", 0.5)
    drawn = attribute_probes(model, {"A": manifest}, QUICK, most_images=51).set_index("attribute")
    assert drawn.loc["sex", ["images", "patients"]].tolist() == [50, 25] or np.isnan(drawn.loc["sex", "auroc"])
    table = manifest.table.copy()
    table.loc[0, "image"] = "gone.png"
    rest = attribute_probes(model, {"A": replace(manifest, table=table)}, QUICK).set_index("attribute")
    assert rest.loc["view", "images"] == COUNT - 1
