"""Simulated pose priors: the truth perturbed by a stated amount, or a pose from anywhere in the map."""

from __future__ import annotations

import numpy as np

from visloc_ros.core.geometry import SE3, rotation_angle_deg
from visloc_ros.core.map import Map

_FALSE_DISTANCE_M, _FALSE_ANGLE_DEG = 0.5, 30.0


def perturbed(map_from_camera: SE3, rng: np.random.Generator, distance_m: float, angle_deg: float) -> SE3:
    """A pose off by exactly this distance and this angle, in a random direction and about a random axis."""
    direction, axis = (vector / np.linalg.norm(vector) for vector in rng.normal(size=(2, 3)))
    return map_from_camera @ SE3.from_rotation_vector(np.radians(angle_deg) * axis, distance_m * direction)


def false_prior(map_: Map, rng: np.random.Generator, truth: SE3 | None = None) -> SE3:
    """A prior near the pose of a random map image, and far from ``truth`` where such images exist."""
    poses = [image.map_from_camera for image in map_.images]
    far = [pose for pose in poses if truth is None or _is_far(pose, truth)] or poses
    return perturbed(far[int(rng.integers(len(far)))], rng, 0.1, 5.0)


def _is_far(pose: SE3, truth: SE3) -> bool:
    distance = float(np.linalg.norm(pose.translation - truth.translation))
    return distance > _FALSE_DISTANCE_M or rotation_angle_deg(pose.rotation, truth.rotation) > _FALSE_ANGLE_DEG
