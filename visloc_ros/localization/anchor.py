"""The anchor engine: one image in; its pose in the map, or the reason why not, out."""

from __future__ import annotations

from visloc_ros.core.camera import check_image_size
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.map import Map
from visloc_ros.core.timing import Stopwatch
from visloc_ros.core.types import AnchorPose, Frame, Reason, Rejection
from visloc_ros.features import LocalExtractor, Matcher, make_extractor, make_matcher
from visloc_ros.localization.config import AnchorConfig
from visloc_ros.localization.evidence import Evidence, EvidenceCollector, Query
from visloc_ros.localization.gates import find_fault, is_focal_length_wrong, spread
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
        self._vlad, self._descriptors = global_index(map_)
        self._overlap = ViewOverlap(map_)
        self._collector = EvidenceCollector(map_, self.matcher, self.config)

    def localize(self, frame: Frame, prior: SE3 | None = None) -> AnchorPose | Rejection:
        """Find ``map_from_camera`` of a frame; ``prior``, a predicted one, says which references to try first.

        Raises CalibrationError when the image has another size than its calibration.
        """
        check_image_size(frame.camera, frame.image.shape[1], frame.image.shape[0])
        watch = Stopwatch()
        with watch("features"):
            features = self.extractor.extract(frame.image)
        query = Query(frame, features, watch)
        if len(features) < self.config.min_features:
            return _reject(query, Reason.FEW_FEATURES, Evidence())
        if prior is not None:
            answer = self._match(query, self._expected_references(query, prior))
            if isinstance(answer, AnchorPose):
                return answer
        return self._match(query, self._similar_references(query))

    def _expected_references(self, query: Query, prior: SE3) -> list[int]:
        """Map images that share most of the view from the predicted pose."""
        with query.watch("retrieval"):
            return self._overlap.rank(prior, query.frame.camera, self.config.top_k)

    def _similar_references(self, query: Query) -> list[int]:
        """Map images that look most alike."""
        with query.watch("retrieval"):
            return rank_by_descriptor(self._vlad.describe(query.features), self._descriptors, self.config.top_k)

    def _match(self, query: Query, candidates: list[int]) -> AnchorPose | Rejection:
        """Pose from these map images, or the reason why not."""
        evidence = self._collector.gather(query, candidates)
        if len(evidence.correspondences) < self.config.min_matches:
            return _reject(query, Reason.FEW_MATCHES, evidence)
        if evidence.solution is None:
            return _reject(query, Reason.FEW_INLIERS, evidence)
        pixels, points = self._collector.pixels_and_points(query, evidence)
        fault = find_fault(evidence.solution, pixels, query.frame.camera, self.config.gate)
        if self._doubts_focal_length(query, fault, evidence.solution, pixels, points):
            fault = Reason.INTRINSICS_MISMATCH
        if fault is not None:
            return _reject(query, fault, evidence)
        return _accept(query, evidence, evidence.solution, pixels, points)

    def _doubts_focal_length(
        self, query: Query, fault: Reason | None, solution: PoseSolution, pixels: Array, points: Array
    ) -> bool:
        """Whether a faulty or inaccurate pose becomes a good one with another focal length."""
        if fault is None and solution.median_error_px < self.config.gate.doubt_error_px:
            return False
        with query.watch("pnp"):
            freed = solve_pose_and_focal_length(pixels, points, query.frame.camera, self.config.pose)
        return freed is not None and is_focal_length_wrong(solution, freed, self.config.gate)


def _accept(query: Query, evidence: Evidence, solution: PoseSolution, pixels: Array, points: Array) -> AnchorPose:
    return AnchorPose(
        query.frame.stamp_ns,
        solution.map_from_camera,
        solution.covariance,
        solution.num_inliers,
        len(evidence.correspondences),
        solution.median_error_px,
        pixels[solution.inliers],
        points[solution.inliers],
        evidence.references,
        query.watch.stage_ms,
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
