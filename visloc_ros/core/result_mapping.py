"""The result of a search as plain values for JSON."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.geo_reference import GeoReference
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.plausibility import shared_covariance_fault
from visloc_ros.core.types import AnchorPose, Reason, Rejection

QUATERNION, TRANSLATION = ("qw", "qx", "qy", "qz"), ("tx", "ty", "tz")


def pose_to_mapping(pose: SE3) -> dict[str, float]:
    """A pose as qw, qx, qy, qz, tx, ty, tz."""
    values = [*pose.quaternion.tolist(), *pose.translation.tolist()]
    return dict(zip((*QUATERNION, *TRANSLATION), values, strict=True))


def pose_from_mapping(values: dict[str, Any]) -> SE3:
    """The pose of such a mapping. Raises KeyError, TypeError and ValueError for what is none."""
    wxyz, translation = ([float(values[name]) for name in names] for names in (QUATERNION, TRANSLATION))
    return SE3.from_quaternion(wxyz, translation)


def result_to_mapping(
    result: AnchorPose | Rejection, with_inliers: bool = False, on_earth: GeoReference | None = None
) -> dict[str, Any]:
    """A pose with what it rests on, or the reason why there is none; ``with_inliers`` with each one.

    Where the map is ``on_earth``, with the same pose there.
    """
    common: dict[str, Any] = {"stamp_ns": result.stamp_ns, "success": isinstance(result, AnchorPose)}
    common["timings_ms"] = dict(result.stage_ms)
    if isinstance(result, Rejection):
        return common | {"reason": result.reason.value, "counts": dict(result.counts)}
    inliers = {
        "inlier_pixels": result.inlier_pixels.tolist(),
        "inlier_points": result.inlier_points.tolist(),
        "inlier_landmarks": result.inlier_landmarks.tolist(),
    }
    earth = {}
    if on_earth is not None:
        earth["geo_pose"] = on_earth.geo_pose(result.map_from_camera, result.covariance).to_mapping()
    return (
        common
        | {
            "map_from_camera": pose_to_mapping(result.map_from_camera),
            "covariance": result.covariance.tolist(),
            "map_covariance": None if result.map_covariance is None else result.map_covariance.tolist(),
            "num_inliers": result.num_inliers,
            "num_matches": result.num_matches,
            "reprojection_error_px": result.reprojection_error_px,
            "probability": result.probability,
            "camera": None if result.calibration is None else result.calibration.to_mapping(),
            "references": list(result.references),
        }
        | earth
        | (inliers if with_inliers else {})
    )


def result_from_mapping(values: dict[str, Any], stamp_ns: int) -> AnchorPose | Rejection:
    """The result of such a mapping for the image of a stamp, without its calibration.

    Raises KeyError, TypeError and ValueError for what is none.
    """
    if not values["success"]:
        return Rejection(stamp_ns, Reason(values["reason"]), values["counts"], values["timings_ms"])
    covariance, map_covariance = values["covariance"], values["map_covariance"]
    if fault := shared_covariance_fault(covariance, map_covariance):
        raise ValueError(f"the covariance is invalid: {fault}")
    return AnchorPose(
        stamp_ns,
        pose_from_mapping(values["map_from_camera"]),
        _array(covariance, 6, 6),
        int(values["num_inliers"]),
        int(values["num_matches"]),
        float(values["reprojection_error_px"]),
        _array(values.get("inlier_pixels") or [], -1, 2),
        _array(values.get("inlier_points") or [], -1, 3),
        tuple(map(str, values["references"])),
        values["timings_ms"],
        map_covariance=None if map_covariance is None else _array(map_covariance, 6, 6),
        probability=values["probability"],
        inlier_landmarks=_landmarks(values),
    )


def _landmarks(values: dict[str, Any]) -> NDArray[np.int32]:
    landmarks = np.array(values.get("inlier_landmarks") or [], np.int32)
    if len(landmarks) not in (0, len(values.get("inlier_points") or [])):
        raise ValueError("the landmarks are not those of the inliers")
    return landmarks


def _array(values: Any, *shape: int) -> Array:
    return np.asarray(values, float).reshape(shape)
