"""Did the patients change, or the machine? What the probabilities alone can tell, and the films besides.

    cause = cause_of(streams, reference, films, moved, dependence)  # Cause: name, prevalences, image_streams

1. Where a finding's probabilities moved, the prevalence that explains them best is estimated from the reference's
   probabilities alone (Saerens et al. 2002, doi 10.1162/089976602753284446: a film of the reference counts as one with
   the finding by its calibrated probability, and as one without it by the rest), and it is tested whether any
   prevalence explains them: is the distance of the reference, reweighted so, from the films larger than chance?
2. Streams of the films themselves (header, gate, picture) that moved are tested again against the reference
   *reweighted to the new prevalences*: more effusions make whiter films, on the same machine.
3. The name: ``prevalence`` where the probabilities are explained and no stream of the films remains; ``machine`` where
   such streams remain, and the probabilities stay or are not explained; ``both`` where they remain and the
   probabilities are explained; ``scores`` where the probabilities alone moved and no prevalence explains them.

What this cannot see: a machine that lifts probabilities just as a higher prevalence would and changes nothing else.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import logsumexp

from cxr_monai.evaluation.comparison import holm
from cxr_monai.evaluation.label_shift import SIGNIFICANT, likeliest_prevalence
from cxr_monai.gate.drift_streams import Stream, StreamKind
from cxr_monai.gate.drift_tests import window_tests

PREVALENCE_ALONE, MACHINE, BOTH, SCORES_ALONE = "prevalence", "machine", "both", "scores"
REPLICATES = 200
"""Draws of the test whether a prevalence explains the probabilities; the least p is 1 / (REPLICATES + 1)."""
_CLIP = 1e-6
_BINS = 200


@dataclass(frozen=True)
class PrevalenceShift:
    """A finding whose probabilities moved.

    Attributes:
        finding: its name.
        before, after: the prevalence of the reference by its probabilities, and the one that explains the films'.
        p: of the test that it explains them, corrected for the number of findings.
    """

    finding: str
    before: float
    after: float
    p: float


@dataclass(frozen=True)
class Cause:
    """What changed.

    Attributes:
        name: ``prevalence``, ``machine``, ``both`` or ``scores``.
        prevalences: of the findings whose probabilities moved.
        image_streams: streams of the films that moved and that no prevalence explains.
        explained: those that the changed prevalence explains.
    """

    name: str
    prevalences: tuple[PrevalenceShift, ...]
    image_streams: tuple[str, ...]
    explained: tuple[str, ...]


def cause_of(
    streams: Sequence[Stream],
    reference: np.ndarray,
    films: np.ndarray,
    moved: np.ndarray,
    dependence: np.ndarray,
    seed: int = 0,
) -> Cause:
    """Return what changed.

    Args:
        streams: S of them.
        reference: ``[N, S]``.
        films: ``[n, S]``, those since the change.
        moved: bool ``[S]``, the streams that moved.
        dependence: ``[S]``, see `cxr_monai.gate.drift_tests.window_tests`.
        seed: of the draws.
    """
    random = np.random.default_rng(seed)
    columns = {stream.column: place for place, stream in enumerate(streams) if stream.kind == StreamKind.PROBABILITY}
    findings = [
        name for name in columns if any(moved[k] for k, s in enumerate(streams) if s.is_output and s.column == name)
    ]
    shifts = _prevalence_shifts(findings, reference, films, [columns[name] for name in findings], random)
    is_explained = bool(shifts) and all(shift.p >= SIGNIFICANT for shift in shifts)
    images = [place for place, stream in enumerate(streams) if moved[place] and not stream.is_output]
    left = images
    if images and is_explained:
        alike = _reweighted(reference, films, [columns[name] for name in findings], random)
        some = [streams[place] for place in images]
        p = holm(window_tests(some, alike[:, images], films[:, images], dependence[images]))
        left = [place for place, value in zip(images, p, strict=True) if value < SIGNIFICANT]
    if left:
        name = BOTH if is_explained else MACHINE
    else:
        name = PREVALENCE_ALONE if is_explained else SCORES_ALONE
    remaining = tuple(streams[place].name for place in left)
    return Cause(name, shifts, remaining, tuple(streams[place].name for place in images if place not in left))


def _prevalence_shifts(
    findings: Sequence[str],
    reference: np.ndarray,
    films: np.ndarray,
    places: Sequence[int],
    random: np.random.Generator,
) -> tuple[PrevalenceShift, ...]:
    rows = [_explained(_known(reference[:, k]), _known(films[:, k]), random) for k in places]
    adjusted = holm(np.array([row[2] for row in rows]))
    return tuple(
        PrevalenceShift(finding, before, after, float(p))
        for finding, (before, after, _), p in zip(findings, rows, adjusted, strict=True)
    )


def _explained(reference: np.ndarray, films: np.ndarray, random: np.random.Generator) -> tuple[float, float, float]:
    """Return the prevalence before and after, and the p-value of the test that it explains the films.

    The distance of Kolmogorov between the films and the reweighted reference, against draws of both where it holds.
    """
    both, films_from = np.concatenate([reference, films]), len(reference)
    edges = np.unique(np.quantile(both, np.linspace(0, 1, _BINS + 1)))[1:-1]
    bins, size = np.searchsorted(edges, both, side="right"), len(edges) + 1
    probabilities = np.bincount(bins, both, size) / np.maximum(np.bincount(bins, minlength=size), 1)
    known, counted = (np.bincount(part, minlength=size) for part in (bins[:films_from], bins[films_from:]))
    before, after, distance, mixture = _mixture(probabilities, known[None], counted[None])
    drawn = random.multinomial(len(films), mixture[0] / mixture[0].sum(), REPLICATES)
    again = random.multinomial(films_from, known / films_from, REPLICATES)
    distances = _mixture(probabilities, again, drawn)[2]
    p = (1 + np.sum(distances >= distance[0])) / (1 + REPLICATES)
    return float(before[0]), float(after[0]), float(p)


def _mixture(
    probabilities: np.ndarray, reference: np.ndarray, films: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return prevalences before and after, the distance, and the reweighted shares of the bins, a row each.

    Args:
        probabilities: of the B bins.
        reference, films: counts ``[R, B]``.
    """
    before = (reference * probabilities).sum(1) / reference.sum(1)
    before = np.clip(before, _CLIP, 1 - _CLIP)
    present, absent = probabilities / before[:, None], (1 - probabilities) / (1 - before[:, None])
    after = likeliest_prevalence(present, absent, films)
    weights = after[:, None] * present + (1 - after[:, None]) * absent
    shares = reference / reference.sum(1, keepdims=True) * weights
    distance = np.abs(np.cumsum(films / films.sum(1, keepdims=True) - shares, axis=1)).max(1)
    return before, after, distance, shares


def _reweighted(
    reference: np.ndarray, films: np.ndarray, places: Sequence[int], random: np.random.Generator
) -> np.ndarray:
    """Return films drawn from the reference so that the mean probabilities are the films': tilted exponentially.

    Entropy balancing (Hainmueller 2012, doi 10.1093/pan/mpr025); as many as the weighted reference is worth (Kish).
    """
    whole = np.isfinite(reference[:, places]).all(1)
    probabilities = reference[whole][:, places]
    wanted = np.nanmean(films[:, places], axis=0)
    centred = (probabilities - wanted) / np.maximum(probabilities.std(0), _CLIP)
    ridge = 1e-4

    def loss(tilt: np.ndarray) -> tuple[float, np.ndarray]:
        logits = centred @ tilt
        weights = np.exp(logits - logsumexp(logits))
        return float(logsumexp(logits) + ridge * tilt @ tilt), weights @ centred + 2 * ridge * tilt

    logits = centred @ minimize(loss, np.zeros(len(places)), jac=True, method="L-BFGS-B").x
    weights = np.exp(logits - logsumexp(logits))
    drawn = random.choice(len(weights), max(1, round(1 / (weights**2).sum())), p=weights)
    return reference[whole][drawn]


def _known(column: np.ndarray) -> np.ndarray:
    return column[np.isfinite(column)]
