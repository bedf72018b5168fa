"""Complete figures: those of the HTML page, and the pictures for a README or a terminal user."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase

from visloc_ros.core.geometry import Array
from visloc_ros.evaluation.drawing import draw_latencies, draw_stages, put_legend_above
from visloc_ros.evaluation.plot_style import LIGHT, new_figure
from visloc_ros.evaluation.records import RunRecord
from visloc_ros.evaluation.series import RunSeries
from visloc_ros.evaluation.table import BUDGETS_MS
from visloc_ros.evaluation.tiles import Tile
from visloc_ros.evaluation.time_plots import draw_errors, draw_nees, draw_nis, draw_states
from visloc_ros.evaluation.top_view import draw_top_view, view_limits

FULL_WIDTH_IN = 11.0
TOP_VIEW_WIDTH_IN = 7.2


def top_view_figure(record: RunRecord, series: RunSeries) -> Figure:
    """The map and the path in it, seen from above."""
    width, height = np.diff(view_limits(record, series), axis=0)[0]
    figure = new_figure(TOP_VIEW_WIDTH_IN, 0.95 + 6.7 * min(float(height / width), 0.9))
    draw_top_view(figure.add_subplot(), record, series)
    return figure


def errors_figure(record: RunRecord, series: RunSeries) -> Figure:
    """Position error, rotation error and state over one time axis."""
    figure = new_figure(FULL_WIDTH_IN, 4.9)
    _draw_over_time(figure, record, series)
    return figure


def consistency_figure(record: RunRecord, series: RunSeries) -> Figure:
    """Errors and innovations over their covariances, over one time axis."""
    figure = new_figure(FULL_WIDTH_IN, 4.0)
    nees, nis = figure.subplots(2, 1, sharex=True)
    draw_nees(nees, record, series)
    draw_nis(nis, record, series)
    for axes in (nees, nis):
        put_legend_above(axes)
    _fit_time(nis, series)
    return figure


def latencies_figure(record: RunRecord) -> Figure:
    """Histograms of odometry, anchor and pose age."""
    figure = new_figure(FULL_WIDTH_IN, 2.5)
    axes = figure.subplots(1, 3)
    for plot, (title, milliseconds, budget_ms) in zip(axes, _latencies(record), strict=True):
        draw_latencies(plot, title, milliseconds, budget_ms)
    return figure


def stages_figure(summary: Mapping[str, Any]) -> Figure:
    """Median time of each stage of an anchor and of odometry."""
    stages = summary["stage_ms"]
    longest = max(2, len(stages["anchor"]), len(stages["odometry"]))
    figure = new_figure(FULL_WIDTH_IN, 0.8 + 0.27 * longest)
    anchor, odometry = figure.subplots(1, 2)
    draw_stages(anchor, "Anchor", stages["anchor"], LIGHT.anchor)
    draw_stages(odometry, "Odometry", stages["odometry"], LIGHT.fused)
    return figure


def overview_figure(record: RunRecord, series: RunSeries, tiles: list[Tile]) -> Figure:
    """One picture of a run: key figures, top view, errors over time."""
    figure = new_figure(13.0, 6.6)
    grid = figure.add_gridspec(2, 2, height_ratios=(1.0, 5.4), width_ratios=(1.0, 1.05))
    _draw_head(figure.add_subfigure(grid[0, :]), record.title, tiles)
    draw_top_view(figure.add_subfigure(grid[1, 0]).add_subplot(), record, series)
    _draw_over_time(figure.add_subfigure(grid[1, 1]), record, series)
    return figure


def _draw_over_time(figure: FigureBase, record: RunRecord, series: RunSeries) -> None:
    position, rotation, states = figure.subplots(3, 1, sharex=True, height_ratios=(10, 10, 1.6))
    draw_errors(position, record, series, "position")
    draw_errors(rotation, record, series, "rotation")
    put_legend_above(position)
    draw_states(states, record, series)
    _fit_time(states, series)


def _latencies(record: RunRecord) -> list[tuple[str, Array, float]]:
    odometry = [frame.odometry_ms for frame in record.frames]
    anchor = [anchor.latency_ms for anchor in record.anchors]
    pose_age = [frame.pose_age_ms for frame in record.frames]
    return [
        ("Odometry, each frame", _array(odometry), BUDGETS_MS["odometry"]),
        ("Anchor, from request to answer", _array(anchor), BUDGETS_MS["anchor"]),
        ("Age of the pose when published", _array(pose_age), BUDGETS_MS["pose_age"]),
    ]


def _array(values: list[float | None]) -> Array:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def _fit_time(axes: Axes, series: RunSeries) -> None:
    """Let the time axis cover the run, even where nothing could be drawn."""
    seconds = np.concatenate([series.frames.seconds, series.anchors.seconds])
    if len(seconds) and seconds.max() > seconds.min():
        axes.set_xlim(float(seconds.min()), float(seconds.max()))


def _draw_head(figure: FigureBase, title: str, tiles: list[Tile]) -> None:
    """The title, and the key figures in one line."""
    figure.text(0.012, 0.95, title, fontsize=15, fontweight="bold", va="top")
    for column, tile in enumerate(tiles):
        left = 0.012 + column * (0.988 / len(tiles))
        figure.text(left, 0.56, tile.label, fontsize=8.0, color=LIGHT.muted, va="top")
        figure.text(left, 0.40, tile.value, fontsize=13, fontweight="bold", va="top")
        figure.text(left, 0.14, tile.detail, fontsize=7.0, color=LIGHT.muted, va="top")
