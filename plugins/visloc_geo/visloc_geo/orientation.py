"""Headings, pitch and roll of cameras in the frame east, north, up."""

from __future__ import annotations

import math
from typing import TypeVar

import numpy as np

from visloc_ros.core.geometry import Array, rotation_matrix

_ENU_FROM_LEVEL = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])  # a level camera that looks north


def rotation_of(heading_deg: float, pitch_deg: float = 0.0, roll_deg: float = 0.0) -> Array:
    """``enu_from_camera`` (3, 3) of a camera: x right, y down, z forward.

    The heading is clockwise from true north, the pitch positive where the camera looks up, the roll positive where its
    right side is low.
    """
    yaw = rotation_matrix([0.0, 0.0, -math.radians(heading_deg)])
    pitch = rotation_matrix([math.radians(pitch_deg), 0.0, 0.0])
    roll = rotation_matrix([0.0, 0.0, math.radians(roll_deg)])
    return np.asarray(yaw @ _ENU_FROM_LEVEL @ pitch @ roll)


def angles_of(enu_from_camera: Array) -> tuple[float, float, float]:
    """Heading (0 to 360), pitch and roll in degrees of a rotation (3, 3); straight up or down the roll is 0."""
    right, down, forward = enu_from_camera.T
    pitch = math.atan2(forward[2], math.hypot(forward[0], forward[1]))
    if math.hypot(forward[0], forward[1]) < 1e-9:
        top = -down if forward[2] < 0 else down  # where the camera looks once it is level again
        return math.degrees(math.atan2(top[0], top[1])) % 360.0, math.degrees(pitch), 0.0
    heading = math.atan2(forward[0], forward[1])
    roll = math.atan2(-right[2], -down[2])
    return math.degrees(heading) % 360.0, math.degrees(pitch), math.degrees(roll)


Degrees = TypeVar("Degrees", float, Array)
"""Angles in degrees, one or an array."""


def heading_difference_deg(first: Degrees, second: Degrees) -> Degrees:
    """The first heading less the second, from -180 to 180 degrees."""
    return (first - second + 180.0) % 360.0 - 180.0
