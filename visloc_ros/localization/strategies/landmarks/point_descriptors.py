"""One descriptor for each point of a map, out of those of the keypoints that show it."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.map import Map
from visloc_ros.localization.reduced_map.views import Observations
from visloc_ros.localization.strategies.landmarks.tokens import unit_rows

_CHUNK_VALUES = 1 << 23  # numbers held at once: 32 MB


def medoid_descriptors(map_: Map, point_rows: NDArray[np.integer]) -> NDArray[np.float16]:
    """Descriptors (K, D) of points by row (K,): of each the observation that is most like the others, by the median.

    As PRAM has it (Xue et al. 2024, arXiv 2404.07785): of the distances 2 - 2 cos to all observations of the point, the
    median is least. It is one that was seen, where a mean would be between two looks of the point. Each point has to be
    seen by an image.
    """
    observed, ends = _observed_descriptors(map_, point_rows)
    starts = np.concatenate([[0], ends[:-1]])
    lengths = ends - starts
    chosen = np.empty(len(ends), np.intp)
    for length in np.unique(lengths):
        points = np.flatnonzero(lengths == length)
        at_once = max(1, _CHUNK_VALUES // int(length * (length + observed.shape[1])))
        for first in range(0, len(points), at_once):
            some = points[first : first + at_once]
            chosen[some] = starts[some] + _medoids(unit_rows(observed[starts[some][:, None] + np.arange(length)]))
    return unit_rows(observed[chosen]).astype(np.float16)


def mean_descriptors(map_: Map, point_rows: NDArray[np.integer]) -> NDArray[np.float16]:
    """Descriptors (K, D) of points by row (K,): of each the mean of its observations, of unit length.

    Each point has to be seen by an image.
    """
    observed, ends = _observed_descriptors(map_, point_rows)
    sums = np.add.reduceat(unit_rows(observed), np.concatenate([[0], ends[:-1]]), axis=0)
    return unit_rows(sums).astype(np.float16)


def _observed_descriptors(map_: Map, point_rows: NDArray[np.integer]) -> tuple[NDArray[np.floating], NDArray[np.intp]]:
    """Descriptors (O, D) of all observations of these points, point by point, and where those of each (K,) end."""
    observations = Observations.of(map_)
    places = np.full(len(map_.points), -1)
    places[point_rows] = np.arange(len(point_rows))
    seen = places[observations.points]
    bounds = np.searchsorted(observations.images, np.arange(len(map_.images) + 1))
    parts = []
    for image, (first, last) in zip(map_.images, pairwise(bounds), strict=True):
        keypoints = observations.keypoints[first:last][seen[first:last] >= 0]
        parts.append(image.features.descriptors[keypoints])
    seen = seen[seen >= 0]
    ends = np.cumsum(np.bincount(seen, minlength=len(point_rows)))
    return np.concatenate(parts)[np.argsort(seen, kind="stable")], ends


def _medoids(descriptors: NDArray[np.float32]) -> NDArray[np.intp]:
    """Of each of K sets of N unit descriptors (K, N, D) the place (K,) of that whose median distance is least."""
    distances = 2.0 - 2.0 * np.matmul(descriptors, descriptors.transpose(0, 2, 1))
    return np.asarray(np.median(distances, axis=2).argmin(axis=1))
