"""AUROC and average precision as a table: one row a finding and one of means, unknown labels left out.

A finding without a positive or without a negative has no AUROC: its cell is NaN and it takes no part in the mean,
never a 0.5. AUROC and average precision are scikit-learn's.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score, roc_auc_score

MEAN = "mean"


def finding_table(scores: np.ndarray, labels: np.ndarray, findings: Sequence[str]) -> pd.DataFrame:
    """Score each finding on the images whose label is known.

    Args:
        scores: float ``[N, F]``; higher = more likely (probabilities or logits).
        labels: float ``[N, F]``; 1 present, 0 absent, NaN unknown.
        findings: the F names, in the order of the columns.

    Returns:
        columns ``finding, images, positives, auroc, average_precision``; ``images`` counts known labels. The last row
        is ``mean``: over the findings that have a value; its images are all N, its positives the sum.

    >>> scores, labels = np.array([[0.9], [0.2], [0.4]]), np.array([[1.0], [0.0], [np.nan]])
    >>> table = finding_table(scores, labels, ["Mass"])
    >>> table[["finding", "images", "positives", "auroc"]].values.tolist()
    [['Mass', 2, 1, 1.0], ['mean', 3, 1, 1.0]]
    """
    rows = []
    for column, finding in enumerate(findings):
        is_known = ~np.isnan(labels[:, column])
        truth, score = labels[is_known, column].astype(bool), scores[is_known, column]
        defined = 0 < truth.sum() < truth.size
        rows.append(
            {
                "finding": finding,
                "images": int(truth.size),
                "positives": int(truth.sum()),
                "auroc": roc_auc_score(truth, score) if defined else np.nan,
                "average_precision": average_precision_score(truth, score) if defined else np.nan,
            }
        )
    table = pd.DataFrame(rows)
    mean = {
        "finding": MEAN,
        "images": len(labels),
        "positives": int(table["positives"].sum()),
        "auroc": table["auroc"].mean(),
        "average_precision": table["average_precision"].mean(),
    }
    return pd.concat([table, pd.DataFrame([mean])], ignore_index=True)


def as_text(table: pd.DataFrame) -> str:
    """Return the table for a terminal, aligned, with a dash where a value is undefined."""
    return table.to_string(index=False, na_rep="-", float_format=lambda value: f"{value:.3f}")
