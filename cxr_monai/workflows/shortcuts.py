"""Shortcuts: how much of a network's answer is left when a film loses its lungs, its corners, its border, its detail.

    shortcuts = shortcut_table(model, manifest, masks="CheXmask/OriginalResolution/ChestX-Ray8.csv")
    shortcuts.effects                     # change by finding: AUROC before and after, change of the probabilities
    shortcuts.verdicts                    # finding, flagged, and the sentence that says why

    baseline = lesion_baseline(model)     # the same on phantoms whose only cue is the lesion
    beside(shortcuts, baseline)           # the effects, with the phantoms' figures in further columns

A finding of the lungs that is still told without the lungs, or any finding that is told from the border alone, is
flagged: the network knows it from something else, such as a token, a tube, the view, or the outline that the blanked
lungs leave. That is a reason to look, not a proof: an effusion or an emphysema changes the outline too.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cxr_monai.composites import COMPOSITES
from cxr_monai.data.film_changes import CHANGES, ONLY_BORDER, WITHOUT_CORNERS, WITHOUT_LUNGS, changed_films
from cxr_monai.data.lung_masks import ArrayMask, LungMasks, read_lung_masks
from cxr_monai.data.manifest import Manifest
from cxr_monai.data.phantom import draw_phantom
from cxr_monai.errors import Code, EvaluationError
from cxr_monai.evaluation.bootstrap import Intervals
from cxr_monai.evaluation.change_effects import change_effects
from cxr_monai.evaluation.metrics_table import MEAN
from cxr_monai.evaluation.sample import Sample
from cxr_monai.inference.film_variants import read_variants
from cxr_monai.inference.model import Model
from cxr_monai.labels import NIH14
from cxr_monai.plurals import counted

ELSEWHERE = ("Cardiomegaly", "Hernia")
"""Findings whose anatomy is not the lungs': they may well be told without them."""
IN_LUNGS = frozenset({*NIH14, *COMPOSITES}.difference(ELSEWHERE))
"""Findings of the lungs and the pleura."""
LEAST_AUROC = 0.6
"""An AUROC whose interval lies above it counts as telling the finding."""


@dataclass(frozen=True, eq=False)
class Shortcuts:
    """The result of the shortcut tests.

    Attributes:
        effects: as of `cxr_monai.evaluation.change_effects.change_effects`, each of `CHANGES`.
        verdicts: ``finding, flagged`` (NA where there are too few films to say) and ``sentence``.
        masks: how many films had which kind of lung mask.
        errors: name, code and reason of the films that could not be read.
        settings: what each change does, where the masks come from, the limits, the intervals.
    """

    effects: pd.DataFrame
    verdicts: pd.DataFrame
    masks: Mapping[str, int]
    errors: list[tuple[str, str, str]] = field(default_factory=list)
    settings: Mapping[str, Any] = field(default_factory=dict)


def shortcut_table(
    model: Model,
    manifest: Manifest,
    masks: LungMasks | str | Path | None = None,
    *,
    intervals: Intervals | None = None,
    batch_size: int | None = None,
    num_workers: int | None = None,
) -> Shortcuts:
    """Return what is left of a network's answers on a table's films after each change.

    Each film is read once, changed as it is stored, and goes through the bundle's own preprocessing.

    Args:
        model: an opened bundle.
        manifest: frontal films; findings that both know are judged.
        masks: of the lungs: as of `cxr_monai.data.lung_masks.read_lung_masks`, or its source; None for the simple
            segmentation.
        intervals: of the bootstrap of patients.
        batch_size, num_workers: other ones than the model's settings.

    Raises:
        EvaluationError: ``evaluation-invalid`` if table and network have no finding in common, or no film can be read.
        ManifestError: ``source-invalid`` of the masks.
    """
    findings = tuple(label for label in model.labels if label in manifest.findings)
    if not findings:
        raise EvaluationError(
            Code.EVALUATION_INVALID,
            f"the network tells {', '.join(model.labels)}; the table has {', '.join(manifest.findings) or 'none'}.",
            fix="Give a table that labels a finding of the network's.",
        )
    names = list(manifest.table["image"])
    if not isinstance(masks, LungMasks):
        masks = read_lung_masks(masks, names, by_name=manifest.by_name)
    nothing = np.zeros((len(manifest), len(findings)))
    sample = Sample.of(manifest.table, findings, nothing, manifest.labels(findings))
    return _tested(model, manifest.paths(), sample, masks, intervals or Intervals(), batch_size, num_workers)


def lesion_baseline(
    model: Model,
    count: int = 40,
    size: int = 256,
    seed: int = 0,
    *,
    intervals: Intervals | None = None,
    batch_size: int | None = None,
    num_workers: int | None = None,
) -> Shortcuts:
    """Return the same as `shortcut_table` on phantoms whose only cue is the lesion: what the changes alone do.

    Each finding's films are compared with films of the same patients, of the same breath and exposure, without it; no
    age, view or other finding goes with it. The masks are the truth. What a network that reads the lesion keeps of its
    AUROC there, it keeps because of the change: an outline that the mask leaves, a lesion that reaches beyond it.
    It says little where the network does not tell the phantoms' findings to begin with.

    Args:
        model: an opened bundle.
        count: of patients, at least 2; one film of each with each finding, and one without any.
        size: height and width of the films.
        seed: of the phantoms.
        intervals, batch_size, num_workers: as of `shortcut_table`.

    Raises:
        EvaluationError: ``evaluation-invalid`` if the network tells none of the phantoms' findings.
    """
    findings = tuple(label for label in model.labels if label in NIH14)
    if not findings:
        raise EvaluationError(
            Code.EVALUATION_INVALID,
            f"the network tells {', '.join(model.labels)}, and none of them is drawn in phantoms.",
            fix=f"Phantoms have {', '.join(NIH14)}.",
        )
    films, rows, labels, truths = [], [], [], {}
    for patient in range(1, count + 1):
        for finding in ("", *findings):
            phantom = draw_phantom(
                seed, size, [finding] if finding else [], patient=patient, sex="MF"[patient % 2],
                view=("PA", "AP")[patient // 2 % 2],
            )  # fmt: skip
            name = f"phantom {patient} {finding or 'without a finding'}"
            films.append({"image": np.round(phantom.pixels * 255).astype(np.uint8), "image_bits": 8})
            rows.append({"image": name, "patient_id": str(patient), "source": "phantom"})
            labels.append([float(other == finding) if finding in ("", other) else np.nan for other in findings])
            truths[name] = ArrayMask(phantom.lungs)
    note = f"Phantoms of {counted(count, 'patient')}, {size} x {size} pixels, seed {seed}: the only cue is the lesion."
    sample = Sample.of(pd.DataFrame(rows), findings, np.zeros((len(rows), len(findings))), np.array(labels))
    masks = LungMasks(truths, (note,))
    return _tested(model, films, sample, masks, intervals or Intervals(), batch_size, num_workers)


def beside(shortcuts: Shortcuts, baseline: Shortcuts) -> pd.DataFrame:
    """Return the effects with those on phantoms: ``baseline_auroc``, ``baseline_auroc_changed`` (NaN: none there)."""
    columns = ["auroc", "auroc_changed"]
    table = baseline.effects.set_index(["change", "finding"])[columns].add_prefix("baseline_")
    return shortcuts.effects.join(table, on=["change", "finding"])


def _tested(
    model: Model,
    films: Sequence[Any],
    sample: Sample,
    masks: LungMasks,
    intervals: Intervals,
    batch_size: int | None,
    num_workers: int | None,
) -> Shortcuts:
    """Predict all films in all changes and judge them; the sample's scores are not read."""
    names, variants = list(sample.table["image"]), list(CHANGES)
    columns = [model.labels.index(finding) for finding in sample.findings]
    probabilities, done, errors, kinds = [], [], [], Counter[str]()
    change = _Change(masks)
    batches = read_variants(model, films, names, variants, change, batch_size, num_workers, "looking for shortcuts")
    position = 0
    with closing(batches):
        for batch in batches:
            logits = [model.logits(batch.images[:, version])[batch.readable] for version in range(1 + len(variants))]
            probabilities.append(np.stack([model.probabilities(part)[:, columns] for part in logits]))
            done += [position + readable for readable in batch.readable]
            kinds.update(batch.remarks[readable] for readable in batch.readable)
            errors += batch.errors
            position += len(batch.names)
    if not done:
        raise EvaluationError(
            Code.EVALUATION_INVALID,
            f"no film could be read: {errors[0][2]}" if errors else "there is no film.",
            fix="'cxr-monai check MANIFEST --pixels' lists every file that cannot be read.",
        )
    usual, *changed = np.concatenate(probabilities, axis=1)
    sample = sample.take(np.array(done)).with_scores(usual)
    effects = change_effects(sample, dict(zip(variants, changed, strict=True)), intervals)
    settings = {
        "changes": dict(CHANGES),
        "masks": list(masks.notes),
        "least_auroc": LEAST_AUROC,
        "images": len(sample),
        "patients": int(np.unique(sample.patients).size),
        "level": intervals.level,
        "replicates": intervals.replicates,
        "seed": intervals.seed,
    }
    return Shortcuts(effects, judge_shortcuts(effects), dict(kinds), errors, settings)


@dataclass(frozen=True, eq=False)
class _Change:
    """A film to its changes, and the kind of its lung mask."""

    masks: LungMasks

    def __call__(self, name: str, pixels: np.ndarray) -> tuple[Mapping[str, np.ndarray], str]:
        mask = self.masks.of(name, pixels)
        return changed_films(pixels, mask.lungs), mask.kind


def judge_shortcuts(effects: pd.DataFrame) -> pd.DataFrame:
    """Return which findings are told without what they are told by.

    A finding is flagged if it is told from the border alone, and a finding of the lungs also if it is told without
    them; told means that the AUROC's interval lies above `LEAST_AUROC`. For findings of other anatomy, and for those
    whose anatomy is not known here, the AUROC without the lungs is no sign.

    Args:
        effects: as of `cxr_monai.evaluation.change_effects.change_effects`.

    Returns:
        ``finding, flagged`` (boolean; NA where an interval is not defined), ``sentence``.
    """
    by_change = {change: part.set_index("finding") for change, part in effects.groupby("change")}
    rows = []
    for finding in effects["finding"].drop_duplicates():
        if finding != MEAN:
            figures = [by_change[change].loc[finding] for change in (WITHOUT_LUNGS, ONLY_BORDER, WITHOUT_CORNERS)]
            rows.append((finding, *_verdict(finding, *figures)))
    table = pd.DataFrame(rows, columns=["finding", "flagged", "sentence"])
    return table.astype({"flagged": "boolean"})


def _verdict(finding: str, lungs: pd.Series, border: pd.Series, corners: pd.Series) -> tuple[bool | None, str]:
    if np.isnan(lungs["auroc_changed_low"]) or np.isnan(border["auroc_changed_low"]):
        return None, f"{finding}: too few films with or without it to say."
    parts = [f"{finding}: AUROC {lungs['auroc']:.2f} on the films as they are, {_figure(lungs)} without the lungs, "
             f"{_figure(border)} from the border alone."]  # fmt: skip
    told, at_border = lungs["auroc_changed_low"] > LEAST_AUROC, border["auroc_changed_low"] > LEAST_AUROC
    if finding in IN_LUNGS and told:
        parts.append("It is told without the lungs in which it lies: look for what else goes with it.")
    elif finding in ELSEWHERE:
        parts.append("It does not lie in the lungs, so it may be told without them; the border decides.")
    elif finding not in IN_LUNGS:
        parts.append("Where it lies is not known here, so the border alone decides.")
    if at_border:
        parts.append("It is told from the border alone, where nobody reads it.")
    if corners["difference_high"] < 0:
        parts.append(f"Without the corners it loses {-corners['difference']:.2f}.")
    flagged = bool(at_border or (told and finding in IN_LUNGS))
    return flagged, " ".join(parts if flagged or finding not in IN_LUNGS else [*parts, "No shortcut is seen."])


def _figure(row: pd.Series) -> str:
    return f"{row['auroc_changed']:.2f} ({row['auroc_changed_low']:.2f} to {row['auroc_changed_high']:.2f})"
