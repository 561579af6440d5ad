"""Films and bundles that the tests of the analyser share."""

from pathlib import Path

import pytest

from cxr_monai.data.phantom import make_phantoms
from tests.support.gates import with_gate
from tests.support.once import once
from tests.support.tiny_bundles import tiny_bundle

FAR = 1e12
"""A limit beyond every film's distance."""


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Six phantoms of 64x64 pixels as DICOM files."""

    def make(folder: Path) -> list[Path]:
        make_phantoms(folder / "P", 6, 64, seed=3, workers=1, masks=False, dicom=True, progress=False)
        return sorted((folder / "P" / "dicom").rglob("*.dcm"))

    return once(tmp_path_factory, "node-films", make)


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of bundles: two tiny ones with gates that refuse nothing, and one whose gate refuses everything."""

    def make(folder: Path) -> Path:
        for seed, name, limit in ((0, "first", FAR), (1, "second", FAR), (0, "strict", 1e-9)):
            with_gate(tiny_bundle(folder / name, seed), limit)
        return folder

    return once(tmp_path_factory, "node-bundles", make)
