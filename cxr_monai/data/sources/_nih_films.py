"""Films of NIH's under another data set's names (RSNA, SIIM-ACR): who is on them, if anything tells it.

Neither set tells its patients: what RSNA calls ``patientId`` is one film. NIH's table does, with RSNA's mapping between
the names (`FilmOwners`); without it the manifest's patients are unknown, and a split by patient is refused.
"""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from cxr_monai.data.manifest_record import Patients
from cxr_monai.data.sources._kinds_of_tables import RSNA_MAPPING, read_known
from cxr_monai.data.sources._rsna_readings import read_names
from cxr_monai.data.sources._text import emptied_notes, parse_ages, parse_sexes
from cxr_monai.data.sources.nih import read_data_entry
from cxr_monai.data.views import known_view
from cxr_monai.errors import Code, ManifestError, UsageError
from cxr_monai.plurals import be, counted, out_of

_FIELDS = ["view", "age", "sex"]


@dataclass(frozen=True)
class FilmOwners:
    """What tells whose films they are.

    Attributes:
        nih_table: NIH's ``Data_Entry_2017*.csv``; needs ``mapping``.
        mapping: RSNA's ``pneumonia-challenge-dataset-mappings_2018.json``, or a table of the same columns.
        per_image: the user's word that each film is of another patient.
    """

    nih_table: Path | None = None
    mapping: Path | None = None
    per_image: bool = False

    def __post_init__(self) -> None:
        """Check the choice.

        Raises:
            UsageError: ``usage`` for one of the two files alone, or for both ways.
        """
        if (self.nih_table is None) != (self.mapping is None):
            missing = "--mapping FILE" if self.mapping is None else "--nih-table FILE"
            raise UsageError(Code.USAGE, f"NIH's patients need NIH's table and RSNA's mapping; there is no {missing}.")
        if self.per_image and self.nih_table is not None:
            raise UsageError(Code.USAGE, "either NIH's table tells the patients, or every image is of another patient.")

    @property
    def patients(self) -> Patients:
        """As of a manifest: a word that films are of others is no knowledge, and proves no external test."""
        if self.nih_table is not None:
            return "known"
        return "assumed" if self.per_image else "unknown"


def describe_films(
    films: pd.Index, fields: pd.DataFrame, owners: FilmOwners, source: str
) -> tuple[pd.DataFrame, list[str]]:
    """Return ``patient_id, study_id, view, age, sex, source`` by film, and notes.

    Args:
        films: their identifiers. Where NIH's table tells the patients, films that it does not know are left out.
        fields: ``view, age, sex`` as text, by film, ``""`` where unknown; NIH's table fills those.
        owners: what tells the patients.
        source: the data set.

    Raises:
        ManifestError: ``source-invalid``: a file is another one, or has none of the films.
    """
    frame = pd.DataFrame({"patient_id": films, "study_id": ""}, index=films).join(fields.reindex(films).fillna(""))
    notes = []
    if owners.nih_table is None and not owners.per_image:
        notes.append(
            "nobody tells whose films these are: a split by patient is refused (--nih-table and --mapping tell, or "
            "--patient-per-image is your word)"
        )
    ages, bad_ages = parse_ages(frame["age"])
    sexes, bad_sexes = parse_sexes(frame["sex"])
    frame = frame.assign(view=frame["view"].map(known_view), age=ages, sex=sexes, source=source)
    notes += emptied_notes(bad_ages, bad_sexes)
    if owners.nih_table is None or owners.mapping is None:
        return frame, notes
    nih = _nih_rows(films, owners.nih_table, owners.mapping)
    lost = len(films) - len(nih)
    if lost:
        notes.append(f"{out_of(lost, len(films), 'film')} {be(lost)} not in the mapping and NIH's table: left out")
    frame = frame.loc[nih.index].assign(patient_id=nih["patient_id"], study_id=nih["study_id"])
    for name in _FIELDS:
        empty = frame[name].isna() if name == "age" else frame[name] == ""
        frame[name] = frame[name].mask(empty, nih[name])
    return frame, notes


def _nih_rows(films: pd.Index, nih_table: Path, mapping: Path) -> pd.DataFrame:
    """Return NIH's rows by film; the films that have none are left out."""
    table = read_known(mapping)
    if table.kind is not RSNA_MAPPING:
        raise ManifestError(
            Code.SOURCE_INVALID,
            f"this looks like {table.kind.title}, not a mapping.",
            fix=f"Give {RSNA_MAPPING.title}.",
            where=mapping,
        )
    names = pd.Series(read_names(table), dtype="str").reindex(films).dropna()
    rows = read_data_entry(nih_table)[0].set_index("image")
    names = names[names.isin(rows.index)]
    if names.empty:
        raise ManifestError(
            Code.SOURCE_INVALID,
            f"none of the {counted(len(films), 'film')} (first: {films[0]}) is in the mapping and in NIH's table.",
            fix="Get the mapping of the same data set.",
            where=mapping,
        )
    return rows.loc[list(names)].set_axis(names.index, axis=0)
