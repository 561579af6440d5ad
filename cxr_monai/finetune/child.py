"""The end of a fine-tuning: the child judged, and what came of it written into its bundle.

``ChildBundle.run`` comes after the training. It leaves in ``OUT/bundle``: the name and description in the metadata,
``docs/card.md`` with the verdict, and ``lineage.json``; and beside it ``OUT/predictions_parent.csv`` and
``OUT/predictions_child.csv``, of the images that were judged.
"""

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import pandas as pd

from cxr_monai.bundle.bundle_folder import METADATA, Bundle, read_json, write_json
from cxr_monai.bundle.configuration import same
from cxr_monai.bundle.origin import add_parent
from cxr_monai.bundle.running import running_parser
from cxr_monai.bundle.setting_checks import PATHS
from cxr_monai.completion import seal
from cxr_monai.data.dataset import open_manifest
from cxr_monai.data.manifest import Manifest, split_digest
from cxr_monai.durable import write_durably
from cxr_monai.evaluation.predictions import write_predictions
from cxr_monai.finetune.against_parent import FineTuneResult, compare_with_parent
from cxr_monai.finetune.box_comparison import MapComparison, localise_both
from cxr_monai.finetune.disease import held_out, patients_by_label
from cxr_monai.inference.model import Model
from cxr_monai.origins import is_phantom
from cxr_monai.report.card_part import card_markdown
from cxr_monai.report.fine_tuning import MADE_BY
from cxr_monai.report.pages.model_card import card_parts
from cxr_monai.sharing.trust.lineage import write_lineage
from cxr_monai.sharing.trust.open_trusted import open_trusted

_SHAPED = ("disease", "against", "head_epochs", "block_epochs", "blocks", "block_rate", "norm_statistics", "epochs")
_UNSAID = (*PATHS, "experiment", "run_name", "tracking_uri", "restart", "labels", "label_scheme", "num_workers")

logger = logging.getLogger(__name__)


class ChildBundle:
    """The last component of ``cxr_transfer``.

    Args:
        parent: the parent's folder, or the name of one that is installed.
        manifest: the images that were trained on.
        manifest_path, dataset_dir: of the whole table; images that the child's question leaves out are judged as well.
        output_dir: the training's folder.
        amp: as in the training.
        trust_folder: see ``cxr_monai.sharing.trust.open_trusted.open_trusted``.
        boxes: ``M.boxes.csv`` or NIH's list, to compare where the two look; None: not compared.
        match_names: a box is of the image of its file name, whatever their folders.
        any_modality: read DICOM files whatever their headers say they show, as in the training.
    """

    def __init__(
        self,
        parent: str,
        manifest: Manifest,
        manifest_path: str,
        dataset_dir: str | None,
        output_dir: str,
        amp: bool = True,
        trust_folder: bool = False,
        boxes: str | None = None,
        match_names: bool = False,
        any_modality: bool = False,
    ) -> None:
        # a configuration names it: nothing of it runs before it was inspected
        self.parent = open_trusted(parent, trust_folder)
        self.manifest, self.manifest_path, self.dataset_dir = manifest, manifest_path, dataset_dir
        self.output_dir, self.amp = Path(output_dir), amp
        self.boxes, self.match_names, self.any_modality = boxes, match_names, any_modality
        config = running_parser().config
        shipped = read_json(Path(config["bundle_root"]) / "configs" / "train.json")
        self.settings = {
            key: value
            for key, value in config.items()
            if isinstance(value, str | int | float | bool)
            and str(value)[:1] not in ("$", "@")
            and not key.startswith("_")
            and key not in _UNSAID
            and (key in _SHAPED or not same(value, shipped.get(key)))
        }

    def run(self) -> FineTuneResult | None:
        """Predict the held-out part with both, judge, write; nothing in other processes than the first."""
        if idist.get_rank() != 0:
            return None
        views = self.manifest.views or None
        base = open_manifest(self.manifest_path, self.dataset_dir, views=views, match_names=self.match_names)
        bundle = Bundle.open(self.output_dir / "bundle")
        part = base.part(held_out(base)[0])
        tables = {}
        for who, root in (("child", bundle.root), ("parent", self.parent)):
            model = Model.open(root, amp=self.amp, any_modality=self.any_modality, gate="off")
            predicted = model.predict(part.paths(), list(part.table["image"]))
            tables[who] = predicted.table
            write_judged(self.output_dir, who, predicted.table, predicted.about)
        maps = None
        if self.boxes:
            label, out = bundle.labels[0], self.output_dir
            maps = localise_both(bundle.root, self.parent, self.boxes, base, label, out, self.amp, self.any_modality)
        return finish_child(bundle, self.parent, self.manifest, base, tables, self.settings, maps)


def write_judged(folder: Path, who: str, table: pd.DataFrame, about: Mapping[str, Any]) -> None:
    """Write what a bundle predicts of the images that are judged."""
    labels = list(table.columns[1:])
    write_predictions(
        folder / f"predictions_{who}.csv", list(table["image"]), table[labels].to_numpy(), labels, dict(about)
    )


def finish_child(
    child: Bundle,
    parent: Path,
    manifest: Manifest,
    base: Manifest,
    tables: Mapping[str, pd.DataFrame],
    settings: Mapping[str, Any],
    maps: MapComparison | None = None,
) -> FineTuneResult:
    """Judge a child by its and its parent's predictions, and write metadata, lineage and card into its bundle.

    Beside the bundle stands then ``judged.json``: what came of it, and the mark of completion of the predictions.

    Args:
        child: with weights and calibration, of one label.
        parent: its parent's folder.
        manifest: what it was trained on.
        base: the whole table, without a scheme.
        tables: predictions of ``child`` and ``parent`` on the held-out part.
        settings: for the lineage.
        maps: where the two look, if there are boxes.
    """
    (label,), scheme, parents = child.labels, child.scheme, Bundle.open(parent).metadata
    result = compare_with_parent(tables["child"], tables["parent"], base, label, scheme, parent)
    result = replace(result, maps=maps)
    against = "normal chests" if scheme.against_normal else "all other images"
    named = {
        "name": f"Chest X-ray, {label} ({parents.get('name', 'parent')}, fine-tuned)",
        "description": f"Probability of {label} against {against}, fine-tuned from "
        f"'{parents.get('name', '')}'. {result.conclusion}",
    }
    write_json(child.root / METADATA, {**child.metadata, **named})
    add_parent(child.root, parents)
    data, measured = _data(manifest, label), result.measured()
    write_lineage(child.root, [parent], MADE_BY, data=data, settings=settings, measured=measured)
    finished = Bundle.open(child.root)
    write_durably(child.root / "docs" / "card.md", card_markdown(finished, card_parts(finished)).encode())
    _write_result(child.root.parent, {"disease": label, "conclusion": result.conclusion, "measured": measured})
    logger.info("the child and its parent:\n%s", "\n".join(result.lines()))
    return result


def _write_result(folder: Path, content: dict[str, Any]) -> None:
    """Write ``judged.json`` beside the child's bundle, last, with the mark of completion of what was judged."""
    seal(content, folder, sorted(path.name for path in folder.glob("predictions_*.csv*")))
    write_durably(folder / "judged.json", (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())


def _data(manifest: Manifest, label: str) -> dict[str, Any]:
    """Return digest and counts of what was trained on; no names."""
    labels = manifest.labels([label]).tobytes()
    content: dict[str, Any] = {
        "digest": hashlib.sha256(split_digest(manifest.table).encode() + labels).hexdigest(),
        "label_version": manifest.label_version,
    }
    if drawn := int(manifest.table["source"].map(is_phantom).sum()):
        content["synthetic_images"] = drawn
    for name in ("train", "val"):
        part = manifest.part(name)
        content[f"{name}_images"] = len(part)
        content[f"{name}_patients_with"], content[f"{name}_patients_without"] = patients_by_label(part, label)
    return content
