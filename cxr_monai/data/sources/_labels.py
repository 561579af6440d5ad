"""Which columns of a hospital's CSV are findings, and what their cells mean: 1 present, 0 absent, empty unknown.

Nothing is guessed about a cell: ``yes`` is refused, and so is CheXpert's ``-1`` (uncertain; Irvin et al., AAAI 2019)
until the user says what it shall be. A name that this package knows is spelled its way; every other name is kept.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from cxr_monai.data.sources._lists import spread_lists
from cxr_monai.data.vocabulary import doubled, is_known, is_no_finding
from cxr_monai.errors import Code, ManifestError, UsageError
from cxr_monai.labels import spelling
from cxr_monai.plurals import agreeing, be, counted, have

_CELLS = {"0": 0.0, "0.0": 0.0, "1": 1.0, "1.0": 1.0, "": np.nan, "nan": np.nan, "na": np.nan}
_EMPTY = ("", "nan", "na")
_UNCERTAIN = {"-1", "-1.0"}
UNCERTAIN = {"unknown": np.nan, "positive": 1.0, "negative": 0.0}


def read_findings(
    table: pd.DataFrame,
    columns: Sequence[str],
    path: Path,
    *,
    findings: Sequence[str] | None = None,
    uncertain: str | None = None,
    positive: str | None = None,
    negative: str | None = None,
) -> tuple[pd.DataFrame, list[str]]:
    """Return the findings as float columns (1, 0, NaN unknown) and notes on the columns that were taken and left out.

    Args:
        table: cells as text, indexed by line.
        columns: those that may be findings; one of a public data set's names becomes one
            (`cxr_monai.data.vocabulary`), and a column of lists becomes several (`_lists`).
        path: the table's file, for messages.
        findings: take exactly these columns instead.
        uncertain: what ``-1`` means: a key of `UNCERTAIN`.
        positive: words for present, with commas between, beside 1.
        negative: words for absent, beside 0.

    Raises:
        ManifestError: ``source-invalid``: a finding's cell is something else, ``-1`` without ``uncertain``, two columns
            for one finding, or no finding at all.
        UsageError: ``usage`` for a word that is to mean two things.
    """
    listed = spread_lists(table, columns, path)
    table, columns, notes = listed.table, listed.columns, list(listed.notes)
    if findings is not None:
        findings = [name for column in findings for name in listed.findings.get(column, [column])]
        lacking = [name for name in findings if name not in columns]
        if lacking:
            reason = (
                f"there is no column {', '.join(map(repr, lacking))}; the columns are {', '.join(map(repr, columns))}"
            )
            raise ManifestError(Code.SOURCE_INVALID, f"--findings: {reason}.", where=path)
    cells = dict(_CELLS)
    if uncertain is not None:
        cells |= dict.fromkeys(_UNCERTAIN, UNCERTAIN[uncertain])
    for option, words, value in (("--positive", positive, 1.0), ("--negative", negative, 0.0)):
        for word in filter(None, (word.strip().lower() for word in (words or "").split(","))):
            if cells.setdefault(word, value) != value:
                raise UsageError(Code.USAGE, f"{option} {words}: {word!r} means something else already.",
                                 fix="Name a word once; 1 is present, 0 absent, an empty cell unknown.")  # fmt: skip
    chosen = list(findings) if findings is not None else [name for name in columns if is_known(name)]
    _refuse_doubled(chosen, path)
    labels = {spelling(name): _values(table[name], name, path, cells) for name in chosen}
    if not labels:
        raise _no_finding(table, columns, path)
    marks = pd.DataFrame(labels, index=table.index)
    blank = pd.DataFrame({spelling(name): table[name].str.lower().isin(_EMPTY) for name in chosen})
    rest = [name for name in columns if name not in chosen]
    normal = [name for name in rest if is_no_finding(name)]
    notes += [note for name in normal for note in _empty_beside(marks, blank, table[name], name, path, cells)]
    binary = [name for name in rest if name not in normal and _is_binary(table[name])]
    if binary and findings is None:
        notes.append(f"not taken, though they hold 0 and 1, for they are no known findings: {', '.join(binary)} "
                     "(--findings A,B names those that are)")  # fmt: skip
    others = [name for name in rest if name not in (*normal, *(binary if findings is None else ()))]
    if others:
        notes.append(f"columns left out: {', '.join(others)}")
    return marks, notes


def _refuse_doubled(chosen: Sequence[str], path: Path) -> None:
    """Refuse two columns for one finding, under one name or two: ``Effusion`` and ``Pleural Effusion``."""
    for finding, names in doubled(chosen).items():
        raise ManifestError(
            Code.SOURCE_INVALID,
            f"two columns are {finding}: {' and '.join(map(repr, names))}.",
            fix="Keep one of them, or name the columns to take with --findings A,B.",
            where=path,
        )


def _no_finding(table: pd.DataFrame, columns: Sequence[str], path: Path) -> ManifestError:
    reason = f"no column is a known finding; looked at {', '.join(map(repr, columns))}."
    lists = [name for name in columns if table[name].str.match(r"\[\s*['\"]").any()]
    binary = [name for name in columns if not is_no_finding(name) and _is_binary(table[name])]
    fix = "Write findings as columns of 0 and 1 (1 present, 0 absent, empty unknown)."
    if lists:
        reason += f" {lists[0]!r} holds lists of findings ({table[lists[0]].iloc[0]}), which are not read."
    elif binary:
        fix = f"If {binary[0]!r} is one, say --findings {','.join(binary)}."
    return ManifestError(Code.SOURCE_INVALID, reason, fix=fix, where=path)


def _is_binary(column: pd.Series) -> bool:
    cells = set(column.str.lower().unique())
    return cells <= {*_CELLS, *_UNCERTAIN} and not cells <= {*_EMPTY}


def _empty_beside(
    marks: pd.DataFrame, blank: pd.DataFrame, column: pd.Series, name: str, path: Path, cells: dict[str, float]
) -> list[str]:
    """Set the empty cells of images without any finding to 0, in place; return notes.

    CheXpert's "No Finding" is 1 where no pathology is present or uncertain; devices are none (Irvin et al., AAAI 2019).
    """
    normal = _values(column, name, path, cells).to_numpy() == 1
    filled, against = 0, np.zeros(len(marks), dtype=bool)
    for finding in marks.columns.drop("Support Devices", errors="ignore"):
        empty = normal & blank[finding].to_numpy()  # what is written as uncertain stays so
        against |= normal & (marks[finding] == 1).to_numpy()
        marks[finding] = marks[finding].mask(empty, 0.0)
        filled += int(empty.sum())
    notes = []
    if filled:
        notes.append(
            f"{counted(int(normal.sum()), 'image')} {agreeing(int(normal.sum()), 'say')} {name!r}: "
            f"{counted(filled, 'empty cell')} there {be(filled)} 0"
        )
    if against.any():
        notes.append(
            f"{counted(int(against.sum()), 'image')} {agreeing(int(against.sum()), 'say')} {name!r} and "
            f"{have(int(against.sum()))} a finding: the cells stay as they are"
        )
    return notes


def _values(column: pd.Series, name: str, path: Path, meanings: dict[str, float]) -> pd.Series:
    cells = column.str.lower()
    wrong = cells[~cells.isin(list(meanings))]
    if wrong.empty:
        return cells.map(meanings)
    line, cell = wrong.index[0], column[wrong.index[0]]
    if set(wrong) <= _UNCERTAIN:
        reason = f"-1 (uncertain) stands in {counted(len(wrong), 'cell')}"
        fix = "Say what it shall be: --uncertain unknown (never scored), positive or negative."
    else:
        reason = f"{cell!r} is none of 1 (present), 0 (absent), empty (unknown)"
        fix = (
            "Say what its words mean, as with --positive yes --negative no; or, if the column is no finding, name "
            "those that are with --findings A,B."
        )
    raise ManifestError(Code.SOURCE_INVALID, f"column {name!r}: {reason}.", fix=fix, where=f"{path}, line {line}")
