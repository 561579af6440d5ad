"""The synthetic patients: studies, ages, sexes, views and findings, as one table.

Findings co-occur as NIH's do (an effusion with atelectasis, a pneumothorax with emphysema, edema with pneumonia), grow
likelier with age or at the bedside where the real ones do, and last: behind each finding of a patient stands a normal
variable that is correlated with the others' and drifts slowly from study to study; above its threshold, the finding is
there. The prevalences keep NIH's order and long tail, but the tail is lifted, so that a few thousand images hold enough
of each finding to train and to test on.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from scipy.stats import norm

from cxr_monai.data.phantom.film_mix import CHILD_AGES, FilmMix
from cxr_monai.data.views import LATERAL
from cxr_monai.labels import NIH14, NO_FINDING

PREVALENCE: dict[str, float] = {
    "Infiltration": 0.170,
    "Effusion": 0.140,
    "Atelectasis": 0.130,
    "Nodule": 0.110,
    "Mass": 0.090,
    "Pneumothorax": 0.085,
    "Consolidation": 0.080,
    "Pleural_Thickening": 0.075,
    "Cardiomegaly": 0.060,
    "Emphysema": 0.055,
    "Edema": 0.052,
    "Fibrosis": 0.050,
    "Pneumonia": 0.048,
    "Hernia": 0.040,
}
"""Expected share of images with each finding."""

# correlation of the variables behind two findings, read off NIH's co-occurrences (Data_Entry_2017_v2020.csv)
_TOGETHER: dict[tuple[str, str], float] = {
    ("Atelectasis", "Effusion"): 0.40,
    ("Atelectasis", "Consolidation"): 0.28,
    ("Atelectasis", "Infiltration"): 0.18,
    ("Atelectasis", "Pneumonia"): 0.15,
    ("Cardiomegaly", "Effusion"): 0.38,
    ("Cardiomegaly", "Edema"): 0.18,
    ("Effusion", "Infiltration"): 0.25,
    ("Effusion", "Consolidation"): 0.30,
    ("Effusion", "Edema"): 0.25,
    ("Effusion", "Pneumonia"): 0.15,
    ("Effusion", "Pleural_Thickening"): 0.25,
    ("Effusion", "Mass"): 0.18,
    ("Infiltration", "Edema"): 0.30,
    ("Infiltration", "Pneumonia"): 0.28,
    ("Infiltration", "Consolidation"): 0.15,
    ("Mass", "Nodule"): 0.35,
    ("Mass", "Consolidation"): 0.28,
    ("Mass", "Pleural_Thickening"): 0.25,
    ("Nodule", "Pleural_Thickening"): 0.22,
    ("Nodule", "Fibrosis"): 0.13,
    ("Pneumonia", "Edema"): 0.50,
    ("Pneumonia", "Consolidation"): 0.18,
    ("Pneumothorax", "Emphysema"): 0.48,
    ("Emphysema", "Pleural_Thickening"): 0.15,
    ("Fibrosis", "Pleural_Thickening"): 0.30,
    ("Fibrosis", "Hernia"): 0.12,
}
_OLDER = {
    "Hernia": 0.30,
    "Fibrosis": 0.20,
    "Cardiomegaly": 0.08,
    "Effusion": 0.08,
    "Emphysema": 0.12,
    "Atelectasis": 0.1,
}
_BEDSIDE = {
    "Edema": 0.40,
    "Pneumonia": 0.15,
    "Consolidation": 0.22,
    "Infiltration": 0.15,
    "Effusion": 0.12,
    "Atelectasis": 0.12,
    "Fibrosis": -0.20,
    "Hernia": -0.15,
}
_PERSISTENCE = 0.75
_BEDSIDE_SHARE = 0.40
_TABLE, _SPLIT, _CHILD, _VIEW, _TIMES = range(101, 106)  # random streams, apart from those of `draw`
_TEST_EVERY = 4
USUAL_MIX = FilmMix()
"""Frontal films alone, patients of the usual ages."""


@dataclass(frozen=True)
class Study:
    """One row of the table: a patient's image."""

    patient: int  # number in the cohort, from 1
    index: int  # follow-up number, from 0
    age: int
    sex: str
    view: str
    findings: tuple[str, ...]
    seed: int = 0  # of the cohort
    taken_on: str = ""  # ISO 8601; empty: by the patient's number

    @property
    def patient_id(self) -> int:
        """The patient's identifier: no other seed has it, and no patient of NIH's (1 to 30,805).

        It is (seed + 1) * 1,000,000 + patient, so cohorts of two seeds share nobody as long as they have fewer than a
        million patients each. From seed 99 on a file name has more than NIH's eight digits.
        """
        return (self.seed + 1) * 1_000_000 + self.patient

    @property
    def image(self) -> str:
        """NIH's form of a file name."""
        return f"{self.patient_id:08d}_{self.index:03d}.png"

    @property
    def labels(self) -> str:
        """NIH's form of the findings."""
        return "|".join(self.findings) or NO_FINDING


def make_cohort(
    count: int, seed: int, prevalence: Mapping[str, float] = PREVALENCE, mix: FilmMix = USUAL_MIX
) -> list[Study]:
    """Return ``count`` studies, by patient and follow-up; a patient depends on (seed, patient) alone.

    Args:
        count: of studies (images).
        seed: of all patients.
        prevalence: expected share of images with each of the 14 findings. Patients, ages, sexes and views are the same
            whatever it is, and where a finding is commoner, who had it has it still.
        mix: laterals, children, a period. Who is no child has the same films whatever the share of children, and a
            lateral stands in the place of a frontal film; findings are the study's.

    >>> studies = make_cohort(3, seed=0)
    >>> [(study.image, study.view) for study in studies]
    [('01000001_000.png', 'PA'), ('01000002_000.png', 'AP'), ('01000003_000.png', 'AP')]
    """
    thresholds = norm.isf([prevalence[finding] for finding in NIH14])
    studies: list[Study] = []
    patient = 1
    while len(studies) < count:
        studies.extend(_mixed(_sample_patient(seed, patient, thresholds, _child_age(seed, patient, mix)), mix))
        patient += 1
    return studies[:count]


def held_out_patients(studies: list[Study], seed: int, prevalence: Mapping[str, float] = PREVALENCE) -> set[int]:
    """Return the quarter of the patients that is held out, spread evenly over the rarest finding that each has.

    Args:
        studies: of the cohort.
        seed: of the choice.
        prevalence: as of :func:`make_cohort`.
    """
    rarity = {finding: rank for rank, finding in enumerate(sorted(PREVALENCE, key=prevalence.__getitem__))}
    rarest: dict[int, int] = {}
    for study in studies:
        rank = min((rarity[finding] for finding in study.findings), default=len(rarity))
        rarest[study.patient] = min(rank, rarest.get(study.patient, len(rarity)))
    lots = np.random.default_rng([seed, _SPLIT]).permutation(len(rarest))
    order = sorted(rarest, key=lambda patient: (rarest[patient], lots[patient - 1]))
    return set(order[1::_TEST_EVERY])


def _child_age(seed: int, patient: int, mix: FilmMix) -> float | None:
    """Return the age of a patient who is one of the children; None for the others."""
    rng = np.random.default_rng([seed, patient, _CHILD])
    is_child, age = rng.random() < mix.children, rng.uniform(CHILD_AGES[0], CHILD_AGES[1] + 0.5)
    return float(age) if is_child else None


def _mixed(studies: list[Study], mix: FilmMix) -> list[Study]:
    """Return a patient's studies, some as laterals, with the times at which they were taken."""
    key = [studies[0].seed, studies[0].patient]
    lots = np.random.default_rng([*key, _VIEW]).random(len(studies))
    times = mix.times(np.random.default_rng([*key, _TIMES]), len(studies))
    return [
        replace(study, view=LATERAL if lot < mix.laterals else study.view, taken_on=taken_on)
        for study, lot, taken_on in zip(studies, lots, times, strict=True)
    ]


def _sample_patient(seed: int, patient: int, thresholds: np.ndarray, child_age: float | None) -> list[Study]:
    rng = np.random.default_rng([seed, patient, _TABLE])
    sex = "M" if rng.random() < 0.56 else "F"
    age = float(np.clip(rng.normal(47, 17), 1, 94))
    age = age if child_age is None else child_age
    bedside_share = rng.beta(2 * _BEDSIDE_SHARE, 2 * (1 - _BEDSIDE_SHARE))
    count = 1 + min(int(rng.geometric(0.42)) - 1, 11) if rng.random() < 0.7 else 1
    root, older, bedside = _weights()
    rest = np.sqrt(1 - older**2 - bedside**2)
    hidden = root @ rng.standard_normal(len(NIH14))
    studies = []
    for index in range(count):
        view = "AP" if rng.random() < bedside_share else "PA"
        lying = (float(view == "AP") - _BEDSIDE_SHARE) / np.sqrt(_BEDSIDE_SHARE * (1 - _BEDSIDE_SHARE))
        score = rest * hidden + older * (age - 47) / 17 + bedside * lying
        present = score > thresholds
        findings = tuple(finding for finding, is_present in zip(NIH14, present, strict=True) if is_present)
        studies.append(Study(patient, index, round(age), sex, view, findings, seed))
        age = min(age + rng.exponential(0.5), 95.0)
        drift = root @ rng.standard_normal(len(NIH14))
        hidden = _PERSISTENCE * hidden + np.sqrt(1 - _PERSISTENCE**2) * drift
    return studies


@cache
def _weights() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the Cholesky root of the correlations, and each finding's weights of age and of the bedside."""
    correlation = np.eye(len(NIH14))
    for (one, other), value in _TOGETHER.items():
        i, j = NIH14.index(one), NIH14.index(other)
        correlation[i, j] = correlation[j, i] = value
    older = np.array([_OLDER.get(finding, 0.0) for finding in NIH14])
    bedside = np.array([_BEDSIDE.get(finding, 0.0) for finding in NIH14])
    return np.linalg.cholesky(correlation), older, bedside
