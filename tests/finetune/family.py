"""What the tests of fine-tuning share: a family of bundles, and labels of which a disease can be learned."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from cxr_monai.labels import NIH14
from tests.support.bundle_runs import SHIPPED

TRANSFER = SHIPPED.with_name("cxr_transfer")
QUICK: dict[str, Any] = {"batch_size": 8, "num_workers": 0, "cache_dir": "none", "amp": False}


@dataclass(frozen=True)
class Family:
    parent: Path
    manifest: Path
    out: Path

    @property
    def child(self) -> Path:
        return self.out / "bundle"


def ill(table: pd.DataFrame) -> None:
    """A patient an image; of every three one has an effusion, one a mass, one nothing."""
    table["patient_id"] = [f"secret-patient-{at}" for at in range(len(table))]
    table[list(NIH14)] = "0"
    table.loc[table.index % 3 == 0, "Effusion"] = "1"
    table.loc[table.index % 3 == 1, "Mass"] = "1"
