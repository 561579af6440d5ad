"""The picture of deletion and insertion curves, ``curves.png``."""

import pandas as pd
from matplotlib.figure import Figure


def curve_figure(curves: pd.DataFrame) -> Figure:
    """Draw each method's mean deletion and insertion curves, those of the control dashed.

    Args:
        curves: ``method, map, share, deletion, insertion``; ``map`` is ``map`` or another word for the control.
    """
    methods = list(dict.fromkeys(curves["method"]))
    figure = Figure(figsize=(6.5, 0.4 + 2.2 * len(methods)), layout="constrained")
    grid = figure.subplots(len(methods), 2, sharex=True, sharey=True, squeeze=False)
    styles = (("map", "-", "#0072B2", "strongest places first"), ("control", "--", "#667080", "control"))
    for row, method in zip(grid, methods, strict=True):
        for axes, name in zip(row, ("deletion", "insertion"), strict=True):
            of_method = curves[curves["method"] == method]
            for kind, style, colour, label in styles:
                points = of_method[of_method["map"] == kind]
                axes.plot(points["share"], points[name], style, color=colour, label=label)
            axes.set_title(f"{method}: {name}", fontsize=9)
            axes.tick_params(labelsize=8)
        row[0].set_ylabel("probability", fontsize=8)
    for axes in grid[-1]:
        axes.set_xlabel("share of the pixels changed", fontsize=8)
    grid[0, 0].legend(fontsize=7, frameon=False)
    return figure
