"""Plots of several trajectories: from above with viewing directions, and over time."""

from __future__ import annotations

import io
from collections.abc import Mapping
from html import escape
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from visloc_ros.core.errors import ConfigError
from visloc_ros.core.geometry import Array
from visloc_ros.core.trajectory import NANOSECONDS, Trajectory
from visloc_ros.evaluation.drawing import flattest_view, put_legend_above, thin
from visloc_ros.evaluation.plot_style import LIGHT, new_figure, style, to_png, write_picture

COLORS = (LIGHT.fused, LIGHT.anchor, LIGHT.warn, LIGHT.bad, LIGHT.truth)
ARROWS = 40  # of each trajectory: viewing directions
POINTS_SHARE = (2.0, 98.0)  # percentiles of the map's points that are in the picture
SUFFIXES = (".png", ".svg", ".html")


def write_trajectory_plot(path: Path, trajectories: Mapping[str, Trajectory], points: Array | None, unit: str) -> None:
    """Write trajectories ``map_from_camera`` by name over the ``points`` (P, 3) of their map, as PNG, SVG or HTML.

    ``unit`` is that of positions. Raises ConfigError for another suffix, OutputError where it cannot be written.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"{path} would be no picture: its name must end in {', '.join(SUFFIXES)}")
    with style():
        figure = draw(trajectories, points, unit)
        if path.suffix.lower() == ".png":
            content = to_png(figure)
        else:
            svg = _svg(figure)
            content = (svg if path.suffix.lower() == ".svg" else _page(svg, trajectories)).encode()
    write_picture(path, content)


def draw(trajectories: Mapping[str, Trajectory], points: Array | None, unit: str) -> Figure:
    """The figure: on the left from above, on the right x, y, z over time."""
    figure = new_figure(10.0, 4.6)
    grid = figure.add_gridspec(3, 2)
    axes = figure.add_subplot(grid[:, 0])
    components = [figure.add_subplot(grid[row, 1]) for row in range(3)]
    positions = np.concatenate([one.positions for one in trajectories.values()])
    plane = flattest_view(positions)
    if points is not None:
        draw_points(axes, points, plane)
    begin_ns = min(int(one.stamps_ns[0]) for one in trajectories.values())
    for number, (name, one) in enumerate(trajectories.items()):
        color = COLORS[number % len(COLORS)]
        draw_path(axes, one, plane, f"{name} ({len(one)} poses)", color)
        seconds = (one.stamps_ns - begin_ns) / NANOSECONDS
        for axis, component in zip(range(3), components, strict=True):
            component.plot(seconds, one.positions[:, axis], color=color, marker="." if len(one) == 1 else None)
    for name, component in zip("xyz", components, strict=True):
        component.set_ylabel(f"{name} [{unit}]")
    components[-1].set_xlabel("s")
    axes.set(xlabel=f"{'xyz'[plane[0]]} [{unit}]", ylabel=f"{'xyz'[plane[1]]} [{unit}]")
    axes.set_aspect("equal", adjustable="datalim")
    put_legend_above(axes)
    return figure


def draw_points(axes: Axes, points: Array, plane: list[int]) -> None:
    """Points of the map, but for those far away."""
    seen = points[:, plane]
    low, high = np.percentile(seen, POINTS_SHARE, axis=0)
    seen = seen[np.all((seen >= low) & (seen <= high), axis=1)]
    axes.plot(*seen.T, ".", markersize=0.8, color=LIGHT.points, zorder=1)


def draw_path(axes: Axes, trajectory: Trajectory, plane: list[int], label: str, color: str) -> None:
    """One path with its beginning, and its viewing directions."""
    places = trajectory.positions[:, plane]
    axes.plot(*places[thin(len(places))].T, color=color, label=label, zorder=3)
    axes.plot(*places[0], "o", color=color, markersize=4, zorder=4)
    every = slice(None, None, max(1, len(places) // ARROWS))
    looking = np.array([pose.rotation[:, 2] for pose in trajectory.poses])[every][:, plane]
    axes.quiver(*places[every].T, *looking.T, color=color, alpha=0.5, width=0.003, scale=25.0, zorder=2)


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    FigureCanvasSVG(figure)
    figure.savefig(buffer, format="svg", metadata={"Date": None}, facecolor=LIGHT.surface)
    return buffer.getvalue()


def _page(svg: str, trajectories: Mapping[str, Trajectory]) -> str:
    title = f'<meta charset="utf-8"><title>{escape(", ".join(trajectories))}</title>'
    return f'<!doctype html><html lang="en"><head>{title}</head><body>{svg[svg.index("<svg") :]}</body></html>\n'
