"""Finds the images of one camera of a rig by all of its cameras: to the pipeline it is an engine like any other."""

from __future__ import annotations

from collections.abc import Mapping

from visloc_ros.core.geometry import SE3
from visloc_ros.core.recent_motion import RecentMotion, unobserved_motion
from visloc_ros.core.repeated_images import RepeatedImages
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import AnchorPose, Estimate, Frame, MapIdentity, Reason, Rejection
from visloc_ros.localization.evidence import sees_elsewhere
from visloc_ros.localization.rig import RigEngine, RigImage, RigPose
from visloc_ros.map_tracking import OtherImage

_OLDEST_NS = NANOSECONDS // 2  # of an image: then its camera is unplugged
_SKIPPED = 8  # searches without a camera that saw nothing of the map, before it is tried again
_MOST_STEPS = 256


class RigSearch:
    """Keeps the newest image of each camera, and searches them together with one of the camera that odometry follows.

    ``active`` is the name of that camera: poses that are given and taken are its. The camera that saw most of the map
    is searched first; one that saw nothing of it is left out for a while, unless a pose is to be confirmed that was not
    predicted: the image of a camera may be that of another one.
    """

    def __init__(self, engine: RigEngine, active: str) -> None:
        self.engine, self.active = engine, active
        self.newest: dict[str, Frame] = {}
        """The newest image of each camera."""
        self.inliers: dict[str, int] = {}
        """Map points that each camera saw when it was searched last."""
        self.motion = RecentMotion()
        self._repeated: dict[str, RepeatedImages] = {}
        self._left_out: dict[str, int] = {}

    @property
    def map_identity(self) -> MapIdentity:
        """The map that is searched."""
        return self.engine.map_identity

    @property
    def leading(self) -> str:
        """The camera that odometry follows."""
        return self.active

    def others(self, stamp_ns: int) -> Mapping[str, OtherImage]:
        """The newest images of the other cameras; those of cameras that are mounted as given alone."""
        camera_from_rig = self.engine.rig.rig_from_camera(self.active).inverse
        return {
            name: OtherImage(frame, camera_from_rig @ self.engine.rig.rig_from_camera(name))
            for name, frame in self.newest.items()
            if name != self.active and name not in self.engine.places.unusable
        }

    def see(self, frames: Mapping[str, Frame]) -> None:
        """Keep the newest images; one that is FROZEN, the one before once more, is none."""
        for name, frame in frames.items():
            if not self._repeated.setdefault(name, RepeatedImages()).repeats(frame.image):
                self.newest[name] = frame

    def note(self, estimate: Estimate) -> None:
        """Take the fused pose of a frame of the active camera: how the rig moved since the images of other cameras."""
        is_metric = estimate.metric and estimate.scale is not None
        if not is_metric or estimate.motion_covariance is None or estimate.odom_from_camera is None:
            self.motion.reset()  # odometry has begun again, or its units are not known
        else:
            rig_from_camera = self.engine.rig.rig_from_camera(self.active)
            self.motion.add(estimate.stamp_ns, estimate.odom_from_camera @ rig_from_camera.inverse)

    def localize(self, frame: Frame, prior: SE3 | None = None) -> AnchorPose | Rejection:
        """Give ``map_from_camera`` of a frame of the active camera, or why there is none."""
        rig_from_camera = self.engine.rig.rig_from_camera(self.active)
        expected = None if prior is None else prior @ rig_from_camera.inverse
        images = self._images(frame)
        self.engine.places.moved(self.active, self.motion.poses)
        wanted = {name: image for name, image in images.items() if self._is_wanted(name)} or images
        found = self.engine.localize(frame.stamp_ns, wanted, expected)
        if isinstance(found, RigPose) and len(wanted) < len(images) and not self._is_expected(found, expected):
            wanted = images
            found = self.engine.localize(frame.stamp_ns, wanted, expected)
        self.inliers |= {name: _seen_by(name, found) for name in wanted}
        self._left_out |= dict.fromkeys(wanted, 0)
        return found.anchor_of(self.active, rig_from_camera) if isinstance(found, RigPose) else found

    def _images(self, frame: Frame) -> dict[str, RigImage]:
        """The image of the active camera and the newest ones of the others, the most promising first."""
        images = {self.active: RigImage(frame)}
        for name, other in self.newest.items():
            if name != self.active and abs(other.stamp_ns - frame.stamp_ns) < _OLDEST_NS:
                images[name] = self._moved(other, frame.stamp_ns)
        return dict(sorted(images.items(), key=lambda item: -self.inliers.get(item[0], 0)))

    def _is_expected(self, found: RigPose, map_from_rig: SE3 | None) -> bool:
        """Whether the cameras see the place that was predicted."""
        return map_from_rig is not None and not any(
            sees_elsewhere(
                anchor.map_from_camera, anchor.inlier_points, map_from_rig @ self.engine.rig.rig_from_camera(name)
            )
            for name, anchor in found.by_camera.items()
        )

    def _moved(self, other: Frame, now_ns: int) -> RigImage:
        """An image with the motion of the rig since; one that nothing shows is as uncertain as any."""
        if other.stamp_ns == now_ns:
            return RigImage(other)
        moved = self.motion.since(other.stamp_ns, now_ns) or unobserved_motion(other.stamp_ns, now_ns)
        return RigImage(other) if moved is None else RigImage(other, *moved)

    def _is_wanted(self, name: str) -> bool:
        """Whether a camera is searched; where none sees the map all are."""
        if self.inliers.get(name) != 0 or not any(self.inliers.values()):
            return True
        self._left_out[name] += 1
        return self._left_out[name] > _SKIPPED


def _seen_by(name: str, found: RigPose | Rejection) -> int:
    """Map points that a camera saw; one that contradicts the others sees the map, too."""
    if isinstance(found, Rejection):
        return 0
    if name in found.by_camera:
        return found.by_camera[name].num_inliers
    refused = found.left_out.get(name)
    return int(refused.counts["inliers"]) if refused is not None and refused.reason is Reason.RIG_MISMATCH else 0
