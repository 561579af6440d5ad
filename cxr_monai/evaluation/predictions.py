"""The predictions file: ``image`` and one probability a finding, with its provenance beside it.

``P.csv`` holds ``image`` (or NIH's ``Image Index``) and one column a finding (or ``prob_FINDING``), each in [0, 1];
``P.csv.json`` names bundle and precision, and whether the values are calibrated; ``P.csv.errors.csv`` lists
the files that were left out (``image, code, reason``) and exists only if there are any; ``P.csv.gate.csv`` has the
gate's evidence (`cxr_monai.evaluation.gate_evidence`) where films were judged.

file = read_predictions("P.csv")                 # of any system
sample, notes = join(file, manifest, "test")     # next to labels, patients, views
"""

import gzip
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cxr_monai.composites import COMPOSITES, Composite
from cxr_monai.data.files import errors_file, errors_table
from cxr_monai.data.joining import join_on_image, without
from cxr_monai.data.manifest import Manifest
from cxr_monai.data.tables import nameless, read_cells
from cxr_monai.data.validation import RESERVED
from cxr_monai.data.vocabulary import doubled
from cxr_monai.durable import write_together
from cxr_monai.errors import Code, EvaluationError
from cxr_monai.evaluation.composite_scores import score_composites
from cxr_monai.evaluation.gate_evidence import gate_file, gate_rows
from cxr_monai.evaluation.sample import Sample
from cxr_monai.labels import NIH14, spelling
from cxr_monai.plurals import counted
from cxr_monai.strict_json import parse_strictly

IMAGE_NAMES = ("image", "Image Index")
PREFIX = "prob_"
_SHOWN = 5


@dataclass(frozen=True, eq=False)
class PredictionsFile:
    """A predictions file that was read and checked.

    Attributes:
        table: ``image`` (text, unique) and one float64 column a finding, in [0, 1].
        about: the JSON beside it; empty where there is none.
        path: the file.
        gate: what a gate says of each film, of predictions in memory; what lies beside a file stands there.
    """

    table: pd.DataFrame
    about: Mapping[str, Any] = field(default_factory=dict)
    path: Path | None = None
    gate: pd.DataFrame | None = None

    @property
    def findings(self) -> tuple[str, ...]:
        """The findings, in the file's order."""
        return tuple(self.table.columns[1:])

    @property
    def calibrated(self) -> bool:
        """Whether the values are calibrated already; False where the JSON does not state it."""
        return self.about.get("calibrated") is True


def read_predictions(path: str | Path) -> PredictionsFile:
    """Read the predictions of any system.

    Args:
        path: of the CSV, plain or ``.gz``; see the module's head for its columns.

    Returns:
        the table, findings spelled as this package spells them (``prob_Infiltrate`` is ``Infiltration``).

    Raises:
        EvaluationError: ``predictions-invalid``, naming all problems with their lines (header = line 1).
    """
    path = Path(path)
    if not path.exists():
        raise _invalid(path, "there is no such predictions file.", "Make one with 'cxr-monai predict'.")
    table = _checked(read_cells(path, partial(EvaluationError, Code.PREDICTIONS_INVALID)), path)
    return PredictionsFile(table, read_about_file(path), path)


def predictions_of(table: pd.DataFrame, about: Mapping[str, Any] | None = None) -> PredictionsFile:
    """Return a table in memory as a predictions file: checked like a file, with the digits that a file would have.

    Args:
        table: ``image`` and one column a finding, each in [0, 1].
        about: content of the JSON beside a file: bundle, digest, precision, calibrated.

    Raises:
        EvaluationError: ``predictions-invalid``, as `read_predictions`; the first row is line 2.

    >>> file = predictions_of(pd.DataFrame({"image": ["a.png", "b.png"], "Mass": [0.25, 0.5]}))
    >>> file.findings, file.calibrated
    (('Mass',), False)
    """
    cells = pd.DataFrame(
        {
            name: column.map(DIGITS.__mod__) if pd.api.types.is_numeric_dtype(column) else column.astype("str")
            for name, column in table.items()
        },
        dtype="str",
    ).set_axis(pd.RangeIndex(2, len(table) + 2), axis=0)
    return PredictionsFile(_checked(cells, None), dict(about or {}))


def _checked(raw: pd.DataFrame, path: Path | None) -> pd.DataFrame:
    """Return ``image`` and the findings' probabilities of a table of text, indexed by line."""
    if {"patient_id", "split"} <= {*raw.columns}:
        raise _invalid(path, "this is a manifest, not predictions.", "Make them with 'cxr-monai predict'.")
    keys = [name for name in IMAGE_NAMES if name in raw.columns]
    findings = {name: spelling(name.removeprefix(PREFIX)) for name in raw.columns if name not in keys}
    problems = [f"line 1: {words}"] if (words := nameless(raw)) else []
    if len(keys) != 1:
        problems.append(f"line 1: one column is called 'image' (or 'Image Index'); there are {', '.join(raw.columns)}")
    problems += [
        f"line 1: two columns are of {finding}"
        + ("" if len(set(names)) == 1 else f": {' and '.join(map(repr, names))}")
        for finding, names in doubled(findings.values()).items()
    ]
    if not findings:
        problems.append("line 1: there is no column of a finding")
    if raw.empty:
        problems.append("there is no row")
    if problems:
        raise _invalid(path, "; ".join(problems) + ".")
    images = raw[keys[0]]
    columns: dict[str, Any] = {"image": images}
    problems = _row_problems(images == "", images, "has no image")
    problems += _row_problems(images.duplicated() & (images != ""), images, "stands there twice")
    for name, finding in findings.items():
        numbers = pd.to_numeric(raw[name], errors="coerce").astype(float)
        is_bad = ~numbers.between(0, 1)  # also what is no number
        comma = ", but a decimal comma" if raw.loc[is_bad, name].str.fullmatch(r"\d*,\d+").any() else ""
        problems += _row_problems(is_bad, raw[name], f"is no probability from 0 to 1 ({name}){comma}")
        columns[finding] = numbers
    if problems:
        raise _invalid(path, f"{counted(len(problems), 'problem')}.\n  " + "\n  ".join(problems[: 4 * _SHOWN]))
    return pd.DataFrame(columns).reset_index(drop=True)


def join(
    predictions: PredictionsFile,
    manifest: Manifest,
    split: str | None = None,
    findings: Sequence[str] | None = None,
    some: bool = False,
    composites: Mapping[str, Composite] = COMPOSITES,
) -> tuple[Sample, list[str]]:
    """Join predictions with the labels and patients of a manifest.

    Args:
        predictions: of `read_predictions`.
        manifest: labels and patients; images without a prediction take no part.
        split: keep the images of this part alone; None keeps all that have a prediction.
        findings: to use; those that both have where None.
        some: predictions of only some of the manifest's images are expected: no sentence counts those without.
        composites: labels of the manifest that are unions of findings, by name. One that is not predicted itself is
            scored by its members and named in the sample's ``ranking_only``.

    Returns:
        the sample, named and in order as in the manifest, and a sentence for everything that was left out, and for each
        composite.

    Raises:
        EvaluationError: ``predictions-invalid`` if no finding is common to both, or no image is in the split.
        ManifestError: ``manifest-invalid`` if no image is in both, ``images-ambiguous`` if a path fits several.
    """
    manifest_findings = manifest.findings
    wanted = findings if findings is not None else manifest_findings
    scored = score_composites(spelled_as(predictions.table, wanted), wanted, composites)
    table = scored.table
    predicted_findings = tuple(table.columns[1:])
    chosen = (
        list(findings) if findings is not None else [name for name in predicted_findings if name in manifest_findings]
    )
    absent = [name for name in chosen if name not in predicted_findings or name not in manifest_findings]
    if not chosen or absent:
        raise _invalid(
            predictions.path,
            f"{'no finding' if not chosen else ', '.join(absent) + ' not'} in both: the predictions have "
            f"{', '.join(predicted_findings)}; the manifest has {', '.join(manifest_findings)}.",
        )
    notes = list(scored.notes)
    if findings is None:
        for names, source in (
            (set(predicted_findings) - set(manifest_findings), "predictions"),
            (set(manifest_findings) - {*predicted_findings, *scored.unscored}, "manifest"),
        ):
            if names:
                notes.append(f"Only the {source} have {', '.join(sorted(names))}: left out.")
    reserved = [name for name in RESERVED if name in manifest.table]
    truth = manifest.table[[*reserved, *chosen]]
    truth = truth.rename(columns={name: f"label {name}" for name in chosen})
    by_side = join_on_image(
        truth,
        table[["image", *chosen]],
        by_name=manifest.by_name,
        path=predictions.path,
        root=manifest.roots,
    )
    joined = by_side.table
    notes += by_side.notes("predicted images", "the manifest")
    if split is None:
        notes += [] if some else by_side.unnamed_notes("images of the manifest", "prediction")
    else:
        in_split = joined["split"] == split
        if not in_split.any():
            counts = joined["split"].replace("", "no split").value_counts()
            raise _invalid(
                predictions.path,
                f"none of its images is in the split {split!r}; they are in "
                + ", ".join(f"{name} ({count:,})" for name, count in counts.items())
                + ".",
            )
        joined = joined[in_split].reset_index(drop=True)
        split_images = manifest.table["image"][manifest.table["split"] == split]
        unpredicted = split_images[~split_images.isin(joined["image"])].tolist()
        notes += without(unpredicted, len(split_images), f"images of the split {split!r}", "prediction")
    labels = joined[[f"label {name}" for name in chosen]].to_numpy(float)
    scores = joined[chosen].to_numpy(float)
    ranking_only = [name for name in chosen if name in scored.composites]
    sample = Sample.of(joined[reserved], chosen, scores, labels, ranking_only)
    return sample, notes


def spelled_as(table: pd.DataFrame, findings: Sequence[str]) -> pd.DataFrame:
    """Return predictions whose findings are spelled as others where small and capital letters alone differ.

    Args:
        table: ``image`` and one column a finding.
        findings: a manifest's.

    >>> list(spelled_as(pd.DataFrame({"image": ["a"], "old fracture": [0.5]}), ["Old Fracture"]))
    ['image', 'Old Fracture']
    """
    ours = {name.casefold(): name for name in findings}
    names = {name: ours.get(name.casefold(), name) for name in table.columns[1:] if name not in findings}
    columns = {*table.columns}
    return table.rename(columns={name: other for name, other in names.items() if other not in columns})


DIGITS = "%.8g"
"""Format of a probability in a predictions file: eight significant digits."""


def write_predictions(
    path: str | Path,
    images: Sequence[str],
    probabilities: np.ndarray,
    findings: Sequence[str],
    about: Mapping[str, Any],
    errors: Sequence[tuple[str, str, str]] = (),
    evidence: pd.DataFrame | None = None,
) -> None:
    """Write one predictions file and its companions.

    Args:
        path: of the CSV (``.gz`` is compressed).
        images: N names, unique.
        probabilities: float ``[N, F]`` in [0, 1].
        findings: F names.
        about: content of the JSON beside it: bundle, digest, precision, calibrated.
        errors: image, stable code and reason of each file left out.
        evidence: the gate's, of every film that could be read; None where none was judged.
    """
    path = Path(path)
    table = pd.DataFrame(probabilities, columns=list(findings))
    table.insert(0, "image", list(images))
    judged = None if evidence is None else [gate_rows(evidence, header=True)]
    place_predictions(path, table.to_csv(index=False, float_format=DIGITS).encode(), about, errors, judged)


def place_predictions(
    path: Path,
    content: bytes,
    about: Mapping[str, Any],
    errors: Sequence[tuple[str, str, str]],
    evidence: Iterable[bytes] | None = None,
) -> None:
    """Put a predictions file and its companions into their places: no table beside another's ``.json``.

    Args:
        path, about, errors: as of :func:`write_predictions`.
        content: the table as CSV.
        evidence: the gate's as CSV, in parts; None where no film was judged.

    Raises:
        StorageError: ``disk-full`` or ``write-failed``; earlier files are intact.
    """
    about_json = (json.dumps(dict(about), indent=2) + "\n").encode()
    write_together(
        path,
        gzip.compress(content, mtime=0) if path.name.endswith(".gz") else content,
        {
            gate_file(path): evidence,
            about_file(path): about_json,
            errors_file(path): errors_table(errors) if errors else None,
        },
        gone_meanwhile=True,
    )


def about_file(path: Path) -> Path:
    """Return the JSON file beside a predictions file that describes how it was made: ``P.csv.json``."""
    return path.with_name(f"{path.name}.json")


def place_errors_alone(
    path: Path, errors: Sequence[tuple[str, str, str]], evidence: Iterable[bytes] | None = None
) -> None:
    """Put the list of errors into its place where no image was predicted; an earlier table and its JSON go.

    Args:
        path, errors, evidence: as of :func:`place_predictions`.

    Raises:
        StorageError: ``disk-full`` or ``write-failed``.
    """
    write_together(
        errors_file(path), errors_table(errors), {path: None, about_file(path): None, gate_file(path): evidence}
    )


def read_about_file(path: Path) -> dict[str, Any]:
    """Return the content of the JSON beside a predictions file; empty where there is none.

    Raises:
        EvaluationError: ``predictions-invalid`` for one that is no JSON object.
    """
    file = about_file(path)
    if not file.is_file():
        return {}
    try:
        content = parse_strictly(file.read_bytes())
    except (ValueError, OSError) as error:
        raise _invalid(file, f"this is not JSON ({error}).", "Restore it, or delete it.") from error
    if not isinstance(content, dict):
        raise _invalid(file, "what stands beside predictions is a JSON object.", "Restore it, or delete it.")
    return content


def _row_problems(is_bad: pd.Series, values: pd.Series, rule: str) -> list[str]:
    lines = [f"line {line}: {values[line]!r} {rule}" for line in values.index[is_bad][:_SHOWN]]
    remaining = int(is_bad.sum()) - len(lines)
    return [*lines, f"and {remaining:,} more: {rule}"] if remaining > 0 else lines


def _invalid(path: Path | None, message: str, fix: str | None = None) -> EvaluationError:
    fix = fix or f"A predictions file has 'image' and one column a finding, such as {NIH14[0]} or {PREFIX}{NIH14[0]}."
    return EvaluationError(Code.PREDICTIONS_INVALID, message, fix=fix, where=path)
