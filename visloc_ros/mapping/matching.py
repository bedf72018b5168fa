"""Matching of chosen image pairs, an image with all its partners at once; it can be interrupted between images."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.map import LocalFeatures
from visloc_ros.core.progress import Progress
from visloc_ros.features.nearest_first import count_distinct
from visloc_ros.features.types import Matcher
from visloc_ros.mapping.pairs import Pair
from visloc_ros.mapping.parallel import map_in_order

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
    partners: dict[int, list[int]] = {}
    for first, second in pairs:
        partners.setdefault(first, []).append(second)

    def match(first: int) -> dict[Pair, NDArray[np.int32]]:
        found = matcher().match_many(features[first], [features[second] for second in partners[first]])
        return {(first, second): one.pairs for second, one in zip(partners[first], found, strict=True)}

    progress.stage("match", len(pairs))
    matches: PairMatches = {}
    for of_one_image in map_in_order(match, partners, workers):
        matches |= of_one_image
        progress.advance(len(of_one_image))
    return matches


def without_weak_loops(
    matches: PairMatches,
    features: Sequence[LocalFeatures],
    min_gap: int,
    min_matches: int,
    groups: Sequence[str] = (),
) -> PairMatches:
    """Drop pairs of images at least ``min_gap`` apart, or of different ``groups``, whose matches are no loop's.

    ``features`` are those of all images.
    """

    def is_loop(i: int, j: int) -> bool:
        return j - i >= min_gap or bool(groups and groups[i] != groups[j])

    return {
        (i, j): rows
        for (i, j), rows in matches.items()
        if not is_loop(i, j) or support_loop(features[i], features[j], rows, min_matches)
    }


def support_loop(a: LocalFeatures, b: LocalFeatures, pairs: NDArray[np.int32], least: int) -> bool:
    """Whether matches (K, 2) of two images suffice for a loop: ``least`` of them, half of which are distinct.

    A wrong loop bends the whole map, and geometric verification alone does not stop it: of pairs of images from two
    different places, matched with LightGlue, one in seven passed with 15 to 23 inliers. Rooms of one shape get more, up
    to 69, whatever hangs on their walls: LightGlue also matches by where keypoints lie. By their descriptors alone
    (Lowe 2004), few of those are nearest neighbours.
    """
    return least == 0 or (len(pairs) >= least and 2 * count_distinct(a, b, pairs) >= least)


def renumber(matches: PairMatches, order: Sequence[int]) -> PairMatches:
    """Matches among the images of these rows, keyed by their places in ``order``."""
    places = {row: place for place, row in enumerate(order)}
    return {(places[i], places[j]): pairs for (i, j), pairs in matches.items() if i in places and j in places}
