"""Which of several maps an image shows, by the points that its keypoints look most like."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.errors import MapError
from visloc_ros.core.geometry import Array
from visloc_ros.localization.evidence import RIVAL_SHARE, Query
from visloc_ros.localization.search_hint import SearchHint
from visloc_ros.localization.strategies.landmarks.point_votes import PointVotes
from visloc_ros.localization.strategies.landmarks.searcher import LandmarkSearcher

_MOST_LANDMARKS = 3  # of a map: an image hardly shows more of them well
_RIVAL_VOTES = 0.5  # of those for the map that is found: one that looks the same gets as many


class LandmarkMapRanking:
    """Counts votes for maps, and knows which of them look alike.

    ``are_together`` says that the maps were prepared together: texts that were learned apart cannot be compared.
    """

    def __init__(self, searchers: Sequence[LandmarkSearcher], *, are_together: bool) -> None:
        self._votes = PointVotes([one.landmarks for one in searchers])
        self._look_alikes = [one.look_alikes for one in searchers]
        self._reaches = [one.reach for one in searchers]
        self._are_together = are_together
        self._found: dict[tuple[int, int], frozenset[int]] = {}

    def votes(self, query: Query) -> Array:
        """How many keypoints speak for each map (M,), weighed by how well its landmarks go with a text.

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
        """Rows of the other maps that hold what this landmark does; found out once for each landmark.

        Where fewer of its points are like any there, the other map could not explain an image of it as well.
        """
        if (row, label) not in self._found:
            samples = self._look_alikes[row].samples(label)
            self._found[row, label] = frozenset(
                other
                for other, one in enumerate(self._look_alikes)
                if other != row and one.share_like(samples) >= RIVAL_SHARE
            )
        return self._found[row, label]
