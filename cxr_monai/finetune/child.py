"""The end of a fine-tuning: the child judged, and what came of it written into its bundle.

``Child.run`` comes after the training. It leaves in ``OUT/bundle``: the name and description in the metadata,
``docs/card.md`` with the verdict, and ``lineage.json``; and beside it ``OUT/predictions_parent.csv`` and
``OUT/predictions_child.csv``, of the images that were judged.
"""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import pandas as pd

from cxr_monai.bundle.bundle_folder import Bundle, read_json, write_json
from cxr_monai.bundle.configuration import running_parser, same
from cxr_monai.bundle.origin import TRAINED_ON, add_parent
from cxr_monai.bundle.workflow import PATHS
from cxr_monai.completion import seal
from cxr_monai.data.dataset import open_manifest
from cxr_monai.data.manifest import Manifest, split_digest
from cxr_monai.durable import write_durably
from cxr_monai.evaluation.fitted import read_calibration
from cxr_monai.evaluation.predictions import write_predictions
from cxr_monai.finetune.against_parent import FineTuneResult, judge
from cxr_monai.finetune.box_comparison import Localised, localise_both
from cxr_monai.finetune.disease import held_out, patients_by_label
from cxr_monai.inference.model import Model
from cxr_monai.origins import PHANTOM_SOURCE, source_of
from cxr_monai.plurals import be, counted
from cxr_monai.schemes import LabelScheme
from cxr_monai.sharing.trust.lineage import write_lineage
from cxr_monai.sharing.trust.open_trusted import open_trusted

MADE_BY = "cxr-monai finetune"
_SHAPED = ("disease", "against", "head_epochs", "block_epochs", "blocks", "block_rate", "norm_statistics", "epochs")
_UNSAID = (*PATHS, "experiment", "run_name", "tracking_uri", "restart", "labels", "label_scheme", "num_workers")

logger = logging.getLogger(__name__)


class ChildBundle:
    """The last component of ``cxr_transfer``.

    Args:
        parent: the parent's folder, or the name of one that is installed.
        manifest: the images that were trained on.
        manifest_path, dataset_dir: of the whole table; images that the child's question leaves out are judged as well.
        scheme, findings: of the child.
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
        scheme: LabelScheme,
        findings: Sequence[str],
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
        self.scheme, self.label, self.output_dir, self.amp = scheme, findings[0], Path(output_dir), amp
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
        base = open_manifest(self.manifest_path, self.dataset_dir, match_names=self.match_names)
        bundle = Bundle.open(self.output_dir / "bundle")
        part = base.part(held_out(base)[0])
        tables = {}
        for who, root in (("child", bundle.root), ("parent", self.parent)):
            model = Model.open(root, amp=self.amp, any_modality=self.any_modality)
            predicted = model.predict(part.paths(), list(part.table["image"]))
            tables[who] = predicted.table
            write_judged(self.output_dir, who, predicted.table, predicted.about)
        found = None
        if self.boxes:
            found = localise_both(
                bundle.root, self.parent, self.boxes, base, self.label, self.output_dir, self.amp, self.any_modality
            )
        return finish(bundle, self.parent, self.manifest, base, self.label, self.scheme, tables, self.settings, found)


def write_judged(folder: Path, who: str, table: pd.DataFrame, about: Mapping[str, Any]) -> None:
    """Write what a bundle predicts of the images that are judged."""
    labels = list(table.columns[1:])
    write_predictions(
        folder / f"predictions_{who}.csv", list(table["image"]), table[labels].to_numpy(), labels, dict(about)
    )


def finish(
    child: Bundle,
    parent: Path,
    manifest: Manifest,
    base: Manifest,
    label: str,
    scheme: LabelScheme,
    tables: Mapping[str, pd.DataFrame],
    settings: Mapping[str, Any],
    found: Localised | None = None,
) -> FineTuneResult:
    """Judge a child by its and its parent's predictions, and write card, metadata and lineage into its bundle.

    Beside the bundle stands then ``judged.json``: what came of it, and the mark of completion of the predictions.

    Args:
        child: with weights and calibration.
        parent: its parent's folder.
        manifest: what it was trained on.
        base: the whole table, without a scheme.
        label, scheme: of the child.
        tables: predictions of ``child`` and ``parent`` on the held-out part.
        settings: for the lineage.
        found: where the two look, if there are boxes.
    """
    judged = judge(tables["child"], tables["parent"], base, label, scheme, parent)
    judged = replace(judged, localised=found)
    opened = Bundle.open(parent)
    data = _data(manifest, label)
    metadata = dict(child.metadata)
    against = "normal chests" if scheme.against_normal else "all other images"
    metadata |= {
        "name": f"Chest X-ray, {label} ({opened.metadata.get('name', 'parent')}, fine-tuned)",
        "description": f"Probability of {label} against {against}, fine-tuned from "
        f"'{opened.metadata.get('name', '')}'. {judged.conclusion}",
    }
    write_json(child.root / "configs" / "metadata.json", metadata)
    add_parent(child.root, opened.metadata)
    card = _card(judged, opened, scheme, data, Bundle.open(child.root))
    write_durably(child.root / "docs" / "card.md", card.encode())
    measured = {"part": judged.part, **judged.comparisons[0].to_json()}
    for other in judged.comparisons[1:]:
        measured[f"against_{other.asked}"] = other.to_json()
    if found is not None:
        measured["localisation"] = found.to_json()
    write_lineage(child.root, [parent], MADE_BY, data=data, settings=settings, measured=measured)
    _write_result(child.root.parent, {"disease": label, "conclusion": judged.conclusion, "measured": measured})
    logger.info("the child and its parent:\n%s", "\n".join(judged.lines()))
    return judged


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
    if drawn := int((manifest.table["source"] == PHANTOM_SOURCE).sum()):
        content["synthetic_images"] = drawn
    for name in ("train", "val"):
        part = manifest.part(name)
        content[f"{name}_images"] = len(part)
        content[f"{name}_patients_with"], content[f"{name}_patients_without"] = patients_by_label(part, label)
    return content


def _card(judged: FineTuneResult, parent: Bundle, scheme: LabelScheme, data: Mapping[str, Any], child: Bundle) -> str:
    """Return the model card as Markdown."""
    label, own = judged.label, judged.comparisons[0]
    against = "a normal chest (images with other findings alone were left out)"
    calibrated = read_calibration(child.calibration, child.labels)
    rows = [
        f"| {who} | {value:.3f} | {own.calibration[key]['ece_mass']:.3f} | {own.calibration[key]['brier']:.3f} |"
        for who, key, value in (("child", "child", own.child), ("parent", "parent", own.parent))
        if key in own.calibration
    ]
    thresholds = (calibrated.points.get(label) if calibrated else None) or {}
    points = [f"| {rule} | {threshold:.3f} |" for rule, threshold in thresholds.items()]
    lines = [
        f"# {label}: a bundle fine-tuned for one disease",
        "",
        "**Not a medical device; not for diagnosis.** Research and education.",
        "",
        f"It gives the probability of {label} in a frontal chest radiograph, against "
        f"{against if scheme.against_normal else 'all other images'}. It was fine-tuned from the bundle "
        f"'{parent.metadata.get('name', '')}' (version {parent.metadata.get('version', '')}, SHA-256 "
        f"{parent.digest}).",
        "",
        "## Better than its parent?",
        "",
        f"**{judged.conclusion}** Both were judged on the {judged.part} part of the images that the child was "
        "trained on, the same patients for both; the interval (95 %) is of whole patients, drawn again and again.",
        "",
        *(f"- {one.line(label)}" for one in judged.comparisons),
        *(f"- {note}" for note in judged.notes),
        "",
        "| | AUROC | calibration error (bins of equally many) | Brier score |",
        "|---|---|---|---|",
        *rows,
        "",
        *(
            ["Where the heat maps of the two look was not compared: there were no boxes."]
            if judged.localised is None
            else [f"- {line}" for line in judged.localised.lines(label)]
        ),
        "",
        "## Data",
        "",
        f"Trained on {counted(data['train_images'], 'image')} (patients with "
        f"{label}: {data['train_patients_with']:,}; with "
        f"images without it: {data['train_patients_without']:,}); the epoch, the calibration and the thresholds were "
        f"chosen on {data['val_images']:,} (patients: {data['val_patients_with']:,} and "
        f"{data['val_patients_without']:,}). Labels: {data['label_version']}.",
        *(["", f"Images: {source_of(child.metadata[TRAINED_ON])}."] if TRAINED_ON in child.metadata else []),
        "",
        *(["## Operating points", "", "| rule | threshold |", "|---|---|", *points, ""] if points else []),
        "## Limits",
        "",
        f"- It knows {label} alone and says nothing of any other finding.",
        *(
            ["- It has seen no image with other findings alone, and its probabilities do not hold among such images."]
            if scheme.against_normal
            else []
        ),
        f"- {counted(data['train_patients_with'], 'patient')} with {label} {be(data['train_patients_with'])} "
        "few: other patients would have made another "
        "network. The interval above does not hold that."
        if data["train_patients_with"] < 1000
        else "- The interval above holds the choice of judged patients, and not that of those trained on.",
        "- Where patients, machines or the prevalence differ, calibrate it anew ('cxr-monai calibrate').",
        "",
    ]
    return "\n".join(lines)
