"""Where photos can be located by a database of geotagged views."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pycolmap
from scipy.spatial import cKDTree

from visloc_geo.database import GeoDatabase
from visloc_geo.keypoint_files import count_keypoints
from visloc_ros.core.errors import GeoError
from visloc_ros.core.files import is_file
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.localization.coverage import Cells, Coverage, RecallModel, measure_coverage
from visloc_ros.localization.seen_points import SeenPoints, ViewLimits

GEO_RECALL = RecallModel(constant=-12.05, per_log_points=1.86, per_spread=0.0)
"""Fitted by ``plugins.visloc_geo.benchmarks.coverage`` to photos of a rendered street, and compared in others."""

PHOTO = ViewLimits((-0.64, -0.48, 0.64, 0.48), 1.0)
"""The view of a photo: that of most phones, 65 degrees wide."""

CELL_M = 5.0
_REACH_M = (10.0, 30.0)  # from the next view, which is as far as photos were to which the model was fitted
_ONE_PLACE_M = 1.0  # between views of one panorama, at most
_DEPTHS_M = (5.0, 10.0, 20.0)  # at which a view may see a front across a street; how far that is is not known
_STEP_DEG = 10.0
_KEYPOINTS = 1024  # of a view without features: as many as it will have


class PlacedView(NamedTuple):
    """A view whose position and heading are known.

    Its name, that of its panorama or its own, ``enu_from_camera``, its camera, and the number of its keypoints.
    """

    name: str
    place: str
    enu_from_camera: SE3
    camera: pycolmap.Camera
    num_keypoints: int


def geo_coverage(database: GeoDatabase, cell_m: float | None = None) -> Coverage:
    """The expected recall around the views of a database, in the frame east, north, up of its origin.

    Raises GeoError where no view has a position and a heading, ConfigError where small cells make too many.
    """
    views = placed_views(database)
    if not views:
        raise GeoError(
            f"no view of {database.folder} has a position and a heading: 'visloc geo register {database.folder}' finds "
            "the headings of photos that overlap"
        )
    centres = np.array([view.enu_from_camera.translation for view in views])
    reach = _spacing(centres)
    cells = Cells.for_picture(centres, reach, CELL_M) if cell_m is None else Cells.around(centres, reach, cell_m)
    return measure_coverage(points_of_views(views), cells, PHOTO, GEO_RECALL)


def _spacing(centres: Array) -> float:
    """The distance from a place with views to the next, which stands for how far the street goes to its sides."""
    places = np.unique(np.round(centres / _ONE_PLACE_M), axis=0) * _ONE_PLACE_M
    if len(places) < 2:
        return _REACH_M[1]
    distances = np.asarray(cKDTree(places).query(places, 2)[0])
    return float(np.clip(np.median(distances[:, 1]), *_REACH_M))


def placed_views(database: GeoDatabase) -> list[PlacedView]:
    """The views with position, heading and camera, in the frame of the database, all at one height."""
    frame, found = database.origin, []
    for view in database:
        pose = view.enu_from_camera(frame)
        if pose is not None and view.camera is not None:
            path, level = database.keypoints_path(view.name), SE3(pose.rotation, pose.translation * [1.0, 1.0, 0.0])
            count = count_keypoints(path) if is_file(path) else _KEYPOINTS
            found.append(PlacedView(view.name, view.panorama or view.name, level, view.camera, count))
    return found


def points_of_views(views: Sequence[PlacedView]) -> SeenPoints:
    """What views see, where nothing is known of it: points in all directions of each, at three distances."""
    seen = [_points_of(view) for view in views]
    counts = [len(points) for points in seen]
    observers = np.repeat(np.arange(len(views)), counts)
    amounts = np.array([view.num_keypoints for view in views]) / np.maximum(counts, 1)
    centres = np.array([view.enu_from_camera.translation for view in views])
    # Sizes are compared as angles: photos and views have about the same width in pixels.
    focals = np.ones(len(views))
    _, places = np.unique([view.place for view in views], return_inverse=True)
    points, rows = np.concatenate(seen), np.arange(len(observers))
    return SeenPoints(points, rows, observers, centres, focals, amounts[observers], groups=places)


def _points_of(view: PlacedView) -> Array:
    left, _, right, _ = ViewLimits.of(view.camera).tangents
    angles = np.degrees(np.arctan([left, right]))
    count = max(1, round(float(np.ptp(angles)) / _STEP_DEG))
    middles = np.radians(angles[0] + (np.arange(count) + 0.5) * np.ptp(angles) / count)
    rotation = view.enu_from_camera.rotation
    ahead = np.arctan2(rotation[0, 2], rotation[1, 2]) + middles
    directions = np.column_stack([np.sin(ahead), np.cos(ahead), np.zeros(count)])
    return np.concatenate([view.enu_from_camera.translation + depth * directions for depth in _DEPTHS_M])
