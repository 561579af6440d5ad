"""Where the processor time of ``cxr-monai predict --dicom-out`` goes, film by film.

    python scripts/measure_dicom_results.py OUT/bundle phantoms/dicom

One thread and no reading workers, so that a part's time is its own. Results go into a temporary folder. The last line
is what a second stage behind a finished ``predict`` would add: every film read, and passed through the network, again.
"""

import argparse
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from cxr_monai.data.inputs import InputFilms, gather_films
from cxr_monai.inference.model import Model
from cxr_monai.inference.reading import FilmReader
from cxr_monai.objects.film_result import ResultKind, parse_result_kinds
from cxr_monai.workflows import dicom_folder, dicom_results
from cxr_monai.workflows.predict import dicom_folder_of, predict_into

SECONDS: defaultdict[str, float] = defaultdict(float)
"""Of processor time, by part."""


def timed(what: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function whose processor time is added to a part's."""

    def measured(*arguments: Any, **named: Any) -> Any:
        start = time.process_time()
        try:
            return function(*arguments, **named)
        finally:
            SECONDS[what] += time.process_time() - start

    return measured


def watch() -> None:
    """Replace the functions of each part by measured ones."""
    read, build = FilmReader.read, dicom_results.result_objects

    def batches(*arguments: Any, **named: Any) -> Any:
        films = read(*arguments, **named)
        following = timed("reading, for the network and the gate", lambda: next(films, None))
        while (batch := following()) is not None:
            yield batch

    def objects(result: Any, kinds: Any) -> Any:
        return [each for kind in kinds for each in timed(f"object {ResultKind(kind).value}", build)(result, [kind])]

    FilmReader.read = batches  # type: ignore[method-assign]
    dicom_results.result_objects = objects  # type: ignore[assignment]
    for name, what in (("logits_and_features", "network"), ("probabilities_and_maps", "maps")):
        setattr(Model, name, timed(what, getattr(Model, name)))
    dicom_results.film_picture = timed("reading, for the picture", dicom_results.film_picture)
    dicom_results.SourceFilm.read = timed("header and digest", dicom_results.SourceFilm.read)  # type: ignore[method-assign]
    dicom_folder.write_durably = timed("writing objects", dicom_folder.write_durably)


def run(bundle: str, films: InputFilms, folder: Path, kinds: tuple[ResultKind, ...]) -> float:
    """Predict films into a folder; return the processor time, in seconds."""
    model = Model.open(bundle, gate="refuse")
    objects = dicom_folder_of(folder / "results", model, kinds, None, films) if kinds else None
    start = time.process_time()
    predict_into(folder / "p.csv", model, films, workers=0, objects=objects)
    return time.process_time() - start


def main(words: list[str]) -> int:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("inputs", nargs="+")
    parser.add_argument("--kinds", default="sr,sc")
    arguments = parser.parse_args(words)
    torch.set_num_threads(1)
    films, kinds = gather_films(arguments.inputs), parse_result_kinds(arguments.kinds)
    with (
        tempfile.TemporaryDirectory() as first,
        tempfile.TemporaryDirectory() as second,
        tempfile.TemporaryDirectory() as third,
    ):
        run(arguments.bundle, films.named(films.names[:2]), Path(first), kinds)  # imports, and what is made once
        alone = run(arguments.bundle, films, Path(second), ())
        watch()
        whole = run(arguments.bundle, films, Path(third), kinds)
    for what, seconds in sorted(SECONDS.items(), key=lambda part: -part[1]):
        print(f"{what:40} {1000 * seconds / len(films):8.1f} ms a film")
    print(f"{'the rest':40} {1000 * (whole - sum(SECONDS.values())) / len(films):8.1f} ms a film")
    print(f"{'all of predict --dicom-out':40} {1000 * whole / len(films):8.1f} ms a film, {len(films)} films")
    print(f"{'predict alone':40} {1000 * alone / len(films):8.1f} ms a film")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
