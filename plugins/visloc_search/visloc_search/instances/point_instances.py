"""Instances of a map's points: compact pieces of its surfaces, the same from every view.

LBR (Xue et al., CVPR 2022) has the facades of buildings. A map of any place has no facades, but surfaces: its points
are clustered by where they are and by the direction that the surface around them faces, so that two walls that meet,
or the sides of a table, become two instances.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.errors import MapError
from visloc_ros.core.geometry import Array
from visloc_ros.core.map import Map
from visloc_search.instances.config import NO_INSTANCE, InstanceConfig
from visloc_search.reduced_map.frames import Observations

_POINTS_PER_INSTANCE = 100
_FEWEST, _MOST = 8, 64  # instances, where their number follows the size of the map
_LEAST_DEPTH = 1e-9  # units of the map, where cameras are at the points
_NEIGHBOURS = 16  # points that a surface is fitted to
_FACING_WEIGHT = 0.3  # of the facing beside positions, in parts of the distance from which points are usually seen
_SEED = 0
_MIN_IMAGES = 3  # of an instance: fewer cannot say how it looks from elsewhere
_MIN_POINTS = 20  # of an instance: fewer hardly give a pose


def label_points(map_: Map, config: InstanceConfig) -> NDArray[np.int32]:
    """Instance (P,) of each point of a map, from 1 on without gaps, or NO_INSTANCE.

    Does not depend on the order of the points or the images. Raises MapError where no two images see a common point.
    """
    observations = Observations.of(map_)
    rows = np.flatnonzero(observations.track_lengths(len(map_.points)) >= 2)
    if len(rows) == 0:
        raise MapError(f"no two images of the map '{map_.name}' see a common point: build it from images that overlap")
    rows = rows[np.lexsort(map_.points[rows].T[::-1])]
    seen = np.zeros((len(map_.points), len(map_.images)), bool)
    seen[observations.points, observations.images] = True
    clusters = _cluster(map_.points[rows], _view_points(map_, seen[rows]), config)
    labels = np.full(len(map_.points), NO_INSTANCE, np.int32)
    labels[rows] = clusters + 1
    return _without_rare(labels, seen)


def _view_points(map_: Map, seen: NDArray[np.bool_]) -> Array:
    """Mean position (P, 3) of the cameras that see each point."""
    return np.asarray((seen @ map_.camera_positions) / seen.sum(axis=1, keepdims=True))


def _cluster(points: Array, view_points: Array, config: InstanceConfig) -> NDArray[np.intp]:
    """Clusters (P,) of points (P, 3), numbered in the order of their centres."""
    from sklearn.cluster import KMeans  # takes 0.5 s, so it is imported only when needed

    wanted = config.num_instances or int(np.clip(round(len(points) / _POINTS_PER_INSTANCE), _FEWEST, _MOST))
    depth = max(float(np.median(np.linalg.norm(points - view_points, axis=1))), _LEAST_DEPTH)
    places = np.concatenate((points / depth, _FACING_WEIGHT * _facings(points, view_points)), axis=1)
    found = KMeans(min(wanted, len(points)), n_init=4, random_state=_SEED).fit(places)
    order = np.empty(len(found.cluster_centers_), np.intp)
    order[np.lexsort(found.cluster_centers_.T[::-1])] = np.arange(len(order))
    return np.asarray(order[found.labels_])


def _facings(points: Array, view_points: Array) -> Array:
    """Normals (P, 3) of the surfaces around points, towards the cameras; shorter where there is hardly a plane."""
    from scipy.spatial import cKDTree  # takes 0.2 s, so it is imported only when needed

    count = min(_NEIGHBOURS, len(points))
    if count < 4:
        return np.zeros_like(points)
    around = points[np.asarray(cKDTree(points).query(points, k=count)[1])]
    centred = around - around.mean(axis=1, keepdims=True)
    spreads, axes = np.linalg.eigh(np.swapaxes(centred, 1, 2) @ centred)
    normals = axes[:, :, 0]
    towards = np.sign(np.einsum("ij,ij->i", normals, view_points - points))
    flatness = 1.0 - np.sqrt(np.maximum(spreads[:, 0], 0.0) / np.maximum(spreads[:, 1], np.finfo(float).tiny))
    return np.asarray(normals * (towards * flatness)[:, None])


def _without_rare(labels: NDArray[np.int32], seen: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Labels without instances of few points, or that hardly any image sees, numbered without gaps."""
    sizes = np.bincount(labels)[1:]
    num_images = np.array([seen[labels == one].any(axis=0).sum() for one in range(1, len(sizes) + 1)])
    kept = (num_images >= min(_MIN_IMAGES, seen.shape[1])) & (sizes >= min(_MIN_POINTS, sizes.max()))
    table = np.zeros(len(kept) + 1, np.int32)
    table[1:][kept] = np.arange(1, kept.sum() + 1)
    return np.asarray(table[labels], np.int32)
