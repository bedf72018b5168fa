"""Landmarks: the points of a map clustered as seen from above, so that each is a column of the place.

After PRAM (Xue et al. 2024, arXiv 2404.07785): BIRCH (Zhang et al. 1996) of the points seen by three images or more,
with the axis that points up left out, or given clusters. The threshold follows the size of the map, so that its unit
does not matter, and landmarks that no pose could be computed from are merged into their neighbours.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.errors import MapError
from visloc_ros.core.geometry import Array
from visloc_ros.core.map import Map
from visloc_search.landmarks.config import MOST_LANDMARKS, LandmarkConfig
from visloc_search.landmarks.given_clusters import read_given_clusters
from visloc_search.landmarks.tokens import BACKGROUND
from visloc_search.reduced_map.frames import Observations

POSE_POINTS = 30
"""Points of a landmark in one image that a pose can be computed from, with a third of them matched."""

_POINTS_PER_LANDMARK = 600
_FEWEST, _MOST = 8, 64  # landmarks, where their number follows the size of the map
_MIN_POINTS = 80
_MIN_IMAGES = 5  # that show POSE_POINTS of a landmark: with one or two, it is known from one side only
_IMAGES_PER_LANDMARK = 8  # a landmark of a map of few images may be seen by an eighth of them
_NONE = -1  # where no cluster is given
_LEAST_NEAR = 0.5  # of the points of a map in the frame of the given clusters
_NEIGHBOURS, _OUTLIER_SIGMAS = 20, 2.0  # as PRAM has them
_SHOWN_SHARE = (2.0, 98.0)  # percentiles of the coordinates: single points far away do not set the threshold
_THRESHOLD = 0.004  # of the map's diagonal
_LEAST_THRESHOLD = 1e-9  # units of the map, where all points are one
_MOST_SUBCLUSTERS = 8000  # Ward's method takes the square of that in memory: 0.5 GB


def label_points(map_: Map, config: LandmarkConfig) -> NDArray[np.int32]:
    """Landmark (P,) of each point of a map, from 1 on without gaps, or BACKGROUND.

    Does not depend on the order of the points or the images. Raises MapError where no point is seen often enough, or
    the given clusters are broken or of another place, ConfigError where they are missing.
    """
    observations = Observations.of(map_)
    rows = np.flatnonzero(observations.track_lengths(len(map_.points)) >= config.min_track_length)
    if len(rows) == 0:
        raise MapError(
            f"no point of the map '{map_.name}' is seen by {config.min_track_length} images: build it from images that "
            "overlap more"
        )
    rows = rows[canonical_order(map_.points[rows])]
    rows = rows[_is_among_others(map_.points[rows])]
    plan = map_.points[rows] @ _plan_axes(map_)
    clusters = _given(map_, rows, config) if config.clusters else _cluster(plan, config)
    has_cluster = clusters != _NONE
    rows, plan, clusters = rows[has_cluster], plan[has_cluster], clusters[has_cluster]
    labels = np.full(len(map_.points), BACKGROUND, np.int32)
    labels[rows] = _merge_small(clusters, plan, _images_of(observations, rows, len(map_.points)), len(map_.images))
    return labels


def canonical_order(points: Array) -> NDArray[np.intp]:
    """Order of points (P, 3) by their coordinates, whatever order they are in."""
    return np.lexsort(points.T[::-1])


def _is_among_others(points: Array) -> NDArray[np.bool_]:
    """Which points (P, 3) are not much farther from their neighbours than points usually are.

    Indoors, too: an isolated point is badly triangulated, and would become a separate landmark.
    """
    if len(points) <= _NEIGHBOURS:
        return np.ones(len(points), bool)
    distances = _neighbour_distances(points)
    return np.asarray(distances <= _usual(distances))


def _neighbour_distances(points: Array) -> Array:
    """Mean distance (P,) of each of more than _NEIGHBOURS points (P, 3) to its neighbours."""
    from scipy.spatial import cKDTree  # takes 0.2 s, so it is imported only when needed

    nearest = np.asarray(cKDTree(points).query(points, k=_NEIGHBOURS + 1)[0])
    return np.asarray(nearest[:, 1:].mean(axis=1))


def _usual(distances: Array) -> float:
    """The largest of distances (P,) that are usual."""
    return float(distances.mean() + _OUTLIER_SIGMAS * distances.std())


def _given(map_: Map, rows: NDArray[np.intp], config: LandmarkConfig) -> NDArray[np.intp]:
    """Clusters (R,) of points by row: of each that of the nearest given point, _NONE where all are far away.

    Raises MapError where the given points are too few, or most points of the map are far from them.
    """
    from scipy.spatial import cKDTree  # takes 0.2 s, so it is imported only when needed

    given = read_given_clusters(Path(config.clusters).expanduser(), map_.name)
    if len(given.points) <= _NEIGHBOURS or given.num_clusters > MOST_LANDMARKS:
        raise MapError(
            f"{given.path} has {len(given.points)} points in {given.num_clusters} clusters: there must be more than "
            f"{_NEIGHBOURS} points, and at most {MOST_LANDMARKS} clusters; set 'clusters' to '' for own ones"
        )
    distances, nearest = cKDTree(given.points).query(map_.points[rows])
    is_near = np.asarray(distances <= _usual(_neighbour_distances(given.points)))
    share = float(is_near.mean())
    if share < _LEAST_NEAR:
        raise MapError(
            f"{100 * share:.0f} % of the points of the map '{map_.name}' are near points of {given.path}: build the "
            "map at the poses that those are of, or set 'clusters' to '' for own ones"
        )
    return np.where(is_near, given.clusters[nearest], _NONE)


def _plan_axes(map_: Map) -> Array:
    """Axes (3, 2) of the view from above.

    Without gravity, up is where the cameras spread least: robots and people move on floors.
    """
    if map_.manifest.gravity_aligned:
        return np.eye(3)[:, :2]
    centres = map_.camera_positions
    centres = centres[canonical_order(centres)]
    centred = centres - centres.mean(axis=0)
    return np.asarray(np.linalg.eigh(centred.T @ centred)[1][:, :0:-1])


def _cluster(plan: Array, config: LandmarkConfig) -> NDArray[np.intp]:
    """Clusters (P,) of points (P, 2), numbered in any way."""
    wanted = config.num_landmarks or int(np.clip(round(len(plan) / _POINTS_PER_LANDMARK), _FEWEST, _MOST))
    count = min(wanted, len(plan) // _MIN_POINTS)
    if count <= 1:
        return np.zeros(len(plan), np.intp)
    return _birch(plan, count)


def _birch(plan: Array, count: int) -> NDArray[np.intp]:
    """BIRCH with Ward's method on its sub-clusters, which are few enough for it."""
    from sklearn.cluster import Birch  # takes 0.5 s, so it is imported only when needed

    low, high = np.percentile(plan, _SHOWN_SHARE, axis=0)
    threshold = max(_THRESHOLD * float(np.linalg.norm(high - low)), _LEAST_THRESHOLD)
    tree = Birch(threshold=threshold, n_clusters=None).fit(plan)
    while len(tree.subcluster_centers_) > _MOST_SUBCLUSTERS:
        threshold *= 2.0
        tree = Birch(threshold=threshold, n_clusters=None).fit(plan)
    count = min(count, len(tree.subcluster_centers_))
    if count <= 1:
        return np.zeros(len(plan), np.intp)
    return np.asarray(tree.set_params(n_clusters=count).partial_fit().predict(plan), dtype=np.intp)


def _images_of(
    observations: Observations, rows: NDArray[np.intp], num_points: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Places among ``rows`` of the points that images see, and rows of these images, as parallel arrays (O,)."""
    places = np.full(num_points, -1)
    places[rows] = np.arange(len(rows))
    seen = places[observations.points]
    return seen[seen >= 0], observations.images[seen >= 0]


def _merge_small(
    clusters: NDArray[np.intp], plan: Array, seen: tuple[NDArray[np.intp], NDArray[np.intp]], num_images: int
) -> NDArray[np.int32]:
    """Landmarks (P,) from 1 on: clusters that give no pose go to the nearest one, the smallest first."""
    clusters = np.unique(clusters, return_inverse=True)[1]
    sizes = np.bincount(clusters)
    sums = np.stack([np.bincount(clusters, plan[:, axis]) for axis in (0, 1)], axis=1)
    shown = np.zeros((len(sizes), num_images), np.intp)
    np.add.at(shown, (clusters[seen[0]], seen[1]), 1)
    min_images = int(np.clip(num_images // _IMAGES_PER_LANDMARK, 1, _MIN_IMAGES))
    while len(sizes) > 1:
        weak = (sizes < _MIN_POINTS) | ((shown >= POSE_POINTS).sum(axis=1) < min_images)
        if not weak.any():
            break
        small = int(np.argmin(np.where(weak, sizes, len(plan) + 1)))
        distances = np.linalg.norm((sums / sizes[:, None]) - sums[small] / sizes[small], axis=1)
        distances[small] = np.inf
        into = int(np.argmin(distances))
        for totals in (sizes, sums, shown):
            totals[into] += totals[small]
        clusters = np.where(clusters == small, into, clusters)
        clusters -= clusters > small
        sizes, sums, shown = (np.delete(totals, small, axis=0) for totals in (sizes, sums, shown))
    return _number(clusters, sums / sizes[:, None])


def _number(clusters: NDArray[np.intp], centres: Array) -> NDArray[np.int32]:
    """Labels (P,) from 1 on in the order of the clusters' centres (k, 2), independent of the library's order."""
    labels = np.empty(len(centres), np.int32)
    labels[np.lexsort(centres.T[::-1])] = np.arange(1, len(centres) + 1)
    return labels[clusters]
