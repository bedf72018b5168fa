"""Predicted poses for benchmarks: the truth disturbed by a stated amount, or a pose from anywhere in the map."""

from __future__ import annotations

import numpy as np

from visloc_ros.core.geometry import SE3
from visloc_ros.core.map import Map
from visloc_ros.evaluation.metrics import position_error, rotation_error_deg

_FALSE_DISTANCE_M, _FALSE_ANGLE_DEG = 0.5, 30.0


def disturbed(map_from_camera: SE3, rng: np.random.Generator, distance_m: float, angle_deg: float) -> SE3:
    """A pose off by exactly this distance and this angle, in a random direction and about a random axis."""
    direction, axis = (vector / np.linalg.norm(vector) for vector in rng.normal(size=(2, 3)))
    return map_from_camera @ SE3.from_rotation_vector(np.radians(angle_deg) * axis, distance_m * direction)


def false_prediction(map_: Map, rng: np.random.Generator, truth: SE3 | None = None) -> SE3:
    """A prediction near the pose of a random map image, and far from ``truth`` where such images exist."""
    poses = [image.map_from_camera for image in map_.images]
    far = [pose for pose in poses if truth is None or _is_far(pose, truth)] or poses
    return disturbed(far[int(rng.integers(len(far)))], rng, 0.1, 5.0)


def _is_far(pose: SE3, truth: SE3) -> bool:
    far_off = position_error(pose, truth) > _FALSE_DISTANCE_M
    return far_off or rotation_error_deg(pose, truth) > _FALSE_ANGLE_DEG
