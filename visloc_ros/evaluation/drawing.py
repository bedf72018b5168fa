"""Shared parts of plots: thinning of long series, circles for anchors, legends beside the data."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from visloc_ros.core.geometry import Array
from visloc_ros.evaluation.plot_style import LIGHT

MAX_DRAWN = 2000
MANY_ANCHORS = 300


def thin(count: int) -> NDArray[np.intp]:
    """At most ``MAX_DRAWN`` evenly spread rows, the last one among them."""
    if count == 0:
        return np.empty(0, dtype=np.intp)
    return np.unique(np.linspace(0, count - 1, min(count, MAX_DRAWN)).round().astype(np.intp))


def thin_keeping_peaks(values: Array) -> NDArray[np.intp]:
    """Rows to draw so that no peak and no gap gets lost: of each stretch the lowest, the highest and an unknown one."""
    if len(values) <= MAX_DRAWN:
        return np.arange(len(values))
    rows: set[int] = set()
    for stretch in np.array_split(np.arange(len(values)), MAX_DRAWN // 3):
        known = stretch[np.isfinite(values[stretch])]
        rows.update(stretch[~np.isfinite(values[stretch])][:1].tolist())
        if len(known):
            rows.update((int(known[np.argmin(values[known])]), int(known[np.argmax(values[known])])))
    return np.array(sorted(rows), dtype=np.intp)


def finite_rows(values: Array) -> Array:
    """Rows without any NaN."""
    return values[np.isfinite(values).all(axis=1)]


def draw_circles(axes: Axes, x: Array, y: Array, label: str) -> None:
    """Hollow circles, smaller and fainter where there are many."""
    size, alpha = (15.0, 1.0) if len(x) <= MANY_ANCHORS else (6.0, 0.5)
    axes.scatter(x, y, s=size, facecolor="none", edgecolor=LIGHT.anchor, alpha=alpha, lw=0.9, label=label, zorder=3.5)


def put_legend_above(axes: Axes) -> None:
    """Explain a plot in one line above it, where it hides no data."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(
            loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=4, handlelength=1.4, columnspacing=1.4, borderpad=0.2,
            borderaxespad=0.1, handletextpad=0.5,
        )  # fmt: skip
