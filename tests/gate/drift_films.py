"""Films as `cxr_monai.gate.drift_watch` takes them, drawn, and what is changed about some of them."""

import numpy as np
import pandas as pd

FINDINGS = ("Effusion", "Mass")
THRESHOLDS = {"Effusion": 0.5}
PREVALENCE = 0.2


def drawn_films(
    films: int, seed: int, prevalence: float = PREVALENCE, wrong: float = 0.0, softer: float = 0.0
) -> pd.DataFrame:
    """Draw films of a hospital.

    Args:
        films: how many.
        seed: of the draws.
        prevalence: of both findings; probabilities are calibrated for `PREVALENCE`.
        wrong: the share of films that the gate refuses.
        softer: added to the statistic ``sharpness_1``, which has standard deviation 1.
    """
    random = np.random.default_rng(seed)
    is_wrong = np.arange(films) < round(wrong * films)
    table = pd.DataFrame({"image": [f"{seed}-{number}.dcm" for number in range(films)]})
    scores = np.where(is_wrong, random.normal(6, 1, films), random.normal(0, 0.4, films))
    table["gate"] = np.where(is_wrong, "refuse", np.where(random.random(films) < 0.04, "review", "accept"))
    table["code"] = np.where(is_wrong, "gate-inverted", "")
    table["score"], table["alteration"] = scores, scores + random.normal(0, 0.1, films)
    table["view"] = random.choice(["PA", "AP"], films, p=[0.6, 0.4])
    table["manufacturer"] = random.choice(["Alpha", "Beta"], films)
    table["age"] = random.normal(55, 15, films)
    table["sharpness_1"] = random.normal(softer, 1, films)
    table["mean"] = 0.5 + 0.1 * table["sharpness_1"] + random.normal(0, 0.1, films)
    for name in FINDINGS:
        has = random.random(films) < prevalence
        evidence = random.normal(np.where(has, 2.0, 0.0), 1)
        odds = PREVALENCE / (1 - PREVALENCE) * np.exp(2 * evidence - 2)
        table[name] = np.where(is_wrong, np.nan, odds / (1 + odds))
    return table


def weekly(weeks: list[pd.DataFrame], start: str = "2026-01-05") -> pd.DataFrame:
    """Return weeks of films with their times, sorted."""
    parts = []
    for number, films in enumerate(weeks):
        days = pd.to_timedelta(7 * number + np.linspace(0.1, 6.9, len(films)), unit="D")
        parts.append(films.assign(time=pd.Timestamp(start) + days))
    return pd.concat(parts, ignore_index=True)
