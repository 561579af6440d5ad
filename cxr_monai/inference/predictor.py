"""Files in, probabilities out: a bundle used from Python, the command line, or a service.

predictor = Predictor("OUT/bundle")
result = predictor.predict(["a.png", "b.dcm"])
result.table                # image and one column a finding, each in [0, 1]; files that could not be read are not in it
result.errors               # (image, code, reason) of those
"""

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from cxr_monai.bundle.about import about
from cxr_monai.bundle.bundle_folder import Bundle, head_of
from cxr_monai.bundle.calibrated import calibration_item
from cxr_monai.data.dataset import RadiographDataset, batch_errors, batch_notes, items_of_files, take_any_modality
from cxr_monai.data.files import LOOKED_FOR, image_files
from cxr_monai.data.loading import reading_loader
from cxr_monai.data.manifest import read_manifest
from cxr_monai.data.notes import FilmNotes
from cxr_monai.errors import Code, ManifestError, SettingError
from cxr_monai.evaluation.carried import calibration_in
from cxr_monai.networks.fixed_batches import FixedBatches
from cxr_monai.networks.fusion import TOLERANCE, for_prediction, largest_difference
from cxr_monai.networks.inferers import AutocastInferer, bfloat16_supported
from cxr_monai.networks.openvino_runtime import openvino_network
from cxr_monai.networks.weight_loading import load_weights
from cxr_monai.plurals import counted, was
from cxr_monai.progress import progress_bar
from cxr_monai.transforms import plain_tensors

logger = logging.getLogger(__name__)

RUNTIMES = ("torch", "openvino")


@dataclass(frozen=True)
class Predictions:
    """What came out.

    Attributes:
        table: ``image`` and one column a finding, each in [0, 1].
        errors: image, stable code and reason of each file that was left out.
        about: bundle digest, precision, calibrated or not.
        notes: what reading said of the images in the table.
    """

    table: pd.DataFrame
    errors: list[tuple[str, str, str]]
    about: Mapping[str, Any]
    notes: FilmNotes = field(default_factory=FilmNotes)


class Predictor:
    """A bundle with its weights loaded.

    Args:
        bundle: its folder.
        weights: instead of the bundle's own.
        device: a GPU if there is one, where None.
        amp: bfloat16 where the device has it; on a CPU a copy of the network that is folded for prediction
            (``cxr_monai.networks.fusion``).
        raw: leave the bundle's calibration out. A bundle without one gives raw probabilities in any case, and so do
            ``weights`` that are not its own.
        any_modality: read DICOM files whatever their headers say they show.
        runtime: ``torch``, or ``openvino`` on a CPU (``cxr_monai.networks.openvino_runtime``).

    Raises:
        BundleError: if the folder is no valid bundle.
        EvaluationError: ``calibration-invalid`` for a damaged calibration.
        WeightsError: if the weights are missing or belong to another network.
        SettingError: ``runtime-missing``, or ``setting-invalid`` for another runtime or one that the device lacks.
    """

    def __init__(
        self,
        bundle: str | Path,
        weights: str | Path | None = None,
        device: torch.device | str | None = None,
        amp: bool = True,
        runtime: str = "torch",
        raw: bool = False,
        any_modality: bool = False,
    ) -> None:
        self.bundle = Bundle.open(bundle)
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        path = Path(weights) if weights else self.bundle.weights
        parser = self.bundle.parser()
        network = load_weights(parser.get_parsed_content("network_def"), path, self.device).eval()
        self.preprocessing = parser.get_parsed_content("preprocessing")
        if any_modality:
            take_any_modality(self.preprocessing)
        self.shape = tuple(parser.get_parsed_content("dataset#shape"))
        self.head = head_of(parser)
        self._lowered = amp
        self.network, itself = self._fastest(network, runtime, amp)
        self.inferer = AutocastInferer(amp and not itself, self.head)
        root = self.bundle.root
        self.calibration = calibration_in(root, calibration_item(root), self.bundle.labels, path, raw)
        told = about(str(self.bundle.root), str(path), self.device, self._lowered, self.calibration)
        self.about = told | {"runtime": runtime}

    def _fastest(self, network: torch.nn.Module, runtime: str, amp: bool) -> tuple[torch.nn.Module, bool]:
        """Return what computes the network's outputs, and whether it takes care of its precision itself."""
        if runtime not in RUNTIMES or (runtime != "torch" and self.device.type != "cpu"):
            raise SettingError(
                Code.SETTING_INVALID,
                f"runtime {runtime!r} on {self.device.type}: there are {' and '.join(RUNTIMES)}, the latter on CPUs.",
            )
        low = amp and bfloat16_supported(self.device)
        if runtime == "openvino":
            made = openvino_network(network, self.shape[-3:], low)
            if low and not largest_difference(network, made, self.shape[-3:], self.head) <= TOLERANCE:
                logger.warning("OpenVINO computes in float32: in bfloat16 its probabilities differ too much")
                made, self._lowered = openvino_network(network, self.shape[-3:], False), False
            return made, True
        if self.device.type == "cpu" and low:
            made = for_prediction(network, self.shape[-3:], self.head)
            return FixedBatches(made, self.shape[-3:]), made is not network
        return network, False

    def predict(
        self,
        files: Sequence[str | Path],
        names: Sequence[str] | None = None,
        batch_size: int = 16,
        num_workers: int | None = None,
        each: Callable[[Predictions], Any] = lambda part: None,
    ) -> Predictions:
        """Predict files; those that cannot be read are reported, the rest is done.

        Args:
            files: PNG, JPEG, DICOM or NIfTI.
            names: what stands in the table for each; the paths as given where None.
            batch_size: images at a time.
            num_workers: files that are read at a time; see ``cxr_monai.data.loading.reading_loader``.
            each: is given the predictions of every batch as soon as they are there. A list that is continued behind
                whole batches has the same batches as before, and so the same values.
        """
        named = [str(file) for file in files] if names is None else list(names)
        items = items_of_files(files, named, self.bundle.labels)
        dataset = RadiographDataset(items, self.preprocessing, self.shape, with_notes=True)
        parts = [Predictions(self._table([], []), [], self.about)]
        with (
            torch.inference_mode(),
            plain_tensors(),
            progress_bar(total=len(named), desc="predicting", unit="images") as bar,
        ):
            for batch in reading_loader(dataset, batch_size, num_workers):
                logits = self.inferer(batch["image"].to(self.device), self.network).cpu()
                # in float32 its last bit depends on where a value stands: vectors have a kernel, what is left another
                probabilities = logits.double().sigmoid().float().numpy()
                good = [not error for error in batch["error"]]
                kept = [name for name, read in zip(batch["name"], good, strict=True) if read]
                rows = self._table(kept, probabilities[good])
                parts.append(Predictions(rows, batch_errors(batch), self.about, batch_notes(batch)))
                each(parts[-1])
                bar.update(len(batch["name"]))
        table = pd.concat([part.table for part in parts], ignore_index=True)
        errors, notes = [error for part in parts for error in part.errors], FilmNotes()
        for part in parts:
            notes.add_all(part.notes.to_json())
        if len(table) + len(errors) != len(named):
            raise RuntimeError(
                f"{counted(len(named), 'file')} {was(len(named))} to be read, {len(table) + len(errors)} came back"
            )
        return Predictions(table, errors, self.about, notes)

    def _table(self, images: Sequence[str], probabilities: Any) -> pd.DataFrame:
        labels = self.bundle.labels
        values = np.asarray(probabilities, dtype="float32").reshape(len(images), len(labels))
        if self.calibration is not None:
            values = self.calibration.apply(values, labels).astype("float32")
        table = pd.DataFrame(values, columns=list(labels))
        table.insert(0, "image", pd.Series(images, dtype="str"))
        return table


def names_are_identities(inputs: Sequence[str | Path]) -> bool:
    """Return whether all inputs are manifests of sources whose file names are identities (NIH)."""
    manifests = [path for path in map(Path, inputs) if _is_table(path)]
    return len(manifests) == len(inputs) and all(read_manifest(path, check_files=False).by_name for path in manifests)


def _is_table(path: Path) -> bool:
    return not path.is_dir() and path.name.lower().endswith((".csv", ".csv.gz"))


def gather_files(inputs: Sequence[str | Path], split: str | None = None) -> tuple[list[Path], list[str]]:
    """Return files and their names in the results for files, folders and manifests (``.csv``, ``.csv.gz``).

    A file is named as it was given, a file of a folder by its path below that folder (below the folder's own name where
    several inputs are given), an image of a manifest as the manifest names it; by its path where that name is taken.
    ``split`` takes one part of each manifest.

    Raises:
        ManifestError: ``no-images`` for a folder without images, or whatever is wrong with a manifest.
        SplitError: ``split-invalid`` if a manifest has no such part.
    """
    files: list[Path] = []
    names: list[str] = []
    for given in map(Path, inputs):
        if given.is_dir():
            found = image_files(given)
            if not found:
                raise ManifestError(Code.NO_IMAGES, f"no image below this folder ({LOOKED_FOR}).", where=given)
            base = given.parent if len(inputs) > 1 else given
            files += found
            names += [path.relative_to(base).as_posix() for path in found]
        elif _is_table(given):
            manifest = read_manifest(given, check_files=False)
            manifest = manifest if split is None else manifest.part(split)
            files += manifest.paths()
            names += list(manifest.table["image"])
        else:
            files.append(given)
            names.append(str(given))
    # each name stands once in the results: the same file twice is one, files that share a name go by their paths
    named = dict(zip(files, names, strict=True))
    several = {name for name, count in Counter(named.values()).items() if count > 1}
    return list(named), [str(path) if name in several else name for path, name in named.items()]
