"""Images in, probabilities out: into memory, or row by row into a file that an interrupted run continues."""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

import pandas as pd

from cxr_monai.bundle.digest import file_digest
from cxr_monai.data.inputs import InputFilms, gather_films
from cxr_monai.data.manifest import Manifest
from cxr_monai.evaluation.gate_evidence import gate_file, read_gate_evidence, with_gate_counts
from cxr_monai.evaluation.predictions import PredictionsFile, predictions_of, read_predictions
from cxr_monai.evaluation.streaming import PredictionRows, digest_of_list, part_of
from cxr_monai.gate.bundle_gate import GATE_COLUMNS
from cxr_monai.inference.model import Model, Predictions
from cxr_monai.outputs import check_output
from cxr_monai.sharing.trust.open_trusted import open_trusted

Images = str | Path | Manifest | Sequence[str | Path]
"""A file, a folder, a manifest (its path, or the table), or several of these."""
Probabilities = str | Path | pd.DataFrame | Predictions | PredictionsFile
"""A predictions file, or what `predict_images` returned, or a table: ``image`` and one column a finding."""


def open_model(bundle: str | PathLike[str], *, trust_folder: bool = False, **settings: Any) -> Model:
    """Open a bundle for many calls of ``predict``: a service, a loop.

    Args:
        bundle: a folder such as ``OUT/bundle``, an opened bundle, or the name of an installed one; it is inspected, and
            an installed one is compared with what was signed.
        trust_folder: open the folder although an inspection refuses it.
        settings: of :class:`cxr_monai.inference.model.ModelSettings`, such as ``device="cuda:1"`` or ``raw=True``.

    Returns:
        the model. Pickled, it is its settings: where it arrives, the same folder is opened without another inspection.

    Raises:
        CxrError: ``bundle-invalid``, ``bundle-refused``, ``bundle-untrusted``, ``bundle-altered``, ``weights-missing``,
            ``runtime-missing`` ...

    >>> open_model("OUT/bundle").predict(["radiograph.png"]).table  # doctest: +SKIP
    """
    return Model.open(open_trusted(bundle, trust_folder), **settings)


def predict_images(
    bundle: str | PathLike[str],
    images: Images,
    out: str | Path | None = None,
    *,
    split: str | None = None,
    raw: bool = False,
    weights: str | Path | None = None,
    batch_size: int = 16,
    workers: int | None = None,
    amp: bool = True,
    runtime: str = "torch",
    any_modality: bool = False,
    trust_folder: bool = False,
    force: bool = False,
    gate: str = "refuse",
    mend: str | Sequence[str] = (),
    training_index: str | Path | None = None,
) -> Predictions:
    """Predict the probability of each of a bundle's findings for every image.

    Args:
        bundle: a folder such as ``OUT/bundle``, an opened bundle, or the name of an installed one.
        images: PNG, JPEG, DICOM or NIfTI files, a folder of them, or a manifest (its path, or the table).
        out: also write this CSV, as ``cxr-monai predict`` does; it goes on with what an interrupted call left.
        split: this part of a manifest alone: ``train``, ``val`` or ``test``.
        raw: the network's own values, without the bundle's calibration.
        weights: instead of the bundle's own.
        batch_size: images at a time.
        workers: files that are read at a time; decided by the machine where None.
        amp: compute in bfloat16 where that is faster.
        runtime: ``torch``, or ``openvino`` on a CPU.
        any_modality: read DICOM files whatever their headers say they show.
        trust_folder: run the folder although an inspection refuses it.
        force: write over an earlier ``out``.
        gate: ``refuse`` leaves out films that are not for this network, with their reason; ``review`` predicts them
            all the same; ``off`` judges none. A bundle of before has no gate, which ``about["gate"]`` tells.
        mend: ``rotation``, ``inversion``: what is undone where a film is refused for it; nothing else is.
        training_index: a local file of the films that the network was trained on (``cxr-monai gate index``).

    Returns:
        ``table``: ``image`` and one column a finding, each in [0, 1]; ``errors``: image, code and reason of each file
        that could not be read or was refused; ``about``: which bundle, calibrated or not; ``gate``: the gate's evidence
        of every film that could be read.

    Raises:
        CxrError: ``no-images``, ``bundle-invalid``, ``bundle-refused``, ``weights-missing``, ``output-exists`` ...

    >>> predict_images("OUT/bundle", "radiographs/").table  # doctest: +SKIP
    """
    films = films_named(images, split)
    if out is not None:  # whether an earlier file can be continued is checked later
        check_output(out, force or part_of(out).exists())
    model = open_model(
        bundle,
        trust_folder=trust_folder,
        weights=weights,
        amp=amp,
        runtime=runtime,
        raw=raw,
        any_modality=any_modality,
        gate=gate,
        mend=mend,
        training_index=training_index,
    )
    if out is None:
        return model.predict(films.items(), films.names, batch_size, workers)
    rows = predict_into(out, model, films, batch_size, workers, force)
    table = read_predictions(out).table if rows.predicted else model.predict([]).table
    evidence = read_gate_evidence(gate_file(out)) if rows.counts.verdicts else None
    return Predictions(table, rows.errors, with_gate_counts(model.about, rows.counts), rows.notes, evidence)


def predict_into(
    out: str | Path,
    model: Model,
    films: InputFilms,
    batch_size: int = 16,
    workers: int | None = None,
    force: bool = False,
    on_start: Callable[[PredictionRows], None] = lambda rows: None,
) -> PredictionRows:
    """Write predictions as they come (``cxr_monai.evaluation.streaming``); interrupted, the same call goes on.

    Args:
        out: the CSV.
        model: the opened bundle.
        films: their files, names, and what a manifest says of them.
        batch_size, workers: as of :func:`predict_images`.
        force: an earlier file may be written over.
        on_start: is given the rows before the first is computed; ``rows.done`` of them are there already.

    Returns:
        what was written: how many rows, which files were left out, what the gate said.

    Raises:
        UsageError: ``output-exists``.
        TrainingError: ``output-locked`` while another process writes it.
        StorageError: ``disk-full`` or ``write-failed``.
    """
    findings, weights = model.labels, model.settings.weights
    check_output(out, force=True, room=len(films) * _bytes_a_film(model))
    head = {
        **model.about,
        "weights": file_digest(Path(weights)) if weights else None,
        "batch_size": batch_size,
        "any_modality": model.settings.any_modality,
        "images": digest_of_list(films.names, films.files),
    }
    columns: Sequence[str] = ()
    if model.gate.fitted is not None:  # its answers depend on what a manifest says, too
        columns, head["facts"] = GATE_COLUMNS, digest_of_list(films.names, list(map(str, films.facts)))
    rows = PredictionRows.open(out, findings, head, len(films), force, columns)
    on_start(rows)
    earlier = model.gate.earlier_films()
    for part in rows.evidence():  # of an interrupted call
        table = read_gate_evidence(part, columns)
        for film in zip(table["image"], table["pixel_digest"], table["picture_hash"], strict=True):
            earlier.remember(*film)
    batches = model.predict_batches(films.items()[rows.done :], films.names[rows.done :], batch_size, workers, earlier)
    with closing(batches):
        for batch in batches:
            values = batch.table[list(findings)].to_numpy()
            rows.add(list(batch.table["image"]), values, batch.errors, batch.notes, batch.gate)
    rows.finish(model.about)
    return rows


def _bytes_a_film(model: Model) -> int:
    """Return about how many bytes a film's row has, twice where the gate's evidence is copied at the end."""
    return 12 * len(model.labels) + 16 + (0 if model.gate.fitted is None else 2 * 8 * len(GATE_COLUMNS))


def films_named(images: Images, split: str | None = None) -> InputFilms:
    """Return the films of images (paths, a folder, a manifest), with their names in results.

    Args:
        images: a file, a folder, a manifest, or several of these.
        split: this part of each manifest alone.

    Raises:
        ManifestError: ``no-images`` for a folder without images, or whatever is wrong with a manifest.
        SplitError: ``split-invalid`` if a manifest has no such part.
    """
    if isinstance(images, Manifest):
        return InputFilms.of(images if split is None else images.part(split))
    return gather_films([images] if isinstance(images, str | Path) else images, split)


def files_named(images: Images, split: str | None = None) -> tuple[list[Path], list[str]]:
    """Return files and names of :func:`films_named`."""
    films = films_named(images, split)
    return films.files, films.names


def predictions_file(predictions: Probabilities) -> PredictionsFile:
    """Return predictions, a file's or in memory, as the evaluation takes them.

    Raises:
        EvaluationError: ``predictions-invalid``: everything that is wrong, each with its line.
    """
    if isinstance(predictions, PredictionsFile):
        return predictions
    if isinstance(predictions, Predictions):
        return replace(predictions_of(predictions.table, predictions.about), gate=predictions.gate)
    return predictions_of(predictions) if isinstance(predictions, pd.DataFrame) else read_predictions(predictions)
