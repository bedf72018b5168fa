"""A picture of where photos can be localized: cells seen from above."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PolyCollection
from matplotlib.colors import ListedColormap, Normalize

from visloc_ros.evaluation.plot_style import LIGHT, new_figure, style, to_png, write_picture
from visloc_ros.localization.coverage import Coverage, recall_colour

_MOST_NUMBERS = 400  # cells with numbers and roses; more are too small for them
_LONGER_SIDE_IN, _LEAST_SIDE_IN = 8.0, 2.5
_BAR_IN, _WORDS_IN = 1.6, 0.8


def write_coverage_plot(path: Path, title: str, coverage: Coverage, axes_names: tuple[str, str]) -> None:
    """Write a PNG of the cells, and of the places where images were taken. Raises OutputError."""
    rows, columns = coverage.means.shape
    width, height = (_LONGER_SIDE_IN * side / max(rows, columns) for side in (columns, rows))
    with style():
        figure = new_figure(max(width, _LEAST_SIDE_IN) + _BAR_IN, max(height, _LEAST_SIDE_IN) + _WORDS_IN)
        axes = figure.subplots()
        colours = ListedColormap([recall_colour(one) for one in np.linspace(0.0, 1.0, 64)])
        _draw_cells(axes, coverage)
        axes.plot(*coverage.cameras.T, ".", ms=2.5, color=LIGHT.bad)
        figure.suptitle(title, x=0.01, ha="left", fontsize=9)
        axes.set(xlabel=axes_names[0], ylabel=axes_names[1])
        axes.set_aspect("equal")
        scale = ScalarMappable(Normalize(0.0, 100.0), colours)
        figure.colorbar(scale, ax=axes, label="localized, at any heading [%]", shrink=0.8)
        write_picture(path, to_png(figure))


def _draw_cells(axes: Axes, coverage: Coverage) -> None:
    """Each cell in the colour of its recall, with the number and the recalls by heading where there are not many."""
    cells, half = list(coverage.cells()), 0.5 * coverage.cell
    corners = half * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
    middles = [np.array([cell.x, cell.y]) for cell in cells]
    colours = [recall_colour(cell.recall) for cell in cells]
    axes.add_collection(PolyCollection([middle + corners for middle in middles], facecolors=colours))
    if len(cells) <= _MOST_NUMBERS:
        roses = [middle + half * one.rose for middle, one in zip(middles, cells, strict=True)]
        axes.add_collection(PolyCollection(roses, facecolors="none", edgecolors="white", linewidths=0.6, alpha=0.8))
        for cell in cells:
            colour = LIGHT.ink if cell.recall > 0.6 else "white"
            axes.text(cell.x, cell.y, f"{100 * cell.recall:.0f}", ha="center", va="center", fontsize=6, color=colour)
    axes.autoscale_view()
