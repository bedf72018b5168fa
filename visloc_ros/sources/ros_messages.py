"""Converts this package's ROS messages, by rclpy or from a bag, to the core's types; no ROS is needed.

Every ``*_from_msg`` checks its message (finite numbers, unit quaternion, sizes) and raises MessageError.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from visloc_ros.core.coordinate_frame import CoordinateFrame, is_uuid
from visloc_ros.core.errors import MapError, VislocError
from visloc_ros.core.geo_reference import GeoReference
from visloc_ros.core.geometry import SE3, Array, Sim3
from visloc_ros.core.plausibility import (
    FARTHEST,
    LARGEST_DRIFT,
    covariance_fault,
    is_plausible_position,
    is_plausible_scale,
    is_plausible_sigma,
    shared_covariance_fault,
)
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import (
    Anchor,
    AnchorPose,
    LoopClosure,
    MapIdentity,
    OdometryPose,
    OdometryScale,
    Reason,
    Rejection,
    TrackedPose,
)

UNIT_TOLERANCE = 1e-3
LARGEST_RESCALING = 1e6  # of a map without metres to one in metres
MOST_EARLIER = 1000  # poses of images before a segment's first: more have nothing in common with it
# RViz leaves the variances of z, roll and pitch at zero: it does not know them, and neither the height of the floor.
UNSAID_SIGMAS = np.repeat([1.0, np.deg2rad(15.0)], 3)  # metres, radians


class MessageError(VislocError):
    """A message holds values that cannot be true; it is counted and left out."""


def stamp_from_msg(stamp: Any) -> int:
    """A ROS time to nanoseconds. Raises MessageError where it is none."""
    if stamp.nanosec >= NANOSECONDS:
        raise MessageError(f"the stamp has {stamp.nanosec} nanoseconds: a second has only {NANOSECONDS}")
    return int(stamp.sec) * NANOSECONDS + int(stamp.nanosec)


def checked_stamp(stamp: Any) -> int:
    """The stamp of a measurement in nanoseconds. Raises MessageError where it was not set."""
    stamp_ns = stamp_from_msg(stamp)
    if stamp_ns <= 0:
        raise MessageError("the message has no stamp")
    return stamp_ns


def pose_from_msg(message: Any) -> SE3:
    """A pose message, checked, as ``parent_from_child``."""
    position, orientation = message.position, message.orientation
    return _checked_pose([position.x, position.y, position.z], orientation)


def transform_from_msg(message: Any) -> SE3:
    """A TF transform, checked, as ``parent_from_child``."""
    translation = message.translation
    return _checked_pose([translation.x, translation.y, translation.z], message.rotation)


def _checked_pose(position: list[float], orientation: Any) -> SE3:
    wxyz = np.array([orientation.w, orientation.x, orientation.y, orientation.z])
    if not (np.all(np.isfinite(wxyz)) and np.all(np.isfinite(position))):
        raise MessageError("the pose is not finite")
    if not is_plausible_position(np.asarray(position)):
        raise MessageError(f"the position {position} is farther from the origin than {FARTHEST:g}")
    if abs(np.linalg.norm(wxyz) - 1.0) > UNIT_TOLERANCE:
        raise MessageError(f"the quaternion has norm {np.linalg.norm(wxyz):.3f} instead of 1")
    return SE3.from_quaternion(wxyz, position)


def covariance_from_msg(message: Any) -> Array:
    """The (6, 6) covariance of a message, checked."""
    return checked_covariance(message.covariance)


def checked_covariance(values: Any, size: int = 6, *, is_part: bool = False) -> Array:
    """Covariance (size, size) of its numbers, row by row, as ``covariance_fault`` has it. Raises MessageError."""
    covariance = np.asarray(values, dtype=np.float64).reshape(size, size)
    fault = covariance_fault(covariance, size, is_part=is_part)
    if fault is not None:
        raise MessageError(f"the covariance is invalid: {fault}")
    return covariance


def odometry_from_status_msg(message: Any) -> OdometryPose | Rejection:
    """Inverse of ``odometry_status_to_msg``."""
    stamp_ns, stage_ms = checked_stamp(message.header.stamp), stages_from_msg(message.stages)
    if not message.tracked:
        return Rejection(stamp_ns, reason_from_msg(message.reason), stage_ms=stage_ms)
    is_known = np.any(message.pose.covariance)
    return OdometryPose(
        stamp_ns,
        pose_from_msg(message.pose.pose),
        message.segment,
        message.num_tracked,
        message.is_keyframe,
        stage_ms,
        covariance_from_msg(message.pose) if is_known else None,
        _scale_from_msg(message),
        _up_from_msg(message.up),
        _earlier_from_msg(message.earlier_poses),
        bool(getattr(message, "is_recovered", False)),  # earlier recordings have no such field
    )


def _earlier_from_msg(messages: Any) -> dict[int, SE3]:
    if len(messages) > MOST_EARLIER:
        raise MessageError(f"{len(messages)} earlier poses, more than {MOST_EARLIER}")
    return {checked_stamp(message.header.stamp): pose_from_msg(message.pose) for message in messages}


def _scale_from_msg(message: Any) -> OdometryScale | None:
    scale = OdometryScale(float(message.metres_per_unit), float(message.scale_log_sigma))
    if scale.metres_per_unit == 0.0:
        return None
    if not (is_plausible_scale(scale.metres_per_unit) and is_plausible_sigma(scale.log_sigma)):
        raise MessageError(f"{scale} is no scale")
    return scale


def _up_from_msg(vector: Any) -> Array | None:
    up = np.array([vector.x, vector.y, vector.z])
    if not up.any():
        return None
    if not abs(np.linalg.norm(up) - 1.0) < UNIT_TOLERANCE:
        raise MessageError(f"the vector against gravity {up} is not of length 1")
    return up


def stages_from_msg(stages: Iterable[Any]) -> dict[str, float]:
    """Inverse of ``stages_to_msg``."""
    return {stage.name: float(stage.milliseconds) for stage in stages}


def reason_from_msg(text: str) -> Reason:
    """The reason for a missing pose, checked."""
    try:
        return Reason(text)
    except ValueError as error:
        raise MessageError(f"unknown rejection reason '{text}'") from error


def anchor_from_msg(message: Any) -> Anchor:
    """Inverse of ``anchor_to_msg``."""
    result = _anchor_pose_from_msg(message) if message.accepted else _no_anchor_from_msg(message)
    identity = MapIdentity(
        message.map_name,
        message.metric,
        message.gravity_aligned,
        getattr(message, "map_path", ""),  # which older bags lack
        _origin_from_msg(message),
        _frame_from_msg(message),
        getattr(message, "map_model_id", ""),
    )
    return Anchor(result, identity)


def _frame_from_msg(message: Any) -> CoordinateFrame | None:
    """The frame of the map of an anchor or a tracked pose; None where it is not known, as in older bags."""
    uuid = getattr(message, "map_frame_uuid", "")
    return CoordinateFrame(uuid) if uuid else None


def map_identity_from_msg(message: Any) -> MapIdentity:
    """Inverse of ``map_identity_to_msg``. Raises MessageError for a frame or a transform that is none.

    A map that is believed replaces the one in use, and no anchor is accepted until another one is loaded.
    """
    if not is_uuid(message.frame_uuid):
        raise MessageError(f"'{message.frame_uuid[:40]}' is no UUID of the frame of a map")
    earlier = {one.uuid: _similarity_from_msg(one) for one in message.earlier_frames}
    return MapIdentity(
        message.name,
        message.metric,
        message.gravity_aligned,
        message.path,
        _origin_from_msg(message),
        CoordinateFrame(message.frame_uuid, earlier),
        message.model_id,
    )


def _similarity_from_msg(message: Any) -> Sim3:
    if not is_plausible_scale(message.scale, LARGEST_RESCALING):
        raise MessageError(f"{message.scale} is no scale between two frames of a map")
    return Sim3.from_se3(pose_from_msg(message.frame_from_earlier), message.scale)


def _origin_from_msg(message: Any) -> GeoReference | None:
    if not getattr(message, "on_earth", False):  # which older bags lack
        return None
    altitude = None if math.isnan(message.origin_altitude) else message.origin_altitude
    try:
        return GeoReference(message.origin_latitude, message.origin_longitude, altitude)
    except MapError as error:
        raise MessageError(str(error)) from error


def _no_anchor_from_msg(message: Any) -> Rejection:
    counts = {"inliers": message.num_inliers, "matches": message.num_matches}
    reason, stage_ms = reason_from_msg(message.reason), stages_from_msg(message.stages)
    return Rejection(checked_stamp(message.header.stamp), reason, counts, stage_ms)


def _anchor_pose_from_msg(message: Any) -> AnchorPose:
    covariance, of_map = (np.array(one).reshape(6, 6) for one in (message.pose.covariance, message.map_covariance))
    if fault := shared_covariance_fault(covariance, of_map):
        raise MessageError(f"the covariance is invalid: {fault}")
    if len(message.inlier_pixels) != 2 * len(message.inlier_points):
        raise MessageError(
            f"{len(message.inlier_pixels)} coordinates in pixels belong to {len(message.inlier_points)} points"
        )
    # Older bags have no landmarks.
    landmarks = np.asarray(getattr(message, "inlier_landmarks", ()), dtype=np.int32)
    if len(landmarks) not in (0, len(message.inlier_points)):
        raise MessageError(f"{len(landmarks)} landmarks belong to {len(message.inlier_points)} points")
    return AnchorPose(
        checked_stamp(message.header.stamp),
        pose_from_msg(message.pose.pose),
        covariance,
        message.num_inliers,
        message.num_matches,
        message.reprojection_error_px,
        np.asarray(message.inlier_pixels, dtype=np.float64).reshape(-1, 2),
        np.array([[point.x, point.y, point.z] for point in message.inlier_points]).reshape(-1, 3),
        tuple(message.references),
        stages_from_msg(message.stages),
        map_covariance=of_map if of_map.any() else None,
        probability=_probability_from_msg(message.probability),
        inlier_landmarks=landmarks,
    )


def _probability_from_msg(value: float) -> float | None:
    if math.isnan(value):
        return None
    if not 0.0 <= value <= 1.0:
        raise MessageError(f"{value} is no probability")
    return value


def tracked_pose_from_msg(message: Any) -> TrackedPose | Rejection:
    """Inverse of ``tracked_pose_to_msg``."""
    stamp_ns, stage_ms = checked_stamp(message.header.stamp), stages_from_msg(message.stages)
    if not message.tracked:
        return Rejection(stamp_ns, reason_from_msg(message.reason), {}, stage_ms)
    return TrackedPose(
        stamp_ns,
        pose_from_msg(message.pose.pose),
        covariance_from_msg(message.pose),
        stamp_from_msg(message.anchor_stamp),
        checked_covariance(message.covariance_since_anchor),
        message.num_inliers,
        message.num_followed,
        message.reprojection_error_px,
        stage_ms,
        frame=_frame_from_msg(message),
    )


def loop_closure_from_msg(message: Any) -> LoopClosure:
    """Inverse of ``loop_closure_to_msg``."""
    earlier_ns, later_ns = stamp_from_msg(message.earlier_stamp), stamp_from_msg(message.header.stamp)
    if earlier_ns >= later_ns:
        raise MessageError(f"the earlier image, of {earlier_ns} ns, is not before the later one, of {later_ns} ns")
    if not is_plausible_scale(message.scale, LARGEST_DRIFT):
        raise MessageError(f"{message.scale} is no scale between two visits of a place")
    similarity = Sim3.from_se3(pose_from_msg(message.earlier_from_later), message.scale)
    return LoopClosure(earlier_ns, later_ns, similarity, checked_covariance(message.covariance, size=7))


def prior_from_msg(message: Any) -> tuple[SE3, Array]:
    """``map_from_base`` of a ``/initialpose`` with its covariance (6, 6), checked; variances of 0 are filled in."""
    pose, stated = pose_from_msg(message.pose.pose), checked_covariance(message.pose.covariance, is_part=True)
    unsaid = np.where(np.diag(stated) == 0.0, UNSAID_SIGMAS**2, 0.0)
    return pose, checked_covariance(stated + np.diag(unsaid))
