"""A folder of synthetic radiographs in NIH ChestX-ray14's own layout, so that programs for NIH read it.

::

    OUT/Data_Entry_2017_v2020.csv     NIH's columns, one row an image
    OUT/BBox_List_2017.csv            NIH's malformed header; pixels of a 1024x1024 image, whatever the size
    OUT/train_val_list.txt  test_list.txt
    OUT/images/01000001_000.png       8-bit grey
    OUT/masks/Nodule/01000001_000.png 255 where the finding is, else 0
    OUT/masks/lungs/01000001_000.png  255 where the lungs are, else 0 (if asked for)
    OUT/dicom/01000001/01000001_000.dcm
    OUT/README.txt  phantom.json      say that nobody is shown, to people and to programs
"""

import csv
import io
import multiprocessing
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from cxr_monai.data.phantom.cohort import Study, held_out_patients, make_cohort
from cxr_monai.data.phantom.dicom_film import write_dicom
from cxr_monai.data.phantom.draw import draw_phantom
from cxr_monai.data.phantom.hospital import USUAL, Hospital
from cxr_monai.data.phantom.mark import CARD, FIRST_LINE, write_mark
from cxr_monai.durable import durable_folder, write_durably
from cxr_monai.environment import usable_cores
from cxr_monai.errors import Code, SettingError, UsageError
from cxr_monai.labels import NIH14
from cxr_monai.outputs import check_new_folder
from cxr_monai.progress import progress_bar
from cxr_monai.stopping import ignore_signals

TABLE, PHANTOM_BOXES, TRAIN_VAL, TEST = (
    "Data_Entry_2017_v2020.csv",
    "BBox_List_2017.csv",
    "train_val_list.txt",
    "test_list.txt",
)
LUNGS = Path("masks", "lungs")
"""Below the folder of phantoms: the lungs' masks."""
FILM_MM = 350.0
"""Width of the film that a phantom stands for."""

_TABLE_HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
_BOXES_HEADER = "Image Index,Finding Label,Bbox [x,y,w,h],,,"
_CARD = """{first}

{count} images of {patients} invented patients, {size}x{size} pixels, seed {seed}; held out: {test} images.
The pictures are drawn from curves and random numbers (cxr_monai/data/phantom). Findings, their masks and their boxes
are known exactly, because they were drawn. The layout, the file names and the columns are those of NIH ChestX-ray14, so
that software for it runs on these; nothing of NIH's images is in them. Sizes of lesions follow the quartiles of NIH's
boxes; the rare findings are commoner here than there. Never use them to say how well a network reads real radiographs.
"""


@dataclass(frozen=True)
class PhantomSet:
    """The written folder, and the number of images in all, held out, and with each finding."""

    root: Path
    images: int
    patients: int
    held_out: int
    positives: dict[str, int]
    held_out_positives: dict[str, int]


def make_phantoms(
    out: str | os.PathLike[str],
    count: int,
    size: int = 256,
    seed: int = 0,
    *,
    workers: int | None = None,
    masks: bool = True,
    dicom: bool = False,
    lungs: bool = False,
    hospital: Hospital = USUAL,
    force: bool = False,
    progress: bool = True,
) -> PhantomSet:
    """Write ``count`` synthetic radiographs to ``out`` in NIH's layout.

    The same count, size, seed and hospital give the same bytes, whatever the number of workers; an image depends only
    on the seed, its patient, its follow-up number and the hospital. Two hospitals of one seed have the same patients:
    give each its own seed.

    Args:
        out: a folder that does not exist or is empty.
        count: number of images, at least 1.
        size: height and width in pixels, 32 to 4096.
        seed: at least 0.
        workers: processes; by default as many as this process may use.
        masks: write a mask for each finding of each image.
        dicom: write DICOM files as well (see `write_dicom`).
        lungs: write the lungs' mask of each image to ``masks/lungs``.
        hospital: how common findings are there, how its films look, a marker that goes with a finding, and the share of
            laterals and of children.
        force: replace an earlier output of this function in ``out``; any other content is refused all the same.
        progress: show it on standard error, see ``cxr_monai.progress``.

    Raises:
        UsageError: ``output-exists``.
        SettingError: ``setting-invalid``.
    """
    for name, value, least in (
        ("count", count, 1),
        ("seed", seed, 0),
        ("workers", 1 if workers is None else workers, 1),
    ):
        if value < least:
            raise SettingError(Code.SETTING_INVALID, f"{name} is {value}; it must be at least {least}.")
    if not 32 <= size <= 4096:
        raise SettingError(Code.SETTING_INVALID, f"size is {size}; allowed are 32 to 4096 pixels.")
    root = Path(out)
    replaced = _replaceable(root, force)
    check_new_folder(root, CARD, replaced, room=count * size * size // 2)
    studies = make_cohort(count, seed, hospital.prevalences, hospital.mix)
    held_out = held_out_patients(studies, seed, hospital.prevalences)
    tested = [study for study in studies if study.patient in held_out]
    patients = len({study.patient for study in studies})
    card = _CARD.format(first=FIRST_LINE, count=count, patients=patients, size=size, seed=seed, test=len(tested))
    with durable_folder(root, replaced) as folder:
        (folder / "images").mkdir()
        job = partial(
            _write_image, root=folder, size=size, seed=seed, hospital=hospital, parts=_Parts(masks, lungs, dicom)
        )
        boxes = list(_run(job, studies, workers or usable_cores(), progress))
        _write_tables(folder, studies, boxes, held_out, size)
        write_mark(folder, count=count, size=size, seed=seed, **hospital.settings())
        write_durably(folder / CARD, card.encode())
    return PhantomSet(root, count, patients, len(tested), _positives(studies), _positives(tested))


def _positives(studies: Sequence[Study]) -> dict[str, int]:
    counts = Counter(finding for study in studies for finding in study.findings)
    return {finding: counts[finding] for finding in NIH14}


def _replaceable(root: Path, force: bool) -> bool:
    """Return whether there is a folder to replace: an empty one, or an earlier output if forced.

    Raises:
        UsageError: ``output-exists`` for any other.
    """
    if root.exists() and not root.is_dir():
        raise UsageError(Code.OUTPUT_EXISTS, "this is a file.", fix="Name a new folder.", where=root)
    if not root.is_dir() or not any(root.iterdir()):
        return root.is_dir()
    card = root / CARD
    ours = card.is_file() and card.read_text(encoding="utf-8", errors="replace").startswith(FIRST_LINE)
    if not force:
        fix = "Name a new folder, or replace this one with --force." if ours else "Name a new folder."
        raise UsageError(Code.OUTPUT_EXISTS, "this folder is not empty.", fix=fix, where=root)
    if not ours:
        message = "this folder is not an earlier output of 'cxr-monai phantom', so --force does not replace it."
        raise UsageError(Code.OUTPUT_EXISTS, message, fix="Name a new folder.", where=root)
    return True


def _run(job: partial, studies: Sequence[Study], workers: int, progress: bool) -> Iterator[list[list]]:
    workers = min(workers, max(1, len(studies) // 16))
    bar = partial(progress_bar, total=len(studies), desc="phantoms", unit="images", show=progress)
    if workers == 1:
        yield from bar(map(job, studies))
        return
    # spawned, not forked: the caller may hold threads (torch), which a fork would leave locked
    with ProcessPoolExecutor(
        workers, mp_context=multiprocessing.get_context("spawn"), initializer=ignore_signals
    ) as pool:
        yield from bar(pool.map(job, studies, chunksize=16))


@dataclass(frozen=True)
class _Parts:
    """What is written beside an image."""

    masks: bool
    lungs: bool
    dicom: bool


def _write_image(study: Study, *, root: Path, size: int, seed: int, hospital: Hospital, parts: _Parts) -> list[list]:
    """Draw and write one image; return its rows of the table of boxes."""
    phantom = draw_phantom(
        seed,
        size,
        study.findings,
        patient=study.patient,
        index=study.index,
        age=study.age,
        sex=study.sex,
        view=study.view,
        hospital=hospital,
        by_age=hospital.mix.children > 0,
    )
    pixels = np.round(phantom.pixels * 255).astype(np.uint8)
    Image.fromarray(pixels).save(root / "images" / study.image, compress_level=3)
    drawn = {Path("masks", finding): mask for finding, mask in phantom.masks.items()} if parts.masks else {}
    for name, mask in (drawn | {LUNGS: phantom.lungs} if parts.lungs else drawn).items():
        (root / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask.astype(np.uint8) * np.uint8(255)).save(root / name / study.image, compress_level=3)
    if parts.dicom:
        write_dicom(root / "dicom", study, phantom.pixels, seed, FILM_MM / size)
    scale = 1024 / size
    return [
        [study.image, "Infiltrate" if finding == "Infiltration" else finding, *(value * scale for value in box)]
        for finding, box in phantom.boxes.items()
    ]


def _write_tables(
    root: Path, studies: Sequence[Study], boxes: Sequence[list[list]], held_out: set[int], size: int
) -> None:
    extent = [size] * 2 + [round(FILM_MM / size, 4)] * 2
    rows = [
        [study.image, study.labels, study.index, study.patient_id, study.age, study.sex, study.view, *extent]
        for study in studies
    ]
    _write_table(root / TABLE, _TABLE_HEADER, rows)
    _write_table(
        root / PHANTOM_BOXES, _BOXES_HEADER, [[*row, "", "", ""] for image_boxes in boxes for row in image_boxes]
    )
    for name, tested in ((TRAIN_VAL, False), (TEST, True)):
        lines = [study.image + "\n" for study in studies if (study.patient in held_out) is tested]
        write_durably(root / name, "".join(lines).encode())


def _write_table(path: Path, header: str, rows: Sequence[list]) -> None:
    text = io.StringIO()
    text.write(header + "\n")
    csv.writer(text, lineterminator="\n").writerows(rows)
    write_durably(path, text.getvalue().encode())
