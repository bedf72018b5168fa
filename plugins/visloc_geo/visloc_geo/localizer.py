"""Where on the earth a photo was taken, by the geotagged views of a database."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial

import numpy as np
import pycolmap
from numpy.typing import NDArray

from visloc_geo.alike_views import read_alike_views, shows_its_place
from visloc_geo.answer import GeoAnswer
from visloc_geo.common_error import CommonError
from visloc_geo.config import GeoConfig
from visloc_geo.database import GeoDatabase
from visloc_geo.descriptor_files import load_descriptors
from visloc_geo.features import ImageDescriber, feature_config, load_keypoints
from visloc_geo.likeness import count_alike
from visloc_geo.retrieval import Place, ViewIndex, places
from visloc_geo.rivals import LEAST_MATCHES, RIVAL_SHARE, decided
from visloc_geo.solving.locate import locate
from visloc_geo.solving.two_view import verify
from visloc_geo.solving.types import GeoKind, GeoReason, GeoRejection, PhotoPose, Reference, Tag
from visloc_geo.solving.view_motions import is_contradicted
from visloc_geo.solving.view_rotation import motions_of
from visloc_geo.stuck_compass import views_of_stuck_compass, words_of
from visloc_geo.tag_conflicts import TagConflicts, tag_conflicts
from visloc_geo.view import View
from visloc_ros.core.calibration import CalibrationSource, CameraCalibration
from visloc_ros.core.camera import with_focal_length
from visloc_ros.core.errors import GeoError
from visloc_ros.core.feature_files import LocalFeatures
from visloc_ros.core.geometry import SE3
from visloc_ros.core.map_layout import VLAD
from visloc_ros.core.timing import Stopwatch
from visloc_ros.core.types import Frame
from visloc_ros.features.config import GlobalConfig, MatcherConfig
from visloc_ros.features.registry import make_matcher
from visloc_ros.features.types import Matcher

_log = logging.getLogger(__name__)

_MOST_PLACES = 3
_LEAST_ALIKE = 2  # features that a photo shares with the views of a place, by their descriptors alone
_PROBES = 2  # views of a place that are matched before the others
_MIN_MATCHES = 20  # of a view that may show the same
_MIN_FEATURES = 50
_CACHED_VIEWS = 256
_CACHED_MOTIONS = 4096


@dataclass(frozen=True, eq=False)
class GeoQuery:
    """A photo, its local features in its pixels, its global descriptor (G,), and the time that these took.

    ``num_matches`` are those with views, by name, as soon as they are matched.
    """

    frame: Frame
    features: LocalFeatures
    descriptor: NDArray[np.float32]
    watch: Stopwatch
    num_matches: dict[str, int] = field(default_factory=dict)


class GeoLocalizer:
    """Locates photos among the views of a database; views without position, camera or features are left out."""

    def __init__(
        self,
        database: GeoDatabase,
        config: GeoConfig | None = None,
        model: str = VLAD,
        describer: ImageDescriber | None = None,
        matcher: Matcher | None = None,
    ) -> None:
        """Load the models, unless they are given, and the views' descriptors by ``model``.

        Raises GeoError, ConfigError or ModelError.
        """
        self.config = config or GeoConfig()
        self.frame = database.origin
        self._describer = describer or ImageDescriber(database, GlobalConfig(name=model))
        self.matcher = matcher or make_matcher(MatcherConfig(), feature_config(database).name)
        names, descriptors = load_descriptors(database, model)
        views = [database.view(name) for name in names]
        self._log = partial(_log.log, logging.INFO if self.config.verbose else logging.DEBUG)
        views = [view for view in views if view.position is not None and view.camera is not None]
        if not views:
            raise GeoError(f"no view of {database.folder} has a position and a camera: add photos with GPS tags")
        conflicts = tag_conflicts(views, self.frame, read_alike_views(database))
        if conflicts:
            _log.warning("%s", conflicts)
        self._doubtful = frozenset(conflicts.doubtful)
        self._views = [view for view in views if view.name not in conflicts.wrong]
        if not self._views:
            raise GeoError(f"no view of {database.folder} can be used: {conflicts}")
        row_of = {name: row for row, name in enumerate(names)}
        usable = [row_of[view.name] for view in self._views]
        self._common = CommonError.of_settings(database.settings(), self.frame)
        stuck = views_of_stuck_compass(self._views)
        if stuck:
            _log.warning("%s", words_of(stuck))
        self._tags = [self._tag_of(view, view.name in stuck, conflicts) for view in self._views]
        self.index = ViewIndex.of_tags(descriptors[usable], self._tags, [view.panorama for view in self._views])
        self._row_of = {view.name: row for row, view in enumerate(self._views)}
        self._keypoints = lru_cache(_CACHED_VIEWS)(lambda name: load_keypoints(database, name))
        self._motions_between = lru_cache(_CACHED_MOTIONS)(self._find_motions)

    def _tag_of(self, view: View, is_stuck: bool, conflicts: TagConflicts) -> Tag:
        """The tag of a view without a stuck compass's heading; pitch and roll of a registered one are as certain."""
        tag = Tag.of_view(view, self.frame)
        if view.name in conflicts.heights:
            tag = replace(tag, height_sigma_m=math.hypot(tag.height_sigma_m, conflicts.heights_off_m))
        if is_stuck:
            return replace(tag, heading_sigma_deg=np.inf)
        if not view.is_registered or view.orientation is None or view.orientation.sigma_deg is None:
            return tag
        return replace(tag, tilt_sigma_deg=view.orientation.sigma_deg)

    def locate(self, frame: Frame, prior: View | None = None) -> GeoAnswer:
        """Find where a photo was taken.

        ``prior`` has the position and orientation that the photo's own metadata state, where these are to be used. A
        wrong one costs time and forces no answer.
        """
        return self.solve(self.extract(frame), prior)

    def extract(self, frame: Frame) -> GeoQuery:
        """Describe a photo as the views are."""
        watch = Stopwatch()
        with watch("describe"):
            features, descriptor = self._describer.describe(frame.image)
        return GeoQuery(frame, features, descriptor, watch)

    def solve(self, query: GeoQuery, prior: View | None = None) -> GeoAnswer:
        """Find where a photo that is described was taken, as ``locate`` does."""
        frame, features, watch = query.frame, query.features, query.watch
        tag = None if prior is None else Tag.of_photo(prior, self.frame)
        result: PhotoPose | GeoRejection
        retrieved: Sequence[int] = ()
        if len(features) < _MIN_FEATURES:
            result = GeoRejection(GeoReason.FEW_FEATURES, {"features": float(len(features))})
        else:
            with watch("retrieve"):
                retrieved = self.index.search(query.descriptor, self.config, tag)
                alike = {row: count_alike(features, self._keypoints(self._views[row].name)) for row in retrieved}
            result = self._solve_among(query, self._places(alike), tag)
            if isinstance(result, PhotoPose):
                rivals = (self._locate_at(query, one, tag) for one in self._rivals(alike, result))
                result = decided(result, rivals, tag)
            if isinstance(result, PhotoPose):
                result = self._unless_mirrored(query, result)
        names = tuple(self._views[row].name for row in retrieved)
        calibration = _as_estimated(frame.calibration, result)
        return GeoAnswer(frame.stamp_ns, frame.name, self.frame, result, watch.stage_ms, calibration, names)

    def _unless_mirrored(self, query: GeoQuery, found: PhotoPose) -> PhotoPose | GeoRejection:
        """A pose, or none if the photo shares more with the views of that while left and right are exchanged.

        A facade is often as good as symmetrical: its mirror image fits it at a wrong pose, except for some details.
        """
        names = sorted(
            query.num_matches.keys() & {*found.references, found.best_tag.view}, key=query.num_matches.__getitem__
        )
        with query.watch("match"):
            features, _ = self._describer.describe(np.ascontiguousarray(query.frame.image[:, ::-1]))
            matched = self._match_views(features, [self._row_of[name] for name in names[-_PROBES:]])
        as_it_is = sum(query.num_matches[name] for name in names[-_PROBES:])
        mirrored = sum(len(one.matches) for one in matched)
        if mirrored <= as_it_is:
            return found
        counts = {"matches": float(as_it_is), "matches_mirrored": float(mirrored)}
        return GeoRejection(GeoReason.MIRRORED, counts, found.best_tag)

    def _places(self, alike: Mapping[int, int]) -> list[Place]:
        """Retrieved views as places, those first that share most with the photo; without the hopeless ones.

        ``alike`` are the features that each shares with it, in the order of retrieval.
        """
        scores = [count + 1.0 / (2.0 + rank) for rank, count in enumerate(alike.values())]
        found = places(list(alike), scores, self.index.positions, self.config)
        return [place for place in found[:_MOST_PLACES] if place.score >= _LEAST_ALIKE]

    def _rivals(self, alike: Mapping[int, int], found: PhotoPose) -> list[Place]:
        """Other places than that of a pose, with a view that shares about as much with the photo."""
        distances = np.linalg.norm(self.index.positions[list(alike)] - found.position[:2], axis=1)
        is_far = dict(zip(alike, distances > self.config.cameras_distance_thr, strict=True))
        most = max((count for row, count in alike.items() if not is_far[row]), default=0)
        others = self._places({row: count for row, count in alike.items() if is_far[row]})
        least = 0.5 * RIVAL_SHARE * most  # of features that are alike, some of which are no matches
        return [one for one in others if max(alike[row] for row in one.rows) >= least]

    def _solve_among(self, query: GeoQuery, candidates: Sequence[Place], tag: Tag | None) -> PhotoPose | GeoRejection:
        """The pose at the first place whose points determine it, else what is known of the place that shares most."""
        others = list[PhotoPose | GeoRejection]()
        for place in candidates:
            result = self._locate_at(query, place, tag)
            if isinstance(result, PhotoPose) and result.kind is GeoKind.SOLVED:
                return result
            others.append(result)
        return max(others, key=_support, default=GeoRejection(GeoReason.NOTHING_ALIKE))

    def _locate_at(self, query: GeoQuery, place: Place, tag: Tag | None) -> PhotoPose | GeoRejection:
        """The pose by the views of one place."""
        with query.watch("match"):
            references = self._match(query.features, place)
        query.num_matches.update((one.name, len(one.matches)) for one in references)
        with query.watch("solve"):
            result = self._locate_by(query, references, tag)
            if isinstance(result, GeoRejection) and result.reason is GeoReason.TAGS_CONTRADICT:
                result = self._locate_by(query, self._near_best(references, result), tag)
        result = self._without_doubtful(result)
        self._log(f"{query.frame.name}: {len(references)} of {len(place.rows)} views may show the same: {result}")
        return result

    def _without_doubtful(self, found: PhotoPose | GeoRejection) -> PhotoPose | GeoRejection:
        """The same without views whose tags contradict others': no pose by them, and no tag of theirs."""
        if isinstance(found, PhotoPose):
            is_doubtful = not self._doubtful.isdisjoint((*found.references, found.best_tag.view))
            counts = {"inliers": float(len(found.inliers))}
            return GeoRejection(GeoReason.TAGS_CONTRADICT, counts) if is_doubtful else found
        is_doubtful = found.best_tag is not None and found.best_tag.view in self._doubtful
        return replace(found, best_tag=None) if is_doubtful else found

    def _locate_by(self, query: GeoQuery, references: Sequence[Reference], tag: Tag | None) -> PhotoPose | GeoRejection:
        if not references:
            return GeoRejection(GeoReason.FEW_MATCHES, {"references": 0.0})
        frame, pixels = query.frame, query.features.keypoints.astype(np.float64)
        focal_sigma = _focal_sigma(frame.calibration, references)
        found = locate(frame.camera, pixels, references, self.config.solving, tag, focal_sigma, self._common)
        if isinstance(found, PhotoPose) and is_contradicted(found, self._motions_between):
            counts = {"inliers": float(len(found.inliers)), "views": float(len(found.views))}
            return GeoRejection(GeoReason.VIEWS_CONTRADICT, counts, found.best_tag)
        return _judged(found, len(pixels))

    def _find_motions(self, one: str, other: str) -> Sequence[SE3]:
        """The motions ``one_from_other`` that explain the matches of two views, of length 1; none without enough.

        Views far from each other along a street have few right matches, and wrong ones that agree with a motion.
        """
        first = self._views[self._row_of[one]]
        features = self._keypoints(one)
        assert first.camera is not None
        pixels, references = features.keypoints.astype(np.float64), self._match_views(features, [self._row_of[other]])
        verified = verify(first.camera, pixels, references, self.config.solving)
        sure = (view for view in verified if len(view.matches) >= LEAST_MATCHES)
        return [motion for view in sure for motion in motions_of(first.camera, pixels, view)]

    def _near_best(self, references: Sequence[Reference], found: GeoRejection) -> list[Reference]:
        """The views around the best one: others of a place may show its twin at the other end of a street."""
        assert found.best_tag is not None
        positions = np.array([one.tag.position for one in references])
        distances = np.linalg.norm((positions - found.best_tag.position)[:, :2], axis=1)
        is_near = distances <= self.config.cameras_distance_thr
        return [one for one, near in zip(references, is_near, strict=True) if near]

    def _match(self, features: LocalFeatures, place: Place) -> list[Reference]:
        """Views of a place that share enough matches with a photo; the others only if one of the first ones does."""
        references = self._match_views(features, place.rows[:_PROBES])
        return references + self._match_views(features, place.rows[_PROBES:]) if references else []

    def _match_views(self, features: LocalFeatures, rows: Sequence[int]) -> list[Reference]:
        others = [self._keypoints(self._views[row].name) for row in rows]
        matched = self.matcher.match_many(features, others)
        references = (
            Reference.of_view(self._views[row], self._tags[row], keypoints, found)
            for row, keypoints, found in zip(rows, others, matched, strict=True)
        )
        return [reference for reference in references if len(reference.matches) >= _MIN_MATCHES]


def _focal_sigma(calibration: CameraCalibration | None, references: Sequence[Reference]) -> float:
    """Relative standard deviation of a photo's focal length beside that of the views.

    What EXIF data state is as wrong for views by the same camera, and then moves no photo among them.
    """
    if calibration is None:
        return 0.0
    is_same = all(_have_same_focal_length(calibration.camera, one.camera) for one in references)
    return 0.0 if is_same and calibration.source is CalibrationSource.EXIF else calibration.focal_sigma


def _have_same_focal_length(one: pycolmap.Camera, other: pycolmap.Camera) -> bool:
    is_same_size = (one.width, one.height) == (other.width, other.height)
    return is_same_size and math.isclose(one.mean_focal_length(), other.mean_focal_length(), rel_tol=1e-4)


def _as_estimated(calibration: CameraCalibration | None, result: PhotoPose | GeoRejection) -> CameraCalibration | None:
    """The calibration that a pose holds for, with the focal length that was estimated with it."""
    if calibration is None or isinstance(result, GeoRejection) or not result.focal_sigma:
        return calibration
    focal_length = calibration.camera.mean_focal_length() * math.exp(result.log_focal)
    camera = with_focal_length(calibration.camera, focal_length)
    return CameraCalibration(camera, CalibrationSource.ESTIMATED, result.focal_sigma)


def _judged(result: PhotoPose | GeoRejection, num_keypoints: int) -> PhotoPose | GeoRejection:
    """The answer, unless it is a tag of a view that is not near, or that may not show the same place at all.

    Points that three images agree on prove a place. Matches with one view do so only if they are many.
    """
    if isinstance(result, GeoRejection) or result.kind is GeoKind.SOLVED:
        return result
    if shows_its_place(len(result.inliers), num_keypoints):
        return result
    counts = {"inliers": float(len(result.inliers)), "keypoints": float(num_keypoints)}
    return GeoRejection(GeoReason.ONE_FAR_VIEW, counts, result.best_tag)


def _support(result: PhotoPose | GeoRejection) -> int:
    return 0 if result.best_tag is None else result.best_tag.num_inliers
