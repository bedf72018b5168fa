"""Matching of chosen image pairs; it can be interrupted between any two."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.map import LocalFeatures
from visloc_ros.features.types import Matcher
from visloc_ros.mapping.pairs import Pair
from visloc_ros.mapping.parallel import map_in_order
from visloc_ros.mapping.progress import Progress, track

PairMatches = dict[Pair, NDArray[np.int32]]


def match_pairs(
    matcher: Callable[[], Matcher],
    features: Sequence[LocalFeatures],
    pairs: Sequence[Pair],
    progress: Progress,
    workers: int = 1,
) -> PairMatches:
    """Match pairs of image rows; gives keypoint rows (K, 2) for every pair, also where there are none.

    ``matcher`` gives the calling thread's matcher.
    """

    def match(pair: Pair) -> NDArray[np.int32]:
        return matcher().match(features[pair[0]], features[pair[1]]).pairs

    results = track(progress, "match", map_in_order(match, pairs, workers), len(pairs))
    return dict(zip(pairs, results, strict=True))
