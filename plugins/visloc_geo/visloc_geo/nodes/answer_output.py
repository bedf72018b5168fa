"""Output of the node that locates images on the earth: each answer, as other sensors measure it, and the last outcomes.

An image that is not located is a fix without a position; the diagnostics report the reason.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseWithCovarianceStamped
from sensor_msgs.msg import Imu, NavSatFix, NavSatStatus

from visloc_geo.answer import GeoAnswer
from visloc_geo.plugin import GEO_POSE
from visloc_geo.solving.types import GeoRejection, PhotoPose
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.nodes.base import VislocNode
from visloc_ros.nodes.camera_health import CameraHealth
from visloc_ros.nodes.conversions import NOT_MEASURED, header, pose_with_covariance_to_msg, quaternion_to_msg
from visloc_ros.nodes.geo_output import GEOID_SIGMA_M
from visloc_ros.nodes.hint_input import GEO_COMPASS, GEO_FIX
from visloc_ros.nodes.qos import RELIABLE

try:
    from geographic_msgs.msg import GeoPoseStamped
except ImportError:  # ROS installations have it as a package of its own
    GeoPoseStamped = None

LOCATED, RECENT = "located", 10  # searches behind the diagnostics


class GeoAnswerOutput:
    """Publishes answers, and counts them by outcome."""

    def __init__(self, node: VislocNode[Any], enu_frame: str) -> None:
        self.outcomes: Counter[str] = Counter()
        self._enu_frame = enu_frame
        self._recent: deque[str] = deque(maxlen=RECENT)
        self._last_rejection = ""
        self._fix_publisher = node.publisher(NavSatFix, GEO_FIX, RELIABLE)
        self._compass_publisher = node.publisher(Imu, GEO_COMPASS, RELIABLE)
        self._pose_publisher = node.publisher(PoseWithCovarianceStamped, "geo/pose", RELIABLE)
        self._geo_pose_publisher = None
        if GeoPoseStamped is not None:
            self._geo_pose_publisher = node.publisher(GeoPoseStamped, GEO_POSE, RELIABLE)

    def publish(self, answer: GeoAnswer, camera_frame: str) -> None:
        """Publish the answer for an image of a camera: the fix always, the others where it has an orientation."""
        self._count(answer.result)
        self._fix_publisher.publish(fix_to_msg(answer, camera_frame))
        pose, stamp_ns = answer.pose, answer.stamp_ns
        if pose is None or pose.enu_from_camera is None:
            return
        self._compass_publisher.publish(compass_to_msg(stamp_ns, camera_frame, pose.enu_from_camera, pose.covariance))
        message = PoseWithCovarianceStamped(header=header(stamp_ns, self._enu_frame))
        message.pose = pose_with_covariance_to_msg(pose.enu_from_camera, pose.covariance)
        self._pose_publisher.publish(message)
        if self._geo_pose_publisher is not None:
            self._geo_pose_publisher.publish(fill_geo_pose(GeoPoseStamped(), answer, camera_frame))

    def _count(self, result: PhotoPose | GeoRejection) -> None:
        outcome = LOCATED
        if isinstance(result, GeoRejection):
            outcome, self._last_rejection = result.reason.value, str(result)
        self.outcomes[outcome] += 1
        self._recent.append(outcome)

    def judge(self, camera: CameraHealth) -> tuple[str, str]:
        """Level and message of the diagnostics, by the last images."""
        if camera.problem:
            return "error", camera.problem
        if not self._recent:
            return "warn", "No image searched yet."
        num_located = self._recent.count(LOCATED)
        if num_located:
            return "ok", f"{num_located} of the last {len(self._recent)} images located on the earth."
        return "warn", (
            f"None of the last {len(self._recent)} images is located on the earth: does the database show this street?"
            f" The last one: {self._last_rejection}."
        )


def fix_to_msg(answer: GeoAnswer, frame_id: str) -> NavSatFix:
    """The position of a camera, NaN where there is none. The height is that of the views' tags: of ellipsoid or sea."""
    message = NavSatFix(header=header(answer.stamp_ns, frame_id))
    message.latitude, message.longitude, message.altitude = answer.geodetic or (math.nan, math.nan, math.nan)
    if answer.pose is None:
        message.status.status = NavSatStatus.STATUS_NO_FIX
        return message
    message.status.status = NavSatStatus.STATUS_FIX
    covariance = answer.pose.covariance[:3, :3] + np.diag([0.0, 0.0, GEOID_SIGMA_M**2])
    message.position_covariance = covariance.ravel().tolist()
    message.position_covariance_type = NavSatFix.COVARIANCE_TYPE_KNOWN
    return message


def compass_to_msg(stamp_ns: int, frame_id: str, enu_from_camera: SE3, covariance: Array) -> Imu:
    """The orientation of the optical axes, as a compass measures it. ``covariance`` (6, 6) as in core.types."""
    message = Imu(header=header(stamp_ns, frame_id), orientation=quaternion_to_msg(enu_from_camera))
    message.orientation_covariance = covariance[3:, 3:].ravel().tolist()
    message.angular_velocity_covariance[0] = message.linear_acceleration_covariance[0] = NOT_MEASURED
    return message


def fill_geo_pose(message: Any, answer: GeoAnswer, frame_id: str) -> Any:
    """Fill in a GeoPoseStamped of an answer with an orientation; it has no covariance, which ``geo/fix`` has."""
    assert answer.pose is not None
    assert answer.pose.enu_from_camera is not None
    assert answer.geodetic is not None
    message.header = header(answer.stamp_ns, frame_id)
    place = message.pose.position
    place.latitude, place.longitude, place.altitude = answer.geodetic
    message.pose.orientation = quaternion_to_msg(answer.pose.enu_from_camera)
    return message
