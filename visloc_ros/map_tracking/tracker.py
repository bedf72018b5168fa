"""The map tracker: the map points of an accepted anchor, followed through the frames after it.

The anchor's image is a view of known pose, in which its inliers, and the other map points that it should show, are
patches. In each frame the patches are searched where the predicted pose projects them, warped to their expected look;
the pose that fits the points is the frame's. Nothing slips from frame to frame, and inliers hold the pose to the map
wherever the camera goes. Once the present views show too little of the image, the last tracked image becomes a view,
too, with the uncertainty of its pose. The map's thumbnails, as reference images, correct its drift from then on.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pycolmap

from visloc_ros.core import camera as cameras
from visloc_ros.core.geometry import SE3, Array, carried_on
from visloc_ros.core.map import Map
from visloc_ros.core.plausibility import covariance_fault, shared_covariance_fault
from visloc_ros.core.tangent import move_covariance, perturbed, pose_difference
from visloc_ros.core.timing import Stopwatch
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import AnchorPose, Frame, MapIdentity, Reason, Rejection, TrackedPose
from visloc_ros.map_tracking.anchor_tracker import AnchorTracker, PredictedPose
from visloc_ros.map_tracking.config import MapTrackingConfig
from visloc_ros.map_tracking.map_points import MapPoints
from visloc_ros.map_tracking.patch_localization import LocatedImage
from visloc_ros.map_tracking.recent_images import RecentImage, RecentImages
from visloc_ros.map_tracking.reference_images import ReferenceImages, ReferenceLocalizer
from visloc_ros.map_tracking.views import GreyImage, PointObservations
from visloc_ros.odometry.frame_check import FrameCheck
from visloc_ros.tracking.lucas_kanade import fitted_window

_log = logging.getLogger(__name__)
_LONGEST_GAP_NS = NANOSECONDS // 5  # without a pose, after which it counts as found again
_LONGEST_STEP = 3.0  # intervals that the last motion is carried on
_CATCH_UP_IMAGES = 8  # at most, each some 4 ms: all images of a search of 0.3 s, or some of a slower one
FARTHEST = 22.5  # squared distance in standard deviations: 99.9 % of six dimensions are nearer


@dataclass(frozen=True, eq=False)
class TrackedMap:
    """What trackers need of a map: held once for those of several cameras."""

    identity: MapIdentity
    points: MapPoints
    references: ReferenceImages

    @staticmethod
    def of(map_: Map, config: MapTrackingConfig) -> TrackedMap:
        """That of a map. Raises MapError for a broken thumbnail."""
        points = MapPoints(map_)
        return TrackedMap(map_.identity, points, ReferenceImages(map_, points, config))


class MapTracker:
    """Gives every frame a pose in the map from the last anchor's points; one thread, frames in order."""

    def __init__(self, map_: Map | TrackedMap, config: MapTrackingConfig | None = None) -> None:
        self._config = config or MapTrackingConfig()
        self._newer: TrackedMap | None = None
        self._use(map_ if isinstance(map_, TrackedMap) else TrackedMap.of(map_, self._config))
        self._frames = FrameCheck()
        self.reset()

    def reset(self) -> None:
        """Forget the anchor and all images; stamps may start again."""
        self._frames.reset()
        self._images = RecentImages(self._config)
        self._references.forget()
        self._tracker: AnchorTracker | None = None

    def update(self, map_: Map | TrackedMap) -> None:
        """Use another version of the map, in the same frame, from the next anchor on; until then nothing changes."""
        self._newer = map_ if isinstance(map_, TrackedMap) else TrackedMap.of(map_, self._config)

    def link(self, anchor: AnchorPose) -> TrackedPose | None:
        """Give the pose of an anchor's image by the points of the anchor before; None where it does not show them."""
        image, tracker = self._images.at(anchor.stamp_ns), self._tracker
        if image is None or tracker is None or anchor.stamp_ns <= tracker.anchor.stamp_ns:
            return None
        watch = Stopwatch()
        located = tracker.locate(image.picture, PredictedPose(anchor.map_from_camera, False), watch)
        if isinstance(located, Rejection):
            return None
        pose = located.map_from_camera
        since_anchor = tracker.update_depths(located)
        combined = tracked_from_anchor(pose, since_anchor, anchor_error(tracker.anchor, pose))
        tracked = self._tracked_pose(image, tracker.anchor, combined, located, watch)
        return None if isinstance(tracked, Rejection) else tracked

    def restart(self, anchor: AnchorPose, catch_up: bool = False) -> None:
        """Follow the points of an accepted anchor from now on.

        One whose image is no longer kept, or whose covariance is invalid, changes nothing.
        With ``catch_up`` they are followed through the images kept since: where the motion in between is unknown, they
        would not be found in the next image.
        """
        fault = shared_covariance_fault(anchor.covariance, anchor.map_covariance)
        if fault is not None:
            _log.warning(
                "the points of the anchor at %d ns are not followed: of its covariance, %s", anchor.stamp_ns, fault
            )
            return
        image = self._images.at(anchor.stamp_ns)
        if image is None:
            _log.info(
                "the image of the anchor at %d ns was skipped, or is too old: its points are not followed",
                anchor.stamp_ns,
            )
            return
        if image.covariance is None and self._tracker is not None:
            image = self._found_late(image, self._tracker, anchor.map_from_camera)
        if self._newer is not None:
            self._use(self._newer)
            self._newer = None
            self._images.forget_points()
        self._images.rebase(image, anchor.map_from_camera)
        self._references.forget()
        self._tracker = AnchorTracker(anchor, image.picture, self._points, self._config, self._window_px)
        if catch_up:
            self._catch_up(self._tracker)

    @property
    def anchor_ns(self) -> int | None:
        """Stamp of the anchor whose points are followed, None without one."""
        return None if self._tracker is None else self._tracker.anchor.stamp_ns

    def is_consistent(self, anchor: AnchorPose) -> bool:
        """Whether an anchor that the fusion has not judged agrees with the predicted pose of its image."""
        image = self._images.at(anchor.stamp_ns)
        return image is not None and self._distance(image, anchor.map_from_camera, anchor.inlier_points) <= 1.0

    def images_since(self, stamp_ns: int) -> tuple[GreyImage, GreyImage] | None:
        """The newest image, after the newest one that is no newer than a stamp; None where that is gone."""
        earlier = self._images.before(stamp_ns)
        return None if earlier is None else (earlier.picture, self._images.newest.picture)

    def keep(self, frame: Frame, predicted: SE3 | None = None) -> None:
        """Keep a frame that is not tracked, for a later anchor of it; ``predicted`` as for ``track``."""
        if self._frames.refuse(frame) is not None:
            return
        if self._frames.is_new_camera(frame):
            self._begin(frame.camera)
        self._images.add(frame, predicted)

    def keep_skipped(self, frame: Frame) -> None:
        """Keep a frame that there was no time for, and of which nothing is known."""
        self.keep(frame)

    def track(
        self, frame: Frame, predicted: SE3 | None = None, *, may_disagree: bool = False
    ) -> TrackedPose | Rejection:
        """Give ``map_from_camera`` of the next frame, or the reason why there is none.

        ``predicted`` is a prediction of it by other sources; its changes from frame to frame matter most. A pose far
        from it is refused, unless it ``may_disagree``.
        """
        watch = Stopwatch()
        unusable = self._frames.refuse(frame)
        if unusable is not None:
            return unusable
        if self._frames.is_new_camera(frame):
            self._begin(frame.camera)
        known = self._images.with_pose()
        with watch("prepare"):
            image = self._images.add(frame, predicted)
        tracker = self._tracker
        if tracker is None:
            return Rejection(frame.stamp_ns, Reason.FEW_MATCHES, {"expected": 0}, watch.stage_ms)
        guess = _guess(known, image, tracker.anchor)
        with watch("view"):
            newest = next((one for one in reversed(known) if one.covariance is not None), None)
            if newest is not None and tracker.needs_view(image.picture, guess.map_from_camera):
                tracker.add_view(newest)
                self._references.forget()
        return self._locate(tracker, image, guess, watch, may_disagree)

    def must_track(self, stamp_ns: int, predicted: SE3 | None) -> bool:
        """Whether a frame has to be tracked, and its pose waits for that: never, since one camera shows no more."""
        return False

    def track_others(self, stamp_ns: int, predicted: SE3 | None) -> TrackedPose | None:
        """The pose at the stamp of a frame that cannot be used, by other cameras; None, as there are none."""
        return None

    def _use(self, map_: TrackedMap) -> None:
        self.map, self._points = map_.identity, map_.points
        self._references = ReferenceLocalizer(map_.references, self._points.uncertainty, self._config)

    def _begin(self, camera: pycolmap.Camera) -> None:
        self._images = RecentImages(self._config)
        self._tracker = None
        self._window_px = fitted_window(self._config.window_px, camera.width, camera.height)

    def _found_late(self, image: RecentImage, tracker: AnchorTracker, map_from_camera: SE3) -> RecentImage:
        """A kept image with its pose by the points followed now, if they are found: views since hold on to it."""
        located = tracker.locate(image.picture, PredictedPose(map_from_camera, False), Stopwatch())
        if isinstance(located, Rejection):
            return image
        covariance = tracker.update_depths(located)
        return self._images.locate(image, located.map_from_camera, covariance, tracker.observed(located))

    def _catch_up(self, tracker: AnchorTracker) -> None:
        """Follow an anchor's points through some of the images since, until they are lost."""
        anchored = self._images.at(tracker.anchor.stamp_ns)
        known = [] if anchored is None else [anchored]
        for image in self._images.spread_since(tracker.anchor.stamp_ns, _CATCH_UP_IMAGES):
            located = tracker.locate(image.picture, _guess(known, image, tracker.anchor), Stopwatch())
            if isinstance(located, Rejection):
                return
            covariance = tracker.update_depths(located)
            observed = tracker.observed(located)
            known.append(self._images.locate(image, located.map_from_camera, covariance, observed))

    def _locate(
        self, tracker: AnchorTracker, image: RecentImage, guess: PredictedPose, watch: Stopwatch, may_disagree: bool
    ) -> TrackedPose | Rejection:
        """Pose of an image by the anchor's points, corrected by reference images; or by these alone."""
        located = tracker.locate(image.picture, guess, watch)
        if isinstance(located, Rejection) and may_disagree:
            located = self._locate_by_own_motion(tracker, image, watch) or located
        if isinstance(located, Rejection):
            return self._locate_by_references(tracker.anchor, image, guess, located, watch)
        pose = located.map_from_camera
        if not may_disagree and self._disagrees(image, located):
            return Rejection(image.stamp_ns, Reason.ODOMETRY_DISAGREES, {}, watch.stage_ms)
        of_anchor = anchor_error(tracker.anchor, pose)
        tracked = tracked_from_anchor(pose, tracker.update_depths(located), of_anchor)
        with watch("map"):
            reference = self._references.update(image.picture, located)
        if reference is None:
            return self._note(tracker.anchor, tracked, located, tracker.observed(located), watch)
        of_map = map_error(tracker.anchor, pose) + self._points.uncertainty.of_image(pose.rotation)
        combined = combine(tracked, reference.map_from_camera, reference.covariance, of_anchor, of_map)
        if combined is None:
            self._references.forget()
            return Rejection(image.stamp_ns, Reason.UNCERTAIN, {}, watch.stage_ms)
        return self._note(tracker.anchor, combined, located, located.searched(), watch)

    def _locate_by_own_motion(
        self, tracker: AnchorTracker, image: RecentImage, watch: Stopwatch
    ) -> LocatedImage | None:
        """Pose of an image by the anchor's points where the motion so far leads, whatever is predicted."""
        known = self._images.with_pose()
        if image.predicted is None or len(known) < 2:
            return None
        carried_on = PredictedPose(_carried_on(known, image.stamp_ns), False)
        located = tracker.locate(image.picture, carried_on, watch)
        return None if isinstance(located, Rejection) else located

    def _locate_by_references(
        self, anchor: AnchorPose, image: RecentImage, guess: PredictedPose, refusal: Rejection, watch: Stopwatch
    ) -> TrackedPose | Rejection:
        """Pose of an image by reference images alone, if it was known just before."""
        with watch("map"):
            found = self._references.localize(image.picture, guess.map_from_camera) if guess.is_near else None
        if found is None or self._disagrees(image, found[1]):
            return refusal
        reference, located = found
        pose = reference.map_from_camera
        combined = located_by_references(pose, reference.covariance, anchor_error(anchor, pose))
        return self._note(anchor, combined, located, located.searched(self._references.scale_of(image.picture)), watch)

    def _note(
        self,
        anchor: AnchorPose,
        combined: CombinedPose,
        located: LocatedImage,
        observed: PointObservations,
        watch: Stopwatch,
    ) -> TrackedPose | Rejection:
        """Remember the newest image's pose, and give it."""
        newest = self._images.newest
        tracked = self._tracked_pose(newest, anchor, combined, located, watch)
        if isinstance(tracked, TrackedPose):
            self._images.locate(newest, combined.map_from_camera, combined.tracking_covariance, observed)
        return tracked

    def _tracked_pose(
        self, image: RecentImage, anchor: AnchorPose, combined: CombinedPose, located: LocatedImage, watch: Stopwatch
    ) -> TrackedPose | Rejection:
        """The pose of an image; UNCERTAIN where its errors add up to no covariance."""
        covariance = combined.covariance + map_error(anchor, combined.map_from_camera)
        if covariance_fault(covariance) or covariance_fault(combined.covariance_since_anchor):
            return Rejection(image.stamp_ns, Reason.UNCERTAIN, {}, watch.stage_ms)
        return TrackedPose(
            image.stamp_ns,
            combined.map_from_camera,
            covariance,
            anchor.stamp_ns,
            combined.covariance_since_anchor,
            located.fit.num_inliers,
            len(located.found),
            located.error_px,
            watch.stage_ms,
            located.inlier_points,
            self.map.frame,
            combined.anchor_share,
        )

    def _disagrees(self, image: RecentImage, located: LocatedImage) -> bool:
        """Whether the points are far from their projections by the predicted pose, if there is one."""
        if image.predicted is None:
            return False
        return self._distance(image, located.map_from_camera, located.inlier_points) > 1.0

    def _distance(self, image: RecentImage, map_from_camera: SE3, points: Array) -> float:
        """Mean image distance of points (N, 3) from their projections by the predicted pose; more than 1 is too far."""
        if image.predicted is None or len(points) == 0:
            return np.inf
        camera = image.picture.camera
        one, other = (cameras.project(camera, pose.inverse @ points) for pose in (image.predicted, map_from_camera))
        distance = float(np.sqrt(np.mean(np.square(one - other).sum(axis=1))))
        limit = self._config.max_disagreement * float(np.hypot(camera.width, camera.height))
        return distance / limit if np.isfinite(distance) else np.inf


def anchor_error(anchor: AnchorPose, pose: SE3) -> Array:
    """Covariance (6, 6) of an anchor's independent error, for a pose that moved on from it exactly."""
    return move_covariance(anchor.own_covariance, pose.translation - anchor.map_from_camera.translation)


def map_error(anchor: AnchorPose, pose: SE3) -> Array:
    """The same of the map's error there, by the anchor."""
    of_map = anchor.covariance - anchor.own_covariance
    return move_covariance(of_map, pose.translation - anchor.map_from_camera.translation)


def _guess(known: Sequence[RecentImage], image: RecentImage, anchor: AnchorPose) -> PredictedPose:
    """The predicted pose, by earlier images with a known pose, oldest first."""
    if not known:
        return PredictedPose(image.predicted or anchor.map_from_camera, False)
    last = known[-1]
    is_near = last.covariance is not None and image.stamp_ns - last.stamp_ns <= _LONGEST_GAP_NS
    if last.pose is not None and last.predicted is not None and image.predicted is not None:
        return PredictedPose(last.pose @ (last.predicted.inverse @ image.predicted), is_near)
    if image.predicted is not None and not is_near:
        return PredictedPose(image.predicted, False)
    return PredictedPose(_carried_on(known, image.stamp_ns), is_near)


def _carried_on(known: Sequence[RecentImage], stamp_ns: int) -> SE3:
    """The last pose, moved on at constant velocity."""
    poses = [(image.stamp_ns, image.pose) for image in known[-2:] if image.pose is not None]
    (before_ns, before), (last_ns, last) = poses[0], poses[-1]
    if last_ns == before_ns or stamp_ns - last_ns > _LONGEST_STEP * (last_ns - before_ns):
        return last
    return carried_on(before, last, (stamp_ns - last_ns) / (last_ns - before_ns))


@dataclass(frozen=True, eq=False)
class CombinedPose:
    """``map_from_camera`` with its covariances (6, 6).

    ``covariance`` takes the map at this place as true, ``covariance_since_anchor`` the anchor. ``tracking_covariance``
    is the latter for tracking from here on. Reference images do not reduce it: their error is the same in the next
    frames, and must not count as independent each time. ``anchor_share`` (6, 6) is that of ``TrackedPose``.
    """

    map_from_camera: SE3
    covariance: Array
    covariance_since_anchor: Array
    tracking_covariance: Array
    anchor_share: Array


def tracked_from_anchor(pose: SE3, covariance_since_anchor: Array, anchor: Array) -> CombinedPose:
    """The pose by an anchor, with the covariance ``anchor`` (6, 6) transported to here, and the motion since."""
    return CombinedPose(
        pose, anchor + covariance_since_anchor, covariance_since_anchor, covariance_since_anchor, np.eye(6)
    )


def located_by_references(pose: SE3, covariance: Array, anchor: Array) -> CombinedPose:
    """The pose by reference images alone: relative to an anchor it has the anchor's error, too."""
    return CombinedPose(pose, covariance, covariance + anchor, covariance + anchor, np.zeros((6, 6)))


def combine(tracked: CombinedPose, pose: SE3, covariance: Array, anchor: Array, of_map: Array) -> CombinedPose | None:
    """Correct a tracked pose by one of reference images; None where they contradict each other.

    They do not where ``of_map`` (6, 6), the map's own error, explains the difference. The weights are those of the
    motion since the anchor: the result counts as such a motion, and must not jump to the map after a new anchor, whose
    own error the fusion weighs.
    """
    error = pose_difference(pose, tracked.map_from_camera)
    total = tracked.covariance_since_anchor + covariance + anchor
    if error @ np.linalg.solve(total + of_map, error) > FARTHEST:
        return None
    gain = np.linalg.solve(total, tracked.covariance_since_anchor).T
    kept, step = np.eye(6) - gain, gain @ error
    moved = perturbed(tracked.map_from_camera, step)
    combined_covariance = kept @ tracked.covariance @ kept.T + gain @ covariance @ gain.T
    since_anchor = kept @ tracked.covariance_since_anchor @ kept.T + gain @ (covariance + anchor) @ gain.T
    return CombinedPose(moved, combined_covariance, since_anchor, tracked.covariance_since_anchor, kept)
