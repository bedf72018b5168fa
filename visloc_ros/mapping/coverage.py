"""Where in a built map images can be localized."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pycolmap
from numpy.typing import NDArray

from visloc_ros.core.errors import MapError
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.map import NO_POINT, Map
from visloc_ros.localization.coverage import Cells, Coverage, RecallModel, measure_coverage
from visloc_ros.localization.seen_points import SeenPoints, ViewLimits
from visloc_ros.localization.view_change import typical_depth
from visloc_ros.mapping.top_view import ground_rotation, nice_step

ANCHOR_RECALL = RecallModel(constant=-17.96, per_log_points=3.48, per_spread=6.22)
"""Fitted by ``benchmarks.anchor.coverage`` to images of a simulated room and a kitchen; it holds in other places."""

_REACH = 1.0  # of the distance to what the cameras see, as far as images were to which the model was fitted
_CELLS_OF_REACH = 8.0
_EYE_LEVEL = 0.15  # of that distance: how far above or below the cameras a ray may be to cross a cell
_LEAST_RAYS = 3  # that cross a free cell: single points are wrong
_MOST_RAYS = 20_000


class MappedView(NamedTuple):
    """An image of a map: ``map_from_camera``, its camera, and the rows (K,) of the points that it sees."""

    map_from_camera: SE3
    camera: pycolmap.Camera
    point_rows: NDArray[np.int32]


def map_coverage(
    points: Array, views: Sequence[MappedView], *, gravity_aligned: bool, cell: float | None = None
) -> Coverage:
    """The expected recall around the images of a map with points (P, 3), by the camera of most images.

    The frame is the map's, turned so that it is seen from above where it is not level. ``cell`` is the side of a cell
    in the unit of the map. Raises MapError where no image sees a point, ConfigError where small cells are too many.
    """
    rotation = ground_rotation([view.map_from_camera for view in views], gravity_aligned=gravity_aligned)
    level = SE3(rotation, np.zeros(3))
    poses = [level @ view.map_from_camera for view in views]
    depths = [typical_depth(view.map_from_camera, points[view.point_rows]) for view in views]
    if not any(depths):
        raise MapError("no image of the map sees a point: rebuild the map")
    reach = _REACH * float(np.median([depth for depth in depths if depth]))
    centres = np.array([pose.translation for pose in poses])
    if cell is None:
        cells = Cells.for_picture(centres, reach, nice_step(reach / _CELLS_OF_REACH))
    else:
        cells = Cells.around(centres, reach, cell)
    seen, limits = observed_points(points @ rotation.T, poses, views), ViewLimits.of(common_camera(views))
    cells = _only_free(cells, seen, _EYE_LEVEL * reach)
    pitches = [np.degrees(np.arcsin(np.clip(pose.rotation[2, 2], -1.0, 1.0))) for pose in poses]
    return measure_coverage(seen, cells, limits, ANCHOR_RECALL, float(np.median(pitches)))


def _only_free(cells: Cells, seen: SeenPoints, eye_level: float) -> Cells:
    """The cells of the cameras, and those that they looked through: others may be walls, or behind them."""
    step = max(1, -(-len(seen.point_rows) // _MOST_RAYS))
    starts, ends = seen.centres[seen.observer_rows[::step]], seen.points[seen.point_rows[::step]]
    lengths = np.linalg.norm((ends - starts)[:, :2], axis=1)
    counts = np.zeros(cells.heights.shape)
    for distance in np.arange(0.0, 2.0 * eye_level / _EYE_LEVEL, cells.side):
        crossing = distance + cells.side < lengths
        at = starts[crossing] + (distance / lengths[crossing])[:, None] * (ends - starts)[crossing]
        at = at[np.abs(at[:, 2] - starts[crossing, 2]) < eye_level]
        rows, columns = cells.rows_and_columns(at)
        np.add.at(counts, (rows, columns), 1.0)
    counts[cells.rows_and_columns(cells.cameras)] = _LEAST_RAYS
    return replace(cells, heights=np.where(counts >= _LEAST_RAYS, cells.heights, np.nan))


def coverage_of_map(map_: Map, cell: float | None = None) -> Coverage:
    """The expected recall around the images of an opened map. Raises as ``map_coverage``."""
    return map_coverage(map_.points, mapped_views(map_), gravity_aligned=map_.manifest.gravity_aligned, cell=cell)


def mapped_views(map_: Map) -> list[MappedView]:
    """The images of an opened map."""
    return [
        MappedView(image.map_from_camera, image.camera, image.point_rows[image.point_rows != NO_POINT])
        for image in map_.images
    ]


def observed_points(points: Array, poses: Sequence[SE3], views: Sequence[MappedView]) -> SeenPoints:
    """The points (P, 3) with their observations, by views at ``poses`` in the frame of the points."""
    focals = [view.camera.mean_focal_length() for view in views]
    return SeenPoints.of_images(points, poses, focals, [view.point_rows for view in views])


def common_camera(views: Sequence[MappedView]) -> pycolmap.Camera:
    """The camera that took most images."""
    cameras = {id(view.camera): view.camera for view in views}
    return cameras[Counter(id(view.camera) for view in views).most_common(1)[0][0]]
