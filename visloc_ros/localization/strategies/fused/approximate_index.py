"""The nearest points by faiss, for maps in which comparing all points takes too long.

faiss finds a short list; its points are compared again by their stored descriptors. Of an index with inverted lists
(IVF-PQ, Jegou et al. 2011) only the part that is slow to learn is kept in files, as plain arrays. Its codes have four
bits a part, so that tables of similarities fit the registers of a processor (Andre et al. 2015, faiss's FastScan).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.errors import MapError
from visloc_ros.localization.models import load_faiss
from visloc_ros.localization.strategies.fused.config import AUTO, EXACT, IVF_PQ
from visloc_ros.localization.strategies.fused.fusion import Codebook, FusedQuery
from visloc_ros.localization.strategies.fused.point_index import (
    ExactIndex,
    Neighbours,
    half_squares,
)

MOST_EXACT_POINTS = 100_000
"""Comparing 1000 keypoints with this number of points takes 26 GFLOP, about half a second on one processor."""

_SHORT_LIST = 32  # points of which the nearest is found by its stored descriptor
_LISTS_PER_ROOT = 4.0  # lists for each square root of the number of points, as faiss advises
_MOST_LISTS = 4096
_SAMPLES_PER_LIST = 48  # k-means: faiss warns below 39
_PROBED_LISTS = 128  # of 4000 for a million points: 97 % of the exact inliers; with 96 96 %, with 64 93 %
_BITS = 4  # of a part of a descriptor; with eight a search takes twice as long, and finds no more
_NUMBERS_PER_PART = 4  # a descriptor of 128 numbers becomes 16 bytes; 32 find no more, and take longer
_LEAST_POINTS = 10_000  # of fewer all are compared
_ADDED_AT_ONCE = 1 << 16

Arrays = dict[str, NDArray[Any]]


class ApproximateIndex:
    """Takes a short list of points from faiss, and finds the nearest of it by their stored descriptors."""

    def __init__(self, codebook: Codebook, index: Any) -> None:
        self._codebook, self._index = codebook, index
        self._exact = ExactIndex(codebook)

    def search(self, query: FusedQuery, allowed: NDArray[np.bool_] | None = None) -> Neighbours:
        """The nearest point of each keypoint, of those that are ``allowed`` (P,), where that is given."""
        if allowed is not None and np.count_nonzero(allowed) <= MOST_EXACT_POINTS:
            return self._exact.search(query, allowed)
        fused = query.fused
        _, found = self._index.search(fused, _SHORT_LIST, params=self._parameters(allowed))
        found = found.astype(np.intp)
        points = self._codebook.rows(found.ravel())
        scores = np.matmul(points.reshape(*found.shape, -1), fused[:, :, None])[:, :, 0]
        scores -= half_squares(points).reshape(found.shape)
        scores[found < 0] = -np.inf
        nearest = np.arange(len(query)), scores.argmax(axis=1)
        return Neighbours(found[nearest], scores[nearest])

    def _parameters(self, allowed: NDArray[np.bool_] | None) -> Any:
        """Parameters of a faiss search, and the points that it leaves out."""
        faiss, selector = _faiss(), {}
        if allowed is not None:
            selector["sel"] = faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))
        return faiss.SearchParametersIVF(nprobe=_PROBED_LISTS, **selector)


PointIndex = ExactIndex | ApproximateIndex


def chosen_index(name: str, num_points: int) -> str:
    """The kind that ``auto`` means for a number of points; too few for IVF-PQ to learn from are all compared."""
    fewest = MOST_EXACT_POINTS + 1 if name == AUTO else _LEAST_POINTS
    return IVF_PQ if name != EXACT and num_points >= fewest else EXACT


def make_index(kind: str, codebook: Codebook, learned: Arrays | None = None) -> PointIndex:
    """The index of a kind, exact or IVF-PQ, for which ``learned`` is what ``learn_index`` gave.

    Raises ModelError where faiss is not installed, MapError where what was learned is of another codebook.
    """
    if kind == EXACT:
        return ExactIndex(codebook)
    return ApproximateIndex(codebook, _inverted_lists(codebook, learned or learn_index(codebook)))


def learn_index(codebook: Codebook, seed: int = 0) -> Arrays:
    """Learn inverted lists: ``centroids`` (L, D), ``parts`` (S, 16, D / S), ``lists`` (P,) and ``codes`` (P, S / 2).

    Raises ModelError where faiss is not installed.
    """
    faiss = _faiss()
    length, lists = codebook.length, _num_lists(len(codebook))
    index = _empty_lists(length, lists)
    index.cp.seed = index.pq.cp.seed = seed + 1
    index.cp.niter, index.cp.max_points_per_centroid = 10, _SAMPLES_PER_LIST
    samples = np.random.default_rng(seed).permutation(len(codebook))[: max(lists * _SAMPLES_PER_LIST, _LEAST_POINTS)]
    index.train(codebook.rows(np.sort(samples)))
    found, codes = [], []
    for first in range(0, len(codebook), _ADDED_AT_ONCE):
        points = codebook.rows(slice(first, first + _ADDED_AT_ONCE))
        found.append(index.quantizer.search(points, 1)[1][:, 0].astype(np.int32))
        codes.append(index.pq.compute_codes(points))
    return {
        "centroids": index.quantizer.reconstruct_n(0, lists),
        "parts": faiss.vector_to_array(index.pq.centroids).reshape(index.pq.M, 1 << _BITS, -1),
        "lists": np.concatenate(found),
        "codes": np.concatenate(codes),
    }


def learned_arrays(num_points: int, length: int) -> dict[str, tuple[str, tuple[int | None, ...]]]:
    """Types and shapes of what ``learn_index`` gives."""
    parts = _num_parts(length)
    return {
        "centroids": ("<f4", (_num_lists(num_points), length)),
        "parts": ("<f4", (parts, 1 << _BITS, length // parts)),
        "lists": ("<i4", (num_points,)),
        "codes": ("|u1", (num_points, (parts * _BITS + 7) // 8)),
    }


def _faiss() -> Any:
    """The library, imported here since maps whose points are all compared do not need it. Raises ModelError."""
    return load_faiss("the index of a map", f", or prepare with 'index: {EXACT}'")


def _num_lists(num_points: int) -> int:
    return int(min(_MOST_LISTS, max(1.0, _LISTS_PER_ROOT * np.sqrt(num_points))))


def _num_parts(length: int) -> int:
    return next(length // numbers for numbers in (_NUMBERS_PER_PART, 2, 1) if length % numbers == 0)


def _empty_lists(length: int, lists: int) -> Any:
    """Codes of the descriptors themselves: codes of residuals to centroids would need a table for each list."""
    faiss = _faiss()
    quantizer = faiss.IndexFlatL2(length)
    index = faiss.IndexIVFPQ(quantizer, length, lists, _num_parts(length), _BITS)
    index.by_residual = False
    return index


def _inverted_lists(codebook: Codebook, learned: Arrays) -> Any:
    """The index with lists that were learned."""
    faiss = _faiss()
    centroids, lists = np.ascontiguousarray(learned["centroids"], np.float32), learned["lists"]
    if len(lists) != len(codebook) or np.any((lists < 0) | (lists >= len(centroids))):
        raise MapError("the index has lists of other points than the map")
    index = _empty_lists(codebook.length, len(centroids))
    index.quantizer.add(centroids)
    faiss.copy_array_to_vector(np.ascontiguousarray(learned["parts"], np.float32).ravel(), index.pq.centroids)
    index.is_trained = True
    order = np.argsort(lists, kind="stable")
    bounds = np.searchsorted(lists[order], np.arange(len(centroids) + 1))
    for row in range(len(centroids)):
        members = np.ascontiguousarray(order[bounds[row] : bounds[row + 1]], np.int64)
        if len(members):
            codes = np.ascontiguousarray(learned["codes"][members], np.uint8)
            index.invlists.add_entries(row, len(members), faiss.swig_ptr(members), faiss.swig_ptr(codes))
    index.ntotal = len(lists)
    packed = faiss.IndexIVFPQFastScan(index)
    packed.referenced_objects = [index.quantizer, index]  # faiss does not keep what it takes over
    return packed
