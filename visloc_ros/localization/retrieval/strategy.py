"""The search by retrieval: the map images that look most alike are matched, quickly first, then by a network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache, cached_property
from itertools import tee

import numpy as np

from visloc_ros.core.geometry import SE3
from visloc_ros.core.map import Map
from visloc_ros.features.nearest import NearestMatcher
from visloc_ros.features.registry import make_global_descriptor, nearest_beside
from visloc_ros.features.types import Matcher
from visloc_ros.localization.config import RETRIEVAL, AnchorConfig
from visloc_ros.localization.descriptor_index import DescriptorIndex
from visloc_ros.localization.evidence import Evidence, EvidenceCollector, Query, refusal_of
from visloc_ros.localization.guided import MIN_SIMILARITY
from visloc_ros.localization.retrieval.global_index import MakeDescriptor, global_index
from visloc_ros.localization.strategy import OpenedMaps, SearchStrategy
from visloc_ros.localization.view_change import ViewOverlap, Viewpoints


class RetrievalStrategy(SearchStrategy):
    """Matches images that look alike; searches every whole map."""

    name = RETRIEVAL

    def open(self, maps: Sequence[Map], config: AnchorConfig, matcher: Matcher) -> OpenedMaps:
        """Make a searcher of each map; a network that describes images is loaded once."""
        make_once = cache(make_global_descriptor)
        return OpenedMaps([RetrievalSearcher(map_, config, matcher, make_once) for map_ in maps])


RETRIEVAL_SEARCH = RetrievalStrategy()

_NEVER = 2**31  # inliers: matching does not end early


class RetrievalSearcher:
    """Matches the query with the map images that look most alike, or that a predicted pose should see."""

    min_similarity = MIN_SIMILARITY
    """Its points have the descriptors of all images that see them."""

    def __init__(
        self,
        map_: Map,
        config: AnchorConfig,
        matcher: Matcher,
        make_descriptor: MakeDescriptor = make_global_descriptor,
    ) -> None:
        self.map = map_
        self.overlap = ViewOverlap(map_)
        self.matcher = matcher
        self._config = config
        self._describer, descriptors = global_index(map_, config.global_descriptor, make_descriptor)
        self._index = DescriptorIndex(descriptors)
        self._collector = EvidenceCollector(map_, matcher, config)
        self._nearest = self._collector_of_nearest()

    def _collector_of_nearest(self) -> EvidenceCollector | None:
        """The collector of evidence before the learned matcher; None without one, or where it is switched off."""
        config = self._config
        if isinstance(self.matcher, NearestMatcher) or not (config.nearest_first and config.guided.enabled):
            return None
        # A pose takes longer than the matches of all images: it is computed once.
        return EvidenceCollector(self.map, nearest_beside(self.matcher), replace(config, stop_inliers=_NEVER))

    def gather(self, query: Query, prior: SE3 | None) -> Iterator[Evidence]:
        """Evidence by nearest neighbours, then, unless nothing can be found, by the learned matcher."""
        references, again = tee(self._references(query, prior))
        if self._nearest is None or query.cameras:
            yield self._collector.gather(query, again, prior)
            return
        by_nearest = self._nearest.gather(query, references, prior)
        refusal = refusal_of(by_nearest, self._config.min_matches)
        yield replace(by_nearest, refusal=refusal)
        if refusal is None and query.is_thorough:
            evidence = self._collector.gather(query, again, prior)
            yield replace(evidence, rival=evidence.rival or by_nearest.rival)

    def _references(self, query: Query, prior: SE3 | None) -> Iterator[list[int]]:
        """Map images to match: those that the prior should see, then, if they do not suffice, those that look alike."""
        expected = [] if prior is None else self._expected_references(query, prior)
        yield expected
        yield [row for row in self._similar_references(query) if row not in expected]

    def _expected_references(self, query: Query, prior: SE3) -> list[int]:
        """Map images that share most of the view from the predicted pose."""
        with query.watch("retrieval"):
            return self.overlap.rank(prior, query.frame.camera, self._config.top_k_expected)

    def _similar_references(self, query: Query) -> list[int]:
        """Map images that look most alike."""
        with query.watch("global"):
            descriptor = self._describer.describe(query.upright_image, query.upright)
        with query.watch("retrieval"):
            rows = None if query.hint is None else np.flatnonzero(query.hint.permits_views(self._views))
            return self._index.rank(descriptor, self._config.top_k, rows)

    @cached_property
    def _views(self) -> Viewpoints:
        return Viewpoints.of_map(self.map)
