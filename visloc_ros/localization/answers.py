"""The answer to a query: its pose in the map with what it rests on, or the reason why there is none."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.calibration import CameraCalibration
from visloc_ros.core.geometry import Array
from visloc_ros.core.plausibility import shared_covariance_fault
from visloc_ros.core.types import AnchorPose, Reason, Rejection
from visloc_ros.localization.evidence import Evidence, Query
from visloc_ros.localization.map_uncertainty import MapUncertainty
from visloc_ros.localization.motion_blur import smear_covariance
from visloc_ros.localization.pose import PoseSolution
from visloc_ros.localization.uncertainty import (
    covariance_by_focal_length,
    covariance_by_principal_point,
    covariance_by_smear,
)


def accept(
    query: Query,
    evidence: Evidence,
    pixels: Array,
    points: Array,
    of_map: MapUncertainty,
    calibration: CameraCalibration,
) -> AnchorPose | Rejection:
    """The pose of a query by its evidence: pixels (N, 2) and map points (N, 3) of its correspondences.

    UNCERTAIN where the errors that it may have add up to no covariance.
    """
    solution, support = evidence.solution, evidence.support
    assert solution is not None
    assert support is not None
    pose, seen = solution.map_from_camera, points[solution.inliers]
    shared = of_map.of_pose(pose, solution.own_covariance, solution.shared_covariance, seen)
    if calibration.focal_sigma > 0:
        shared = shared + covariance_by_focal_length(pose, seen, calibration.camera, calibration.focal_sigma)
    if calibration.principal_point_sigma_px > 0:
        sigma_px = calibration.principal_point_sigma_px
        shared = shared + covariance_by_principal_point(pose, seen, calibration.camera, sigma_px)
    covariance = solution.own_covariance + shared + _by_smear(query, solution, pixels, points)
    if shared_covariance_fault(covariance, shared):
        return reject(query, Reason.UNCERTAIN, evidence)
    return AnchorPose(
        query.frame.stamp_ns,
        solution.map_from_camera,
        covariance,
        solution.num_inliers,
        len(evidence.correspondences),
        solution.median_error_px,
        pixels[solution.inliers],
        points[solution.inliers],
        evidence.references,
        query.watch.stage_ms,
        calibration,
        shared,
        support.probability,
    )


def _by_smear(query: Query, solution: PoseSolution, pixels: Array, points: Array) -> Array:
    """Covariance (6, 6) that a camera's motion while it exposed adds to that of the pose."""
    with query.watch("pnp"):
        smear = smear_covariance(query.frame.image)
        if not smear.any():
            return np.zeros((6, 6))
        pose, inliers = solution.map_from_camera, solution.inliers
        return covariance_by_smear(pose, pixels[inliers], points[inliers], solution.camera, smear)


def landmarks_of(evidence: Evidence, labels: NDArray[np.int32]) -> NDArray[np.int32]:
    """Landmarks (N,) of the inliers."""
    assert evidence.solution is not None
    return labels[evidence.inlier_rows]


def reject(query: Query, reason: Reason, evidence: Evidence) -> Rejection:
    """The reason why a query has no pose, with the numbers behind it."""
    counts: dict[str, float] = {
        "features": len(query.features),
        "references": len(evidence.references),
        "matches": evidence.num_matches,
        "correspondences": len(evidence.correspondences),
    }
    support = evidence.support
    if support is not None:
        counts["inliers"] = support.num_inliers
        assert evidence.solution is not None
        counts["reprojection_error_px"] = evidence.solution.median_error_px
        counts["spread"] = support.spread
        counts["probability"] = support.probability
    return Rejection(query.frame.stamp_ns, reason, counts, query.watch.stage_ms)
