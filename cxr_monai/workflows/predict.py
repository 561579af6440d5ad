"""Images in, probabilities out: into memory, or row by row into a file that an interrupted run continues."""

from collections.abc import Callable, Sequence
from contextlib import closing, nullcontext
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from cxr_monai.bundle.digest import file_digest
from cxr_monai.data.inputs import InputFilms, gather_films
from cxr_monai.data.manifest import Manifest
from cxr_monai.errors import Code, SettingError
from cxr_monai.evaluation.gate_evidence import gate_file, read_gate_evidence, with_gate_counts
from cxr_monai.evaluation.predictions import PredictionsFile, predictions_of, read_predictions
from cxr_monai.evaluation.streaming import PredictionRows, digest_of_list, part_of
from cxr_monai.gate.bundle_gate import GATE_COLUMNS
from cxr_monai.inference.model import Model, Predictions
from cxr_monai.objects.film_result import DEFAULT_KINDS, ResultKind, parse_result_kinds
from cxr_monai.outputs import check_output
from cxr_monai.sharing.trust.open_trusted import open_trusted

if TYPE_CHECKING:
    from cxr_monai.workflows.dicom_folder import DicomFolder

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
    dicom_out: str | Path | None = None,
    dicom_objects: str | Sequence[str] = DEFAULT_KINDS,
    rule: str | None = None,
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
        dicom_out: also write the answers about DICOM films as DICOM objects into this folder; needs ``out``, which
            tells how far an interrupted call came. ``objects.csv`` in it lists them, ``objects.csv.errors.csv`` the
            films without.
        dicom_objects: their kinds: ``sr``, ``sc``, ``gsps``, ``seg``.
        rule: of the operating points in them; the bundle's first where None.

    Returns:
        ``table``: ``image`` and one column a finding, each in [0, 1]; ``errors``: image, code and reason of each file
        that could not be read or was refused; ``about``: which bundle, calibrated or not; ``gate``: the gate's evidence
        of every film that could be read.

    Raises:
        CxrError: ``no-images``, ``bundle-invalid``, ``bundle-refused``, ``weights-missing``, ``output-exists`` ...

    >>> predict_images("OUT/bundle", "radiographs/").table  # doctest: +SKIP
    """
    films, kinds = films_named(images, split), parse_result_kinds(dicom_objects)
    if out is not None:  # whether an earlier file can be continued is checked later
        check_output(out, force or part_of(out).exists())
    if dicom_out is not None:
        if out is None:
            raise SettingError(Code.SETTING_INVALID, "dicom_out needs out, the predictions beside the objects.")
        from cxr_monai.workflows.dicom_folder import check_dicom_folder

        inputs = [] if isinstance(images, Manifest) else [images] if isinstance(images, str | Path) else images
        check_dicom_folder(dicom_out, kinds, len(films), inputs, force, part_of(out).exists())
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
    objects = None if dicom_out is None else dicom_folder_of(dicom_out, model, kinds, rule, films)
    rows = predict_into(out, model, films, batch_size, workers, force, objects=objects)
    table = read_predictions(out).table if rows.predicted else model.predict([]).table
    evidence = read_gate_evidence(gate_file(out)) if rows.counts.verdicts else None
    return Predictions(table, rows.errors, with_gate_counts(model.about, rows.counts), rows.notes, evidence)


def dicom_folder_of(
    folder: str | Path, model: Model, kinds: Sequence[ResultKind], rule: str | None, films: InputFilms
) -> "DicomFolder":
    """Return the folder into which :func:`predict_into` writes result objects; maps' parts are imported here.

    Args:
        folder: its path, which `cxr_monai.workflows.dicom_folder.check_dicom_folder` has looked at.
        model: the opened bundle.
        kinds: of objects.
        rule: of the operating points; the bundle's first where None.
        films: all of them.

    Raises:
        SettingError: ``setting-invalid`` for a rule that the bundle does not have.
    """
    from cxr_monai.workflows.dicom_folder import DicomFolder
    from cxr_monai.workflows.dicom_results import DicomResults

    return DicomFolder(folder, DicomResults(model, kinds, rule), films.names)


def predict_into(
    out: str | Path,
    model: Model,
    films: InputFilms,
    batch_size: int = 16,
    workers: int | None = None,
    force: bool = False,
    on_start: Callable[[PredictionRows], None] = lambda rows: None,
    objects: "DicomFolder | None" = None,
) -> PredictionRows:
    """Write predictions as they come (``cxr_monai.evaluation.streaming``); interrupted, the same call goes on.

    Args:
        out: the CSV.
        model: the opened bundle.
        films: their files, names, and what a manifest says of them.
        batch_size, workers: as of :func:`predict_images`.
        force: an earlier file may be written over.
        on_start: is given the rows before the first is computed; ``rows.done`` of them are there already.
        objects: also gets the answers as DICOM objects; those of a batch are on the disk before its rows are.

    Returns:
        what was written: how many rows, which files were left out, what the gate said.

    Raises:
        UsageError: ``output-exists``.
        TrainingError: ``output-locked`` while another process writes it.
        StorageError: ``disk-full`` or ``write-failed``.
    """
    check_output(out, force=True, room=len(films) * _bytes_a_film(model))
    with objects.held() if objects else nullcontext():
        rows = _open_rows(out, model, films, batch_size, force, objects)
        if objects is not None:
            objects.go_on(rows.attached, rows.done == len(films), force)
        on_start(rows)
        _add_batches(rows, model, films, batch_size, workers, objects)
        if objects is not None:
            objects.finish()
        rows.finish(model.about)
    return rows


def _open_rows(
    out: str | Path, model: Model, films: InputFilms, batch_size: int, force: bool, objects: "DicomFolder | None"
) -> PredictionRows:
    """Begin the predictions, or go on with those that the same settings began."""
    weights = model.settings.weights
    head = {
        **model.about,
        "weights": file_digest(Path(weights)) if weights else None,
        "batch_size": batch_size,
        "any_modality": model.settings.any_modality,
        "images": digest_of_list(films.names, films.files),
    }
    if objects is not None:
        head["dicom"] = objects.about
    columns: Sequence[str] = ()
    if model.gate.fitted is not None:  # its answers depend on what a manifest says, too
        columns, head["facts"] = GATE_COLUMNS, digest_of_list(films.names, list(map(str, films.facts)))
    return PredictionRows.open(out, model.labels, head, len(films), force, columns)


def _add_batches(
    rows: PredictionRows,
    model: Model,
    films: InputFilms,
    batch_size: int,
    workers: int | None,
    objects: "DicomFolder | None",
) -> None:
    """Predict the films that have no row yet."""
    earlier = model.gate.earlier_films()
    for part in rows.evidence():  # of an interrupted call
        table = read_gate_evidence(part, GATE_COLUMNS)
        for film in zip(table["image"], table["pixel_digest"], table["picture_hash"], strict=True):
            earlier.remember(*film)
    batches = model.answer_batches(films.items()[rows.done :], films.names[rows.done :], batch_size, workers, earlier)
    with closing(batches):
        for answered in batches:
            attached = None if objects is None else objects.add(answered).to_json()
            batch = model.predictions_of(answered)
            values = batch.table[list(model.labels)].to_numpy()
            rows.add(list(batch.table["image"]), values, batch.errors, batch.notes, batch.gate, attached)


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
