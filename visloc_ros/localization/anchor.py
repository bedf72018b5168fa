"""The anchor engine: one image in; its pose in the map, or the reason why not, out."""

from __future__ import annotations

from collections.abc import Iterator

from visloc_ros.core.camera import check_image_size
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.map import LocalFeatures, Map
from visloc_ros.core.timing import Stopwatch
from visloc_ros.core.types import AnchorPose, Frame, MapIdentity, Reason, Rejection
from visloc_ros.features import LocalExtractor, Matcher, make_extractor, make_matcher
from visloc_ros.localization.config import AnchorConfig
from visloc_ros.localization.evidence import Evidence, EvidenceCollector, Query
from visloc_ros.localization.gates import find_fault, is_focal_length_wrong, spread
from visloc_ros.localization.guided import GuidedSearch
from visloc_ros.localization.map_warp import MapWarp, measure_warp
from visloc_ros.localization.models import check_models, global_index
from visloc_ros.localization.pose import PoseSolution, solve_pose_and_focal_length
from visloc_ros.localization.retrieval import ViewOverlap, rank_by_descriptor


class AnchorEngine:
    """Finds single images in a map; the map and the models are loaded once, nothing is kept between frames.

    Raises MapError when the map was made by other models than ``extractor`` (default: made from the configuration).
    """

    def __init__(
        self,
        map_: Map,
        config: AnchorConfig | None = None,
        extractor: LocalExtractor | None = None,
        matcher: Matcher | None = None,
    ) -> None:
        self.map = map_
        self.config = config or AnchorConfig()
        self.extractor = extractor or make_extractor(self.config.features)
        check_models(map_, self.extractor)
        self.matcher = matcher or make_matcher(self.config.matcher, self.extractor.info.name)
        self._describer, self._descriptors = global_index(map_, self.config.global_descriptor)
        self._overlap = ViewOverlap(map_)
        self._guided = GuidedSearch(map_, self.config)
        self._collector = EvidenceCollector(map_, self.matcher, self.config)
        self._warp = measure_warp(map_, self.config.pose)

    @property
    def map_identity(self) -> MapIdentity:
        """The map that is searched."""
        return self.map.identity

    def localize(
        self, frame: Frame, prior: SE3 | None = None, features: LocalFeatures | None = None
    ) -> AnchorPose | Rejection:
        """Find ``map_from_camera`` of a frame; ``prior``, a predicted one, says where to look first.

        ``features`` are those of the frame where they are known already. Raises CalibrationError when the image has
        another size than its calibration.
        """
        return self.find(self.look_at(frame, features), prior)

    def look_at(self, frame: Frame, features: LocalFeatures | None = None) -> Query:
        """The first half of ``localize``, which takes no prior: one that is made meanwhile is not missed."""
        check_image_size(frame.camera, frame.image.shape[1], frame.image.shape[0])
        watch = Stopwatch()
        if features is None:
            with watch("features"):
                features = self.extractor.extract(frame.image)
        return Query(frame, features, watch)

    def find(self, query: Query, prior: SE3 | None = None) -> AnchorPose | Rejection:
        """The second half of ``localize``."""
        if len(query.features) < self.config.min_features:
            return _reject(query, Reason.FEW_FEATURES, Evidence())
        if prior is not None and self.config.guided.enabled:
            anchor = self._find_around(query, prior)
            if anchor is not None:
                return anchor
        answer = self._judge(query, self._collector.gather(query, self._references(query, prior), prior))
        if isinstance(answer, AnchorPose) and self.config.guided.refine:
            return self._find_around(query, answer.map_from_camera) or answer
        return answer

    def _find_around(self, query: Query, prior: SE3) -> AnchorPose | None:
        """The pose from map points looked for around a known one; None where that is not enough to tell."""
        references = self._expected_references(query, prior, self.config.guided.references)
        if not references:
            return None
        evidence = self._guided.gather(query, references, prior)
        if not self._guided.is_sure(query, evidence):
            return None
        answer = self._judge(query, evidence)
        return answer if isinstance(answer, AnchorPose) else None

    def _references(self, query: Query, prior: SE3 | None) -> Iterator[list[int]]:
        """Map images worth matching: what the prior should see, then, if that is not enough, what looks alike."""
        expected = [] if prior is None else self._expected_references(query, prior, self.config.top_k_expected)
        yield expected
        yield [row for row in self._similar_references(query) if row not in expected]

    def _expected_references(self, query: Query, prior: SE3, count: int) -> list[int]:
        """Map images that share most of the view from the predicted pose."""
        with query.watch("retrieval"):
            return self._overlap.rank(prior, query.frame.camera, count)

    def _similar_references(self, query: Query) -> list[int]:
        """Map images that look most alike."""
        with query.watch("global"):
            descriptor = self._describer.describe(query.frame.image, query.features)
        with query.watch("retrieval"):
            return rank_by_descriptor(descriptor, self._descriptors, self.config.top_k)

    def _judge(self, query: Query, evidence: Evidence) -> AnchorPose | Rejection:
        """The pose of the evidence if it can be trusted, or the reason why not."""
        if len(evidence.correspondences) < self.config.min_matches:
            return _reject(query, Reason.FEW_MATCHES, evidence)
        if evidence.solution is None:
            return _reject(query, Reason.FEW_INLIERS, evidence)
        pixels, points = self._collector.pixels_and_points(query, evidence)
        solution, camera = evidence.solution, query.frame.camera
        fault = find_fault(solution, pixels, points, camera, self.config.gate)
        freed = self._with_other_focal_length(query, fault, solution, pixels, points)
        if freed is not None:
            if not self.config.refine_focal_length:
                return _reject(query, Reason.INTRINSICS_MISMATCH, evidence)
            solution, fault = freed, find_fault(freed, pixels, points, camera, self.config.gate)
        if fault is not None:
            return _reject(query, fault, evidence)
        return _accept(query, evidence, solution, pixels, points, self._warp)

    def _with_other_focal_length(
        self, query: Query, fault: Reason | None, solution: PoseSolution, pixels: Array, points: Array
    ) -> PoseSolution | None:
        """The solution with another focal length where that makes a faulty or inaccurate pose a good one, or None."""
        if fault is None and solution.median_error_px < self.config.gate.doubt_error_px:
            return None
        with query.watch("pnp"):
            freed = solve_pose_and_focal_length(pixels, points, query.frame.camera, self.config.pose)
        return freed if freed is not None and is_focal_length_wrong(solution, freed, self.config.gate) else None


def _accept(
    query: Query, evidence: Evidence, solution: PoseSolution, pixels: Array, points: Array, warp: MapWarp
) -> AnchorPose:
    of_warp = warp.covariance(solution.map_from_camera, points[solution.inliers])
    return AnchorPose(
        query.frame.stamp_ns,
        solution.map_from_camera,
        solution.covariance + of_warp,
        solution.num_inliers,
        len(evidence.correspondences),
        solution.median_error_px,
        pixels[solution.inliers],
        points[solution.inliers],
        evidence.references,
        query.watch.stage_ms,
        solution.focal_length,
        solution.shared_covariance + of_warp,
    )


def _reject(query: Query, reason: Reason, evidence: Evidence) -> Rejection:
    counts: dict[str, float] = {
        "features": len(query.features),
        "references": len(evidence.references),
        "matches": evidence.num_matches,
        "correspondences": len(evidence.correspondences),
    }
    solution = evidence.solution
    if solution is not None:
        pixels = evidence.correspondences.pixels(query.features)[solution.inliers]
        counts["inliers"] = solution.num_inliers
        counts["reprojection_error_px"] = solution.median_error_px
        counts["spread"] = spread(pixels, query.frame.camera)
    return Rejection(query.frame.stamp_ns, reason, counts, query.watch.stage_ms)
