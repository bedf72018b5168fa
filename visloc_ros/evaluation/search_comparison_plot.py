"""The picture that compares ways of searching: the share of images found by accuracy, and the times."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes

from visloc_ros.evaluation.drawing import put_legend_above
from visloc_ros.evaluation.plot_style import LIGHT, new_figure, say_nothing_to_show, style, to_png
from visloc_ros.evaluation.search_comparison import SearchRecord

_COLOURS = (LIGHT.anchor, LIGHT.fused, LIGHT.warn, LIGHT.bad, LIGHT.truth)
_SHOWN_M = (0.002, 2.0)


def draw_comparison(title: str, records: Mapping[str, SearchRecord]) -> bytes:
    """A PNG of the records by name."""
    with style():
        figure = new_figure(10.0, 4.2)
        errors, times = figure.subplots(1, 2, width_ratios=(3, 2))
        _draw_errors(errors, records)
        _draw_times(times, records)
        figure.suptitle(title, x=0.01, ha="left", fontsize=10)
        return to_png(figure)


def _draw_errors(axes: Axes, records: Mapping[str, SearchRecord]) -> None:
    """Share of images whose position is within an error, over that error."""
    axes.set_title("images found within a position error", pad=20.0)
    if not any(len(record.errors) for record in records.values()):
        say_nothing_to_show(axes, "no true poses are known")
        return
    for colour, (name, record) in zip(_COLOURS, records.items(), strict=False):
        sorted_m = np.sort(record.errors[:, 0])
        share = 100.0 * np.arange(1, len(sorted_m) + 1) / len(sorted_m)
        axes.step(np.clip(sorted_m, *_SHOWN_M), share, where="post", color=colour, label=name)
    axes.set(xscale="log", xlim=_SHOWN_M, ylim=(0.0, 101.0), xlabel="m", ylabel="%")
    put_legend_above(axes)


def _draw_times(axes: Axes, records: Mapping[str, SearchRecord]) -> None:
    """Times of searches without features: the middle half, the median, and the range without outliers."""
    axes.set_title("search, without features", pad=20.0)
    boxes = axes.boxplot([record.search_ms() for record in records.values()], showfliers=False, patch_artist=True)
    for box, colour in zip(boxes["boxes"], _COLOURS, strict=False):
        box.set_facecolor(colour)
    axes.set_xticks(range(1, len(records) + 1), list(records))
    axes.set(yscale="log", ylabel="ms")
