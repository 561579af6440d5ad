"""CheXpert (Stanford): 224,316 radiographs of 65,240 patients, 14 labels; and CheXpert Plus, the same films as PNG or
DICOM.

Irvin, Rajpurkar, Ko et al.: CheXpert: A Large Chest Radiograph Dataset with Uncertainty Labels and Expert Comparison.
AAAI 2019, doi 10.1609/aaai.v33i01.3301590. Saporta, Gui, Agrawal et al.: Benchmarking saliency methods for chest X-ray
interpretation. Nature Machine Intelligence 2022, doi 10.1038/s42256-022-00536-x (CheXlocalize, with the test films).
Chambon, Delbrouck, Sounack et al.: CheXpert Plus. arXiv 2405.19538, 2024. From Stanford AIMI, under its research use
agreement: no redistribution.

Four layouts, found by what lies there: v1.0 in one tree or as its batches (``CheXpert-v1.0 batch 2 (train 1)`` holds
``patient00001/study1/view1_frontal.jpg``), v1.0-small, CheXlocalize's copy of the validation and test films
(``val_labels.csv``, ``test_labels.csv``, ``groundtruth.csv``; the folder is ``val`` where the table says ``valid``),
and CheXpert Plus (``df_chexpert_plus_240401.csv`` with ``chexbert_labels/*_fixed.json``). What they agree on, and what
an image is known by here, is ``patientN/studyM/viewK``.

Official split: train (223,414 images of 64,540 patients), validation (234 of 200), test (668 of 500). Training labels
are a labeller's, mined from each study's report; validation and test are what the majority of three and of five
radiologists say, all 0 or 1, and the test's table tells neither sex, age nor PA or AP.

Known errors: labels belong to a study and stand at each of its images; ages are capped at 90, and 0 is a placeholder;
16 left and one right lateral decubitus films are marked Frontal; a parent label is often empty where its child is 1;
of 6,039 films with Pneumonia 528 are said to have no consolidation.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from cxr_monai.data.columns import find_column, key
from cxr_monai.data.sources import SourceTable
from cxr_monai.data.sources._chexpert_films import LabelledFilms, films_of
from cxr_monai.data.sources._chexpert_labels import Policies, read_marks, resolve_marks
from cxr_monai.data.sources._chexpert_plus import LABELLERS, is_plus, read_plus
from cxr_monai.data.sources._public import resembling_table, wrong_table
from cxr_monai.data.sources._trees import ENDINGS, TABLE_NAMES, Tree, ask_for, check_found, inside, shown, survey
from cxr_monai.data.tables import read_cells, read_header
from cxr_monai.data.views import LATERAL
from cxr_monai.errors import Code, ManifestError, UsageError
from cxr_monai.plurals import counted

_SPLIT_OF = {"train": "train", "valid": "val", "val": "val", "test": "test"}
_PATIENT = r"patient\d+"
_DATASET = "CheXpert"
# the tables by their names, those that tell more first
_NAMES = ("train", "valid", "val_labels", "test", "test_labels", "groundtruth")
_OTHER_LABELLERS = ("visualchexbert", "chexbert")  # v1.0's tables train_visualCheXbert.csv and train_cheXbert.csv
_PLUS = r"df_chexpert_plus\w*\.csv(\.gz)?"
_SUBJECT = {"sex": "Sex", "age": "Age", "side": "Frontal/Lateral", "projection": "AP/PA"}


def read(
    root: str | Path,
    *,
    table: Path | None = None,
    images: str | None = None,
    labeller: str | None = None,
    uncertain: str | None = None,
    unmentioned: str | None = None,
    available_only: bool = False,
    table_only: bool = False,
) -> SourceTable:
    """Read CheXpert or CheXpert Plus; which release it is, its files tell.

    Args:
        root: the folder with the tables and images; the manifest's paths are relative to it.
        table: this one table instead of all that are found.
        images: the folder of the images, relative to ``root``, where several hold them (PNG and DICOM).
        labeller: of CheXpert Plus: which part of the report was labelled: ``impression`` (default), ``findings`` or
            ``report``.
        uncertain: what ``-1`` becomes: ``unknown`` (default), ``positive``, ``negative``, or by finding
            (``Edema=positive,Consolidation=negative``).
        unmentioned: what an empty cell becomes, in the same words.
        available_only: leave out the images that are not on disk, instead of refusing.
        table_only: look for no files; paths are the table's, from ``train/`` on.

    Returns:
        15 findings with unknowns; official parts in ``split``; ``source`` is ``chexpert`` or ``chexpert-plus``.

    Raises:
        ManifestError: ``source-invalid``, ``images-missing`` or ``no-images``.
        UsageError: ``usage`` for a policy that is none, or a labeller of v1.0.
    """
    root = Path(os.path.abspath(root))
    policies = Policies.parse(uncertain, unmentioned)
    tree = survey(root, _PATIENT)
    release = _read_release(root, tree, table, labeller)
    films, notes = release.films, [*release.notes]
    if table_only:
        _refuse_studies(films, root)
        places = _table_paths(films.table, root, images)
    else:
        holders = inside(root, images, tree.holders)
        films = _spread_studies(films, holders)
        places = _find_films(films.table, root, holders)
        notes += check_found(places, films.table["path"], root, [shown(root, holders) or "ROOT"], available_only)
        films, places = films.take(places.notna()), places[places.notna()].reset_index(drop=True)
    labels, record, label_notes = resolve_marks(films.marks, policies, release.dataset, release.settings)
    subjects = films.table.assign(
        image=places, split=films.table["part"].map(_SPLIT_OF).fillna(""), source=release.source
    )
    columns = ["image", "patient_id", "study_id", "view", "age", "sex", "source", "split"]
    frame = pd.concat([subjects[columns], labels], axis=1).reset_index(drop=True)
    notes += [*films.notes, *label_notes]
    return SourceTable(frame, root, release.label_version, tuple(notes), labels_record=record)


@dataclass(frozen=True, eq=False)
class _Release:
    """What the tables of a release say, before images are looked for."""

    films: LabelledFilms
    dataset: str
    source: str
    label_version: str
    settings: Mapping[str, str]
    notes: Sequence[str]


def _read_release(root: Path, tree: Tree, table: Path | None, labeller: str | None) -> _Release:
    tables = [Path(os.path.abspath(table))] if table is not None else _find_tables(root, tree)
    if is_plus(tables[0]):
        labelled = labeller or LABELLERS[0]
        if labelled not in LABELLERS:
            raise UsageError(Code.USAGE, f"--labeller {labeller}: CheXpert Plus has {', '.join(LABELLERS)}.")
        films, notes = read_plus(tables[0], tree, labelled)
        version = f"chexpert-plus-{labelled}"
        return _Release(films, "chexpert plus", "chexpert-plus", version, {"labeller": labelled}, notes)
    if labeller is not None:
        raise UsageError(
            Code.USAGE,
            f"--labeller {labeller}: {tables[0].name} is of CheXpert v1.0, which has one labeller.",
            fix="Leave it out; another labeller's table of v1.0 is given with --table FILE.",
        )
    films = LabelledFilms.join([_read_table(path) for path in tables])
    mined = films.table["part"].isin(["train", ""])
    small = films.table["release"].str.contains("small", regex=False).any()
    notes = [f"took {', '.join(_shown_path(path, root) for path in tables)}"]
    if mined.any():
        notes.append(
            "labels of the part train were mined from each study's report and stand at each of its images: a finding "
            "that shows from the side alone is present on the frontal film too"
        )
    if not mined.all():
        number = int((~mined).sum())
        notes.append(f"labels of {counted(number, 'image')} (valid, test) are what most radiologists say")
    dataset = f"chexpert v1.0{'-small' if small else ''}"
    version = "chexpert-v1.0" if mined.any() else "chexpert-v1.0-radiologists"
    other = next((name for name in _OTHER_LABELLERS if name in tables[0].name.lower()), None)
    if other is not None:
        return _Release(films, dataset, "chexpert", f"chexpert-v1.0-{other}", {"labeller": other}, notes)
    return _Release(films, dataset, "chexpert", version, {}, notes)


def _shown_path(path: Path, root: Path) -> str:
    """Return a file's path below ``root``; as it is where it lies elsewhere."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def _find_tables(root: Path, tree: Tree) -> list[Path]:
    """Return the release's tables, those that tell more first."""
    plus = tree.named(_PLUS)
    plain = [path for name in _NAMES for path in tree.named(rf"{name}\.csv(\.gz)?")]
    names = [path.name.lower().removesuffix(".gz") for path in plain]
    twice = [path for path, name in zip(plain, names, strict=True) if names.count(name) > 1]
    choices = [*plus, *plain] if plus and plain else plus if len(plus) > 1 else twice
    if choices:
        listed = ", ".join(_shown_path(path, root) for path in choices)
        raise ManifestError(
            Code.SOURCE_INVALID,
            f"tables of several releases are here: {listed}.",
            fix="Give one release's folder as ROOT, or one table with --table FILE.",
            where=root,
        )
    if plus or plain:
        return plus or plain
    raise ManifestError(
        Code.SOURCE_INVALID,
        f"no table is here; looked for {', '.join(f'{name}.csv' for name in _NAMES)} and df_chexpert_plus_240401.csv, "
        f"plain or .gz{resembling_table(root, tree.named(TABLE_NAMES), _DATASET)}.",
        fix="Name it with --table FILE.",
        where=root,
    )


def _read_table(path: Path) -> LabelledFilms:
    """Read a table of v1.0: train, valid, or the test's, which has no column of the subject."""
    names = read_header(path)
    image = find_column(names, ("path",)) or find_column(names, ("study",))
    if image is None:
        raise wrong_table(path, names, "it lacks 'Path'", _DATASET)
    columns = {name: find_column(names, (key(column),)) for name, column in _SUBJECT.items()}
    lacking = [_SUBJECT[name] for name, column in columns.items() if column is None]
    if lacking and len(lacking) < len(_SUBJECT):
        raise wrong_table(path, names, f"it lacks {', '.join(map(repr, lacking))}", _DATASET)
    cells = read_cells(path, types=lambda name: "str" if name == image else "category")
    if cells.empty:
        raise ManifestError(Code.SOURCE_INVALID, "the table has a header and no row.", where=path)
    marks = read_marks(cells, path, _DATASET)
    fields = {name: cells[column].astype("str").str.strip() for name, column in columns.items() if column is not None}
    return films_of(cells[image], fields, marks, path)


def _refuse_studies(films: LabelledFilms, root: Path) -> None:
    """Refuse a table of studies where no files may be looked for: nothing tells which images they have."""
    if _of_studies(films.table).any():
        raise ManifestError(
            Code.SOURCE_INVALID,
            "a table lists studies, not images; which images they have, the files alone tell.",
            fix="Leave out --table-only.",
            where=root,
        )


def _of_studies(table: pd.DataFrame) -> pd.Series:
    return table["rest"].str.count("/") < 2


def _spread_studies(films: LabelledFilms, holders: Mapping[Path, frozenset[str]]) -> LabelledFilms:
    """Return the films with each row of a study in the place of which its images stand."""
    if not (listed := _of_studies(films.table)).any():
        return films
    rows: list[int] = []
    rests: list[str] = []
    for row, (rest, is_study) in enumerate(zip(films.table["rest"], listed, strict=True)):
        folders = [holder / rest for holder in holders] if is_study else []
        files = [path for folder in folders if folder.is_dir() for path in folder.glob("view*")]
        names = sorted({path.stem for path in files if path.suffix.lower() in ENDINGS})
        rests += [f"{rest}/{name}" for name in names] or [rest]
        rows += [row] * max(len(names), 1)
    spread = films.take(rows)
    lateral = pd.Series(rests).str.contains("_lateral", regex=False) & listed.iloc[rows].reset_index(drop=True)
    return replace(spread, table=spread.table.assign(rest=rests, view=spread.table["view"].mask(lateral, LATERAL)))


def _table_paths(table: pd.DataFrame, root: Path, images: str | None) -> pd.Series:
    """Return the paths that images have where they lie beside their table, or in the folder of ``--images``."""
    folders = {folder: Path(folder) for folder in table["folder"].unique()}
    prefixes = {
        name: Path(images).as_posix()
        if images
        else (path.relative_to(root).as_posix() if path.is_relative_to(root) else ".")
        for name, path in folders.items()
    }
    prefix = table["folder"].map({name: "" if prefix == "." else f"{prefix}/" for name, prefix in prefixes.items()})
    return prefix + table["part"].mask(table["part"] != "", table["part"] + "/") + table["rest"]


def _find_films(table: pd.DataFrame, root: Path, holders: Mapping[Path, frozenset[str]]) -> pd.Series:
    """Return the images' paths; a folder that is named after a part holds films of that part alone."""
    places = []
    for part, rows in table.groupby("part", sort=False)["rest"]:
        split = _SPLIT_OF.get(str(part), "")
        fitting = {
            holder: held for holder, held in holders.items() if _SPLIT_OF.get(holder.name.lower(), split) == split
        }
        places.append(ask_for(rows, root, fitting))
    return pd.concat(places).reindex(table.index)
