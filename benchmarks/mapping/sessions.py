"""Searches of a map of several sessions, with references of one session before all others."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
import pycolmap
from numpy.typing import NDArray

from visloc_ros.core.geometry import SE3
from visloc_ros.core.map import Map
from visloc_ros.core.timing import Stopwatch
from visloc_ros.core.types import AnchorPose, Rejection
from visloc_ros.features import GlobalDescriptor, LocalExtractor, Matcher
from visloc_ros.localization import AnchorConfig, AnchorEngine
from visloc_ros.localization.evidence import Query
from visloc_ros.localization.retrieval.global_index import global_index
from visloc_ros.localization.retrieval.strategy import RetrievalSearcher
from visloc_ros.localization.view_change import ViewOverlap

FIRST, ALL, FEWER, ALIKE, RIGHT = "first session", "all", "all, fewer references", "session by look", "right session"
WAYS = (FIRST, ALL, FEWER, ALIKE, RIGHT)
_FEWER = 7  # references, not 10: about the time of one session's
_AMONG = 3  # times the references, in which a session is looked for
_MOST_ALIKE = 3  # images of a session, by which it looks like the query

Choose = Callable[[list[int]], str]
"""The session of which images, of the map's images in these rows, are searched first."""


class SessionOverlap(ViewOverlap):
    """Ranks the references of one session before all others."""

    def __init__(self, map_: Map, sessions: Sequence[str]) -> None:
        super().__init__(map_)
        self._sessions = sessions
        self.choose: Choose = lambda rows: self._sessions[rows[0]]

    def rank(self, map_from_camera: SE3, camera: pycolmap.Camera, count: int) -> list[int]:
        """Rows of at most ``count`` map images, best first; none where the view would see nothing of the map."""
        rows = super().rank(map_from_camera, camera, _AMONG * count)
        if not rows:
            return rows
        chosen = self.choose(rows)
        return sorted(rows, key=lambda row: self._sessions[row] != chosen)[:count]


class Likeness:
    """How much the map's images look like a query, which is described once it is asked for."""

    def __init__(
        self, query: Query, describer: GlobalDescriptor, descriptors: NDArray[np.floating], sessions: Sequence[str]
    ) -> None:
        self._query, self._describer, self._descriptors, self._sessions = query, describer, descriptors, sessions

    @cached_property
    def _described(self) -> NDArray[np.float32]:
        return self._describer.describe(self._query.upright_image, self._query.upright)

    def choose(self, rows: list[int]) -> str:
        """The session whose images, of those in these rows, look most like the query."""
        by_session: dict[str, list[float]] = {}
        for row, similarity in zip(rows, self._descriptors[rows] @ self._described, strict=True):
            by_session.setdefault(self._sessions[row], []).append(float(similarity))
        return max(by_session, key=lambda name: float(np.mean(sorted(by_session[name])[-_MOST_ALIKE:])))


class SessionSearch:
    """Searches images in one of ``WAYS``; ``sessions`` are those of the map's images, in their order."""

    def __init__(
        self, way: str, map_: Map, sessions: Sequence[str], extractor: LocalExtractor, matcher: Matcher
    ) -> None:
        config = AnchorConfig()
        if way == FEWER:
            config = replace(config, guided=replace(config.guided, references=_FEWER))
        searcher = RetrievalSearcher(map_, config, matcher)
        self._way, self._sessions = way, sessions
        self._describer, self._descriptors = global_index(map_)
        self._overlap: SessionOverlap | None = None
        if way in (ALIKE, RIGHT):
            searcher.overlap = self._overlap = SessionOverlap(map_, sessions)
        self.engine = AnchorEngine(map_, config, extractor, searcher=searcher, most_turns=1)

    def solve(self, query: Query, light: str, prior: SE3 | None) -> AnchorPose | Rejection:
        """Search one image, taken in a light, around a prediction or anywhere."""
        if self._overlap is not None:
            alike = Likeness(query, self._describer, self._descriptors, self._sessions)
            self._overlap.choose = alike.choose if self._way == ALIKE else lambda _: light
        return self.engine.solve(replace(query, watch=Stopwatch(), by_copy={}, judged=[]), prior)
