"""Radiologists' labels in the place of NIH's: ``cxr-monai manifest nih ROOT --reference rsna --reference-files ...``.

    reference = read_reference("google-14", [Path("test_labels.csv"), Path("test_individual_readers.csv")])
    frame, note = reference.over(frame)         # NIH's images that were read, with the radiologists' labels

The images are NIH's, with NIH's patients, studies, views, ages and sexes; ``source`` and the label version say whose
labels they bear. Images that the radiologists did not read are left out, and a finding that they were not asked about
has no column: a label of NIH's never stands beside one of theirs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from cxr_monai.composites import COMPOSITES
from cxr_monai.data.label_record import LabelRecord, count_unknown
from cxr_monai.data.sources._google_readings import read_four, read_fourteen
from cxr_monai.data.sources._rsna_readings import LABEL_VERSION, OPACITY, opacity_labels, read_by_nih_names
from cxr_monai.data.sources._unions import doubtful_members
from cxr_monai.errors import Code, ManifestError, UsageError
from cxr_monai.labels import NIH14
from cxr_monai.plurals import counted, out_of

REFERENCES = {"rsna": LABEL_VERSION, "google": "google-2020", "google-14": "google-14-2021"}
"""The choices of ``--reference``, each with the version of its labels."""


@dataclass(frozen=True, eq=False)
class ReferenceLabels:
    """Radiologists' labels of NIH's images.

    Attributes:
        source: a key of `REFERENCES`.
        labels: one float column a finding or composite: 1, 0, NaN unknown; indexed by NIH's file names.
        uncertain: bool, of the same form: unknown because the radiologists hedge.
        splits: ``val``, ``test`` or ``""`` by image: the reference's own division.
        boxes: ``name, finding, x, y, width, height`` in pixels of 1024x1024, or None.
        readers: ``image, reader, in_truth`` and findings, by NIH's file names, or None.
        notes: sentences for the user.
    """

    source: str
    labels: pd.DataFrame
    uncertain: pd.DataFrame
    splits: pd.Series
    boxes: pd.DataFrame | None = None
    readers: pd.DataFrame | None = None
    notes: tuple[str, ...] = ()

    @property
    def label_version(self) -> str:
        """Whose labels these are, as a manifest's record says it."""
        return REFERENCES[self.source]

    def over(self, frame: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
        """Return the rows of NIH's images that were read, with these labels in the place of NIH's, and notes.

        Args:
            frame: of `cxr_monai.data.sources.nih.read_data_entry`: ``image`` is the bare file name.

        Raises:
            ManifestError: ``source-invalid`` if no image is in both.
        """
        rows = frame[frame["image"].isin(self.labels.index)].reset_index(drop=True)
        if rows.empty:
            raise ManifestError(
                Code.SOURCE_INVALID,
                f"none of the {counted(len(self.labels), 'image')} that radiologists read for {self.source!r} (first: "
                f"{self.labels.index[0]}) is in NIH's table (first: {frame['image'].iloc[0]}).",
                fix="Give NIH's own table, and reference files that name NIH's images.",
            )
        labels = self.labels.loc[rows["image"]].reset_index(drop=True)
        rows = rows.drop(columns=list(NIH14)).assign(source=self.source, split=self.splits[rows["image"]].to_numpy())
        notes = [f"radiologists ({self.label_version}) read {out_of(len(rows), len(frame), 'image')}; the others are "
                 "left out"]  # fmt: skip
        if len(rows) < len(self.labels):
            lost = len(self.labels) - len(rows)
            notes.append(f"{out_of(lost, len(self.labels), 'image')} that they read are not in NIH's table")
        return pd.concat([rows, labels], axis=1), [*self.notes, *notes]

    def record(self, names: pd.Series) -> LabelRecord:
        """Return the record of what is unknown among the images of a manifest.

        Args:
            names: their file names.
        """
        labels, hedged = self.labels.loc[names], self.uncertain.loc[names]
        reasons = {"uncertain": hedged | doubtful_members(labels), "unmentioned": labels.isna()}
        rules = {name: COMPOSITES[name].rule for name in labels if name in COMPOSITES}
        return LabelRecord(self.source, {"reference": self.label_version}, count_unknown(labels, reasons), rules)


def read_reference(source: str | None, files: Sequence[Path] | None) -> ReferenceLabels | None:
    """Read radiologists' labels of NIH's images; None where none are wanted.

    Args:
        source: a key of `REFERENCES`.
        files: their tables, as they are distributed; found by their columns, not by their names.

    Raises:
        UsageError: ``usage`` for one without the other.
        ManifestError: ``source-invalid``.
    """
    if source is None and not files:
        return None
    if source not in REFERENCES or not files:
        missing = f"no --reference ({', '.join(REFERENCES)})" if files else "no --reference-files"
        raise UsageError(Code.USAGE, f"radiologists' labels need both options, and there is {missing}.")
    if source == "rsna":
        readings = read_by_nih_names(files)
        labels = opacity_labels(readings.classes)
        boxes = readings.boxes.rename(columns={"film": "name"}).assign(finding=OPACITY)
        nothing, splits = labels.isna() & False, pd.Series("", index=labels.index)
        return ReferenceLabels(source, labels, nothing, splits, boxes, notes=readings.notes)
    findings = (read_four if source == "google" else read_fourteen)(files)
    return ReferenceLabels(source, findings.labels, findings.uncertain, findings.splits, readers=findings.readers)
