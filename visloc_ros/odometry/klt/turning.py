"""A camera that turns on the spot: its rotation is known even where nothing is left to tell a translation."""

from __future__ import annotations

import numpy as np

from visloc_ros.core.geometry import SE3, nearest_rotation
from visloc_ros.odometry.klt.local_map import Keyframe, rows_of
from visloc_ros.odometry.klt.tracking import Features
from visloc_ros.odometry.klt.two_view import bearings

_ITERATIONS = 5


def turned_since(keyframe: Keyframe, features: Features, now: SE3, max_error_px: float) -> SE3 | None:
    """``camera_from_odom`` with the centre of ``now`` and a rotation that explains the features since a keyframe.

    None where a rotation does not explain most of them: then the camera has moved.
    """
    rows, shared = rows_of(keyframe.features.ids, features.ids)
    if np.count_nonzero(shared) < 2:
        return None
    before, after = bearings(keyframe.features.rays[rows[shared]]), bearings(features.rays[shared])
    weights = np.ones(len(before))
    for _ in range(_ITERATIONS):
        turn = nearest_rotation((after * weights[:, None]).T @ before)
        errors_px = np.linalg.norm(after - before @ turn.T, axis=1) * features.pixels_per_ray[shared]
        weights = 1.0 / (np.median(errors_px) + errors_px + 1e-9)
    if float(np.median(errors_px)) > max_error_px:
        return None
    rotation = nearest_rotation(turn @ keyframe.camera_from_odom.rotation)
    return SE3(rotation, -rotation @ now.inverse.translation)
