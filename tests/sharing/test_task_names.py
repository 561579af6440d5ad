"""Default names end in ``classification``, and what MONAI Label makes of them."""

import re

import pytest

from cxr_monai.sharing.export.task_names import LONGEST_NAME, default_name, says_classification
from tests.interop.monai_label import task_type

TITLES = {
    "Chest X-ray, 14 findings": "chest_x_ray_14_findings_classification",
    "Chest X-ray classification": "chest_x_ray_classification",
    "Pneumonia detection": "pneumonia_classification",
    "14 findings": "cxr_14_findings_classification",
    "Ödem": "dem_classification",
    "...": "cxr_classification",
    "": "cxr_classification",
    "Chest X-ray, Infiltration (Chest X-ray, 14 findings, fine-tuned), mean of 5 networks": (
        "chest_x_ray_infiltration_chest_x_ray_14_findings_classification"
    ),
}


@pytest.mark.parametrize("title", TITLES)
def test_default_names_are_names_that_label_reads_as_classification(title: str) -> None:
    name = default_name(title, "_")
    assert name == TITLES[title]
    assert re.fullmatch("[a-z][a-z0-9_]*", name)
    assert len(name) <= LONGEST_NAME
    assert task_type(name) == task_type(default_name(title, "-")) == "classification"
    assert says_classification(name)


@pytest.mark.parametrize(
    "name", ["cxr_nih14", "bundle", "lung_segmentation", "classification_detection", "Segmentation"]
)
def test_others_are_told_from_them(name: str) -> None:
    assert not says_classification(name)
    assert task_type(name) != "classification"
    assert says_classification(f"{name}_classification") is (task_type(f"{name}_classification") == "classification")
