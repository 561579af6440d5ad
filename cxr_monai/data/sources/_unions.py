"""What a label that is a union tells of its members: its absence is theirs, its presence is nobody's in particular."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from cxr_monai.composites import COMPOSITES
from cxr_monai.labels import NIH14


def with_members(labels: pd.DataFrame, composites: Sequence[str] = tuple(COMPOSITES)) -> pd.DataFrame:
    """Return labels with the members of their composites: 0 where a composite is 0, else as they are, or unknown.

    Args:
        labels: float columns of findings and composites: 1, 0, NaN unknown.
        composites: those that tell something of their members; the others stay labels of their own.

    Returns:
        NIH's findings first, in NIH's order, then the others.

    >>> with_members(pd.DataFrame({"Mass or Nodule": [1.0, 0.0]})).to_dict("list")
    {'Mass': [nan, 0.0], 'Nodule': [nan, 0.0], 'Mass or Nodule': [1.0, 0.0]}
    """
    columns = {str(name): labels[name] for name in labels}
    for name in (name for name in composites if name in labels):
        for member in COMPOSITES[name].members:
            known = columns.get(member, pd.Series(np.nan, index=labels.index))
            columns[member] = known.mask(known.isna() & (labels[name] == 0), 0.0)
    return pd.DataFrame({name: columns[name] for name in dict.fromkeys((*NIH14, *columns)) if name in columns})


def doubtful_members(labels: pd.DataFrame, composites: Sequence[str] = tuple(COMPOSITES)) -> pd.DataFrame:
    """Return bool, of the same form: unknown members of a composite that is present, any of which it may be.

    Args:
        labels: of `with_members`.
        composites: as there.
    """
    doubtful = pd.DataFrame(False, index=labels.index, columns=labels.columns)
    for name in (name for name in composites if name in labels):
        for member in (member for member in COMPOSITES[name].members if member in labels):
            doubtful[member] |= labels[member].isna() & (labels[name] == 1)
    return doubtful
