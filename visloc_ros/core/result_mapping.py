"""The result of a search as plain values for JSON."""

from __future__ import annotations

from typing import Any

from visloc_ros.core.geometry import SE3
from visloc_ros.core.types import AnchorPose, Rejection

QUATERNION, TRANSLATION = ("qw", "qx", "qy", "qz"), ("tx", "ty", "tz")


def pose_to_mapping(pose: SE3) -> dict[str, float]:
    """A pose as qw, qx, qy, qz, tx, ty, tz."""
    values = [*pose.quaternion.tolist(), *pose.translation.tolist()]
    return dict(zip((*QUATERNION, *TRANSLATION), values, strict=True))


def pose_from_mapping(values: dict[str, Any]) -> SE3:
    """The pose of such a mapping. Raises KeyError, TypeError and ValueError for what is none."""
    wxyz, translation = ([float(values[name]) for name in names] for names in (QUATERNION, TRANSLATION))
    return SE3.from_quaternion(wxyz, translation)


def result_to_mapping(result: AnchorPose | Rejection) -> dict[str, Any]:
    """A pose with what it rests on, or the reason why there is none."""
    common: dict[str, Any] = {"stamp_ns": result.stamp_ns, "success": isinstance(result, AnchorPose)}
    common["timings_ms"] = dict(result.stage_ms)
    if isinstance(result, Rejection):
        return common | {"reason": result.reason.value, "counts": dict(result.counts)}
    return common | {
        "map_from_camera": pose_to_mapping(result.map_from_camera),
        "covariance": result.covariance.tolist(),
        "num_inliers": result.num_inliers,
        "num_matches": result.num_matches,
        "reprojection_error_px": result.reprojection_error_px,
        "probability": result.probability,
        "camera": None if result.calibration is None else result.calibration.to_mapping(),
        "references": list(result.references),
    }
