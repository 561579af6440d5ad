"""Pictures to judge a gate by (`scripts/evaluate_gate.py`): altered copies of films, and what is no chest radiograph.

Altered copies are of three kinds: as a gate is fitted on, of other strengths and other kinds, and such as should pass.
Foreign pictures are what installed packages ship: nothing is downloaded.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image
from pydicom import dcmread
from scipy.ndimage import gaussian_filter, rotate, shift, uniform_filter1d
from sklearn.datasets import load_sample_images

from cxr_monai.errors import Code
from cxr_monai.gate.alterations import ALTERATIONS

FITTED, UNSEEN, PASSING = "as fitted on", "of other strengths and kinds", "should pass"
ROTATED, INVERTED, CROPPED = Code.GATE_ROTATED, Code.GATE_INVERTED, Code.GATE_CROPPED
BLURRED, CLIPPED, MIRRORED = Code.GATE_BLURRED, Code.GATE_CLIPPED, Code.GATE_MIRRORED
FOREIGN = (Code.GATE_NOT_A_RADIOGRAPH, Code.GATE_UNLIKE_TRAINING)
_LEAST_SIDE = 32


@dataclass(frozen=True)
class AlteredSet:
    """Altered copies of films.

    Attributes:
        name: of the set.
        kind: :data:`FITTED`, :data:`UNSEEN` or :data:`PASSING`.
        codes: that are a right reason; empty for one that should pass.
        of: makes the copy, float32 ``[H, W]`` in [0, 1], of such a film.
    """

    name: str
    kind: str
    codes: tuple[Code, ...]
    of: Callable[[np.ndarray], np.ndarray]


def altered_sets() -> list[AlteredSet]:
    """Return all of them."""
    fitted = {alteration.name: alteration for alteration in ALTERATIONS}
    upside_down = fitted.pop("turned by 180 degrees, mirrored")
    shown = [
        "inverted", *(f"turned by {degrees} degrees" for degrees in (90, 180, 270)), "mirrored",
        *(name for name, alteration in fitted.items() if alteration.undo is None),
    ]  # fmt: skip
    named = {"upside down": upside_down, **{name: fitted[name] for name in shown}}
    return [
        *(AlteredSet(name, FITTED, (alteration.code,), alteration.of) for name, alteration in named.items()),
        *(AlteredSet(name, UNSEEN, codes, of) for name, (codes, of) in _unseen(fitted).items()),
        *(AlteredSet(name, PASSING, (), of) for name, of in _PASSING.items()),
    ]


def _unseen(fitted: Mapping[str, object]) -> dict[str, tuple[tuple[Code, ...], Callable[[np.ndarray], np.ndarray]]]:
    def both(first: str, second: str) -> Callable[[np.ndarray], np.ndarray]:
        return lambda film: fitted[second].of(fitted[first].of(film))  # type: ignore[attr-defined]

    exposed = (CLIPPED,)
    return {
        "tilted by 10 degrees": ((ROTATED,), _tilted(10)),
        "tilted by -20 degrees": ((ROTATED,), _tilted(-20)),
        "tilted by 30 degrees": ((ROTATED,), _tilted(30)),
        "tilted by 15 degrees, brightest grey around": ((ROTATED,), _tilted(15, 1.0)),
        "blurred less (0.9 % of the side)": ((BLURRED,), lambda film: gaussian_filter(film, 0.009 * min(film.shape))),
        "blurred more (4 %)": ((BLURRED,), lambda film: gaussian_filter(film, 0.04 * min(film.shape))),
        "moved while exposed (6 % of the side)": ((BLURRED,), _moved),
        "upper 60 %": ((CROPPED,), _cut(0, 0.6, 0, 1)),
        "lower 40 %": ((CROPPED,), _cut(0.6, 1, 0, 1)),
        "left 65 %": ((CROPPED,), _cut(0, 1, 0, 0.65)),
        "right third": ((CROPPED,), _cut(0, 1, 0.67, 1)),
        "a quarter (upper left)": ((CROPPED,), _cut(0, 0.5, 0, 0.5)),
        "middle 60 %": ((CROPPED,), _cut(0.2, 0.8, 0.2, 0.8)),
        "gamma 0.4": (exposed, lambda film: film**0.4),
        "gamma 3": (exposed, lambda film: film**3),
        "gain 1.7, clipped": (exposed, lambda film: np.clip(film * 1.7, 0, 1)),
        "a window of half the range": (exposed, lambda film: np.clip((film - 0.25) / 0.5, 0, 1)),
        "a quarter of the range used": (exposed, lambda film: 0.4 + film / 4),
        "sixteen greys": (exposed, lambda film: np.rint(film * 15) / 15),
        "noise of 0.08": ((BLURRED,), _noisy),
        "turned by 90 degrees, blurred": ((ROTATED, BLURRED), both("turned by 90 degrees", "blurred")),
        "inverted, upper half": ((INVERTED, CROPPED), both("inverted", "the upper half alone")),
        "tilted, dark": ((ROTATED, CLIPPED), both("tilted to the left", "dark")),
        "mirrored, too bright": ((MIRRORED, CLIPPED), both("mirrored", "too bright")),
    }  # fmt: skip


def _tilted(degrees: float, around: float = 0.0) -> Callable[[np.ndarray], np.ndarray]:
    return lambda film: np.clip(rotate(film, degrees, reshape=False, order=1, mode="constant", cval=around), 0, 1)


def _cut(top: float, bottom: float, left: float, right: float) -> Callable[[np.ndarray], np.ndarray]:
    def cut(film: np.ndarray) -> np.ndarray:
        rows, columns = film.shape
        return film[round(top * rows) : round(bottom * rows), round(left * columns) : round(right * columns)]

    return cut


def _moved(film: np.ndarray) -> np.ndarray:
    return uniform_filter1d(film, max(3, round(0.06 * len(film))), axis=0)


def _noisy(film: np.ndarray) -> np.ndarray:
    random = np.random.default_rng(round(1e6 * float(film.mean())))
    return np.clip(film + random.normal(0, 0.08, film.shape), 0, 1)


def _recompressed(film: np.ndarray) -> np.ndarray:
    file = BytesIO()
    Image.fromarray(as_levels(film)).save(file, "JPEG", quality=85)
    return np.asarray(Image.open(file), dtype=np.float32) / 255


def _reduced(film: np.ndarray) -> np.ndarray:
    size = (round(0.8 * film.shape[1]), round(0.8 * film.shape[0]))
    return np.asarray(Image.fromarray(film).resize(size, Image.Resampling.LANCZOS)).clip(0, 1)


_PASSING: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "JPEG of quality 85": _recompressed,
    "reduced to 80 %": _reduced,
    "moved by 2 % of the side": lambda film: shift(
        film, (0.02 * len(film), -0.02 * len(film)), order=1, mode="nearest"
    ),
    "tilted by 2 degrees": lambda film: np.clip(rotate(film, 2, reshape=False, order=1, mode="nearest"), 0, 1),
    "outer 3 % cut off": _cut(0.03, 0.97, 0.03, 0.97),
    "gamma 0.9": lambda film: film**0.9,
    "gamma 1.1": lambda film: film**1.1,
    "noise of 0.01": lambda film: np.clip(film + np.random.default_rng(0).normal(0, 0.01, film.shape), 0, 1),
}


def as_levels(film: np.ndarray) -> np.ndarray:
    """Return a film, float in [0, 1], as uint8, as a file of it would have it."""
    return np.rint(np.clip(film, 0, 1) * 255).astype(np.uint8)


def foreign_sets(films: Sequence[np.ndarray], seed: int = 0) -> dict[str, list[np.ndarray]]:
    """Return pictures that are no chest radiographs, uint8 ``[H, W]``, by the name of their set.

    Args:
        films: uint8 ``[H, W]``; some of them are reduced into black frames.
        seed: of crops and noise.
    """
    random = np.random.default_rng(seed)
    photographs = list(_crops(load_sample_images().images, 100, random))
    sets = {"photographs": photographs, "CT and MR": [], "ultrasound and others": []}
    for modality, picture in _dicom_pictures():
        sets["CT and MR" if modality in ("CT", "MR") else "ultrasound and others"].append(picture)
    if find_spec("skimage"):
        sets["scikit-image's pictures"] = list(_scikit_image_pictures(random))
    sets["black frame"] = [_framed(film) for film in films[::4]]
    noise = [np.clip(grey + random.normal(0, deviation, (320, 320)), 0, 1)
             for deviation in np.linspace(0.002, 0.1, 20) for grey in (0.1, 0.5, 0.9)]  # fmt: skip
    ramp = np.linspace(0.45, 0.55, 320)[None].repeat(320, 0)
    one_pixel = np.zeros((320, 320))
    one_pixel[0, 0] = 1
    sets["constant-like"] = [as_levels(picture) for picture in (*noise, ramp, ramp.T, one_pixel)]
    return sets


def _grey(picture: np.ndarray) -> np.ndarray:
    """Return a picture of any numbers as uint8 ``[H, W]``, its darkest value black and its brightest white."""
    plane = picture.astype(np.float64)
    plane = plane.mean(-1) if plane.ndim == 3 else plane
    return as_levels((plane - plane.min()) / max(np.ptp(plane), 1e-9))


def _crops(pictures: Sequence[np.ndarray], each: int, random: np.random.Generator) -> Iterator[np.ndarray]:
    for picture in pictures:
        for _ in range(each):
            side = int(random.integers(128, min(400, *picture.shape[:2])))
            top, left = (int(random.integers(0, extent - side + 1)) for extent in picture.shape[:2])
            yield _grey(picture[top : top + side, left : left + side])


def _scikit_image_pictures(random: np.random.Generator) -> Iterator[np.ndarray]:
    folder = Path(str(find_spec("skimage").origin)).parent / "data"  # type: ignore[union-attr]
    for path in sorted([*folder.glob("*.png"), *folder.glob("*.jpg")]):
        picture = np.asarray(Image.open(path).convert("L"))
        yield _grey(picture)
        if min(picture.shape) > 160:
            yield from _crops([picture], 4, random)


def _dicom_pictures() -> Iterator[tuple[str, np.ndarray]]:
    """Yield modality and picture of the test files that pydicom and pydicom-data ship; of several frames the first."""
    folders = [Path(str(find_spec(name).origin)).parent for name in ("pydicom", "data_store") if find_spec(name)]  # type: ignore[union-attr]
    seen = set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for path in sorted(path for folder in folders for path in folder.rglob("*") if path.is_file()):
            try:
                header = dcmread(path)
                if header.get("Modality") not in ("CT", "MR", "US", "NM"):
                    continue
                pixels = header.pixel_array
            except Exception:  # test files: many are no DICOM, or broken on purpose
                continue
            if int(header.get("NumberOfFrames", 1) or 1) > 1:
                pixels = pixels[0]
            if min(pixels.shape[:2]) < _LEAST_SIDE or np.ptp(pixels) == 0:
                continue
            picture = _grey(pixels)
            if (content := picture.tobytes()) not in seen:
                seen.add(content)
                yield str(header.Modality), picture


def _framed(film: np.ndarray) -> np.ndarray:
    rows, columns = film.shape
    frame = np.zeros_like(film)
    small = np.asarray(Image.fromarray(film).resize((columns * 3 // 8, rows * 3 // 8), Image.Resampling.BILINEAR))
    top, left = (rows - len(small)) // 2, (columns - small.shape[1]) // 2
    frame[top : top + len(small), left : left + small.shape[1]] = small
    return frame
