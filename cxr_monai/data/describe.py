"""Description of a manifest as text, and checks for what is unlikely in its table and pixels.

    print(describe(manifest))              findings, co-occurrence, views, ages, sexes, splits, in aligned tables
    oddities(manifest)                     sentences on what is allowed, but unlikely
    compare_pixels(manifest)               the same radiograph under two patients, files that can't be read

The same as a picture: `cxr_monai.data.manifest_picture`. What a manifest must not have at all is refused when it is
read (`cxr_monai.data.validation`).
"""

import hashlib
import textwrap
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from cxr_monai.data.identifiers import alike_note
from cxr_monai.data.label_record import LabelRecord
from cxr_monai.data.manifest import Manifest, under
from cxr_monai.data.notes import FilmNotes
from cxr_monai.data.overlaps import patient_names
from cxr_monai.data.splits import balance_table, mean_deviation
from cxr_monai.data.validation import SPLITS
from cxr_monai.environment import usable_cores
from cxr_monai.errors import RadiographError
from cxr_monai.plurals import counted, have
from cxr_monai.progress import progress_bar
from cxr_monai.schemes import LabelScheme

# years between a patient's radiographs beyond which ids are more likely mixed up than an archive that old
_LONG_CARE = 30
MATRIX_LIMIT = 24
"""Findings up to which co-occurrences are shown as a matrix."""
_BATCH = 512


def describe(manifest: Manifest) -> str:
    """Return findings, co-occurrence, views, sexes, ages and splits as aligned text."""
    table = manifest.table
    head = (
        f"{counted(len(table), 'image')} of {counted(patient_names(table).nunique(), 'patient')}, "
        f"labels {manifest.label_version}, " + _roots_text(manifest)
    )
    if manifest.patients == "unknown":
        head += "; the data set does not tell whose films they are, so each counts as a patient"
    elif manifest.patients == "assumed":
        head += "; that each image is of another patient is the word of whoever made the manifest"
    parts = [head, _findings_text(manifest), *_unknown_text(manifest), _co_occurrence_text(manifest)]
    parts.append(_counts_text(manifest, "view", "Views"))
    parts.append(_counts_text(manifest, "sex", "Sexes"))
    parts.append(_ages_text(table["age"]))
    parts.append(_split_text(manifest, "split"))
    if "fold" in table and table["fold"].notna().any():
        parts.append(_split_text(manifest, "fold"))
    return "\n\n".join(parts)


def describe_labels(manifest: Manifest, scheme: LabelScheme) -> str:
    """Return how often each label of a scheme is present, as aligned text, by split where there are splits.

    Args:
        manifest: with the findings of the scheme.
        scheme: the labels to count.

    Raises:
        ManifestError: as `cxr_monai.data.manifest.under`.
    """
    labelled = under(manifest, scheme)
    text = f"Labels of the scheme {scheme.name}\n{_frame(findings_table(labelled).loc[list(scheme.labels)], '{:.4f}')}"
    labels = labelled.table[list(scheme.labels)]
    if (labelled.table["split"] != "").any():
        sides = labelled.table["split"].replace("", "(none)")
        counts = (labels == 1).groupby(sides).sum().T
        by_split = counts[[side for side in (*SPLITS, "(none)") if side in counts]].rename_axis(None, axis=1)
        text += f"\n\nPositive images by split\n{_frame(by_split, '{}')}"
    return text


def findings_table(manifest: Manifest) -> pd.DataFrame:
    """Return one row a finding.

    ``known`` labels, ``positive`` images and their ``patients``, ``prevalence`` (positive / known; NaN where none is
    known), ``unknown`` labels.

    >>> from cxr_monai.data.manifest import build_manifest
    >>> import pandas as pd
    >>> table = pd.DataFrame({"image": ["a.png", "b.png"], "patient_id": [1, 2], "Mass": [1.0, None]})
    >>> findings_table(build_manifest(table, ".", "local")).to_dict("records")
    [{'known': 1, 'positive': 1, 'patients': 1, 'prevalence': 1.0, 'unknown': 1}]
    """
    labels = manifest.table[list(manifest.findings)]
    people = patient_names(manifest.table)
    patients = [people[labels[name] == 1].nunique() for name in labels]
    known_counts = labels.notna().sum()
    return pd.DataFrame(
        {
            "known": known_counts,
            "positive": labels.sum().astype(int),
            "patients": patients,
            "prevalence": labels.mean(),
            "unknown": len(labels) - known_counts,
        }
    )


def co_occurrence(manifest: Manifest) -> pd.DataFrame:
    """Return [F, F] counts of the images that have both findings; the diagonal is each finding's own.

    >>> from cxr_monai.data.manifest import build_manifest
    >>> import pandas as pd
    >>> labels = {"Mass": [1, 1], "Nodule": [1, 0]}
    >>> table = pd.DataFrame({"image": ["a.png", "b.png"], "patient_id": [1, 2], **labels})
    >>> co_occurrence(build_manifest(table, ".", "local")).values.tolist()
    [[2, 1], [1, 1]]
    """
    positive = (manifest.labels() == 1).astype(np.float64)
    names = list(manifest.findings)
    return pd.DataFrame((positive.T @ positive).astype(int), index=names, columns=names)


def side_table(manifest: Manifest, by: str = "split") -> pd.DataFrame:
    """Return a table of images and patients, one row a split (or fold); rows without one are ``(none)``.

    Args:
        manifest: the table.
        by: ``split`` or ``fold``.
    """
    sides = manifest.table[by].astype("str").fillna("").replace("", "(none)")
    table = (
        _with_patient_names(manifest).groupby(sides).agg(images=("image", "size"), patients=("patient_id", "nunique"))
    )
    order = [*SPLITS, *sorted((side for side in table.index if side.isdigit()), key=int), "(none)"]
    return table.reindex([side for side in order if side in table.index]).rename_axis(None)


def balance_text(manifest: Manifest, by: str = "split") -> str:
    """Return each finding's prevalence in each split in percent, and its deviation from the whole, as text.

    Args:
        manifest: with splits, or folds.
        by: ``split`` or ``fold``.
    """
    balance = balance_table(manifest, "fold" if by == "fold" else "split")
    frame = (100 * balance).rename(columns=lambda name: f"{by} {name}" if name.isdigit() else name)
    worst = balance["deviation"].max()
    return (
        f"Prevalence in percent, by {by}\n{_frame(frame, '{:.3f}')}\n"
        f"A {by}'s prevalence differs from the whole's by {100 * mean_deviation(balance):.4f} percentage points on "
        f"average, by {100 * worst:.4f} at most."
    )


def oddities(manifest: Manifest) -> list[str]:
    """Return sentences on what is allowed but unlikely: a patient of two sexes, findings without a case.

    Args:
        manifest: the table.
    """
    remarks = []
    table = _with_patient_names(manifest)
    patients = table[table["sex"] != ""].groupby("patient_id")["sex"].nunique()
    remarks += _some("images of more than one sex", patients.index[patients > 1])
    remarks += alike_note(manifest.table["patient_id"], table["source"])
    ages = table.groupby("patient_id")["age"]
    span = ages.max() - ages.min()
    remarks += _some(f"images more than {_LONG_CARE} years apart", span.index[span > _LONG_CARE])
    parts = {"the manifest": table} | {f"the split {name!r}": rows for name, rows in table.groupby("split") if name}
    for part, rows in parts.items():
        labels = rows[list(manifest.findings)]
        for word, value in (("positive", 1), ("negative", 0)):
            lacking = [name for name in manifest.findings if not (labels[name] == value).any()]
            if lacking:
                remarks.append(f"{part} has no {word} image of {', '.join(lacking)}: no AUROC can be computed there")
    if manifest.split and manifest.split.scheme == "edited":
        remarks.append(
            f"rows or splits were edited since 'cxr-monai split': the digest is {manifest.split.digest[:12]}, "
            f"recorded was {manifest.split.details['recorded']['digest'][:12]}"
        )
    return remarks


@dataclass(frozen=True)
class PixelReport:
    """The result of reading every file of a manifest.

    Attributes:
        shared: groups of images with identical pixels that belong to several patients, each as (image, patient).
        repeated: how many images repeat another of the same patient.
        unreadable: (image, error code, reason).
        notes: on the readable files, such as that a picture is nearly black.
        read: how many could be read.
    """

    shared: list[list[tuple[str, str]]]
    repeated: int
    unreadable: list[tuple[str, str, str]]
    notes: FilmNotes = field(default_factory=FilmNotes)
    read: int = 0


def compare_pixels(
    manifest: Manifest, *, workers: int | None = None, progress: bool = False, any_modality: bool = False
) -> PixelReport:
    """Read every image and find identical pixels; files that don't exist are left to `read_manifest`.

    Args:
        manifest: the images.
        workers: threads (decoding releases Python's lock); by default one a core.
        progress: show a progress bar on stderr.
        any_modality: accept DICOM files of every modality and body part.
    """
    table = _with_patient_names(manifest)[[path.is_file() for path in manifest.paths()]]
    digests: list[str] = []
    read = partial(_digest, any_modality=any_modality)
    unreadable: list[tuple[str, str, str]] = []
    notes = FilmNotes()
    with (
        ThreadPoolExecutor(workers or usable_cores()) as pool,
        progress_bar(total=len(table), desc="pixels", unit="images", show=progress) as bar,
    ):
        # in batches, so that a large data set does not queue all of its images at once
        for start in range(0, len(table), _BATCH):
            images = table["image"].iloc[start : start + _BATCH]
            for image, result in zip(images, pool.map(read, map(manifest.path_of, images)), strict=True):
                if isinstance(result, RadiographError):
                    unreadable.append((image, result.code.value, result.message))
                    digests.append("")
                else:
                    digests.append(result[0])
                    notes.add(image, result[1])
                bar.update()
    read = table.assign(digest=digests)[np.array(digests, dtype=object) != ""]
    same = read[read["digest"].duplicated(keep=False)]
    shared = [
        list(zip(rows["image"], rows["patient_id"], strict=True))
        for _, rows in same.groupby("digest", sort=False)
        if len(set(rows["patient_id"])) > 1
    ]
    return PixelReport(shared, int(same.duplicated(["digest", "patient_id"]).sum()), unreadable, notes, len(read))


def _roots_text(manifest: Manifest) -> str:
    """Return where the images are; of a joined manifest, for each member."""
    if not manifest.members:
        return f"root {manifest.root}"
    counts = manifest.table["image"].str.partition("/")[0].value_counts()
    lines = [
        f"  {member.name}: {counted(int(counts.get(member.name, 0)), 'image')}, labels {member.label_version}, "
        f"root {member.root}"
        for member in manifest.members
    ]
    return "joined of\n" + "\n".join(lines)


def _with_patient_names(manifest: Manifest) -> pd.DataFrame:
    """Return the table with a ``patient_id`` that tells patients of several collections apart."""
    return manifest.table.assign(patient_id=patient_names(manifest.table).str.replace("\t", " "))


def _digest(path: Path, any_modality: bool = False) -> tuple[str, Sequence[str]] | RadiographError:
    """Return the digest of a file's pixels and the notes on it; or the error if it cannot be read."""
    from cxr_monai.data.radiograph import read_radiograph

    try:
        radiograph = read_radiograph(path, any_modality=any_modality)
    except RadiographError as error:
        return error
    pixels = np.ascontiguousarray(radiograph.pixels)
    digest = hashlib.blake2b(str(pixels.shape).encode() + pixels.tobytes(), digest_size=16).hexdigest()
    return digest, radiograph.provenance["notes"]


def _frame(frame: pd.DataFrame, number: str) -> str:
    """Align a table: counts with thousands, other numbers by ``number``, nothing known as a dash."""

    def cell(value: float | int) -> str:
        if isinstance(value, (int, np.integer)):
            return f"{value:,}"
        return "-" if value != value else number.format(value)

    return frame.rename_axis(None).map(cell).to_string()


def _findings_text(manifest: Manifest) -> str:
    table = findings_table(manifest)
    labels = manifest.labels()
    free = int((labels == 0).all(axis=1).sum())
    note = f"{counted(free, 'image')} {have(free)} none of them ({free / len(labels):.1%})."
    return f"Findings\n{_frame(table, '{:.4f}')}\n{note}"


def _unknown_text(manifest: Manifest) -> list[str]:
    """Return why labels are unknown and what was chosen about them; nothing without an adapter's record."""
    records = [manifest.labels_record, *(member.labels_record for member in manifest.members)]
    return [_record_text(record) for record in records if record is not None]


def _record_text(record: LabelRecord) -> str:
    chosen = ", ".join(f"{name} {value}" for name, value in record.settings.items())
    lines = [f"Labels of {record.dataset}" + (f": {chosen}" if chosen else "")]
    table = record.table()
    if table.shape[1]:
        lines += ["unknown, by reason (images when the manifest was made)", _frame(table, "{}")]
    return "\n".join([*lines, *record.rules.values()])


def _co_occurrence_text(manifest: Manifest) -> str:
    counts = co_occurrence(manifest)
    if len(counts) <= MATRIX_LIMIT:
        numbered = [f"{number} {name}" for number, name in enumerate(counts, start=1)]
        frame = counts.set_axis(numbered, axis=0).set_axis([str(n) for n in range(1, len(counts) + 1)], axis=1)
        return f"Co-occurrence (images that have both)\n{_frame(frame, '{}')}"
    rows, columns = np.triu_indices(len(counts), k=1)
    names = counts.index[rows] + " and " + counts.columns[columns]
    pairs = pd.DataFrame({"images": counts.to_numpy()[rows, columns]}, index=names)
    return f"Co-occurrence (the 20 most frequent pairs)\n{_frame(pairs.nlargest(20, 'images'), '{}')}"


def _counts_text(manifest: Manifest, column: str, title: str) -> str:
    values = manifest.table[column].replace("", "(unknown)")
    table = (
        _with_patient_names(manifest).groupby(values).agg(images=("image", "size"), patients=("patient_id", "nunique"))
    )
    table["share"] = table["images"] / len(values)
    return f"{title}\n{_frame(table.sort_values('images', ascending=False), '{:.4f}')}"


def _ages_text(ages: pd.Series) -> str:
    known_ages = ages.dropna()
    if known_ages.empty:
        return "Ages\nnone is known"
    low, quarter, half, three, high = np.percentile(known_ages, [0, 25, 50, 75, 100])
    decades = (known_ages // 10 * 10).astype(int).value_counts().sort_index()
    frame = pd.DataFrame({"images": decades.to_numpy()}, index=[f"{start} to {start + 9}" for start in decades.index])
    return (
        f"Ages\n{low:g} to {high:g} years, median {half:g}, middle half {quarter:g} to {three:g}, "
        f"{len(ages) - len(known_ages):,} unknown\n{_frame(frame, '{}')}"
    )


def _split_text(manifest: Manifest, by: str) -> str:
    table = side_table(manifest, by)
    if list(table.index) == ["(none)"]:
        return f"{by.capitalize()}s\nnone yet: 'cxr-monai split MANIFEST --scheme random' (or official, lists, kfold)"
    record = manifest.split
    # kfold's record is of the folds, every other scheme's of the splits
    is_of_column = record and (record.scheme == "kfold") == (by == "fold")
    how = (
        f" (scheme {record.scheme}, seed {record.seed}, digest {record.digest[:12]})" if record and is_of_column else ""
    )
    return f"{by.capitalize()}s{how}\n{_frame(table, '{}')}\n\n{balance_text(manifest, by)}"


def _some(oddity: str, patients: Iterable[str]) -> list[str]:
    names = list(patients)
    if not names:
        return []
    more = f" and {len(names) - 5:,} more" if len(names) > 5 else ""
    return [
        f"{counted(len(names), 'patient')} {have(len(names))} {oddity}: "
        f"{textwrap.shorten(', '.join(names[:5]), 200)}{more}"
    ]
