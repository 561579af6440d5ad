"""Which columns of a hospital's CSV are findings, and what their cells mean: 1 present, 0 absent, empty unknown.

Nothing is guessed about a cell: ``yes`` is refused, and so is CheXpert's ``-1`` (uncertain; Irvin et al., AAAI 2019)
until the user says what it shall be. A name that this package knows is spelled its way; every other name is kept.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from cxr_monai.errors import Code, ManifestError
from cxr_monai.labels import NIH14, NO_FINDING, canonical

_CELLS = {"0": 0.0, "0.0": 0.0, "1": 1.0, "1.0": 1.0, "": np.nan, "nan": np.nan, "na": np.nan}
_UNCERTAIN = {"-1", "-1.0"}
_WORDS = {"yes", "no", "y", "n", "true", "false", "positive", "negative", "pos", "neg", "present", "absent", "x"}
UNCERTAIN = {"unknown": np.nan, "positive": 1.0, "negative": 0.0}


def read_findings(
    table: pd.DataFrame,
    columns: Sequence[str],
    where: Path,
    *,
    findings: Sequence[str] | None = None,
    uncertain: str | None = None,
) -> tuple[pd.DataFrame, list[str]]:
    """Return the findings as float columns (1, 0, NaN unknown) and notes about what was taken and left out.

    Args:
        table: cells as text, indexed by line.
        columns: those that may be findings; any with only 0, 1 and empty cells becomes one.
        where: the table's file, for messages.
        findings: take exactly these columns instead.
        uncertain: what ``-1`` means: a key of `UNCERTAIN`.

    Raises:
        ManifestError: ``source-invalid``: a finding's cell is something else, ``-1`` without ``uncertain``, two columns
            for one finding, or no finding at all.
    """
    if findings is not None:
        lacking = [name for name in findings if name not in columns]
        if lacking:
            said = (
                f"there is no column {', '.join(map(repr, lacking))}; the columns are {', '.join(map(repr, columns))}"
            )
            raise ManifestError(Code.SOURCE_INVALID, f"--findings: {said}.", where=where)
    taken: dict[str, pd.Series] = {}
    left_out = []
    for name in findings or columns:
        if findings is None and not _is_finding(table[name], name, where):
            left_out.append(name)
            continue
        finding = _spelled(name)
        if finding in taken:
            raise ManifestError(
                Code.SOURCE_INVALID, f"two columns are {finding}; one of them is {name!r}.", where=where
            )
        taken[finding] = _values(table[name], name, where, uncertain)
    if not taken:
        raise ManifestError(
            Code.SOURCE_INVALID,
            f"no column is a finding (1 present, 0 absent, empty unknown); looked at {', '.join(map(repr, columns))}.",
            fix="Write findings as columns of 0 and 1.",
            where=where,
        )
    notes = []
    own = [name for name in taken if name not in NIH14]
    if own and findings is None:
        notes.append(f"taken as findings, for they hold 0 and 1: {', '.join(own)} (--findings A,B takes others)")
    if left_out:
        notes.append(f"columns left out: {', '.join(left_out)}")
    return pd.DataFrame(taken, index=table.index), notes


def _is_finding(column: pd.Series, name: str, where: Path) -> bool:
    """Decide by the cells; a column of a known name or of yes and no is one, and `_values` will refuse its cells."""
    if name == NO_FINDING or name.startswith("Unnamed"):
        return False
    cells = set(column.str.lower().unique())
    known = _spelled(name) in NIH14
    if cells <= {"", "nan", "na"}:
        return known
    return known or cells <= {*_CELLS, *_UNCERTAIN} or cells <= {*_WORDS, *_CELLS}


def _values(column: pd.Series, name: str, where: Path, uncertain: str | None) -> pd.Series:
    cells = column.str.lower()
    meanings = dict(_CELLS)
    if uncertain is not None:
        meanings |= dict.fromkeys(_UNCERTAIN, UNCERTAIN[uncertain])
    wrong = cells[~cells.isin(list(meanings))]
    if wrong.empty:
        return cells.map(meanings)
    line, cell = wrong.index[0], column[wrong.index[0]]
    if set(wrong) <= _UNCERTAIN:
        said = f"-1 (uncertain) stands in {len(wrong):,} cells"
        fix = "Say what it shall be: --uncertain unknown (never scored), positive or negative."
    else:
        said = f"{cell!r} is none of 1 (present), 0 (absent), empty (unknown)"
        fix = "Correct the table; or, if the column is no finding, name those that are with --findings A,B."
    raise ManifestError(Code.SOURCE_INVALID, f"column {name!r}: {said}.", fix=fix, where=f"{where}, line {line}")


def _spelled(name: str) -> str:
    try:
        return canonical(name)
    except ManifestError:
        return name
