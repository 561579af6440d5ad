"""Why networks lose at the places of a matrix, and what is told there without the picture: tables over its cells.

    causes_of_cells(cells, intervals, relabelled)      # drop_causes of each cell against its network's home
    shifts_of_cells(cells, intervals)                  # prevalence there, from the scores alone
    metadata_of_places(cells, intervals), within_views_of_cells(cells, intervals)

The mean of the causes is over the findings that the mean of the drop is over (`cxr_monai.evaluation.transfer`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import pandas as pd

from cxr_monai.evaluation.bootstrap import Intervals
from cxr_monai.evaluation.drop_causes import drop_causes
from cxr_monai.evaluation.label_shift import label_shift
from cxr_monai.evaluation.metadata_only import metadata_only, within_groups
from cxr_monai.evaluation.sample import Sample
from cxr_monai.evaluation.transfer import HOME, TransferCell, findings_in_mean
from cxr_monai.evaluation.two_sites import TwoSites
from cxr_monai.progress import progress_bar

Relabelled = Callable[[TransferCell, TransferCell, Sample], Sample | None]
"""Returns the films of a sample at a place with labels of home's kind (arguments: home, the place, that sample)."""


def causes_of_cells(
    cells: Sequence[TransferCell], intervals: Intervals, relabelled: Relabelled = lambda home, there, sample: None
) -> pd.DataFrame:
    """Return the causes of each drop; see `cxr_monai.evaluation.drop_causes.drop_causes` for the columns.

    Args:
        cells: of a matrix.
        intervals: replicates, level and seed.
        relabelled: where labels of home's kind exist for the films there.

    Returns:
        ``trained_on, home, tested_on, finding, cause, part, low, high, evidence``; findings with fewer than
        `cxr_monai.evaluation.transfer.FEWEST_IN_MEAN` patients of either kind at one of the places have no rows.
    """
    tables = []
    for home, there, sites in _pairs(cells, intervals, "why it drops"):
        table = drop_causes(sites, relabelled(home, there, sites.there), progress=True)
        tables.append(_placed(table, trained_on=there.trained_on, home=home.tested_on, tested_on=there.tested_on))
    return _joined(tables)


def shifts_of_cells(cells: Sequence[TransferCell], intervals: Intervals) -> pd.DataFrame:
    """Return each finding's prevalence there by the scores alone; see `cxr_monai.evaluation.label_shift.label_shift`.

    Args:
        cells: of a matrix.
        intervals: replicates, level and seed.
    """
    tables = []
    for home, there, sites in _pairs(cells, intervals, "prevalence without labels", probabilities=True):
        place = {"trained_on": there.trained_on, "home": home.tested_on, "tested_on": there.tested_on}
        tables.append(_placed(label_shift(sites), **place))
    return _joined(tables)


def metadata_of_places(
    cells: Sequence[TransferCell], intervals: Intervals, sizes: Mapping[str, pd.Series] | None = None
) -> pd.DataFrame:
    """Return how well metadata tell each finding at each place; see `cxr_monai.evaluation.metadata_only`.

    Args:
        cells: of a matrix; of each place that with the most findings is taken, since the scores are not used.
        intervals: replicates, level and seed.
        sizes: place -> image -> the size of the stored film, such as ``1024x1024``.
    """
    places: dict[str, TransferCell] = {}
    for cell in cells:
        best = places.get(cell.tested_on)
        if cell.sample is not None and (best is None or _size(cell) > _size(best)):
            places[cell.tested_on] = cell
    tables = []
    for place, cell in progress_bar(places.items(), total=len(places), desc="metadata alone", unit="places"):
        sample, known = cell.sample, (sizes or {}).get(place)
        more = (
            {}
            if known is None
            else {"image size": known.reindex(sample.table["image"]).fillna("").reset_index(drop=True)}
        )
        tables.append(_placed(metadata_only(sample, intervals, more), tested_on=place))
    return _joined(tables)


def within_views_of_cells(cells: Sequence[TransferCell], intervals: Intervals) -> pd.DataFrame:
    """Return each AUROC pooled and within views; see `cxr_monai.evaluation.metadata_only.within_groups`.

    Args:
        cells: of a matrix.
        intervals: replicates, level and seed.
    """
    judged = [cell for cell in cells if cell.sample is not None]
    return _joined(
        [
            _placed(within_groups(cell.sample, intervals), trained_on=cell.trained_on, tested_on=cell.tested_on)
            for cell in progress_bar(judged, total=len(judged), desc="within views", unit="cells")
            if cell.sample is not None
        ]
    )


def _pairs(
    cells: Sequence[TransferCell], intervals: Intervals, what: str, probabilities: bool = False
) -> Iterator[tuple[TransferCell, TransferCell, TwoSites]]:
    """Yield home, place and both with their draws, of the findings that have enough patients at both."""
    homes = {cell.trained_on: cell for cell in cells if cell.relation == HOME and cell.sample is not None}
    away = [cell for cell in cells if cell.trained_on in homes and cell.relation != HOME and cell.sample is not None]
    for cell in progress_bar(away, total=len(away), desc=what, unit="cells"):
        home = homes[cell.trained_on]
        samples = [each.sample for each in (home, cell) if each.sample is not None]
        here, there = (sample.probabilities() if probabilities else sample for sample in samples)
        if findings := findings_in_mean(here, there):
            yield home, cell, TwoSites.of(here.of_findings(findings), there.of_findings(findings), intervals)


def _size(cell: TransferCell) -> int:
    return 0 if cell.sample is None else len(cell.sample.findings)


def _placed(table: pd.DataFrame, **place: str) -> pd.DataFrame:
    return pd.DataFrame([place] * len(table), index=table.index).join(table)


def _joined(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
