"""Radiologists' labels of NIH's films as manifests, from the small tables of ``shared/data/expert``."""

from dataclasses import replace
from pathlib import Path

import pandas as pd

from cxr_monai.data.manifest import Manifest, read_manifest
from cxr_monai.labels import NIH14, spelling


def laid_over(nih: Manifest, labels: pd.DataFrame, version: str) -> Manifest:
    """NIH's rows of the images that were read, with the readers' labels in the place of NIH's.

    Args:
        nih: the whole table.
        labels: ``image`` and one column a finding.
        version: of the labels.
    """
    rows = nih.table.drop(columns=list(nih.findings))
    table = rows.merge(labels, left_on=rows["image"].str.rpartition("/")[2], right_on="image", suffixes=("", "_read"))
    table = table.drop(columns=[name for name in ("key_0", "image_read") if name in table])
    return replace(nih, table=table, label_version=version)


def rsna_labels(realdata: Path) -> pd.DataFrame:
    """RSNA's classes: an opacity that is suspicious for pneumonia, or none."""
    table = pd.read_csv(realdata / "expert" / "rsna_on_nih.csv.gz").drop_duplicates("image")
    return pd.DataFrame({
        "image": table["image"],
        "Pneumonia-like Opacity": (table["rsna_class"] == "Lung Opacity").astype(float),
    })  # fmt: skip


def google_labels(realdata: Path) -> pd.DataFrame:
    """Google's four adjudicated findings, and ``set``."""
    table = pd.read_csv(realdata / "expert" / "google_four_findings.csv.gz")
    names = {"Airspace_opacity": "Airspace Opacity", "Nodule_or_mass": "Mass or Nodule"}
    return table.rename(columns=names).astype(dict.fromkeys((*names.values(), "Fracture", "Pneumothorax"), float))


def google_14_labels(realdata: Path) -> pd.DataFrame:
    """All 14 findings of 447 films, by the majority of three radiologists."""
    return _of_14(pd.read_csv(realdata / "expert" / "google_14_findings.csv.gz"))


def google_14_readers(realdata: Path) -> pd.DataFrame:
    """Each of the five radiologists' own reading, as ``M.readers.csv`` holds it."""
    table = pd.read_csv(realdata / "expert" / "google_14_readers.csv.gz")
    truth = (4343882785, 4343883593, 4343883996)
    labels = _of_14(table)
    labels.insert(1, "reader", table["Reader ID"].astype(str))
    labels.insert(2, "in_truth", table["Reader ID"].isin(truth).astype(int))
    return labels


def _of_14(table: pd.DataFrame) -> pd.DataFrame:
    named = table.rename(columns={name: spelling(name) for name in table})
    labels = (named[list(NIH14)] == "YES").astype(float)
    labels.insert(0, "image", named["Image ID"])
    return labels


def nih_manifest(path: Path) -> Manifest:
    """The fixture ``chexnet_manifest``."""
    return read_manifest(path, check_files=False)
