"""Some views of a table: by hand, what is said of the rest, and each study's best frontal image."""

import logging
from pathlib import Path

import pandas as pd
import pytest

from cxr_monai.data.dataset import open_manifest
from cxr_monai.data.manifest import Manifest, build_manifest, write_manifest
from cxr_monai.data.view_selection import of_views, select_views
from cxr_monai.errors import Code, SettingError

# image, patient, study, view; patient 1 of two collections
ROWS = [
    ("b.png", "1", "s1", "AP", "nih"),
    ("a.png", "1", "s1", "PA", "nih"),
    ("c.png", "1", "s1", "PA", "nih"),
    ("d.png", "1", "s1", "LATERAL", "nih"),
    ("e.png", "1", "s2", "AP supine", "nih"),
    ("f.png", "1", "s2", "", "nih"),
    ("g.png", "2", "", "AP", "nih"),
    ("h.png", "2", "", "AP", "nih"),
    ("i.png", "3", "s1", "LATERAL", "nih"),
    ("j.png", "1", "s1", "AP", "chexpert"),
]


@pytest.fixture
def manifest() -> Manifest:
    table = pd.DataFrame(ROWS, columns=["image", "patient_id", "study_id", "view", "source"])
    return build_manifest(table.assign(Mass=1, split="train"), ".", "local")


@pytest.mark.parametrize(
    ("views", "images", "said"),
    [
        ("PA", "ac", "Only the views PA: 2 of 10 images; left out are 4 AP, 2 LATERAL, 1 AP supine, 1 of unk"),
        (["pa", "ap"], "bacghj", "Only the views PA, AP: 6 of 10 images; left out are 2 LATERAL, 1 AP supine"),
        ("AP supine,LATERAL", "dei", "Only the views AP supine, LATERAL: 3 of 10"),
        # PA before AP, by name among equals; no study id: each its own; another collection's patient is another
        ("best-frontal", "aeghj", "Only the best frontal image of each study: 5 of 10 images; left out are 2 LATERAL"),
    ],
)  # fmt: skip
def test_by_hand(
    manifest: Manifest, views: str | list, images: str, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    chosen = of_views(manifest, views)
    assert chosen.table["image"].tolist() == [f"{image}.png" for image in images]
    assert said in caplog.text
    assert of_views(manifest, None) is manifest


def test_what_is_chosen_is_the_same_for_any_order_of_rows(manifest: Manifest) -> None:
    turned = manifest.table.iloc[::-1]
    is_kept, _ = select_views(turned, "best-frontal")
    assert sorted(turned["image"][is_kept]) == [f"{image}.png" for image in "aeghj"]


@pytest.mark.parametrize(("views", "problem"), [("PA,nose", "'NOSE'"), ("", "name"), ("PA,PA", "stands twice")])
def test_what_is_no_view_is_refused(manifest: Manifest, views: str, problem: str) -> None:
    with pytest.raises(SettingError, match=problem) as error:
        of_views(manifest, views)
    assert error.value.code == Code.SETTING_INVALID


def test_no_image_of_a_view_is_refused_with_those_that_there_are(manifest: Manifest, tmp_path: Path) -> None:
    table = manifest.table[manifest.table["view"].isin(["LATERAL", ""])]
    write_manifest(build_manifest(table, tmp_path, "local"), tmp_path / "m.csv")
    for image in table["image"]:
        (tmp_path / image).touch()
    for views in ("PA", "best-frontal"):
        with pytest.raises(SettingError, match="there are 2 LATERAL, 1 of unknown view"):
            open_manifest(str(tmp_path / "m.csv"), views=views)
    assert open_manifest(str(tmp_path / "m.csv"), views="LATERAL").views == "LATERAL"
