"""Inverted lists of short codes (IVF-PQ, Jegou et al. 2011): what is slow to learn is kept as plain arrays.

faiss finds a short list of rows; these are compared again by what they are codes of. Codes have four bits a part, so
that tables of similarities fit the registers of a processor (Andre et al. 2015, faiss's FastScan).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.errors import MapError
from visloc_ros.localization.models import load_faiss

Arrays = dict[str, NDArray[Any]]
Rows = Callable[[slice | NDArray[np.integer]], NDArray[np.float32]]
"""Gives vectors (..., D) by row."""

LEAST_ROWS = 10_000
"""With fewer there is too little to learn from."""
_LISTS_PER_ROOT, _LONG = 4.0, 256  # lists for each square root of the number of rows, as faiss advises ...
_LISTS_PER_ROOT_OF_LONG = 1.0  # ... from 4 to 16; fewer for vectors longer than that, which take longer to learn from
_MOST_LISTS = 4096
_SAMPLES_PER_LIST = 48  # k-means: faiss warns below 39
_BITS = 4  # of a part of a vector; with eight a search takes twice as long, and finds no more
_NUMBERS_PER_PART = 4  # a vector of 128 numbers becomes 16 bytes; 32 find no more, and take longer
_ADDED_AT_ONCE = 1 << 14


def learn_lists(rows: Rows, count: int, length: int, seed: int = 0) -> Arrays:
    """Learn inverted lists: ``centroids`` (L, D), ``parts`` (S, 16, D / S), ``lists`` (N,) and ``codes`` (N, S / 2).

    ``count`` vectors of ``length`` numbers come from ``rows``. Raises ModelError where faiss is not installed.
    """
    faiss, lists = _faiss(), _num_lists(count, length)
    index = _empty_lists(length, lists)
    index.cp.seed = index.pq.cp.seed = seed + 1
    index.cp.niter, index.cp.max_points_per_centroid = 10, _SAMPLES_PER_LIST
    samples = np.random.default_rng(seed).permutation(count)[: max(lists * _SAMPLES_PER_LIST, LEAST_ROWS)]
    index.train(rows(np.sort(samples)))
    found, codes = [], []
    for first in range(0, count, _ADDED_AT_ONCE):
        some = rows(slice(first, first + _ADDED_AT_ONCE))
        found.append(index.quantizer.search(some, 1)[1][:, 0].astype(np.int32))
        codes.append(index.pq.compute_codes(some))
    return {
        "centroids": index.quantizer.reconstruct_n(0, lists),
        "parts": faiss.vector_to_array(index.pq.centroids).reshape(index.pq.M, 1 << _BITS, -1),
        "lists": np.concatenate(found),
        "codes": np.concatenate(codes),
    }


def learned_arrays(count: int, length: int) -> dict[str, tuple[str, tuple[int | None, ...]]]:
    """Types and shapes of what ``learn_lists`` gives."""
    parts = _num_parts(length)
    return {
        "centroids": ("<f4", (_num_lists(count, length), length)),
        "parts": ("<f4", (parts, 1 << _BITS, length // parts)),
        "lists": ("<i4", (count,)),
        "codes": ("|u1", (count, (parts * _BITS + 7) // 8)),
    }


def make_lists(learned: Arrays, count: int, length: int) -> Any:
    """The index of faiss with lists that were learned. Raises MapError where these are of other rows, ModelError."""
    faiss = _faiss()
    centroids, lists = np.ascontiguousarray(learned["centroids"], np.float32), learned["lists"]
    if len(lists) != count or np.any((lists < 0) | (lists >= len(centroids))):
        raise MapError("the index has lists of other points or images than the map")
    index = _empty_lists(length, len(centroids))
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


def short_lists(
    index: Any, queries: NDArray[np.float32], count: int, probed: int, allowed: NDArray[np.bool_] | None = None
) -> NDArray[np.intp]:
    """Rows (Q, ``count``) of short lists for queries (Q, D), -1 where there are fewer; ``probed`` lists are compared.

    Only of the rows ``allowed`` (N,), where that is given.
    """
    faiss, selector = _faiss(), {}
    if allowed is not None:
        selector["sel"] = faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))
    parameters = faiss.SearchParametersIVF(nprobe=probed, **selector)
    return np.asarray(index.search(queries, count, params=parameters)[1], np.intp)


def _faiss() -> Any:
    """The library, imported here since maps whose rows are all compared do not need it. Raises ModelError."""
    return load_faiss("the index of a large map")


def _num_lists(count: int, length: int) -> int:
    per_root = _LISTS_PER_ROOT if length <= _LONG else _LISTS_PER_ROOT_OF_LONG
    return int(min(_MOST_LISTS, max(1.0, per_root * np.sqrt(count))))


def _num_parts(length: int) -> int:
    return next(length // numbers for numbers in (_NUMBERS_PER_PART, 2, 1) if length % numbers == 0)


def _empty_lists(length: int, lists: int) -> Any:
    """Codes of the vectors themselves: codes of residuals to centroids would need a table for each list."""
    faiss = _faiss()
    quantizer = faiss.IndexFlatL2(length)
    index = faiss.IndexIVFPQ(quantizer, length, lists, _num_parts(length), _BITS)
    index.by_residual = False
    return index
