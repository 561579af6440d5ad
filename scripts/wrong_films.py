"""A folder of films in which wrong ones of many kinds are mixed, to try a gate on: docs/gate.md.

    cxr-monai phantom PHANTOMS --count 60 --size 320 --seed 77
    python scripts/wrong_films.py PHANTOMS/images --out mixed               # or a manifest of your own films
    cxr-monai predict OUT/bundle mixed/films --out mixed/predictions.csv
    cxr-monai gate sheet mixed/predictions.csv mixed/films --out mixed/refused.png
    python scripts/wrong_films.py --judge mixed                              # which were refused, and for what reason

OUT/films has the films, each named by its place and its kind (``007_rotated-90.png``); OUT/wrong.csv says what is
expected of each: image, kind, expected (the code; empty for good films), source. The wrong ones are altered copies of
other films than the good ones, so that none is a copy of another. Blur and exposure are of other strengths than those
that gates learn from. Laterals and children are taken from the manifest where it has them, and drawn elsewhere
(``cxr-monai phantom``); they are DICOM files whose headers say so. Photographs and the CT slice are those that
scikit-learn and pydicom ship. The same films, options and seed give the same bytes.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import pandas as pd
from PIL import Image
from pydicom import dcmread
from pydicom.data import get_testdata_file
from scipy.ndimage import gaussian_filter
from sklearn.datasets import load_sample_images

from cxr_monai.data.files import errors_file
from cxr_monai.data.inputs import gather_files
from cxr_monai.data.manifest import read_manifest
from cxr_monai.data.phantom import Study, draw_phantom
from cxr_monai.data.phantom.dicom_film import write_dicom
from cxr_monai.data.phantom.write import FILM_MM
from cxr_monai.data.radiograph import read_radiograph
from cxr_monai.data.views import FRONTAL, LATERAL, known_view
from cxr_monai.durable import write_durably
from cxr_monai.errors import Code, CxrError, SettingError
from cxr_monai.evaluation.gate_evidence import gate_file, read_gate_evidence
from cxr_monai.gate.alterations import ALTERATIONS
from cxr_monai.outputs import result_folder
from cxr_monai.plurals import counted

FILMS, TABLE = "films", "wrong.csv"
CHILD_AGE, SIZE = 13, 512
GOOD = "good"
_BY_NAME = {alteration.name: alteration.of for alteration in ALTERATIONS}


class Kind(NamedTuple):
    """A kind of wrong film: the code that is expected of it, and how it is made of a good one, if it is."""

    name: str
    code: Code
    of: Callable[[np.ndarray], np.ndarray] | None = None


KINDS = (
    Kind("lateral", Code.GATE_LATERAL),
    Kind("child", Code.GATE_CHILD),
    Kind("rotated-90", Code.GATE_ROTATED, _BY_NAME["turned by 90 degrees"]),
    Kind("rotated-180", Code.GATE_ROTATED, _BY_NAME["turned by 180 degrees"]),
    Kind("mirrored", Code.GATE_MIRRORED, _BY_NAME["mirrored"]),
    Kind("inverted", Code.GATE_INVERTED, _BY_NAME["inverted"]),
    Kind("upper-half", Code.GATE_CROPPED, _BY_NAME["the upper half alone"]),
    Kind("blurred", Code.GATE_BLURRED, lambda plane: gaussian_filter(plane, 0.018 * min(plane.shape))),
    Kind("over-exposed", Code.GATE_CLIPPED, lambda plane: np.clip(2 * plane + 0.05, 0, 1)),
    Kind("photograph", Code.GATE_NOT_A_RADIOGRAPH),
    Kind("ct-slice", Code.GATE_NOT_A_RADIOGRAPH),
    Kind("black-frame", Code.RADIOGRAPH_CONSTANT),
    Kind("nearly-constant", Code.GATE_NOT_A_RADIOGRAPH),
    Kind("duplicate", Code.GATE_DUPLICATE),
    Kind("not-an-image", Code.RADIOGRAPH_NOT_AN_IMAGE),
)


class Films(NamedTuple):
    """The films to choose from, by what they are; paths in a fixed order."""

    good: list[Path]
    laterals: list[Path]
    children: list[Path]


def choose_from(source: Path) -> Films:
    """Return the films of a folder or a manifest: frontal ones of adults, laterals, children.

    A folder does not say views and ages: all its films are taken as good ones.
    """
    files, names = gather_files([source])
    if source.is_dir():
        return Films(files, [], [])
    table = read_manifest(source, check_files=False).table.set_index("image").loc[names]
    views, ages = table["view"].fillna("").map(known_view), table["age"]
    is_child, is_lateral = (ages < CHILD_AGE).to_numpy(), (views == LATERAL).to_numpy()
    is_good = ~is_child & ((views == "") | views.isin(FRONTAL)).to_numpy()

    def those(chosen: np.ndarray) -> list[Path]:
        return [file for file, is_chosen in zip(files, chosen, strict=True) if is_chosen]

    return Films(those(is_good), those(is_lateral & ~is_child), those(is_child & ~is_lateral))


def write_mixture(source: Path, out: Path, good: int, each: int, seed: int, force: bool = False) -> pd.DataFrame:
    """Write the folder and return its table.

    Args:
        source: a folder of films, or a manifest.
        out: the folder; ``films`` and ``wrong.csv`` are written into it.
        good: films that are good.
        each: films of each wrong kind.
        seed: of the choice and the order.
        force: an earlier folder may be replaced.

    Raises:
        SettingError: ``setting-invalid`` for fewer films than that needs.
        UsageError: ``output-exists``.
    """
    films, rng = choose_from(source), np.random.default_rng(seed)
    altered = [(kind, number) for kind in KINDS if kind.of for number in range(each)]
    if good < 1 or each < 1 or len(films.good) < good + len(altered):
        raise SettingError(
            Code.SETTING_INVALID,
            f"{counted(good, 'good film')} and {len(altered)} altered ones of {counted(len(films.good), 'film')}: it "
            f"needs at least 1 of each, and {good + len(altered)} films.",
        )
    order = rng.permutation(len(films.good))
    chosen = [films.good[position] for position in order[: good + len(altered)]]
    entries: list[tuple[Kind | None, int]] = [(None, number) for number in range(good)]
    entries += [(kind, number) for kind in KINDS if kind.name != "duplicate" for number in range(each)]
    entries = [entries[position] for position in rng.permutation(len(entries))]
    entries += [(kind, number) for kind in KINDS if kind.name == "duplicate" for number in range(each)]  # after theirs
    sources = {(kind.name, number): chosen[good + place] for place, (kind, number) in enumerate(altered)}
    rows = []
    with result_folder(out, TABLE, force, [FILMS]) as part:
        (part / FILMS).mkdir()
        for place, (kind, number) in enumerate(entries, start=1):
            stem = part / FILMS / f"{place:03d}_{GOOD if kind is None else kind.name}"
            if kind is None or kind.name == "duplicate":
                path = _copied(chosen[number % good], stem)
            elif kind.of is not None:
                path = _altered(kind, sources[kind.name, number], stem)
            else:
                path = _foreign(kind.name, films, number, seed, stem)
            rows.append((path.name, GOOD if kind is None else kind.name, "" if kind is None else str(kind.code)))
        table = pd.DataFrame(rows, columns=["image", "kind", "expected"])
        write_durably(part / TABLE, table.to_csv(index=False, lineterminator="\n").encode())
    return table


def _copied(film: Path, stem: Path) -> Path:
    path = stem.with_name(stem.name + "".join(film.suffixes[-1:]))
    write_durably(path, film.read_bytes())
    return path


def _altered(kind: Kind, film: Path, stem: Path) -> Path:
    if kind.of is None:
        raise ValueError(f"{kind.name} is not made of a film")
    return _saved(kind.of(read_radiograph(film).pixels[0]), stem)


def _saved(plane: np.ndarray, stem: Path) -> Path:
    path, buffer = stem.with_name(f"{stem.name}.png"), BytesIO()
    Image.fromarray(np.rint(np.clip(plane, 0, 1) * 255).astype(np.uint8)).save(buffer, format="PNG")
    write_durably(path, buffer.getvalue())
    return path


def _foreign(kind: str, films: Films, number: int, seed: int, stem: Path) -> Path:
    """Write what is not made of a good film."""
    rng = np.random.default_rng([seed, number, sum(kind.encode())])
    if kind in ("lateral", "child"):
        return _other_patient(kind, films, number, seed, stem)
    if kind == "photograph":
        photographs = load_sample_images().images
        return _saved(photographs[number % len(photographs)].mean(2) / 255, stem)
    if kind == "ct-slice":
        hounsfield = dcmread(get_testdata_file("CT_small.dcm", download=False)).pixel_array.astype(np.float32)
        plane = np.clip((hounsfield - hounsfield.min()) / np.ptp(hounsfield), 0, 1)
        return _saved(np.asarray(Image.fromarray(plane).resize((SIZE, SIZE), Image.Resampling.BICUBIC)), stem)
    if kind == "black-frame":
        return _saved(np.zeros((SIZE, SIZE), np.float32), stem)
    if kind == "nearly-constant":
        return _saved(0.5 + rng.normal(0, 0.01, (SIZE, SIZE)).astype(np.float32), stem)
    path = stem.with_name(f"{stem.name}.png")
    write_durably(path, b"This is a text, whatever its name says.\n")
    return path


def _other_patient(kind: str, films: Films, number: int, seed: int, stem: Path) -> Path:
    """Write a lateral or a child, with a header that says so: the manifest's own where it has some, else a phantom."""
    own = films.laterals if kind == "lateral" else films.children
    age = 50 if kind == "lateral" else 1 + 4 * (number % 3)
    study = Study(1 + number, 0, age, "MF"[number % 2], LATERAL if kind == "lateral" else "PA", (), seed)
    if own:
        pixels = read_radiograph(own[number % len(own)]).pixels[0]
        if pixels.shape[0] != pixels.shape[1]:  # write_dicom's spacing is of a square film
            pixels = pixels[: min(pixels.shape), : min(pixels.shape)]
    else:
        pixels = draw_phantom(
            seed, SIZE, patient=study.patient, age=age, sex=study.sex, view=study.view, by_age=True
        ).pixels
    path = stem.with_name(f"{stem.name}.dcm")
    with TemporaryDirectory() as folder:
        written = write_dicom(Path(folder), replace(study, index=number), pixels, seed, FILM_MM / pixels.shape[0])
        write_durably(path, written.read_bytes())
    return path


def judge(folder: Path, predictions: Path) -> pd.DataFrame:
    """Return what a prediction did with each film of a mixture: ``image, kind, expected, gate, code``.

    Args:
        folder: with ``wrong.csv``.
        predictions: of ``films``, by ``cxr-monai predict``.
    """
    table = pd.read_csv(folder / TABLE, keep_default_na=False)
    evidence = read_gate_evidence(gate_file(predictions)).set_index("image")[["gate", "code"]]
    errors = pd.read_csv(errors_file(predictions), keep_default_na=False).set_index("image")["code"]
    unreadable = errors[~errors.index.isin(evidence.index)].to_frame().assign(gate="unreadable")
    return table.merge(pd.concat([evidence, unreadable]), left_on="image", right_index=True, how="left")


def summary(judged: pd.DataFrame) -> pd.DataFrame:
    """Return one row a kind: how many there are, were refused (or could not be read), and for the expected reason."""
    judged = judged.assign(
        stopped=judged["gate"].isin(["refuse", "unreadable"]),
        noticed=judged["gate"] != "accept",
        right=(judged["code"] == judged["expected"]),
    )
    kinds = judged.groupby("kind", sort=False)
    table = kinds[["stopped", "noticed", "right"]].sum().assign(films=kinds.size())
    table["codes"] = kinds["code"].agg(lambda codes: ", ".join(sorted({code for code in codes if code})))
    return table[["films", "stopped", "noticed", "right", "codes"]].reset_index()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the script and return its exit status."""
    lines = (__doc__ or "").splitlines()
    parser = argparse.ArgumentParser(
        description=lines[0], epilog="\n".join(lines[1:]), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("films", type=Path, nargs="?", help="a folder of films, or a manifest")
    parser.add_argument("--out", type=Path, help="the folder to make")
    parser.add_argument("--good", type=int, default=20, metavar="N", help="good films (default: %(default)s)")
    parser.add_argument("--each", type=int, default=1, metavar="N", help="of each wrong kind (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument("--force", action="store_true", help="replace an earlier mixture")
    parser.add_argument(
        "--judge", type=Path, metavar="DIR", help="say what DIR/predictions.csv did with the films of DIR, by kind"
    )
    options = parser.parse_args(arguments)
    if options.judge is None and (options.films is None or options.out is None):
        parser.error("name films and --out, or --judge")
    try:
        if options.judge is not None:
            table = summary(judge(options.judge, options.judge / "predictions.csv"))
            print(table.to_string(index=False))
            return 0
        table = write_mixture(options.films, options.out, options.good, options.each, options.seed, options.force)
    except CxrError as error:
        print(f"wrong_films: error [{error.code}]: {error}", file=sys.stderr)
        return 1
    wrong = int((table["kind"] != GOOD).sum())
    print(f"{options.out}: {counted(len(table), 'film')}, {wrong} of them wrong in {len(KINDS)} ways")
    return 0


if __name__ == "__main__":
    sys.exit(main())
