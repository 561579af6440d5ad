"""``report.html``: one file that says what a model is worth, to a physician in counts and to a reviewer in tables.

    write_report(evaluation, "OUT")     # OUT/report.html, and OUT/report.md beside it

The page needs nothing beside it: style and drawings are inside, and its own security policy forbids every request. The
words are those of `words` and `summary`, the drawings those of `figures` and `relations`; the template
(``report.html.j2``) only puts them in order, and escapes whatever comes from data.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from cxr_monai.attribution.localisation_result import Localisation
from cxr_monai.durable import write_durably
from cxr_monai.evaluation.assessment import Evaluation
from cxr_monai.origins import labels_of
from cxr_monai.plurals import counted
from cxr_monai.report import chart_svg, matrix_charts, metric_tables, summary, words
from cxr_monai.report.auroc_table import auroc_markdown
from cxr_monai.report.charts import ChartPanels, Forest, ForestRow, row_texts
from cxr_monai.report.evaluation_rows import chosen_points, chosen_rule, finding_rows, value
from cxr_monai.report.finding_notes import combine_notes
from cxr_monai.report.gate_section import gate_section
from cxr_monai.report.pages import localisation_page
from cxr_monai.report.panel_charts import PANELS
from cxr_monai.report.reader_tables import reader_section
from cxr_monai.report.rendering import flat, template

if TYPE_CHECKING:
    from cxr_monai.bundle.bundle_folder import Bundle


@dataclass(frozen=True)
class FindingCard:
    """What a physician reads of one finding: two pictures of a hundred dots with their sentences, then the rest."""

    title: str
    right: str = ""
    right_dots: int | None = None
    missed: str = ""
    found_dots: int | None = None
    elsewhere: str = ""
    lines: tuple[str, ...] = ()
    warning: str = ""


@dataclass(frozen=True)
class DrawnPanels:
    """Small multiples with each panel drawn."""

    shape: ChartPanels
    panels: tuple[tuple[str, str, str, Markup], ...]  # title, note, why empty, drawing
    legend: tuple[tuple[str, Markup], ...]


@dataclass(frozen=True)
class DrawnForest:
    """A forest with each bar drawn, and its numbers as text."""

    shape: Forest
    rows: tuple[tuple[ForestRow, Markup, tuple[str, str]], ...]  # row, bar, value and limits
    ticks: tuple[tuple[float, str], ...]  # percent of the bar's width


def write_report(
    evaluation: Evaluation, folder: str | Path, localisation: Localisation | None = None, bundle: "Bundle | None" = None
) -> Path:
    """Write ``report.html`` and ``report.md`` into a folder.

    Args:
        evaluation: see ``cxr_monai.evaluation.assessment``. Its ``book["rule"]`` says which of the operating points the
            physicians' part speaks of; by default the first.
        folder: made if it is not there.
        localisation: of the system's maps, see ``cxr_monai.workflows.localise``; a section of the page.
        bundle: the system, where it is one; its model card (``cxr_monai.report.pages.model_card``) is a section, too.

    Returns:
        the page.

    Raises:
        StorageError: ``disk-full`` or ``write-failed``.
    """
    folder = Path(folder)
    page = folder / "report.html"
    write_durably(folder / "report.md", auroc_markdown(evaluation).encode())
    write_durably(page, render_report(evaluation, localisation, bundle).encode())
    return page


def render_report(
    evaluation: Evaluation, localisation: Localisation | None = None, bundle: "Bundle | None" = None
) -> str:
    """Return the page."""
    section = localisation_page.localisation_section(localisation) if localisation is not None else None
    parts = []
    if bundle is not None:
        from cxr_monai.report.pages.model_card import card_parts  # needs what opens bundles: seconds of imports

        parts = [part for part in card_parts(bundle, evaluation, localisation) if part.in_report]
    return template("report.html.j2").render(**_content(evaluation), localisation=section, card=parts)


def finding_cards(evaluation: Evaluation) -> list[FindingCard]:
    """Return what the physicians' part says of each finding, in the evaluation's order."""
    points, cards = chosen_points(evaluation), []
    for row in finding_rows(evaluation):
        name = str(row["finding"])
        point, warning = points.get(name), words.rough(row)
        if point is None:
            ranks = name in evaluation.sample.ranking_only
            why = words.no_value(name, row) or (words.RANKS_ONLY if ranks else words.NO_THRESHOLD)
            cards.append(FindingCard(words.heading(name), warning=why))
            continue
        right, sensitivity = value(point, "ppv"), value(point, "sensitivity")
        lines = (words.false_alarms(name, point), words.left_when_silent(name, point), words.in_a_thousand(name, point))
        cards.append(
            FindingCard(
                words.heading(name),
                words.right_when_reported(name, point, evaluation.level),
                words.filled_dots(right) if right == right else None,
                words.missed(name, point),
                words.filled_dots(sensitivity) if sensitivity == sensitivity else None,
                words.at_stated_prevalence(name, point),
                tuple(line for line in lines if line),
                warning,
            )
        )
    return cards


def _content(evaluation: Evaluation) -> dict[str, Any]:
    rule, book, gate = chosen_rule(evaluation), evaluation.book, gate_section(evaluation)
    matrices = {
        "confusion": matrix_charts.confusion_matrix(evaluation),
        "cooccurrence": matrix_charts.cooccurrence_matrix(evaluation),
    }
    return {
        "system": _system(evaluation.book),
        "book": evaluation.book,
        "level": words.percent(evaluation.level),
        "replicates": evaluation.replicates,
        "judged_on": _judged_on(evaluation),
        "findings": len(evaluation.sample.findings),
        "split": words.split_words(book.get("split"), str(book.get("label_version"))),
        "notes": combine_notes(evaluation.notes),
        "can": summary.abilities(evaluation),
        "cannot": summary.limits(evaluation),
        "labels_are": labels_of(str(book.get("label_version", "unknown"))),
        "rule": rule,
        "rule_words": words.rule_words(rule) if rule else "",
        "cards": finding_cards(evaluation),
        "elsewhere": metric_tables.elsewhere_table(evaluation),
        "tables": {
            "findings": metric_tables.metrics_table(evaluation),
            "means": metric_tables.means_table(evaluation),
            "calibration": metric_tables.calibration_table(evaluation),
            "conformal": metric_tables.coverage_table(evaluation),
            "studies": metric_tables.studies_table(evaluation),
            "gaps": metric_tables.subgroup_matrix(evaluation),
            "sensitivity_gaps": metric_tables.sensitivity_matrix(evaluation),
            "comparison": metric_tables.systems_table(evaluation),
            "site": metric_tables.site_table(evaluation),
            "prevalence": metric_tables.prevalence_table(evaluation),
        },
        "operating": metric_tables.operating_tables(evaluation),
        "panels": {name: drawn_panels(make(evaluation)) for name, make in PANELS.items()},
        "forests": {
            "findings": drawn_forest(matrix_charts.findings_forest(evaluation)),
            "subgroups": drawn_forest(matrix_charts.subgroups_forest(evaluation)),
            "comparison": drawn_forest(matrix_charts.comparison_forest(evaluation)),
        },
        "matrices": {name: matrix for name, matrix in matrices.items() if matrix is not None},
        "gate": gate,
        "gate_chart": drawn_forest(gate.chart),
        "readers": reader_section(evaluation.readers, evaluation.reader_agreement, evaluation.level),
        "bookkeeping": flat(evaluation.book),
        "dots": chart_svg.hundred_dots,
        "dash": words.DASH,
    }


def drawn_panels(shape: ChartPanels | None) -> DrawnPanels | None:
    """Return small multiples as the page's pieces show them; None where there are none."""
    if shape is None:
        return None
    drawn = tuple(
        (panel.title, panel.note, panel.empty, Markup("") if panel.empty else chart_svg.panel_svg(panel, shape.square))
        for panel in shape.panels
    )
    return DrawnPanels(shape, drawn, tuple((label, chart_svg.legend_key(mark)) for label, mark in shape.legend()))


def drawn_forest(shape: Forest | None) -> DrawnForest | None:
    """Return a forest as the page's pieces show it; None where there is none."""
    if shape is None:
        return None
    rows = []
    for row in shape.rows:
        rows.append((row, chart_svg.bar_svg(row, shape), row_texts(shape, row)))
    ticks = tuple((chart_svg.percent_of(shape.x, place), text) for place, text in shape.x.ticks)
    return DrawnForest(shape, tuple(rows), ticks)


def _judged_on(evaluation: Evaluation) -> str:
    """Return what was judged on, as a phrase; drawn images are called so."""
    images, patients = len(evaluation.sample), int(evaluation.sample.patients.max(initial=-1)) + 1
    synthetic = int(evaluation.book.get("synthetic_images") or 0)
    if synthetic and synthetic >= images:
        return f"{counted(images, 'synthetic image')} of {counted(patients, 'invented patient')}"
    also = f", {synthetic:,} of them synthetic," if synthetic else ""
    return f"{counted(images, 'chest radiograph')}{also} of {counted(patients, 'patient')}"


def _system(book: Mapping[str, Any]) -> str:
    """Return what was judged, in a few words: the bundle's name, version and twelve digits, else the predictions."""
    bundle = book.get("bundle")
    if not bundle:
        return str(book.get("predictions") or "predictions")
    description = bundle if isinstance(bundle, Mapping) else {"digest": bundle}
    named = book.get("bundle_name") or description.get("name") or "a bundle"
    return f"{named} ({str(description['digest'])[:12]})" if description.get("digest") else str(named)
