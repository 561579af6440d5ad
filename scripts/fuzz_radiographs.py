"""Damage small valid files of every format at random and read them: nothing may come out but pictures and coded errors.

python scripts/fuzz_radiographs.py --count 20000 --seed 1
python scripts/fuzz_radiographs.py --count 500 --gdcm        # with GDCM, a process a file: about 0.1 s each

A finding (an exception without a code, a warning, pixels outside [0, 1]) is printed with its kind and number,
its bytes are kept with --keep, and the exit status is 1. Files are read in this process: a crash of a decoder ends it.
"""

import argparse
import random
import sys
import tempfile
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cxr_monai.data.formats import dicom_pixels
from cxr_monai.data.radiograph import read_radiograph
from cxr_monai.durable import write_durably
from cxr_monai.errors import RadiographError
from cxr_monai.progress import progress_bar
from tests.data.test_radiograph import SEEDS, damaged
from tests.data.test_radiograph_dicom import WORDS, dicom, jpeg_dicom, lut, written

SYNTAXES = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    DeflatedExplicitVRLittleEndian,
    RLELossless,
    JPEGLSLossless,
    JPEG2000Lossless,
)


def valid_files() -> dict[str, bytes]:
    """Return a small valid file of every kind, by its name."""
    header = {
        "WindowCenter": 100, "WindowWidth": 500, "RescaleSlope": 1, "RescaleIntercept": 0, "PixelPaddingValue": 3,
        "PixelSpacing": [0.1, 0.1], "VOILUTSequence": lut(list(range(64)), 0, 12), "BodyPartExamined": "CHEST",
    }  # fmt: skip
    files = {**SEEDS, "DICOM JPEG": jpeg_dicom()}
    return files | {syntax.name: written(dicom(WORDS, bits=12, **header), syntax) for syntax in SYNTAXES}


def outcome(path: Path, any_modality: bool) -> str:
    """Return ``picture``, an error's code, or ``FINDING ...``."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            pixels = read_radiograph(path, any_modality=any_modality).pixels
    except RadiographError as error:
        return error.code.value
    except Exception as error:  # whatever it is, it is what this looks for
        return f"FINDING {type(error).__name__}: {error}"
    good = bool(np.isfinite(pixels).all()) and 0 <= pixels.min() < pixels.max() <= 1
    return "picture" if good else "FINDING pixels outside [0, 1]"


def fuzz(count: int, seed: int, keep: Path | None = None) -> Counter[str]:
    """Return how often each outcome came out of ``count`` damaged files."""
    chance, files, counts = random.Random(seed), valid_files(), Counter[str]()
    with tempfile.TemporaryDirectory() as folder, progress_bar(total=count, desc="fuzzing", unit="files") as bar:
        path = Path(folder) / "file"
        for number in range(count):
            kind = chance.choice(sorted(files))
            path.write_bytes(damaged(files[kind], chance))
            result = outcome(path, chance.random() < 0.5)
            if result.startswith("FINDING"):
                print(f"{kind}, file {number} of seed {seed}: {result}")
                if keep is not None:
                    write_durably(keep / f"{seed}_{number}", path.read_bytes())
                result = "FINDING"
            counts[result] += 1
            bar.update()
    return counts


def main(words: list[str] | None = None) -> int:
    """Fuzz, print the counts; 1 if anything was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--gdcm", action="store_true", help="let GDCM try what the other decoders refuse")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="where the files with findings go")
    arguments = parser.parse_args(words)
    if not arguments.gdcm:
        dicom_pixels.gdcm_is_installed = lambda: False  # type: ignore[assignment]
    counts = fuzz(arguments.count, arguments.seed, arguments.keep)
    for result, number in counts.most_common():
        print(f"{number:>8,}  {result}")
    return 1 if counts["FINDING"] else 0


if __name__ == "__main__":
    sys.exit(main())
