"""Pairs of images to match: neighbours in time, similar images, and, at known poses, images of the same view."""

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


def retrieval_pairs(
    descriptors: NDArray[np.floating], top: int, exclude: Iterable[Pair] = (), groups: Sequence[str] = ()
) -> list[Pair]:
    """Pair every image with the ``top`` most alike ones by unit descriptors (M, G), those excluded left out.

    With ``groups``, one for each image, that is done within its group and once more across all others.
    """
    vectors = np.asarray(descriptors, dtype=np.float32)
    return best_pairs_by_group(vectors @ vectors.T, top, exclude, groups)


def loop_pairs(descriptors: NDArray[np.floating], top: int, min_gap: int, groups: Sequence[str] = ()) -> list[Pair]:
    """Pair every image with the ``top`` most alike ones that are at least ``min_gap`` images before or after it.

    In a slow film the most alike images are the next ones after the neighbours: those of an earlier visit to the place
    need a separate search. With ``groups``, one for each image, only images of its own group are searched.
    """
    vectors = np.asarray(descriptors, dtype=np.float32)
    rows = np.arange(len(vectors))
    is_far = np.abs(rows[:, None] - rows[None]) >= min_gap
    if groups:
        names = np.array(groups)
        is_far &= names[:, None] == names[None]
    return best_pairs(np.where(is_far, vectors @ vectors.T, -np.inf), top)


def view_pairs(
    map_from_cameras: Sequence[SE3],
    top: int,
    max_angle_deg: float,
    exclude: Iterable[Pair] = (),
    groups: Sequence[str] = (),
) -> list[Pair]:
    """Pair every image with the ``top`` nearest ones that look the same way, up to an angle (as hloc does).

    With ``groups``, one for each image, that is done within its group and once more across all others.
    """
    centres = np.array([pose.translation for pose in map_from_cameras]).reshape(-1, 3)
    distances = np.linalg.norm(centres[:, None] - centres[None], axis=2)
    scores = np.where(_view_angles_deg(map_from_cameras) <= max_angle_deg, -distances, -np.inf)
    return best_pairs_by_group(scores, top, exclude, groups)


def pairs_to_known(descriptors: NDArray[np.floating], known: NDArray[np.floating], top: int) -> list[Pair]:
    """Pair each of N new images with the ``top`` most alike of M known ones, by unit descriptors (N, G) and (M, G).

    Rows count the known images first, then the new ones.
    """
    scores = np.asarray(descriptors, dtype=np.float32) @ np.asarray(known, dtype=np.float32).T
    order = np.argsort(-scores, axis=1, kind="stable")[:, :top]
    return merge_pairs((int(j), len(known) + i) for i, row in enumerate(order) for j in row)


def best_pairs_by_group(
    scores: NDArray[np.floating], top: int, exclude: Iterable[Pair] = (), groups: Sequence[str] = ()
) -> list[Pair]:
    """Pair every row with its ``top`` highest columns within its group, and with as many of all other groups."""
    if len(set(groups)) < 2:
        return best_pairs(scores, top, exclude)
    numbers = np.unique(np.array(groups), return_inverse=True)[1]
    same = numbers[:, None] == numbers[None]
    excluded = list(exclude)
    return merge_pairs(
        best_pairs(np.where(same, scores, -np.inf), top, excluded),
        best_pairs(np.where(same, -np.inf, scores), top, excluded),
    )


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
