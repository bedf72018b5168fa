"""Several cameras of one body in a node that searches: their newest images, their places, and what is wrong there."""

from __future__ import annotations

import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from nav_msgs.msg import Odometry
from rclpy.serialization import deserialize_message

from visloc_msgs.msg import OdometryStatus
from visloc_ros.core.errors import ConfigError
from visloc_ros.core.geometry import SE3
from visloc_ros.core.recent_motion import RecentMotion
from visloc_ros.core.rig import Rig, RigCamera
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import AnchorPose, Frame, Rejection
from visloc_ros.fusion.odom_velocity import UNKNOWN_VARIANCE
from visloc_ros.localization import AnchorEngine
from visloc_ros.localization.rig import RigEngine
from visloc_ros.localization.rig.engine import AT_ONCE_NS
from visloc_ros.localization.rig.places import Cause, PlaceDifference
from visloc_ros.nodes.base import VislocNode
from visloc_ros.nodes.camera_input import CameraInput, CameraInputConfig
from visloc_ros.nodes.qos import CAMERA_POSES, RELIABLE
from visloc_ros.nodes.transforms import StaticTransforms, no_mount
from visloc_ros.pipeline.leading_camera import LeadingCamera
from visloc_ros.pipeline.rig_search import RigSearch
from visloc_ros.sources.ros_messages import covariance_from_msg, pose_from_msg, stamp_from_msg

MAIN = "main"
"""Name of the camera on the topics ``image`` and ``camera_info``."""
CAMERAS_MEANING = (
    "names of further cameras on the robot, separated by spaces: 'left rear' come on left/image, left/camera_info, "
    "rear/image and rear/camera_info (transport and QoS as camera.*); /tf_static holds their places; empty: one camera"
)
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_ALIVE_NS = NANOSECONDS // 2  # a camera whose newest image is older is not waited for
_AHEAD_NS = NANOSECONDS // 5  # images are decoded before a rest of the search ends: those that come late are older
_OTHERS_S, _DECODED_S = 0.03, 0.2  # images of one time come, and are decoded, within it
_MOTION_S = 0.1  # odometry of an image comes within it
_LOOK_S = 0.005  # between looks for odometry
_KEPT = 4  # images of a camera
_REMEDIES = {
    Cause.MOUNT: "correct its transform on /tf_static",
    Cause.CLOCK: "correct its clock",
    Cause.EITHER: "correct its transform on /tf_static, or its clock",
    Cause.NEITHER: "fix it to the robot, and give it the clock of the others",
}


def further_cameras(names: str) -> tuple[str, ...]:
    """The names in the option ``cameras``. Raises ConfigError for one that no topic can have."""
    found = tuple(names.replace(",", " ").split())
    wrong = next((name for name in found if name == MAIN or found.count(name) > 1 or not _NAME.fullmatch(name)), None)
    if wrong is not None:
        raise ConfigError(f"cameras: '{wrong}' is no name for a further camera: letters, digits and _, each once")
    return found


def camera_options(config: CameraInputConfig, name: str) -> CameraInputConfig:
    """Options of receiving the images of a camera; a calibration file is that of the main one."""
    return config if name == MAIN else replace(config, calibration_file="")


def topic_prefix(name: str) -> str:
    """What the topics of a camera begin with."""
    return "" if name == MAIN else f"{name}/"


class RigInput:
    """Gives ``on_frame`` the images of the camera that odometry follows, and searches them with those of the others.

    Without odometry the first camera leads as long as it has images. ``is_wanted`` and ``is_urgent`` are as those of
    ``CameraInput``.
    """

    def __init__(
        self,
        node: VislocNode[Any],
        config: CameraInputConfig,
        names: tuple[str, ...],
        on_frame: Callable[[Frame, str], None],
        is_wanted: Callable[[int], bool],
        is_urgent: Callable[[int], bool] | None,
    ) -> None:
        self._on_frame, self._wants = on_frame, is_wanted
        self._leading = LeadingCamera(MAIN)
        self._newest: dict[str, deque[Frame]] = {name: deque(maxlen=_KEPT) for name in (MAIN, *names)}
        self._arrived_ns: dict[str, int] = {}
        self._changed, self._is_searching = threading.Condition(threading.RLock()), False
        self._search: RigSearch | None = None
        self._motion = RecentMotion()
        self._static = StaticTransforms(node)
        self._statuses = node.polled_subscription(OdometryStatus, "odometry_status", RELIABLE)
        self._odom = node.polled_subscription(Odometry, "odom", CAMERA_POSES)
        self._add_odom = node.guard.callback("odom", self._take_odom)
        self.inputs = {
            name: CameraInput(
                node,
                camera_options(config, name),
                partial(self._take, name),
                1,
                partial(self._is_wanted, name),
                is_urgent,
                on_arrived=partial(self._note_arrival, name),
                prefix=topic_prefix(name),
            )
            for name in self._newest
        }

    @property
    def leading(self) -> CameraInput:
        """The camera whose images are searched."""
        return self.inputs[self._leading.name]

    @property
    def received(self) -> int:
        """Images received, of all cameras."""
        return sum(one.received for one in self.inputs.values())

    @property
    def rejected(self) -> dict[str, int]:
        """Messages that could not be used, by reason, of all cameras."""
        return {
            f"{topic_prefix(name)}{why}": count
            for name, one in self.inputs.items()
            for why, count in one.rejected.items()
        }

    def _note_arrival(self, name: str, stamp_ns: int) -> None:
        with self._changed:
            self._arrived_ns[name] = stamp_ns
            self._changed.notify_all()
        self._leading.arrived(name, stamp_ns)

    def _is_wanted(self, name: str, stamp_ns: int) -> bool:
        """Whether an image is to be decoded: to be searched, or soon with one of the leading camera."""
        with self._changed:
            self._hear_odometry(stamp_ns)
            if self._leading.takes(name, stamp_ns):
                return self._wants(stamp_ns)
            # Without a known motion one search follows the other: each image may be of the next one.
            is_of_use = not self._is_searching or not self._motion.is_known(stamp_ns)
            return is_of_use and self._wants(stamp_ns + _AHEAD_NS)

    def _hear_odometry(self, stamp_ns: int) -> None:
        """Follow the camera that odometry follows; without odometry another one leads if the first sends nothing."""
        for serialized in self._statuses()[-1:]:
            frame_id = deserialize_message(serialized, OdometryStatus).header.frame_id
            followed = next((name for name, one in self.inputs.items() if one.camera_frame == frame_id), None)
            if followed is not None:
                self._leading.follow(followed, stamp_ns)

    def _take(self, name: str, frame: Frame, camera_frame: str) -> None:
        with self._changed:
            self._newest[name].append(frame)
            self._changed.notify_all()
            if name != self._leading.name or not self._wants(frame.stamp_ns):
                return
            self._await_others(name, frame.stamp_ns)
        self._on_frame(frame, camera_frame)

    def _await_others(self, name: str, stamp_ns: int) -> None:
        """Wait a moment for images of the same time from cameras that are alive."""
        least_ns, arrived_ns = stamp_ns - AT_ONCE_NS, self._arrived_ns
        alive = [one for one, ns in arrived_ns.items() if one != name and abs(stamp_ns - ns) < _ALIVE_NS]
        self._changed.wait_for(lambda: all(arrived_ns[one] >= least_ns for one in alive), _OTHERS_S)
        coming = [self._newest[one] for one in alive if arrived_ns[one] >= least_ns]
        self._changed.wait_for(lambda: all(kept and kept[-1].stamp_ns >= least_ns for kept in coming), _DECODED_S)

    def localize(
        self, engine: AnchorEngine, frame: Frame, camera_frame: str, prior: SE3 | None
    ) -> AnchorPose | Rejection | None:
        """Find ``map_from_camera`` of a frame that was given by all cameras; None without images of others.

        Another camera than that of the frame may lead meanwhile.
        """
        places = self._places()
        name = next((one for one, its_frame in self._frames().items() if its_frame == camera_frame), "")
        others = {one: self._image_at(one, frame.stamp_ns) for one in places if one != name}
        images = {one: image for one, image in others.items() if image is not None}
        if not images or name not in places or not _is_calibrated(frame):
            return None
        search = self._search_of(engine, places)
        search.active, search.newest, search.motion = name, images, self._motion_of(places, images, frame.stamp_ns)
        self._is_searching = True
        try:
            return search.localize(frame, prior)
        finally:
            self._is_searching = False

    def _image_at(self, name: str, stamp_ns: int) -> Frame | None:
        """The newest calibrated image of a camera that is not later."""
        with self._changed:
            images = [one for one in self._newest[name] if one.stamp_ns <= stamp_ns + AT_ONCE_NS]
        return images[-1] if images and _is_calibrated(images[-1]) else None

    def _places(self) -> dict[str, SE3]:
        """Cameras whose places are known, in the frame of the first one that has images."""
        frames = self._frames()
        if not frames:
            return {}
        reference = next(iter(frames.values()))
        found = {name: self._static.lookup(reference, frame) for name, frame in frames.items()}
        return {name: place for name, place in found.items() if place is not None}

    def _frames(self) -> dict[str, str]:
        """Frame ids of the cameras whose images have come."""
        return {name: one.camera_frame for name, one in self.inputs.items() if one.camera_frame is not None}

    def _search_of(self, engine: AnchorEngine, places: Mapping[str, SE3]) -> RigSearch:
        """The search by cameras in these places; what is known of them lasts while they stay there."""
        search = self._search
        if search is None or search.engine.engine is not engine or not _is_same(search.engine.rig, places):
            rig = Rig({name: RigCamera(place) for name, place in places.items()})
            search = self._search = RigSearch(RigEngine(engine, rig), self._leading.name)
        return search

    def _motion_of(self, places: Mapping[str, SE3], images: Mapping[str, Frame], stamp_ns: int) -> RecentMotion:
        """The motion up to a stamp, by ``odom``; it is waited for where an image is of another time."""
        is_late = any(stamp_ns - image.stamp_ns > AT_ONCE_NS for image in images.values())
        deadline_s = time.monotonic() + (_MOTION_S if is_late else 0.0)
        while True:
            for serialized in self._odom():
                self._add_odom(serialized)
            if (self._motion.poses and self._motion.poses[-1][0] >= stamp_ns) or time.monotonic() >= deadline_s:
                return self._motion
            time.sleep(_LOOK_S)

    def _take_odom(self, serialized: bytes) -> None:
        message = deserialize_message(serialized, Odometry)
        reference = next(iter(self._frames().values()), "")
        base_from_rig = self._static.lookup(message.child_frame_id, reference)
        if base_from_rig is None:
            return
        if covariance_from_msg(message.twist)[0, 0] >= UNKNOWN_VARIANCE:  # odometry has begun again
            self._motion.reset()
        odom_from_base = pose_from_msg(message.pose.pose)
        self._motion.add(stamp_from_msg(message.header.stamp), odom_from_base @ base_from_rig)

    def values(self) -> dict[str, object]:
        """What each camera sees of the map, for diagnostics."""
        inliers = {} if self._search is None else dict(self._search.inliers)
        values: dict[str, object] = {"leads": self._leading.name}
        return values | {f"map points of {name}": inliers.get(name, "not searched") for name in self.inputs}

    def problems(self) -> Iterator[str]:
        """What is wrong with the cameras that do not lead, and with their places."""
        frames = self._frames()
        reference = next(iter(frames.values()), "")
        for name, one in self.inputs.items():
            if name == self._leading.name:
                continue
            if words := one.health.problem or one.health.warning:
                yield f"Camera '{name}': {words}"
            elif name in frames and self._static.lookup(reference, frames[name]) is None:
                yield f"Camera '{name}' is not used: {no_mount(reference, frames[name])}"
            elif one.calibration is not None and one.calibration.is_provisional:
                yield f"Camera '{name}' is not used: its camera_info holds no calibration."
        for difference in () if self._search is None else self._search.engine.places.known:
            if difference.is_contradicted:
                yield f"{difference}: {_remedy(difference)}."


def _remedy(difference: PlaceDifference) -> str:
    if difference.shows_the_same:
        return "remap the topics of one of them"
    if difference.is_exchanged:
        return f"{_REMEDIES[Cause.MOUNT]}, or exchange its topics and those of '{difference.seen_from}'"
    return _REMEDIES[difference.cause]


def _is_calibrated(frame: Frame) -> bool:
    return frame.calibration is None or not frame.calibration.is_provisional


def _is_same(rig: Rig, places: Mapping[str, SE3]) -> bool:
    """Whether the cameras of a rig are in these places."""
    return rig.names == tuple(places) and all(
        np.allclose(rig.rig_from_camera(name).matrix, place.matrix) for name, place in places.items()
    )
