"""The place seen from above: the map, the truth, the estimated path, and the anchors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection

from visloc_ros.core.geometry import Array
from visloc_ros.evaluation.drawing import draw_circles, finite_rows, flattest_view, thin
from visloc_ros.evaluation.plot_style import LIGHT, STATE_COLOR
from visloc_ros.evaluation.records import FrameRecord, RunRecord
from visloc_ros.evaluation.series import RunSeries

MAX_MAP_POINTS = 40_000
MAP_POINTS_LABEL = "map points"
FLATTEST_VIEW = 0.35


def horizontal_axes(record: RunRecord, series: RunSeries) -> list[int]:
    """The two map axes in the picture, by the positions of the cameras."""
    cameras = np.concatenate([finite_rows(record.map_camera_positions), finite_rows(series.frames.positions)])
    return [0, 1] if len(cameras) < 2 else flattest_view(cameras)


def draw_top_view(axes: Axes, record: RunRecord, series: RunSeries) -> None:
    """Map points and cameras, the truth, the fused path coloured by state, and the anchors, seen from above."""
    plane = horizontal_axes(record, series)
    _draw_map(axes, record, plane)
    if record.ground_truth is not None:
        truth = _truth_of_run(record)[:, plane]
        axes.plot(*truth[thin(len(truth))].T, color=LIGHT.truth, lw=1.1, ls=(0, (4, 2)), label="truth", zorder=3)
    _draw_path(axes, record.frames, series.frames.positions[:, plane])
    _draw_anchors(axes, record, series.anchors.positions[:, plane])
    unit = "m" if record.metric else "map units"
    axes.set(xlabel=f"{'xyz'[plane[0]]} [{unit}]", ylabel=f"{'xyz'[plane[1]]} [{unit}]")
    low, high = view_limits(record, series)
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    axes.set_aspect("equal", adjustable="box")
    _put_legend_below(axes)


def view_limits(record: RunRecord, series: RunSeries) -> Array:
    """Lower and upper corner (2, 2) of the top view: every camera is in it, the farthest map points are not."""
    plane = horizontal_axes(record, series)
    cameras = [record.map_camera_positions, series.frames.positions, series.anchors.positions, _truth_of_run(record)]
    shown = [finite_rows(part)[:, plane] for part in cameras]
    points = finite_rows(record.map_points)[:, plane]
    if len(points):
        shown.append(np.percentile(points, (2, 98), axis=0))
    corners = np.concatenate([part for part in shown if len(part)] or [np.zeros((1, 2))])
    low, high = corners.min(axis=0), corners.max(axis=0)
    extent = max(float((high - low).max()), 0.2)
    centre, half = (low + high) / 2, np.maximum(high - low, FLATTEST_VIEW * extent) / 2 + 0.05 * extent
    return np.array([centre - half, centre + half])


def _draw_map(axes: Axes, record: RunRecord, plane: list[int]) -> None:
    points = finite_rows(record.map_points)[:, plane]
    if len(points):
        shown = points[:: max(1, len(points) // MAX_MAP_POINTS)]
        dots = _draw_dots(axes, shown, 2.0, LIGHT.points, MAP_POINTS_LABEL, zorder=1.0)
        dots.set(alpha=0.6, rasterized=True)  # thousands of vector dots would make the page huge
    cameras = finite_rows(record.map_camera_positions)[:, plane]
    if len(cameras):
        _draw_dots(axes, cameras, 9.0, LIGHT.muted, "map cameras", zorder=2.0, marker="s")


def _draw_path(axes: Axes, frames: Sequence[FrameRecord], positions: Array) -> None:
    """The fused path, one colour a state; gaps where no pose is known."""
    rows = thin(len(frames))
    states, path = [frames[row].state for row in rows], positions[rows]
    for state in dict.fromkeys(states):
        own = np.array([s is state for s in states])
        if not np.isfinite(path[own]).any():
            continue
        own[1:] |= own[:-1]  # reach the first point of the next state, so that the line does not break there
        line = np.where(own[:, None], path, np.nan)
        axes.plot(*line.T, color=STATE_COLOR[state], lw=1.8, label=f"fused, {state.value.lower()}", zorder=4)
    _draw_ends(axes, finite_rows(positions))


def _draw_ends(axes: Axes, known: Array) -> None:
    if len(known) == 0:
        return
    first = _draw_dots(axes, known[:1], 34.0, LIGHT.surface, "first fix", zorder=6.0)
    first.set(edgecolor=LIGHT.ink, linewidth=1.2)
    _draw_dots(axes, known[-1:], 30.0, LIGHT.ink, "end", zorder=6.0, marker="D")


def _draw_anchors(axes: Axes, record: RunRecord, positions: Array) -> None:
    """Anchors that fusion used or did not judge as circles, refused ones as crosses."""
    refused = np.array([anchor.fused is False for anchor in record.anchors], dtype=bool)
    used, wrong = finite_rows(positions[~refused]), finite_rows(positions[refused])
    if len(used):
        draw_circles(axes, used[:, 0], used[:, 1], "anchors")
    if len(wrong):
        crosses = _draw_dots(axes, wrong, 14.0, LIGHT.bad, "anchors refused", zorder=4.0, marker="x")
        crosses.set(linewidth=0.9)


def _draw_dots(
    axes: Axes,
    points: Array,
    size: float,
    color: str,
    label: str,
    zorder: float,
    marker: Literal["o", "s", "D", "x"] = "o",
) -> PathCollection:
    """Markers without outline at points (N, 2); ``size`` is an area in square points."""
    x, y = points.T
    return axes.scatter(x, y, s=size, color=color, marker=marker, linewidth=0.0, label=label, zorder=zorder)


def _truth_of_run(record: RunRecord) -> Array:
    """True positions (N, 3) while the run lasted."""
    truth = record.ground_truth
    if truth is None or not record.frames:
        return np.empty((0, 3))
    begin, end = record.frames[0].stamp_ns, record.frames[-1].stamp_ns
    return truth.positions[(truth.stamps_ns >= begin) & (truth.stamps_ns <= end)]


def _put_legend_below(axes: Axes) -> None:
    if axes.get_legend_handles_labels()[0]:
        legend = axes.legend(
            loc="upper left",
            bbox_to_anchor=(0.0, -0.1),
            ncols=4,
            handlelength=1.6,
            columnspacing=1.6,
            borderaxespad=0.0,
        )
        for handle in legend.legend_handles:
            if isinstance(handle, PathCollection) and handle.get_label() == MAP_POINTS_LABEL:
                handle.set_sizes([12.0])
