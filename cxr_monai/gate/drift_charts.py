"""Run-length charts: sums of small deviations, window after window, with a limit for the whole family of charts.

    charts = ControlCharts.of(streams, reference)
    limit = charts.limit(sizes, every=105, seed=0)
    run = ChartRun(charts, limit)
    step = run.add(window)                              # ChartStep: z, up, down, alarms
    run.settle(step.alarms)                             # those start again, the others learn

Each window gives each chart one deviate: a difference of means of normal scores, or a share's binomial mid-p. The
deviate is against the reference *and* the windows before in which the chart did not move: deviates are then independent
of one another however small the reference is, where those against an estimated mean would share its error for ever
(self-starting charts: Hawkins and Olwell 1998, chapter 7, doi 10.1007/978-1-4612-1686-5). The charts are cumulative
sums to both sides (Page 1954, doi 10.1093/biomet/41.1-2.100), which start again after they moved.

The limit is the one that the family of all charts, whose streams depend on one another, exceeds once in ``every``
windows where nothing changes. It is simulated: references and windows are drawn from the reference in blocks of films
that follow each other (Künsch 1989, doi 10.1214/aos/1176347265), so that the dependence of streams and of neighbouring
films stays.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.special import bdtr, bdtrc, ndtri

from cxr_monai.gate.drift_streams import OTHER, Stream
from cxr_monai.progress import progress_bar

REFERENCE_VALUE = 0.5
"""Page's k: deviates of this size are not summed; half of the change that is found fastest, one standard error."""
HISTORIES, LENGTH = 300, 52
"""How many runs of how many windows the limit is simulated with."""
_LEAST_DEVIATION = 0.25
"""Of normal scores, where nearly all films of the reference have one value."""


@dataclass(frozen=True, eq=False)
class ControlCharts:
    """What is charted, and the reference.

    Attributes:
        names: of C charts: those of the streams, and ``STREAM: LEVEL``.
        stream: int ``[C]``, the position of each chart's stream.
        code: int ``[C]``, of the level; -1 where there are none.
        is_share: bool ``[C]``.
        reference: float ``[N, C]``: normal scores, 0 and 1; NaN where unknown.
        known: C sorted samples of the reference, by which numbers become normal scores.
        dependence: float ``[C]``, factors of the variance of means.
    """

    names: tuple[str, ...]
    stream: np.ndarray
    code: np.ndarray
    is_share: np.ndarray
    reference: np.ndarray
    known: tuple[np.ndarray, ...]
    dependence: np.ndarray

    @classmethod
    def of(cls, streams: Sequence[Stream], values: np.ndarray) -> "ControlCharts":
        """Return the charts of streams.

        Args:
            streams: S of them.
            values: of the reference, float ``[N, S]``, in the order in which the films were taken.
        """
        rows = []
        for place, stream in enumerate(streams):
            levels = (*stream.levels, OTHER) if stream.scale == "levels" else ()
            rows += [(f"{stream.name}: {level}", place, code, True) for code, level in enumerate(levels)]
            rows += [] if levels else [(stream.name, place, -1, stream.scale == "share")]
        names, stream_of, code, is_share = zip(*rows, strict=True)
        known = tuple(np.sort(values[np.isfinite(values[:, place]), place]) for place in stream_of)
        none = np.ones(len(names))
        charts = cls(names, np.array(stream_of), np.array(code), np.array(is_share), np.zeros((0, 0)), known, none)
        reference = charts.of_films(values)
        return cls(names, charts.stream, charts.code, charts.is_share, reference, known, dependence_of(reference))

    def of_films(self, values: np.ndarray) -> np.ndarray:
        """Return what is charted of films, float ``[n, C]``, of their values ``[n, S]``."""
        columns = []
        for place, known in enumerate(self.known):
            column = values[:, self.stream[place]]
            if self.code[place] >= 0:
                column = np.where(np.isnan(column), np.nan, column == self.code[place])
            elif not self.is_share[place]:
                column = normal_scores(known, column)
            columns.append(column)
        return np.stack(columns, axis=1)

    def of_streams(self, values: np.ndarray, streams: int) -> np.ndarray:
        """Return a figure of each stream, ``[S]``, the largest of its charts' ``[C]``."""
        largest = np.full(streams, -np.inf)
        np.maximum.at(largest, self.stream, values)
        return largest

    def limit(self, sizes: Sequence[int], every: float, seed: int = 0, histories: int = HISTORIES) -> float:
        """Return the limit of all charts that is exceeded once in ``every`` windows where nothing changes.

        Args:
            sizes: films of windows as they come; each simulated window has one of these.
            every: windows between two false alarms of the whole family, on average.
            seed: of the draws.
            histories: how many runs are simulated.
        """
        random = np.random.default_rng(seed)
        sums = [np.where(np.isfinite(self.reference), part, 0.0) for part in (1.0, self.reference)]
        largest = []
        for _ in progress_bar(range(histories), total=histories, desc="simulating charts", unit="years"):
            drawn = random.choice(np.asarray(sizes), LENGTH)
            counts = np.stack([self._draw(random, size) for size in (len(self.reference), *drawn)])
            films, totals = (counts @ part for part in sums)
            known, earlier = np.cumsum(films, 0), np.cumsum(totals, 0)
            z = self.deviates(films[1:], totals[1:], known[:-1], earlier[:-1])
            up, down, most = np.zeros(len(self.names)), np.zeros(len(self.names)), 0.0
            for step in z:
                up, down = cumulated(up, step), cumulated(down, -step)
                most = max(most, up.max(), down.max())
            largest.append(most)
        return float(np.quantile(largest, np.exp(-LENGTH / every), method="higher"))

    def deviates(self, films: np.ndarray, totals: np.ndarray, known: np.ndarray, earlier: np.ndarray) -> np.ndarray:
        """Return standard normal deviates of windows against what was known before, float ``[..., C]``.

        Args:
            films, totals: of each window: how many have a value, and the sum of their values, ``[..., C]``.
            known, earlier: the same of the reference and the windows before.
        """
        z = np.zeros(films.shape)
        numbers = ~self.is_share
        deviation = np.maximum(np.nanstd(self.reference[:, numbers], axis=0), _LEAST_DEVIATION)
        n, m = (np.maximum(part[..., numbers], 1) for part in (films, known))
        z[..., numbers] = (totals[..., numbers] / n - earlier[..., numbers] / m) / (deviation * np.sqrt(1 / n + 1 / m))
        z[..., self.is_share] = share_deviates(*(part[..., self.is_share] for part in (totals, films, earlier, known)))
        return np.where(films > 0, z / np.sqrt(self.dependence), 0.0)

    def _draw(self, random: np.random.Generator, size: int) -> np.ndarray:
        """Return how often each film of the reference is drawn, ``[N]``, in blocks of neighbours, the ends joined."""
        films = len(self.reference)
        block = block_length(films)
        starts = random.integers(films, size=-(-size // block))
        drawn = ((starts[:, None] + np.arange(block)) % films).ravel()[:size]
        return np.bincount(drawn, minlength=films).astype(float)


@dataclass(frozen=True, eq=False)
class ChartStep:
    """The charts at one window.

    Attributes:
        z: float ``[C]``, the window's deviates.
        up, down: float ``[C]``, the sums.
        alarms: bool ``[C]``, those beyond the limit.
        since: int ``[C]``, the window in which each sum that is larger now left zero.
    """

    z: np.ndarray
    up: np.ndarray
    down: np.ndarray
    alarms: np.ndarray
    since: np.ndarray


@dataclass(eq=False)
class ChartRun:
    """Charts along windows.

    Attributes:
        charts: what is charted.
        limit: of :meth:`ControlCharts.limit`.
    """

    charts: ControlCharts
    limit: float
    _sums: np.ndarray = field(init=False)
    _since: np.ndarray = field(init=False)
    _known: tuple[np.ndarray, np.ndarray] = field(init=False)
    _fresh: tuple[np.ndarray, np.ndarray] = field(init=False)
    _window: int = 0

    def __post_init__(self) -> None:
        charts = len(self.charts.names)
        self._sums, self._since = np.zeros((2, charts)), np.zeros((2, charts), dtype=int)
        self._known = _totals(self.charts.reference)

    def add(self, values: np.ndarray) -> ChartStep:
        """Sum a window's deviates; :meth:`settle` comes before the next window.

        Args:
            values: of its films, ``[n, S]`` of `cxr_monai.gate.drift_streams.stream_values`.
        """
        self._fresh = _totals(self.charts.of_films(values))
        z = self.charts.deviates(*self._fresh, *self._known)
        began = self._sums == 0
        self._sums = cumulated(self._sums, np.stack([z, -z]))
        self._since = np.where(began, self._window, self._since)
        up, down = self._sums
        self._window += 1
        return ChartStep(z, up, down, np.maximum(up, down) > self.limit, np.where(up >= down, *self._since))

    def settle(self, moved: np.ndarray) -> None:
        """Start charts again that moved, bool ``[C]``; the others count the window among what was before."""
        self._sums = np.where(moved, 0.0, self._sums)
        known, earlier = (np.where(moved, was, was + new) for was, new in zip(self._known, self._fresh, strict=True))
        self._known = known, earlier


def cumulated(sums: np.ndarray, deviates: np.ndarray) -> np.ndarray:
    """Return Page's sums after further deviates.

    >>> cumulated(np.array([0.0, 2.0]), np.array([-1.0, 1.0])).tolist()
    [0.0, 2.5]
    """
    return np.maximum(sums + deviates - REFERENCE_VALUE, 0.0)


def share_deviates(count: np.ndarray, films: np.ndarray, earlier: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return normal deviates of shares: the binomial mid-p against the earlier share, less for its own uncertainty.

    The share of before counts half a film more of each kind, so that it is never 0 or 1.

    Args:
        count, films: films that count, and all films, of a window, whole numbers ``[...]``.
        earlier, known: the same of what was before.
    """
    share, total = (earlier + 0.5) / (known + 1), films.astype(np.int64)
    low = (np.where(count > 0, bdtr(count - 1, total, share), 0.0) + bdtr(count, total, share)) / 2
    high = (np.where(count > 0, bdtrc(count - 1, total, share), 1.0) + bdtrc(count, total, share)) / 2
    z = np.where(low < high, ndtri(np.maximum(low, 1e-300)), -ndtri(np.maximum(high, 1e-300)))
    return z / np.sqrt(1 + films / np.maximum(known, 1))


def normal_scores(known: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the normal deviates of values' ranks in a sorted sample: 0 at its median; NaN stays.

    >>> normal_scores(np.arange(9.0), np.array([4.0, 100.0, np.nan])).round(2).tolist()
    [0.0, 1.64, nan]
    """
    ranks = (np.searchsorted(known, values, "left") + np.searchsorted(known, values, "right")) / 2
    return np.where(np.isnan(values), np.nan, ndtri((ranks + 0.5) / (len(known) + 1)))


def block_length(films: int) -> int:
    """Return how many neighbouring films are drawn together from so many."""
    return max(1, round(films ** (1 / 3)))


def dependence_of(columns: np.ndarray) -> np.ndarray:
    """Return by which factor neighbouring films that are alike enlarge the variance of a mean, ``[C]``, at least 1.

    Bartlett's weights on the autocorrelations within a block (Newey and West 1987, doi 10.2307/1913610).

    Args:
        columns: float ``[N, C]`` in the order of the films.
    """
    centred = np.nan_to_num(columns - np.nanmean(columns, axis=0))
    power = np.maximum((centred**2).sum(0), 1e-12)
    block = block_length(len(columns))
    factor = np.ones(columns.shape[1])
    for lag in range(1, block):
        factor += 2 * (1 - lag / block) * (centred[lag:] * centred[:-lag]).sum(0) / power
    return np.maximum(factor, 1.0)


def _totals(charted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.isfinite(charted).sum(0).astype(float), np.nansum(charted, axis=0)
