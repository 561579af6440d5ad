"""NIH ChestX-ray14: 112,120 frontal radiographs of 30,805 patients, 14 findings mined from the reports.

Wang, Peng, Lu, Lu, Bagheri, Summers: ChestX-ray8: Hospital-scale Chest X-ray Database and Benchmarks. CVPR 2017, doi
10.1109/CVPR.2017.369. Download: https://nihcc.app.box.com/v/ChestXray-NIHCC (``scripts/download_nih.py``). No
restriction on use; NIH asks for the citation, the link, and an acknowledgement of the NIH Clinical Center.

Read as people have it: ``Data_Entry_2017_v2020.csv`` or ``Data_Entry_2017.csv`` (plain or .gz), the images in ROOT,
in any one folder of ROOT, or in ``images_001/images`` to ``images_012/images``. "No Finding" is a zero for all 14. The
tables have one image a follow-up, so each image is its own study, ``<patient>_<follow-up>``. Where
``BBox_List_2017.csv`` is there, its 984 boxes come along, scaled from NIH's 1024x1024 to the stored images.

With ``reference`` the labels are radiologists' (`cxr_monai.data.sources._reference`). Known errors: the reports'
labels name 14 to 56 % of what radiologists see (``docs/datasets.md``); ages above 120 are emptied. NIH's lists are the
official split (`cxr_monai.data.splits.official`).
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from cxr_monai.data.manifest import file_names
from cxr_monai.data.matching import match_images, require_clear
from cxr_monai.data.sources import SourceTable
from cxr_monai.data.sources._files import left_out_note, report_missing, require_any, require_folder
from cxr_monai.data.sources._headers import scale_boxes
from cxr_monai.data.sources._phantoms import as_phantoms, refuse_phantoms
from cxr_monai.data.sources._reference import ReferenceLabels, read_reference
from cxr_monai.data.sources._text import emptied_notes, parse_ages, parse_sexes, refuse_nobody
from cxr_monai.data.tables import read_cells, read_header
from cxr_monai.errors import Code, ManifestError
from cxr_monai.labels import NIH14, NO_FINDING, canonical
from cxr_monai.plurals import be, counted, out_of

# table: its label version; the newer one first
TABLES = {"Data_Entry_2017_v2020": "nih-v2020", "Data_Entry_2017": "nih-2017"}
OTHER_TABLE = "nih-other"  # the label version of a table under another name
NIH_BOXES = "BBox_List_2017.csv"
_COLUMNS = {
    "image": ("Image Index",),
    "findings": ("Finding Labels",),
    "follow_up": ("Follow-up #",),
    "patient_id": ("Patient ID",),
    "age": ("Patient Age",),
    "sex": ("Patient Gender", "Patient Sex"),
    "view": ("View Position",),
}
_KAGGLE_PART = re.compile(r"images_0\d\d")


def read(
    root: str | Path,
    *,
    table: Path | None = None,
    images: str | None = None,
    available_only: bool = False,
    table_only: bool = False,
    reference: str | None = None,
    reference_files: Sequence[Path] | None = None,
) -> SourceTable:
    """Read NIH's own layout.

    Args:
        root: the folder with the table; the manifest's paths are relative to it.
        table: another table than the newest in ``root``.
        images: the folder of the images, relative to ``root``; by default it is found.
        available_only: leave out the images that are not on disk, instead of refusing.
        table_only: look for no files; paths become ``images/<name>`` and boxes stay in pixels of 1024x1024.
        reference: radiologists' labels in the place of NIH's: ``rsna``, ``google`` or ``google-14``; images that they
            did not read are left out, and NIH's own boxes too.
        reference_files: the tables of ``reference``.

    Returns:
        14 findings in NIH's order without unknowns, ``label_version`` ``nih-v2020`` or ``nih-2017``, and the boxes.
        Phantoms, which lie in this layout, are ``phantom-v1``; a table under another name is ``nih-other``. With
        ``reference`` its findings, ``source``, label version, boxes and readers.

    Raises:
        ManifestError: ``source-invalid``, ``unknown-finding``, ``images-missing`` or ``no-images``.
        UsageError: ``usage`` for ``reference`` without ``reference_files``, or the other way round.
    """
    root = Path(os.path.abspath(root))
    require_folder(root)
    radiologists = read_reference(reference, reference_files)
    path, notes = _find_table(root, table)
    label_version = next((version for stem, version in TABLES.items() if path.name.startswith(stem)), OTHER_TABLE)
    frame, field_notes = read_data_entry(path)
    notes += field_notes
    known = set(frame["image"])
    if radiologists is not None:
        frame, reference_notes = radiologists.over(frame)
        notes += reference_notes
    if table_only:
        frame["image"] = f"{images or 'images'}/" + frame["image"]
    else:
        places, searched, place_notes = _find_images(root, known, images)
        notes += place_notes
        paths = frame["image"].map(places)
        missing = frame["image"][paths.isna()].tolist()
        if available_only:
            require_any(len(frame) - len(missing), root, searched)
            notes.append(left_out_note(len(frame) - len(missing), len(missing)))
        else:
            report_missing(missing, len(frame), searched, root)
        frame = frame.assign(image=paths)[paths.notna()].reset_index(drop=True)
    pixels = None if table_only else root
    if radiologists is not None:
        refuse_phantoms(root, "radiologists' labels")
        return _with_reference(SourceTable(frame, root, label_version, tuple(notes), key="name"), radiologists, pixels)
    boxes = None
    box_file = next((file for file in (root / NIH_BOXES, root / f"{NIH_BOXES}.gz") if file.exists()), None)
    if box_file is not None:
        boxes, note = _read_boxes(box_file, frame["image"], pixels)
        notes.append(note)
    return as_phantoms(SourceTable(frame, root, label_version, tuple(notes), boxes, key="name"))


def _with_reference(source: SourceTable, radiologists: ReferenceLabels, pixels: Path | None) -> SourceTable:
    """Return the table with the radiologists' label version, record, boxes and readers.

    Args:
        source: NIH's images that they read, with their labels.
        radiologists: the labels.
        pixels: the images' root, for the sizes of stored images; None leaves boxes in pixels of 1024x1024.
    """
    images = source.table["image"]
    names = file_names(images)
    image_of = dict(zip(names, images, strict=True))
    boxes, readers = radiologists.boxes, radiologists.readers
    if boxes is not None:
        rows = boxes.assign(image=boxes["name"].map(image_of))
        boxes = scale_boxes(rows[rows["image"].notna()].reset_index(drop=True), pixels)
    if readers is not None:
        rows = readers.assign(image=readers["image"].map(image_of))
        readers = rows[rows["image"].notna()].reset_index(drop=True)
    return replace(
        source,
        label_version=radiologists.label_version,
        boxes=boxes,
        readers=readers,
        labels_record=radiologists.record(names),
    )


def _find_table(root: Path, table: Path | None) -> tuple[Path, list[str]]:
    """Return the table to read, and a note if there was a choice."""
    if table is not None:
        return table, []
    tables = [
        root / f"{stem}{end}" for stem in TABLES for end in (".csv", ".csv.gz") if (root / f"{stem}{end}").exists()
    ]
    if not tables:
        raise ManifestError(
            Code.SOURCE_INVALID,
            f"no table is here; looked for {', '.join(f'{stem}.csv' for stem in TABLES)}, plain or .gz.",
            fix="Name it with --table FILE, or get it from https://nihcc.app.box.com/v/ChestXray-NIHCC.",
            where=root,
        )
    if len(tables) == 1:
        return tables[0], []
    others = ", ".join(path.name for path in tables[1:])
    return tables[0], [f"took {tables[0].name}, not {others} (--table FILE takes another)"]


def read_data_entry(path: Path) -> tuple[pd.DataFrame, list[str]]:
    """Read ``Data_Entry_2017*.csv`` into the manifest's columns; ``image`` is the bare file name.

    The header's ``OriginalImage[Width,Height]`` holds a comma, as the lines do: two columns of odd names.

    Raises:
        ManifestError: ``source-invalid`` or ``unknown-finding``.
    """
    raw = _read_columns(path, _COLUMNS)
    refuse_nobody(raw["patient_id"], "Patient ID", path)
    codes, texts = pd.factorize(raw["findings"])
    lines = {text: line for line, text in zip(raw.index[::-1], raw["findings"].iloc[::-1], strict=True)}
    matrix = np.array([_parse_findings(text, path, lines[text]) for text in texts], dtype=np.float64)
    ages, bad_ages = parse_ages(raw["age"])
    sexes, bad_sexes = parse_sexes(raw["sex"])
    frame = pd.DataFrame(
        {
            "image": raw["image"],
            "patient_id": raw["patient_id"],
            "study_id": raw["patient_id"] + "_" + raw["follow_up"],
            "view": raw["view"].str.upper(),
            "age": ages,
            "sex": sexes,
            "source": "nih",
        }
    )
    findings = pd.DataFrame(matrix.reshape(-1, len(NIH14))[codes], columns=list(NIH14), index=frame.index)
    return pd.concat([frame, findings], axis=1).reset_index(drop=True), emptied_notes(bad_ages, bad_sexes)


def _read_columns(path: Path, spellings: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """Return the wanted columns as text under their keys, indexed by line."""
    names = read_header(path)
    columns = {key: next((name for name in options if name in names), None) for key, options in spellings.items()}
    missing = [" or ".join(map(repr, spellings[key])) for key, name in columns.items() if name is None]
    if missing:
        raise ManifestError(
            Code.SOURCE_INVALID,
            f"this is not NIH's table: it lacks {', '.join(missing)}; its columns are {', '.join(map(repr, names))}.",
            where=path,
        )
    cells = read_cells(path)
    if cells.empty:
        raise ManifestError(Code.SOURCE_INVALID, "the table has a header and no row.", where=path)
    return pd.DataFrame({key: cells[name] for key, name in columns.items()})


def _parse_findings(text: str, path: Path, line: int) -> list[float]:
    """Return 14 zeros and ones for a list such as ``Mass|Nodule``."""
    location = f"{path}, line {line}"
    words = [word.strip() for word in text.split("|")]
    if words == [NO_FINDING]:
        return [0.0] * len(NIH14)
    if NO_FINDING in words or "" in words:
        reason = f"{NO_FINDING!r} beside findings" if NO_FINDING in words else "an empty finding"
        raise ManifestError(Code.SOURCE_INVALID, f"{reason}: {text!r}.", where=location)
    try:
        names = {canonical(word) for word in words}
    except ManifestError as error:
        raise ManifestError(error.code, error.message, where=location) from error
    return [float(finding in names) for finding in NIH14]


def _find_images(root: Path, file_names: set[str], images: str | None) -> tuple[dict[str, str], list[str], list[str]]:
    """Return (file name -> path relative to root, the folders searched, notes)."""
    if images is not None:
        folder = Path(os.path.abspath(root / images))
        require_folder(folder)
        if not folder.is_relative_to(root):
            raise ManifestError(Code.SOURCE_INVALID, f"--images {images}: not a folder inside ROOT.", where=root)
        return _index(root, [folder], file_names)
    parts, single = [], [root]
    for entry in sorted(path for path in root.iterdir() if path.is_dir()):
        if _KAGGLE_PART.fullmatch(entry.name):
            parts += [entry / "images"] if (entry / "images").is_dir() else [entry]
        else:
            single.append(entry)
    candidates = [group for group in ([folder] for folder in single) if _pngs(group[0]) & file_names]
    if any(_pngs(part) & file_names for part in parts):
        candidates.append(parts)
    if len(candidates) > 1:
        names = [_name(root, group) for group in candidates]
        options = " or ".join(f"--images {name}" for name in names if " to " not in name)
        raise ManifestError(
            Code.SOURCE_INVALID,
            f"images of the table are in several places: {', '.join(names)}.",
            fix=f"Choose one: {options}.",
            where=root,
        )
    if not candidates:
        return {}, [_name(root, [folder]) for folder in single], []
    return _index(root, candidates[0], file_names)


def _index(root: Path, folders: list[Path], file_names: set[str]) -> tuple[dict[str, str], list[str], list[str]]:
    places: dict[str, str] = {}
    strangers, doubled = 0, []
    for folder in folders:
        names = _pngs(folder)
        strangers += len(names - file_names)
        doubled += sorted(names & places.keys())
        prefix = folder.relative_to(root).as_posix()
        places.update({name: name if prefix == "." else f"{prefix}/{name}" for name in names & file_names})
    if doubled:
        raise ManifestError(
            Code.SOURCE_INVALID,
            f"{counted(len(doubled), 'image')} {be(len(doubled))} in two of "
            f"{_name(root, folders)}: {', '.join(doubled[:10])}.",
            where=root,
        )
    notes = [f"{strangers:,} PNG files in {_name(root, folders)} are not in the table"] if strangers else []
    return places, [_name(root, folders)], notes


def _pngs(folder: Path) -> set[str]:
    with os.scandir(folder) as entries:
        return {entry.name for entry in entries if entry.name.endswith(".png")}


def _name(root: Path, folders: list[Path]) -> str:
    names = ["ROOT" if folder == root else folder.relative_to(root).as_posix() for folder in folders]
    return names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"


def _read_boxes(path: Path, images: pd.Series, root: Path | None) -> tuple[pd.DataFrame, str]:
    """Return the boxes of the images in the manifest, scaled to the stored image, and a note.

    Args:
        path: ``BBox_List_2017.csv``, whose header reads ``Image Index,Finding Label,Bbox [x,y,w,h],,,``.
        images: the manifest's paths.
        root: to read the images' sizes from their headers; None leaves the boxes in pixels of 1024x1024.
    """
    columns = {
        "name": ["Image Index"],
        "finding": ["Finding Label"],
        "x": ["Bbox [x"],
        "y": ["y"],
        "w": ["w"],
        "h": ["h]"],
    }
    raw = _read_columns(path, columns)
    numbers = raw[["x", "y", "w", "h"]].apply(pd.to_numeric, errors="coerce")
    broken = numbers.isna().any(axis=1) | (numbers[["w", "h"]] <= 0).any(axis=1)
    if broken.any():
        line = int(raw.index[broken][0])
        cells = ", ".join(raw[raw.index == line].to_numpy().ravel())
        raise ManifestError(Code.SOURCE_INVALID, f"no box: {cells}.", where=f"{path}, line {line}")
    matches = match_images(raw["name"], images, by_name=True)
    require_clear(matches, Code.IMAGES_AMBIGUOUS, "the boxed images", path)
    boxes = pd.DataFrame({"image": raw["name"].map(matches.image_of), "finding": _canonical(raw["finding"], path)})
    boxes = boxes.join(numbers.rename(columns={"w": "width", "h": "height"}))
    boxes = scale_boxes(boxes[boxes["image"].notna()].reset_index(drop=True), root)
    return boxes, f"kept {out_of(len(boxes), len(raw), 'box')}, on {counted(boxes['image'].nunique(), 'image')}"


def _canonical(column: pd.Series, path: Path) -> pd.Series:
    try:
        return column.map({name: canonical(name) for name in column.unique()})
    except ManifestError as error:
        raise ManifestError(error.code, error.message, where=path) from error
