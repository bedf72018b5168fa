"""Retrieval among many images: a short list by inverted lists of reduced descriptors, compared by the stored ones.

How many lists are compared is measured when they are learned: the fewest that find 98 % of the ten images that an exact
search finds. What was learned is kept beside the pages of the map, for one version of them.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.atomic_write import atomic_write
from visloc_ros.core.errors import MapError, OutputError
from visloc_ros.core.feature_files import created, opened
from visloc_ros.core.files import is_file
from visloc_ros.core.map_layout import LISTS_NAME
from visloc_ros.core.map_pages import checksum_of_pages, release
from visloc_ros.localization.inverted_lists import Arrays, learn_lists, learned_arrays, make_lists, short_lists

Float32 = NDArray[np.float32]

LEAST_RECALL = 0.98
"""Of the ten most similar images: a query matches about as many, and the others of its place replace a missing one."""
SHORT_LIST = 400
"""Images compared by their stored descriptors: more than see one place."""

_log = logging.getLogger(__name__)

_REDUCED = 1024  # numbers of a descriptor that lists are made of
_SPARE, _ROUNDS = 32, 2  # of the randomized decomposition
_SAMPLED = 8192  # descriptors that it decomposes
_PROBED = (16, 64, 256, 1024)  # lists compared; the last is all of a million images
_QUERIES, _SOUGHT = 100, 10
_AT_ONCE = 4096
_MOST = 1 << 31
_PAGES, _PROBES, _PROJECTION = "pages", "probed", "projection"


class ListedDescriptors:
    """Descriptors (M, G) that are mapped from a file, with what ``learn`` gave for them."""

    def __init__(self, descriptors: NDArray[np.floating], learned: Arrays) -> None:
        self._descriptors, self._projection = descriptors, learned[_PROJECTION]
        self._probed = int(learned[_PROBES][0])
        self._lists = make_lists(learned, len(descriptors), self._projection.shape[1])

    def rank(self, query: Float32, count: int, allowed: NDArray[np.bool_] | None = None) -> list[int]:
        """Rows of the ``count`` descriptors most similar to the query (G,), best first, of those ``allowed`` (M,)."""
        reduced = np.ascontiguousarray((query @ self._projection)[None], np.float32)
        rows = short_lists(self._lists, reduced, max(count, SHORT_LIST), self._probed, allowed)[0]
        return best_of(self._descriptors, rows, query, count)


def best_of(
    descriptors: NDArray[np.floating], short_list: NDArray[np.integer], query: Float32, count: int
) -> list[int]:
    """The ``count`` rows of a short list whose descriptors are most similar to the query, best first; -1 is no row."""
    rows = np.sort(short_list[short_list >= 0])
    similarities = np.asarray(descriptors[rows], np.float32) @ query
    release(descriptors)
    return [int(row) for row in rows[np.argsort(-similarities, kind="stable")[:count]]]


def open_lists(descriptors: np.memmap[Any, Any]) -> ListedDescriptors | None:
    """Lists of the descriptors of a map: read, or learned and written. None where they find too few of the images.

    Raises MapError where the map's pages cannot be read, ModelError without faiss.
    """
    pages = Path(str(descriptors.filename))
    path, version = pages.with_name(LISTS_NAME), checksum_of_pages(pages)
    learned = _read(path, version, *descriptors.shape)
    if learned is None:
        _log.info("learning to search %d images, which takes minutes and is done once", len(descriptors))
        learned = learn(descriptors)
        _write(path, version, learned)
    return ListedDescriptors(descriptors, learned) if learned[_PROBES][0] else None


def learn(descriptors: NDArray[np.floating], seed: int = 0) -> Arrays:
    """What a search needs: a projection (G, R), the lists, and how many are compared, 0 where too few are found."""
    projection = _projection(descriptors, np.random.default_rng(seed))

    def reduced(rows: slice | NDArray[np.integer]) -> Float32:
        values = np.asarray(descriptors[rows], np.float32) @ projection
        release(descriptors)
        return values

    lists = learn_lists(reduced, len(descriptors), projection.shape[1], seed)
    learned = {**lists, _PROJECTION: projection, _PROBES: np.zeros(1, np.int64)}
    learned[_PROBES][0] = _probed(descriptors, learned, np.random.default_rng(seed))
    return learned


def _projection(descriptors: NDArray[np.floating], rng: np.random.Generator) -> Float32:
    """The directions (G, R) that most of the descriptors lie along (randomized SVD, Halko et al. 2011)."""
    length = descriptors.shape[1]
    if length <= _REDUCED:
        return np.eye(length, dtype=np.float32)
    rows = np.sort(rng.choice(len(descriptors), min(_SAMPLED, len(descriptors)), replace=False))
    sample = np.asarray(descriptors[rows], np.float32)
    release(descriptors)
    basis = rng.standard_normal((length, _REDUCED + _SPARE), np.float32)
    for _ in range(_ROUNDS):
        basis = np.linalg.qr(sample.T @ (sample @ basis))[0]
    _, _, directions = np.linalg.svd(sample @ basis, full_matrices=False)
    return np.ascontiguousarray(basis @ directions[:_REDUCED].T)


def _probed(descriptors: NDArray[np.floating], learned: Arrays, rng: np.random.Generator) -> int:
    """The fewest lists that find enough, by images of the map as queries, each searched beside itself."""
    rows = rng.choice(len(descriptors), min(_QUERIES, len(descriptors)), replace=False)
    queries = np.asarray(descriptors[np.sort(rows)], np.float32)
    exact = exact_ranks(descriptors, queries, 1 + _SOUGHT)
    for probed in _PROBED:
        index = ListedDescriptors(descriptors, {**learned, _PROBES: np.array([probed])})
        found = [index.rank(query, 1 + _SOUGHT) for query in queries]
        recall = np.mean([len(set(a[1:]) & set(b[1:])) / _SOUGHT for a, b in zip(found, exact, strict=True)])
        _log.info("%d lists find %.1f %% of the most similar images", probed, 100.0 * recall)
        if recall >= LEAST_RECALL:
            return probed
    return 0


def exact_ranks(descriptors: NDArray[np.floating], queries: Float32, count: int) -> list[list[int]]:
    """Rows of the ``count`` most similar descriptors of each query (Q, G), best first, all compared."""
    best = np.full((len(queries), count), -np.inf, np.float32)
    rows = np.zeros((len(queries), count), np.int64)
    for block in _blocks(len(descriptors)):
        similarities = queries @ np.asarray(descriptors[block], np.float32).T
        release(descriptors)
        both = np.concatenate([best, similarities], axis=1)
        numbers = np.concatenate(
            [rows, np.broadcast_to(np.arange(block.start, block.stop), similarities.shape)], axis=1
        )
        order = np.argsort(-both, axis=1, kind="stable")[:, :count]
        best, rows = np.take_along_axis(both, order, 1), np.take_along_axis(numbers, order, 1)
    return [[int(row) for row in found] for found in rows]


def _blocks(count: int) -> list[slice]:
    return [slice(first, min(first + _AT_ONCE, count)) for first in range(0, count, _AT_ONCE)]


def _write(path: Path, version: bytes, learned: Arrays) -> None:
    try:
        with atomic_write(path) as temporary, created(temporary) as file:
            for name, values in learned.items():
                file[name] = values
            file[_PAGES] = np.frombuffer(version, np.uint8)
    except OutputError as error:
        _log.warning("what was learned to search the map cannot be kept: %s", error)


def _read(path: Path, version: bytes, count: int, length: int) -> Arrays | None:
    """What was written for these pages; None where there is nothing, or something else."""
    if not is_file(path) or path.is_symlink():
        return None
    reduced = min(length, _REDUCED)
    shapes: dict[str, tuple[int | None, ...]] = {
        name: shape for name, (_, shape) in learned_arrays(count, reduced).items()
    }
    try:
        with opened(path) as file:
            if file.read(_PAGES, (len(version),)).tobytes() != version:
                return None
            shapes |= {_PROJECTION: (length, reduced), _PROBES: (1,)}
            return {name: file.read(name, shape, _MOST) for name, shape in shapes.items()}
    except MapError as error:
        _log.warning("what was learned to search the map is learned again: %s", error)
        return None
