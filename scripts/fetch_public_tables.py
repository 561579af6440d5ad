#!/usr/bin/env python3
"""Fetch label tables of public data sets, for the tests that carry the marker ``publictables`` (29 MB, no images).

    python scripts/fetch_public_tables.py                     into build/public_tables, where the tests look
    python scripts/fetch_public_tables.py --wheel FILE        of a copy inside your network
    python scripts/fetch_public_tables.py --out FOLDER        elsewhere (CXR_MONAI_PUBLIC_TABLES names it to the tests)

The tables of CheXpert, PadChest, RSNA, SIIM-ACR, VinDr-CXR, Google and Open-i are published in the wheel of
torchxrayvision 1.5.7 (Apache-2.0; https://github.com/mlmed/torchxrayvision). The wheel is downloaded with pip, checked
against its SHA-256 and unzipped, never installed: it would bring a second build of torch. The terms of each data set
hold for its table, too; the docstrings of ``cxr_monai.data.sources`` say which.

Exit status: 0 done (or all there already), 1 the wheel could not be fetched or is another one.
"""

import argparse
import hashlib
import io
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from cxr_monai.durable import write_durably
from cxr_monai.errors import Code, DownloadError

WHEEL = "torchxrayvision==1.5.7"
SHA256 = "95f6c3475661f3515d4258deb0855bd5d1b1a56e0b65384251d3dd3fa61fac41"
INSIDE = "torchxrayvision/data/"
TABLES = (
    "chexpert_train.csv.gz",
    "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv.gz",
    "kaggle_stage_2_train_labels.csv.zip",
    "kaggle_stage_2_train_images_dicom_headers.csv.gz",
    "siim-pneumothorax-train-rle.csv.gz",
    "vinbigdata-train.csv.gz",
    "google2019_nih-chest-xray-labels.csv.gz",
    "NLMCXR_reports.tgz",
    "nlmcxr_dicom_metadata.csv.gz",
    "nlmcxr_tsne_pa.csv.gz",
)
OUT = Path(__file__).resolve().parents[1] / "build" / "public_tables"


def fetch(out: Path, wheel: Path | None = None) -> list[Path]:
    """Put the tables into a folder; those that are there stay.

    Args:
        out: the folder.
        wheel: a copy of the wheel; downloaded with pip where None.

    Raises:
        DownloadError: ``download-failed``; ``checksum-mismatch`` for another wheel.
    """
    places = [out / name for name in TABLES]
    if all(place.is_file() for place in places):
        return places
    content = _download() if wheel is None else wheel.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if digest != SHA256:
        raise DownloadError(
            Code.CHECKSUM_MISMATCH,
            f"this is not the wheel of {WHEEL}: its SHA-256 is {digest}, and should be {SHA256}.",
            where=wheel,
        )
    out.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for place in places:
            write_durably(place, archive.read(INSIDE + place.name))
    return places


def _download() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        result = subprocess.run([*command, "--dest", folder, WHEEL], capture_output=True, text=True, check=False)
        wheels = list(Path(folder).glob("*.whl"))
        if result.returncode or not wheels:
            raise DownloadError(
                Code.DOWNLOAD_FAILED,
                f"pip could not download {WHEEL}: {result.stderr.strip()[-500:]}",
                fix="Give a copy of the wheel with --wheel FILE.",
            )
        return wheels[0].read_bytes()


def main(words: list[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=OUT, help="the folder (default: build/public_tables)")
    parser.add_argument("--wheel", type=Path, help="a copy of the wheel, instead of downloading it")
    arguments = parser.parse_args(words)
    try:
        places = fetch(arguments.out, arguments.wheel)
    except DownloadError as error:
        print(f"error [{error.code}]: {error}", file=sys.stderr)
        return 1
    print(f"{len(places)} tables in {arguments.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
