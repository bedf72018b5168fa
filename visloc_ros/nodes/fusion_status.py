"""The state of the fused pose, as ``status`` for programs and as diagnostics for people."""

from __future__ import annotations

import math
from collections.abc import Mapping

from visloc_msgs.msg import LocalizationStatus
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import Estimate, State, Support
from visloc_ros.fusion.health import largest_sigma
from visloc_ros.nodes.conversions import header, state_to_msg, support_to_msg

UNKNOWN = -1.0
LEVEL_OF_STATE = {State.LOCALIZED: "ok", State.LOST: "error"}
WORDS_OF_SUPPORT = {
    Support.NONE: "no pose",
    Support.ANCHOR: "carried on from an anchor",
    Support.MAP_TRACKING: "points of the map are followed",
    Support.ODOMETRY: "odometry alone",
}


def status_to_msg(estimate: Estimate, map_frame: str, map_name: str, anchors: Mapping[str, int]) -> LocalizationStatus:
    """The status message of an estimate; ``anchors`` are the fuser's counts by verdict."""
    message = LocalizationStatus(header=header(estimate.stamp_ns, map_frame), map_name=map_name)
    message.state, message.support = state_to_msg(estimate.state), support_to_msg(estimate.support)
    message.reason = "" if estimate.reason is None else estimate.reason.value
    message.age_s = UNKNOWN if estimate.age_ns is None else estimate.age_ns / NANOSECONDS
    message.distance_since_fix = UNKNOWN if estimate.distance_since_fix is None else estimate.distance_since_fix
    message.anchor_probability = UNKNOWN if estimate.anchor_probability is None else estimate.anchor_probability
    message.scale, message.metric = float(estimate.scale or 0.0), estimate.metric
    message.position_sigma, message.rotation_sigma_deg = _sigmas(estimate)
    message.anchors_accepted = anchors.get("ACCEPTED", 0)
    message.anchors_rejected = sum(anchors.values()) - message.anchors_accepted
    return message


def _sigmas(estimate: Estimate) -> tuple[float, float]:
    if estimate.covariance is None:
        return UNKNOWN, UNKNOWN
    position, rotation = estimate.covariance[:3, :3], estimate.covariance[3:, 3:]
    return largest_sigma(position), math.degrees(largest_sigma(rotation))


def words_for(estimate: Estimate) -> tuple[str, str]:
    """Level and one line for people: state, reason, support, and age of the last fix."""
    words = estimate.state.value
    if estimate.reason is not None:
        words += f": {estimate.reason.value}"
    if estimate.map_from_camera is not None:
        words += f"; {WORDS_OF_SUPPORT[estimate.support]}"
    if estimate.age_ns is not None:
        words += f"; last fix {estimate.age_ns / NANOSECONDS:.1f} s"
        words += "" if estimate.distance_since_fix is None else f" and {estimate.distance_since_fix:.2f} m"
        words += " ago"
    return LEVEL_OF_STATE.get(estimate.state, "warn"), words
