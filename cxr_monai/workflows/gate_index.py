"""Which films a network was trained on, as digests in a local file, so that a prediction can tell them.

index_films("OUT/bundle", "manifest.csv", "training.index.csv")

The digests are of pixels as the bundle's preprocessing makes them; the file is for ``--training-index``, readable by
its owner alone, and never part of a bundle: it tells who was trained on.
"""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from os import PathLike
from pathlib import Path

from cxr_monai.data.manifest import Manifest, read_manifest
from cxr_monai.errors import Code, SplitError, UsageError
from cxr_monai.gate.answer import GateMode
from cxr_monai.gate.film_observer import FilmObserver
from cxr_monai.gate.training_index import preprocessing_digest, write_training_index
from cxr_monai.inference.reading import FilmReader
from cxr_monai.outputs import check_output
from cxr_monai.workflows.predict import open_model

LEARNED_FROM = ("train", "val")
"""The parts of a split that a network learned from, or was chosen by."""


def index_films(
    bundle: str | PathLike[str],
    manifest: str | Path | Manifest,
    out: str | Path,
    *,
    split: Sequence[str] = LEARNED_FROM,
    any_modality: bool = False,
    workers: int | None = None,
    trust_folder: bool = False,
    force: bool = False,
) -> tuple[int, list[tuple[str, str, str]]]:
    """Write the index of the films that a network was trained on.

    Args:
        bundle: a folder such as ``OUT/bundle``, an opened bundle, or the name of an installed one.
        manifest: that the network was trained by; of one without a split all films are taken.
        out: the file, outside of the bundle's folder.
        split: the parts that are taken.
        any_modality: read DICOM files whatever their headers say they show.
        workers: files that are read at a time; decided by the machine where None.
        trust_folder: open the folder although an inspection refuses it.
        force: an earlier file may be written over.

    Returns:
        how many films it has; name, stable code and reason of those that could not be read.

    Raises:
        UsageError: ``output-exists``; ``usage`` for a file within the bundle.
        SplitError: ``split-invalid`` where the manifest has no film of these parts.
        GateError: ``gate-invalid`` for a preprocessing that nothing identifies.
        CxrError: as of `cxr_monai.open_model`; ``no-images`` where none could be read.
    """
    check_output(out, force)
    model = open_model(
        bundle, trust_folder=trust_folder, any_modality=any_modality, gate=GateMode.OFF, num_workers=workers
    )
    if Path(out).resolve().is_relative_to(Path(model.settings.bundle).resolve()):
        raise UsageError(Code.USAGE, f"--out {out}: an index stays in the house, and a bundle does not.")
    table = manifest if isinstance(manifest, Manifest) else read_manifest(manifest)
    parts = table.table["split"].fillna("")
    rows = table.table[parts.isin(split)] if parts.any() else table.table
    if rows.empty:
        raise SplitError(Code.SPLIT_INVALID, f"no film of this manifest is in {' or '.join(split)}.")
    films = replace(table, table=rows.reset_index(drop=True))
    digest = preprocessing_digest(model.preprocessing)
    reader = FilmReader(model.preprocessing, model.shape, model.settings.batch_size, workers, FilmObserver())
    entries: list[tuple[str, str, str]] = []
    errors: list[tuple[str, str, str]] = []
    with closing(reader.read(films.paths(), list(films.table["image"]), "index")) as batches:
        for batch in batches:
            errors += batch.errors
            digests, hashes = batch.observed["pixel_digest"], batch.observed["picture_hash"]
            entries += [(batch.names[row], digests[row], hashes[row]) for row in batch.readable]
    if entries:
        names, digests, hashes = zip(*entries, strict=True)
        write_training_index(out, names, digests, hashes, digest)
    return len(entries), errors
