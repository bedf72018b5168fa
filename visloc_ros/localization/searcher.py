"""The Protocol of a way of searching, which the anchor engine drives."""

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
    """Gathers evidence of an image's place in a map; made once for a map, then called for every image."""

    @property
    def map(self) -> Map:
        """The map that is searched, or the one made of it, in the same frame. Evidence refers to its rows."""
        ...

    @property
    def overlap(self) -> ViewOverlap:
        """Which images of ``map`` a predicted pose would see."""
        ...

    @property
    def matcher(self) -> Matcher:
        """The matcher of the keypoints of two images."""
        ...

    @property
    def min_similarity(self) -> float:
        """Least dot product of the unit descriptors of a keypoint and of the point that it shows."""
        ...

    def gather(self, query: Query, prior: SE3 | None) -> Iterator[Evidence]:
        """Evidence, at least once; each next one is gathered only if those before do not determine the pose.

        ``prior`` is a predicted ``map_from_camera``. The last evidence decides about the image.
        """
        ...


class MapRanking(Protocol):
    """Ranks quickly which of several maps an image may show."""

    def votes(self, query: Query) -> Array:
        """The votes for each map (M,)."""
        ...

    def rivals(self, query: Query, found: int) -> list[int]:
        """Rows of the other maps that may show the same as the one that is found."""
        ...

    def log_likelihood(self, query: Query, row: int, landmarks: NDArray[np.int32]) -> float:
        """Logarithm of how well these landmarks (N,) of a map, or its best where none is given, go with a text."""
        ...
