"""Train a bundle from Python: the configuration that comes with this package, and what it leaves as one object.

    result = train_bundle("manifest.csv", "OUT", epochs=5, image_size=128)
    result.metrics                      # one row a finding, of the validation part
    result.bundle                       # OUT/bundle: complete, calibrated

It runs what ``python -m monai.bundle run`` runs, with the same settings and the same weights in the end.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from os import PathLike
from pathlib import Path
from typing import Any

import pandas as pd

from cxr_monai.bundle.bundle_folder import Bundle
from cxr_monai.data.manifest import Manifest
from cxr_monai.evaluation.predictions import PredictionsFile, read_predictions
from cxr_monai.sharing.trust.open_trusted import open_trusted
from cxr_monai.training.journal import Journal
from cxr_monai.workflows.python_inputs import manifest_file, refuse_given
from cxr_monai.workflows.run.command import files_of
from cxr_monai.workflows.run.in_process import run_configuration


@dataclass(frozen=True)
class TrainingResult:
    """A finished training.

    Attributes:
        folder: what was given as ``out``.
    """

    folder: Path

    @cached_property
    def bundle(self) -> Bundle:
        """The trained bundle, ``OUT/bundle``: to predict, explain, fine-tune, share."""
        return Bundle.open(self.folder / "bundle")

    @property
    def metrics(self) -> pd.DataFrame:
        """``OUT/metrics.csv``: one row a finding and one of means, of the best epoch on the validation part."""
        return pd.read_csv(self.folder / "metrics.csv")

    @property
    def predictions(self) -> PredictionsFile:
        """Probabilities of the validation part, before calibration: ``.table`` has one row an image."""
        return read_predictions(self.folder / "predictions_val.csv")

    @property
    def history(self) -> pd.DataFrame:
        """One row an epoch: losses, AUROCs, learning rate; empty where the training was not tracked."""
        events = Journal(self.folder / "tracking" / "training.jsonl").events
        return pd.DataFrame(
            [{"epoch": event["step"], **event["values"]} for event in events if event["key"].startswith("epoch ")]
        )

    def _repr_html_(self) -> str:
        place = escape(str(self.folder / "bundle"))
        return f"<p>{escape(self.bundle.title)}: <code>{place}</code></p>" + self.metrics.to_html(index=False)


def train_bundle(
    manifest: str | Path | Manifest,
    out: str | Path,
    *,
    bundle: str | PathLike[str] = "cxr_nih14",
    overlays: Sequence[str] = (),
    track: bool = True,
    trust_folder: bool = False,
    **settings: Any,
) -> TrainingResult:
    """Train a network on the ``train`` part of a manifest; the best epoch on its ``val`` part is kept.

    The same call again goes on where an interrupted training was. Progress is shown on standard error.

    Args:
        manifest: images, labels and split: a file, or a table in memory (written to ``OUT/manifest.csv``, unless
            another one is there).
        out: a folder for checkpoints, metrics and ``OUT/bundle``.
        bundle: whose configuration trains: ``cxr_nih14`` or ``cxr_categories`` of this package, an installed one's
            name, a folder.
        overlays: of the configuration, such as ``["one_cycle"]``.
        track: log the training in MLflow; where is said by ``MLFLOW_TRACKING_URI`` or ``tracking_uri``, else it is
            ``mlflow.db`` in the working directory.
        trust_folder: run the folder although an inspection refuses it.
        settings: any setting of the configuration: ``epochs=5, image_size=128, labels=["Effusion"], seed=1``.
            ``cxr-monai run cxr_nih14 train --help`` lists them.

    Returns:
        the metrics, the history and the bundle.

    Raises:
        CxrError: ``override-unknown`` for a setting that does not exist, ``setting-invalid`` for a value that it cannot
            have, ``split-invalid`` without a split, ``bundle-refused``, and whatever else ends a training.

    >>> train_bundle("manifest.csv", "OUT", epochs=5, image_size=128).metrics  # doctest: +SKIP
    """
    refuse_given(settings)
    root = open_trusted(bundle, trust_folder)
    folder = Path(out)
    manifest = manifest_file(manifest, folder)
    files, _ = files_of(root, ",".join(["train", *overlays]))
    values = {name: str(value) if isinstance(value, Path) else value for name, value in settings.items()}
    if not track:
        values["tracker#enabled"] = False
    run_configuration(
        root, [file.stem for file in files], {"manifest": str(manifest), "output_dir": str(folder), **values}
    )
    return TrainingResult(folder)
