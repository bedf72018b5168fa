"""Evidence by instances: what a network recognises in the image says which map images to match, and what in them.

After LBR (Xue et al., CVPR 2022). Map images are matched cluster by cluster until a pose is accepted, instance by
instance. Where no cluster gives one, the search falls back to the images that look alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.geometry import SE3
from visloc_ros.core.map import NO_POINT, Map, MapImage
from visloc_ros.features.nearest import NearestMatcher
from visloc_ros.features.types import GlobalDescriptor, Matcher, Matches
from visloc_ros.localization.config import AnchorConfig
from visloc_ros.localization.evidence import Evidence, EvidenceCollector, EvidenceSolver, Query, refusal_of
from visloc_ros.localization.guided import MIN_SIMILARITY
from visloc_ros.localization.strategies.instances.candidates import CandidateIndex
from visloc_ros.localization.strategies.instances.config import NO_INSTANCE
from visloc_ros.localization.strategies.instances.instance_map import InstanceMap
from visloc_ros.localization.strategies.instances.matching import match_by_instance
from visloc_ros.localization.strategies.instances.recognition import InstanceRecogniser, Recognition
from visloc_ros.localization.strategies.retrieval.global_index import rank_by_descriptor
from visloc_ros.localization.view_change import ViewOverlap, Viewpoints

_NEVER = 2**31  # inliers: matching does not end early


class InstanceSearcher:
    """Matches the query with the map images that show the instances recognised in it."""

    min_similarity = MIN_SIMILARITY
    """Its points have the descriptors of all images that see them."""

    def __init__(
        self,
        map_: Map,
        instances: InstanceMap,
        recogniser: InstanceRecogniser,
        retrieval: tuple[GlobalDescriptor, NDArray[np.float32]],
        config: AnchorConfig,
        matcher: Matcher,
    ) -> None:
        self.map = replace(map_, point_labels=instances.point_labels)
        self.overlap = ViewOverlap(map_)
        self.matcher = matcher
        self._recogniser, self._config = recogniser, config
        self._describer, self._descriptors = retrieval
        self._index = CandidateIndex(instances, config.top_k)
        self._by_instance = InstanceCollector(self.map, replace(config, stop_inliers=_NEVER))
        self._learned = EvidenceCollector(self.map, matcher, config)
        self._solver = EvidenceSolver(self.map, config.pose)

    def gather(self, query: Query, prior: SE3 | None) -> Iterator[Evidence]:
        """Evidence of one cluster of map images after the other, then of the learned matcher."""
        with query.watch("recognition"):
            recognition = self._recogniser.recognise(query.upright_image)
        labels = recognition.at(query.upright.keypoints, query.upright.image_size)
        tried: list[Evidence] = []
        best = Evidence()
        for rows in self._clusters(query, recognition, prior):
            found = self._by_instance.gather_labelled(query, labels, rows, prior)
            tried.append(found)
            best = max(best, found, key=_strength)
            if not found.is_by_chance:
                yield self._solver.with_rival(query, found, tried)
        best = self._solver.with_rival(query, best, tried)
        refusal = refusal_of(best, self._config.min_matches)
        yield replace(best, refusal=refusal)
        if refusal is None and query.is_thorough and not isinstance(self.matcher, NearestMatcher):
            yield self._learned.gather_around(query, best, self.overlap, prior)

    def recognise(self, query: Query) -> Recognition:
        """The instances that a query shows."""
        return self._recogniser.recognise(query.upright_image)

    def _clusters(self, query: Query, recognition: Recognition, prior: SE3 | None) -> Iterator[Sequence[int]]:
        """Map images that a prior should see, then those of instance after instance, then those that look alike."""
        expected = self._expected(query, prior)
        if expected:
            yield expected
        allowed = np.ones(len(self.map.images), bool)
        if query.hint is not None:
            allowed = query.hint.permits_views(self._views)
        left = allowed.copy()
        left[expected] = False
        for rows in self._index.clusters(recognition, left):
            left[rows] = False
            yield rows
        alike = [row for row in self._similar(query, np.flatnonzero(allowed)) if left[row]]
        if alike:
            yield alike

    def _expected(self, query: Query, prior: SE3 | None) -> list[int]:
        """Map images that share most of the view from a predicted pose."""
        if prior is None:
            return []
        with query.watch("retrieval"):
            return self.overlap.rank(prior, query.frame.camera, self._config.top_k_expected)

    def _similar(self, query: Query, rows: NDArray[np.intp]) -> list[int]:
        """Those of the map images by row that look most alike."""
        with query.watch("global"):
            descriptor = self._describer.describe(query.upright_image, query.upright)
        with query.watch("retrieval"):
            best = rank_by_descriptor(descriptor, self._descriptors[rows], self._config.top_k)
            return [int(rows[place]) for place in best]

    @cached_property
    def _views(self) -> Viewpoints:
        return Viewpoints.of(self.map.images, self.map.points)


class InstanceCollector(EvidenceCollector):
    """Collects evidence of nearest neighbours within instances; only keypoints of map images that see a point match."""

    def __init__(self, map_: Map, config: AnchorConfig) -> None:
        super().__init__(map_, NearestMatcher(), config)
        assert map_.point_labels is not None
        self._labels = np.append(map_.point_labels, NO_INSTANCE)  # NO_POINT is the last row
        self._query_labels: NDArray[np.uint16] = np.empty(0, np.uint16)

    def gather_labelled(
        self, query: Query, labels: NDArray[np.uint16], rows: Sequence[int], prior: SE3 | None
    ) -> Evidence:
        """Evidence of map images by row; ``labels`` (N,) are the instances at the query's keypoints."""
        self._query_labels = labels
        return self.gather(query, [rows], prior)

    def match_images(self, query: Query, images: Sequence[MapImage]) -> list[Matches]:
        """Matches within each instance, then of what is left."""
        with query.watch("matching"):
            return [self._match(query, image) for image in images]

    def _match(self, query: Query, image: MapImage) -> Matches:
        seen = np.flatnonzero(image.point_rows != NO_POINT)
        labels = self._labels[image.point_rows[seen]]
        found = match_by_instance(self.matcher, query.upright, self._query_labels, image.features.take(seen), labels)
        return Matches(np.column_stack((found.pairs[:, 0], seen[found.pairs[:, 1]])).astype(np.int32), found.scores)


def _strength(evidence: Evidence) -> tuple[bool, int, int]:
    return not evidence.is_by_chance, evidence.num_inliers, len(evidence.correspondences)
