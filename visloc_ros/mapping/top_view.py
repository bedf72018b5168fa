"""A map seen from above: as an SVG that follows the colours of the page it is put into, or as a grid for a robot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.geometry import SE3, Array
from visloc_ros.mapping.gravity import find_up, level_rotation

WIDTH = 1000.0
"""Of the drawings, in SVG units."""
_FLATTEST = 0.45
_STEEPEST = 0.75
_MARGIN = 0.06
_GRID_LINES = 6
_MAX_POINTS = 20_000
_CAMERAS_AT_FULL_SIZE = 150
_SMALLEST_CAMERA = 0.4
_JUMP = 10.0  # median steps of the camera, at least one SVG unit
_HEIGHT_COLORS = ("#5b3b8c", "#3f5fa8", "#2f7f9e", "#25997f", "#55b05a", "#9cbf3b", "#d9b72c")  # from low to high
UNKNOWN = -1
RESOLUTION_M = 0.05  # as grids for Nav2 have it
_CELLS, _MOST_CELLS = 400, 4000  # along a side: without metres, and at most
_SHOWN_SHARE = (1.0, 99.0)  # percentiles of the points that are shown: some lie far outside
_FLOOR_SHARE = 2.0  # percentile of the heights that counts as the floor
_LOWEST, _HIGHEST = 0.1, 2.2  # metres over it, between which points stand for something in the way
_FULL_COUNT = 95.0  # percentile of the points a cell that is shown as full


@dataclass(frozen=True, eq=False)
class Canvas:
    """Maps the ground plane (x right, y up, map units) to SVG units (y down)."""

    low: Array
    scale: float
    height: float

    def to_svg(self, points: Array) -> Array:
        """SVG positions (N, 2) of points (N, 2) on the ground plane."""
        scaled = (points - self.low) * self.scale
        return np.stack([scaled[:, 0], self.height - scaled[:, 1]], axis=1)


def draw_top_view(points: Array, map_from_cameras: Sequence[SE3], *, gravity_aligned: bool, unit: str) -> str:
    """Draw points (P, 3) coloured by height, and cameras with their viewing directions, as an SVG element."""
    rotation = ground_rotation(map_from_cameras, gravity_aligned=gravity_aligned)
    centres = np.array([pose.translation for pose in map_from_cameras]) @ rotation.T
    viewing = np.array([pose.rotation[:, 2] for pose in map_from_cameras]) @ rotation.T
    turned = points @ rotation.T
    canvas = fit_canvas(centres[:, :2], turned[:, :2])
    parts = [
        f'<svg viewBox="0 0 {WIDTH:g} {canvas.height:.0f}" role="img" aria-label="The map seen from above">',
        _draw_points(canvas, turned),
        draw_grid(canvas, unit),
        draw_cameras(canvas, centres[:, :2], viewing[:, :2]),
        "</svg>",
    ]
    return "\n".join(parts)


def ground_rotation(map_from_cameras: Sequence[SE3], *, gravity_aligned: bool) -> Array:
    """Rotation (3, 3) that turns the map so that it is seen from above: its z axis if that points up, else a guess."""
    up = None if gravity_aligned else find_up(map_from_cameras)
    return np.eye(3) if up is None else level_rotation(up.direction, map_from_cameras[0].rotation[:, 2])


def fit_canvas(centres: Array, points: Array) -> Canvas:
    """The shown area: of every camera (M, 2), and of the points (P, 2) except the farthest two in a hundred."""
    shown = np.concatenate([centres, np.percentile(points, (2, 98), axis=0)])
    low, high = shown.min(axis=0), shown.max(axis=0)
    margin = _MARGIN * max(float((high - low).max()), 1e-6)
    width, depth = np.maximum(high - low, 1e-6) + 2 * margin
    depth = float(np.clip(depth, _FLATTEST * width, None))
    width = max(float(width), depth / _STEEPEST)
    centre = (low + high) / 2
    scale = WIDTH / width
    return Canvas(centre - np.array([width, depth]) / 2, scale, depth * scale)


def _draw_points(canvas: Canvas, points: Array) -> str:
    shown = points[:: max(1, -(-len(points) // _MAX_POINTS))]
    pixels = canvas.to_svg(shown[:, :2])
    inside = np.all((pixels >= 0) & (pixels <= [WIDTH, canvas.height]), axis=1)
    levels = _height_levels(shown[:, 2])
    # One path a colour, each point a line of no length with round ends: far smaller than an element a point.
    paths = []
    for level, color in enumerate(_HEIGHT_COLORS):
        dots = "".join(f"M{x:.0f} {y:.0f}h0" for x, y in pixels[inside & (levels == level)])
        paths.append(f'<path d="{dots}" stroke="{color}"/>')
    return "\n".join(['<g class="points">', *paths, "</g>"])


def _height_levels(heights: Array) -> NDArray[np.int_]:
    low, high = np.percentile(heights, (2, 98))
    share = np.clip((heights - low) / max(high - low, 1e-9), 0.0, 1.0 - 1e-9)
    return np.asarray(share * len(_HEIGHT_COLORS), dtype=int)


def draw_grid(canvas: Canvas, unit: str) -> str:
    """Lines at round coordinates, with these."""
    width = WIDTH / canvas.scale
    step = nice_step(width / _GRID_LINES)
    high = canvas.low + np.array([width, canvas.height / canvas.scale])
    parts = ['<g class="grid">']
    for value in np.arange(np.ceil(canvas.low[0] / step), np.floor(high[0] / step) + 1) * step:
        x = (value - canvas.low[0]) * canvas.scale
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{canvas.height:.1f}"/>')
        parts.append(f'<text x="{x + 5:.1f}" y="{canvas.height - 8:.1f}">{value + 0.0:g} {unit}</text>')
    for value in np.arange(np.ceil(canvas.low[1] / step), np.floor(high[1] / step) + 1) * step:
        y = canvas.height - (value - canvas.low[1]) * canvas.scale
        parts.append(f'<line x1="0" x2="{WIDTH:g}" y1="{y:.1f}" y2="{y:.1f}"/>')
    return "".join([*parts, "</g>"])


def nice_step(rough: float) -> float:
    """Round a step to 1, 2 or 5 times a power of ten, upwards."""
    power = 10.0 ** np.floor(np.log10(rough))
    return float(power * next(factor for factor in (1.0, 2.0, 5.0, 10.0) if factor * power >= rough * (1 - 1e-9)))


def draw_cameras(canvas: Canvas, centres: Array, viewing: Array) -> str:
    """Cameras at ``centres`` (M, 2) that look along ``viewing`` (M, 2), and the path that they took."""
    at = canvas.to_svg(centres)
    size = float(np.clip((_CAMERAS_AT_FULL_SIZE / len(at)) ** 0.5, _SMALLEST_CAMERA, 1.0))
    parts = [_draw_path(at[begin:end]) for begin, end in _stretches(at)]
    for (x, y), direction in zip(at, viewing, strict=True):
        angle = np.degrees(np.arctan2(-direction[1], direction[0]))
        parts.append(
            f'<path class="camera" d="M0 0L17 -7L17 7Z" '
            f'transform="translate({x:.1f} {y:.1f}) rotate({angle:.0f}) scale({size:.2f})"/>'
        )
    return "\n".join(parts)


def _draw_path(at: Array) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in at)
    return f'<polyline class="path" points="{path}"/>'


def _stretches(at: Array) -> list[tuple[int, int]]:
    """Ranges of positions (N, 2) without a jump, where one film ends and another begins elsewhere."""
    steps = np.linalg.norm(np.diff(at, axis=0), axis=1)
    longest = _JUMP * max(float(np.median(steps)), 1.0) if len(steps) else np.inf
    ends = [0, *(int(jump) + 1 for jump in np.flatnonzero(steps > longest)), len(at)]
    return list(pairwise(ends))


@dataclass(frozen=True, eq=False)
class PlanView:
    """Cells (rows, columns) from ``UNKNOWN`` and 0 to 100, row 0 the lowest in y; ``low`` (2,) is its lowest corner."""

    cells: NDArray[np.int8]
    resolution: float
    low: Array


def plan_view(points: Array, metric: bool) -> PlanView | None:
    """Points (P, 3) of a map whose z axis points up, in its units; None without points.

    This is a picture: surfaces without texture have no points, so that no cell is known to be free.
    """
    if len(points) == 0:
        return None
    low, high = np.percentile(points[:, :2], _SHOWN_SHARE, axis=0)
    side = max(float(np.max(high - low)), 1e-6)
    resolution = max(RESOLUTION_M, side / _MOST_CELLS) if metric else side / _CELLS
    heights = points[:, 2] - np.percentile(points[:, 2], _FLOOR_SHARE)
    if metric:
        points = points[(heights > _LOWEST) & (heights < _HIGHEST)]
    columns, rows = (np.floor((high - low) / resolution).astype(int) + 1).tolist()
    counts = np.zeros((rows, columns))
    cells = np.floor((points[:, :2] - low) / resolution).astype(int)
    inside = np.all((cells >= 0) & (cells < [columns, rows]), axis=1)
    np.add.at(counts, tuple(cells[inside].T[::-1]), 1.0)
    seen = counts > 0
    full = float(np.percentile(counts[seen], _FULL_COUNT)) if seen.any() else 1.0
    shade = np.where(seen, np.clip(100.0 * counts / full, 10.0, 100.0), UNKNOWN)
    return PlanView(shade.astype(np.int8), resolution, np.asarray(low))
