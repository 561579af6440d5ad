"""All evidence of some films: what a bundle's gate says of each, as data, and as pictures and a table in files.

check = check_films("OUT/bundle", ["a.png", "b.dcm"])
check.films[0].answer.sentence                          # "The film looks turned by 180 degrees."
check.table                                             # the columns of predictions.csv.gate.csv
"""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path

import pandas as pd

from cxr_monai.data.inputs import InputFilms
from cxr_monai.data.radiograph import read_radiograph
from cxr_monai.durable import write_durably
from cxr_monai.errors import Code, GateError, UsageError
from cxr_monai.gate.answer import GateMode, GateVerdict
from cxr_monai.gate.bundle_gate import GATE_COLUMNS
from cxr_monai.gate.film_evidence import FilmEvidence, film_evidence
from cxr_monai.inference.model import Model
from cxr_monai.outputs import check_output, result_folder
from cxr_monai.report.evidence_picture import evidence_picture
from cxr_monai.workflows.predict import Images, films_named, open_model

CHECKED = "gate.csv"
"""The table in the folder that :func:`check_films` writes."""


@dataclass(frozen=True, eq=False)
class GateCheck:
    """What a gate says of films.

    Attributes:
        films: all evidence of each film that could be read.
        table: one row each, of `cxr_monai.gate.bundle_gate.GATE_COLUMNS`.
        errors: name, stable code and reason of the files that could not be read.
    """

    films: list[FilmEvidence]
    table: pd.DataFrame
    errors: list[tuple[str, str, str]] = field(default_factory=list)

    def count(self, verdict: GateVerdict) -> int:
        """Return how many films got this verdict."""
        return sum(film.answer.verdict == verdict for film in self.films)


def check_films(
    bundle: str | PathLike[str],
    images: Images,
    out: str | Path | None = None,
    *,
    split: str | None = None,
    any_modality: bool = False,
    batch_size: int = 16,
    workers: int | None = None,
    trust_folder: bool = False,
    force: bool = False,
) -> GateCheck:
    """Return all evidence of films by a bundle's gate, and write it as pictures.

    Args:
        bundle: a folder such as ``OUT/bundle``, an opened bundle, or the name of an installed one.
        images: PNG, JPEG, DICOM or NIfTI files, a folder of them, or a manifest (its path, or the table).
        out: a file ending in ``.png``, for one film; or a folder, which gets a picture of each film and ``gate.csv``.
        split: this part of a manifest alone.
        any_modality: read DICOM files whatever their headers say they show.
        batch_size: films at a time.
        workers: files that are read at a time; decided by the machine where None.
        trust_folder: run the folder although an inspection refuses it.
        force: an earlier result may be written over.

    Raises:
        GateError: ``gate-missing`` for a bundle without a gate, ``gate-invalid`` for a damaged one.
        UsageError: ``usage`` for one picture of several films; ``output-exists``.
        CxrError: as of `cxr_monai.predict_images`.
    """
    films = films_named(images, split)
    with _place(out, len(films), force) as draw:
        model = open_model(
            bundle, trust_folder=trust_folder, any_modality=any_modality, gate=GateMode.REFUSE,
            batch_size=batch_size, num_workers=workers,
        )  # fmt: skip
        if model.gate.fitted is None:
            raise GateError(
                Code.GATE_MISSING,
                f"{model.gate.missing}.",
                where=model.settings.bundle,
            )
        check = _check(model, films, draw)
        draw.table(check.table)
    return check


def _check(model: Model, films: InputFilms, draw: "_Drawing") -> GateCheck:
    by_name = dict(zip(films.names, films.files, strict=True))
    checked: list[FilmEvidence] = []
    tables: list[pd.DataFrame] = []
    errors: list[tuple[str, str, str]] = []
    earlier = model.gate.earlier_films()
    with closing(model.read(films.items(), films.names, "gate")) as batches:
        for batch in batches:
            errors += batch.errors
            answers = model.judge(batch, earlier=earlier) if batch.readable else None
            if answers is None:
                continue
            evidence = film_evidence(model.gate, answers, batch.observed["observation"][batch.readable].numpy())
            for number, film in enumerate(evidence, len(checked) + 1):
                draw.picture(number, film, by_name[film.name], model.settings.any_modality)
            checked += evidence
            tables.append(answers.table)
    table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=list(GATE_COLUMNS))
    return GateCheck(checked, table, errors)


@dataclass(frozen=True)
class _Drawing:
    """Where pictures go, by number and name of the film, and the table; nowhere where None."""

    path: Callable[[int, str], Path] | None = None
    table_path: Path | None = None

    def picture(self, number: int, film: FilmEvidence, file: Path, any_modality: bool) -> None:
        if self.path is not None:
            plane = read_radiograph(file, any_modality=any_modality).pixels[0]
            write_durably(self.path(number, film.name), evidence_picture(film, plane))

    def table(self, table: pd.DataFrame) -> None:
        if self.table_path is not None:
            write_durably(self.table_path, table.to_csv(index=False, lineterminator="\n").encode())


@contextmanager
def _place(out: str | Path | None, films: int, force: bool) -> Iterator[_Drawing]:
    """Yield what draws; a folder is there with all of its files, or not at all."""
    if out is None:
        yield _Drawing()
    elif Path(out).suffix.lower() == ".png":
        if films != 1:
            raise UsageError(Code.USAGE, f"--out {out}: a picture is of one film, and {films:,} were given.")
        path = check_output(out, force)
        yield _Drawing(lambda number, name: path)
    else:
        with result_folder(out, CHECKED, force) as folder:
            yield _Drawing(lambda number, name: folder / f"{number:05d}_{Path(name).stem}.png", folder / CHECKED)
