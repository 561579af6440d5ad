"""What a fine-tuning is given, whichever way it trains."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class FineTuneTask:
    """A parent, and the images that its children are trained and judged on.

    Attributes:
        parent: the parent bundle's folder, or the name of an installed one.
        manifest: with a split.
        against: negatives: ``normal`` (images without any finding) or ``others`` (all other images).
        dataset_dir: root of the images; the manifest's own where None.
        boxes: ``M.boxes.csv`` or NIH's list, to compare where child and parent look; None: not compared.
        trust_folder: see ``cxr_monai.sharing.trust.open_trusted.open_trusted``.
        match_names: a box is of the image of its file name, whatever their folders.
        any_modality: read DICOM files whatever their headers say they show.
    """

    parent: str | Path
    manifest: str | Path
    against: str = "normal"
    dataset_dir: str | None = None
    boxes: str | Path | None = None
    trust_folder: bool = False
    match_names: bool = False
    any_modality: bool = False
