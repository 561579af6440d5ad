"""What a model card is made of, and the Markdown of it."""

from collections.abc import Iterable
from dataclasses import dataclass

from cxr_monai.bundle.bundle_folder import Bundle
from cxr_monai.bundle.origin import TRAINED_ON
from cxr_monai.origins import learned_from
from cxr_monai.report.auroc_table import escaped, line
from cxr_monai.report.cells import Cell, Table

NOT_A_DEVICE = "This is not a medical device and not for diagnosis."


@dataclass(frozen=True)
class CardPart:
    """One heading of a model card.

    Attributes:
        title: the heading.
        lines: paragraphs.
        points: name and text of each entry of a list.
        tables: below them.
        in_report: whether the card's section of an evaluation's report shows it; the report says the rest elsewhere.
    """

    title: str
    lines: tuple[str, ...] = ()
    points: tuple[tuple[str, str], ...] = ()
    tables: tuple[Table, ...] = ()
    in_report: bool = True


def card_markdown(bundle: Bundle, parts: Iterable[CardPart]) -> str:
    """Return a model card as Markdown; whatever comes from data is escaped."""
    rows = [f"# Model card: {escaped(bundle.title)}", "", f"**{NOT_A_DEVICE}**", ""]
    if learned := learned_from(bundle.metadata.get(TRAINED_ON)):
        rows += [f"**{escaped(learned)}**", ""]
    for part in parts:
        rows += [f"## {part.title}", ""]
        for sentence in part.lines:
            rows += [escaped(sentence), ""]
        if part.points:
            rows += [*(f"- **{escaped(lead)}** {escaped(text)}".rstrip() for lead, text in part.points), ""]
        for table in part.tables:
            rows += [*_rows(table), ""]
    return "\n".join(rows).rstrip("\n") + "\n"


def _rows(table: Table) -> list[str]:
    sides = ["---", *["---:"] * (len(table.heads) - 1)]
    rows = [f"**{escaped(table.caption)}**", "", line(map(escaped, table.heads)), line(sides)]
    rows += [line(map(_cell, row)) for row in table.rows]
    return [*rows, *(text for note in table.notes for text in ("", escaped(note)))]


def _cell(cell: Cell) -> str:
    text = f"**{escaped(cell.text)}**" if cell.strong else escaped(cell.text)
    return "<br>".join([text, *map(escaped, cell.small)])
