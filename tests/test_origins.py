"""Whose images and labels: no sentence presumes NIH, and what was drawn says so."""

from typing import Any

import pytest

from cxr_monai import origins
from cxr_monai.errors import BundleError, Code


@pytest.mark.parametrize(
    ("version", "split", "said", "unsaid"),
    [
        ("nih-v2020", "NIH's official split", "in the revision of 2020", "phantom"),
        ("nih-2017", "NIH's official split", "as first published in 2017", "phantom"),
        ("phantom-v1", "the split that was drawn with the phantoms", "a program drew each image", "NIH"),
        ("local", "the split of two lists that lay with the images", "can't tell who made them", "NIH"),
        ("nih-other", "the split of two lists that lay with the images", "can't tell who made them", "NIH"),
        ("unlabelled", "the split of two lists that lay with the images", "can't tell who made them", "NIH"),
    ],
)
def test_what_labels_are_and_whose_split(version: str, split: str, said: str, unsaid: str) -> None:
    text = " ".join(origins.labels_of(version))
    assert origins.official_split(version) == split
    assert said in text
    assert unsaid not in text
    assert ("No radiologist looked at the image" in text) is origins.is_nih(version)
    assert ("nobody is shown" in text) is origins.is_synthetic(version)
    assert ("'Has the label' is not 'has the disease'" in text) is not origins.is_synthetic(version)


@pytest.mark.parametrize("version", origins.READ_BY_RADIOLOGISTS)
def test_labels_of_radiologists_are_what_they_saw(version: str) -> None:
    text = " ".join(origins.labels_of(version))
    assert "'Has the label' is what was seen on the film" in text
    assert origins.READ_BY_RADIOLOGISTS[version] in text
    assert "can't tell who made them" not in text
    assert origins.READ_BY_RADIOLOGISTS[version] in origins.labelled_by({"label_version": version})


@pytest.mark.parametrize("version", origins.MINED_FROM_REPORTS)
def test_labels_of_reports_are_not_what_the_film_shows(version: str) -> None:
    text = " ".join(origins.labels_of(version))
    assert "'Has the label' is not 'has the disease'. The labels come from written reports" in text
    assert origins.MINED_FROM_REPORTS[version] in text
    assert "can't tell who made them" not in text


NIH = {"label_version": "nih-v2020", "images": 100, "synthetic_images": 0}
DRAWN = {"label_version": "phantom-v1", "images": 100, "synthetic_images": 100}
MIXED = {"label_version": "local", "images": 1200, "synthetic_images": 1}
LOCAL = {"label_version": "local", "images": 100, "synthetic_images": 0}


@pytest.mark.parametrize(
    ("told", "source", "labels", "drawn"),
    [
        (NIH, "NIH ChestX-ray14 (Wang et al., CVPR 2017, doi 10.1109/CVPR.2017.369)",
         "labels are NIH's, mined from written reports by a program (in the revision of 2020)", False),
        (DRAWN, "synthetic images, drawn by a program (cxr-monai phantom); no patient is among them",
         "labels were drawn with the images and are exactly known", True),
        (LOCAL, "a table of images with labels of version 'local'; whose images they are is not recorded",
         "labels are of version 'local'; who made them, and from what, is not recorded", False),
        (MIXED, "a table of images with labels of version 'local'; whose images they are is not recorded; 1 of the "
         "1,200 images is synthetic, drawn by a program (cxr-monai phantom)",
         "labels are of version 'local'; who made them, and from what, is not recorded", True),
        (NIH | {"parent": DRAWN}, "NIH ChestX-ray14 (Wang et al., CVPR 2017, doi 10.1109/CVPR.2017.369); its parent "
         "was trained on synthetic images, drawn by a program (cxr-monai phantom); no patient is among them",
         "labels are NIH's, mined from written reports by a program (in the revision of 2020)", True),
    ],
)  # fmt: skip
def test_what_a_network_has_learned_from(told: dict[str, Any], source: str, labels: str, drawn: bool) -> None:
    assert origins.source_of(told) == source
    assert origins.labelled_by(told) == labels
    assert origins.is_drawn(told) is drawn
    assert origins.learned_from(told) == (f"Trained on {source}." if drawn else "")


def test_nothing_is_said_where_nothing_is_recorded() -> None:
    assert origins.is_drawn(None) is False
    assert origins.learned_from(None) == ""


@pytest.mark.parametrize(
    "told",
    [
        "phantoms",
        ["phantom-v1", 3, 3],
        {"synthetic_images": 3},
        {"label_version": "phantom-v1", "images": "3", "synthetic_images": 3},
        {"label_version": "phantom-v1", "images": 3, "synthetic_images": [3]},
        {"label_version": ["phantom-v1"], "images": 3, "synthetic_images": 3},
        {"label_version": "local", "images": 3, "synthetic_images": 3, "parent": "a"},
        {"label_version": "local", "images": 3, "synthetic_images": 0, "parent": {"synthetic_images": "many"}},
    ],
)
def test_what_no_training_writes_into_a_bundle_is_refused_with_a_code(told: Any) -> None:
    for read in (origins.learned_from, origins.source_of):
        with pytest.raises(BundleError, match="trained_on") as caught:
            read(told)
        assert caught.value.code == Code.BUNDLE_INVALID
