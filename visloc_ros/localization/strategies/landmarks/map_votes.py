"""Which map an image shows: the classes of one recogniser are the landmarks of all maps, each map's in a range."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from visloc_ros.core.geometry import Array
from visloc_ros.localization.evidence import Query
from visloc_ros.localization.strategies.landmarks.calibration import keep_likely_landmarks
from visloc_ros.localization.strategies.landmarks.opening import RecogniserOfOneMap


class MapVotes:
    """Counts votes for maps that share a recogniser."""

    def __init__(self, recognisers: Sequence[RecogniserOfOneMap]) -> None:
        self._recogniser = recognisers[0].of_all_maps
        self._ranges = [slice(1 + one.first_class, 1 + one.first_class + one.num_landmarks) for one in recognisers]

    def __call__(self, query: Query) -> Array:
        """How many tokens are expected to show each map (M,), of those that are not surely background."""
        with query.watch("recognition"):
            probabilities = self._recogniser.recognise(query.features)
            kept = keep_likely_landmarks(probabilities, self._recogniser.background_threshold)
            by_class = probabilities[kept].sum(axis=0, dtype=np.float64)
        return np.array([by_class[classes].sum() for classes in self._ranges])
