"""Pure rotation: a camera that turns on the spot has a known rotation even without landmarks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from visloc_ros.core.geometry import SE3, Array, nearest_rotation
from visloc_ros.odometry.klt.config import KltConfig
from visloc_ros.odometry.klt.local_map import Keyframe, rows_of
from visloc_ros.odometry.klt.tracking import Features
from visloc_ros.odometry.klt.two_view import bearings

_ITERATIONS = 5
_ERROR_SHARE = 0.4  # of the largest reprojection error; on the spot half of it is left, in motion soon twice as much
_COMPARED = 2  # times the landmarks that a pose needs: features by which a motion since a keyframe is noticed


def estimate_pure_rotation(
    keyframes: Sequence[Keyframe], features: Features, now: SE3, config: KltConfig
) -> SE3 | None:
    """``camera_from_odom`` with the centre of ``now``, turned as the features tell since the last of the keyframes.

    None where the camera has moved: where a rotation does not explain the features since that one and since the
    earliest keyframe that still shares enough of them. The last one alone would not notice a motion of few views.
    """
    least, limit_px = _COMPARED * config.min_tracked, _ERROR_SHARE * config.max_reprojection_px
    earliest = next((item for item in keyframes if _num_shared(item, features) >= least), keyframes[-1])
    if _rotation_since(earliest, features, limit_px) is None:
        return None
    turn = _rotation_since(keyframes[-1], features, limit_px)
    if turn is None:
        return None
    rotation = nearest_rotation(turn @ keyframes[-1].camera_from_odom.rotation)
    return SE3(rotation, -rotation @ now.inverse.translation)


def _num_shared(keyframe: Keyframe, features: Features) -> int:
    return int(np.count_nonzero(rows_of(keyframe.features.ids, features.ids)[1]))


def _rotation_since(keyframe: Keyframe, features: Features, max_error_px: float) -> Array | None:
    """Rotation (3, 3) ``camera_from_keyframe`` that explains most of the features, if there is one."""
    rows, shared = rows_of(keyframe.features.ids, features.ids)
    if np.count_nonzero(shared) < 2:
        return None
    before, after = bearings(keyframe.features.rays[rows[shared]]), bearings(features.rays[shared])
    weights = np.ones(len(before))
    for _ in range(_ITERATIONS):
        turn = nearest_rotation((after * weights[:, None]).T @ before)
        errors_px = np.linalg.norm(after - before @ turn.T, axis=1) * features.pixels_per_ray[shared]
        weights = 1.0 / (np.median(errors_px) + errors_px + 1e-9)
    return turn if float(np.median(errors_px)) <= max_error_px else None
