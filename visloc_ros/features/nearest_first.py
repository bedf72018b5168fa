"""A matcher for maps: nearest neighbours where they are plentiful and distinct, the network for all other pairs.

Images that follow each other look alike, and a ratio test (Lowe 2004) finds as good matches between them as a network
does, in a thirtieth of its time on a CPU; geometric verification sorts out the wrong ones of both.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.feature_files import LocalFeatures
from visloc_ros.features.nearest import NearestMatcher
from visloc_ros.features.types import Matcher, Matches, ModelInfo

_RATIO = 0.9
_PLENTIFUL = 100  # distinct matches: of images without a common view at most a tenth of them pass the ratio test


class NearestFirst:
    """Matches with a network only the pairs that show too few distinct nearest neighbours."""

    def __init__(self, network: Matcher) -> None:
        self._network = network
        self._nearest = NearestMatcher(ratio=_RATIO)

    @property
    def info(self) -> ModelInfo:
        """That of the network."""
        return self._network.info

    @property
    def batch_size(self) -> int:
        """That of the network."""
        return self._network.batch_size

    def match(self, a: LocalFeatures, b: LocalFeatures) -> Matches:
        """Mutual matches between two images."""
        return self.match_many(a, [b])[0]

    def match_many(self, query: LocalFeatures, references: Sequence[LocalFeatures]) -> list[Matches]:
        """Mutual matches of the query with every reference, in their order.

        All of them by the network where it takes several at once, as on a GPU: it is as fast there.
        """
        if self.batch_size > 1:
            return self._network.match_many(query, references)
        found = self._nearest.match_many(query, references)
        few = [row for row, one in enumerate(found) if len(one) < _PLENTIFUL]
        by_network = self._network.match_many(query, [references[row] for row in few])
        for row, one in zip(few, by_network, strict=True):
            found[row] = one
        return found


def count_distinct(a: LocalFeatures, b: LocalFeatures, pairs: NDArray[np.int32]) -> int:
    """How many of these matches (K, 2) the descriptors alone confirm: mutual nearest neighbours, all others further."""
    nearest = NearestMatcher(ratio=_RATIO).match(a, b).pairs.astype(np.int64)
    found, known = (rows[:, 0] * len(b) + rows[:, 1] for rows in (pairs.astype(np.int64), nearest))
    return int(np.isin(found, known).sum())
