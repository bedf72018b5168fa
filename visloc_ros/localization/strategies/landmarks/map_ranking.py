"""Which map an image shows: the classes of one recogniser are the landmarks of all maps, each map's in a range."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.geometry import Array
from visloc_ros.localization.evidence import RIVAL_SHARE, Query
from visloc_ros.localization.strategies.landmarks.calibration import keep_likely_landmarks
from visloc_ros.localization.strategies.landmarks.landmark_reach import LandmarkReach
from visloc_ros.localization.strategies.landmarks.look_alikes import LookAlikes
from visloc_ros.localization.strategies.landmarks.opening import RecogniserOfOneMap

_MOST_LANDMARKS = 3  # of a map: an image hardly shows more of them well
_RIVAL_VOTES = 0.5  # of those for the map that is found: one that looks the same gets as many


class LandmarkMapRanking:
    """Counts votes for maps that share a recogniser, and knows which of them look alike."""

    def __init__(
        self,
        recognisers: Sequence[RecogniserOfOneMap],
        look_alikes: Sequence[LookAlikes],
        reaches: Sequence[LandmarkReach],
    ) -> None:
        self._recogniser = recognisers[0].of_all_maps
        self._ranges = [slice(1 + one.first_class, 1 + one.first_class + one.num_landmarks) for one in recognisers]
        self._look_alikes, self._reaches = look_alikes, reaches
        self._found: dict[tuple[int, int], frozenset[int]] = {}

    def votes(self, query: Query) -> Array:
        """How many tokens are expected to show each map (M,), of those that are not surely background."""
        with query.watch("recognition"):
            by_class = self._votes_by_class(query)
        if query.hint is None:
            return np.array([by_class[classes].sum() for classes in self._ranges])
        logs = [reach.log_likelihoods_of_text(query.hint) for reach in self._reaches]
        largest = max(one.max() for one in logs)
        weights = [np.exp(one - largest) for one in logs]
        return np.array([by_class[classes] @ one for classes, one in zip(self._ranges, weights, strict=True)])

    def rivals(self, query: Query, found: int) -> list[int]:
        """Rows of the maps that may show the same as the found one: with as many votes, or with landmarks like its."""
        votes = self.votes(query)
        rivals = {int(row) for row in np.flatnonzero(votes >= _RIVAL_VOTES * votes[found])}
        with query.watch("recognition"):
            for label in self._likely_landmarks(query, found):
                rivals |= self._maps_like(found, label)
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

    def _votes_by_class(self, query: Query) -> NDArray[np.float64]:
        probabilities = self._recogniser.recognise(query.features)
        kept = keep_likely_landmarks(probabilities, self._recogniser.background_threshold)
        return np.asarray(probabilities[kept].sum(axis=0, dtype=np.float64))

    def _likely_landmarks(self, query: Query, found: int) -> list[int]:
        """The landmarks of a map with most votes."""
        votes = self._votes_by_class(query)[self._ranges[found]]
        return [1 + int(place) for place in np.argsort(-votes, kind="stable")[:_MOST_LANDMARKS]]

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
