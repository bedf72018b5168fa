"""The direction of up in a reconstruction, by the way the camera was held, and the rotation of a map to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from visloc_ros.core.geometry import SE3, Array, Sim3

# One standard deviation of how level cameras are held and mounted. The poses cannot show it: a camera that is always
# held askew turns its roll along with itself.
_TURNING_CAMERA_ERROR_DEG = 4.0
RELIABLE_ERROR_DEG = 6.0

_MIN_DOWN_AGREEMENT = 0.7
_MIN_TURN = 0.2
_MOST_PITCH_DEG = 70.0  # beyond, a camera that turns looks straight down or up, and the sign of up is not seen


class Up(NamedTuple):
    """Unit vector (3,) that points up, its standard deviation in degrees (infinite: assumed), and its source."""

    direction: Array
    error_deg: float
    source: str

    @property
    def reliable(self) -> bool:
        """Whether a map turned by it counts as gravity-aligned."""
        return self.error_deg <= RELIABLE_ERROR_DEG


def level(sfm_from_cameras: Mapping[str, SE3], up: Array) -> Sim3:
    """Rotation that turns ``up`` to +z and puts the first camera at the origin, looking along +x."""
    first = next(iter(sfm_from_cameras.values()))
    rotation = level_rotation(up, first.rotation[:, 2])
    return Sim3(1.0, rotation, -rotation @ first.translation)


def level_rotation(up: Array, viewing: Array) -> Array:
    """Rotation (3, 3) that turns the unit vector ``up`` to +z, and ``viewing`` to the half plane of +x."""
    forward = viewing - (viewing @ up) * up
    if np.linalg.norm(forward) < 1e-6:
        forward = np.eye(3)[np.argmin(np.abs(up))]
        forward = forward - (forward @ up) * up
    forward = forward / np.linalg.norm(forward)
    return np.stack([forward, np.cross(up, forward), up])


def find_up(sfm_from_cameras: Sequence[SE3]) -> Up | None:
    """The direction of up in the frame of the poses, if the camera is held without roll.

    Up is perpendicular to the images' horizontal axes, once the camera has turned enough for these to differ; its error
    is the camera's mean deviation from level. Otherwise the mean of the images' up axes is assumed, whose error is the
    mean pitch, that the poses do not show: 90 degrees of a drone's camera that looks straight down. None when the
    camera rolls over, and when it turns about its viewing axis. A camera that is rolled on purpose while it hardly
    turns misleads both.
    """
    rotations = np.array([pose.rotation for pose in sfm_from_cameras])
    mean_down = rotations[:, :, 1].mean(axis=0)
    if np.linalg.norm(mean_down) < _MIN_DOWN_AGREEMENT:
        return None
    _, singular, axes = np.linalg.svd(rotations[:, :, 0], full_matrices=True)
    if len(singular) < 3 or singular[1] <= _MIN_TURN * singular[0]:
        return Up(np.asarray(-mean_down / np.linalg.norm(mean_down)), np.inf, "level camera")
    down = axes[2] * np.sign(axes[2] @ mean_down)
    if down @ mean_down < np.cos(np.radians(_MOST_PITCH_DEG)):
        return None
    return Up(np.asarray(-down), _TURNING_CAMERA_ERROR_DEG, "level camera")
