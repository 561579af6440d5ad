"""The names of figures in MLflow: one vocabulary for trainings, evaluations, experiments and tests of maps.

    PART_FIGURE_LABEL_END/VARIANT        # as far as each applies: val_auroc_mean, test_auroc_Mass_patient_low

A figure has one name wherever it is logged, so that runs of different kinds stand in one column of MLflow's table.
"""

from collections.abc import Iterable, Sequence

import pandas as pd

ALL_PARTS = "all"
"""The part of figures that images of several parts of a split, or of none, give together."""


def metric_name(figure: str, label: str = "", end: str = "", part: str = "", variant: str = "") -> str:
    """Return the name under which MLflow keeps a figure.

    Args:
        figure: such as ``auroc``, ``average_precision``, ``brier``, ``loss``, ``pointing``.
        label: the finding that it is of, or ``mean``.
        end: of an interval: ``patient_low``, ``patient_high`` (drawing patients), ``low``, ``high``.
        part: of the split: ``train``, ``val``, ``test`` or `ALL_PARTS`; none for figures that no part has.
        variant: of an experiment. MLflow shows the variants of one figure side by side.

    >>> metric_name("auroc", "Mass", "patient_low", part="test")
    'test_auroc_Mass_patient_low'
    >>> metric_name("auroc", "mean", part="val", variant="imagenet")
    'val_auroc_mean/imagenet'
    """
    name = "_".join(word for word in (part, figure, label, end) if word)
    return f"{name}/{variant}" if variant else name


def metric_values(
    table: pd.DataFrame, by: str, figures: Sequence[str], ends: Sequence[str] = ("low", "high"), part: str = ""
) -> dict[str, float]:
    """Return the figures of a table by name, with the ends of their intervals.

    Args:
        table: one row a label; of each figure X the columns ``X`` and, for each end, ``X_END``.
        by: the column of labels.
        figures, ends: columns.
        part: of the split.

    >>> metric_values(pd.DataFrame({"finding": ["Mass"], "iou": 0.5, "iou_low": 0.4}), "finding", ["iou"], ["low"])
    {'iou_Mass': 0.5, 'iou_Mass_low': 0.4}
    """
    return {
        metric_name(figure, row[by], end, part): float(row[metric_name(figure, end=end)])
        for row in table.to_dict(orient="records")
        for figure in figures
        for end in ("", *ends)
    }


def part_name(splits: Iterable[str]) -> str:
    """Return the part of the split that images are of, `ALL_PARTS` where they are of several or of none.

    Args:
        splits: the split of each image, or those that there are; ``""`` for none.

    >>> part_name(["test"]), part_name(["train", "test"]), part_name([""])
    ('test', 'all', 'all')
    """
    parts = set(splits)
    return parts.pop() if len(parts) == 1 and parts != {""} else ALL_PARTS
