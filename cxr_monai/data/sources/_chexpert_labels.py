"""CheXpert's 14 labels, which MIMIC-CXR-JPG and CheXpert Plus have too: 1, 0, -1 and nothing become 1, 0 and unknown.

Irvin, Rajpurkar, Ko et al.: CheXpert: A Large Chest Radiograph Dataset with Uncertainty Labels and Expert Comparison.
AAAI 2019, doi 10.1609/aaai.v33i01.3301590. A labeller read each study's report: ``1`` mentioned as present, ``0``
mentioned as absent, ``-1`` uncertain, empty not mentioned. "No Finding" is 1 where it found no abnormality at all, and
then the other labels but Support Devices are absent.

    marks = read_marks(cells, path, "CheXpert")             # 1, 0, -1, NaN under CheXpert's names
    labels, record = resolve_marks(marks, policies, "chexpert v1.0-small")

*Lung Lesion* is a mass or a nodule: the composite ``Mass or Nodule``, whose 0 makes ``Mass`` and ``Nodule`` 0 and whose
1 leaves both unknown. *Lung Opacity* says nothing of its members either way: of the 6,599 films of CheXpert's training
table without it, 1,040 have a member of it. Infiltration, Emphysema, Fibrosis, Pleural_Thickening and Hernia have no
counterpart, and so no column.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cxr_monai.composites import COMPOSITES
from cxr_monai.data.columns import find_column, key
from cxr_monai.data.label_record import LabelRecord, count_unknown
from cxr_monai.data.sources._policies import DEFAULT_POLICY, parse_policies
from cxr_monai.data.sources._public import wrong_table
from cxr_monai.data.sources._unions import with_members
from cxr_monai.errors import Code, ManifestError
from cxr_monai.plurals import counted, have

_NORMAL, _DEVICES, _LESION = "No Finding", "Support Devices", "Lung Lesion"
_UNION = "Mass or Nodule"
_MEMBERS = COMPOSITES[_UNION].members
# CheXpert's label: the manifest's finding; NIH's first and in NIH's order, then the composites, then the others
FINDING_OF = {
    "Atelectasis": "Atelectasis",
    "Cardiomegaly": "Cardiomegaly",
    "Pleural Effusion": "Effusion",
    "Pneumonia": "Pneumonia",
    "Pneumothorax": "Pneumothorax",
    "Consolidation": "Consolidation",
    "Edema": "Edema",
    _LESION: _UNION,
    "Lung Opacity": "Lung Opacity",
    "Enlarged Cardiomediastinum": "Enlarged Cardiomediastinum",
    "Pleural Other": "Pleural Other",
    "Fracture": "Fracture",
    _DEVICES: _DEVICES,
}
_SPELLINGS = {
    _NORMAL: ("nofinding", "nofindings"),
    "Lung Opacity": ("lungopacity", "airspaceopacity"),  # CheXlocalize's and MIMIC's radiologists say the latter
}
_CELLS = {"1": 1.0, "1.0": 1.0, "0": 0.0, "0.0": 0.0, "-1": -1.0, "-1.0": -1.0}
_BLANK = ("", "nan", "none", "null")
_RULES = {
    _UNION: f"{COMPOSITES[_UNION].rule} It is the set's {_LESION}: 0 makes Mass and Nodule 0, 1 leaves "
    "both unknown (counted as uncertain); neither is ever 1.",
    "Lung Opacity": f"{COMPOSITES['Lung Opacity'].rule} It is the set's label, and makes none of its members 0 or 1.",
}


@dataclass(frozen=True)
class Policies:
    """What ``-1`` and an empty cell become, by finding of the manifest.

    Attributes:
        uncertain, unmentioned: finding -> 1, 0, NaN.
        settings: the two settings as the user gave them.
    """

    uncertain: Mapping[str, float]
    unmentioned: Mapping[str, float]
    settings: Mapping[str, str]

    @classmethod
    def parse(cls, uncertain: str | None, unmentioned: str | None) -> "Policies":
        """Read ``--uncertain`` and ``--unmentioned``; findings by CheXpert's names or the manifest's.

        Raises:
            UsageError: ``usage``.
        """
        settings = {"uncertain": uncertain or DEFAULT_POLICY, "unmentioned": unmentioned or DEFAULT_POLICY}
        parsed = {
            option: parse_policies(f"--{option}", setting, list(FINDING_OF.values()), FINDING_OF)
            for option, setting in settings.items()
        }
        return cls(**parsed, settings=settings)


def label_columns(columns: list[str], path: Path, dataset: str) -> dict[str, str]:
    """Return the table's column of each of the 14 labels, by CheXpert's names.

    Raises:
        ManifestError: ``source-invalid`` naming those that it lacks, and whose table it looks like.
    """
    by_label = {label: find_column(columns, _SPELLINGS.get(label, (key(label),))) for label in (_NORMAL, *FINDING_OF)}
    lacking = [label for label, column in by_label.items() if column is None]
    if lacking:
        raise wrong_table(path, columns, f"it lacks {', '.join(map(repr, lacking))}", dataset)
    return {label: column for label, column in by_label.items() if column is not None}


def read_marks(cells: pd.DataFrame, path: Path, dataset: str) -> pd.DataFrame:
    """Return the 14 labels as float32 [N] columns under CheXpert's names: 1, 0, -1, NaN where the cell is empty.

    Args:
        cells: text (or categories of text), indexed by line.
        path: the table, for messages.
        dataset: whose table it should be.

    Raises:
        ManifestError: ``source-invalid`` for a column that is not there, or another word in a cell.
    """
    marks = {}
    for label, column in label_columns(list(cells.columns), path, dataset).items():
        codes, texts = pd.factorize(cells[column], use_na_sentinel=False)
        words = [str(text).strip().lower() for text in texts]
        strange = [code for code, word in enumerate(words) if word not in _CELLS and word not in _BLANK]
        if strange:
            line = cells.index[codes == strange[0]][0]
            raise ManifestError(
                Code.SOURCE_INVALID,
                f"{column} is {texts[strange[0]]!r}, and is 1, 0, -1 or empty.",
                where=f"{path}, line {line}",
            )
        values = np.array([_CELLS.get(word, np.nan) for word in words] or [np.nan], dtype=np.float32)
        marks[label] = values[codes]
    return pd.DataFrame(marks, index=cells.index)


def resolve_marks(
    marks: pd.DataFrame, policies: Policies, dataset: str, settings: Mapping[str, str] | None = None
) -> tuple[pd.DataFrame, LabelRecord, list[str]]:
    """Return the findings (1, 0, NaN), why labels are unknown, and notes.

    Args:
        marks: [N] of `read_marks`. A row without any label is a study that nobody labelled: it stays unknown whatever
            ``--unmentioned`` says, and counts as *study excluded*.
        policies: what -1 and an empty cell become.
        dataset: the set with its release, for the record.
        settings: further choices for the record.
    """
    silent = marks.isna().all(axis=1).to_numpy()
    normal = (marks[_NORMAL] == 1).to_numpy()
    labels: dict[str, np.ndarray] = {}
    reasons: dict[str, dict[str, np.ndarray]] = {"uncertain": {}, "unmentioned": {}}
    against = np.zeros(len(marks), dtype=bool)
    for label, finding in FINDING_OF.items():
        values = marks[label].to_numpy(dtype=float, copy=True)
        uncertain, blank = values == -1, np.isnan(values) & ~silent
        if label != _DEVICES:
            against |= normal & (values == 1)
            values[blank & normal] = 0.0
            blank &= ~normal
        values[uncertain] = policies.uncertain[finding]
        values[blank] = policies.unmentioned[finding]
        labels[finding] = values
        reasons["uncertain"][finding], reasons["unmentioned"][finding] = uncertain, blank
    for member in _MEMBERS:
        reasons["uncertain"][member] = reasons["uncertain"][_UNION] | (labels[_UNION] == 1)
        reasons["unmentioned"][member] = reasons["unmentioned"][_UNION]
    table = with_members(pd.DataFrame(labels, index=marks.index), [_UNION])
    excluded = pd.DataFrame(dict.fromkeys(table, silent))
    counts = count_unknown(
        table, {name: pd.DataFrame(where) for name, where in reasons.items()} | {"study excluded": excluded}
    )
    record = LabelRecord(dataset, {**policies.settings, **(settings or {})}, counts, _RULES)
    notes = []
    if silent.any():
        number = int(silent.sum())
        notes.append(
            f"{counted(number, 'image')} {have(number)} no label at all: all unknown (study excluded), whatever "
            "--unmentioned says"
        )
    if against.any():
        notes.append(
            f"{_NORMAL!r} stands beside a finding at {counted(int(against.sum()), 'image')}; the finding is kept"
        )
    return table, record, notes
