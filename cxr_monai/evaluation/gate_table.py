"""A gate's verdicts beside a predictions file, ``P.csv.gate.csv``, and the labelled films that they are of.

    table = gate_table_beside("P.csv")                          # image, gate, code; None where no film was judged
    films = judged_films(table, sample, manifest, "test")       # refused ones too, with or without a prediction
    films.is_refused, films.codes

Who made the verdicts is another's business: this is a table like any other.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from cxr_monai.data.joining import join_on_image
from cxr_monai.data.manifest import Manifest
from cxr_monai.data.overlaps import patient_names
from cxr_monai.data.validation import RESERVED
from cxr_monai.errors import Code, EvaluationError
from cxr_monai.evaluation.gate_evidence import VERDICTS, gate_file, read_gate_evidence
from cxr_monai.evaluation.sample import Sample
from cxr_monai.plurals import counted

ACCEPT, REVIEW, REFUSE = VERDICTS
"""What a gate says of a film."""
_COLUMNS = ["image", "gate", "code"]


@dataclass(frozen=True, eq=False)
class JudgedFilms:
    """The labelled films that a gate judged.

    Attributes:
        sample: N films with their labels, in the manifest's order; the scores of a film without a prediction are 0.
        verdicts: text ``[N]``, of :data:`VERDICTS`.
        codes: text ``[N]``, why; empty for an accepted film.
        is_predicted: bool ``[N]``; a film that was refused and left out has no prediction.
    """

    sample: Sample
    verdicts: np.ndarray
    codes: np.ndarray
    is_predicted: np.ndarray

    def with_scores_of(self, sample: Sample) -> "JudgedFilms":
        """Return the same films with the scores of a sample, which has those that are predicted (calibrated, say)."""
        position = pd.Index(sample.table["image"]).get_indexer(pd.Index(self.sample.table["image"]))
        scores = np.where(self.is_predicted[:, None], sample.scores[position], 0.0)
        return replace(self, sample=self.sample.with_scores(scores))

    @property
    def is_refused(self) -> np.ndarray:
        """Whether the gate refuses each film, bool ``[N]``."""
        return self.verdicts == REFUSE

    @property
    def is_reviewed(self) -> np.ndarray:
        """Whether the gate wants a person to look at each film first, bool ``[N]``."""
        return self.verdicts == REVIEW


def read_gate_table(path: str | Path) -> pd.DataFrame:
    """Read a gate's verdicts.

    Args:
        path: of a CSV with at least ``image``, ``gate`` (accept, review or refuse) and ``code``.

    Returns:
        those three columns, as text.

    Raises:
        EvaluationError: ``predictions-invalid``.
    """
    path = Path(path)
    if not path.is_file():
        raise _invalid(path, "there is no such table of a gate.")
    table = read_gate_evidence(path)
    for problem, is_bad in (
        ("says nothing that a gate can say", ~table["gate"].isin(VERDICTS)),
        ("stands there twice", table["image"].duplicated()),
    ):
        if is_bad.any():
            row = table.index[is_bad][0]
            raise _invalid(path, f"line {row + 2}: {table.loc[row, 'image']!r} {problem}.")
    return table[_COLUMNS]


def gate_table_beside(predictions: str | Path | None) -> pd.DataFrame | None:
    """Return the verdicts beside a predictions file; None where there are none, or predictions have no file.

    Raises:
        EvaluationError: as `read_gate_table`.
    """
    if predictions is None or not gate_file(predictions).is_file():
        return None
    return read_gate_table(gate_file(predictions))


def judged_films(
    gate: pd.DataFrame,
    sample: Sample,
    manifest: Manifest,
    split: str | None = None,
    views: Sequence[str] = (),
) -> tuple[JudgedFilms, list[str]]:
    """Return the films of a sample that a gate judged, and those that it refused and that have no prediction.

    Args:
        gate: of `read_gate_table`.
        sample: the films that are evaluated.
        manifest: labels of all films.
        split: the part that is evaluated; all parts where None.
        views: that are evaluated; all where empty.

    Returns:
        the films, and a sentence where some of the sample's have no verdict. A refused film without a prediction
        belongs to them if it is of the part and the views, and its patient's other films were not set aside.

    Raises:
        EvaluationError: ``predictions-invalid`` if no film of the sample has a verdict.
        ManifestError: ``images-ambiguous``.
    """
    reserved = [name for name in RESERVED if name in manifest.table]
    joined = join_on_image(
        manifest.table[[*reserved, *sample.findings]],
        gate[_COLUMNS],
        by_name=manifest.by_name,
        root=manifest.roots,
    ).table
    position = pd.Index(sample.table["image"]).get_indexer(pd.Index(joined["image"]))
    is_predicted = position >= 0
    if not is_predicted.any():
        raise _invalid(None, "the gate's table and the predictions have no film in common.")
    is_eligible = np.ones(len(joined), dtype=bool) if split is None else (joined["split"] == split).to_numpy()
    if views:
        is_eligible = is_eligible & joined["view"].isin(list(views)).to_numpy()
    patients, is_refused = patient_names(joined), (joined["gate"] == REFUSE).to_numpy()
    shown = patients.isin(set(patients[is_predicted])).to_numpy()
    aside = patients.isin(set(patients[is_eligible & ~is_refused & ~is_predicted])).to_numpy() & ~shown
    kept = is_predicted | (is_refused & is_eligible & ~aside)
    joined, is_predicted = joined[kept], is_predicted[kept]
    labels = joined[list(sample.findings)].to_numpy(float)
    judged = Sample.of(joined[reserved], sample.findings, np.zeros(labels.shape), labels, sample.ranking_only)
    verdicts, codes = (joined[name].to_numpy(str) for name in ("gate", "code"))
    unjudged = len(sample) - int(is_predicted.sum())
    notes = (
        [f"The gate's table has no verdict on {unjudged:,} of the {counted(len(sample), 'film')}."] if unjudged else []
    )
    return JudgedFilms(judged, verdicts, codes, is_predicted).with_scores_of(sample), notes


def _invalid(path: Path | None, message: str) -> EvaluationError:
    fix = "It is what 'cxr-monai predict' writes beside the predictions: image, gate, code, and a column an evidence."
    return EvaluationError(Code.PREDICTIONS_INVALID, message, fix=fix, where=path)
