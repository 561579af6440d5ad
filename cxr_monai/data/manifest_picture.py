"""One picture of a manifest: findings, co-occurrence, ages by sex, and views by split.

picture(manifest)     # a PNG
"""

import io

import numpy as np
import pandas as pd

from cxr_monai.data.describe import MATRIX_LIMIT, co_occurrence, findings_table
from cxr_monai.data.manifest import Manifest
from cxr_monai.data.overlaps import patient_names
from cxr_monai.plurals import counted


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
    if len(names) <= MATRIX_LIMIT:
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
