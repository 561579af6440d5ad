"""Shortcuts of each network at each place: what is left of its answers without lungs, corners, border or detail.

shortcuts_of_places(networks, sites, masks, Intervals(), batch_size=16, workers=None)     # four results
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from cxr_monai.data.manifest import Manifest
from cxr_monai.evaluation.bootstrap import Intervals
from cxr_monai.workflows.attribute_probes import attribute_probes
from cxr_monai.workflows.evaluation_labels import labels_under
from cxr_monai.workflows.external_networks import Network
from cxr_monai.workflows.shortcuts import beside, lesion_baseline, shortcut_table


def shortcuts_of_places(
    networks: Iterable[Network],
    sites: Mapping[str, Manifest],
    masks: Mapping[str, str | Path],
    intervals: Intervals,
    batch_size: int,
    workers: int | None,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, list[str]]:
    """Return the effects of each change, the verdicts on each finding, what the features tell, and remarks.

    Args:
        networks: those without a bundle cannot be asked.
        sites: the films, by the names of their places.
        masks: of the lungs, by the names of the places; a simple segmentation takes the place of missing ones.
        intervals: replicates, level and seed.
        batch_size, workers: of reading.

    Returns:
        the effects with the same on phantoms whose only cue is the lesion beside them, and the verdicts, both with
        ``trained_on, tested_on``; what the features tell of view, age, sex and place
        (`cxr_monai.workflows.attribute_probes`), with ``trained_on``; and sentences on what was left out and whose
        masks were taken.
    """
    effects, verdicts, probes, notes = [], [], [], []
    for network in networks:
        if network.bundle is None:
            notes.append(f"Shortcuts of {network.name} were not looked for: there is no bundle of it.")
            continue
        baseline = None
        probes.append(_at(attribute_probes(network.model, sites, intervals), {"trained_on": network.name}))
        for name, site in sites.items():
            films = labels_under(site, network.bundle.scheme)
            if not set(network.bundle.labels) & set(films.findings):
                notes.append(
                    f"Shortcuts of {network.name} in the films of {name} were not looked for: no finding of its own is "
                    "labelled there."
                )
                continue
            shortcuts = shortcut_table(
                network.model,
                films,
                masks.get(name),
                intervals=intervals,
                batch_size=batch_size,
                num_workers=workers,
            )
            baseline = baseline or lesion_baseline(
                network.model, intervals=intervals, batch_size=batch_size, num_workers=workers
            )
            place = {"trained_on": network.name, "tested_on": name}
            effects.append(_at(beside(shortcuts, baseline), place))
            verdicts.append(_at(shortcuts.verdicts, place))
            kinds = ", ".join(f"{kind} {count:,}" for kind, count in shortcuts.masks.items())
            notes.append(f"Lung masks of {name}: {kinds}.")
    return _all(effects), _all(verdicts), _all(probes), list(dict.fromkeys(notes))


def _at(table: pd.DataFrame, place: Mapping[str, str]) -> pd.DataFrame:
    return pd.DataFrame([place] * len(table), index=table.index).join(table)


def _all(tables: list[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
