"""Films over time, of predictions files and the gate's evidence beside them.

films = read_evidence_films(["week1.csv", "week2.csv"], digest)      # FilmTable: .table, .findings, .notes
timed = with_times(films, "taken", manifest="m.csv")        # a column ``time``, sorted by it
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path

import pandas as pd

from cxr_monai.data.joining import join_on_image
from cxr_monai.data.tables import read_cells, read_header
from cxr_monai.errors import Code, EvaluationError
from cxr_monai.evaluation.gate_evidence import gate_file
from cxr_monai.evaluation.predictions import (
    PredictionsFile,
    about_file,
    predictions_of,
    read_about_file,
    read_predictions,
)
from cxr_monai.gate.answer import GateVerdict
from cxr_monai.gate.drift_windows import TIME
from cxr_monai.plurals import counted, have
from cxr_monai.progress import progress_bar

_REFUSE = partial(EvaluationError, Code.PREDICTIONS_INVALID)
_FIRST_RADIOGRAPH = 1895
"""The year before which nothing was filmed."""
_STATED = "stated time"
"""The column of a films' table for the time that the time column says."""


@dataclass(frozen=True, eq=False)
class FilmTable:
    """Films of predictions files.

    Attributes:
        table: a row a film: ``image``, the gate's evidence where there is any, a column a finding (empty for a film
            that the gate refuses, whatever the mode of its prediction).
        findings: the columns of probabilities.
        calibrated: whether they are.
        notes: what was left out.
    """

    table: pd.DataFrame
    findings: tuple[str, ...]
    calibrated: bool
    notes: tuple[str, ...] = ()


def prediction_files(paths: Sequence[str | Path]) -> list[Path]:
    """Return predictions files: those that are given, and of each folder those whose JSON names a bundle.

    Raises:
        EvaluationError: ``predictions-invalid`` for a folder without any.
    """
    files: list[Path] = []
    for path in map(Path, paths):
        if not path.is_dir():
            files.append(path)
            continue
        tables = sorted(file for ending in ("*.csv", "*.csv.gz") for file in path.rglob(ending))
        inside = [file for file in tables if about_file(file).is_file() and "bundle" in read_about_file(file)]
        inside += [file for table in tables if (file := _refused_whole(table)) is not None]
        if not inside:
            raise _REFUSE(
                "no predictions of a bundle are in this folder.", fix="'cxr-monai predict' writes some.", where=path
            )
        files += inside
    return list(dict.fromkeys(files))


def read_evidence_films(paths: Sequence[str | Path], digest: str, time_column: str | None = None) -> FilmTable:
    """Read films of one bundle.

    Args:
        paths: predictions files, or folders of them.
        digest: the bundle's.
        time_column: of the predictions, with the time at which a film was taken.

    Raises:
        EvaluationError: ``predictions-invalid`` for a damaged file; ``evaluation-invalid`` for predictions of another
            bundle or of none, or calibrated ones beside raw ones.
    """
    files, tables = [], []
    chosen = prediction_files(paths)
    notes = []
    for path in progress_bar(chosen, total=len(chosen), desc="reading", unit="files"):
        if not path.exists() and gate_file(path).is_file():
            tables.append(_evidence(path))
            notes.append(f"{path.name}: every film was refused; its evidence does not say of which bundle.")
            continue
        file, times = _read(path, time_column)
        _require_bundle(file, path, digest)
        table = file.table if times is None else file.table.assign(**{_STATED: times})
        files.append(file)
        tables.append(_with_evidence(table, path, file.findings))
    if not files:
        raise _REFUSE("in none of these files was a film predicted.", fix="Is the bundle the right one for them?")
    kinds = {(file.calibrated, bool(file.about.get("own_weights", True)), file.findings) for file in files}
    if len(kinds) > 1:
        raise EvaluationError(
            Code.EVALUATION_INVALID,
            "some of these predictions are calibrated and some are raw, or they have other weights or other findings.",
            fix="Predict all of them alike.",
        )
    table = pd.concat(tables, ignore_index=True)
    if "gate" in table and (unjudged := int(table["gate"].isna().sum())):
        notes.append(f"{counted(unjudged, 'film')} {have(unjudged)} no evidence of a gate: probabilities alone count.")
    keys = [name for name in ("image", "pixel_digest", "taken_on", _STATED) if name in table]
    is_again = table.duplicated(keys)
    if again := int(is_again.sum()):
        notes.append(f"{counted(again, 'film')} {have(again)} more than one row; the first counts.")
    return FilmTable(
        table[~is_again].reset_index(drop=True),
        files[0].findings,
        files[0].calibrated,
        tuple(notes),
    )


def with_times(
    films: FilmTable, time_column: str | None = None, manifest: str | Path | None = None, match_names: bool = False
) -> FilmTable:
    """Return the films that have a time, sorted by it: the header's acquisition, else the time column's.

    Times are taken as they are written, without their zones.

    Args:
        films: of :func:`read_evidence_films`, with the same time column.
        time_column: of the predictions, or of ``manifest``.
        manifest: a table with ``image`` and the time column.
        match_names: a file name alone tells which image it is.

    Raises:
        EvaluationError: ``evaluation-invalid`` if no film has a time.
        ManifestError: ``images-ambiguous``, ``manifest-invalid`` if nothing fits the manifest.
    """
    table = films.table
    texts = table["taken_on"].fillna("") if "taken_on" in table else pd.Series("", index=table.index)
    stated = table.get(_STATED)
    if manifest is not None and time_column is not None:
        stated = _of_manifest(table, time_column, Path(manifest), match_names)
    if stated is not None:
        texts = texts.where(texts != "", stated.fillna(""))
    times = pd.to_datetime(texts.map(_moment))
    without = int(times.isna().sum())
    if without == len(times):
        named = f", nor one in the column {time_column!r}" if time_column else ""
        raise EvaluationError(
            Code.EVALUATION_INVALID,
            f"none of {counted(len(times), 'film')} has a time of acquisition in its header{named}.",
            fix="Say which column has it: --time-column NAME, of the predictions or of --manifest M.csv; such as "
            "2026-11-23 or 2026-11-23T09:14:05.",
        )
    notes = (
        [f"{counted(without, 'film')} without a time that can be read {have(without)} been left out."]
        if without
        else []
    )
    timed = table.assign(**{TIME: times})[times.notna()].sort_values(TIME, kind="stable").reset_index(drop=True)
    return replace(films, table=timed, notes=(*films.notes, *notes))


def _refused_whole(table: Path) -> Path | None:
    """Return the predictions that would stand beside evidence whose films were all refused; None for other tables."""
    ending = gate_file("").name
    result = table.with_name(table.name.removesuffix(ending))
    return result if table.name.endswith(ending) and not result.exists() else None


def _read(path: Path, time_column: str | None) -> tuple[PredictionsFile, pd.Series | None]:
    if time_column is None or not path.is_file() or time_column not in read_header(path, _REFUSE):
        return read_predictions(path), None
    cells = read_cells(path, _REFUSE)
    times = cells.pop(time_column).reset_index(drop=True)
    return predictions_of(cells, read_about_file(path)), times


def _require_bundle(file: PredictionsFile, path: Path, digest: str) -> None:
    bundle = file.about.get("bundle")
    if bundle == digest:
        return
    of = f"of another bundle ({str(bundle)[:12]}...)" if bundle else "not said to be of any bundle"
    raise EvaluationError(
        Code.EVALUATION_INVALID,
        f"these predictions are {of}, and the stream is watched for {digest[:12]}...: two networks' probabilities are "
        "no stream.",
        fix="Watch each bundle's predictions by themselves; predict again after a change of the bundle.",
        where=path,
    )


def _with_evidence(table: pd.DataFrame, path: Path, findings: Sequence[str]) -> pd.DataFrame:
    """Return predictions with the evidence of every film, refused ones too."""
    if not gate_file(path).is_file():
        return table
    cells = _evidence(path)
    both = cells.merge(table, on="image", how="outer", sort=False)
    both.loc[both["gate"] == GateVerdict.REFUSE, list(findings)] = float("nan")
    return both


def _evidence(path: Path) -> pd.DataFrame:
    """Return the evidence beside predictions, as text."""
    cells = read_cells(gate_file(path), _REFUSE).reset_index(drop=True)
    if not {"image", "gate"} <= {*cells.columns}:
        raise _REFUSE(
            "this is not the evidence of a gate.", fix="'cxr-monai predict' writes it.", where=gate_file(path)
        )
    return cells


def _of_manifest(table: pd.DataFrame, column: str, path: Path, match_names: bool) -> pd.Series:
    cells = read_cells(path)
    if not {"image", column} <= {*cells.columns}:
        raise EvaluationError(
            Code.EVALUATION_INVALID,
            f"--time-column {column}: this table has {', '.join(cells.columns)}.",
            fix="It needs 'image' and the column.",
            where=path,
        )
    joined = join_on_image(
        cells[["image", column]], table[["image"]].assign(place=table.index), by_name=match_names, path=path
    )
    return joined.table.set_index("place")[column].reindex(table.index)


def _moment(text: str) -> datetime | None:
    """Return a time; None for what is none, such as the year 1 where a date was taken out."""
    try:
        moment = datetime.fromisoformat(text).replace(tzinfo=None)
    except ValueError:
        return None
    return moment if moment.year >= _FIRST_RADIOGRAPH else None
