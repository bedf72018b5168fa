"""The anchor engine: from one image, its pose in the map or the reason why there is none."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from weakref import WeakKeyDictionary

from visloc_ros.core.calibration import GUESSED_FOCAL_SIGMA, CalibrationSource, CameraCalibration
from visloc_ros.core.camera import check_image_size, with_focal_length
from visloc_ros.core.errors import MapError
from visloc_ros.core.geometry import SE3
from visloc_ros.core.map import LocalFeatures, Map
from visloc_ros.core.map_image import PagedImage
from visloc_ros.core.timing import Stopwatch
from visloc_ros.core.types import AnchorPose, Frame, Image, MapIdentity, Reason, Rejection
from visloc_ros.features import LocalExtractor, Matcher, make_extractor
from visloc_ros.features.registry import similarity_beside
from visloc_ros.localization.answers import accept, landmarks_of, reject
from visloc_ros.localization.calibration_doubt import CalibrationDoubts, contradicting_solution
from visloc_ros.localization.camera_estimation import (
    MAX_FOCAL_SIGMA,
    CameraEstimator,
    CameraView,
    combined_focal_length,
    most_agreeing,
)
from visloc_ros.localization.config import AnchorConfig
from visloc_ros.localization.evidence import (
    RIVAL_SHARE,
    Evidence,
    EvidenceSolver,
    Query,
    is_elsewhere,
)
from visloc_ros.localization.fit_to_map import FitToMap
from visloc_ros.localization.guided import GuidedSearch
from visloc_ros.localization.image_copies import MOST_TURNS, CopyChooser, ImageCopy
from visloc_ros.localization.map_cameras import cameras_for_size
from visloc_ros.localization.map_uncertainty import map_uncertainty
from visloc_ros.localization.models import check_models
from visloc_ros.localization.prefetching import Prefetcher
from visloc_ros.localization.search_hint import SearchHint
from visloc_ros.localization.searchable_map import open_map_for_search
from visloc_ros.localization.strategy import Searcher
from visloc_ros.localization.view_change import Viewpoints

log = logging.getLogger(__name__)

_AS_LIKELY_AS_NOT = 0.5
_READ_AHEAD = 2  # times the images that a search around a prediction needs
_MIN_FEATURES = 32  # with fewer, the matches that a pose needs would all have to be right


class AnchorEngine:
    """Finds single images in a map; the map and the models are loaded once.

    The only state between frames is about cameras, from frames that are found: the intrinsics of uncalibrated ones,
    doubts about given ones, and whether they stand upside down or on their side.

    ``searcher`` searches the map, where it exists already. An image that is not found is searched at half its size, and
    turned by ``most_turns`` of the three other quarter turns; one suffices where the next image of the camera follows
    soon.
    Raises MapError when the map was made by other models than ``extractor`` (default: made from the configuration).
    """

    def __init__(
        self,
        map_: Map,
        config: AnchorConfig | None = None,
        extractor: LocalExtractor | None = None,
        matcher: Matcher | None = None,
        searcher: Searcher | None = None,
        most_turns: int = MOST_TURNS,
    ) -> None:
        self.config = config or AnchorConfig()
        self.extractor = extractor or make_extractor(self.config.features)
        check_models(map_, self.extractor, self.config.search)
        self._searcher = searcher or open_map_for_search(map_, self.config, self.extractor, matcher)
        of_map, searched = map_uncertainty(map_, self.config.pose), self._searcher.map
        self._is_reduced = searched.points is not map_.points
        if self._is_reduced:  # its images show its points, not their own keypoints: nothing can be measured by them
            searched = replace(searched, manifest=replace(searched.manifest, uncertainty=of_map.info))
        self.map = searched
        """The map that the searcher uses: the whole one, or the one prepared for its way of searching."""
        self._solver = EvidenceSolver(self.map, self.config.pose)
        compare = similarity_beside(self._searcher.matcher)
        self._guided = GuidedSearch(self.map, self.config, self._searcher.min_similarity, compare)
        self.fit = FitToMap(map_, self.config.pose)
        self.map_uncertainty = replace(of_map, map=self.map)
        self.map_uncertainty.prepare()
        self._estimators: WeakKeyDictionary[CameraCalibration, CameraEstimator] = WeakKeyDictionary()
        self._doubts = CalibrationDoubts(self.config.pose)
        self._copies = CopyChooser(most_turns)
        self._prefetcher = self._make_prefetcher()

    def _make_prefetcher(self) -> Prefetcher | None:
        """The reader of what the next search needs; None where all of the map is in memory.

        What every search needs of a map on disk is read now.
        """
        if not any(isinstance(image, PagedImage) for image in self.map.images[:1]):
            return None
        self._guided.prepare()
        return Prefetcher(self.map.images, self._searcher.overlap, _READ_AHEAD * self.config.guided.references)

    @property
    def map_identity(self) -> MapIdentity:
        """The map that is searched."""
        return self.map.identity

    @property
    def matcher(self) -> Matcher:
        """The matcher of the keypoints of two images; another engine may share it."""
        return self._searcher.matcher

    def localize(
        self,
        frame: Frame,
        prior: SE3 | None = None,
        features: LocalFeatures | None = None,
        hint: SearchHint | None = None,
    ) -> AnchorPose | Rejection:
        """Find ``map_from_camera`` of a frame; ``prior``, a predicted one, says where to look first.

        ``features`` are those of the frame where they are known already: no copy of it is then searched. A pose that
        contradicts ``hint`` is refused.
        Raises CalibrationError when the image has another size than its calibration, MapError or ConfigError for a hint
        that the map or the way of searching cannot use.
        """
        return self.solve(replace(self.extract(frame, features), hint=hint), prior)

    def extract(self, frame: Frame, features: LocalFeatures | None = None) -> Query:
        """The first half of ``localize``, without the prior: one that arrives meanwhile can still be used."""
        check_image_size(frame.camera, frame.image.shape[1], frame.image.shape[0])
        if features is not None:
            return Query(frame, features, Stopwatch())
        return self._extract_batch([frame])[0]

    def extract_many(self, frames: Sequence[Frame]) -> list[Query]:
        """``extract`` for several frames, in the batches that suit the extractor.

        The time of "features" is that of a batch divided by its images. Raises CalibrationError as ``localize`` does.
        """
        for frame in frames:
            check_image_size(frame.camera, frame.image.shape[1], frame.image.shape[0])
        size = self.extractor.batch_size
        batches = [frames[start : start + size] for start in range(0, len(frames), size)]
        return [query for batch in batches for query in self._extract_batch(batch)]

    def _extract_batch(self, frames: Sequence[Frame]) -> list[Query]:
        watch, copies = Stopwatch(), [self._copies.expected(frame.calibration) for frame in frames]
        with watch("features"):
            images = [self._copied(frame, copy) for frame, copy in zip(frames, copies, strict=True)]
            found = self.extractor.extract_many(images)
        queries = [Query(frame, one, watch.divided(len(frames))) for frame, one in zip(frames, found, strict=True)]
        return [_by_copy(query, one, copy) for query, one, copy in zip(queries, found, copies, strict=True)]

    def _copied(self, frame: Frame, copy: ImageCopy) -> Image:
        return copy.of(frame.image, self.config.features.resize_max)

    def solve(self, query: Query, prior: SE3 | None = None) -> AnchorPose | Rejection:
        """The second half of ``localize``."""
        self._check_hint(query.hint)
        answer, calibration = self._solve(query, prior), query.frame.calibration
        if isinstance(answer, Rejection) and query.is_thorough and query.by_copy:
            for copy in self._copies.others(calibration, answer.reason):
                other = self._of_copy(query, copy)
                found = self._solve(other, prior)
                if isinstance(found, AnchorPose):
                    query, answer = other, found
                    break
        if isinstance(answer, AnchorPose):
            self._copies.found(calibration, query.copy)
            if self._prefetcher is not None:
                self._prefetcher.found(query.frame, answer.map_from_camera)
        elif query.hint is not None and query.hint.excludes_all(self._views):
            answer = replace(answer, reason=Reason.HINT_EXCLUDES_ALL)
        return replace(answer, stage_ms=query.watch.stage_ms)

    @cached_property
    def _views(self) -> Viewpoints:
        return Viewpoints.of_map(self.map)

    def _of_copy(self, query: Query, copy: ImageCopy) -> Query:
        """The query with features of another copy of the image."""
        with query.watch("features"):
            if copy not in query.by_copy:
                query.by_copy[copy] = self.extractor.extract(self._copied(query.frame, copy))
        risk_share = self._copies.risk_share(query.frame.calibration, copy)
        return replace(_by_copy(query, query.by_copy[copy], copy), risk_share=risk_share)

    def _solve(self, query: Query, prior: SE3 | None) -> AnchorPose | Rejection:
        if len(query.features) < _MIN_FEATURES:
            return reject(query, Reason.FEW_FEATURES, Evidence())
        calibration = query.frame.calibration
        estimator = self._estimator_of(calibration)
        if estimator is not None and not estimator.is_settled:
            return self._find_with_unknown_camera(query, estimator, prior)
        in_use = calibration if estimator is None else estimator.calibration
        known = query if estimator is None else _with_calibration(query, estimator.calibration)
        answer = self._find_in_doubt(known, prior)
        if calibration is not None and (views := self._doubts.change(in_use)):
            self._estimate_anew(calibration, views)
        return answer

    def _find_in_doubt(self, query: Query, prior: SE3 | None) -> AnchorPose | Rejection:
        """The pose by the query's camera, unless the focal length of latest frames that contradict it finds more.

        The matches around the pose of a wrong camera are those that hide that it is wrong.
        """
        in_use = query.frame.calibration
        suspicion = {} if in_use is None else self._doubts.suspicion(in_use)
        answer = self._find(query, prior)
        if in_use is None or not suspicion or not isinstance(answer, AnchorPose):
            return answer
        focal_length, sigma = combined_focal_length(most_agreeing(list(suspicion.values())))
        camera = with_focal_length(in_use.camera, focal_length)
        suspected = CameraCalibration(camera, CalibrationSource.ESTIMATED, sigma)
        other = self._find(_with_calibration(query, suspected), prior)
        if not isinstance(other, AnchorPose) or other.num_inliers <= answer.num_inliers:
            return answer
        self._doubts.insist(in_use, suspicion, query.frame, other)
        return Rejection(query.frame.stamp_ns, Reason.INTRINSICS_MISMATCH, stage_ms=query.watch.stage_ms)

    def _check_hint(self, hint: SearchHint | None) -> None:
        if hint is not None and hint.needs_up and not self.map_identity.gravity_aligned:
            raise MapError(
                f"a heading, or a position without its height, says nothing in the map '{self.map.name}', which does "
                "not know which way is up: level it with 'visloc align-map', or leave them out"
            )

    def best_calibration(self, calibration: CameraCalibration) -> CameraCalibration:
        """The best calibration so far of the camera whose frames carry this one; frames that are found improve it."""
        estimator = self._estimator_of(calibration)
        return calibration if estimator is None or estimator.calibration.is_provisional else estimator.calibration

    def has_settled(self, calibration: CameraCalibration) -> bool:
        """Whether further frames of the camera with this calibration will not change ``best_calibration``."""
        estimator = self._estimator_of(calibration)
        return estimator is None or estimator.is_settled

    def _estimator_of(self, calibration: CameraCalibration | None) -> CameraEstimator | None:
        """The camera estimated from earlier frames that carry this calibration; None where it is calibrated."""
        if calibration is None:
            return None
        if calibration.is_provisional and calibration not in self._estimators:
            prior = replace(calibration)  # an estimator that held its own key would never be forgotten
            self._estimators[calibration] = self._new_estimator(prior)
        return self._estimators.get(calibration)

    def _new_estimator(self, prior: CameraCalibration, whole_focal_length: float = math.inf) -> CameraEstimator:
        cameras = {id(image.camera): image.camera for image in self.map.images}.values()
        of_map = cameras_for_size(cameras, prior.camera.width, prior.camera.height)
        return CameraEstimator(prior, of_map, self.config.pose, whole_focal_length)

    def _estimate_anew(self, calibration: CameraCalibration, views: Sequence[CameraView]) -> None:
        """Begin with these frames to estimate a camera whose focal length has changed."""
        before = self.best_calibration(calibration).camera.mean_focal_length()
        known = calibration.source, calibration.focal_sigma
        source, sigma = known if calibration.is_provisional else (CalibrationSource.GUESSED, GUESSED_FOCAL_SIGMA)
        earlier = self._estimators.get(calibration)
        whole = before if earlier is None else min(before, earlier.whole_focal_length)
        estimator = self._new_estimator(CameraCalibration(calibration.camera, source, sigma), whole)
        for view in views:
            estimator.add(view)
        self._estimators[calibration] = estimator
        log.warning(
            "a camera's focal length has changed (zoom, another lens, cropped images): %d images in a row show %.0f px "
            "to %.0f %% instead of %.0f px; it is estimated anew",
            len(views),
            estimator.calibration.camera.mean_focal_length(),
            100.0 * estimator.calibration.focal_sigma,
            before,
        )

    def _find_with_unknown_camera(
        self, query: Query, estimator: CameraEstimator, prior: SE3 | None
    ) -> AnchorPose | Rejection:
        """The pose, where this frame and earlier ones determine the focal length well enough and agree on it."""
        blind, evidence = replace(query, cameras=estimator.candidates), Evidence()
        reason: Reason | None = Reason.FEW_MATCHES
        views: list[CameraView] = []  # of this one image, the newest last
        for attempts, evidence in enumerate(self._searcher.gather(blind, prior), start=1):
            reason = self._refusal_of(query, evidence) or self._learn_camera(query, evidence, estimator, views)
            if reason is None:
                return _after(attempts, self._refine(_with_calibration(query, estimator.calibration), evidence))
        assert reason is not None
        return reject(query, reason, evidence)

    def _refusal_of(self, query: Query, evidence: Evidence, around: Sequence[Evidence] = ()) -> Reason | None:
        """Why evidence must not be trusted, whichever the camera is, or None.

        Where no search around a pose confirmed its place, evidence has to be as sure as both together; where it fits
        the map only roughly, it may have a share of the risk.
        """
        if evidence.refusal is not None:
            return evidence.refusal
        if len(evidence.correspondences) < self.config.min_matches:
            return Reason.FEW_MATCHES
        if evidence.solution is None:
            return Reason.FEW_INLIERS
        assert evidence.support is not None
        searched = [self._confirms(one, evidence) for one in around if one.support is not None]
        is_doubtful = bool(searched) and not any(searched)
        share = query.risk_share * self.fit.risk_share(evidence.solution)
        return evidence.support.refusal(share * self.config.max_risk ** (2 if is_doubtful else 1))

    def _learn_camera(
        self, query: Query, evidence: Evidence, estimator: CameraEstimator, views: list[CameraView]
    ) -> Reason | None:
        """Update the camera's estimate by the evidence; why its pose must not be trusted nevertheless, or None.

        It replaces earlier evidence of the same image.
        """
        pixels, points = self._solver.pixels_and_points(query, evidence)
        assert evidence.solution is not None
        view = CameraView.from_solution(evidence.solution, pixels, points, self.config.pose)
        if not view.is_plausible:
            return Reason.FEW_INLIERS
        estimator.add(view, instead_of=views[-1] if views else None)
        views.append(view)
        if estimator.calibration.focal_sigma > MAX_FOCAL_SIGMA:
            return Reason.UNKNOWN_INTRINSICS
        return None if view.agrees_with(estimator.calibration) else Reason.INTRINSICS_MISMATCH

    def _refine(self, query: Query, evidence: Evidence) -> AnchorPose | Rejection:
        """The pose of evidence that was gathered with another camera."""
        return self._answer(query, [self._solver.solve(query, evidence)])

    def _find(self, query: Query, prior: SE3 | None) -> AnchorPose | Rejection:
        """The pose of a frame whose camera is known."""
        if prior is not None and self.config.guided.enabled:
            anchor = self._answer_if_sure(query, self.gather_around(query, prior))
            if anchor is not None:
                return anchor
        return self._answer(query, self._searcher.gather(query, prior))

    def _answer(self, query: Query, gathered: Iterable[Evidence]) -> AnchorPose | Rejection:
        """The pose from all points around the first one for which they suffice, or that of the evidence.

        Evidence that suffices, and is confirmed by the points in view of its pose, ends the search, too. Where the map
        is reduced to few points, evidence that these speak against is not trusted.
        """
        evidence, around, attempts = Evidence(), [], 0
        for attempts, evidence in enumerate(gathered, start=1):
            if evidence.refusal is not None:
                query.judged.append((query.features, evidence))
                return reject(query, evidence.refusal, evidence)
            if evidence.solution is not None and self.config.guided.enabled:
                around.append(self.gather_around(query, evidence.solution.map_from_camera, evidence.rival))
                anchor = self._answer_if_sure(query, around[-1])
                if anchor is not None:
                    return _after(attempts, anchor)
                if self._confirms(around[-1], evidence) and self._refusal_of(query, evidence) is None:
                    break
        return _after(attempts, self._judge(query, evidence, around if self._is_reduced else ()))

    def _confirms(self, around: Evidence, evidence: Evidence) -> bool:
        """Whether the points in view, searched around a pose, make the place of the evidence more likely than not."""
        solution, found, support = evidence.solution, around.solution, around.support
        if solution is None or found is None or support is None or support.probability < _AS_LIKELY_AS_NOT:
            return False
        return not is_elsewhere(solution, self.map.points[evidence.inlier_rows], found)

    def gather_around(self, query: Query, prior: SE3, rival: Evidence | None = None) -> Evidence:
        """Evidence from map points searched around a known pose; none where nothing of the map is in view."""
        references = self._expected_references(query, prior, self.config.guided.references)
        return replace(self._guided.gather(query, references, prior), rival=rival) if references else Evidence()

    def _answer_if_sure(self, query: Query, evidence: Evidence) -> AnchorPose | Rejection | None:
        """The pose of evidence from points around a known one; None where these are too few to decide."""
        if query.rules_out(evidence.solution) or not self._guided.is_sure(evidence):
            return None
        answer = self._judge(query, evidence)
        is_final = isinstance(answer, AnchorPose) or answer.reason is Reason.AMBIGUOUS_PLACE
        return answer if is_final else None

    def _expected_references(self, query: Query, prior: SE3, count: int) -> list[int]:
        """Map images that share most of the view from the predicted pose."""
        with query.watch("retrieval"):
            return self._searcher.overlap.rank(prior, query.frame.camera, count)

    def _judge(self, query: Query, evidence: Evidence, around: Sequence[Evidence] = ()) -> AnchorPose | Rejection:
        """The pose of the evidence if it can be trusted, or the reason why not."""
        query.judged.append((query.features, evidence))
        reason = self._refusal_of(query, evidence, around)
        if evidence.solution is None or len(evidence.correspondences) < self.config.min_matches:
            return reject(query, reason or Reason.FEW_INLIERS, evidence)
        pixels, points = self._solver.pixels_and_points(query, evidence)
        with query.watch("pnp"):
            freed = contradicting_solution(reason, evidence.solution, pixels, points, self.config.pose)
        if freed is not None:
            self._doubts.contradicted(query.frame, freed, pixels, points)
            return reject(query, Reason.INTRINSICS_MISMATCH, evidence)
        if reason is None and self._is_ambiguous(query, evidence):
            reason = Reason.AMBIGUOUS_PLACE
        if reason is not None:
            return reject(query, reason, evidence)
        with query.watch("pnp"):
            calibration = self._doubts.seen(query.frame, evidence.solution, pixels, points)
        if calibration is None:
            return reject(query, Reason.INTRINSICS_MISMATCH, evidence)
        anchor = accept(query, evidence, pixels, points, self.map_uncertainty, calibration)
        if isinstance(anchor, Rejection):
            return anchor
        labels = self.map.point_labels
        return anchor if labels is None else replace(anchor, inlier_landmarks=landmarks_of(evidence, labels))

    def _is_ambiguous(self, query: Query, evidence: Evidence) -> bool:
        """Whether another place of the map explains the image as well."""
        rival, solution = evidence.rival, evidence.solution
        if solution is None or rival is None or rival.is_by_chance:
            return False
        if self.config.guided.enabled and rival.solution is not None:  # two poses are compared by the same search
            pose = rival.solution.map_from_camera
            references = self._expected_references(query, pose, self.config.guided.references)
            found = self._guided.gather(query, references, pose) if references else rival
            if found.solution is None or self._solver.is_rival(evidence, found):
                rival = found  # otherwise the search led back to the first place, which looks the same
        if rival.num_inliers < RIVAL_SHARE * solution.num_inliers:
            return False
        return self._solver.is_rival(evidence, rival)


def _by_copy(query: Query, features: LocalFeatures, copy: ImageCopy) -> Query:
    """The query with the features of a copy of its image."""
    query.by_copy[copy] = features
    camera = query.frame.camera
    as_given = copy.features_as_given(features, (camera.width, camera.height)).with_rays(camera)
    return replace(query, features=as_given, copy=copy)


def _after(attempts: int, answer: AnchorPose | Rejection) -> AnchorPose | Rejection:
    return replace(answer, attempts=attempts) if isinstance(answer, AnchorPose) else answer


def _with_calibration(query: Query, calibration: CameraCalibration) -> Query:
    return replace(query, frame=query.frame.with_calibration(calibration))
