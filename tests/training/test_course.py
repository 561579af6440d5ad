"""What a training is known by: the continuation of one list of manifests is none of another."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from cxr_monai.data.manifest import Manifest, build_manifest
from cxr_monai.data.multi_source import join_manifests
from cxr_monai.training.settings import course

LABELS = {"north": [1, 0, 1, 0], "south": [0, 1, 1, 0], "east": [1, 1, 0, 0]}


def hospital(name: str) -> Manifest:
    table = pd.DataFrame({
        "image": [f"{name}{number}.png" for number in range(4)], "patient_id": list("abcd"), "source": name,
        "split": ["train", "train", "val", "val"], "Mass": LABELS[name],
    })  # fmt: skip
    return build_manifest(table, ".", "local")


def joined(*names: str) -> Manifest:
    return join_manifests([(name, Path(f"{name}.csv"), hospital(name)) for name in names])


def settings(manifest: Manifest, **config: str) -> dict[str, str]:
    return course(config, manifest, ["Mass"], 2)


@pytest.mark.parametrize("others", [("north", "east"), ("south", "north"), ("north",), ("north", "south", "east")])
def test_another_list_of_manifests_is_another_training(others: tuple[str, ...]) -> None:
    assert settings(joined("north", "south")) == settings(joined("north", "south"))
    differing = settings(joined(*others)).items() ^ settings(joined("north", "south")).items()
    assert "train part" in {name for name, _ in differing}


def test_which_images_are_of_one_source_counts_where_sources_are_balanced() -> None:
    both = joined("north", "south")
    moved = replace(both, table=both.table.assign(source=["north", "south", *both.table["source"][2:]]))
    renamed = replace(both, table=both.table.assign(source=both.table["source"] + " hospital"))
    assert settings(both) == settings(moved)
    balanced = settings(both, sampling="balanced_sources")
    assert balanced == settings(renamed, sampling="balanced_sources")
    differing = balanced.items() ^ settings(moved, sampling="balanced_sources").items()
    assert {name for name, _ in differing} == {"sources"}
