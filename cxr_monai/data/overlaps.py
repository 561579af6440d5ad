"""Which public data sets show the same films: a network that was trained on one is not externally tested on the other.

    overlap_of("nih", "rsna").why        # "RSNA's films were chosen from NIH ChestX-ray14"
    is_public("rsna")                    # True: "folder", say, names no data set
    collections_of("rsna")               # ("nih",): whose patient identifiers RSNA's may bear
    patient_keys(manifest.table)         # one text a row that is equal for the same patient of the same collection

A table of the project, with its sources; add a line where a new set is drawn from a known one.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True)
class Overlap:
    """Two sources share films.

    Attributes:
        first, second: the sources, as in a manifest's column ``source``.
        collection: the collection of films that both were drawn from.
        why: a sentence, with whose finding it is.
    """

    first: str
    second: str
    collection: str
    why: str


# source (a manifest's `source`, or a data set that has no adapter): the collection its films come from, and who says so
_DRAWN_FROM: dict[str, tuple[tuple[str, str], ...]] = {
    "rsna": (("nih", "RSNA's films were chosen from NIH ChestX-ray14 (Shih et al. 2019)"),),
    "siim": (("nih", "SIIM-ACR's films were chosen from NIH ChestX-ray14 (Filice et al. 2020)"),),
    "google": (("nih", "Google's radiologists read films of NIH ChestX-ray14 (Majkowska et al. 2020)"),),
    "google-14": (("nih", "Google's radiologists read films of NIH ChestX-ray14 (Nabulsi et al. 2021)"),),
    "chestx-det": (("nih", "ChestX-Det's films are NIH ChestX-ray14's, under other numbers (Lian et al. 2021)"),),
    "nih-cxr-lt": (("nih", "NIH-CXR-LT gives NIH ChestX-ray14's films more labels (Holste et al. 2022)"),),
    "covidx": (("nih", "part of COVIDx's films are RSNA's, and so NIH's (Wang et al. 2020)"),),
    "chexpert-plus": (("chexpert", "CheXpert Plus holds CheXpert's own films (Chambon et al. 2024)"),),
    "chexlocalize": (("chexpert", "CheXlocalize outlines CheXpert's validation and test films (Saporta et al. 2022)"),),
    "mimic-cxr-lt": (("mimic", "MIMIC-CXR-LT gives MIMIC-CXR's films more labels (Holste et al. 2022)"),),
    "cxr-lt": (
        ("mimic", "CXR-LT 2023 and 2024 give MIMIC-CXR's films more labels (Lin et al. 2025)"),
        ("padchest", "CXR-LT 2026 holds PadChest's films"),
        ("nih", "CXR-LT 2026 holds NIH ChestX-ray14's films"),
    ),
    "ms-cxr": (("mimic", "MS-CXR's boxes are on MIMIC-CXR's films (Boecking et al. 2022)"),),
    "padchest-gr": (("padchest", "PadChest-GR is drawn from PadChest (Castro et al. 2024)"),),
    "shenzhen": (),
    "montgomery": (),
    "tbx11k": (
        ("shenzhen", "TBX11K holds the Shenzhen set (Liu et al. 2020)"),
        ("montgomery", "TBX11K holds the Montgomery set (Liu et al. 2020)"),
    ),
}


_WHOLE_COLLECTIONS = ("nih", "chexpert", "mimic", "padchest", "vindr", "openi", "shenzhen", "montgomery")


def is_public(source: str) -> bool:
    """Return whether a source is a public data set that this table knows, and not a hospital's own word for its films.

    >>> is_public("RSNA"), is_public("folder"), is_public("")
    (True, False, False)
    """
    name = source.strip().lower()
    return name in _DRAWN_FROM or name in _WHOLE_COLLECTIONS


VAGUE_SOURCES = ("", "folder", "dicom")
"""Sources that say how films came, and not whose they are: nobody can tell what such films share with others."""


def collections_of(source: str) -> tuple[str, ...]:
    """Return the collections that a source's films come from; the source itself where it was drawn from no other.

    >>> collections_of("rsna"), collections_of("padchest"), collections_of("our hospital")
    (('nih',), ('padchest',), ('our hospital',))
    """
    drawn = _DRAWN_FROM.get(source.strip().lower(), ())
    return tuple(collection for collection, _ in drawn) or (source,)


def overlap_of(first: str, second: str) -> Overlap | None:
    """Return how two sources share films; None where none is known (which is no proof that there is none).

    Args:
        first, second: sources, as in a manifest's column ``source``; capitals and the order do not matter.

    >>> overlap_of("nih", "siim").why
    "SIIM-ACR's films were chosen from NIH ChestX-ray14 (Filice et al. 2020)"
    >>> overlap_of("rsna", "chexpert") is None
    True
    """
    names = first.strip().lower(), second.strip().lower()
    shared = [name for name in collections_of(names[0]) if name in collections_of(names[1])]
    if not shared:
        return None
    reasons = [why for name in dict.fromkeys(names) for drawn, why in _DRAWN_FROM.get(name, ()) if drawn == shared[0]]
    return Overlap(first, second, shared[0], "; ".join(reasons) or f"both are {shared[0]}")


def overlaps_among(trained_on: Iterable[str], tested_on: Iterable[str]) -> list[Overlap]:
    """Return all overlaps between two lists of sources, in their order; a source that is unknown (empty) has none."""
    tested = [source for source in tested_on if source]
    pairs = ((first, second) for first in trained_on if first for second in tested)
    return [overlap for first, second in pairs if (overlap := overlap_of(first, second)) is not None]


def patient_keys(table: pd.DataFrame) -> pd.Series:
    """Return a text for each row that is equal exactly for the same patient: ``<collection><TAB><patient_id>``.

    Patients of different collections may bear the same number; those of sources that were drawn from one collection
    bear that collection's numbers, where their adapter could find them (`cxr_monai.data.manifest.Manifest.patients`).
    Of a source of several collections the first counts.

    Args:
        table: a manifest's, with ``source`` and ``patient_id`` as text.

    >>> patient_keys(pd.DataFrame({"source": ["nih", "rsna", "mimic"], "patient_id": ["7", "7", "7"]})).tolist()
    ['nih\\t7', 'nih\\t7', 'mimic\\t7']
    """
    return collections_in(table) + "\t" + table["patient_id"].astype("str")


def collections_in(table: pd.DataFrame) -> pd.Series:
    """Return the collection of each row's film, in small letters; of a source of several the first.

    Args:
        table: with ``source``.
    """
    first = {source: collections_of(source)[0].strip().lower() for source in table["source"].unique()}
    return table["source"].map(first).astype("str")


def patient_names(table: pd.DataFrame) -> pd.Series:
    """Return a text for each row that tells the patients of one table apart: `patient_keys` if it is of several
    collections, else ``patient_id`` alone.

    Args:
        table: with ``patient_id`` as text, and perhaps ``source``.

    >>> patient_names(pd.DataFrame({"source": ["nih", "rsna"], "patient_id": ["7", "8"]})).tolist()
    ['7', '8']
    >>> patient_names(pd.DataFrame({"source": ["nih", "mimic"], "patient_id": ["7", "7"]})).tolist()
    ['nih\\t7', 'mimic\\t7']
    """
    if "source" not in table or collections_in(table).nunique() < 2:
        return table["patient_id"].astype("str")
    return patient_keys(table)
