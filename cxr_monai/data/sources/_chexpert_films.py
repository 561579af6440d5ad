"""The films of CheXpert's tables: whose they are, from where they were taken, and their 14 labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from cxr_monai.data.sources._paths import parts_of_paths
from cxr_monai.data.sources._text import emptied_notes, parse_ages, parse_sexes
from cxr_monai.data.views import AP, LATERAL, PA
from cxr_monai.errors import Code, ManifestError
from cxr_monai.plurals import be, counted, was


@dataclass(frozen=True, eq=False)
class LabelledFilms:
    """Rows of CheXpert's tables.

    Attributes:
        table: ``path`` (as the table has it), ``release``, ``part``, ``rest`` (`parts_of_paths`), ``folder`` (of the
            table), ``patient_id``, ``study_id``, ``view``, ``age``, ``sex``.
        marks: the 14 labels of the same rows, 1, 0, -1, NaN.
        notes: sentences on cells that were emptied.
    """

    table: pd.DataFrame
    marks: pd.DataFrame
    notes: Sequence[str] = ()

    def take(self, rows: pd.Series | Sequence[int]) -> "LabelledFilms":
        """Return some rows, in order, with a fresh index.

        Args:
            rows: bool [N], or positions, which may repeat.
        """
        positions = np.flatnonzero(rows) if isinstance(rows, pd.Series) else list(rows)
        return replace(
            self,
            table=self.table.iloc[positions].reset_index(drop=True),
            marks=self.marks.iloc[positions].reset_index(drop=True),
        )

    @classmethod
    def join(cls, several: Sequence["LabelledFilms"]) -> "LabelledFilms":
        """Return the rows of several tables; an image that an earlier table has is taken from that one."""
        table = pd.concat([films.table for films in several], ignore_index=True)
        marks = pd.concat([films.marks for films in several], ignore_index=True)
        again = table["rest"].duplicated()
        notes = list(dict.fromkeys(note for films in several for note in films.notes))
        if again.any():
            number = int(again.sum())
            notes.append(
                f"{counted(number, 'image')} {be(number)} in two tables, and {was(number)} taken from the first"
            )
        return cls(table, marks, notes).take(~again)


def films_of(paths: pd.Series, fields: Mapping[str, pd.Series], marks: pd.DataFrame, path: Path) -> LabelledFilms:
    """Return a table's rows as films.

    Args:
        paths: ``.../train/patient00001/study1/view1_frontal.jpg``, or of studies without the file; indexed by line.
        fields: ``sex``, ``age``, ``side`` (Frontal, Lateral), ``projection`` (AP, PA, LL, RL) as text, as far as the
            table has them.
        marks: the 14 labels.
        path: the table, for messages.

    Raises:
        ManifestError: ``source-invalid`` for a path that is not CheXpert's, or one that stands twice with different
            content; a row that repeats another is left out.
    """
    paths = paths.astype("str").str.strip()
    table = parts_of_paths(paths).assign(path=paths)
    strange = table["rest"] == ""
    if strange.any():
        line = strange.index[strange][0]
        raise ManifestError(
            Code.SOURCE_INVALID,
            f"{paths[line]!r} is no path of CheXpert's, such as train/patient00001/study1/view1_frontal.jpg"
            + (f", and so for {counted(int(strange.sum()), 'row')}." if strange.sum() > 1 else "."),
            where=f"{path}, line {line}",
        )
    words = table["rest"].str.split("/", n=2, expand=True).fillna("").reindex(columns=range(3), fill_value="")
    ages, bad_ages = parse_ages(fields["age"]) if "age" in fields else (np.nan, 0)
    sexes, bad_sexes = parse_sexes(fields["sex"]) if "sex" in fields else ("", 0)
    table = table.assign(
        folder=str(path.parent),
        patient_id=words[0],
        study_id=words[0] + "_" + words[1],
        view=_views(words[2], fields),
        age=ages,
        sex=sexes,
    )
    placeholders = table["age"] == 0
    notes = emptied_notes(bad_ages, bad_sexes)
    if placeholders.any():
        number = int(placeholders.sum())
        notes.append(f"{counted(number, 'age')} of 0 {be(number)} a placeholder and {was(number)} emptied")
        table["age"] = table["age"].mask(placeholders)
    if "projection" in fields:
        notes += _odd_views(fields["side"], fields["projection"])
    return _without_repeats(LabelledFilms(table, marks, notes), path)


def _views(names: pd.Series, fields: Mapping[str, pd.Series]) -> pd.Series:
    """Return PA, AP, LATERAL or ``""``; by the file's name where the table has no columns of views."""
    if "side" not in fields:
        return pd.Series(np.where(names.str.contains("_lateral", regex=False), LATERAL, ""), index=names.index)
    lateral = fields["side"].str.lower() == "lateral"
    projection = fields["projection"].str.upper()
    return pd.Series(np.select([lateral, projection == PA, projection == AP], [LATERAL, PA, AP], ""), names.index)


def _odd_views(side: pd.Series, projection: pd.Series) -> list[str]:
    odd = projection[(side.str.lower() == "frontal") & ~projection.str.upper().isin([PA, AP])]
    if odd.empty:
        return []
    counts = ", ".join(f"{word or 'empty'} {number:,}" for word, number in odd.value_counts().items())
    return [f"{counted(len(odd), 'frontal image')} {be(len(odd))} neither PA nor AP ({counts}): of unknown view"]


def _without_repeats(films: LabelledFilms, path: Path) -> LabelledFilms:
    """Leave out rows that repeat another; refuse those that differ from it."""
    again = films.table["rest"].duplicated()
    if not again.any():
        return films
    rows = films.table.join(films.marks)[films.table["rest"].duplicated(keep=False)]
    differing = rows.drop_duplicates()["rest"].duplicated()
    if differing.any():
        line = differing.index[differing][0]
        raise ManifestError(
            Code.SOURCE_INVALID,
            f"{rows.loc[line, 'path']!r} has two rows that differ.",
            fix="Keep the right one.",
            where=f"{path}, line {line}",
        )
    number = int(again.sum())
    note = f"{counted(number, 'row')} that {'repeats' if number == 1 else 'repeat'} another {was(number)} left out"
    kept = replace(films, notes=[*films.notes, note])
    return kept.take(~again)
