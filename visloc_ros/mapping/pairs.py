"""Pairs of images to match: neighbours in time, similar images, and, at known poses, images of the same view."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from visloc_ros.core.geometry import SE3

Pair = tuple[int, int]
Rows = NDArray[np.intp]
RowScores = Callable[[Rows], NDArray[np.floating]]
"""Scores (R, M) of some rows of images against all M; -inf is never paired."""

_BLOCK_SCORES = 1 << 20  # computed at a time: 8 MB in double precision, so that memory grows with the pairs alone


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
    return best_pairs(lambda rows: vectors[rows] @ vectors.T, len(vectors), top, exclude, groups)


def loop_pairs(descriptors: NDArray[np.floating], top: int, min_gap: int, groups: Sequence[str] = ()) -> list[Pair]:
    """Pair every image with the ``top`` most alike ones that are at least ``min_gap`` images before or after it.

    In a slow film the most alike images are the next ones after the neighbours: those of an earlier visit to the place
    need a separate search. With ``groups``, one for each image, only images of its own group are searched.
    """
    vectors = np.asarray(descriptors, dtype=np.float32)
    every, numbers = np.arange(len(vectors)), _group_numbers(groups, len(vectors))

    def scores(rows: Rows) -> NDArray[np.floating]:
        is_far = np.abs(rows[:, None] - every) >= min_gap
        return np.where(is_far & (numbers[rows, None] == numbers), vectors[rows] @ vectors.T, -np.inf)

    return best_pairs(scores, len(vectors), top)


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
    directions = np.array([pose.rotation[:, 2] for pose in map_from_cameras]).reshape(-1, 3)

    def scores(rows: Rows) -> NDArray[np.floating]:
        angles = np.arccos(np.clip(directions[rows] @ directions.T, -1.0, 1.0))
        return np.where(np.degrees(angles) <= max_angle_deg, -cdist(centres[rows], centres), -np.inf)

    return best_pairs(scores, len(centres), top, exclude, groups)


def pairs_to_known(descriptors: NDArray[np.floating], known: NDArray[np.floating], top: int) -> list[Pair]:
    """Pair each of N new images with the ``top`` most alike of M known ones, by unit descriptors (N, G) and (M, G).

    Rows count the known images first, then the new ones.
    """
    new, vectors = np.asarray(descriptors, dtype=np.float32), np.asarray(known, dtype=np.float32)
    found = []
    for rows in _blocks(len(new), len(vectors)):
        chosen, columns = _highest(new[rows] @ vectors.T, top)
        found.append(np.column_stack([columns, len(vectors) + rows[chosen]]))
    return _to_pairs(found)


def best_pairs(
    scores_of: RowScores, count: int, top: int, exclude: Iterable[Pair] = (), groups: Sequence[str] = ()
) -> list[Pair]:
    """Pair each of ``count`` images with those of its ``top`` highest scores; ties take the first.

    With ``groups``, one for each image, that is done within its group and once more across all others.
    """
    numbers, is_grouped = _group_numbers(groups, count), len(set(groups)) > 1
    excluded = np.array(list(exclude), dtype=np.intp).reshape(-1, 2)
    never = np.vstack([excluded, excluded[:, ::-1], np.column_stack([np.arange(count)] * 2)])
    never = never[np.argsort(never[:, 0], kind="stable")]
    found = []
    for rows in _blocks(count, count):
        scores = np.array(scores_of(rows))
        begin, end = np.searchsorted(never[:, 0], [rows[0], rows[-1] + 1])
        scores[never[begin:end, 0] - rows[0], never[begin:end, 1]] = -np.inf
        same = numbers[rows, None] == numbers
        for allowed in (same, ~same) if is_grouped else (same,):
            chosen, columns = _highest(np.where(allowed, scores, -np.inf), top)
            found.append(np.column_stack([rows[chosen], columns]))
    return _to_pairs(found)


def _group_numbers(groups: Sequence[str], count: int) -> Rows:
    return np.unique(np.array(groups), return_inverse=True)[1] if len(groups) else np.zeros(count, np.intp)


def _blocks(num_rows: int, num_columns: int) -> Iterator[Rows]:
    size = max(1, _BLOCK_SCORES // max(1, num_columns))
    return (np.arange(begin, min(begin + size, num_rows)) for begin in range(0, num_rows, size))


def _highest(scores: NDArray[np.floating], top: int) -> tuple[Rows, Rows]:
    """Rows and columns of the ``top`` highest finite scores of each row; ties take the first."""
    top = min(top, scores.shape[1])
    if top < 1:
        return np.empty(0, np.intp), np.empty(0, np.intp)
    finite = np.where(np.isfinite(scores), scores, -np.inf)
    least = np.partition(finite, -top, axis=1)[:, -top, None]
    above, level = finite > least, (finite == least) & np.isfinite(finite)
    fill = level & (np.cumsum(level, axis=1) <= top - above.sum(axis=1, keepdims=True))
    rows, columns = np.nonzero(above | fill)
    return rows, columns


def _to_pairs(found: Sequence[Rows]) -> list[Pair]:
    """Pairs as ``merge_pairs`` joins them, of arrays (N, 2)."""
    every = np.sort(np.vstack([np.empty((0, 2), np.intp), *found]), axis=1)
    return [(int(i), int(j)) for i, j in np.unique(every, axis=0)]
