"""What the commands on maps have in common: whose patient each image is, the files of a result, its MLflow run.

patients, intervals_over, notes = image_patients(images, manifest)
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from cxr_monai.data.joining import join_on_image
from cxr_monai.data.manifest import Manifest
from cxr_monai.durable import write_durably
from cxr_monai.training.tracking import MLflowTracker


def manifest_rows(images: Sequence[str], manifest: Manifest) -> tuple[pd.DataFrame, list[str]]:
    """Return the manifest's rows, indexed by the images' own names and in their order, and what was left out.

    Raises:
        ManifestError: ``manifest-invalid`` if it has none of them; ``images-ambiguous``.
    """
    named = pd.DataFrame({"image": list(dict.fromkeys(images))})
    by_side = join_on_image(
        manifest.table, named.assign(named=named["image"]), by_name=manifest.by_name, root=manifest.root
    )
    rows = by_side.table.set_index("named").rename_axis("image").drop(columns="image")
    there = set(rows.index)
    return rows.loc[[name for name in named["image"] if name in there]], by_side.notes("images", "the manifest")


def image_patients(images: Sequence[str], manifest: Manifest | None) -> tuple[pd.Series, str, list[str]]:
    """Return the patient of each image, indexed by image, what the intervals therefore hold for, and what is left out.

    Without a manifest each image counts as a patient of its own. Images that a manifest lacks are left out.

    Raises:
        ManifestError: as `manifest_rows`.
    """
    if manifest is None:
        named = list(dict.fromkeys(images))
        told = "images: no manifest was given, so several of one patient are taken for independent"
        return pd.Series(named, index=pd.Index(named, name="image"), name="patient_id"), told, []
    rows, notes = manifest_rows(images, manifest)
    return rows["patient_id"], "patients", notes


def write_map_tables(tables: Mapping[str, pd.DataFrame], folder: str | Path) -> list[Path]:
    """Write ``<name>.csv`` of each, four decimals, empty where undefined; returns the files."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, table in tables.items():
        written.append(folder / f"{name}.csv")
        write_durably(written[-1], table.to_csv(index=False, float_format="%.4f").encode())
    return written


def write_book(path: Path, level: float, book: Mapping[str, Any], notes: Sequence[str]) -> None:
    """Write what figures were made of as JSON; in it stands, when all files are there, the mark of completion."""
    content = {"level": level, "book": dict(book), "notes": list(notes)}
    write_durably(path, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())


def track_maps(
    experiment: str,
    out: str | Path,
    kind: str,
    settings: Mapping[str, Any],
    figures: Mapping[str, float],
    written: Sequence[Path],
) -> str:
    """Log tables and pictures as an MLflow run and return what shows it.

    Files whose names end in ``cases.csv`` name images, and are not logged.

    Args:
        experiment: MLflow's.
        out: the folder of the results.
        kind: ``faithfulness`` or ``agreement``.
        settings: what makes the figures.
        figures: by name, such as ``rank_correlation_Mass``.
        written: files.
    """
    settings = {key: str(value) for key, value in settings.items() if value is not None}
    tracker = MLflowTracker(experiment, str(out), kind=kind, configuration=settings)
    tracker.start()
    tracker.metrics(figures)
    for path in written:
        if not path.name.endswith("cases.csv"):
            tracker.file(path, "pictures" if path.suffix == ".png" else None)
    tracker.finish()
    return tracker.where()


def figures_of(table: pd.DataFrame, by: str, measures: Sequence[str]) -> dict[str, float]:
    """Return ``rank_correlation_Mass``, ``rank_correlation_Mass_low``, ... of a table of `mean_table`."""
    return {
        f"{name}_{row[by]}{end}": float(row[f"{name}{end}"])
        for row in table.to_dict(orient="records")
        for name in measures
        for end in ("", "_low", "_high")
    }
