"""Ranks several maps for an image by the points most similar to its keypoints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.errors import MapError
from visloc_ros.core.geometry import Array
from visloc_ros.core.map import LocalFeatures
from visloc_ros.localization.evidence import RIVAL_SHARE, Query
from visloc_ros.localization.models import load_faiss
from visloc_ros.localization.search_hint import SearchHint
from visloc_search.landmarks.landmark_map import LandmarkMap
from visloc_search.landmarks.landmark_reach import ALIKE
from visloc_search.landmarks.searcher import LandmarkSearcher
from visloc_search.landmarks.tokens import Float32, unit_descriptors, unit_rows

_MOST_LANDMARKS = 3  # of a map: an image hardly shows more of them well
_RIVAL_VOTES = 0.5  # of those for the map that is found: one that looks the same gets as many


class LandmarkMapRanking:
    """Counts votes for maps, and knows which of them look alike.

    ``are_together``: the maps were prepared together; texts that were learned apart cannot be compared.
    """

    def __init__(self, searchers: Sequence[LandmarkSearcher], *, are_together: bool) -> None:
        self._votes = PointVotes([one.landmarks for one in searchers])
        self._look_alikes = [one.look_alikes for one in searchers]
        self._reaches = [one.reach for one in searchers]
        self._are_together = are_together
        self._found: dict[tuple[int, int], frozenset[int]] = {}

    def votes(self, query: Query) -> Array:
        """Votes of keypoints for each map (M,), weighed by how well its landmarks go with a text.

        Raises MapError for a text where maps were prepared apart or without texts.
        """
        with query.watch("recognition"):
            votes = self._votes.count(query.features)
        if query.hint is None or query.hint.text is None:
            return np.array([one.sum() for one in votes], np.float64)
        logs = self._log_likelihoods_of_text(query.hint)
        largest = max(one.max() for one in logs)
        return np.array([one @ np.exp(log - largest) for one, log in zip(votes, logs, strict=True)])

    def rivals(self, query: Query, found: int) -> list[int]:
        """Rows of the maps that may show the same as the found one: with as many votes, or with landmarks like its."""
        votes = self.votes(query)
        rivals = {int(row) for row in np.flatnonzero(votes >= _RIVAL_VOTES * votes[found])}
        with query.watch("recognition"):
            likely = np.argsort(-self._votes.count(query.features)[found], kind="stable")[:_MOST_LANDMARKS]
            for place in likely:
                rivals |= self._maps_like(found, 1 + int(place))
        return sorted(rivals - {found})

    def log_likelihood(self, query: Query, row: int, landmarks: NDArray[np.int32]) -> float:
        """Logarithm of how well landmarks (N,) of a map, or its best where none is given, go with the hint's text."""
        if query.hint is None:
            return 0.0
        reach = self._reaches[row]
        known = landmarks[landmarks > 0]
        return (
            reach.log_likelihood_of_text(query.hint, known)
            if len(known)
            else float(reach.log_likelihoods_of_text(query.hint).max())
        )

    def _log_likelihoods_of_text(self, hint: SearchHint) -> list[Array]:
        if not self._are_together:
            raise MapError(
                "the maps were prepared apart, so that a text does not distinguish them: run 'visloc prepare "
                "MAP MAP... --for landmarks --texts FILE' with all of them, or leave the text out"
            )
        return [reach.log_likelihoods_of_text(hint) for reach in self._reaches]

    def _maps_like(self, row: int, label: int) -> frozenset[int]:
        """Rows of the other maps that hold the same as this landmark; determined once for each landmark.

        A map with fewer points like those of the landmark could not explain an image of it as well.
        """
        if (row, label) not in self._found:
            samples = self._look_alikes[row].samples(label)
            self._found[row, label] = frozenset(
                other
                for other, one in enumerate(self._look_alikes)
                if other != row and one.share_like(samples) >= RIVAL_SHARE
            )
        return self._found[row, label]


# The number of keypoints whose most similar point is of a map distinguishes maps quickly. The points of all maps lie in
# inverted lists (IVF, Jegou et al. 2011), of which a keypoint is compared with the nearest one only, so that the time
# hardly grows with the number of maps.

_MOST_POINTS = 2048  # of a map, evenly: one megabyte
_MOST_KEYPOINTS = 128  # with the highest scores; the right one of 50 rooms gets 40 times the votes of the next
_LISTS_PER_ROOT = 2.0  # lists for each square root of the number of points: as many as a list has points, about
_ITERATIONS = 10  # of k-means


class PointVotes:
    """Counts, for each map, the keypoints whose most similar point of all maps is there. Raises ModelError."""

    def __init__(self, maps: Sequence[LandmarkMap]) -> None:
        rows = [_spread(len(one.labels)) for one in maps]
        self._ends = np.cumsum([one.num_landmarks for one in maps])
        firsts = self._ends - [one.num_landmarks for one in maps]
        self._classes = np.concatenate(
            [first + one.labels[kept] - 1 for first, one, kept in zip(firsts, maps, rows, strict=True)]
        )
        descriptors = [unit_rows(one.points.descriptors[kept]) for one, kept in zip(maps, rows, strict=True)]
        self._index = _inverted_lists(np.ascontiguousarray(np.concatenate(descriptors), np.float32))
        self._last: tuple[LocalFeatures, list[NDArray[np.int64]]] | None = None

    def count(self, features: LocalFeatures) -> list[NDArray[np.int64]]:
        """Votes of an image for the landmarks (k,) of each map; computed once for each image."""
        last = self._last  # another thread may put another image there
        if last is None or last[0] is not features:
            last = self._last = features, self._count(features)
        return last[1]

    def _count(self, features: LocalFeatures) -> list[NDArray[np.int64]]:
        best = features.take(np.argsort(-features.scores, kind="stable")[:_MOST_KEYPOINTS])
        similarity, nearest = self._index.search(unit_descriptors(best), 1)
        classes = self._classes[nearest[similarity >= ALIKE]]
        votes = np.bincount(classes, minlength=self._ends[-1])
        return np.split(votes, self._ends[:-1])


def _spread(count: int) -> NDArray[np.intp]:
    return np.linspace(0, count - 1, min(count, _MOST_POINTS)).astype(np.intp)


def _inverted_lists(descriptors: Float32) -> Any:
    """Unit descriptors (P, D) in lists of those that are alike."""
    faiss = load_faiss("searching several maps by landmarks")
    length, count = descriptors.shape[1], max(1, int(_LISTS_PER_ROOT * np.sqrt(len(descriptors))))
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(length), length, count, faiss.METRIC_INNER_PRODUCT)
    index.cp.niter, index.cp.min_points_per_centroid = _ITERATIONS, 1
    index.train(descriptors)
    index.add(descriptors)
    return index
