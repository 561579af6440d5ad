"""How often `cxr-monai drift` raises a false alarm, and how often it notices wrong films, in simulated hospitals.

    python scripts/simulate_drift.py OUT/bundle films.csv --wrong inverted=inverted.csv laterals=laterals.csv

``films.csv``: predictions of good films with their evidence (``films.csv.gate.csv``), as many as there are: the
hospital's films are drawn from them with replacement, and so is each simulated reference, anew. The charts' limit is
computed from the drawn reference alone, as the command computes it; nothing of the simulation that sets it is used
here. Tables of figures are printed as Markdown; docs/drift.md has them.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd

from cxr_monai.bundle.bundle_folder import Bundle
from cxr_monai.durable import write_durably
from cxr_monai.evaluation.fitted import read_calibration
from cxr_monai.evaluation.proportions import wilson
from cxr_monai.gate.drift_charts import ControlCharts
from cxr_monai.gate.drift_streams import stream_values, streams_of
from cxr_monai.gate.drift_watch import FALSE_ALARM_EVERY, TESTS_SHARE, Drift, WatchOptions, watch
from cxr_monai.gate.drift_windows import TIME, cut_windows, parse_window
from cxr_monai.progress import progress_bar
from cxr_monai.workflows.drift_films import read_evidence_films

WEEKS = 52


class SimulatedHospital:
    """Films drawn from a table of them, and references of their own.

    Args:
        films: the good ones.
        findings: columns of probabilities.
        thresholds: operating points.
        reference: films of a reference.
        neighbours: films that are drawn together, as of one patient.
        seed: of everything.
    """

    def __init__(
        self, films: pd.DataFrame, findings: tuple, thresholds: dict, reference: int, neighbours: int, seed: int
    ) -> None:
        self.films, self.findings, self.thresholds, self.neighbours = films, findings, thresholds, neighbours
        self.random = np.random.default_rng(seed)
        self.size = reference
        self.new_reference([200])

    def draw(self, size: int, films: pd.DataFrame | None = None) -> pd.DataFrame:
        """Return so many films, drawn with replacement."""
        films = self.films if films is None else films
        starts = self.random.integers(len(films), size=-(-size // self.neighbours))
        rows = (starts[:, None] + np.arange(self.neighbours)).ravel()[:size] % len(films)
        return films.iloc[rows]

    def new_reference(self, sizes: list[int]) -> None:
        """Draw a reference and compute the charts' limit from it."""
        self.reference = self.draw(self.size).reset_index(drop=True)
        streams, _ = streams_of(self.reference, self.findings, self.thresholds)
        charts = ControlCharts.of(streams, stream_values(streams, self.reference))
        self.limit = charts.limit(sizes, FALSE_ALARM_EVERY / (1 - TESTS_SHARE), int(self.random.integers(1 << 30)))

    def watch(self, weeks: list[pd.DataFrame]) -> Drift:
        """Watch weeks of films."""
        monday = pd.Timestamp("2026-01-05")
        times = [np.full(len(films), monday + pd.Timedelta(days=7 * week)) for week, films in enumerate(weeks)]
        films = pd.concat(weeks, ignore_index=True).assign(**{TIME: np.concatenate(times)})
        windows, _ = cut_windows(films, parse_window("7d"))
        options = WatchOptions(limit=self.limit)
        return watch(self.reference, films, windows, self.findings, self.thresholds, options)


def false_alarms(hospital: SimulatedHospital, years: int, sizes: list[int], a_reference: int = 10) -> dict[str, float]:
    """Return false alarms in years of 52 weeks in which nothing changes."""
    counts, tests = [], 0
    for year in progress_bar(range(years), total=years, desc="years", unit="years"):
        if year % a_reference == 0:
            hospital.new_reference(sizes)
        drift = hospital.watch([hospital.draw(int(hospital.random.choice(sizes))) for _ in range(WEEKS)])
        counts.append(len(drift.alarms))
        tests += sum(bool(alarm.tests) for alarm in drift.alarms)
    mean, error = float(np.mean(counts)), float(np.std(counts) / np.sqrt(years))
    return {
        "years": years,
        "false_alarms_a_year": mean,
        "low": mean - 1.96 * error,
        "high": mean + 1.96 * error,
        "of_tests": tests / years,
        "years_without": float(np.mean(np.array(counts) == 0)),
    }


def noticed(hospital: SimulatedHospital, wrong: pd.DataFrame, share: float, week: int, trials: int) -> dict:
    """Return how often a week with a share of wrong films raises an alarm in that week, and what it is named."""
    alarms, names = 0, []
    for trial in progress_bar(range(trials), total=trials, desc=f"{share:.0%}", unit="weeks"):
        if trial % 20 == 0:
            hospital.new_reference([week])
        bad = round(share * week)
        films = pd.concat([hospital.draw(week - bad), hospital.draw(bad, wrong)])
        drift = hospital.watch([films])
        alarms += bool(drift.alarms)
        names += [alarm.cause.name for alarm in drift.alarms]
    low, high = wilson(alarms, trials)
    causes = {name: names.count(name) for name in sorted(set(names))}
    return {"share": share, "alarms": alarms / trials, "low": float(low), "high": float(high), "causes": causes}


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle")
    parser.add_argument("films", help="predictions of good films, with their evidence")
    parser.add_argument("--wrong", nargs="*", default=[], metavar="NAME=P.csv", help="predictions of wrong films")
    parser.add_argument("--years", type=int, default=200)
    parser.add_argument("--trials", type=int, default=200, help="weeks with wrong films, of each share")
    parser.add_argument("--sizes", default="200", help="films of a week, such as 20,60,200,400 (default: 200)")
    parser.add_argument("--shares", default="0.05,0.1,0.2")
    parser.add_argument("--reference", type=int, default=500, help="films of the reference (default: 500)")
    parser.add_argument("--neighbours", type=int, default=1, help="films that are drawn together (default: 1)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="JSON with all figures")
    arguments = parser.parse_args()
    bundle = Bundle.open(arguments.bundle)
    good = read_evidence_films([arguments.films], bundle.digest)
    fitted = read_calibration(bundle.calibration, bundle.labels)
    points = fitted.points if fitted else {}
    thresholds = {name: next(iter(rules.values())) for name, rules in points.items() if rules}
    hospital = SimulatedHospital(
        good.table, good.findings, thresholds, arguments.reference, arguments.neighbours, arguments.seed
    )
    sizes = [int(size) for size in arguments.sizes.split(",")]
    results: dict = {"false_alarms": false_alarms(hospital, arguments.years, sizes) if arguments.years else None}
    print(results["false_alarms"], flush=True)
    for word in arguments.wrong:
        name, _, path = word.partition("=")
        both = read_evidence_films(
            [arguments.films, path], bundle.digest
        ).table  # a gate may refuse all of the wrong ones
        wrong = both.iloc[len(good.table) :]
        results[name] = [
            noticed(hospital, wrong, float(share), max(sizes), arguments.trials)
            for share in arguments.shares.split(",")
        ]
        for row in results[name]:
            text = f"| {name} | {row['share']:.0%} | {row['alarms']:.1%} ({row['low']:.1%} to {row['high']:.1%}) |"
            print(text, row["causes"], flush=True)
    if arguments.out:
        write_durably(arguments.out, json.dumps(results, indent=2).encode())


if __name__ == "__main__":
    main()
