"""Moves a map to the frame of an occupancy grid: aligns its points, seen from above, with the occupied cells.

All headings and places are tried at once by correlation (as in Olson, "Real-time correlative scan matching", 2009),
then the best is refined by least squares over the distances to the nearest occupied cells.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import distance_transform_edt, map_coordinates
from scipy.optimize import least_squares

from visloc_ros.core.errors import MapError
from visloc_ros.core.geometry import Array, Sim3, rotation_matrix
from visloc_ros.core.map import Map
from visloc_ros.mapping.alignment.fit import MapFit
from visloc_ros.mapping.alignment.floor import find_floor
from visloc_ros.sources.occupancy_grid import OccupancyGrid

_LOWEST_M, _HIGHEST_M = 0.15, 2.0  # over the floor: heights at which points of walls match those of a laser
_BIN_M = 0.25  # of heights: a wall has points in many, a table in one
_FIELD_SIGMA_M = 0.15  # how far points of walls may be from those of a laser
_COARSE_M, _COARSE_DEG = 0.1, 2.0
_APART_M, _APART_DEG = 0.6, 15.0  # beyond this distance from the best alignment it is another one
_RIVAL_SHARE = 0.93  # of the best score, above which another alignment is as good
_LEAST_ON_WALLS = 0.4  # share of the points' weight that must be near something occupied
_NEAR_M = 0.2
_SCALE_SIGMA = 0.02  # of the scale of a map that is in metres
_LOSS_M = 0.1
_SEARCHED_M, _SEARCHED_DEG = 1.5, 40.0  # about an alignment that is given


@dataclass(frozen=True)
class GridPose:
    """Where the map's origin lies in the grid's frame: metres, and the heading of its x axis in radians."""

    x: float
    y: float
    yaw: float

    @staticmethod
    def at(x: float, y: float, yaw_deg: float) -> GridPose:
        """The same with a heading in degrees."""
        return GridPose(x, y, float(np.deg2rad(yaw_deg)))


@dataclass(frozen=True, eq=False)
class _Plan:
    """Places (N, 2) of a map's points seen from above, in cells of the search, and their weights (N,)."""

    places: Array
    weights: Array


def align_to_grid(map_: Map, grid: OccupancyGrid, near: GridPose | None = None) -> MapFit:
    """Move a map in metres to an occupancy grid's frame, its floor to z = 0; its scale may change by some percent.

    ``near`` is where its origin lies, to a metre and half a radian, where the grid alone leaves several places. Raises
    MapError where the map is not in metres, where it fits nowhere, or in several places.
    """
    if not map_.manifest.metric:
        raise MapError(
            f"the map '{map_.name}' is not in metres: align it to known poses, or first to the floor by --camera-height"
        )
    cameras = [image.map_from_camera for image in map_.images]
    floor = find_floor(map_.points, cameras, map_.manifest.gravity_aligned)
    level = floor.upright_rotation
    plan = _plan(map_.points @ level.T - [0.0, 0.0, floor.offset])
    start = _search(plan, grid, near)
    pose, scale, near_walls, rms = _refined(plan, grid, start)
    if near_walls < _LEAST_ON_WALLS:
        raise MapError(
            f"the map fits the occupancy grid nowhere: at best {near_walls:.0%} of its points are near something "
            f"occupied, {_LEAST_ON_WALLS:.0%} are needed; is it a grid of this place, and of its walls?"
        )
    turn = rotation_matrix([0.0, 0.0, pose.yaw]) @ level
    moved = np.array([pose.x, pose.y, -scale * floor.offset])
    residuals = {"points_near_walls": near_walls, "rms_m": rms, "scale_change": scale - 1.0}
    return MapFit(Sim3(scale, turn, moved), "occupancy grid", residuals, metric=True, gravity_aligned=True)


def _plan(points: Array) -> _Plan:
    """Cells of the plan view; places with points at many heights count more."""
    kept = points[(points[:, 2] > _LOWEST_M) & (points[:, 2] < _HIGHEST_M)]
    cell = np.floor(kept[:, :2] / (0.5 * _COARSE_M)).astype(np.int64)
    level = np.floor(kept[:, 2] / _BIN_M).astype(np.int64)
    voxels = np.unique(np.column_stack([cell, level]), axis=0)
    places, weights = np.unique(voxels[:, :2], axis=0, return_counts=True)
    if len(places) < 30:
        raise MapError(f"the map has points over {len(places)} places of the floor: too few to lay onto a grid")
    shares = np.asarray(weights, np.float64) / float(weights.sum())
    return _Plan(np.asarray((places + 0.5) * 0.5 * _COARSE_M, np.float64), shares)


def _search(plan: _Plan, grid: OccupancyGrid, near: GridPose | None) -> GridPose:
    """The best of all headings and places, if no other one is as good. Raises MapError."""
    distances = _distances(grid)
    step = max(1, round(_COARSE_M / grid.resolution))
    field = np.exp(-0.5 * np.square(distances[::step, ::step] / _FIELD_SIGMA_M))
    cell_m = step * grid.resolution
    headings = np.deg2rad(np.arange(0.0, 360.0, _COARSE_DEG))
    found = [_best_place(plan, field, cell_m, grid, yaw, near) for yaw in headings]
    scores = np.array([score for score, _ in found])
    best = found[int(np.argmax(scores))][1]
    rivals = [score for score, pose in found if score > 0.0 and _is_apart(pose, best)]
    rival = max([*rivals, _second_place(plan, field, cell_m, grid, best)])
    if near is None and rival > _RIVAL_SHARE * scores.max():
        raise MapError(
            f"the map fits the occupancy grid in several places (another one {rival / scores.max():.0%} as well): say "
            "about where the map's origin lies with --near 'x y yaw_deg'"
        )
    return best


def _best_place(
    plan: _Plan, field: Array, cell_m: float, grid: OccupancyGrid, yaw: float, near: GridPose | None
) -> tuple[float, GridPose]:
    """The place with the most of the plan on occupied cells at one heading, and its score."""
    if near is not None and abs(_angle(yaw - near.yaw)) > np.deg2rad(_SEARCHED_DEG):
        return -1.0, GridPose(near.x, near.y, yaw)
    scores, low = _correlation(plan, field, cell_m, grid, yaw)
    if near is not None:
        scores = np.where(_offsets(scores.shape, low, cell_m, grid, near) <= _SEARCHED_M, scores, -1.0)
    row, column = np.unravel_index(int(np.argmax(scores)), scores.shape)
    return float(scores[row, column]), _pose_at(int(row), int(column), low, cell_m, grid, yaw)


def _second_place(plan: _Plan, field: Array, cell_m: float, grid: OccupancyGrid, best: GridPose) -> float:
    """The score of the best other place at the same heading."""
    scores, low = _correlation(plan, field, cell_m, grid, best.yaw)
    away = _offsets(scores.shape, low, cell_m, grid, best) > _APART_M
    return float(scores[away].max(initial=0.0))


def _offsets(shape: tuple[int, ...], low: Array, cell_m: float, grid: OccupancyGrid, pose: GridPose) -> Array:
    """Metres from each place of a correlation (rows, columns) to that of a pose."""
    middle = grid.to_cells(np.array([[pose.x, pose.y]]))[0] * grid.resolution / cell_m - low
    rows, columns = np.indices(shape)
    return np.asarray(np.hypot(columns - middle[0], rows - middle[1]) * cell_m)


def _correlation(plan: _Plan, field: Array, cell_m: float, grid: OccupancyGrid, yaw: float) -> tuple[Array, Array]:
    """Scores by row and column of the plan's origin, and the cell of the first of them."""
    from scipy.signal import fftconvolve  # imports scipy.stats, too, which no other way of aligning needs

    turn = yaw - grid.origin[2]
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    cells = np.floor(plan.places @ rotation.T / cell_m).astype(np.int64)
    lowest = cells.min(axis=0)
    kernel = np.zeros((cells - lowest).max(axis=0)[::-1] + 1)
    np.add.at(kernel, tuple((cells - lowest).T[::-1]), plan.weights)
    scores = fftconvolve(field, kernel[::-1, ::-1], mode="full")
    return np.asarray(scores), -lowest - (np.array(kernel.shape[::-1]) - 1)


def _pose_at(row: int, column: int, low: Array, cell_m: float, grid: OccupancyGrid, yaw: float) -> GridPose:
    cells = (np.array([[column, row]]) + low) * cell_m / grid.resolution
    x, y = grid.to_frame(cells)[0]
    return GridPose(float(x), float(y), yaw)


def _refined(plan: _Plan, grid: OccupancyGrid, start: GridPose) -> tuple[GridPose, float, float, float]:
    """Least squares over distances: pose, scale, the share of weight near walls, and the rms distance of these."""
    distances = _distances(grid)

    def distances_of(values: Array) -> Array:
        x, y, yaw, scale = values
        rotation = np.array([[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]])
        cells = grid.to_cells(np.exp(scale) * plan.places @ rotation.T + [x, y]) - 0.5
        outside = np.hypot(*distances.shape) * grid.resolution
        return np.asarray(map_coordinates(distances, cells.T[::-1], order=1, mode="constant", cval=outside))

    weights = np.sqrt(plan.weights / plan.weights.mean())

    def residuals(values: Array) -> Array:
        capped = _LOSS_M * np.tanh(distances_of(values) / (2.0 * _LOSS_M))
        return np.append(weights * capped, values[3] / _SCALE_SIGMA * _LOSS_M)

    begin = np.array([start.x, start.y, start.yaw, 0.0])
    best = least_squares(residuals, begin, diff_step=[1e-4] * 4, x_scale=[0.1, 0.1, 0.02, 0.01]).x
    final = distances_of(best)
    near = final < _NEAR_M
    rms = float(np.sqrt(np.average(np.square(final[near]), weights=plan.weights[near]))) if near.any() else np.inf
    pose = GridPose(float(best[0]), float(best[1]), float(_angle(best[2])))
    return pose, float(np.exp(best[3])), float(plan.weights[near].sum()), rms


def _distances(grid: OccupancyGrid) -> Array:
    """Metres from each cell to the nearest occupied one."""
    if not grid.occupied.any():
        raise MapError("nothing in the occupancy grid is occupied: give one that shows walls")
    return np.asarray(distance_transform_edt(~grid.occupied) * grid.resolution)


def _is_apart(one: GridPose, other: GridPose) -> bool:
    turned = abs(float(np.rad2deg(_angle(one.yaw - other.yaw))))
    return bool(np.hypot(one.x - other.x, one.y - other.y) > _APART_M or turned > _APART_DEG)


def _angle(radians: float) -> float:
    """The same angle between -pi and pi."""
    return float((radians + np.pi) % (2.0 * np.pi) - np.pi)
