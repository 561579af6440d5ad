"""From images to studies: a physician reads all images of one examination and gives one answer a finding.

    study = by_study(sample, how="max")       # one row a (patient, study); again a Sample
    study_notes(sample)                       # how many studies there are, and what is unknown

A study's score is the highest of its images' (``max``), their ``mean``, or the frontal view's (``frontal``: that of PA,
else AP, else AP supine, else what there is; the mean where it has several of that view). Its label is 1 if any image's
is, else unknown if any is unknown, else 0. Images without a study id are a study each.
"""

import numpy as np
import pandas as pd

from cxr_monai.data.views import FRONTAL
from cxr_monai.errors import Code, EvaluationError
from cxr_monai.evaluation.sample import Sample
from cxr_monai.plurals import counted, have

HOW = ("max", "mean", "frontal")


def by_study(sample: Sample, how: str = "max") -> Sample:
    """Return a sample with one row a study, the probabilities and labels of its images joined.

    Args:
        sample: N images.
        how: ``max``, ``mean`` or ``frontal``.

    Returns:
        one row a study, in the order in which studies first occur. A row of ``table`` is that of the study's leading
        image: PA before AP before others, then by name; so it is the same for each ``how`` and for any order of images.

    Raises:
        EvaluationError: ``evaluation-invalid`` for another ``how``.
    """
    if how not in HOW:
        raise EvaluationError(
            Code.EVALUATION_INVALID, f"images cannot be joined by {how!r}.", fix=f"Choose one of {', '.join(HOW)}."
        )
    study, rank = _studies(sample), _view_ranks(sample.table["view"])
    # images of a study side by side, the leading one first; by name, so that sums do not depend on the rows' order
    order = np.lexsort((sample.table["image"].to_numpy(dtype=object), rank, study))
    study, rank = study[order], rank[order]
    starts = np.flatnonzero(np.diff(study, prepend=-1))
    scores, labels = sample.scores[order], sample.labels[order]
    if how == "max":
        joined = np.maximum.reduceat(scores, starts, axis=0)
    else:
        leading = np.repeat(rank[starts], np.diff(starts, append=len(rank)))
        used = (rank == leading if how == "frontal" else np.ones(len(rank), dtype=bool)).astype(float)[:, None]
        joined = np.add.reduceat(scores * used, starts, axis=0) / np.add.reduceat(used, starts, axis=0)
    present = np.maximum.reduceat(labels == 1, starts, axis=0)
    unknown = np.maximum.reduceat(np.isnan(labels), starts, axis=0)
    truth = np.where(present, 1.0, np.where(unknown, np.nan, 0.0))
    return Sample.of(sample.table.iloc[order[starts]], sample.findings, joined, truth, sample.ranking_only)


def study_notes(sample: Sample) -> list[str]:
    """Return sentences on the studies: how many there are, how many have several images, what is unknown."""
    study = _studies(sample)
    count = np.bincount(study) if len(study) else np.zeros(0, int)
    several = int((count > 1).sum())
    clause = (
        f"{counted(several, 'study')} {have(several)} more than one image."
        if several
        else "no study has more than one."
    )
    notes = [f"{counted(len(count), 'study')} of {counted(len(sample), 'image')}; {clause}"]
    if not several:
        notes.append("Figures by study are therefore those by image.")
    missing = int((sample.table["study_id"] == "").sum())
    if missing:
        clause = (
            "has no study id and counts as a study" if missing == 1 else "have no study id and count as a study each"
        )
        notes.append(f"{missing:,} of the images {clause}.")
    frontal = np.isin(sample.table["view"].to_numpy(), FRONTAL)
    lacking = len(np.unique(study[~frontal])) - len(np.intersect1d(study[frontal], study[~frontal]))
    if several and lacking:
        pronoun = "its" if lacking == 1 else "their"
        clause = f"{counted(lacking, 'study')} {have(lacking)} no view known to be PA or AP"
        notes.append(f"{clause}: 'frontal' takes the mean of {pronoun} images.")
    return notes


def _studies(sample: Sample) -> np.ndarray:
    """Return each image's study, int64 ``[N]``, numbered by first occurrence."""
    names = sample.table["study_id"].to_numpy(dtype=object)
    codes, distinct = pd.factorize(names)
    keys = sample.patients.astype(np.int64) * max(len(distinct), 1) + codes
    nameless = np.flatnonzero(names == "")
    keys[nameless] = -1 - nameless  # below every other key, and each its own
    return pd.factorize(keys)[0].astype(np.int64)


def _view_ranks(views: pd.Series) -> np.ndarray:
    values = views.to_numpy()
    return np.select([values == view for view in FRONTAL], list(range(len(FRONTAL))), len(FRONTAL))
