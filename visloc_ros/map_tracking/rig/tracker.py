"""The map tracker of a rig: map points followed in the images of all its cameras, joined to one pose.

Each camera has a map tracker of its own; all follow the same anchor, which is of the rig. Points ahead and points to
the side hold the pose in different directions, so two cameras give more than twice the points of one. Each image counts
at its own stamp: the predicted poses move it to the frame of the leading camera, and nobody waits for it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import numpy as np

from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.map import Map
from visloc_ros.core.plausibility import covariance_fault
from visloc_ros.core.recent_motion import RecentMotion, carried_from, unobserved_motion_covariance
from visloc_ros.core.repeated_images import shows_nothing
from visloc_ros.core.tangent import move_covariance, turn_covariance
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import (
    UNCONFIRMED_S,
    AnchorPose,
    Frame,
    MapIdentity,
    Reason,
    Rejection,
    TrackedPose,
)
from visloc_ros.map_tracking.config import MapTrackingConfig
from visloc_ros.map_tracking.rig.agreement import Agreement, ExpectedPose, OwnPose, is_near
from visloc_ros.map_tracking.rig.doubt import Doubt
from visloc_ros.map_tracking.rig.joint_pose import PoseByCamera, join
from visloc_ros.map_tracking.rig.standing import moves, show_the_same, stands, stands_beside
from visloc_ros.map_tracking.tracker import MapTracker, TrackedMap, anchor_error, map_error

_UNCONFIRMED_NS = NANOSECONDS // 5  # after the newest image of another camera, or pose: the robot moves little
_ALIVE_NS = 5 * NANOSECONDS  # after the newest image of a camera: a busy computer decodes those beside seldom
_FORGOTTEN_NS = NANOSECONDS  # after the newest joint pose: a camera may look anywhere by then


@dataclass(frozen=True, eq=False)
class OtherImage:
    """An image of another camera of a rig, and its place there."""

    frame: Frame
    camera_from_other: SE3


class OtherCameras(Protocol):
    """Interface of what gives the images of the other cameras."""

    @property
    def leading(self) -> str:
        """The camera that odometry follows, whose frames are tracked."""

    def others(self, stamp_ns: int) -> Mapping[str, OtherImage]:
        """The newest images of the other cameras, at the stamp of a frame; of known place and still sending alone."""


@dataclass(frozen=True, eq=False)
class _Place:
    """Where another camera was when it took its image, at a stamp, beside the newest frame of the leading one.

    ``motion`` is ``camera_now_from_camera_then`` of the leading camera since that stamp, with its covariance (6, 6)
    about the axes of the camera now, ``mount`` is ``camera_from_other`` on the rig.
    """

    stamp_ns: int
    motion: SE3
    covariance: Array
    mount: SE3

    @property
    def camera_from_other(self) -> SE3:
        """The other camera at the stamp of its image, from the leading one at that of its frame."""
        return self.motion @ self.mount

    def of_other(self, map_from_camera: SE3) -> Array:
        """What the motion adds to the covariance (6, 6) of the other camera, given the pose of the leading one."""
        moved = move_covariance(self.covariance, self.motion.rotation @ self.mount.translation)
        return turn_covariance(moved, map_from_camera.rotation)

    def of_leading(self, map_from_camera: SE3) -> Array:
        """What the motion adds to the covariance (6, 6) of the leading camera, given the pose of the other one."""
        return turn_covariance(move_covariance(self.covariance, -self.motion.translation), map_from_camera.rotation)


@dataclass(frozen=True, eq=False)
class _Anchored:
    """The anchor that a camera follows, as one of its images, and what its place added to the covariance (6, 6)."""

    anchor: AnchorPose
    of_place: Array
    rig_stamp_ns: int

    def place_error_at(self, pose: SE3) -> Array:
        """What the place adds to the covariance (6, 6) of a pose that moved on from the anchor exactly."""
        return move_covariance(self.of_place, pose.translation - self.anchor.map_from_camera.translation)

    def error_at(self, pose: SE3) -> Array:
        """The same of the anchor's own error."""
        return anchor_error(self.anchor, pose) - self.place_error_at(pose)


class RigMapTracker:
    """Gives frames of the leading camera a pose by the map points in the images of all cameras; from one thread.

    As ``MapTracker`` otherwise; anchors, predicted and tracked poses are those of the leading camera.
    """

    def __init__(self, map_: Map, config: MapTrackingConfig, cameras: OtherCameras) -> None:
        self._config, self._cameras = config, cameras
        self._map = TrackedMap.of(map_, config)
        self._trackers: dict[str, MapTracker] = {}
        self._agreement = Agreement(cameras.leading)
        self.reset()

    @property
    def map(self) -> MapIdentity:
        """The map whose points are followed."""
        return self._map.identity

    def reset(self) -> None:
        """Forget the anchor and all images; stamps may start again."""
        self._beside: deque[tuple[int, Mapping[str, _Place]]] = deque(maxlen=self._config.history_images)
        self._anchor: AnchorPose | None = None
        self._anchor_of = self._cameras.leading
        self._anchored: dict[str, _Anchored] = {}
        self._images: dict[str, OtherImage] = {}  # the newest of each other camera
        self._alone: dict[str, tuple[Frame, bool]] = {}  # images of unknown place, and whether they show the map
        self._motion, self._joint = RecentMotion(), RecentMotion()  # by the predicted poses; by the joint ones
        self._doubt = Doubt()
        self._compared: dict[str, Frame] = {}  # the newest images that were compared with the leading camera's
        self._showing_ns: dict[str, int] = {}  # stamps of the newest images of other cameras that show anything
        self._covariance: Array | None = None  # (6, 6), of the last joint pose
        self._odometry_agrees: bool | None = None  # with the motion so far, after the joint pose at a stamp
        self._compared_ns = -1
        self._moving: set[str] = set()  # cameras that are not trusted
        self.sees_map, self.is_outdone = False, False
        """Whether the leading camera sees the map in the newest frame, or else another one gave that its pose."""
        for tracker in self._trackers.values():
            tracker.reset()

    def update(self, map_: Map) -> None:
        """Use another version of the map, in the same frame, from the next anchor on."""
        self._map = TrackedMap.of(map_, self._config)
        for tracker in self._trackers.values():
            tracker.update(self._map)

    def is_trusted(self, name: str) -> bool:
        """Whether what a camera sees has not contradicted the other cameras lately."""
        return self._agreement.is_trusted(name)

    def shows_motion(self, name: str) -> bool:
        """Whether what a camera shows moved while the leading one last saw nothing of the map."""
        return name in self._moving

    def needs(self, name: str, stamp_ns: int) -> bool:
        """Whether an image of another camera is of use where there is no time for all of them.

        It is while the leading one sees nothing of the map, or does not move, and now and then, also before the first
        anchor: one camera alone does not show that its scene stands still, or is another camera's.
        """
        last = self._images.get(name)
        if last is None or stamp_ns - last.frame.stamp_ns >= _UNCONFIRMED_NS:
            return True
        return self._anchor is not None and (not self.sees_map or self._needs_others)

    @property
    def _needs_others(self) -> bool:
        return self._agreement.needs_others or self._doubt.is_open

    def must_track(self, stamp_ns: int, predicted: SE3 | None) -> bool:
        """Whether a frame has to be tracked, and its pose waits for that.

        By its odometry it brakes, stops or leaps; or the motion before is not known, so that this does not show.
        """
        self._doubt.brakes = False
        if predicted is None or self._covariance is None:
            return False
        self._look_for_stop(stamp_ns, predicted, self._motion)
        leaps = not self._motion.is_known(stamp_ns) or self._motion.is_leap(stamp_ns, predicted)
        return self._doubt.brakes or leaps or self._doubt.is_open

    def _look_for_stop(self, stamp_ns: int, pose: SE3, before: RecentMotion) -> None:
        """Note whether the leading camera brakes or stops at a pose after those before, or goes on again."""
        if self._covariance is not None:
            self._doubt.look((stamp_ns, pose), before, self._covariance, others_tell=self._others_tell(stamp_ns))

    def _others_tell(self, stamp_ns: int) -> bool:
        """Whether a camera has sent an image lately that shows anything: its next ones will tell.

        One that contradicts the others does, too: it may be mounted otherwise, and still show motion.
        """
        others = self._cameras.others(stamp_ns)
        for name, image in others.items():
            if image.frame.stamp_ns != self._showing_ns.get(name) and not shows_nothing(image.frame.image):
                self._showing_ns[name] = image.frame.stamp_ns
        return any(stamp_ns - self._showing_ns[name] < _ALIVE_NS for name in others if name in self._showing_ns)

    def distrust(self, name: str) -> None:
        """Leave a camera out until it agrees with the others again while it moves."""
        self._agreement.distrust(name)

    def is_consistent(self, anchor: AnchorPose) -> bool:
        """Whether an anchor that the fusion has not judged agrees with the predicted pose of its image."""
        return self._leading.is_consistent(anchor)

    def link(self, anchor: AnchorPose) -> TrackedPose | None:
        """Give the pose of an anchor's image by the points of the anchor before; None where it does not show them."""
        return self._leading.link(anchor)

    def restart(self, anchor: AnchorPose, catch_up: bool = False) -> None:
        """Follow the points of an accepted anchor from now on, in each camera those that it should show."""
        leading = self._cameras.leading
        places = next((places for stamp_ns, places in self._beside if stamp_ns == anchor.stamp_ns), {})
        own = {name: _anchored_other(anchor, place) for name, place in places.items()}
        for name, anchored in {leading: _Anchored(anchor, np.zeros((6, 6)), anchor.stamp_ns), **own}.items():
            tracker = self._tracker_of(name)
            tracker.restart(anchored.anchor, catch_up)
            if tracker.anchor_ns == anchored.anchor.stamp_ns:
                self._anchor, self._anchor_of, self._anchored[name] = anchor, leading, anchored
                if name == leading:
                    self._doubt.restart()
                is_seen = len(anchor.inlier_points) > 0 if name == leading else None
                self._agreement.restart(name, anchored.anchor.map_from_camera, is_seen=is_seen)

    def keep(self, frame: Frame, predicted: SE3 | None = None) -> None:
        """Keep a frame that is not tracked, for a later anchor of it; no camera gives its pose by the map."""
        self.is_outdone = False
        self._leading.keep(frame, predicted)
        for name, (image, place) in self._take_others(frame.stamp_ns, predicted).items():
            self._tracker_of(name).keep(image, _of_other(predicted, place))

    def keep_skipped(self, frame: Frame) -> None:
        """Keep a frame that there was no time for; images of other cameras wait for the next one that is tracked."""
        self._leading.keep(frame)

    def track(self, frame: Frame, predicted: SE3 | None = None) -> TrackedPose | Rejection:
        """Give ``map_from_camera`` of the next frame by the images of all cameras, or why the leading one has none.

        A camera that contradicts the others is left out.
        """
        own = self._leading.track(frame, predicted)
        if predicted is None and isinstance(own, TrackedPose):  # while odometry tells nothing, the map does
            self._look_for_stop(frame.stamp_ns, own.map_from_camera, self._joint)
        return self._join_others(frame.stamp_ns, predicted, own)

    def track_others(self, stamp_ns: int, predicted: SE3 | None) -> TrackedPose | None:
        """The same at the stamp of a frame that cannot be used, by the images of the other cameras."""
        joint = self._join_others(stamp_ns, predicted, Rejection(stamp_ns, Reason.FROZEN))
        return joint if isinstance(joint, TrackedPose) else None

    def _join_others(
        self, stamp_ns: int, predicted: SE3 | None, own: TrackedPose | Rejection
    ) -> TrackedPose | Rejection:
        """The joint pose of the leading camera's own result and what the other cameras see."""
        images = self._take_others(stamp_ns, predicted)
        expected = self._expected(stamp_ns, predicted)
        is_leap = self._motion.has_leapt or self._odometry_agrees is False
        others = {
            name: self._tracker_of(name).track(
                image, None if is_leap else _of_other(predicted, place), may_disagree=True
            )
            for name, (image, place) in images.items()
        }
        results = {self._cameras.leading: own, **others}
        self._judge_by_images(stamp_ns, own, images)
        if isinstance(own, TrackedPose) and self._doubt.begins:
            self._compare(own, expected)
        tracked = {name: one for name, one in results.items() if isinstance(one, TrackedPose)}
        for name in results.keys() - tracked.keys():
            self._agreement.lost(name)
        self.sees_map = isinstance(own, TrackedPose)
        if not self.sees_map:
            self._doubt.lost()
        alone = self._follow_alone(stamp_ns, images.keys()) if predicted is None else set[str]()
        self.is_outdone = bool(tracked or alone) and not self.sees_map
        if not tracked:
            return self._mismatch(stamp_ns) if self._agreement.is_standing(stamp_ns) else own
        beside = {name: place for name, (_, place) in images.items()}
        joint = self._join(stamp_ns, tracked, beside, expected)
        if joint is None:
            return own if isinstance(own, Rejection) else self._mismatch(stamp_ns)
        return joint

    def _follow_alone(self, stamp_ns: int, placed: Set[str]) -> set[str]:
        """Cameras that see the map while no pose is predicted, and nothing tells how they have moved: one may lead."""
        others = self._cameras.others(stamp_ns)
        for name in others.keys() - placed:
            frame = others[name].frame
            if self._alone.get(name, (None, False))[0] is not frame:
                self._alone[name] = frame, isinstance(self._tracker_of(name).track(frame, None), TrackedPose)
        return {name for name in others.keys() - placed if self._alone[name][1]}

    def _expected(self, stamp_ns: int, predicted: SE3 | None) -> ExpectedPose | None:
        """Where the motion so far leads: by odometry that goes on so, and no slower, else at constant velocity."""
        expected = self._joint.expected(stamp_ns)
        if expected is None or stamp_ns - self._joint.poses[-1][0] > _FORGOTTEN_NS:
            return self._expected_since_anchor(stamp_ns)
        newest_ns, newest = self._joint.poses[-1]
        so_far = self._joint.since(newest_ns, stamp_ns)
        by_odometry = None if predicted is None else self._motion.since(newest_ns, stamp_ns)
        if newest_ns != self._compared_ns:  # later there is nothing new to compare odometry with
            self._odometry_agrees = None
            if so_far is not None and by_odometry is not None and not self._motion.has_leapt:
                self._odometry_agrees = is_near(by_odometry[0], so_far[0], by_odometry[1] + so_far[1])
                self._compared_ns = newest_ns
        is_sound = not self._doubt.brakes and not self._doubt.has_stopped  # else it speaks for no camera
        if self._odometry_agrees and by_odometry is not None and is_sound:
            expected = carried_from(newest, *by_odometry)
        is_known = so_far is not None or by_odometry is not None or stamp_ns - newest_ns <= _UNCONFIRMED_NS
        return ExpectedPose(*expected, is_known, self._odometry_agrees is True, self._motion.has_leapt)

    def _expected_since_anchor(self, stamp_ns: int) -> ExpectedPose | None:
        """The anchor's pose with what no motion shows since; None for one of long ago."""
        anchor = self._anchor
        if anchor is None or self._anchor_of != self._cameras.leading or stamp_ns - anchor.stamp_ns > _FORGOTTEN_NS:
            return None
        since_ns = stamp_ns - anchor.stamp_ns
        moved = unobserved_motion_covariance(since_ns / NANOSECONDS)
        is_known = since_ns <= _UNCONFIRMED_NS or self._motion.since(anchor.stamp_ns, stamp_ns) is not None
        return ExpectedPose(anchor.map_from_camera, moved, is_known, odometry_leaps=self._motion.has_leapt)

    def _mismatch(self, stamp_ns: int) -> Rejection:
        """The cameras contradict each other, since when is not known exactly."""
        unconfirmed_s = max(self._doubt.seconds(stamp_ns), self._agreement.unconfirmed_s(stamp_ns))
        return Rejection(stamp_ns, Reason.RIG_MISMATCH, {UNCONFIRMED_S: unconfirmed_s})

    def _judge_by_images(
        self, stamp_ns: int, own: TrackedPose | Rejection, images: Mapping[str, tuple[Frame, _Place]]
    ) -> None:
        """Compare the images alone, which need not show the map, unless that shows that the leading camera moves."""
        if isinstance(own, TrackedPose) and not self._needs_others:
            self._agreement.judge_images(stamp_ns, None)
        elif images:
            newest = [(name, self._tracker_of(name), image.stamp_ns) for name, (image, _) in images.items()]
            if not isinstance(own, TrackedPose):
                left_out = [one for one in newest if not self.is_trusted(one[0])]
                self._moving = {name for name, tracker, newest_ns in left_out if moves(tracker, newest_ns)}
            for _, tracker, newest_ns in newest:
                self._doubt.confirm(partial(stands, tracker, newest_ns))
            moving = (name for name, tracker, newest_ns in newest if stands_beside(self._leading, tracker, newest_ns))
            self._agreement.judge_images(stamp_ns, next(moving, None))

    def _compare(self, own: TrackedPose, expected: ExpectedPose | None) -> None:
        """Compare the newest images of other cameras with those of the leading one, which none of them confirms."""
        for name, other in self._cameras.others(own.stamp_ns).items():
            here = self._leading.images_since(other.frame.stamp_ns)
            if self._compared.get(name) is not other.frame and here is not None:
                mount = other.camera_from_other
                is_itself = expected is not None and expected.is_nearer_to(own.map_from_camera, own.covariance, mount)
                is_same = not is_itself and show_the_same(here[0], other.frame, mount)
                self._doubt.compare(name, here[0].stamp_ns, is_same=is_same)
            self._compared[name] = other.frame

    def follow(self, name: str, frame: Frame) -> None:
        """Follow the points in an image of another camera while the leading one sends none: it may lead next."""
        self._tracker_of(name).track(frame, None)

    def _join(
        self,
        stamp_ns: int,
        tracked: Mapping[str, TrackedPose],
        places: Mapping[str, _Place],
        expected: ExpectedPose | None,
    ) -> TrackedPose | None:
        """One pose of the leading camera from those of several; None where those that are trusted have none."""
        assert self._anchor is not None
        own = {name: self._own_pose(name, one) for name, one in tracked.items()}
        own = {name: pose for name, pose in own.items() if covariance_fault(pose.covariance) is None}
        if not own:
            return None
        poses = {name: self._by_camera(name, tracked[name], pose, places.get(name)) for name, pose in own.items()}
        of_anchor = anchor_error(self._anchor, next(iter(poses.values())).map_from_camera)
        earlier = {name for name, place in places.items() if place.stamp_ns < stamp_ns}
        was_trusted = self.is_trusted(self._cameras.leading)
        chosen = self._agreement.choose(stamp_ns, poses, own, of_anchor, expected, earlier)
        if was_trusted and not self.is_trusted(self._cameras.leading):
            places = self._places_without_odometry(stamp_ns, chosen)
            chosen = {
                name: self._by_camera(name, tracked[name], own[name], place).widened(chosen[name].own - poses[name].own)
                for name, place in places.items()
            }
        leading = self._cameras.leading
        if not chosen or (leading in own and leading not in chosen):
            return None  # odometry is by the leading camera, and wrong
        if leading in own and self._is_doubted(stamp_ns, chosen, places, own[leading], expected):
            return None
        joint = join(list(chosen.values()), of_anchor)
        self._note_joint(stamp_ns, joint.map_from_camera, [places.get(name) for name in chosen])
        return self._joint_pose(stamp_ns, joint, of_anchor, [tracked[name] for name in chosen])

    def _is_doubted(
        self,
        stamp_ns: int,
        chosen: Mapping[str, PoseByCamera],
        places: Mapping[str, _Place],
        own: OwnPose,
        expected: ExpectedPose | None,
    ) -> bool:
        """Whether the leading camera may have stuck, or leapt: the next images of others will tell."""
        if len(chosen) > 1 or not self._others_tell(stamp_ns):
            self._doubt.believe()
        elif expected is None or not expected.is_known or self._agreement.is_astray:
            self._doubt.begin(stamp_ns)
        others = [(places[name].stamp_ns, chosen[name]) for name in chosen.keys() & places.keys()]
        return self._doubt.holds(
            stamp_ns, own, others, np.zeros((6, 6)) if self._covariance is None else self._covariance
        )

    def _joint_pose(
        self, stamp_ns: int, joint: PoseByCamera, of_anchor: Array, parts: Sequence[TrackedPose]
    ) -> TrackedPose:
        """The joint pose of poses by several cameras."""
        assert self._anchor is not None
        self._covariance = joint.covariance(of_anchor)
        return replace(
            parts[0],
            stamp_ns=stamp_ns,
            map_from_camera=joint.map_from_camera,
            covariance=self._covariance + map_error(self._anchor, joint.map_from_camera),
            anchor_stamp_ns=self._anchor.stamp_ns,
            covariance_since_anchor=joint.covariance_since_anchor(of_anchor),
            anchor_share=joint.anchor_share,
            num_inliers=sum(part.num_inliers for part in parts),
            num_followed=sum(part.num_followed for part in parts),
            stage_ms={stage: sum(part.stage_ms.get(stage, 0.0) for part in parts) for stage in parts[0].stage_ms},
            inlier_points=np.vstack([part.inlier_points for part in parts]),
        )

    def _places_without_odometry(self, stamp_ns: int, names: Iterable[str]) -> dict[str, _Place]:
        """Where other cameras were, once it shows that the odometry that moved their images is wrong."""
        places = {name: self._place_of(self._images[name], stamp_ns) for name in names}
        return {name: place for name, place in places.items() if place is not None}

    def _note_joint(self, stamp_ns: int, map_from_camera: SE3, chosen: Sequence[_Place | None]) -> None:
        """Note where the leading camera was at the newest image that shows it: a prediction shows no motion."""
        then = min((place or _now(stamp_ns) for place in chosen), key=lambda place: stamp_ns - place.stamp_ns)
        if not self._joint.poses or then.stamp_ns > self._joint.poses[-1][0]:
            self._joint.add(then.stamp_ns, map_from_camera @ then.motion)

    def _own_pose(self, name: str, tracked: TrackedPose) -> OwnPose:
        """The pose of a camera with what is independent of the anchor."""
        added = tracked.anchor_share - np.eye(6)
        of_anchor = anchor_error(self._anchored[name].anchor, tracked.map_from_camera)
        own = tracked.covariance_since_anchor - added @ of_anchor @ added.T
        return OwnPose(tracked.map_from_camera, 0.5 * (own + own.T))

    def _by_camera(self, name: str, tracked: TrackedPose, own: OwnPose, place: _Place | None) -> PoseByCamera:
        """The pose of the leading camera by the image of a camera.

        The error of an older anchor is independent of the newest one's, of which the camera has no image.
        """
        assert self._anchor is not None
        anchored, by_camera = self._anchored[name], self._moved(name, tracked, own, place)
        if anchored.rig_stamp_ns == self._anchor.stamp_ns:
            return by_camera
        of_anchor = anchored.error_at(by_camera.map_from_camera)
        return replace(by_camera, anchor_share=np.zeros((6, 6)), own=by_camera.covariance(of_anchor))

    def _moved(self, name: str, tracked: TrackedPose, own: OwnPose, place: _Place | None) -> PoseByCamera:
        """A camera's own pose as one of the leading camera, which may itself have been beside at the anchor."""
        moved = tracked if place is None else tracked.of_other(place.camera_from_other.inverse)
        pose, share = moved.map_from_camera, moved.anchor_share
        covariance = move_covariance(own.covariance, pose.translation - tracked.map_from_camera.translation)
        at_anchor = self._anchored[name].place_error_at(pose)
        since = np.zeros((6, 6)) if place is None else place.of_leading(pose)
        return PoseByCamera(pose, share, covariance + share @ at_anchor @ share.T + since)

    @property
    def _leading(self) -> MapTracker:
        return self._tracker_of(self._cameras.leading)

    def _tracker_of(self, name: str) -> MapTracker:
        if name not in self._trackers:
            self._trackers[name] = MapTracker(self._map, self._config)
        return self._trackers[name]

    def _take_others(self, stamp_ns: int, predicted: SE3 | None) -> dict[str, tuple[Frame, _Place]]:
        """Images of the other cameras that were not taken before, and where they were taken."""
        if self._cameras.leading != self._agreement.leading:
            self._follow_leading(self._cameras.leading)
        if predicted is not None:
            self._motion.add(stamp_ns, predicted)
        before, newest = self._images, self._cameras.others(stamp_ns)
        places = {name: place for name, image in newest.items() if (place := self._place_of(image, stamp_ns))}
        self._beside.append((stamp_ns, places))
        is_new = {name for name in places if name not in before or before[name].frame is not newest[name].frame}
        self._images = {**before, **{name: newest[name] for name in places}}
        return {name: (newest[name].frame, places[name]) for name in is_new}

    def _follow_leading(self, name: str) -> None:
        """Another camera leads, and the joint poses so far are those of that one."""
        self._agreement.lead(name)
        joint, image = self._joint, self._images.get(name)
        self._motion, self._joint, self._doubt = RecentMotion(), RecentMotion(), Doubt()
        if image is not None:
            for stamp_ns, pose in joint.poses:
                self._joint.add(stamp_ns, pose @ image.camera_from_other)
        self._images.clear()
        self._alone.clear()

    def _place_of(self, image: OtherImage, stamp_ns: int) -> _Place | None:
        """Its place by the predicted poses while the map confirms odometry, else by those in the map, if known."""
        then_ns, is_trusted = image.frame.stamp_ns, self.is_trusted(self._cameras.leading)
        by_odometry = self._motion.since(then_ns, stamp_ns) if is_trusted else None
        moved = by_odometry if self.sees_map else None
        moved = moved or self._joint.since(then_ns, stamp_ns) or by_odometry
        return None if moved is None else _Place(image.frame.stamp_ns, *moved, image.camera_from_other)


def _now(stamp_ns: int) -> _Place:
    """The leading camera itself."""
    return _Place(stamp_ns, SE3.identity(), np.zeros((6, 6)), SE3.identity())


def _of_other(map_from_camera: SE3 | None, place: _Place) -> SE3 | None:
    return None if map_from_camera is None else map_from_camera @ place.camera_from_other


def _anchored_other(anchor: AnchorPose, place: _Place) -> _Anchored:
    """An anchor as one of another camera's image."""
    moved, motion = anchor.of_other(place.camera_from_other), place.of_other(anchor.map_from_camera)
    its_anchor = replace(moved, stamp_ns=place.stamp_ns, covariance=moved.covariance + motion)
    return _Anchored(its_anchor, motion, anchor.stamp_ns)
