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
from visloc_ros.core.map import NO_POINT, LocalFeatures, Map, MapImage
from visloc_ros.features.nearest import NearestMatcher
from visloc_ros.features.types import GlobalDescriptor, Matcher, Matches
from visloc_ros.localization.config import AnchorConfig
from visloc_ros.localization.descriptor_index import DescriptorIndex
from visloc_ros.localization.evidence import Evidence, EvidenceCollector, EvidenceSolver, Query, refusal_of
from visloc_ros.localization.guided import MIN_SIMILARITY
from visloc_ros.localization.view_change import ViewOverlap, Viewpoints
from visloc_search.instances.candidates import CandidateIndex
from visloc_search.instances.config import NO_INSTANCE
from visloc_search.instances.instance_map import InstanceMap
from visloc_search.instances.matching import match_by_instance
from visloc_search.instances.recognition import InstanceRecogniser, Recognition

_NEVER = 2**31  # inliers: the images of a cluster are all matched
_ELSEWHERE = 1.0  # radians of view change: the images hardly show the same
_RIVALS = 2  # images elsewhere that are matched with every image that is found


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
        self._describer, descriptors = retrieval
        self._similarity = DescriptorIndex(descriptors)
        self._index = CandidateIndex(instances, config.top_k)
        self._learned = EvidenceCollector(self.map, matcher, config)
        self._of_rivals = EvidenceCollector(self.map, NearestMatcher(MIN_SIMILARITY), config)
        self._solver = EvidenceSolver(self.map, config.pose)

    def gather(self, query: Query, prior: SE3 | None) -> Iterator[Evidence]:
        """Evidence of one cluster of map images after the other, then of those around the best pose."""
        with query.watch("recognition"):
            recognition = self._recogniser.recognise(query.upright_image)
        collector = InstanceCollector(self.map, self._config, recognition)
        best, tried = Evidence(), list[Evidence]()
        for rows in self._clusters(query, recognition, prior):
            found = collector.gather(query, [rows], prior)
            tried.append(found)
            if not found.is_by_chance:
                tried.append(self._rival(query, found))
                found = max(found, tried[-1], key=_strength)  # the cluster may be of the place that only looks alike
                yield self._solver.with_rival(query, found, tried)
            best = max(best, found, key=_strength)
        best = self._solver.with_rival(query, best, tried)
        refusal = refusal_of(best, self._config.min_matches)
        yield replace(best, refusal=refusal)
        if refusal is None:
            yield collector.gather_around(query, best, self.overlap, prior)
            if query.is_thorough and not isinstance(self.matcher, NearestMatcher):
                yield self._learned.gather_around(query, best, self.overlap, prior)

    def _clusters(self, query: Query, recognition: Recognition, prior: SE3 | None) -> Iterator[Sequence[int]]:
        """Map images that a prior should see, then those of instance after instance, then those that look alike."""
        permitted = np.ones(len(self.map.images), bool)
        if query.hint is not None:
            permitted = query.hint.permits_views(self._views)
        left = permitted.copy()
        for rows in self._expected_and_recognised(query, recognition, prior, left):
            left[rows] = False
            yield rows
        alike = [row for row in self._similar(query, np.flatnonzero(permitted)) if left[row]]
        if alike:
            yield alike

    def _expected_and_recognised(
        self, query: Query, recognition: Recognition, prior: SE3 | None, left: NDArray[np.bool_]
    ) -> Iterator[list[int]]:
        """Clusters of the map images that are ``left`` (M,)."""
        if prior is not None:
            with query.watch("retrieval"):
                expected = self.overlap.rank(prior, query.frame.camera, self._config.top_k_expected)
            yield expected
        yield from self._index.clusters(recognition, left)

    def _similar(self, query: Query, rows: NDArray[np.intp]) -> list[int]:
        """Those of the map images by row that look most alike by the descriptor of retrieval."""
        with query.watch("global"):
            descriptor = self._describer.describe(query.upright_image, query.upright)
        with query.watch("retrieval"):
            return self._similarity.rank(descriptor, self._config.top_k, rows)

    def _rival(self, query: Query, found: Evidence) -> Evidence:
        """Evidence of the map images elsewhere that look most like the one which sees most of what was found.

        A recogniser distinguishes places as it has learned; whether the image does, only its features say.
        """
        assert found.solution is not None
        pose = found.solution.map_from_camera
        with query.watch("retrieval"):
            elsewhere = np.flatnonzero(self._views.changes(pose) > _ELSEWHERE)
            nearest = self.overlap.rank(pose, found.solution.camera, 1)
            if not nearest or not len(elsewhere):
                return Evidence()
            alike = self._similarity.rank(self._similarity[nearest[0]], _RIVALS, elsewhere)
        return self._of_rivals.gather(query, [alike])

    @cached_property
    def _views(self) -> Viewpoints:
        return Viewpoints.of_map(self.map)


class InstanceCollector(EvidenceCollector):
    """Collects evidence of one query's nearest neighbours within instances, and of what is left.

    Of map images only the keypoints that see a point are matched.
    """

    def __init__(self, map_: Map, config: AnchorConfig, recognition: Recognition) -> None:
        super().__init__(map_, NearestMatcher(), replace(config, stop_inliers=_NEVER))
        assert map_.point_labels is not None
        self._labels = np.append(map_.point_labels, NO_INSTANCE)  # NO_POINT is the last row
        self._recognition = recognition

    def match_images(self, query: Query, images: Sequence[MapImage]) -> list[Matches]:
        """Matches within each instance, then of what is left."""
        with query.watch("matching"):
            features = query.upright
            labels = self._recognition.at(features.keypoints, features.image_size)
            return [self._match(features, labels, image) for image in images]

    def _match(self, features: LocalFeatures, labels: NDArray[np.uint16], image: MapImage) -> Matches:
        seen = np.flatnonzero(image.point_rows != NO_POINT)
        of_points = self._labels[image.point_rows[seen]]
        found = match_by_instance(self.matcher, features, labels, image.features.take(seen), of_points)
        return Matches(np.column_stack((found.pairs[:, 0], seen[found.pairs[:, 1]])).astype(np.int32), found.scores)


def _strength(evidence: Evidence) -> tuple[bool, int, int]:
    return not evidence.is_by_chance, evidence.num_inliers, len(evidence.correspondences)
