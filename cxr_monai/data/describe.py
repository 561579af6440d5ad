"""Description of a manifest as text and as a picture, and checks for what is unlikely in its table and pixels.

    print(describe(manifest))              findings, co-occurrence, views, ages, sexes, splits, in aligned tables
    draw(manifest, Path("check.png"))      the same as one picture
    oddities(manifest)                     sentences on what is allowed, but unlikely
    compare_pixels(manifest)               the same radiograph under two patients, files that can't be read

What a manifest must not have at all is refused when it is read (`cxr_monai.data.validation`).
"""

import hashlib
import io
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
from cxr_monai.durable import write_durably
from cxr_monai.environment import usable_cores
from cxr_monai.errors import RadiographError
from cxr_monai.plurals import counted, have
from cxr_monai.progress import progress_bar
from cxr_monai.schemes import LabelScheme

# years between a patient's radiographs beyond which ids are more likely mixed up than an archive that old
_LONG_CARE = 30
_MATRIX = 24
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


def draw(manifest: Manifest, path: Path) -> None:
    """Write the PNG of :func:`picture` to a file.

    Args:
        manifest: the table.
        path: of the PNG.
    """
    write_durably(path, picture(manifest))


def picture(manifest: Manifest) -> bytes:
    """Return one picture (PNG) of findings, co-occurrence, ages by sex, and views by split.

    Colours are Okabe and Ito's and cividis, distinguishable with any colour vision.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 11.5), layout="constrained")
    FigureCanvasAgg(figure)
    table = manifest.table
    figure.suptitle(
        f"{counted(len(table), 'image')} of {counted(patient_names(table).nunique(), 'patient')}, "
        f"labels {manifest.label_version}",
        fontsize=15,
    )
    grid = figure.add_gridspec(2, 2, width_ratios=(1, 1.25), height_ratios=(1.35, 1))
    _draw_prevalence(figure.add_subplot(grid[0, 0]), manifest)
    _draw_co_occurrence(figure, figure.add_subplot(grid[0, 1]), manifest)
    _draw_ages(figure.add_subplot(grid[1, 0]), table)
    _draw_views(figure.add_subplot(grid[1, 1]), table)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=100, metadata={"Software": None})
    return content.getvalue()


_BLUE, _ORANGE, _GREEN, _GREY = "#0072B2", "#E69F00", "#009E73", "#999999"


def _draw_prevalence(axes, manifest: Manifest) -> None:
    table = findings_table(manifest)
    percent = (100 * table["prevalence"]).fillna(0)
    bars = axes.barh(table.index, percent, color=_BLUE)
    labels = [
        f"{row.prevalence:.1%}  ({row.positive:,})" if row.known else "no label known" for row in table.itertuples()
    ]
    axes.bar_label(bars, labels=labels, padding=4, fontsize=9)
    axes.invert_yaxis()
    axes.set_xlim(0, max(percent.max(), 0.1) * 1.32)
    axes.set(title="Findings: prevalence (positive images)", xlabel="% of images whose label is known")
    axes.spines[["top", "right"]].set_visible(False)


def _draw_co_occurrence(figure, axes, manifest: Manifest) -> None:
    counts = co_occurrence(manifest).to_numpy(dtype=float)
    positives = np.diag(counts).copy()
    share = np.divide(100 * counts, positives[:, None], out=np.full_like(counts, np.nan), where=positives[:, None] > 0)
    np.fill_diagonal(share, np.nan)
    names, top = list(manifest.findings), max(np.nanmax(share, initial=0.0), 1.0)
    image = axes.imshow(share, cmap="cividis", vmin=0, vmax=top, aspect="auto")
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor", fontsize=9)
    axes.set_yticks(range(len(names)), names, fontsize=9)
    axes.set_title("Co-occurrence: of the images with the row's finding, % that also have the column's")
    if len(names) <= _MATRIX:
        for row, column in zip(*np.nonzero(~np.isnan(share)), strict=True):
            colour = "black" if share[row, column] > 0.55 * top else "white"
            text = f"{share[row, column]:.0f}"
            axes.text(column, row, text, ha="center", va="center", fontsize=8, color=colour)
    figure.colorbar(image, ax=axes, label="%", shrink=0.8, pad=0.02)


def _draw_ages(axes, table: pd.DataFrame) -> None:
    colours = {"F": _ORANGE, "M": _BLUE, "O": _GREEN, "": _GREY}
    names = {"F": "female", "M": "male", "O": "other", "": "sex unknown"}
    for sex, colour in colours.items():
        rows = table[table["sex"] == sex]
        ages = rows["age"].dropna()
        if len(ages):
            label = f"{names[sex]} ({counted(rows['patient_id'].nunique(), 'patient')})"
            axes.hist(ages, bins=range(0, 125, 5), histtype="step", linewidth=2.2, color=colour, label=label)
    unknown = table["age"].isna().sum()
    axes.set(title="Ages by sex", xlabel="age in years" + (f" ({unknown:,} unknown)" if unknown else ""))
    axes.set_ylabel("images per five years")
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.set(xlim=(0, 100 if not (table["age"] > 100).any() else 120), ylim=(0, axes.get_ylim()[1] * 1.12))
    axes.spines[["top", "right"]].set_visible(False)
    if axes.patches:
        axes.legend(frameon=False, loc="upper left")
    else:
        axes.text(0.5, 0.5, "no age is known", ha="center", transform=axes.transAxes)


def _draw_views(axes, table: pd.DataFrame) -> None:
    views = table["view"].replace("", "unknown")
    counts = pd.crosstab(views, table["split"].replace("", "no split"))
    counts = counts.loc[counts.sum(axis=1).nlargest(8).index]
    colours = {"train": _BLUE, "val": _GREEN, "test": _ORANGE, "no split": _GREY}
    stacked = np.zeros(len(counts))
    for split, colour in colours.items():
        if split in counts:
            bars = axes.barh(counts.index, counts[split], left=stacked, color=colour, label=split, height=0.6)
            stacked += counts[split].to_numpy()
    axes.bar_label(bars, labels=[f"{total:,.0f}" for total in stacked], padding=5)
    axes.invert_yaxis()
    axes.set_xlim(0, stacked.max() * 1.13)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set(title="Views and splits", xlabel="images")
    axes.legend(frameon=False, loc="lower right")
    axes.spines[["top", "right"]].set_visible(False)


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
    if len(counts) <= _MATRIX:
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
