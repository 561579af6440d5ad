"""A fine-tuning in words: what a child's lineage records of it and of its parent, for the terminal and the model card.

    comparison_sentence("Mass", {"against": "normal", "auroc": 0.81, ...})   # "Mass against normal chests (...): ..."
    fine_tuning = FineTuning.of(bundle)         # of a child, or a copy of one that was calibrated anew; else None
    fine_tuning.part()                          # of its card

The figures are those that ``cxr_monai.finetune`` measured and wrote into ``lineage.json``; a card that is written later
reads them there.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cxr_monai.bundle.bundle_folder import Bundle
from cxr_monai.errors import Code, SharingError
from cxr_monai.evaluation.comparison import BETTER, NOT_DISTINGUISHABLE, TOO_FEW, WORSE
from cxr_monai.plurals import be, counted
from cxr_monai.report.card_part import CardPart
from cxr_monai.report.cells import Cell, Table
from cxr_monai.sharing.trust.lineage import LINEAGE, Generation, read_lineage

MADE_BY = "cxr-monai finetune"
"""What a child's lineage says that it was made by."""
UNKNOWN_TO_PARENT = "the parent does not know the disease"
"""The verdict where there is nothing to compare a child with."""
MAP_FIGURES = {"pointing": "maximum in a box", "energy": "share of the map in the boxes"}
"""What maps of child and parent are compared by, and its name in a sentence."""
_MANY = 1000
"""Patients with the disease from which on it matters little which ones they were."""


def verdict_sentence(verdict: str) -> str:
    """Return what to do about a verdict of ``cxr_monai.evaluation.comparison``, as a sentence."""
    return {
        BETTER: "The child is better than its parent.",
        WORSE: "THE CHILD IS WORSE THAN ITS PARENT: use the parent.",
        NOT_DISTINGUISHABLE: "The child cannot be told from its parent by these patients: nothing speaks for it.",
        TOO_FEW: "There are too few patients to say whether the child is better than its parent.",
        UNKNOWN_TO_PARENT: "There is nothing to compare the child with: its parent does not know this disease.",
    }[verdict]


def comparison_sentence(label: str, figures: Mapping[str, Any]) -> str:
    """Return how well child and parent tell a disease from what it is asked against.

    Args:
        label: the disease.
        figures: ``against`` (``normal`` or ``others``), ``images``, ``patients``, ``positive_patients``, ``verdict``;
            ``auroc`` and, where the parent knows the disease, ``parent_auroc`` and ``difference``; ``low`` and
            ``high`` of the difference, else of the child's AUROC. What is missing is not defined.
    """
    question = f"{label} against {'normal chests' if figures['against'] == 'normal' else 'all other images'}"
    images, patients = counted(figures["images"], "image"), counted(figures["patients"], "patient")
    question += f" ({images} of {patients}, {figures['positive_patients']:,} with it)"
    if "auroc" not in figures:
        return f"{question}: no AUROC, which needs images with it and without."
    low, high = (figures.get(end, math.nan) for end in ("low", "high"))
    if "parent_auroc" not in figures:
        return f"{question}: AUROC {figures['auroc']:.3f} [{low:.3f}, {high:.3f}]; the parent does not know it."
    return (
        f"{question}: AUROC {figures['auroc']:.3f}, the parent's {figures['parent_auroc']:.3f}, "
        f"difference {figures['difference']:+.3f} [{low:+.3f}, {high:+.3f}]: {figures['verdict']}."
    )


def map_sentences(label: str, figures: Mapping[str, Any]) -> list[str]:
    """Return how well the class maps of child and parent point at boxes of a disease, a sentence for each figure.

    Args:
        label: the disease.
        figures: ``cases`` and ``patients``; of each of :data:`MAP_FIGURES` ``child_NAME``, and where the parent knows
            the disease ``parent_NAME``, ``NAME_difference``, ``NAME_low`` and ``NAME_high``.
    """
    images, patients = counted(figures["cases"], "boxed image"), counted(figures["patients"], "patient")
    sentences = []
    for name, meaning in MAP_FIGURES.items():
        sentence = f"Heat maps of {label} ({images} of {patients}), {meaning}: {figures[f'child_{name}']:.3f}"
        if f"parent_{name}" in figures:
            interval = "too few patients for an interval"
            if f"{name}_low" in figures:
                interval = f"[{figures[f'{name}_low']:+.3f}, {figures[f'{name}_high']:+.3f}]"
            difference = figures.get(f"{name}_difference", math.nan)
            sentence += f", the parent's {figures[f'parent_{name}']:.3f}, difference {difference:+.3f} {interval}"
        sentences.append(f"{sentence}.")
    return sentences


def result_sentences(label: str, measured: Mapping[str, Any]) -> list[str]:
    """Return what came of a fine-tuning: the conclusion, both comparisons, the maps, and what else must be known.

    Args:
        label: the disease.
        measured: of the child's lineage (``cxr_monai.finetune.against_parent.FineTuneResult.measured``).
    """
    sentences = [verdict_sentence(measured["verdict"]), comparison_sentence(label, measured)]
    if "against_others" in measured:
        sentences.append(comparison_sentence(label, measured["against_others"]))
    if "localisation" in measured:
        sentences += map_sentences(label, measured["localisation"])
    return [*sentences, *map(str, measured.get("notes", ()))]


@dataclass(frozen=True)
class FineTuning:
    """What is recorded of how a child was made of its parent.

    Attributes:
        label: the disease.
        generation: the child's, of its lineage.
        parent: the parent's name, version and digest.
    """

    label: str
    generation: Generation
    parent: tuple[str, str, str]

    @classmethod
    def of(cls, bundle: Bundle) -> "FineTuning | None":
        """Return what a bundle's lineage records; None for a bundle that was not fine-tuned.

        Raises:
            SharingError: ``lineage-invalid``.
        """
        lineage = read_lineage(bundle.root)
        child, followed = lineage.generation, 0
        while child.made_by == "cxr-monai calibrate" and child.parents and followed < len(lineage.ancestors):
            child, followed = lineage.ancestors.get(child.parents[0], child), followed + 1
        if child.made_by != MADE_BY or not child.parents or "against" not in child.measured:
            return None
        parent = lineage.ancestors.get(child.parents[0])
        named = (parent.name, parent.version) if parent else ("", "")
        return cls(bundle.labels[0], child, (*named, child.parents[0]))

    def part(self) -> CardPart:
        """Return the part of the card that says what came of the fine-tuning.

        Raises:
            SharingError: ``lineage-invalid`` if the figures are none.
        """
        try:
            return CardPart("Better than its parent?", self._lines(), tables=(self._table(),))
        except (LookupError, TypeError, ValueError) as error:
            raise SharingError(
                Code.LINEAGE_INVALID,
                f"what {LINEAGE} says of the fine-tuning is not what 'cxr-monai finetune' writes ({error}).",
                fix="Get the bundle again from its sender.",
            ) from error

    def _lines(self) -> tuple[str, ...]:
        label, measured, data = self.label, self.generation.measured, self.generation.data
        normal = "a normal chest (images with other findings alone were left out)"
        name, version, digest = self.parent
        verdict, *sentences = result_sentences(label, measured)
        if "localisation" not in measured:
            sentences.append("Where the heat maps of the two look was not compared: there were no boxes.")
        return (
            f"It gives the probability of {label} in a frontal chest radiograph, against "
            f"{normal if measured['against'] == 'normal' else 'all other images'}. It was fine-tuned from the bundle "
            f"'{name}' (version {version}, SHA-256 {digest}).",
            f"{verdict} Both were judged on the {measured['part']} part of the images that the child was trained on, "
            "the same patients for both; the interval (95 %) is of whole patients, drawn again and again.",
            *sentences,
            f"Trained on {counted(data['train_images'], 'image')} (patients with {label}: "
            f"{data['train_patients_with']:,}; with images without it: {data['train_patients_without']:,}); the "
            f"epoch, the calibration and the thresholds were chosen on {data['val_images']:,} (patients: "
            f"{data['val_patients_with']:,} and {data['val_patients_without']:,}). Labels: {data['label_version']}.",
        )

    def _table(self) -> Table:
        measured = self.generation.measured
        rows = []
        for who, auroc in (("child", "auroc"), ("parent", "parent_auroc")):
            values = [measured.get(name, math.nan) for name in (auroc, f"{who}_ece_mass", f"{who}_brier")]
            if f"{who}_brier" in measured:
                rows.append(tuple(map(Cell, (who, *(f"{value:.3f}" for value in values)))))
        heads = ("", "AUROC", "calibration error (bins of equally many)", "Brier score")
        return Table("Child and parent", heads, tuple(rows))

    def limits(self) -> Sequence[tuple[str, str]]:
        """Return what the child cannot do, for the card's limits."""
        label, patients = self.label, self.generation.data.get("train_patients_with", 0)
        limits = [(f"It knows {label} alone", "and says nothing of any other finding.")]
        if self.generation.measured["against"] == "normal":
            unseen = "and its probabilities do not hold among such images."
            limits.append(("It has seen no image with other findings alone,", unseen))
        interval = "the interval of the difference from its parent"
        if patients < _MANY:
            few = f"{counted(patients, 'patient')} with {label} {be(patients)} few:"
            limits.append((few, f"other patients would have made another network, which {interval} does not hold."))
        else:
            limits.append((f"{interval[:1].upper()}{interval[1:]}", "does not hold which patients were trained on."))
        anew = "calibrate it anew ('cxr-monai calibrate')."
        return [*limits, ("Where patients, machines or the prevalence differ,", anew)]
