"""Patients whose identifiers differ by zeros, blanks or capitals alone: ``7``, ``07`` and ``7.0`` are three to a split.

alike_note(table["patient_id"], table["source"])   # one sentence, or none
"""

import re

import pandas as pd

from cxr_monai.plurals import agreeing, counted

_SHOWN = 3


def plain_identifier(text: str) -> str:
    """Return an identifier without blanks, capitals, leading zeros of its numbers, and a number's ``.0``.

    >>> plain_identifier(" ID-007 "), plain_identifier("7.0")
    ('id-7', '7')
    """
    plain = re.sub(r"\s+", "", text).casefold()
    if re.fullmatch(r"\d+\.0+", plain):
        plain = plain.partition(".")[0]
    return re.sub(r"(?<!\d)0+(?=\d)", "", plain)


def alike(patients: pd.Series, sources: pd.Series | None = None) -> list[list[str]]:
    """Return groups of different identifiers, of one source, that may be one patient's, in the table's order.

    Args:
        patients: identifiers, as text.
        sources: of the same rows; identifiers of two sources are never alike.

    >>> alike(pd.Series(["A1", "a1", "B2"]))
    [['A1', 'a1']]
    """
    table = pd.DataFrame({"patient": patients.astype(str), "source": "" if sources is None else sources.astype(str)})
    table = table.drop_duplicates()
    table["plain"] = [plain_identifier(text) for text in table["patient"]]
    table = table[table.duplicated(["source", "plain"], keep=False)]
    return [list(rows["patient"]) for _, rows in table.groupby(["source", "plain"], sort=False)]


def alike_note(patients: pd.Series, sources: pd.Series | None = None, *, show_examples: bool = True) -> list[str]:
    """Return a sentence on identifiers that look like one patient's, or nothing.

    Args:
        patients: identifiers, as text.
        sources: of the same rows; identifiers of two sources are never alike.
        show_examples: show examples; not where they are personal data that the table hides.
    """
    groups = alike(patients, sources)
    if not groups:
        return []
    shown = "; ".join(" and ".join(map(repr, group[:_SHOWN])) for group in groups[:_SHOWN])
    return [
        f"{counted(sum(map(len, groups)), 'patient identifier')} {agreeing(sum(map(len, groups)), 'differ')} "
        "from another by zeros, blanks or capitals alone"
        + (f" ({shown})" if show_examples else "")
        + ": a split takes them for different people; write them alike if they are one"
    ]
