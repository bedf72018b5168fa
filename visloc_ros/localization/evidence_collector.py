"""2D-3D evidence gathered over reference images until the pose is sure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.geometry import SE3
from visloc_ros.core.map import NO_POINT, Map, MapImage
from visloc_ros.features.types import Matcher, Matches
from visloc_ros.localization.config import AnchorConfig
from visloc_ros.localization.evidence import Correspondences, Evidence, EvidenceSolver, Query, lift, merge
from visloc_ros.localization.view_change import ViewOverlap


@dataclass(frozen=True, eq=False)
class CovisibilityCluster:
    """References that see common points, directly or through each other, those points' rows, and the evidence."""

    point_rows: NDArray[np.int32]
    evidence: Evidence


class EvidenceCollector:
    """Matches a query against references of a map, one after another, and merges the evidence of covisible ones.

    Two places that look alike are solved apart (covisibility clustering, Sarlin et al. 2019): their matches agree on
    no common pose and would only outvote each other.
    """

    def __init__(self, map_: Map, matcher: Matcher, config: AnchorConfig) -> None:
        self.map = map_
        self.matcher = matcher
        self.config = config
        self._solver = EvidenceSolver(map_, config.pose)

    def gather(self, query: Query, candidates: Iterable[Sequence[int]], prior: SE3 | None = None) -> Evidence:
        """Evidence of the best cluster of map images; ``candidates`` are rows by rank, matched until one suffices."""
        clusters: list[CovisibilityCluster] = []
        for rows in self._batches(candidates):
            images = [self.map.images[row] for row in rows]
            for image, matches in zip(images, self._match(query, images), strict=True):
                clusters = self._add(query, clusters, image, matches)
            clusters = [self._solve(query, cluster, prior, self.config.stop_inliers) for cluster in clusters]
            sure = next((cluster.evidence for cluster in clusters if self._is_sure(cluster.evidence)), None)
            if sure is not None:
                return self._solver.with_rival(query, sure, [cluster.evidence for cluster in clusters])
        solved = [self._solve(query, cluster, prior, self.config.min_matches).evidence for cluster in clusters]
        best = max(solved, key=lambda one: (one.num_inliers, len(one.correspondences)), default=Evidence())
        return self._solver.with_rival(query, best, solved)

    def gather_around(self, query: Query, found: Evidence, overlap: ViewOverlap, prior: SE3 | None) -> Evidence:
        """Evidence from the map images around a pose that was found otherwise."""
        assert found.solution is not None
        with query.watch("retrieval"):
            rows = overlap.rank(found.solution.map_from_camera, query.frame.camera, self.config.top_k)
        evidence = self.gather(query, [rows], prior)
        return replace(evidence, rival=evidence.rival or found.rival)

    def _batches(self, candidates: Iterable[Sequence[int]]) -> Iterator[Sequence[int]]:
        for rows in candidates:
            for start in range(0, len(rows), self.matcher.batch_size):
                yield rows[start : start + self.matcher.batch_size]

    def _match(self, query: Query, images: Sequence[MapImage]) -> list[Matches]:
        with query.watch("matching"):
            return self.matcher.match_many(query.features, [image.features for image in images])

    def _add(
        self, query: Query, clusters: list[CovisibilityCluster], image: MapImage, matches: Matches
    ) -> list[CovisibilityCluster]:
        """The clusters with one more image; clusters that it connects become one."""
        with query.watch("merge"):
            point_rows = image.point_rows[image.point_rows != NO_POINT]
            connected = [cluster for cluster in clusters if self._is_covisible(cluster, point_rows)]
            rows = np.unique(np.concatenate([point_rows, *(cluster.point_rows for cluster in connected)]))
        with query.watch("correspondences"):
            evidence = _join(
                [cluster.evidence for cluster in connected], lift(matches, image), len(matches), image.name
            )
        return [*(cluster for cluster in clusters if cluster not in connected), CovisibilityCluster(rows, evidence)]

    def _is_covisible(self, cluster: CovisibilityCluster, point_rows: NDArray[np.int32]) -> bool:
        return int(np.isin(point_rows, cluster.point_rows).sum()) >= self.config.min_shared_points

    def _solve(
        self, query: Query, cluster: CovisibilityCluster, prior: SE3 | None, min_correspondences: int
    ) -> CovisibilityCluster:
        """The cluster with its pose, once it has enough correspondences."""
        evidence = cluster.evidence
        if evidence.solution is not None or len(evidence.correspondences) < min_correspondences:
            return cluster
        return replace(cluster, evidence=self._solver.solve(query, evidence, prior))

    def _is_sure(self, evidence: Evidence) -> bool:
        support, config = evidence.support, self.config
        if support is None or support.num_inliers < config.stop_inliers or support.spread < config.stop_spread:
            return False
        return support.refusal(config.max_risk) is None


def _join(parts: Sequence[Evidence], correspondences: Correspondences, num_matches: int, reference: str) -> Evidence:
    """Evidence of several parts and of one more reference, its pose yet to be found."""
    return Evidence(
        merge([*(part.correspondences for part in parts), correspondences]),
        sum(part.num_matches for part in parts) + num_matches,
        (*(name for part in parts for name in part.references), reference),
    )
