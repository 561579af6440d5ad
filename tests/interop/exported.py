"""Bundles of every head, what is exported of them, and films."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from cxr_monai.bundle.ensembling import ensemble_bundle
from cxr_monai.predict import Predictor
from tests.bundles.making import HEADED, tiny_bundle

CASES = (*HEADED, "ensemble")
NEAR = 1e-4
"""The most that a probability of an exported thing may differ from ``predict --raw``."""


@dataclass(frozen=True)
class Exported:
    """One bundle and its exports.

    Attributes:
        bundle: the bundle.
        files: ``model.ts``, ``model.onnx`` and ``contract.json``.
        zoo: the bundle in the zoo's layout, its weights where the zoo's runner would put them.
        raw: ``predict --raw`` in float32 of `films`, by label.
    """

    bundle: Path
    files: Path
    zoo: Path
    raw: Mapping[str, np.ndarray]


def make_films(folder: Path) -> list[Path]:
    """Write three grey 8-bit PNG files: one as the network takes it, one wide, one tall."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(7)
    paths = []
    for number, (height, width) in enumerate(((37, 37), (40, 75), (90, 50))):
        coarse = Image.fromarray(generator.integers(0, 256, (6, 6), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BILINEAR), dtype=float)
        noisy = np.clip(smooth + generator.normal(0, 12, smooth.shape), 0, 255)
        paths.append(folder / f"film{number}.png")
        Image.fromarray(noisy.astype(np.uint8)).save(paths[-1])
    return paths


def headed_bundle(case: str, folder: Path) -> Path:
    """Write a bundle of one head, or an ensemble of two with the softmax head; they compute in float32."""
    if case == "ensemble":
        members = [tiny_bundle(folder / str(seed), seed, amp=False, **HEADED["softmax"]) for seed in (0, 1)]
        return ensemble_bundle(members, folder / "bundle").root
    return tiny_bundle(folder / "bundle", 3, amp=False, **HEADED[case])


def probabilities(bundle: Path, films: list[Path], raw: bool = True) -> dict[str, np.ndarray]:
    """Return what ``predict`` gives in float32, by label."""
    table = Predictor(bundle, device="cpu", amp=False, raw=raw).predict(films, num_workers=0).table
    return {str(label): table[label].to_numpy(float) for label in table.columns[1:]}
