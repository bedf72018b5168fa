"""Checks of inputs: plausible poses, scales and covariances."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.plausibility import (
    LARGEST_DRIFT,
    LEAST_SIGMA,
    is_plausible_covariance,
    is_plausible_pose,
    is_plausible_scale,
)
from visloc_ros.core.types import AnchorPose, LoopClosure, OdometryPose, TrackedPose


def is_valid_odometry(odometry: OdometryPose) -> bool:
    """Whether odometry has plausible poses and, where it reports them, covariance, scale and vertical."""
    scale, up, stamps_ns = odometry.scale, odometry.up_in_odom, [*odometry.earlier, odometry.stamp_ns]
    return (
        all(is_plausible_pose(pose) for pose in (odometry.odom_from_camera, *odometry.earlier.values()))
        and all(before < after for before, after in pairwise(stamps_ns))
        and (odometry.covariance is None or is_valid_covariance(odometry.covariance))
        and (scale is None or (is_plausible_scale(scale.metres_per_unit) and 0.0 <= scale.log_sigma < np.inf))
        and (up is None or bool(abs(np.linalg.norm(up) - 1.0) < 1e-3))
    )


def is_valid_anchor(anchor: AnchorPose) -> bool:
    """Whether an anchor has a plausible pose, covariance, map covariance, and probability."""
    if not is_plausible_pose(anchor.map_from_camera) or not is_valid_covariance(anchor.covariance):
        return False
    if anchor.probability is not None and not 0.0 <= anchor.probability <= 1.0:
        return False
    of_map = anchor.map_covariance
    return of_map is None or (is_valid_covariance(of_map) and is_valid_covariance(anchor.covariance - of_map))


def is_valid_tracked(tracked: TrackedPose) -> bool:
    """Whether a tracked pose is plausible, and its motion not impossibly exact."""
    since_anchor = tracked.covariance_since_anchor
    if not is_plausible_pose(tracked.map_from_camera) or not is_valid_covariance(since_anchor):
        return False
    return bool(np.linalg.eigvalsh(since_anchor)[0] >= LEAST_SIGMA**2)


def is_valid_prior(map_from_child: SE3, covariance: Array) -> bool:
    """Whether a pose prior is plausible, and not impossibly exact."""
    if not is_plausible_pose(map_from_child) or not is_valid_covariance(covariance):
        return False
    return bool(np.linalg.eigvalsh(covariance)[0] >= LEAST_SIGMA**2)


def is_valid_loop(loop: LoopClosure) -> bool:
    """Whether a loop joins a frame to a later one by a plausible similarity with a positive covariance."""
    similarity, covariance = loop.earlier_from_later, np.asarray(loop.covariance, dtype=np.float64)
    if not is_plausible_pose(SE3(similarity.rotation, similarity.translation)):
        return False
    if not is_plausible_scale(similarity.scale, LARGEST_DRIFT) or loop.earlier_ns >= loop.later_ns:
        return False
    if covariance.shape != (7, 7) or not is_plausible_covariance(covariance):
        return False
    return bool(np.linalg.eigvalsh(covariance)[0] >= LEAST_SIGMA**2)


def is_valid_covariance(matrix: Array) -> bool:
    """Whether a matrix is a plausible covariance of a pose (6, 6)."""
    covariance: Array = np.asarray(matrix, dtype=np.float64)
    return covariance.shape == (6, 6) and is_plausible_covariance(covariance)
