"""Scores of composite labels, made of a model's outputs for their members.

A data set that names only "a mass or a nodule" can judge a network of the 14 findings by the score that any member is
present. `cxr_monai.evaluation.predictions.join` adds such scores; they rank films and are no probabilities, so a sample
names them in `Sample.ranking_only`, and no threshold, calibration or predictive value is computed from them.

    scored = score_composites(predictions, manifest.findings)
    scored.table, scored.composites, scored.notes
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pandas as pd

from cxr_monai.composites import COMPOSITES, Composite, union_score
from cxr_monai.schemes import LabelScheme


@dataclass(frozen=True, eq=False)
class CompositeScores:
    """Predictions with the scores of composites.

    Attributes:
        table: the predictions, with a column for each composite that could be scored.
        composites: names of those columns.
        unscored: composites whose members are predicted in part.
        notes: a sentence on each composite: its rule, or what is missing.
    """

    table: pd.DataFrame
    composites: tuple[str, ...]
    unscored: tuple[str, ...]
    notes: tuple[str, ...]


def score_composites(
    predictions: pd.DataFrame, findings: Iterable[str], composites: Mapping[str, Composite] = COMPOSITES
) -> CompositeScores:
    """Add the score of each composite that is asked for and not predicted itself.

    Args:
        predictions: ``image`` and one column a finding, in [0, 1].
        findings: what is asked for, such as a manifest's.
        composites: by name.

    Returns:
        the predictions with `cxr_monai.composites.union_score` of the members as a column of the composite's name,
        where all members are predicted; see `CompositeScores`.

    >>> predictions = pd.DataFrame({"image": ["a"], "Mass": [0.5], "Nodule": [0.5]})
    >>> score_composites(predictions, ["Mass or Nodule"]).table["Mass or Nodule"].tolist()
    [0.75]
    """
    table, scored, unscored, notes = predictions, [], [], []
    for name in dict.fromkeys(findings):
        composite = composites.get(name)
        if composite is None or name in predictions:
            continue
        missing = [member for member in composite.members if member not in predictions]
        if not missing:
            table = table.assign(**{name: union_score(predictions[list(composite.members)].to_numpy(float))})
            scored.append(name)
            notes.append(composite.rule)
        elif len(missing) < len(composite.members):
            unscored.append(name)
            notes.append(f"{name} is not judged: it is any of {', '.join(composite.members)}, and the predictions have "
                         f"no {', '.join(missing)}.")  # fmt: skip
    return CompositeScores(table, tuple(scored), tuple(unscored), tuple(notes))


def scheme_composites(scheme: LabelScheme) -> dict[str, Composite]:
    """Return the composites that a label scheme's labels are; those of `COMPOSITES` where it derives none.

    Args:
        scheme: its groups of several findings are unions; one against normal is none, since its label is 0 only in
            normal images.

    >>> from cxr_monai.schemes import label_scheme
    >>> scheme_composites(label_scheme("categories_normal"))["Pleural"].members
    ('Effusion', 'Pneumothorax', 'Pleural_Thickening')
    """
    if not scheme.derived:
        return COMPOSITES
    groups = {} if scheme.against_normal else scheme.groups
    return {
        label: Composite(label, tuple(members), f"the label scheme {scheme.name!r}")
        for label, members in groups.items()
        if len(members) > 1
    }
