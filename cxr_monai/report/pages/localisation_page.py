"""Localisation for reading: ``localisation.html``, and the same section in ``report.html``.

    write_localisation_page(localisation, "OUT")             # OUT/localisation.html
    localisation_section(localisation)                       # what the template's section is handed

Every figure of the map stands above those of the two controls: a figure that a centre map reaches, too, says nothing
about the image.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cxr_monai.attribution.localisation_result import Localisation
from cxr_monai.durable import write_durably
from cxr_monai.evaluation.metrics_table import MEAN
from cxr_monai.origins import is_synthetic
from cxr_monai.plurals import counted
from cxr_monai.report import words
from cxr_monai.report.cells import Cell, Table, heading_of, signed, whole
from cxr_monai.report.evaluation_rows import records, value
from cxr_monai.report.rendering import flat, template
from cxr_monai.report.words import between, number

_SHOWN = {
    "pointing": "Pointing game",
    "energy": "Energy in the box",
    "iou": "IoU",
    "iobb": "IoBB",
    "iou_above_0.1": "IoU > 0.1",
    "iou_above_0.5": "IoU > 0.5",
    "iobb_above_0.1": "IoBB > 0.1",
}
_DRAWN = "These images were drawn by a program (cxr-monai phantom), which knows exactly where each finding lies."
_GAINS = ("pointing", "energy", "iou", "iou_above_0.1")
_LEVELS = tuple(f"{step / 10}" for step in range(1, 10))


def write_localisation_page(localisation: Localisation, folder: str | Path) -> Path:
    """Write ``localisation.html``: one file, nothing is loaded from anywhere.

    Raises:
        StorageError: ``disk-full`` or ``write-failed``.
    """
    page = Path(folder) / "localisation.html"
    book = {name: entry for name, entry in localisation.provenance.items() if entry is not None}
    content = {"localisation": localisation_section(localisation), "bookkeeping": flat(book), "dash": words.DASH}
    write_durably(page, template("localisation.html.j2").render(**content).encode())
    return page


def localisation_section(localisation: Localisation) -> dict[str, Any]:
    """Return what the section shows."""
    book = localisation.provenance
    return {
        "method": book["method"],
        "boxed": counted(int(book["cases"]), "boxed case"),
        "of_patients": counted(int(book["patients"]), "patient"),
        "drawn_by": _DRAWN if is_synthetic(str(book.get("label_version"))) else "People drew boxes around findings.",
        "level": words.percent(localisation.level),
        "chosen": book.get("map_thresholds_from", ""),
        "tolerance": f"{float(book.get('tolerance', 0)):g}",
        "draws": book.get("random_draws"),
        "raster": book.get("raster"),
        "says": localisation_sentences(localisation),
        "notes": localisation.notes,
        "scores": scores_table(localisation),
        "gains": gains_table(localisation),
        "levels": [levels_table(localisation, kind) for kind in ("iou", "iobb")],
    }


def localisation_sentences(localisation: Localisation) -> list[str]:
    """Return what the figures of the mean, or of the only finding, say in counts and against both controls."""
    named = _named(localisation)
    rows = {row["map"]: row for row in records(localisation.scores) if row["finding"] == named}
    method = localisation.provenance["method"]
    hits = words.frequency(*(value(rows[method], f"pointing{end}") for end in ("", "_low", "_high")))
    if hits is None:
        return []
    what = "a boxed finding" if named == MEAN else f"a box of {words.spoken(named)}"
    sentences = [
        f"Of {counted(hits.total, 'radiograph')} with {what}, the strongest point "
        f"of the map lies in the box in {hits.count:,}"
        f"{hits.span(localisation.level)}."
    ]
    for control in (name for name in rows if name != method):
        control_hits = words.frequency(value(rows[control], "pointing"))
        gain = _gains(localisation)[named, control, "pointing"]
        low, high = value(gain, "low"), value(gain, "high")
        if low != low:
            verdict = "there are too few patients to compare"
        elif low > 0:
            verdict = "the map does better"
        else:
            verdict = "the map does worse" if high < 0 else "the difference may be chance"
        if control_hits is not None:
            sentences.append(
                f"That of a {control} map does in {control_hits.count:,} of {control_hits.total:,}; {verdict}."
            )
    return sentences


def scores_table(localisation: Localisation) -> Table:
    """Return each finding's figures, those of the controls below them."""
    method = localisation.provenance["method"]
    by_map = _by_map(localisation)
    rows = []
    for finding, maps in by_map.items():
        row_of_map, strong = maps[method], finding == MEAN
        patients = counted(value(row_of_map, "patients"), "patient")
        cells = [Cell(heading_of(finding), strong=strong), Cell(whole(value(row_of_map, "cases")), (patients,))]
        for figure in _SHOWN:
            low, high = value(row_of_map, f"{figure}_low"), value(row_of_map, f"{figure}_high")
            lines = [f"{between(low, high, 2)}"] if low == low else []
            lines += [f"{name} {number(value(row, figure), 2)}" for name, row in maps.items() if name != method]
            cells.append(Cell(number(value(row_of_map, figure), 2), tuple(lines), strong))
        chosen_on = str(row_of_map.get("chosen_on") or "")
        threshold = value(row_of_map, "map_threshold")
        cells.append(Cell(number(threshold, 2), () if chosen_on in ("", finding) else (f"of {chosen_on}",)))
        rows.append(tuple(cells))
    heads = ("Finding", "Cases", *_SHOWN.values(), "Map threshold")
    in_mean = [words.heading(str(name)) for name in localisation.provenance.get("in_mean", ())]
    notes: tuple[str, ...] = ()
    if MEAN in by_map:
        alone = (
            f"The mean is that of {words.spoken(in_mean[0])}, the only finding with enough cases." if in_mean else ""
        )
        several = f"The mean is over {words.and_list([words.spoken(name) for name in in_mean])}, which weigh the same."
        notes = (several if len(in_mean) > 1 else alone,)
    return Table("Maps against boxes", heads, tuple(rows), notes)


def gains_table(localisation: Localisation) -> Table:
    """Return what the map gains over each control; bold where the interval excludes zero."""
    gains, rows = _gains(localisation), []
    controls = list(dict.fromkeys(control for _, control, _ in gains))
    for finding in _by_map(localisation):
        cells = [Cell(heading_of(finding), strong=finding == MEAN)]
        for figure in _GAINS:
            for control in controls:
                row = gains[finding, control, figure]
                low, high = value(row, "low"), value(row, "high")
                limits = (f"{signed(low, 2)} to {signed(high, 2)}",) if low == low else ()
                gain = value(row, "gain")
                cells.append(Cell(words.DASH if gain != gain else signed(gain, 2), limits, low > 0 or high < 0))
        rows.append(tuple(cells))
    heads = ("Finding", *(f"{_SHOWN[figure]}, over {control}" for figure in _GAINS for control in controls))
    note = "Paired, over the same cases. Bold: the interval excludes zero."
    return Table("What the map gains over the controls", heads, tuple(rows), (note,))


def levels_table(localisation: Localisation, kind: str) -> Table:
    """Return the share of cases above each IoU or IoBB, of every finding, and of the controls for the mean."""
    method = localisation.provenance["method"]
    rows = []
    for finding, maps in _by_map(localisation).items():
        for name, row in maps.items():
            if name == method or finding == MEAN:
                shares = [value(row, f"{kind}_above_{level}") for level in _LEVELS]
                label = heading_of(finding) + ("" if name == method else f", {name} map")
                cells = [Cell(number(share, 2), share=None if share != share else share) for share in shares]
                rows.append((Cell(label, strong=finding == MEAN and name == method), *cells))
    heads = ("Finding", *(f"T = {level}" for level in _LEVELS))
    return Table(f"Share of cases with {_SHOWN[kind]} > T", heads, tuple(rows), matrix=True)


def _named(localisation: Localisation) -> str:
    """Return the finding that the sentences speak of: the mean if it is over several, else the one with most cases."""
    if len(localisation.provenance.get("in_mean", ())) > 1:
        return MEAN
    findings = localisation.scores[localisation.scores["finding"] != MEAN]
    return str(findings["finding"].iloc[int(findings["cases"].argmax())])


def _by_map(localisation: Localisation) -> dict[str, dict[str, Mapping[str, Any]]]:
    by_map: dict[str, dict[str, Mapping[str, Any]]] = {}
    for row in records(localisation.scores):
        by_map.setdefault(str(row["finding"]), {})[str(row["map"])] = row
    if len(by_map) == 2 or not localisation.provenance.get("in_mean"):
        by_map.pop(MEAN)  # the mean over one finding, or over none
    return by_map


def _gains(localisation: Localisation) -> dict[tuple[str, str, str], Mapping[str, Any]]:
    return {(str(row["finding"]), str(row["over"]), str(row["score"])): row for row in records(localisation.gains)}
