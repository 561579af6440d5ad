"""Tests and comparisons of maps for reading: ``faithfulness.html`` and ``agreement.html``, each one file.

write_faithfulness_page(faithfulness, "OUT/curves.png", "OUT")
write_agreement_page(agreement, "OUT/agreement.png", "OUT")
"""

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from cxr_monai.attribution.agreement import RANK
from cxr_monai.attribution.agreement_tables import Agreement
from cxr_monai.attribution.faithfulness_tables import Faithfulness
from cxr_monai.attribution.randomisation import SURVIVED
from cxr_monai.durable import write_durably
from cxr_monai.evaluation.metrics_table import MEAN
from cxr_monai.plurals import counted
from cxr_monai.report import words
from cxr_monai.report.cells import Cell, Table, heading_of, signed, whole
from cxr_monai.report.evaluation_rows import records, value
from cxr_monai.report.rendering import flat, template
from cxr_monai.report.words import between, number

_WIDTH = 1200  # pixels of a picture on a page; the file beside it has all

_HOW_FAITHFUL = (
    (
        "Deletion, insertion",
        "Petsiuk et al. 2018, arXiv:1806.07421. The map's strongest places are replaced by the baseline (deletion) or "
        "put onto it (insertion), in equal shares of the pixels; the figure is the area under the finding's "
        "probability. A good map has a low deletion and a high insertion.",
    ),
    (
        "Control",
        "The same map at random places of the image: same values, same edges. A gain over it above 0 says that the "
        "place matters.",
    ),
    (
        "Unexplained",
        "Infidelity (Yeh et al. 2019, arXiv:1901.09392, Captum): how far the map's sum in a square foretells what "
        "covering the square does to the logit, in shares of what there is to foretell: 0 all of it, 1 nothing.",
    ),
    (
        "Sensitivity",
        "Yeh et al. 2019, Captum: how far noise that nobody sees moves the map, at most, in shares of its norm.",
    ),
    (
        "Random weights",
        "Adebayo et al. 2018, arXiv:1810.03292. Weights are drawn anew, first those of the last layer alone, then of "
        f"more parts, in the end all. Rank correlation (Spearman) and SSIM of the maps before and after. Over "
        f"{SURVIVED:g} at any stage a method is said to explain nothing: the bound lies in a gap that was measured on "
        "one network, between cam (0.16 or below) and methods whose maps are nearly the same for any head (0.65 or "
        "above).",
    ),
)
_HOW_AGREE = (
    (
        "Rank correlation",
        "Spearman's, of the places of both maps on one raster over the stored image, where both networks see it: 1 "
        "same order, 0 unrelated.",
    ),
    ("IoU", "Intersection over union of what is at least that share of each map's own maximum."),
    (
        "Empty maps",
        "A map that is 0 everywhere agrees in nothing with one that says something (0); two of them have no figure.",
    ),
    (
        "Just the seed",
        "Disagreement is 1 minus the figure. Mean disagreement within the seeds / mean disagreement between the "
        "models, over the same images: 1 says that the models differ no more than two seeds of one recipe.",
    ),
)


def write_faithfulness_page(faithfulness: Faithfulness, picture: str | Path, folder: str | Path) -> Path:
    """Write ``faithfulness.html``.

    Raises:
        StorageError: ``disk-full`` or ``write-failed``.
    """
    return _write(
        Path(folder) / "faithfulness.html",
        title="Do the maps show what the network uses?",
        lead="A heat map is an explanation only if the output depends on what it points at, and if it changes when "
        "what the network has learned is thrown away.",
        says=faithfulness_sentences(faithfulness),
        tables=[_methods(faithfulness), *_stages(faithfulness)],
        picture=_embedded(picture),
        caption="Mean probability as the map's strongest places go (deletion) and come (insertion); dashed: the same "
        "maps at random places.",
        notes=faithfulness.notes,
        book=faithfulness.provenance,
        how=_HOW_FAITHFUL,
    )


def write_agreement_page(agreement: Agreement, picture: str | Path | None, folder: str | Path) -> Path:
    """Write ``agreement.html``; without a picture where there is none.

    Raises:
        StorageError: ``disk-full`` or ``write-failed``.
    """
    return _write(
        Path(folder) / "agreement.html",
        title="Do the two look at the same places?",
        lead="Maps of the same images by two models or methods, finding by finding.",
        says=agreement_sentences(agreement),
        tables=[_findings(agreement), *_seeds(agreement)],
        picture=None if picture is None else _embedded(picture),
        caption="The images on which the two differ most; agreement_cases.csv names them.",
        notes=agreement.notes,
        book=agreement.provenance,
        how=_HOW_AGREE,
    )


def faithfulness_sentences(faithfulness: Faithfulness) -> list[str]:
    """Return what each method's figures say, one sentence or two a method."""
    sentences = []
    for row in records(faithfulness.methods):
        parts = []
        for name, does in (("deletion", "taking its strongest places away"), ("insertion", "putting them back")):
            low, high = value(row, f"{name}_gain_low"), value(row, f"{name}_gain_high")
            if low > 0:
                parts.append(f"{does} changes the probability more than at random places")
            elif high < 0:
                parts.append(f"{does} changes the probability less than at random places")
            else:
                few = "is of too few patients to compare with" if low != low else "cannot be told apart from"
                parts.append(f"{does} {few} random places")
        sentence = f"{row['method']}: {parts[0]}; {parts[1]}."
        survival = value(row, "survival")
        if survival == survival:
            fate = (
                "explains nothing, as its maps stay"
                if survival > SURVIVED
                else "depends on the weights, as its maps change"
            )
            sentence += f" It {fate} when weights are drawn anew (rank correlation up to {number(survival, 2)})."
        sentences.append(sentence)
    return sentences


def agreement_sentences(agreement: Agreement) -> list[str]:
    """Return the mean agreement, and what of the disagreement is just the seed."""
    row = next(row for row in records(agreement.findings) if row["finding"] == MEAN)
    ends = value(row, f"{RANK}_low"), value(row, f"{RANK}_high")
    span = f" ({between(*ends, 2)})" if ends[0] == ends[0] else ""
    mean = f"{number(value(row, RANK), 2)} on average{span}"
    sentences = [f"Over {counted(value(row, 'cases'), 'map')}, the rank correlation is {mean}."]
    for row in records(agreement.seeds) if agreement.seeds is not None else []:
        if row["finding"] == "all" and row["measure"] == RANK:
            low, high = value(row, "low"), value(row, "high")
            share = number(value(row, "share"), 2) + (f" ({between(low, high, 2)})" if low == low else "")
            more = high < 1
            verdict = "The models differ by more than that." if more else "More than chance of training is not shown."
            sentences.append(f"What of the disagreement is just the seed: {share}. {verdict}")
    return sentences


def _methods(faithfulness: Faithfulness) -> Table:
    names = {"deletion": "Deletion", "insertion": "Insertion", "unexplained": "Unexplained"}
    shown = {name: text for name, text in names.items() if name in faithfulness.methods}
    tested = faithfulness.stages is not None
    sensed = "sensitivity" in faithfulness.methods
    rows = []
    for row in records(faithfulness.methods):
        cells = [
            Cell(str(row["method"])),
            Cell(whole(value(row, "cases")), (counted(value(row, "patients"), "patient"),)),
        ]
        for name in shown:
            lines = (*_span(row, name), f"control {number(value(row, f'{name}_control'), 2)}")
            cells.append(Cell(number(value(row, name), 2), lines))
            gain = value(row, f"{name}_gain")
            low = value(row, f"{name}_gain_low")
            text = words.DASH if gain != gain else signed(gain, 3)
            ends = () if low != low else (f"{signed(low, 3)} to {signed(value(row, f'{name}_gain_high'), 3)}",)
            cells.append(Cell(text, ends, low > 0 or value(row, f"{name}_gain_high") < 0))
        if sensed:
            cells.append(Cell(number(value(row, "sensitivity"), 2), _span(row, "sensitivity")))
        if tested:
            cells.append(Cell(number(value(row, "survival"), 2), (str(row["survival_stage"]),)))
            cells.append(Cell(str(row["verdict"]), strong=value(row, "survival") > SURVIVED))
        rows.append(tuple(cells))
    heads = [part for text in shown.values() for part in (text, f"{text}: gain over the control")]
    heads += ["Sensitivity"] * sensed + ["Survival at most", "Verdict"] * tested
    return Table(
        "Each method",
        ("Method", "Cases", *heads),
        tuple(rows),
        (
            f"Intervals at {words.percent(faithfulness.level)}. A gain above 0 is the map's; bold: its interval "
            "excludes 0.",
        ),
    )


def _stages(faithfulness: Faithfulness) -> list[Table]:
    if faithfulness.stages is None:
        return []
    stages = list(dict.fromkeys(faithfulness.stages["stage"]))
    by = {(row["method"], row["stage"]): row for row in records(faithfulness.stages)}
    rows = []
    for method in dict.fromkeys(faithfulness.stages["method"]):
        cells = [Cell(str(method))]
        for stage in stages:
            row = by[method, stage]
            lines = (*_span(row, RANK), f"SSIM {number(value(row, 'ssim'), 2)}")
            cells.append(Cell(number(value(row, RANK), 2), lines, value(row, RANK) > SURVIVED))
        rows.append(tuple(cells))
    parts = faithfulness.stages.drop_duplicates("stage").set_index("stage")["random_parts"]
    heads = ("Method", *(f"{stage} and all after it ({parts[stage]})" for stage in stages))
    note = f"Rank correlation with the network's own map, and how many parts have new weights. Bold: over {SURVIVED:g}."
    return [Table("When weights are drawn anew", heads, tuple(rows), (note,))]


def _findings(agreement: Agreement) -> Table:
    figures = [name for name in map(str, agreement.findings) if f"{name}_low" in agreement.findings]
    rows = []
    for row in records(agreement.findings):
        cells = [Cell(heading_of(row["finding"]), strong=row["finding"] == MEAN)]
        cells.append(Cell(whole(value(row, "cases")), (counted(value(row, "patients"), "patient"),)))
        cells += [Cell(number(value(row, name), 2), _span(row, name), row["finding"] == MEAN) for name in figures]
        cells += [Cell(whole(value(row, name))) for name in ("only_first", "only_second", "empty")]
        rows.append(tuple(cells))
    heads = ("Finding", "Cases", *map(_measure, figures), "Only the first", "Only the second", "Both empty")
    note = "Only the first, only the second: images of which one alone kept a map."
    return Table("Agreement", heads, tuple(rows), (note,))


def _seeds(agreement: Agreement) -> list[Table]:
    if agreement.seeds is None:
        return []
    tables = []
    for measure, table in agreement.seeds.groupby("measure", sort=False):
        rows = []
        for row in records(table):
            low = value(row, "low")
            ends = () if low != low else (between(low, value(row, "high"), 2),)
            cells = [
                Cell("All" if row["finding"] == "all" else heading_of(row["finding"]), strong=row["finding"] == "all")
            ]
            cells += [Cell(whole(value(row, "cases")), (counted(value(row, "patients"), "patient"),))]
            cells += [Cell(number(value(row, name), 2)) for name in ("between", "within")]
            rows.append((*cells, Cell(number(value(row, "share"), 2), ends)))
        heads = ("Finding", "Cases", "Between the models", "Within the seeds", "Share that is just the seed")
        tables.append(Table(f"Disagreement: 1 minus the {_measure(str(measure))}", heads, tuple(rows)))
    return tables


def _span(row: Mapping[str, Any], name: str) -> tuple[str, ...]:
    low, high = value(row, f"{name}_low"), value(row, f"{name}_high")
    return (between(low, high, 2),) if low == low else ()


def _measure(name: str) -> str:
    return "Rank correlation" if name == RANK else f"IoU at {name.removeprefix('iou_')}"


def _embedded(picture: str | Path) -> str:
    """Return a picture as a data URI, small enough for a page."""
    with Image.open(picture) as opened:
        small = opened.convert("RGB")
    small.thumbnail((_WIDTH, 10 * _WIDTH))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _write(
    page: Path, *, title: str, lead: str, says: Sequence[str], tables: Sequence[Table], picture: str | None, caption:
        str,
    notes: Sequence[str], book: Mapping[str, Any], how: Sequence[tuple[str, str]],
) -> Path:  # fmt: skip
    rendered = template("maps.html.j2").render(
        title=title, lead=lead, says=says, tables=tables, picture=picture, caption=caption, notes=notes,
        bookkeeping=flat(book), how=how,
    )  # fmt: skip
    write_durably(page, rendered.encode())
    return page
