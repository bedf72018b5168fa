"""Which images are matched: neighbours in time, alike images, and, at known poses, images of the same view."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.geometry import SE3, Array

Pair = tuple[int, int]


def merge_pairs(*groups: Iterable[Pair]) -> list[Pair]:
    """Join pairs of image rows, each once with the smaller row first, in increasing order."""
    return sorted({(min(pair), max(pair)) for group in groups for pair in group if pair[0] != pair[1]})


def sequential_pairs(count: int, window: int) -> list[Pair]:
    """Pair every image with the ``window`` images after it."""
    return [(i, j) for i in range(count) for j in range(i + 1, min(i + window + 1, count))]


def retrieval_pairs(descriptors: NDArray[np.floating], top: int, exclude: Iterable[Pair] = ()) -> list[Pair]:
    """Pair every image with the ``top`` most alike ones by unit descriptors (M, G), those excluded left out."""
    vectors = np.asarray(descriptors, dtype=np.float32)
    return best_pairs(vectors @ vectors.T, top, exclude)


def view_pairs(
    map_from_cameras: Sequence[SE3], top: int, max_angle_deg: float, exclude: Iterable[Pair] = ()
) -> list[Pair]:
    """Pair every image with the ``top`` nearest ones that look the same way, up to an angle (as hloc does)."""
    centres = np.array([pose.translation for pose in map_from_cameras]).reshape(-1, 3)
    distances = np.linalg.norm(centres[:, None] - centres[None], axis=2)
    scores = np.where(_view_angles_deg(map_from_cameras) <= max_angle_deg, -distances, -np.inf)
    return best_pairs(scores, top, exclude)


def best_pairs(scores: NDArray[np.floating], top: int, exclude: Iterable[Pair] = ()) -> list[Pair]:
    """Pair every row with its ``top`` highest columns of scores (M, M); -inf is never paired, ties take the first."""
    allowed = np.array(scores, dtype=np.float64)
    np.fill_diagonal(allowed, -np.inf)
    for i, j in exclude:
        allowed[i, j] = allowed[j, i] = -np.inf
    order = np.argsort(-allowed, axis=1, kind="stable")[:, :top]
    return merge_pairs((i, int(j)) for i, row in enumerate(order) for j in row if np.isfinite(allowed[i, j]))


def _view_angles_deg(map_from_cameras: Sequence[SE3]) -> Array:
    directions = np.array([pose.rotation[:, 2] for pose in map_from_cameras]).reshape(-1, 3)
    return np.asarray(np.degrees(np.arccos(np.clip(directions @ directions.T, -1.0, 1.0))))
