"""A hospital's bundle and films, and what the library itself predicts of them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from cxr_monai.inference.model import Model

PARTS = ("train",) * 8 + ("val",) * 4 + ("test",) * 4


@dataclass(frozen=True)
class Site:
    """A hospital with a bundle, 16 films of 16 patients, and their manifest."""

    bundle: Path
    films: tuple[Path, ...]
    manifest: Path

    def config(self, name: str) -> str:
        return str(self.bundle / "configs" / f"{name}.json")

    def predict(self, **settings: Any) -> pd.DataFrame:
        """Return what the library itself predicts of all films, by their names, in float32."""
        predicted = Model.open(self.bundle, device="cpu", amp=False, **settings).predict(
            self.films, [film.name for film in self.films]
        )
        return predicted.table.set_index("image")
