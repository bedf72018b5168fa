"""Checks of inputs: plausible poses, scales and covariances."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.plausibility import (
    LARGEST_DRIFT,
    covariance_fault,
    is_plausible_pose,
    is_plausible_scale,
    is_plausible_sigma,
    shared_covariance_fault,
)
from visloc_ros.core.types import AnchorPose, LoopClosure, OdometryPose, TrackedPose


def is_valid_odometry(odometry: OdometryPose) -> bool:
    """Whether odometry has plausible poses and, where it reports them, covariance, scale and vertical."""
    scale, up, stamps_ns = odometry.scale, odometry.up_in_odom, [*odometry.earlier, odometry.stamp_ns]
    return (
        all(is_plausible_pose(pose) for pose in (odometry.odom_from_camera, *odometry.earlier.values()))
        and all(before < after for before, after in pairwise(stamps_ns))
        and (odometry.covariance is None or covariance_fault(odometry.covariance) is None)
        and (scale is None or (is_plausible_scale(scale.metres_per_unit) and is_plausible_sigma(scale.log_sigma)))
        and (up is None or bool(abs(np.linalg.norm(up) - 1.0) < 1e-3))
    )


def is_valid_anchor(anchor: AnchorPose) -> bool:
    """Whether an anchor has a plausible pose, covariances of it, of the map and of its own, and a probability."""
    if anchor.probability is not None and not 0.0 <= anchor.probability <= 1.0:
        return False
    fault = shared_covariance_fault(anchor.covariance, anchor.map_covariance)
    return fault is None and is_plausible_pose(anchor.map_from_camera)


def is_valid_tracked(tracked: TrackedPose) -> bool:
    """Whether a tracked pose is plausible, and so are both of its covariances."""
    covariances = tracked.covariance, tracked.covariance_since_anchor
    return is_plausible_pose(tracked.map_from_camera) and all(covariance_fault(one) is None for one in covariances)


def is_valid_prior(map_from_child: SE3, covariance: Array) -> bool:
    """Whether a pose prior is plausible, and so is its covariance."""
    return is_plausible_pose(map_from_child) and covariance_fault(covariance) is None


def is_valid_loop(loop: LoopClosure) -> bool:
    """Whether a loop joins a frame to a later one by a plausible similarity with a plausible covariance."""
    similarity = loop.earlier_from_later
    if not is_plausible_pose(SE3(similarity.rotation, similarity.translation)):
        return False
    if not is_plausible_scale(similarity.scale, LARGEST_DRIFT) or loop.earlier_ns >= loop.later_ns:
        return False
    return covariance_fault(loop.covariance, size=7) is None
