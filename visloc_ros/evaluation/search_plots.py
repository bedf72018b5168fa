"""Pictures of searches: the positions and errors of images that were localized, and ways of searching compared."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import LogFormatter

from visloc_ros.evaluation.drawing import finite_rows, put_legend_above
from visloc_ros.evaluation.plot_style import LIGHT, new_figure, say_nothing_to_show, style, to_png, write_picture
from visloc_ros.evaluation.records import RunRecord
from visloc_ros.evaluation.search_comparison import SearchRecord
from visloc_ros.evaluation.series import RunSeries, run_series
from visloc_ros.evaluation.top_view import draw_top_view

_COLOURS = (LIGHT.anchor, LIGHT.fused, LIGHT.warn, LIGHT.bad, LIGHT.truth)
_SHOWN_M = (0.002, 2.0)
_FEW_DECADES = (2.0, 0.5)  # of a logarithmic axis: up to 2, some numbers between the powers are written, up to 0.5 all


def write_query_plot(path: Path, record: RunRecord) -> None:
    """Write a PNG of a record's anchors in the map, and of their errors where truth is known. Raises OutputError."""
    series = run_series(record)
    with style():
        figure = new_figure(12.0, 5.5)
        top_view, errors = figure.subplots(1, 2, width_ratios=(3, 2))
        draw_top_view(top_view, record, series)
        draw_query_errors(errors, record, series)
        figure.suptitle(record.title, x=0.01, ha="left", fontsize=10)
        write_picture(path, to_png(figure))


def draw_query_errors(axes: Axes, record: RunRecord, series: RunSeries) -> None:
    """Position error of every image with a pose, or its standard deviation without truth; the others as ticks below."""
    has_truth = bool(np.isfinite(series.anchors.position_error).any())
    values = series.anchors.position_error if has_truth else series.anchors.sigma_position
    unit, factor = ("cm", 100.0) if record.metric else ("map units", 1.0)
    axes.set_title("position error" if has_truth else "standard deviation of the position", pad=20.0)
    rows = np.arange(len(record.anchors))
    if len(finite_rows(values[:, None])) == 0:
        say_nothing_to_show(axes, "no image has a pose")
        return
    axes.plot(rows, factor * values, "o", ms=4.0, color=LIGHT.anchor, label="images with a pose")
    rejected = rows[[not anchor.accepted for anchor in record.anchors]]
    if len(rejected):
        axes.plot(rejected, np.zeros(len(rejected)), "|", color=LIGHT.bad, label="no pose", clip_on=False)
    axes.set(xlabel="image", ylabel=unit)
    axes.set_ylim(bottom=0.0)
    put_legend_above(axes)


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
    _write_plain_numbers(axes.xaxis)
    put_legend_above(axes)


def _draw_times(axes: Axes, records: Mapping[str, SearchRecord]) -> None:
    """Times of searches without features: the middle half, the median, and the range without outliers."""
    axes.set_title("search, without features", pad=20.0)
    boxes = axes.boxplot([record.search_ms() for record in records.values()], showfliers=False, patch_artist=True)
    for box, colour in zip(boxes["boxes"], _COLOURS, strict=False):
        box.set_facecolor(colour)
    axes.set_xticks(range(1, len(records) + 1), list(records))
    axes.set(yscale="log", ylabel="ms")
    _write_plain_numbers(axes.yaxis)


def _write_plain_numbers(axis: Axis) -> None:
    """Numbers of a logarithmic axis without powers of ten: those between these where it spans few decades."""
    axis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_minor_formatter(LogFormatter(minor_thresholds=_FEW_DECADES))
