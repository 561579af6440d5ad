"""Names of findings in the public data sets, and which of them are the same finding.

NIH ChestX-ray14 (Wang et al. 2017) is `cxr_monai.labels.NIH14`; CheXpert and MIMIC-CXR-JPG: Irvin et al., AAAI 2019;
VinDr-CXR: Nguyen et al., Scientific Data 2022; PadChest (Bustos et al., Medical Image Analysis 2020), MIMIC-CXR-LT
(Holste et al. 2022). Names are compared by letters and digits alone.
"""

from collections.abc import Iterable

from cxr_monai.composites import COMPOSITES
from cxr_monai.data.columns import key
from cxr_monai.labels import NIH14

CHEXPERT = (
    "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Airspace Opacity", "Lung Lesion", "Edema",
    "Consolidation", "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other", "Fracture",
    "Support Devices",
)  # fmt: skip
VINDR = (
    "Aortic enlargement", "Calcification", "Clavicle fracture", "Enlarged PA", "ILD", "Lung cavity", "Lung cyst",
    "Mediastinal shift", "Nodule/Mass", "Pleural thickening", "Pulmonary fibrosis", "Rib fracture", "Other lesion",
    "COPD", "Lung tumor", "Tuberculosis", "Other disease", "Other diseases",
)  # fmt: skip
OTHERS = (
    "Hiatal hernia", "Hiatus hernia", "Pulmonary edema", "Pulmonary oedema", "Oedema", "Infiltrate", "Infiltrates",
    "Infiltration", "Effusions", "Scoliosis", "Pulmonary mass", "Subcutaneous Emphysema", "Pneumomediastinum",
    "Pneumoperitoneum", "Tortuous Aorta", "Calcification of the Aorta", "COVID-19", "COVID", "Silicosis", "Granuloma",
    *COMPOSITES,
    "Bronchiectasis", "Interstitial pattern", "Hilar enlargement", "Lung nodule", "Lung mass", "Pulmonary nodule",
)  # fmt: skip
_ONE = {
    "Effusion": ("pleuraleffusion", "effusions", "pleuraleffusions"),
    "Edema": ("pulmonaryedema", "pulmonaryoedema", "oedema", "lungedema"),
    "Fibrosis": ("pulmonaryfibrosis", "lungfibrosis"),
    "Hernia": ("hiatalhernia", "hiatushernia"),
    "Infiltration": ("infiltrate", "infiltrates"),
    "Pleural_Thickening": ("pleuralthickening",),
    "Mass": ("pulmonarymass", "lungmass"),
    "Nodule": ("pulmonarynodule", "lungnodule"),
}

_SAME = {other: finding for finding, others in _ONE.items() for other in others}
_SAME |= {key(finding): finding for finding in (*NIH14, *_ONE)}
_KNOWN = {*map(key, (*NIH14, *CHEXPERT, *VINDR, *OTHERS)), *_SAME}


def is_known(name: str) -> bool:
    """Return whether a column of this name is a finding of a public data set.

    >>> is_known("Pleural Effusion"), is_known("Operator")
    (True, False)
    """
    return key(name) in _KNOWN


def is_no_finding(name: str) -> bool:
    """Return whether a column says that there is no finding, as CheXpert's and VinDr's do."""
    return key(name) in ("nofinding", "nofindings")


def doubled(names: Iterable[str]) -> dict[str, list[str]]:
    """Return the findings that several of some names stand for, and those names.

    ``Effusion`` and ``Pleural Effusion`` are one, as are two names that differ in capitals and blanks alone.

    >>> doubled(["Effusion", "effusion", "Mass"])
    {'Effusion': ['Effusion', 'effusion']}
    """
    by_finding: dict[str, list[str]] = {}
    for name in names:
        alike = key(name) if is_known(name) else " ".join(name.casefold().split())
        by_finding.setdefault(_SAME.get(alike, alike), []).append(name)
    several = {finding: spellings for finding, spellings in by_finding.items() if len(spellings) > 1}
    return {
        finding if finding in _ONE or finding in NIH14 else spellings[0]: spellings
        for finding, spellings in several.items()
    }
