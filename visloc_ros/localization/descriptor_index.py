"""A map's global descriptors, and which of them are most similar to a query's."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.errors import ModelError
from visloc_ros.core.map_pages import release
from visloc_ros.localization.listed_descriptors import SHORT_LIST, ListedDescriptors, best_of, open_lists
from visloc_ros.localization.models import load_faiss

MOST_COMPARED = 20_000
"""Images that are all compared: 8192 numbers of each take 20 ms on one processor."""

_log = logging.getLogger(__name__)

_SHORT_LISTS = 4  # times as many rows by eight bits a number as are sought: they are compared by all bits
_AT_ONCE = 1024  # rows
_SAMPLED = 1024  # rows that show how large the numbers are


class DescriptorIndex:
    """Descriptors (M, G); those of a large map, which are mapped from a file, take eight bits a number in memory.

    Of more than 20,000 there are inverted lists instead.
    """

    def __init__(self, descriptors: NDArray[np.floating]) -> None:
        """Raises ModelError where a large map needs faiss, and it is not installed."""
        self._descriptors = descriptors
        self._lists: ListedDescriptors | None = None
        self._codes: Any = None
        if isinstance(descriptors, np.memmap):
            self._lists = open_lists(descriptors) if len(descriptors) > MOST_COMPARED else None
            self._codes = None if self._lists else _codes_of(descriptors)

    def __getitem__(self, row: int) -> NDArray[np.float32]:
        """The descriptor of an image (G,)."""
        return np.asarray(self._descriptors[row], np.float32)

    def rank(self, query: NDArray[np.float32], count: int, rows: NDArray[np.intp] | None = None) -> list[int]:
        """Rows of the ``count`` descriptors most similar to the query (G,) by dot product, best first.

        Only of those in ``rows`` (K,), where these are given.
        """
        if self._lists is not None and (rows is None or len(rows) > SHORT_LIST):
            return self._lists.rank(query, count, None if rows is None else self._mask(rows))
        if self._codes is not None:
            return self._rank_by_codes(query, count, rows)
        found = rank_by_descriptor(query, self._descriptors if rows is None else self._descriptors[rows], count)
        return found if rows is None else [int(rows[place]) for place in found]

    def _mask(self, rows: NDArray[np.intp]) -> NDArray[np.bool_]:
        mask = np.zeros(len(self._descriptors), bool)
        mask[rows] = True
        return mask

    def _rank_by_codes(self, query: NDArray[np.float32], count: int, rows: NDArray[np.intp] | None) -> list[int]:
        among = len(self._descriptors) if rows is None else len(rows)
        if among == 0:
            return []
        faiss = _faiss()
        some = None if rows is None else faiss.SearchParameters(sel=faiss.IDSelectorBatch(np.asarray(rows, np.int64)))
        length = min(_SHORT_LISTS * count, among)
        found = self._codes.search(np.ascontiguousarray(query[None], np.float32), length, params=some)[1][0]
        return best_of(self._descriptors, found, query, count)


def learn_in_advance(descriptors: NDArray[np.floating]) -> None:
    """Learn what the first search of a large map would, for minutes, and keep it beside its pages.

    Descriptors (M, G) are those of an open map; without faiss nothing is learned yet.
    """
    if len(descriptors) <= MOST_COMPARED or not isinstance(descriptors, np.memmap):
        return
    try:
        _faiss()
    except ModelError as error:
        _log.warning("this computer does not learn to search the map in advance: %s", error)
    else:
        open_lists(descriptors)


def rank_by_descriptor(query: NDArray[np.float32], descriptors: NDArray[np.floating], count: int) -> list[int]:
    """Rows of the ``count`` descriptors (M, G) most similar to the query (G,) by dot product, best first."""
    similarity = descriptors @ query
    count = min(count, len(similarity))
    if count == 0:
        return []
    best = np.argpartition(-similarity, count - 1)[:count]
    return [int(row) for row in best[np.argsort(-similarity[best], kind="stable")]]


def _codes_of(descriptors: NDArray[np.floating]) -> Any:
    """Eight bits a number, between the least and the largest one: descriptors of a map are stored hardly finer."""
    faiss, (count, length) = _faiss(), descriptors.shape
    codes = faiss.IndexScalarQuantizer(length, faiss.ScalarQuantizer.QT_8bit_uniform, faiss.METRIC_INNER_PRODUCT)
    codes.train(np.asarray(descriptors[:: -(-count // _SAMPLED)], np.float32))
    for first in range(0, count, _AT_ONCE):
        codes.add(np.asarray(descriptors[first : first + _AT_ONCE], np.float32))
        release(descriptors)
    return codes


def _faiss() -> Any:
    return load_faiss("searching a large map")
