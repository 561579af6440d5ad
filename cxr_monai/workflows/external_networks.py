"""The networks and manifests of an external validation: opened, related to one another, and predicted once.

network = Network.open("A", "OUT/bundle", trust_folder=False)
predict_cell(network, manifest, "OUT/predictions/A@M.csv", 16, None, force=False)    # goes on where it was interrupted
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from cxr_monai.bundle.bundle_folder import Bundle
from cxr_monai.bundle.origin import TRAINED_ON
from cxr_monai.data.files import errors_file
from cxr_monai.data.manifest import Manifest, file_names, read_manifest
from cxr_monai.data.sources._headers import read_image_header
from cxr_monai.errors import Code, EvaluationError, ManifestError, UsageError
from cxr_monai.evaluation.film_relation import sources_of_films
from cxr_monai.evaluation.fitted import Fitted, read_calibration
from cxr_monai.evaluation.patients import patients_trained_on
from cxr_monai.evaluation.predictions import PredictionsFile, read_predictions
from cxr_monai.evaluation.sample import Sample
from cxr_monai.evaluation.streaming import part_of
from cxr_monai.inference.model import Model
from cxr_monai.origins import PHANTOM_SOURCE, is_drawn, sources_trained_on
from cxr_monai.progress import progress_bar
from cxr_monai.report.pages.model_card import is_of
from cxr_monai.schemes import FINDINGS, LabelScheme, label_scheme
from cxr_monai.sharing.trust.open_trusted import open_trusted
from cxr_monai.workflows.predict import films_named, predict_into


@dataclass(frozen=True, eq=False)
class Network:
    """A network to validate: a bundle, or the name of a system of which there are predictions alone.

    Attributes:
        name: as tables call it.
        bundle: None for a system without one.
    """

    name: str
    bundle: Bundle | None = None

    @classmethod
    def open(cls, name: str, bundle: str | Path | None, trust_folder: bool = False) -> "Network":
        """Open a bundle that may be run, or take a system by its name.

        Args:
            name: for tables.
            bundle: a folder, or an installed one's name; None: there are predictions alone.
            trust_folder: see ``cxr_monai.sharing.trust.open_trusted``.

        Raises:
            CxrError: ``bundle-invalid``, ``bundle-refused``, ``bundle-untrusted``, ``bundle-altered`` ...
        """
        return cls(name, None if bundle is None else Bundle.open(open_trusted(bundle, trust_folder)))

    @cached_property
    def learned(self) -> tuple[str, ...]:
        """The sources that its bundle and its parents record as learned from; empty where nothing records them."""
        record = None if self.bundle is None else self.bundle.metadata.get(TRAINED_ON)
        return (*sources_trained_on(record), *((PHANTOM_SOURCE,) if record and is_drawn(record) else ()))

    @cached_property
    def fitted(self) -> Fitted | None:
        """Its calibration and operating points; None where it has none."""
        return None if self.bundle is None else read_calibration(self.bundle.calibration, self.bundle.labels)

    @cached_property
    def model(self) -> Model:
        """The opened model; it predicts what its gate would refuse, too, so that both can be judged."""
        if self.bundle is None:
            raise EvaluationError(Code.PREDICTIONS_INVALID, f"there is no bundle of {self.name} that could predict.")
        return Model.open(self.bundle.root, gate="review")

    def seen(self, patients: Collection[str]) -> set[str] | None:
        """Return those of some patients that it learned from, by the list beside its bundle; None without a list."""
        return None if self.bundle is None else patients_trained_on(self.bundle.root, patients)

    def learned_with(self, home: Manifest | None) -> tuple[str, ...]:
        """Return the sources that it learned from, its home's included where a person named it.

        Args:
            home: None where nobody did.
        """
        named = () if home is None else tuple(source for source in sources_of_films(home) if source)
        return tuple(dict.fromkeys([*self.learned, *named]))

    def scheme(self, file: PredictionsFile) -> LabelScheme:
        """Return what its labels are made of: as its bundle says, else the JSON beside its predictions."""
        if self.bundle is not None:
            return self.bundle.scheme
        return label_scheme(file.about["label_scheme"]) if "label_scheme" in file.about else FINDINGS

    def row(self, learned: Collection[str]) -> dict[str, Any]:
        """Return its line in the table of networks."""
        return {
            "network": self.name,
            "title": "" if self.bundle is None else self.bundle.title,
            "digest": "" if self.bundle is None else self.bundle.digest,
            "learned_from": ", ".join(learned),
            "calibrated": bool(self.fitted and self.fitted.calibrates),
            "findings": "" if self.bundle is None else ", ".join(self.bundle.labels),
        }


@dataclass(frozen=True, eq=False)
class Site:
    """The films of a place.

    Attributes:
        manifest: those to judge on.
        part: which they are: ``all``, or a part of the split.
        whole: all films of the manifest.
    """

    manifest: Manifest
    part: str
    whole: Manifest


def read_site(path: str | Path, split: str, match_names: bool) -> Site:
    """Return the films of a manifest.

    Args:
        path: of the manifest; the image files are looked for when they are predicted.
        split: ``auto``: its test part where it has one, else all; ``all``; or a part.
        match_names: file names are identities, whatever the folders.

    Raises:
        ManifestError: whatever is wrong with it; SplitError: ``split-invalid`` if it has no such part.
    """
    manifest = read_manifest(path, check_files=False)
    manifest = replace(manifest, key="name") if match_names else manifest
    if split == "auto":
        split = "test" if (manifest.table["split"] == "test").any() else "all"
    return Site(manifest if split == "all" else manifest.part(split), split, manifest)


def labels_of_home(home: Site, there: Manifest, sample: Sample) -> Sample | None:
    """Return the films of a sample with the labels that the home's manifest has for them; None where it has none.

    Two tables of labels of the same films (NIH's and RSNA's, say) so show what the definition of the labels makes.

    Args:
        home: with all films of its manifest, those of the training included: their labels alone are used.
        there: the manifest that the sample was joined with.
        sample: the films.
    """
    if there.by_name != home.whole.by_name:
        return None
    labels = home.whole.table.set_axis(_film_names(home.whole.table["image"], there.by_name), axis=0)
    films = _film_names(sample.table["image"], there.by_name)
    findings = [finding for finding in sample.findings if finding in labels]
    if not findings or not films.isin(labels.index).any():
        return None
    values = labels[findings].reindex(films).to_numpy(float)
    return Sample.of(sample.table, findings, sample.of_findings(findings).scores, values, sample.ranking_only)


def _film_names(images: pd.Series, by_name: bool) -> pd.Index:
    return pd.Index(file_names(images) if by_name else images)


def site_row(name: str, manifest: Manifest, part: str) -> dict[str, Any]:
    """Return a manifest's line in the table of sites: who is on its films, and how its labels came about."""
    table = manifest.table
    views = table["view"].replace("", "unknown").value_counts()
    known_sex = table["sex"].isin(["F", "M"])
    record = manifest.labels_record
    return {
        "manifest": name,
        "part": part,
        "images": len(table),
        "patients": table["patient_id"].nunique(),
        "patients_known": manifest.patients == "known",
        "sources": ", ".join(source or "unknown" for source in sources_of_films(manifest)),
        "label_version": manifest.label_version,
        "views": ", ".join(f"{view} {count:,}" for view, count in views.items()),
        "age_median": float(table["age"].median()),
        "women": float((table["sex"][known_sex] == "F").mean()) if known_sex.any() else float("nan"),
        "settings": "" if record is None else "; ".join(f"{key}: {value}" for key, value in record.settings.items()),
    }


def unknown_label_rows(name: str, manifest: Manifest) -> list[dict[str, Any]]:
    """Return how many labels of each finding are unknown and why, as the manifest's adapter recorded it."""
    record = manifest.labels_record
    counts = {} if record is None else record.unknown
    return [
        {"manifest": name, "finding": finding, "reason": reason, "images": count}
        for finding, reasons in counts.items()
        for reason, count in reasons.items()
    ]


def film_sizes(name: str, manifest: Manifest) -> pd.Series:
    """Return the size of each stored film, such as ``1024x1024``, by image, as the files' headers tell it.

    Files that are not there, or whose header tells no size, are left out: predictions may be all that there is.

    Args:
        name: the manifest's, for the bar.
        manifest: the films.
    """
    sizes = {}
    films = zip(manifest.table["image"], manifest.paths(), strict=True)
    for image, path in progress_bar(films, total=len(manifest), desc=f"sizes of {name}", unit="films"):
        try:
            width, height, *_ = read_image_header(path)
        except ManifestError:
            continue
        sizes[image] = f"{width}x{height}"
    return pd.Series(sizes, dtype="str")


def predict_cell(
    network: Network, manifest: Manifest, out: Path, batch_size: int, workers: int | None, force: bool
) -> PredictionsFile:
    """Return a network's predictions of a manifest's films, kept in a file: what is there is not predicted again.

    Args:
        network: with a bundle.
        manifest: the films.
        out: the predictions file; an interrupted one is continued.
        batch_size, workers: as of ``cxr_monai.workflows.predict.predict_into``.
        force: predictions of another bundle, or of other films, may be written over.

    Raises:
        UsageError: ``output-exists`` if other predictions are there.
        EvaluationError: ``predictions-invalid`` if no film could be read.
    """
    films = films_named(manifest)
    if out.exists() and not part_of(out).exists():
        kept = read_predictions(out)
        if _is_complete(kept, network, films.names):
            return kept
        if not force:
            raise UsageError(
                Code.OUTPUT_EXISTS,
                f"these are predictions of another bundle, or of other films, than {network.name} is to be judged on.",
                fix="Choose another --out, or write over it with --force.",
                where=out,
            )
    out.parent.mkdir(parents=True, exist_ok=True)
    rows = predict_into(out, network.model, films, batch_size, workers, force)
    if not rows.predicted:
        name, code, reason = rows.errors[0]
        raise EvaluationError(
            Code.PREDICTIONS_INVALID,
            f"none of the films could be read; the first, {name}, because {reason} [{code}]",
            where=out,
        )
    return read_predictions(out)


def _is_complete(kept: PredictionsFile, network: Network, names: Collection[str]) -> bool:
    bundle = network.bundle
    if bundle is None or kept.about.get("bundle") != bundle.digest or kept.path is None:
        return False
    errors = errors_file(kept.path)
    unread = list(pd.read_csv(errors, dtype="str")["image"]) if errors.is_file() else []
    return {*kept.table["image"], *unread} == set(names)


def check_given(network: Network, file: PredictionsFile) -> None:
    """Refuse predictions that say that they are of another bundle than the network's.

    Raises:
        EvaluationError: ``evaluation-invalid``.
    """
    digest = file.about.get("bundle")
    if network.bundle is not None and digest is not None and not is_of(network.bundle, digest):
        raise EvaluationError(
            Code.EVALUATION_INVALID,
            f"these are predictions of {file.about.get('bundle_name', 'another bundle')} ({str(digest)[:12]}), not of "
            f"{network.name} ({network.bundle.digest[:12]}).",
            fix="Name the bundle that predicted, or predict with this one.",
            where=file.path,
        )
