"""How a data set's labels became 1, 0 and unknown: the choices that were made, and what they left unknown.

Unknown is never 0, and there are four reasons for it, which are four settings: *uncertain* (the source says "perhaps"),
*unmentioned* (it says nothing), *readers disagree*, and *study excluded* (it says that the film proves nothing). They
move a prevalence more than the hospital does, so a manifest's record (``M.csv.json``) keeps them with their counts, and
``cxr-monai check`` shows them.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import pandas as pd

from cxr_monai.plurals import counted

REASONS = ("uncertain", "unmentioned", "readers disagree", "study excluded")
"""Why a label is unknown, as records and tables name it."""


@dataclass(frozen=True)
class LabelRecord:
    """What an adapter of a data set did with its labels.

    Attributes:
        dataset: the adapter's name (``chexpert``), and its release where there are several (``chexpert v1.0-small``).
        settings: name -> value of each choice, such as ``{"uncertain": "unknown", "readers": "majority"}``.
        unknown: finding -> reason (one of `REASONS`) -> images of this manifest that are unknown for it. A finding that
            the data set does not label at all is not listed: it has no column either.
        rules: composite label -> the sentence that says what it is a union of.
    """

    dataset: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    unknown: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    rules: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON; `from_json` reads it back."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "LabelRecord":
        """Read a record.

        Raises:
            ValueError: it is none; TypeError for another key.
        """
        record = cls(**content)
        counts = [count for reasons in record.unknown.values() for count in dict(reasons).values()]
        strange = [reason for reasons in record.unknown.values() for reason in reasons if reason not in REASONS]
        if strange or not all(isinstance(count, int) and count >= 0 for count in counts):
            raise ValueError(f'"labels" counts {strange[0] if strange else counts!r}; reasons are {", ".join(REASONS)}')
        return record

    def table(self) -> pd.DataFrame:
        """Return one row a finding and one column a reason that occurs: images that are unknown for it."""
        frame = pd.DataFrame.from_dict({finding: dict(reasons) for finding, reasons in self.unknown.items()}, "index")
        used = [reason for reason in REASONS if reason in frame and frame[reason].any()]
        return frame[used].fillna(0).astype(int) if used else pd.DataFrame(index=frame.index)


def count_unknown(labels: pd.DataFrame, reasons: Mapping[str, pd.DataFrame]) -> dict[str, dict[str, int]]:
    """Count why labels are unknown.

    Args:
        labels: ``[N]`` rows, one float column a finding: 1, 0, NaN unknown.
        reasons: reason -> bool ``[N]`` rows with the same columns, or some of them: where it holds. A cell that has a
            value counts for none; of several reasons the first in the mapping counts.

    Returns:
        finding -> reason -> count, without zeros.

    Raises:
        ValueError: an unknown cell has no reason.

    >>> labels = pd.DataFrame({"Mass": [1.0, None, None]})
    >>> count_unknown(labels, {"uncertain": pd.DataFrame({"Mass": [True, True, False]}),
    ...                        "unmentioned": pd.DataFrame({"Mass": [False, True, True]})})
    {'Mass': {'uncertain': 1, 'unmentioned': 1}}
    """
    counts: dict[str, dict[str, int]] = {}
    for finding in labels:
        remaining = labels[finding].isna().to_numpy()
        for reason, where in reasons.items():
            hits = remaining & where[finding].to_numpy() if finding in where else remaining & False
            if hits.any():
                counts.setdefault(str(finding), {})[reason] = int(hits.sum())
            remaining = remaining & ~hits
        if remaining.any():
            raise ValueError(f"{finding}: {counted(int(remaining.sum()), 'unknown label')} without a reason")
    return counts
