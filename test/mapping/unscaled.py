"""Poses moved to a frame of arbitrary scale and axes, as structure from motion leaves them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from visloc_ros.core.geometry import SE3, Sim3, rotation_matrix
from visloc_ros.core.trajectory import NANOSECONDS, Trajectory

MAP_FROM_SFM = Sim3(2.5, rotation_matrix([0.3, -1.1, 0.4]), np.array([4.0, -2.0, 7.0]))


def names_of(poses: Sequence[SE3]) -> dict[str, SE3]:
    return {f"image{index}": pose for index, pose in enumerate(poses)}


def in_sfm(poses: Sequence[SE3]) -> dict[str, SE3]:
    return {name: MAP_FROM_SFM.inverse.apply_to_pose(pose) for name, pose in names_of(poses).items()}


def path_in_sfm(seconds: np.ndarray, poses: Sequence[SE3]) -> Trajectory:
    stamps_ns = np.round(np.asarray(seconds) * NANOSECONDS).astype(np.int64)
    return Trajectory(stamps_ns, tuple(in_sfm(poses).values()))
