"""Odometry that leaps farther than any camera moves or turns is left out; a leap that lasts begins a new segment."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from visloc_ros.core.geometry import rotation_angle_deg
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import OdometryPose, Reason, Rejection

# A bundle adjustment that has diverged, or a broken node, gives poses anywhere. One unit is the depth of what was seen
# first: a car that starts 0.3 m from a wall and drives at 30 m/s moves 100 units a second.
MAX_UNITS_PER_S = 1000.0
MAX_METRES_PER_S = 200.0
MAX_RAD_PER_S = 20.0  # a racing drone reaches three turns a second; an image that is suddenly upside down far more
SLACK_S, TURN_SLACK_S = 0.1, 0.01  # stamps that jitter are not speed


class OdometryContinuity:
    """Compares each pose with the one before it in its segment."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Start again after a jump of the clock."""
        self._last: OdometryPose | None = None  # as it was given, the newest that was no leap
        self._leapt: OdometryPose | None = None  # newer, and not accepted yet
        self._added = 0  # to the segments given, for each leap that lasted

    def checked(self, result: OdometryPose | Rejection, metres_per_unit: float | None) -> OdometryPose | Rejection:
        """The odometry of the next frame, under the number of its segment, or a rejection with BAD_MESSAGE for a leap.

        ``metres_per_unit`` where the scale is known in metres.
        """
        if isinstance(result, Rejection):
            return result
        speed = MAX_UNITS_PER_S if metres_per_unit is None else min(MAX_UNITS_PER_S, MAX_METRES_PER_S / metres_per_unit)
        has_lasted = self._leapt is not None and _follows(self._leapt, result, speed)
        if not has_lasted and self._last is not None and not _follows(self._last, result, speed):
            self._leapt = result
            return Rejection(result.stamp_ns, Reason.BAD_MESSAGE, {"leap": _distance(self._last, result)})
        self._added += has_lasted
        self._last, self._leapt = result, None
        return replace(result, segment=result.segment + self._added) if self._added else result


def _follows(before: OdometryPose, after: OdometryPose, units_per_s: float) -> bool:
    """Whether a camera can have moved so; segments share no origin."""
    if before.segment != after.segment:
        return True
    seconds = max(0, after.stamp_ns - before.stamp_ns) / NANOSECONDS
    angle = math.radians(rotation_angle_deg(before.odom_from_camera.rotation, after.odom_from_camera.rotation))
    is_slow = _distance(before, after) <= units_per_s * (seconds + SLACK_S)
    return is_slow and angle <= MAX_RAD_PER_S * (seconds + TURN_SLACK_S)


def _distance(before: OdometryPose, after: OdometryPose) -> float:
    with np.errstate(over="ignore", invalid="ignore"):
        moved = after.odom_from_camera.translation - before.odom_from_camera.translation
        return float(np.linalg.norm(moved))
