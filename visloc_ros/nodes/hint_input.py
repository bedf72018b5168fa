"""From ``fix`` and ``compass`` to hints for searches: the camera's rough position on the earth, and its heading."""

from __future__ import annotations

import math
import threading
from collections import deque
from dataclasses import replace
from typing import Any, Generic, TypeVar

import numpy as np
from sensor_msgs.msg import Imu, NavSatFix, NavSatStatus

from visloc_msgs.srv import Localize
from visloc_ros.core.geo_reference import GEO_SIGMA_M, GeoReference
from visloc_ros.core.geometry import SE3
from visloc_ros.core.manifest import Manifest
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.localization import HeadingHint, PositionHint, SearchHint
from visloc_ros.localization.rough_pose import RoughPose, gps_hint
from visloc_ros.nodes.base import VislocNode
from visloc_ros.nodes.conversions import heading_from_msg, position_from_msg
from visloc_ros.nodes.guard import RejectedMessages
from visloc_ros.nodes.qos import SENSOR
from visloc_ros.nodes.transforms import StaticTransforms
from visloc_ros.sources.measurements import GeoPosition
from visloc_ros.sources.ros_messages import MessageError, checked_stamp

GEO_FIX, GEO_COMPASS = "geo/fix", "geo/compass"
"""Topics of a node that finds images on the earth."""

MAX_FIX_AGE_NS, MAX_COMPASS_AGE_NS = 2 * NANOSECONDS, NANOSECONDS // 2  # receivers measure once a second, or more often
SPEED, TURN_RATE = 2.0, 1.0  # m/s and rad/s: a robot's motion since the measurement
COMPASS_SIGMA, COMPASS_OFFSET = np.deg2rad(20.0), np.deg2rad(10.0)  # if not stated; by iron and true north
MAX_ANSWER_AGE_NS = 30 * NANOSECONDS  # that node takes seconds for an image, and the next one ten seconds later

Value = TypeVar("Value")


class FixInput:
    """Subscribes to positions on the earth, of a receiver or of found images; ``rejected`` counts unusable messages."""

    def __init__(self, node: VislocNode[Any], topic: str, rejected: RejectedMessages) -> None:
        self._topic, self._rejected = topic, rejected
        self._max_age_ns = MAX_ANSWER_AGE_NS if topic == GEO_FIX else MAX_FIX_AGE_NS
        self._fixes: _Recent[GeoPosition] = _Recent()
        node.subscription(NavSatFix, topic, self._take, SENSOR, from_outside=topic not in (GEO_FIX, GEO_COMPASS))

    def at(self, stamp_ns: int) -> GeoPosition | None:
        """The position nearest in time; its ``sigma``, always known, covers the motion since."""
        found = self._fixes.nearest(stamp_ns, self._max_age_ns)
        if found is None:
            return None
        age_s, position = found
        return replace(position, sigma=float(np.hypot(position.sigma or GEO_SIGMA_M, SPEED * age_s)))

    def _take(self, message: NavSatFix) -> None:
        if message.status.status == NavSatStatus.STATUS_NO_FIX:
            return
        try:
            position = position_from_msg(message)
            self._fixes.add(checked_stamp(message.header.stamp), position)
        except MessageError as error:
            self._rejected.note(f"bad {self._topic}", str(error))


class _CompassInput:
    """Subscribes to orientations on the earth, of an IMU or of found images."""

    def __init__(self, node: VislocNode[Any], topic: str, rejected: RejectedMessages, static: StaticTransforms) -> None:
        self._topic, self._rejected, self._static = topic, rejected, static
        self._max_age_ns = MAX_ANSWER_AGE_NS if topic == GEO_COMPASS else MAX_COMPASS_AGE_NS
        self._orientations: _Recent[tuple[SE3, float | None, str]] = _Recent()
        node.subscription(Imu, topic, self._take, SENSOR, from_outside=topic not in (GEO_FIX, GEO_COMPASS))

    def at(self, stamp_ns: int, camera_frame: str) -> HeadingHint | None:
        """The camera's heading by the orientation nearest in time; its ``sigma_rad`` covers turns since."""
        found = self._orientations.nearest(stamp_ns, self._max_age_ns)
        if found is None:
            return None
        age_s, (earth_from_compass, sigma, frame) = found
        compass_from_camera = self._static.lookup(frame, camera_frame)
        if compass_from_camera is None:
            self._rejected.note(f"{self._topic} without transform", f"no fixed transform {frame} -> {camera_frame}")
            return None
        east, north, _ = (earth_from_compass @ compass_from_camera).rotation[:, 2]
        stated = COMPASS_SIGMA if sigma is None else sigma
        sigma_rad = float(np.linalg.norm([stated, COMPASS_OFFSET, TURN_RATE * age_s]))
        return HeadingHint(float(np.arctan2(north, east)), sigma_rad)

    def _take(self, message: Imu) -> None:
        try:
            rotation, sigma = heading_from_msg(message)
            self._orientations.add(checked_stamp(message.header.stamp), (rotation, sigma, message.header.frame_id))
        except MessageError as error:
            self._rejected.note(f"bad {self._topic}", str(error))


class HintInput:
    """Subscribes to the optional topics with a rough pose, for maps on the earth (``geo_origin``).

    They are of a receiver and a compass, or of a node that finds images on the earth. ``rejected`` counts unusable
    messages. Heights are left out: receivers measure them from the ellipsoid, photos from the sea.
    """

    def __init__(self, node: VislocNode[Any]) -> None:
        self.rejected = RejectedMessages(node.get_logger())
        static = StaticTransforms(node)
        self._fixes = [FixInput(node, topic, self.rejected) for topic in ("fix", GEO_FIX)]
        self._compasses = [_CompassInput(node, topic, self.rejected, static) for topic in ("compass", GEO_COMPASS)]

    def at(self, stamp_ns: int, camera_frame: str, manifest: Manifest) -> SearchHint | None:
        """The hint for an image, in the map of a manifest; None where nothing is known."""
        if manifest.on_earth is None:
            return None
        position, heading = self._position(stamp_ns, manifest.on_earth), self._heading(stamp_ns, camera_frame)
        return None if position is None and heading is None else SearchHint(position, heading)

    def _position(self, stamp_ns: int, origin: GeoReference) -> PositionHint | None:
        """By the most exact position."""
        known = [one for one in (fix.at(stamp_ns) for fix in self._fixes) if one is not None]
        best = min(known, key=lambda one: one.sigma or 0.0, default=None)
        if best is None or best.sigma is None:
            return None
        return gps_hint(origin, (best.latitude, best.longitude), best.sigma)

    def _heading(self, stamp_ns: int, camera_frame: str) -> HeadingHint | None:
        """By the most exact orientation."""
        headings = (compass.at(stamp_ns, camera_frame) for compass in self._compasses)
        return min((one for one in headings if one is not None), key=lambda one: one.sigma_rad, default=None)


def rough_pose_from_msg(request: Localize.Request) -> RoughPose:
    """What a request says of the camera beside its image. Raises MessageError, ConfigError."""
    point, gps, sigma = request.position, None, request.position_sigma or None
    if request.fix.position_covariance_type != NavSatFix.COVARIANCE_TYPE_UNKNOWN:
        fix = position_from_msg(request.fix)
        gps, sigma = (fix.latitude, fix.longitude), fix.sigma or GEO_SIGMA_M
        if request.position_sigma:
            raise MessageError("give a position in the map or a fix, not both")
    position = (point.x, point.y) if math.isnan(point.z) else (point.x, point.y, point.z)
    has_heading = bool(request.heading_sigma)
    return RoughPose(
        position if request.position_sigma else None,
        gps,
        sigma,
        90.0 - math.degrees(request.heading) if has_heading else None,
        math.degrees(request.heading_sigma) if has_heading else None,
        request.text if len(request.text) else None,
    )


class _Recent(Generic[Value]):
    """The last values by stamp; written and read from different threads."""

    _KEPT = 256  # a second and more of a fast compass

    def __init__(self) -> None:
        self._values: deque[tuple[int, Value]] = deque(maxlen=self._KEPT)
        self._lock = threading.Lock()

    def add(self, stamp_ns: int, value: Value) -> None:
        with self._lock:
            self._values.append((stamp_ns, value))

    def nearest(self, stamp_ns: int, max_gap_ns: int) -> tuple[float, Value] | None:
        """The value nearest to a stamp, with the seconds between them."""
        with self._lock:
            found = min(self._values, key=lambda item: abs(item[0] - stamp_ns), default=None)
        if found is None or abs(found[0] - stamp_ns) > max_gap_ns:
            return None
        return abs(found[0] - stamp_ns) / NANOSECONDS, found[1]
