"""Subgroups of images by sex, age, view, source and prior visits, and whether they are large enough to compare.

groups(sample)["age"]       # a text for each image: '<18', '18-39', '40-64', '65+', or '' where the age is unknown
group_notes(sample)         # what is unknown, in sentences
judge(...)                  # enough patients on both sides to compare them?
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from cxr_monai.errors import Code, EvaluationError
from cxr_monai.evaluation.comparison import TOO_FEW, holm
from cxr_monai.evaluation.sample import Sample
from cxr_monai.origins import is_phantom

ATTRIBUTES = ("sex", "age", "view", "source", "prior_visits")
AGES = {"<18": 0, "18-39": 18, "40-64": 40, "65+": 65}  # from, in completed years
PRIOR_VISITS = {"none": 0, "1-3": 1, "4-9": 4, "10+": 10}  # from
NUMBERED_SOURCES = ("nih",)  # and phantoms: whose study ids say how many studies came before
_ORDER = {"sex": ("F", "M", "O"), "age": tuple(AGES), "view": ("PA", "AP"), "prior_visits": tuple(PRIOR_VISITS)}


def groups(sample: Sample, attributes: Sequence[str] = ATTRIBUTES) -> dict[str, pd.Series]:
    """Return each image's group by each attribute.

    Args:
        sample: N images.
        attributes: which of `ATTRIBUTES`: ``sex``, ``view`` and ``source`` are the table's; ``age`` is the age at the
            image in four bands; ``prior_visits`` is how many earlier studies of the patient the data set holds. The
            last is known for NIH and phantoms alone, whose study id is ``<patient>_<follow-up>``: the table of 2020
            numbers each patient's images 0, 1, 2, ... by time (one image a follow-up, so it counts images, not days).
            It comes from the id, not from the images that happen to be in the sample.

    Returns:
        text ``[N]`` for each attribute, ``""`` where unknown.

    Raises:
        EvaluationError: ``evaluation-invalid`` for another attribute.
    """
    odd = [name for name in attributes if name not in ATTRIBUTES]
    if odd:
        raise EvaluationError(
            Code.EVALUATION_INVALID,
            f"there are no subgroups by {', '.join(map(repr, odd))}.",
            fix=f"Choose from {', '.join(ATTRIBUTES)}.",
        )
    return {name: _groups_by(sample.table, name) for name in attributes}


def group_notes(sample: Sample, attributes: Sequence[str] = ATTRIBUTES) -> list[str]:
    """Return a sentence for each attribute that is unknown for some images, or has one group alone.

    Args:
        sample: N images.
        attributes: which of `ATTRIBUTES`.
    """
    return notes_on(groups(sample, attributes))


def notes_on(groups_by_attribute: Mapping[str, pd.Series]) -> list[str]:
    """Return the sentences of `group_notes` for groups that `groups` returned."""
    notes = []
    for attribute, names in groups_by_attribute.items():
        word = attribute.replace("_", " ")
        unknown = int((names == "").sum())
        if unknown:
            amount = "all" if unknown == len(names) else f"{unknown:,} of {len(names):,}"
            verb = "are" if attribute == "prior_visits" else "is"
            explanation = (
                " (only NIH's study ids, and phantoms', tell the order)" if attribute == "prior_visits" else ""
            )
            subject = "it is" if verb == "is" and unknown == 1 else "they are"
            consequence = f"{subject} in no group" if unknown < len(names) else "there are no groups"
            notes.append(f"The {word} of {amount} images {verb} unknown{explanation}: {consequence} by {word}.")
        group_names = ordered(attribute, names)
        if len(group_names) == 1:
            notes.append(
                f"By {word} there is one group alone, {group_names[0]!r}: there is nothing to compare it with."
            )
    return notes


def ordered(attribute: str, names: pd.Series) -> list[str]:
    """Return the groups that occur, in their natural order, others by name; without the unknown.

    Args:
        attribute: one of `ATTRIBUTES`.
        names: text ``[N]``, each image's group; ``""`` where unknown.
    """
    present = set(names.unique()) - {""}
    natural = [name for name in _ORDER.get(attribute, ()) if name in present]
    return natural + sorted(present - set(natural))


def judge(needed: Mapping[str, np.ndarray], minimum: int) -> tuple[np.ndarray, list[str]]:
    """Return which of F findings have enough patients to be compared, bool ``[F]``, and a note where not, else "".

    Args:
        needed: patients ``[F]`` of each kind that must reach the minimum.
        minimum: of patients.
    """
    counts = np.stack(list(needed.values()))
    notes = []
    for column in range(counts.shape[1]):
        counts_by_kind = zip(needed, counts[:, column], strict=True)
        few = [f"{n} patient{'' if n == 1 else 's'} {kind}" for kind, n in counts_by_kind if n < minimum]
        notes.append(f"{TOO_FEW}: {', '.join(few)}; at least {minimum} are needed" if few else "")
    return np.all(counts >= minimum, axis=0), notes


def corrected(p: list[np.ndarray]) -> list[np.ndarray]:
    """Return the p-values of one attribute's groups, corrected by Holm over all of them.

    Args:
        p: for each group, of its comparison with the rest. Of two groups, each is the other's rest: their p-values are
            the same tests and count once.
    """
    if len(p) == 2:
        return [holm(p[0])] * 2
    return np.split(holm(np.concatenate(p)), np.cumsum([len(values) for values in p])[:-1])


def _groups_by(table: pd.DataFrame, attribute: str) -> pd.Series:
    if attribute == "age":
        return _banded(table["age"].to_numpy(dtype=float), AGES)
    if attribute == "prior_visits":
        # the patient's id may hold underscores itself: the follow-up is what stands behind '<patient>_'
        ids, patients = table["study_id"].astype("str"), table["patient_id"].astype("str")
        parts = ids.str.extract(r"^(?P<patient>.*)_(?P<number>\d+)$")
        is_numbered = (parts["patient"] == patients) & (
            table["source"].isin(NUMBERED_SOURCES) | table["source"].map(is_phantom)
        )
        return _banded(pd.to_numeric(parts["number"]).astype(float).where(is_numbered).to_numpy(), PRIOR_VISITS)
    return table[attribute].astype("str").fillna("").reset_index(drop=True)


def _banded(numbers: np.ndarray, bands: Mapping[str, int]) -> pd.Series:
    names = np.array(["", *bands], dtype=object)
    band = np.searchsorted(list(bands.values()), numbers, side="right")  # NaN sorts last
    return pd.Series(names[np.where(np.isnan(numbers), 0, band)], dtype="str")
