"""Shared parts of plots: thinning of long series, circles for anchors, legends, and plots of latencies and stages."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from visloc_ros.core.geometry import Array
from visloc_ros.evaluation.plot_style import LIGHT, say_nothing_to_show

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


def flattest_view(positions: Array) -> list[int]:
    """The two axes to look along the third one, along which the camera (N, 3) moves least.

    In a gravity-aligned map that is z, unless the camera climbs far more than it travels.
    """
    spread = positions.std(axis=0) * np.array([1.0, 1.0, 0.5])
    return sorted(np.argsort(spread)[1:].tolist())


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


def draw_latencies(axes: Axes, title: str, milliseconds: Array, budget_ms: float) -> None:
    """Histogram of a latency with its median, 95th percentile and budget."""
    axes.set_title(title, pad=20.0)
    known = milliseconds[np.isfinite(milliseconds)]
    if len(known) == 0:
        say_nothing_to_show(axes, "not measured")
        return
    p50, p95, p99 = np.percentile(known, (50, 95, 99))
    upper = max(1.25 * p99, 1.05 * budget_ms if budget_ms < 4.0 * p99 else 0.0, 1e-3)
    axes.hist(np.clip(known, 0.0, upper), bins=40, range=(0.0, upper), color=LIGHT.fused, alpha=0.75, lw=0.0)
    axes.axvline(p50, color=LIGHT.ink, lw=1.0, label=f"p50 {p50:.3g} ms")
    axes.axvline(p95, color=LIGHT.ink, lw=1.0, ls=(0, (2, 2)), label=f"p95 {p95:.3g} ms")
    axes.axvline(budget_ms, color=LIGHT.bad, lw=1.2, label=f"budget {budget_ms:g} ms")
    axes.set(xlim=(0.0, upper), yticks=[], xlabel="ms")
    axes.spines["left"].set_visible(False)
    axes.grid(False)
    axes.margins(y=0.02)
    put_legend_above(axes)


def draw_stages(axes: Axes, title: str, stages: Mapping[str, Mapping[str, float] | None], color: str) -> None:
    """Horizontal bars: the median time of each stage, with a whisker to its 95th percentile."""
    axes.set_title(title)
    known = {name: spread for name, spread in stages.items() if spread is not None}
    if not known:
        say_nothing_to_show(axes, "not measured")
        return
    rows = np.arange(len(known))
    medians, p95s = (np.array([spread[key] for spread in known.values()]) for key in ("p50", "p95"))
    axes.barh(rows, medians, height=0.62, color=color, alpha=0.85)
    axes.hlines(rows, medians, p95s, color=LIGHT.ink, lw=1.0)
    for row, (median, p95) in enumerate(zip(medians, p95s, strict=True)):
        axes.annotate(
            f"{median:.3g} ms", (p95, row), (4.0, 0.0), textcoords="offset points", va="center", color=LIGHT.muted
        )
    axes.set(yticks=rows, yticklabels=list(known), xlabel="ms: median, and a line to the 95th percentile")
    axes.set_xlim(0.0, 1.18 * float(p95s.max()) or 1.0)
    axes.set_ylim(len(known) - 0.4, -0.6)
    axes.grid(False, axis="y")
