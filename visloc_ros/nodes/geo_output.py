"""The fused pose on the earth, as other sensors' fixes are, for maps on the earth."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from sensor_msgs.msg import NavSatFix, NavSatStatus

from visloc_ros.core.geo_reference import GeoPose, GeoReference
from visloc_ros.core.types import State
from visloc_ros.nodes.base import VislocNode
from visloc_ros.nodes.conversions import header
from visloc_ros.nodes.qos import RELIABLE
from visloc_ros.pipeline.output import Published

GEOID_SIGMA_M = 30.0
"""Root mean square of the geoid's height above the ellipsoid: a map's heights may be above either."""


class GeoOutput:
    """Publishes ``gps/filtered``, where the base is on the earth, while the pose is reliable."""

    def __init__(self, node: VislocNode[Any], base_frame: str) -> None:
        self._base_frame = base_frame
        self._publisher = node.publisher(NavSatFix, "gps/filtered", RELIABLE)

    def publish(self, published: Published, on_earth: GeoReference | None) -> None:
        """Send the pose of a frame, if it has one that may be sent, and its map is on the earth."""
        pose, is_reliable = published.pose, published.estimate.state in (State.LOCALIZED, State.DEGRADED)
        if on_earth is None or pose is None or not (is_reliable and published.sends_pose):
            return
        there = on_earth.geo_pose(pose.map_from_base, pose.covariance)
        self._publisher.publish(fix_to_msg(published.stamp_ns, self._base_frame, there))


def fix_to_msg(stamp_ns: int, frame_id: str, pose: GeoPose) -> NavSatFix:
    """A fix of a pose on the earth; the altitude is NaN, its variance infinite, where it is not known."""
    message = NavSatFix(header=header(stamp_ns, frame_id), latitude=pose.latitude, longitude=pose.longitude)
    message.status.status = NavSatStatus.STATUS_FIX
    message.altitude = math.nan if pose.altitude is None else pose.altitude
    height_variance = math.inf if pose.altitude is None else GEOID_SIGMA_M**2
    message.position_covariance = (pose.covariance + np.diag([0.0, 0.0, height_variance])).ravel().tolist()
    message.position_covariance_type = NavSatFix.COVARIANCE_TYPE_KNOWN
    return message
