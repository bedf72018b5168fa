"""The map tracker of a rig: map points followed in the images of all its cameras, joined to one pose.

Each camera has a map tracker of its own; all follow the same anchor, which is of the rig. Points ahead and points to
the side hold the pose in different directions, so two cameras give more than twice the points of one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.map import Map
from visloc_ros.core.tangent import perturbed, pose_difference, turn_covariance
from visloc_ros.core.types import AnchorPose, Frame, MapIdentity, Rejection, TrackedPose
from visloc_ros.map_tracking.config import MapTrackingConfig
from visloc_ros.map_tracking.tracker import FARTHEST, MapTracker, TrackedMap


@dataclass(frozen=True, eq=False)
class OtherPlace:
    """Where another camera of a rig was when it took its image, at a stamp, beside one of the leading camera.

    ``camera_from_other`` is its place on the rig and the rig's motion between the two images, whose covariance (6, 6)
    is about the axes of the leading camera.
    """

    stamp_ns: int
    camera_from_other: SE3
    covariance: Array


@dataclass(frozen=True, eq=False)
class OtherImage:
    """An image of another camera of a rig, and where that was."""

    frame: Frame
    place: OtherPlace


class OtherCameras(Protocol):
    """Interface of what gives the images of the other cameras."""

    @property
    def leading(self) -> str:
        """The camera that odometry follows, whose frames are tracked."""

    def others(self, stamp_ns: int) -> Mapping[str, OtherImage]:
        """The newest images of the other cameras beside the leading one's at a stamp; those of known place alone."""


class RigMapTracker:
    """Gives frames of the leading camera a pose by the map points in the images of all cameras; from one thread.

    As ``MapTracker`` otherwise; anchors, predicted and tracked poses are those of the leading camera.
    """

    def __init__(self, map_: Map, config: MapTrackingConfig, cameras: OtherCameras) -> None:
        self._config, self._cameras = config, cameras
        self._map = TrackedMap.of(map_, config)
        self._trackers: dict[str, MapTracker] = {}
        self._anchor_ns: dict[str, int] = {}  # the anchor that each camera follows
        self.reset()

    @property
    def map(self) -> MapIdentity:
        """The map whose points are followed."""
        return self._map.identity

    def reset(self) -> None:
        """Forget the anchor and all images; stamps may start again."""
        self._beside: deque[tuple[int, Mapping[str, OtherPlace]]] = deque(maxlen=self._config.history_images)
        for tracker in self._trackers.values():
            tracker.reset()

    def update(self, map_: Map) -> None:
        """Use another version of the map, in the same frame, from the next anchor on."""
        self._map = TrackedMap.of(map_, self._config)
        for tracker in self._trackers.values():
            tracker.update(self._map)

    def is_consistent(self, anchor: AnchorPose) -> bool:
        """Whether an anchor that the fusion has not judged agrees with the predicted pose of its image."""
        return self._leading.is_consistent(anchor)

    def link(self, anchor: AnchorPose) -> TrackedPose | None:
        """Give the pose of an anchor's image by the points of the anchor before; None where it does not show them."""
        return self._leading.link(anchor)

    def restart(self, anchor: AnchorPose, catch_up: bool = False) -> None:
        """Follow the points of an accepted anchor from now on, in each camera those that it should show."""
        beside = next((places for stamp_ns, places in self._beside if stamp_ns == anchor.stamp_ns), {})
        own = {name: _anchor_of_other(anchor, place) for name, place in beside.items()}
        for name, its_anchor in {self._cameras.leading: anchor, **own}.items():
            tracker = self._tracker_of(name)
            tracker.restart(its_anchor, catch_up)
            if tracker.anchor_ns == its_anchor.stamp_ns:
                self._anchor_ns[name] = anchor.stamp_ns

    def keep(self, frame: Frame, predicted: SE3 | None = None) -> None:
        """Keep a frame that is not tracked, for a later anchor of it."""
        self._leading.keep(frame, predicted)
        for name, other in self._take_others(frame.stamp_ns).items():
            self._tracker_of(name).keep(other.frame, _of_other(predicted, other.place))

    def track(self, frame: Frame, predicted: SE3 | None = None) -> TrackedPose | Rejection:
        """Give ``map_from_camera`` of the next frame by the images of all cameras, or why the leading one has none.

        A camera that contradicts the leading one is left out.
        """
        result = self._track_in(self._cameras.leading, frame, predicted)
        for name, other in self._take_others(frame.stamp_ns).items():
            of_other = self._track_in(name, other.frame, _of_other(predicted, other.place))
            if isinstance(of_other, TrackedPose):
                moved = _of_leading(of_other, other.place, frame.stamp_ns)
                result = moved if isinstance(result, Rejection) else joined(result, moved) or result
        return result

    def follow(self, name: str, frame: Frame) -> None:
        """Follow the points in an image of another camera while the leading one sends none: it may lead next."""
        self._track_in(name, frame, None)

    def _track_in(self, name: str, frame: Frame, predicted: SE3 | None) -> TrackedPose | Rejection:
        """The tracked pose of a camera, with the stamp of the rig's anchor."""
        result = self._tracker_of(name).track(frame, predicted)
        return replace(result, anchor_stamp_ns=self._anchor_ns[name]) if isinstance(result, TrackedPose) else result

    @property
    def _leading(self) -> MapTracker:
        return self._tracker_of(self._cameras.leading)

    def _tracker_of(self, name: str) -> MapTracker:
        if name not in self._trackers:
            self._trackers[name] = MapTracker(self._map, self._config)
        return self._trackers[name]

    def _take_others(self, stamp_ns: int) -> Mapping[str, OtherImage]:
        """Images of the other cameras that were not taken before."""
        before = self._beside[-1][1] if self._beside else {}
        others = {
            name: other
            for name, other in self._cameras.others(stamp_ns).items()
            if name not in before or before[name].stamp_ns != other.place.stamp_ns
        }
        self._beside.append((stamp_ns, {name: other.place for name, other in others.items()}))
        return others


def _of_other(map_from_camera: SE3 | None, other: OtherPlace) -> SE3 | None:
    return None if map_from_camera is None else map_from_camera @ other.camera_from_other


def _anchor_of_other(anchor: AnchorPose, other: OtherPlace) -> AnchorPose:
    """An anchor as one of another camera's image."""
    moved = anchor.of_other(other.camera_from_other)
    motion = turn_covariance(other.covariance, anchor.map_from_camera.rotation)
    return replace(moved, stamp_ns=other.stamp_ns, covariance=moved.covariance + motion)


def _of_leading(tracked: TrackedPose, other: OtherPlace, stamp_ns: int) -> TrackedPose:
    """A tracked pose of another camera as one of the leading camera at its stamp."""
    moved = tracked.of_other(other.camera_from_other.inverse)
    motion = turn_covariance(other.covariance, moved.map_from_camera.rotation)
    since_anchor = moved.covariance_since_anchor + motion
    return replace(moved, stamp_ns=stamp_ns, covariance=moved.covariance + motion, covariance_since_anchor=since_anchor)


def joined(one: TrackedPose, other: TrackedPose) -> TrackedPose | None:
    """The mean of two tracked poses of one frame by different images; None where they contradict each other.

    What follows the anchor is independent and weighs them; the error of their anchor, and of the map, is the same. None
    also where their anchors are different ones.
    """
    if one.anchor_stamp_ns != other.anchor_stamp_ns:
        return None
    step = pose_difference(other.map_from_camera, one.map_from_camera)
    total = one.covariance_since_anchor + other.covariance_since_anchor
    weighed = np.linalg.solve(total, step)
    if step @ weighed > FARTHEST:
        return None
    since_anchor = one.covariance_since_anchor @ np.linalg.solve(total, other.covariance_since_anchor)
    since_anchor = 0.5 * (since_anchor + since_anchor.T)
    return replace(
        one,
        map_from_camera=perturbed(one.map_from_camera, one.covariance_since_anchor @ weighed),
        covariance=since_anchor + _without_negative(one.covariance - one.covariance_since_anchor),
        covariance_since_anchor=since_anchor,
        num_inliers=one.num_inliers + other.num_inliers,
        num_followed=one.num_followed + other.num_followed,
        stage_ms={stage: taken + other.stage_ms.get(stage, 0.0) for stage, taken in one.stage_ms.items()},
        inlier_points=np.vstack([one.inlier_points, other.inlier_points]),
    )


def _without_negative(covariance: Array) -> Array:
    """The least covariance (6, 6) above a difference of covariances; reference images may make one negative."""
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray(vectors * np.maximum(values, 0.0) @ vectors.T)
