"""How often are two sides of one worth called different? Simulated patients without any gap.

    python scripts/simulate_tests.py --sets 500

Patients have 1 to 30 images, 4 on average; a patient effect makes labels alike (correlation 0.6 on the latent scale)
and another one scores (0.5 of their variance); prevalence 5 %. A finding moves the score by 1.3 or 2.2 standard
deviations (AUROC 0.82 and 0.94). Gaps: a tenth or half of the patients (as sex does) or of the images (as the view
does) are a group, which has 10 to 100 patients with the finding. Comparison: the same score with two errors, which a
patient's images share in part. Each figure is the share of data sets with p < 0.05; 'naive' is DeLong's test by image.
"""

import argparse

import numpy as np
import pandas as pd
from scipy.stats import norm

from cxr_monai.evaluation.auroc import delong
from cxr_monai.evaluation.bootstrap import PatientBootstrap
from cxr_monai.evaluation.comparison import compare
from cxr_monai.evaluation.sample import Sample
from cxr_monai.evaluation.subgroups import subgroup_table

WITH_POSITIVE = 0.115  # of the patients, at 5 % prevalence


def draw(random: np.random.Generator, patients: int, shift: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    codes = np.repeat(np.arange(patients), np.clip(random.geometric(1 / 4, patients), 1, 30))
    label = np.sqrt(0.6) * random.normal(size=patients)[codes] + np.sqrt(0.4) * random.normal(size=codes.size)
    label = label > norm.isf(0.05)
    score = np.sqrt(0.5) * (random.normal(size=patients)[codes] + random.normal(size=codes.size)) + shift * label
    return codes, score, label.astype(float)


def sample(codes: np.ndarray, score: np.ndarray, label: np.ndarray, sex: np.ndarray) -> Sample:
    table = pd.DataFrame({"image": np.arange(codes.size).astype(str), "patient_id": codes.astype(str), "sex": sex})
    table = table.astype("str").assign(study_id="", view="", source="", age=np.nan, split="")
    return Sample.of(table, ["Mass"], 1 / (1 + np.exp(-score))[:, None], label[:, None])


def gap(seed: int, kind: str, fraction: float, positives: int, shift: float) -> list[float]:
    random = np.random.default_rng(seed)
    patients = round(positives / WITH_POSITIVE / fraction * (1 if kind == "patients" else 0.75))
    codes, score, label = draw(random, patients, shift)
    group = (random.random(patients) < fraction)[codes] if kind == "patients" else random.random(codes.size) < fraction
    one = sample(codes, score, label, np.where(group, "F", "M"))
    point = {"Mass": float(1 / (1 + np.exp(-(shift - 1.2816))))}
    table, _ = subgroup_table(one, PatientBootstrap(one.patients, 400, seed), ["sex"], 1, points=point)
    row = table.iloc[0]
    areas = [delong(score[side], label[side]) for side in (group, ~group)]
    naive = abs(areas[0].value - areas[1].value) / np.sqrt(areas[0].variance + areas[1].variance)
    return [
        row["positive_patients"], row["p"] < 0.05, not row["gap_low"] <= 0 <= row["gap_high"], naive > 1.96,
        row["sensitivity_p"] < 0.05, not row["sensitivity_gap_low"] <= 0 <= row["sensitivity_gap_high"],
        row["specificity_p"] < 0.05,
    ]  # fmt: skip


def paired(seed: int, positives: int, shift: float) -> list[float]:
    random = np.random.default_rng(seed)
    codes, score, label = draw(random, round(positives / WITH_POSITIVE), shift)
    errors = [random.normal(size=codes.max() + 1)[codes] + random.normal(size=codes.size) for _ in range(2)]
    first, second = (sample(codes, score + 0.3 * error, label, codes.astype(str)) for error in errors)
    row = compare(first, second, PatientBootstrap(first.patients, 400, seed)).iloc[0]
    precision = not row["average_precision_patient_low"] <= 0 <= row["average_precision_patient_high"]
    return [row["positive_patients"], row["patient_p"] < 0.05, row["p"] < 0.05, precision]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=500, help="data sets a row (default: %(default)s)")
    parser.add_argument("--only", choices=["comparison", "gaps"], help="one of the two (default: both)")
    arguments = parser.parse_args()
    sets = arguments.sets

    def row(words: list, shares: np.ndarray) -> None:
        cells = [*map(str, words), f"{shares[0]:.0f}", *(f"{100 * share:.1f}" for share in shares[1:])]
        print("| " + " | ".join(cells) + " |", flush=True)

    if arguments.only != "gaps":
        print("| shift | positive patients | AUROC, patients | AUROC, naive | average precision, interval |")
        print("|---|---|---|---|---|")
        for shift in (1.3, 2.2):
            for positives in (10, 20, 50, 100):
                row([shift], np.mean([paired(seed, positives, shift) for seed in range(sets)], axis=0))
    if arguments.only != "comparison":
        print("\n| group | shift | positive patients | AUROC | its interval | AUROC, naive", end="")
        print(" | sensitivity | its interval | specificity |\n|---|---|---|---|---|---|---|---|---|")
        for kind, fraction in (("patients", 0.1), ("images", 0.1), ("patients", 0.5), ("images", 0.5)):
            for shift in (1.3, 2.2):
                for positives in (10, 20, 50, 100) if fraction < 0.5 else (10, 20, 50):
                    words = [f"{fraction:.0%} of {kind}", shift]
                    row(words, np.mean([gap(seed, kind, fraction, positives, shift) for seed in range(sets)], axis=0))


if __name__ == "__main__":
    main()
