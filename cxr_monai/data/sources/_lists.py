"""Findings as NIH ChestX-ray14 writes them: one cell lists an image's, ``Cardiomegaly|Effusion`` or ``No Finding``.

    spread_lists(table, ["Finding Labels"], path).table     # a column of 0 and 1 for each finding

What a list does not name is absent; an empty cell is unknown. NIH's own column speaks of its 14 findings; any other one
of those that it names somewhere.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from cxr_monai.data.columns import key
from cxr_monai.data.vocabulary import is_known, is_no_finding
from cxr_monai.errors import Code, ManifestError
from cxr_monai.labels import NIH14, spelling

_NIH = "findinglabels"
_NAMES = (_NIH, "findinglabel", "findings", "labels")


@dataclass(frozen=True, eq=False)
class Listed:
    """A table whose lists of findings are columns.

    Attributes:
        table: with columns of ``0``, ``1`` and ``""`` in the place of lists.
        columns: those that may be findings.
        findings: of each column that listed findings, those.
        notes: a sentence for each such column.
    """

    table: pd.DataFrame
    columns: Sequence[str]
    findings: Mapping[str, Sequence[str]]
    notes: Sequence[str]


def spread_lists(table: pd.DataFrame, columns: Sequence[str], path: Path) -> Listed:
    """Replace columns of lists of findings by one column a finding.

    Args:
        table: cells as text, indexed by line.
        columns: those that may be findings.
        path: the table's file, for messages.

    Raises:
        ManifestError: ``source-invalid``: an empty word in a list, "No Finding" beside a finding, or a finding that has
            a column of its own too.
    """
    notes, names, findings_of = [], list(columns), {}
    for column in columns:
        words = {text: [word.strip() for word in text.split("|")] for text in table[column].unique() if text}
        if not _lists(column, words):
            continue
        _check(table[column], words, column, path)
        findings = _findings(column, words)
        twice = [name for name in findings if name in table.columns]
        if twice:
            raise ManifestError(
                Code.SOURCE_INVALID,
                f"two columns are {twice[0]}: {twice[0]!r} and the lists of {column!r}.",
                fix="Keep one of them.",
                where=path,
            )
        having = {text: {spelling(word) for word in listed} for text, listed in words.items()}
        marks = {
            name: table[column].map({text: str(int(name in present)) for text, present in having.items()}).fillna("")
            for name in findings
        }
        table = table.drop(columns=column).join(pd.DataFrame(marks, index=table.index))
        position = names.index(column)
        names[position : position + 1] = findings
        findings_of[column] = findings
        notes.append(f"took {column!r} as lists of findings (A|B): what a list does not name is absent, of "
                     f"{', '.join(findings)}")  # fmt: skip
    return Listed(table, names, findings_of, notes)


def _lists(column: str, words: dict[str, list[str]]) -> bool:
    """Return whether a column lists findings: by its cells, and by its name where they leave doubt."""
    if any(text.startswith("[") for text in words):  # a list of PadChest's, in another language's words
        return False
    all_known = all(is_known(word) or is_no_finding(word) for listed in words.values() for word in listed)
    several = any(len(listed) > 1 for listed in words.values())
    return bool(words) and (all_known or several if key(column) in _NAMES else all_known and several)


def _check(cells: pd.Series, words: dict[str, list[str]], column: str, path: Path) -> None:
    for text, listed in words.items():
        normal = any(map(is_no_finding, listed)) and len(listed) > 1
        if normal or "" in listed:
            line = cells.index[cells == text][0]
            reason = "'No Finding' beside findings" if normal else "an empty finding"
            raise ManifestError(Code.SOURCE_INVALID, f"column {column!r}: {reason}: {text!r}.",
                                where=f"{path}, line {line}")  # fmt: skip


def _findings(column: str, words: dict[str, list[str]]) -> list[str]:
    """Return the findings that a column speaks of, NIH's first and in NIH's order."""
    mentioned = {spelling(word) for listed in words.values() for word in listed if not is_no_finding(word)}
    if key(column) == _NIH and mentioned <= {*NIH14}:
        return list(NIH14)
    return [name for name in NIH14 if name in mentioned] + sorted(mentioned - {*NIH14})
