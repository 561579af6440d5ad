"""Is the planted cause of a drop named, and do the intervals hold the true drop and its true parts 95 times of 100?

    python scripts/simulate_drops.py --out drops --sets 1000
    python scripts/simulate_drops.py --out drops --only "view mix" "everything" --patients 400

Two simulated sites differ in what a scenario plants: the share of bedside films, of old patients, how much more often
bedside films have the finding, the prevalence, the blur of the images, or errors of the labels there. A patient has 1
to 6 images, 1.5 on average; a patient effect makes labels alike (correlation 0.4 on the latent scale) and another one
scores (0.4 of their variance). A present finding moves the score by 2.2 standard deviations, by 1 less on a bedside
film and by 0.5 less in the old. The true drop and parts are those of very large samples of both sites.

For each data set: the table of `cxr_monai.evaluation.drop_causes`; counted is how often each interval holds the truth,
and how often it excludes 0 (power where something is planted, error where nothing is); and the prevalence that
`cxr_monai.evaluation.label_shift` estimates there from the scores, with how often it calls it believable.

Writes drops.json after every hundred data sets, and drops.md at the end; started again with the same --out it goes on.
"""

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit
from scipy.stats import norm
from simulate_coverage import CHUNK, add, share, spread

from cxr_monai.durable import write_durably
from cxr_monai.environment import usable_cores
from cxr_monai.evaluation.bootstrap import Intervals
from cxr_monai.evaluation.drop_causes import ANOTHER_PREVALENCE, CAUSES, drop_causes
from cxr_monai.evaluation.label_shift import label_shift
from cxr_monai.evaluation.sample import Sample
from cxr_monai.evaluation.two_sites import TwoSites
from cxr_monai.progress import progress_bar

FINDING = "Effusion"
MEASURED = tuple(cause for cause in CAUSES if cause != ANOTHER_PREVALENCE)
MOST_IMAGES, ALIKE = 6, 0.4
POPULATION = 300_000  # patients whose drop and parts count as the truth


@dataclass(frozen=True)
class Site:
    """What a simulated site is like.

    Attributes:
        bedside: share of AP films.
        old: share of patients of 65 and more.
        prevalence: of the finding on an upright film.
        sicker: by how much the latent scale of the finding is moved on a bedside film.
        blur: by how much less a present finding moves the score.
        missed: share of the findings that the labels miss; as many labels are wrong where there is no finding.
    """

    bedside: float = 0.3
    old: float = 0.4
    prevalence: float = 0.15
    sicker: float = 0.5
    blur: float = 0.0
    missed: float = 0.0


HOME = Site()
SCENARIOS = {
    "nothing": HOME,
    "view mix": Site(bedside=0.75),
    "age mix": Site(old=0.85),
    "sicker at the bedside": Site(sicker=-0.5),
    "prevalence": Site(prevalence=0.06),
    "labels": Site(missed=0.25),
    "blur": Site(blur=0.6),
    "everything": Site(bedside=0.6, old=0.6, prevalence=0.1, sicker=0.2, blur=0.2, missed=0.15),
}


def simulate(random: np.random.Generator, site: Site, patients: int, name: str = "there") -> tuple[Sample, Sample]:
    """Return a sample of a site with its labels, and the same with the right labels."""
    count = np.minimum(random.geometric(2 / 3, patients), MOST_IMAGES)
    owner = np.repeat(np.arange(patients), count)

    def mixed() -> np.ndarray:
        shared = random.normal(size=patients)[owner]
        return np.sqrt(ALIKE) * shared + np.sqrt(1 - ALIKE) * random.normal(size=owner.size)

    old = (random.random(patients) < site.old)[owner]
    bedside = random.random(owner.size) < site.bedside
    present = mixed() + site.sicker * bedside > norm.isf(site.prevalence)
    scores = mixed() + (2.2 - bedside - 0.5 * old - site.blur) * present - 2
    errors = random.random(owner.size)
    wrong = np.where(present, errors < site.missed, errors < site.missed * site.prevalence)
    table = pd.DataFrame({
        "image": [f"{name}/{number}" for number in range(owner.size)], "patient_id": owner.astype(str), "study_id": "",
        "view": np.where(bedside, "AP", "PA"), "age": np.where(old, 75.0, 50.0),
        "sex": random.choice(["F", "M"], patients)[owner], "source": name, "split": "test",
    })  # fmt: skip
    probabilities = expit(scores)[:, None]
    right = Sample.of(table, [FINDING], probabilities, present.astype(float)[:, None])
    return Sample.of(table, [FINDING], probabilities, (present ^ wrong).astype(float)[:, None]), right


def judge(site: Site, patients: int, replicates: int, random: np.random.Generator) -> tuple[pd.DataFrame, pd.Series]:
    """Return the causes of one pair of data sets, indexed by cause, and the row of the estimated prevalence."""
    home, _ = simulate(random, HOME, patients, "home")
    there, right = simulate(random, site, patients)
    sites = TwoSites.of(home, there, Intervals(replicates, seed=int(random.integers(2**60))))
    causes = drop_causes(sites, right)
    shift = label_shift(TwoSites.of(home, right, Intervals(replicates, seed=int(random.integers(2**60)))))
    return causes[causes["finding"] == FINDING].set_index("cause"), shift.iloc[0]


def truth_of(site: Site, patients: int = POPULATION) -> dict[str, float]:
    """Return the drop, its parts and the prevalence there in very large samples."""
    causes, shift = judge(site, patients, 2, np.random.default_rng(0))
    parts = {str(cause): float(part) for cause, part in causes["part"].items()}
    return parts | {"prevalence there": float(shift["observed"])}


def judge_chunk(name: str, truth: dict[str, float], arguments: argparse.Namespace, start: int) -> dict[str, Any]:
    """Return the counts of up to a hundred pairs of data sets."""
    counts: dict[str, Any] = {"sets": 0}
    for number in range(start, min(start + CHUNK, arguments.sets)):
        random = np.random.default_rng([arguments.seed, list(SCENARIOS).index(name), arguments.patients, number])
        causes, shift = judge(SCENARIOS[name], arguments.patients, arguments.replicates, random)
        row: dict[str, Any] = {"sets": 1, "believable": {shift["believable"]: 1}}
        for cause in MEASURED:
            row[cause] = tallied(causes[["part", "low", "high"]].T[cause], truth[cause])
        row["prevalence there"] = tallied(shift.loc[["estimated", "low", "high"]], truth["prevalence there"])
        add(counts, row)
    return counts


def tallied(figure: pd.Series, true: float) -> dict[str, float]:
    """Return whether an interval (value, low, high) holds the truth, which side it misses on, whether it excludes 0."""
    value, low, high = (float(number) for number in figure)
    defined = bool(np.isfinite(low))
    return {
        "held": int(low <= true <= high), "below": int(true < low), "above": int(true > high),
        "none": int(not defined), "beyond 0": int(low > 0 or high < 0), "sum": float(value) if defined else 0.0,
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("drops"), help="results (default: %(default)s)")
    parser.add_argument("--sets", type=int, default=1000, help="pairs of data sets a scenario (default: %(default)s)")
    parser.add_argument("--replicates", type=int, default=200, help="of the bootstrap (default: %(default)s)")
    parser.add_argument("--patients", type=int, default=700, help="at each site (default: %(default)s)")
    parser.add_argument("--only", nargs="+", choices=SCENARIOS, default=[*SCENARIOS], help="scenarios (default: all)")
    parser.add_argument("--jobs", type=int, default=usable_cores(), help="processes (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="(default: %(default)s)")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    file = arguments.out / "drops.json"
    settings = {name: getattr(arguments, name) for name in ("replicates", "patients", "seed")}
    results = json.loads(file.read_text()) if file.exists() else {"settings": settings, "scenarios": {}}
    if results["settings"] != settings:
        parser.error(f"{file} was made with {results['settings']}, not {settings}; choose another --out")
    for name in arguments.only:
        row = results["scenarios"].setdefault(name, {"site": asdict(SCENARIOS[name]), "sets": 0})
        row["truth"] = row.get("truth") or truth_of(SCENARIOS[name])
        todo = range(row["sets"], arguments.sets, CHUNK)
        work = partial(judge_chunk, name, row["truth"], arguments)
        for counts in progress_bar(spread(work, todo, arguments.jobs), total=len(todo), desc=name, unit="parts"):
            add(row, counts)
            write_durably(file, (json.dumps(results, indent=2) + "\n").encode())
    write_durably(arguments.out / "drops.md", as_markdown(results).encode())
    print(f"{as_markdown(results)}\n{arguments.out / 'drops.md'}")
    return 0


def as_markdown(results: dict[str, Any]) -> str:
    """Return a row a scenario and figure: its truth, how often its interval holds that, how often it excludes 0."""
    lines = [
        "| scenario | figure | truth | mean | held (truth below, above) | beyond 0 | data sets |",
        "|---" * 7 + "|",
    ]
    for name, row in results["scenarios"].items():
        for figure in (*MEASURED, "prevalence there"):
            counts = row.get(figure)
            if counts:
                judged = row["sets"] - counts["none"]
                cells = [
                    name, figure, f"{row['truth'][figure]:.3f}", f"{counts['sum'] / max(judged, 1):.3f}", share(counts),
                    f"{100 * counts['beyond 0'] / max(judged, 1):.1f}", row["sets"],
                ]  # fmt: skip
                lines.append(f"| {' | '.join(map(str, cells))} |")
        words = ", ".join(
            f"{word} {100 * count / row['sets']:.1f}" for word, count in row.get("believable", {}).items()
        )
        lines.append(f"| {name} | estimate believable | | | {words} | | {row['sets']} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
