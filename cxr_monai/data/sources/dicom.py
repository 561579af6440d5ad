"""A tree of DICOM files: patient, study, view, age and sex from their headers, findings from a CSV if there is one.

Only headers are read, of files of any name. The rule is that of `cxr_monai.data.formats.dicom_subject`: radiographs by
their Modality, without other body parts such as hands. Patient and study ids are replaced by keyed hashes
(HMAC-SHA256), equal for equal ids, so that a patient's images stay together and the id cannot be found without the
key::

    key = new_key()
    read(root, key=key).table["patient_id"][0]      # '9f86d081884c7d65'
    write_key(key, Path("manifest.csv.key"))        # mode 0600; never in the manifest
"""

import hashlib
import hmac
import os
import secrets
import struct
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from cxr_monai.data.columns import IMAGE, find_column
from cxr_monai.data.files import is_dicom_file
from cxr_monai.data.formats.dicom_header import AGE_TAGS, age_text
from cxr_monai.data.formats.dicom_library import Dataset, dcmread, disable_value_validation
from cxr_monai.data.formats.dicom_subject import MODALITIES, SUBJECT_TAGS, is_lateral, unfit, view_of
from cxr_monai.data.identifiers import alike_note
from cxr_monai.data.matching import examples, match_images, require_clear
from cxr_monai.data.sources import SourceTable
from cxr_monai.data.sources._files import walk
from cxr_monai.data.sources._labels import read_findings
from cxr_monai.data.sources._phantoms import as_phantoms
from cxr_monai.data.sources._text import emptied_notes, parse_ages, parse_sexes, read_table
from cxr_monai.data.validation import RESERVED
from cxr_monai.durable import write_durably
from cxr_monai.errors import Code, ManifestError, UsageError
from cxr_monai.labels import NIH14
from cxr_monai.outputs import check_output
from cxr_monai.plurals import agreeing, be, counted, have, out_of
from cxr_monai.progress import progress_bar

_TAGS = [
    *SUBJECT_TAGS, *AGE_TAGS, "SOPInstanceUID", "PatientID", "PatientSex", "StudyInstanceUID", "Rows",
]  # fmt: skip
_NO_DICOM = (".png", ".jpg", ".jpeg", ".nii", ".nii.gz", ".json")
# what pydicom raises on damaged files, by experience
_DAMAGED = (EOFError, OSError, ValueError, KeyError, AttributeError, TypeError, struct.error, NotImplementedError)
_UIDS = ("sopinstanceuid", "instanceuid")
_STUDIES = ("studyinstanceuid", "studyuid", "studyid")


def read(
    root: str | Path,
    *,
    key: bytes | None,
    labels: Path | None = None,
    patient_per_study: bool = False,
    findings: Sequence[str] | None = None,
    uncertain: str | None = None,
    match_names: bool = False,
    any_modality: bool = False,
    positive: str | None = None,
    negative: str | None = None,
) -> SourceTable:
    """Read the headers below ``root``.

    Args:
        root: the folder, searched with all its folders; hidden files are left out.
        key: for the hashes of patient and study ids; None keeps the ids as they are.
        labels: a CSV with a column SOPInstanceUID, image (path or file name) or StudyInstanceUID, and findings; without
            it all 14 findings are unknown, which is enough to predict.
        patient_per_study: take each study without a PatientID for another patient (only if that is so).
        findings: the columns of ``labels`` that are findings.
        uncertain: what ``-1`` means in ``labels``: ``unknown``, ``positive`` or ``negative``.
        positive, negative: words in the findings' cells for present and absent, with commas between.
        match_names: file names are identities: take the label of a name even where the folders differ.
        any_modality: take images of every modality and body part.

    Returns:
        One row a radiograph, ``label_version`` ``local`` or ``unlabelled``; unreadable files are in ``errors``.

    Raises:
        ManifestError: ``no-images``; ``source-invalid`` for labels that do not fit, or images without a PatientID.
    """
    root = Path(os.path.abspath(root))
    headers, errors, skipped = _read_headers(root, any_modality)
    notes = [f"skipped {counted(count, 'file')}: {reason}" for reason, count in sorted(skipped.items())]
    if headers.empty:
        others = [*notes, *([f"{counted(len(errors), 'file')} cannot be read"] if len(errors) else [])]
        raise ManifestError(
            Code.NO_IMAGES,
            f"no radiograph is here ({'; '.join(others) or 'no files at all'}).",
            fix=f"Radiographs have the Modality {', '.join(MODALITIES)}; --any-modality takes every image.",
            where=root,
        )
    notes += _header_notes(headers)
    patients = _patients(headers, root, patient_per_study)
    ages, bad_ages = parse_ages(headers["age"])
    sexes, bad_sexes = parse_sexes(headers["sex"])
    marks, label_notes = _labels(headers, labels, root, findings, uncertain, match_names, positive, negative)
    frame = pd.DataFrame(
        {
            "image": headers["image"],
            "patient_id": _hidden(patients, "patient", key),
            "study_id": _hidden(headers["study"], "study", key),
            "view": headers["view"],
            "age": ages,
            "sex": sexes,
            "source": "dicom",
        }
    )
    notes += [
        *emptied_notes(bad_ages, bad_sexes),
        *alike_note(patients, show_examples=key is None),
        *label_notes,
        "file names stay as they are: rename files whose names tell who it is",
    ]
    version = "unlabelled" if labels is None else "local"
    return as_phantoms(SourceTable(pd.concat([frame, marks], axis=1), root, version, tuple(notes), errors=errors))


def pseudonym(value: str, kind: str, key: bytes) -> str:
    """Return 16 hexadecimal digits: HMAC-SHA256 of ``kind`` and ``value``; an empty value stays empty.

    64 bits: among a million patients, two share a pseudonym with a chance of 3 in 100 million.

    Args:
        value: an identifier.
        kind: ``patient`` or ``study``, so that equal identifiers of two kinds differ.
        key: the secret.
    """
    return value and hmac.new(key, f"{kind}\0{value}".encode(), hashlib.sha256).hexdigest()[:16]


def new_key() -> bytes:
    """Return a new random key of 64 hexadecimal digits (256 bits)."""
    return secrets.token_hex(32).encode()


def write_key(key: bytes, path: Path) -> None:
    """Write a key to a file that only its owner can read (mode 0600).

    Args:
        key: of :func:`new_key`.
        path: a new file.

    Raises:
        UsageError: ``output-exists``; a key is never overwritten: the pseudonyms made with it could not be made again.
        StorageError: ``disk-full`` or ``write-failed``.
    """
    check_output(path, option="")
    write_durably(path, key + b"\n", private=True)


def read_key(path: Path) -> bytes:
    """Return the key in ``path``: any text of at least 32 characters.

    Raises:
        UsageError: ``usage``, if it is not there or shorter.
    """
    try:
        key = path.read_bytes().strip()
    except OSError as error:
        raise UsageError(Code.USAGE, f"the key cannot be read: {error.strerror}.", where=path) from error
    if len(key) < 32:
        raise UsageError(
            Code.USAGE,
            f"a key of {counted(len(key), 'character')} can be guessed; it needs 32.",
            fix="Leave --key-file away.",
            where=path,
        )
    return key


def _header_notes(headers: pd.DataFrame) -> list[str]:
    """Return notes on lateral views and on repeated identifiers."""
    notes = []
    lateral = int(headers["view"].isin(["LL", "RL", "LAT", "LATERAL"]).sum())
    if lateral:
        notes.append(
            f"{counted(lateral, 'radiograph')} {be(lateral)} of a lateral view: models here learn from frontal ones"
        )
    repeated = int(headers["sop"][headers["sop"] != ""].duplicated().sum())
    if repeated:
        notes.append(
            f"{counted(repeated, 'file')} {agreeing(repeated, 'repeat')} the SOPInstanceUID "
            "of another: are they the same image?"
        )
    return notes


def _patients(headers: pd.DataFrame, root: Path, per_study: bool) -> pd.Series:
    """Return PatientID, or the study's UID where there is none and that is allowed."""
    nameless = headers["patient"] == ""
    if nameless.any() and not per_study:
        raise ManifestError(
            Code.SOURCE_INVALID,
            f"{out_of(int(nameless.sum()), len(headers), 'radiograph')} "
            f"{have(len(headers))} no PatientID (first: "
            f"{headers['image'][nameless].iloc[0]}). Without it, a patient's images would land on both sides of a "
            "split.",
            fix="If every study is of another patient, say --patient-per-study.",
            where=root,
        )
    return headers["patient"].mask(nameless, headers["study"].mask(headers["study"] == "", headers["sop"]))


def _hidden(column: pd.Series, kind: str, key: bytes | None) -> pd.Series:
    return column if key is None else column.map({text: pseudonym(text, kind, key) for text in column.unique()})


def _read_headers(root: Path, any_modality: bool) -> tuple[pd.DataFrame, pd.DataFrame, Counter[str]]:
    """Return (one row a radiograph, ``image, code, reason`` of the unreadable, skipped files by reason)."""
    rows, errors = [], []
    skipped: Counter[str] = Counter()
    files = list(walk(root))
    for image in progress_bar(files, total=len(files), desc="headers", unit="files"):
        path = root / image
        try:
            if not is_dicom_file(path):
                skipped["not DICOM"] += 1
                continue
            if path.stat().st_size == 0:
                errors.append((image, Code.RADIOGRAPH_EMPTY.value, "the file is empty"))
                continue
            # values are judged here: pydicom's warnings about "62" for an age would bury the summary
            with disable_value_validation(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                header = dcmread(path, stop_before_pixels=True, specific_tags=_TAGS, force=True)
                code, reason = _judge(header, any_modality)
                if code is not None:
                    errors.append((image, code.value, reason))
                elif reason:
                    skipped[reason] += 1
                else:
                    rows.append({"image": image, **_fields(header)})
        except _DAMAGED as error:
            errors.append((image, Code.RADIOGRAPH_UNDECODABLE.value, f"the header cannot be read ({error})"))
    columns = ["image", "sop", "patient", "study", "view", "age", "sex"]
    return (
        pd.DataFrame(rows, columns=columns),
        pd.DataFrame(errors, columns=["image", "code", "reason"]),
        skipped,
    )


def _judge(header: Dataset, any_modality: bool) -> tuple[Code | None, str]:
    """Return (an error's code, its reason), (None, a reason to skip the file), or (None, "") for a radiograph."""
    if not _text(header, "Modality") and "SOPInstanceUID" not in header and "Rows" not in header:
        return Code.RADIOGRAPH_NOT_AN_IMAGE, "this is no DICOM file, whatever its name says"
    wrong = None if any_modality else unfit(header)
    if wrong is not None:
        return None, wrong.kind
    if "Rows" not in header:
        return Code.RADIOGRAPH_TRUNCATED, "its header ends before Rows (0028,0010)"
    return None, ""


def _fields(header: Dataset) -> dict[str, str]:
    return {
        "sop": _text(header, "SOPInstanceUID"),
        "patient": _text(header, "PatientID"),
        "study": _text(header, "StudyInstanceUID"),
        "view": view_of(header) or ("LATERAL" if is_lateral(header) else ""),
        "age": age_text(header),
        "sex": _text(header, "PatientSex"),
    }


def _text(header: Dataset, name: str) -> str:
    return str(header.get(name) or "").strip()


def _labels(
    headers: pd.DataFrame,
    labels: Path | None,
    root: Path,
    findings: Sequence[str] | None,
    uncertain: str | None,
    match_names: bool,
    positive: str | None,
    negative: str | None,
) -> tuple[pd.DataFrame, list[str]]:
    """Return one row of findings for each row of ``headers``, and notes."""
    if labels is None:
        unknown = pd.DataFrame(np.nan, index=headers.index, columns=list(NIH14))
        return unknown, [
            "no labels: the 14 findings are unknown, which is enough to predict (--labels CSV brings them)"
        ]
    table = read_table(labels)
    joins = (("sop", _UIDS), ("image", IMAGE), ("study", _STUDIES))
    ours, theirs = next(
        ((ours, match) for ours, names in joins if (match := find_column(table.columns, names))), ("", "")
    )
    if not theirs:
        raise ManifestError(
            Code.SOURCE_INVALID,
            f"no column says which image it is; the columns are {', '.join(map(repr, table.columns))}.",
            fix="Name one SOPInstanceUID, image (path or file name) or StudyInstanceUID.",
            where=labels,
        )
    keys, near = table[theirs], ""
    if ours == "image":
        # among all files, not the radiographs alone: a name that stands in two folders is not clear
        files = [file for file in walk(root) if not file.lower().endswith(_NO_DICOM)]
        matches = match_images(keys, files, by_name=match_names, other_endings=True, root=root)
        require_clear(matches, Code.SOURCE_INVALID, "the labels' names", labels)
        keys, near = keys.map(matches.image_of), matches.near_misses()
    twice = keys[keys.notna() & keys.duplicated()]
    if not twice.empty:
        line = twice.index[0]
        raise ManifestError(
            Code.SOURCE_INVALID, f"{table[theirs][line]!r} has a second row.", where=f"{labels}, line {line}"
        )
    columns = [name for name in table.columns if name != theirs and name not in RESERVED]  # a manifest may serve
    marks, notes = read_findings(
        table, columns, labels, findings=findings, uncertain=uncertain, positive=positive, negative=negative
    )
    used = keys.isin(headers[ours])
    marks = marks[used].set_axis(keys[used], axis=0).reindex(headers[ours]).set_axis(headers.index, axis=0)
    labelled = int(headers[ours].isin(keys[used]).sum())
    if not labelled:
        raise ManifestError(
            Code.SOURCE_INVALID,
            f"none of its {counted(len(table), 'row')} fits a radiograph by "
            f"{theirs!r} (first: {table[theirs].iloc[0]!r})" + (f": {near}." if near else "."),
            fix="Where a file name alone tells which image it is, say --match-names." if near else None,
            where=labels,
        )
    unused = table.loc[~used, theirs].tolist()
    unlabelled = headers.loc[~headers[ours].isin(keys[used]), "image"].tolist()
    return marks, [
        f"{out_of(labelled, len(headers), 'radiograph')} {have(len(headers))} labels, joined on {theirs!r}"
        + (f"; without: {examples(unlabelled)}" if unlabelled else "")
        + f"; {counted(len(unused), 'row')} of the labels {agreeing(len(unused), 'fit')} none"
        + (f": {examples(unused)}" if unused else "")
        + (f"; {near}" if near else ""),
        *notes,
    ]
