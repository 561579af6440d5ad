"""Do the 95 % intervals hold the truth 95 times of 100? Simulated patients whose true figures are known.

    python scripts/simulate_coverage.py --out coverage
    python scripts/simulate_coverage.py --out coverage --sets 200 --prevalence 0.05 0.2 --positive-patients 20

A scenario is a prevalence and an expected number of patients with at least one positive image. Patients have 1 to 30
images, 4 on average. A patient effect makes a patient's labels alike (correlation 0.6 on the latent normal scale) and
another one makes the scores alike (0.5 of their variance given the label); a present finding moves the score by 1.3
standard deviations (--shift). A large population is made once a prevalence, and its AUROC and average precision are
the truth; data sets are patients drawn from it. A last set of scenarios has one image a patient: there DeLong's
assumption is met.

For each data set: DeLong's interval, and the patient bootstrap's by plain percentiles and by percentiles widened for
the effective number of patients. Counts how often each holds the truth, how often the truth lies below or above it,
and how often there is no interval at all (no positive in the data set or in more than a tenth of the replicates).

Writes coverage.json after every hundred data sets, and coverage.md at the end. Started again with the same --out, it
goes on where it was. About a quarter of an hour on two cores.
"""

import argparse
import json
import multiprocessing
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import norm
from sklearn.metrics import average_precision_score

from cxr_monai.durable import write_durably
from cxr_monai.environment import usable_cores
from cxr_monai.evaluation.auroc import auroc, delong
from cxr_monai.evaluation.bootstrap import PatientBootstrap, bootstrap_interval
from cxr_monai.progress import progress_bar
from cxr_monai.stopping import ignore_signals

PREVALENCES = (0.002, 0.01, 0.05, 0.2)
POSITIVE_PATIENTS = (10, 20, 50, 100)
LEVEL, CHUNK = 0.95, 100
LABELS_ALIKE, SCORES_ALIKE, IMAGES, MOST_IMAGES = 0.6, 0.5, 4, 30
KINDS = {
    "auroc, DeLong": "AUROC, DeLong by image",
    "auroc, percentile": "AUROC, plain percentiles",
    "auroc, widened": "AUROC, widened percentiles",
    "average precision, percentile": "average precision, plain percentiles",
    "average precision, widened": "average precision, widened percentiles",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("coverage"), help="results (default: %(default)s)")
    parser.add_argument("--sets", type=int, default=2000, help="data sets a scenario (default: %(default)s)")
    parser.add_argument("--replicates", type=int, default=400, help="of the bootstrap (default: %(default)s)")
    parser.add_argument("--prevalence", type=float, nargs="+", default=PREVALENCES, help="(default: %(default)s)")
    parser.add_argument(
        "--positive-patients", type=int, nargs="+", default=POSITIVE_PATIENTS, help="(default: %(default)s)"
    )
    parser.add_argument("--shift", type=float, default=1.3, help="how good the scores are (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=usable_cores(), help="processes (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="(default: %(default)s)")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    file = arguments.out / "coverage.json"
    settings = {"replicates": arguments.replicates, "seed": arguments.seed, "shift": arguments.shift, "level": LEVEL}
    results = json.loads(file.read_text()) if file.exists() else {"settings": settings, "scenarios": {}}
    if results["settings"] != settings:
        parser.error(f"{file} was made with {results['settings']}, not {settings}; choose another --out")
    scenarios = [
        Scenario(prevalence, count, images)
        for prevalence, images in [*((each, IMAGES) for each in arguments.prevalence), (0.05, 1)]
        for count in sorted(arguments.positive_patients, reverse=True)
    ]
    population: Population | None = None
    began = time.monotonic()
    for scenario in scenarios:
        row = results["scenarios"].setdefault(str(scenario), {**asdict(scenario), "sets": 0})
        if row["sets"] >= arguments.sets:
            continue
        if population is None or (population.prevalence, population.images) != (scenario.prevalence, scenario.images):
            population = Population.of(scenario.prevalence, scenario.images, arguments.seed, arguments.shift)
        row |= {"patients": population.patients_for(scenario.positive_patients), **population.truth}
        todo = range(row["sets"], arguments.sets, CHUNK)
        work = partial(judge_chunk, population, scenario, arguments)
        for counts in progress_bar(
            spread(work, todo, arguments.jobs), total=len(todo), desc=str(scenario), unit="parts"
        ):
            add(row, counts)
            write_durably(file, (json.dumps(results, indent=2) + "\n").encode())
        print(f"{scenario}: {row['sets']} data sets; {summary(row)} [{time.monotonic() - began:.0f} s]", flush=True)
    write_durably(arguments.out / "coverage.md", as_markdown(results).encode())
    print(f"\n{as_markdown(results)}\n{arguments.out / 'coverage.md'}")
    return 0


# -- what is simulated


@dataclass(frozen=True)
class Scenario:
    """A prevalence by image, the expected number of patients with a positive image, the mean number of images."""

    prevalence: float
    positive_patients: int
    images: int = IMAGES

    def __str__(self) -> str:
        alone = ", one image a patient" if self.images == 1 else ""
        return f"{self.prevalence:.1%}, {self.positive_patients} positive patients{alone}"


@dataclass(frozen=True, eq=False)
class Population:
    """Very many patients: ``first`` and ``count`` say which of the images' ``scores`` and ``labels`` are whose."""

    prevalence: float
    images: int
    first: np.ndarray
    count: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    truth: dict[str, float]
    positive_share: float

    @classmethod
    def of(
        cls, prevalence: float, images: int = IMAGES, seed: int = 0, shift: float = 1.3, patients: int | None = None
    ) -> "Population":
        """Simulate it, large enough for about 15,000 positive patients."""
        random = np.random.default_rng([seed, round(prevalence * 1e6), images])
        patients = patients or max(100_000, int(5000 * IMAGES / images / prevalence))
        count = np.minimum(random.geometric(1 / images, patients), MOST_IMAGES)
        owner = np.repeat(np.arange(patients), count)

        def mixed(share: float) -> np.ndarray:
            shared = random.standard_normal(patients, dtype=np.float32)[owner]
            shared *= np.float32(share**0.5)
            return shared + np.float32((1 - share) ** 0.5) * random.standard_normal(owner.size, dtype=np.float32)

        labels = mixed(LABELS_ALIKE) > norm.isf(prevalence)
        scores = mixed(SCORES_ALIKE) + np.float32(shift) * labels
        first = np.cumsum(count) - count
        positive = np.logical_or.reduceat(labels, first)
        truth = {"auroc": auroc(scores, labels), "average_precision": float(average_precision_score(labels, scores))}
        return cls(prevalence, images, first, count, scores, labels, truth, float(positive.mean()))

    def patients_for(self, positive_patients: int) -> int:
        return round(positive_patients / self.positive_share)

    def draw(self, random: np.random.Generator, patients: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return patient codes, scores and labels ``[N]`` of one data set."""
        chosen = random.integers(0, self.count.size, patients)
        count = self.count[chosen]
        codes = np.repeat(np.arange(patients), count)
        rows = np.arange(codes.size) + np.repeat(self.first[chosen] - (np.cumsum(count) - count), count)
        return codes, self.scores[rows].astype(float), self.labels[rows].astype(float)


# -- what is counted


def judge(population: Population, scenario: Scenario, replicates: int, seed: int, number: int) -> dict[str, Any]:
    """Return the intervals of one data set, (low, high) a kind."""
    place = [seed, round(scenario.prevalence * 1e6), scenario.images, scenario.positive_patients, number]
    random = np.random.default_rng(place)
    codes, scores, labels = population.draw(random, population.patients_for(scenario.positive_patients))
    area = delong(scores, labels, LEVEL)
    drawn = PatientBootstrap(codes, replicates, seed=int(random.integers(2**60))).ranking(scores, labels)
    return {
        "auroc, DeLong": (area.low, area.high),
        "auroc, percentile": bootstrap_interval(drawn.auroc, LEVEL),
        "auroc, widened": bootstrap_interval(drawn.auroc, LEVEL, effective=drawn.auroc_effective),
        "average precision, percentile": bootstrap_interval(drawn.average_precision, LEVEL),
        "average precision, widened": bootstrap_interval(
            drawn.average_precision, LEVEL, effective=drawn.average_precision_effective
        ),
    }


def judge_chunk(
    population: Population, scenario: Scenario, arguments: argparse.Namespace, start: int
) -> dict[str, Any]:
    """Return the counts of up to a hundred data sets."""
    counts: dict[str, Any] = {"sets": 0}
    for number in range(start, min(start + CHUNK, arguments.sets)):
        add(
            counts,
            {
                "sets": 1,
                **counted(judge(population, scenario, arguments.replicates, arguments.seed, number), population.truth),
            },
        )
    return counts


def counted(intervals: dict[str, Any], truth: dict[str, float]) -> dict[str, dict[str, float]]:
    """Return for each kind whether it holds the truth, or the truth is below or above, or there is no interval."""
    result = {}
    for kind, (low, high) in intervals.items():
        true = truth["auroc" if kind.startswith("auroc") else "average_precision"]
        there = bool(np.isfinite(low))
        result[kind] = {
            "held": int(low <= true <= high),
            "below": int(true < low),
            "above": int(true > high),
            "none": int(not there),
            "width": float(high - low) if there else 0.0,
        }
    return result


def add(total: dict[str, Any], part: dict[str, Any]) -> None:
    """Add counts, kind by kind."""
    for name, value in part.items():
        if isinstance(value, dict):
            add(total.setdefault(name, {}), value)
        else:
            total[name] = total.get(name, 0) + value


def spread(work: Any, todo: Sequence[int], jobs: int) -> Iterable[dict[str, Any]]:
    """Do the chunks in order, in several processes that share the population's memory."""
    if jobs == 1:
        yield from map(work, todo)
        return
    global _work
    _work = work  # inherited by the fork, not sent
    with multiprocessing.get_context("fork").Pool(jobs, ignore_signals) as pool:
        yield from pool.imap(_call, todo)


_work: Any = None


def _call(start: int) -> dict[str, Any]:
    return _work(start)


# -- what is printed


def share(counts: dict[str, float]) -> str:
    """Return '95.1 (2.0 | 2.9)': held; truth below, truth above; in per cent of the data sets with an interval."""
    there = counts["held"] + counts["below"] + counts["above"]
    if not there:
        return "-"
    held, below, above = (100 * counts[name] / there for name in ("held", "below", "above"))
    note = f", none in {counts['none']:.0f}" if counts["none"] else ""
    return f"{held:.1f} ({below:.1f} \\| {above:.1f}){note}"


def summary(row: dict[str, Any]) -> str:
    return "; ".join(f"{kind} {share(row[kind])}" for kind in KINDS).replace("\\|", "|")


def as_markdown(results: dict[str, Any]) -> str:
    """Return one row a scenario: how many per cent of the intervals hold the truth."""
    heads = ["prevalence", "positive patients", "images a patient", "patients", "data sets", *KINDS.values()]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in results["scenarios"].values():
        if row["sets"]:
            cells = [f"{row['prevalence']:.1%}", row["positive_patients"], row["images"], row["patients"], row["sets"]]
            lines.append(f"| {' | '.join(map(str, cells + [share(row[kind]) for kind in KINDS]))} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
