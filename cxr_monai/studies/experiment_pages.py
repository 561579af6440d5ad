"""The files of an experiment: tables for programs, the table of AUROCs for people, and the page."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from cxr_monai.completion import seal
from cxr_monai.durable import remove, write_durably
from cxr_monai.evaluation.metrics_table import MEAN
from cxr_monai.progress import duration
from cxr_monai.report import words
from cxr_monai.report.auroc_table import escaped, line
from cxr_monai.report.pages.study_page import write_study_page
from cxr_monai.studies.compare import Tables
from cxr_monai.studies.plan import Experiment, ExperimentResult

MAIN = "study.json"


def write_pages(out: Path, result: ExperimentResult, tables: Tables, beside: Sequence[Path] = ()) -> list[Path]:
    """Write ``study.csv``, ``comparison.csv``, ``differences.csv``, ``study.md``, ``study.html``, ``study.png`` and,
    last and with the mark of completion, ``study.json`` into the experiment's folder.

    Args:
        out: the folder.
        result, tables: of the experiment.
        beside: files of the folder that belong to the result, too.

    Returns:
        the files that were written.

    Raises:
        StorageError: ``disk-full`` or ``write-failed``.
    """
    written = []
    remove(out / MAIN)  # an earlier one: never a mark beside other figures
    for name in ("study", "comparison", "differences"):
        written.append(out / f"{name}.csv")
        write_durably(written[-1], getattr(tables, name).to_csv(index=False, float_format="%.6g").encode())
    content: dict[str, Any] = {
        **about(result.plan),
        "findings": _records(tables.findings),
        "comparison": _records(tables.comparison),
        "differences": _records(tables.differences),
        "failed": dict(result.failed),
        "notes": list(tables.notes),
    }
    written.append(out / "study.md")
    write_durably(written[-1], markdown(result.plan, tables).encode())
    page = write_study_page(
        out,
        title=result.plan.name,
        question=result.plan.question,
        findings=tables.findings,
        comparison=tables.comparison,
        published=tables.published,
        notes=list(tables.notes),
        baseline=result.plan.baseline,
    )
    written += [page, page.with_suffix(".png")]
    seal(content, out, [path.relative_to(out).as_posix() for path in (*written, *beside)])
    write_durably(out / MAIN, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())
    return [*written, out / MAIN]


def about(study: Experiment) -> dict[str, Any]:
    """Return the experiment as JSON; of paths the file names alone."""
    return {
        "name": study.name,
        "question": study.question,
        "baseline": study.baseline,
        "seeds": list(study.seeds),
        "folds": study.folds,
        **({"leave_out": study.leave_out} if study.leave_out else {}),
        "variants": {name: dict(overrides) for name, overrides in study.variants.items()},
        "files": [file.name for file in study.files],
        "evaluate_files": [file.name for file in study.evaluate_files],
        "evaluate_overrides": dict(study.evaluate_overrides),
        "published": {name: {"source": one.source, "auroc": dict(one.auroc)} for name, one in study.published.items()},
    }


def markdown(study: Experiment, tables: Tables) -> str:
    """Return ``study.md``: AUROC of each finding by variant, the comparison, published values, notes.

    Args:
        study: the experiment.
        tables: of `tabulate`.
    """
    variants = list(study.variants)
    blocks = [
        [f"# {escaped(study.name)}", "", escaped(study.question)],
        _table(("Finding", *variants, "#Labels"), (_finding_row(row, variants) for row in _rows(tables.findings))),
        [f"## Against {escaped(study.baseline)}"] if len(variants) > 1 else ["## Cost"],
        _table(
            ("Variant", "Mean AUROC", "Difference", "95 % interval", "Time", "Image passes"),
            map(_comparison_row, _rows(tables.comparison)),
        ),
    ]
    if tables.published is not None:
        ours = tables.findings.set_index("finding")
        sources = dict(zip(tables.published["variant"], tables.published["source"], strict=True))
        citations = [f"{escaped(variant)}: {escaped(source)}" for variant, source in sources.items()]
        blocks += [
            [
                "## As published",
                "",
                "On other images, so no comparison; beside it what came out here. " + "; ".join(citations),
            ],
            _table(
                ("Variant", "Finding", "Published", "Here"),
                (
                    (
                        row["variant"],
                        _shown(row["finding"]),
                        words.number(row["auroc"]),
                        words.number(ours[row["variant"]].get(row["finding"], math.nan)),
                    )
                    for row in _rows(tables.published)
                ),
            ),
        ]
    blocks.append([f"- {escaped(note)}" for note in tables.notes])
    return "\n\n".join("\n".join(block) for block in blocks) + "\n"


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    heads = list(heads)
    rule = "| --- |" + " ---: |" * (len(heads) - 1)
    return [
        line(map(escaped, heads)),
        rule,
        *(line(map(escaped, row)) for row in rows),
    ]


def _finding_row(row: Mapping[str, Any], variants: Iterable[str]) -> list[str]:
    return [_shown(row["finding"]), *(words.number(row[name]) for name in variants), words.number(row["positives"], 0)]


def _comparison_row(row: Mapping[str, Any]) -> list[str]:
    return [
        row["variant"],
        words.number(row["mean_auroc"]),
        words.number(row["difference"]),
        words.between(row["low"], row["high"]),
        duration(row["seconds"]),
        f"{row['image_passes']:,}",
    ]


def _shown(finding: str) -> str:
    return "Mean" if finding == MEAN else words.heading(finding)


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(key): value for key, value in row.items()} for row in table.to_dict(orient="records")]


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows as JSON, null where there is no value."""
    return _rows(table.astype(object).where(table.notna(), None))
