"""What a way of searching is: a small Protocol that the anchor engine drives."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.map import Map
from visloc_ros.features.types import Matcher
from visloc_ros.localization.evidence import Evidence, Query
from visloc_ros.localization.view_overlap import ViewOverlap


class Searcher(Protocol):
    """Gathers evidence of where in a map an image was taken; made once for a map, then called for every image."""

    @property
    def map(self) -> Map:
        """What is searched, in the frame of the map: that itself, or what was made of it. Evidence has its rows."""
        ...

    @property
    def overlap(self) -> ViewOverlap:
        """Which images of ``map`` a predicted pose would see."""
        ...

    @property
    def matcher(self) -> Matcher:
        """What matches the keypoints of two images."""
        ...

    @property
    def min_similarity(self) -> float:
        """Least dot product of the unit descriptors of a keypoint and of the point that it shows."""
        ...

    def gather(self, query: Query, prior: SE3 | None) -> Iterator[Evidence]:
        """Evidence, at least once, each next one gathered only if what came before does not tell the pose.

        ``prior`` is a predicted ``map_from_camera``. The last evidence is what the image is judged by.
        """
        ...


class MapRanking(Protocol):
    """Tells at a glance which of several maps an image may show."""

    def votes(self, query: Query) -> Array:
        """How much speaks for each map (M,)."""
        ...

    def rivals(self, query: Query, found: int) -> list[int]:
        """Rows of the other maps that may show the same as the one that is found."""
        ...

    def log_likelihood(self, query: Query, row: int, landmarks: NDArray[np.int32]) -> float:
        """Logarithm of how well these landmarks (N,) of a map, or its best where none is given, go with a text."""
        ...
