"""Between the core's values and ROS messages: the one place that knows x, y, z, w quaternions and stamps.

Every ``*_from_msg`` checks its message (finite numbers, unit quaternion, sizes) and raises MessageError.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping

import numpy as np
import pycolmap
from builtin_interfaces.msg import Time
from geometry_msgs.msg import (
    Point32,
    Pose,
    PoseWithCovariance,
    Quaternion,
    Transform,
    TransformStamped,
    TwistWithCovariance,
    Vector3,
)
from nav_msgs.msg import Odometry
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, Imu, PointCloud2, PointField
from std_msgs.msg import Header

from visloc_msgs.msg import Anchor as AnchorMsg
from visloc_msgs.msg import Innovation, LocalizationStatus, OdometryStatus, StageTime
from visloc_ros.core.errors import VislocError
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import (
    Anchor,
    AnchorPose,
    Frame,
    MapIdentity,
    OdometryPose,
    OdometryScale,
    Reason,
    Rejection,
    State,
    Support,
)
from visloc_ros.core.types import Image as ImageArray
from visloc_ros.fusion.innovation import Innovation as FusionInnovation
from visloc_ros.sources.calibration import camera_from_camera_info_fields, camera_info_fields
from visloc_ros.sources.ros_images import decode_compressed, decode_image

SEGMENT_SEPARATOR = "/"
UNIT_TOLERANCE = 1e-3
NOT_MEASURED = -1.0  # sensor_msgs/Imu: first element of a covariance whose quantity is not measured


class MessageError(VislocError):
    """A message holds values that cannot be true; it is counted and left out."""


def stamp_to_msg(stamp_ns: int) -> Time:
    """Nanoseconds to a ROS time."""
    seconds, nanoseconds = divmod(stamp_ns, NANOSECONDS)
    return Time(sec=seconds, nanosec=nanoseconds)


def stamp_from_msg(stamp: Time) -> int:
    """A ROS time to nanoseconds."""
    return int(stamp.sec) * NANOSECONDS + int(stamp.nanosec)


def checked_stamp(stamp: Time) -> int:
    """The stamp of a measurement in nanoseconds. Raises MessageError where it was not set."""
    stamp_ns = stamp_from_msg(stamp)
    if stamp_ns <= 0:
        raise MessageError("the message has no stamp")
    return stamp_ns


def header(stamp_ns: int, frame_id: str) -> Header:
    """A message header."""
    return Header(stamp=stamp_to_msg(stamp_ns), frame_id=frame_id)


def quaternion_to_msg(pose: SE3) -> Quaternion:
    """Rotation of a pose as a ROS quaternion (x, y, z, w)."""
    w, x, y, z = pose.quaternion.tolist()
    return Quaternion(x=x, y=y, z=z, w=w)


def pose_to_msg(parent_from_child: SE3) -> Pose:
    """A pose message."""
    message = Pose(orientation=quaternion_to_msg(parent_from_child))
    message.position.x, message.position.y, message.position.z = parent_from_child.translation.tolist()
    return message


def pose_from_msg(message: Pose) -> SE3:
    """A pose message, checked, as ``parent_from_child``."""
    position, orientation = message.position, message.orientation
    return _checked_pose([position.x, position.y, position.z], orientation)


def transform_to_msg(stamp_ns: int, parent: str, child: str, parent_from_child: SE3) -> TransformStamped:
    """A TF transform: parent ``a``, child ``b`` carries ``a_from_b``."""
    x, y, z = parent_from_child.translation.tolist()
    transform = Transform(translation=Vector3(x=x, y=y, z=z), rotation=quaternion_to_msg(parent_from_child))
    return TransformStamped(header=header(stamp_ns, parent), child_frame_id=child, transform=transform)


def transform_from_msg(message: Transform) -> SE3:
    """A TF transform, checked, as ``parent_from_child``."""
    translation = message.translation
    return _checked_pose([translation.x, translation.y, translation.z], message.rotation)


def _checked_pose(position: list[float], orientation: Quaternion) -> SE3:
    wxyz = np.array([orientation.w, orientation.x, orientation.y, orientation.z])
    if not (np.all(np.isfinite(wxyz)) and np.all(np.isfinite(position))):
        raise MessageError("the pose is not finite")
    if abs(np.linalg.norm(wxyz) - 1.0) > UNIT_TOLERANCE:
        raise MessageError(f"the quaternion has norm {np.linalg.norm(wxyz):.3f} instead of 1")
    return SE3.from_quaternion(wxyz, position)


def pose_with_covariance_to_msg(pose: SE3, covariance: Array) -> PoseWithCovariance:
    """A pose with its (6, 6) covariance, order x, y, z, rot x, rot y, rot z (REP 103)."""
    return PoseWithCovariance(pose=pose_to_msg(pose), covariance=covariance.reshape(36))


def twist_with_covariance_to_msg(velocity: Array, covariance: Array) -> TwistWithCovariance:
    """A velocity (6,), linear then angular, about the axes of the moving frame, with its (6, 6) covariance."""
    message = TwistWithCovariance(covariance=covariance.reshape(36))
    message.twist.linear, message.twist.angular = _vector_to_msg(velocity[:3]), _vector_to_msg(velocity[3:])
    return message


def covariance_from_msg(message: PoseWithCovariance) -> Array:
    """The (6, 6) covariance of a message, checked."""
    return checked_covariance(message.covariance)


def checked_covariance(values: Array, size: int = 6) -> Array:
    """Covariance (size, size) of its numbers, row by row. Raises MessageError."""
    covariance = np.asarray(values, dtype=np.float64).reshape(size, size)
    if not np.all(np.isfinite(covariance)) or np.any(np.diag(covariance) < 0):
        raise MessageError("the covariance is not finite or has a negative variance")
    return covariance


def image_from_msg(message: Image | CompressedImage) -> ImageArray:
    """Decode a raw or compressed image to uint8 grey or RGB. Raises SourceError on a malformed one."""
    if isinstance(message, CompressedImage):
        return decode_compressed(message.format, bytes(message.data))
    return decode_image(
        message.encoding, message.width, message.height, message.step, message.data, bool(message.is_bigendian)
    )


def camera_from_msg(message: CameraInfo) -> pycolmap.Camera:
    """Camera model of a CameraInfo, binning and region applied. Raises CalibrationError."""
    roi = message.roi
    return camera_from_camera_info_fields(
        message.width,
        message.height,
        message.k,
        message.d,
        message.distortion_model,
        (message.binning_x, message.binning_y),
        (roi.x_offset, roi.y_offset, roi.width, roi.height),
    )


def camera_to_msg(stamp_ns: int, frame_id: str, camera: pycolmap.Camera) -> CameraInfo:
    """CameraInfo of a camera model."""
    k, d, model = camera_info_fields(camera)
    matrix = np.asarray(k, dtype=np.float64).reshape(3, 3)
    projection = np.hstack([matrix, np.zeros((3, 1))])
    return CameraInfo(
        header=header(stamp_ns, frame_id),
        width=camera.width,
        height=camera.height,
        distortion_model=model,
        k=matrix.reshape(9),
        d=[float(value) for value in d],
        r=np.eye(3).reshape(9),
        p=projection.reshape(12),
    )


def frame_from_msg(message: Image | CompressedImage, camera: pycolmap.Camera) -> Frame:
    """Frame of an image message at its header's stamp."""
    return Frame(stamp_from_msg(message.header.stamp), image_from_msg(message), camera)


def visual_odometry_to_msg(result: OdometryPose, camera_frame: str) -> Odometry:
    """Unscaled odometry; the segment is part of the frame id, since segments share no origin."""
    message = Odometry(
        header=header(result.stamp_ns, f"visual_odom{SEGMENT_SEPARATOR}{result.segment}"), child_frame_id=camera_frame
    )
    message.pose.pose = pose_to_msg(result.odom_from_camera)
    if result.covariance is not None:
        message.pose.covariance = result.covariance.reshape(36)
    return message


def odometry_status_to_msg(result: OdometryPose | Rejection, camera_frame: str) -> OdometryStatus:
    """What odometry made of one image."""
    message = OdometryStatus(header=header(result.stamp_ns, camera_frame), stages=stages_to_msg(result.stage_ms))
    message.latency_ms = float(sum(result.stage_ms.values()))
    if isinstance(result, Rejection):
        message.reason = result.reason.value
        return message
    message.tracked, message.segment = True, result.segment
    message.num_tracked, message.is_keyframe = result.num_tracked, result.is_keyframe
    message.pose.pose = pose_to_msg(result.odom_from_camera)
    if result.covariance is not None:
        message.pose.covariance = result.covariance.reshape(36)
    if result.scale is not None:
        message.metres_per_unit = float(result.scale.metres_per_unit)
        message.scale_log_sigma = float(result.scale.log_sigma)
    if result.up_in_odom is not None:
        message.up = _vector_to_msg(result.up_in_odom)
    return message


def odometry_from_status_msg(message: OdometryStatus) -> OdometryPose | Rejection:
    """The way back of ``odometry_status_to_msg``."""
    stamp_ns, stage_ms = checked_stamp(message.header.stamp), stages_from_msg(message.stages)
    if not message.tracked:
        return Rejection(stamp_ns, reason_from_msg(message.reason), stage_ms=stage_ms)
    covariance = covariance_from_msg(message.pose)
    return OdometryPose(
        stamp_ns,
        pose_from_msg(message.pose.pose),
        message.segment,
        message.num_tracked,
        message.is_keyframe,
        stage_ms,
        covariance if covariance.any() else None,
        _scale_from_msg(message),
        _up_from_msg(message.up),
    )


def _scale_from_msg(message: OdometryStatus) -> OdometryScale | None:
    scale = OdometryScale(float(message.metres_per_unit), float(message.scale_log_sigma))
    if scale.metres_per_unit == 0.0:
        return None
    if not (0.0 < scale.metres_per_unit < np.inf and 0.0 <= scale.log_sigma < np.inf):
        raise MessageError(f"{scale} is no scale")
    return scale


def _up_from_msg(vector: Vector3) -> Array | None:
    up = np.array([vector.x, vector.y, vector.z])
    if not up.any():
        return None
    if not abs(np.linalg.norm(up) - 1.0) < UNIT_TOLERANCE:
        raise MessageError(f"the vector against gravity {up} is not of length 1")
    return up


def imu_from_msg(message: Imu) -> tuple[Array | None, Array | None]:
    """Angular velocity and acceleration (3,) in the IMU's axes, checked; None where one is not measured.

    A covariance that begins with -1 says so, or plain zeros: drivers that split the IMU into two topics leave those.
    """
    rate = _measured(message.angular_velocity, message.angular_velocity_covariance)
    return rate, _measured(message.linear_acceleration, message.linear_acceleration_covariance)


def _measured(vector: Vector3, covariance: Array) -> Array | None:
    value = np.array([vector.x, vector.y, vector.z])
    if covariance[0] == NOT_MEASURED or not np.any(value):
        return None
    if not np.all(np.isfinite(value)):
        raise MessageError(f"the measurement {value} is not finite")
    return value


def _vector_to_msg(vector: Array) -> Vector3:
    x, y, z = vector.tolist()
    return Vector3(x=x, y=y, z=z)


def stages_to_msg(stage_ms: Mapping[str, float]) -> list[StageTime]:
    """Stage timings as messages."""
    return [StageTime(name=name, milliseconds=float(value)) for name, value in stage_ms.items()]


def stages_from_msg(stages: list[StageTime]) -> dict[str, float]:
    """The way back of ``stages_to_msg``."""
    return {stage.name: float(stage.milliseconds) for stage in stages}


def reason_from_msg(text: str) -> Reason:
    """The reason for a missing pose, checked."""
    try:
        return Reason(text)
    except ValueError as error:
        raise MessageError(f"unknown rejection reason '{text}'") from error


def anchor_to_msg(anchor: Anchor, map_frame: str, camera_frame: str) -> AnchorMsg:
    """Anchor message of an absolute pose or of the reason why there is none."""
    result = anchor.result
    message = AnchorMsg(header=header(result.stamp_ns, map_frame), camera_frame_id=camera_frame)
    message.map_name, message.metric = anchor.map.name, anchor.map.metric
    message.gravity_aligned = anchor.map.gravity_aligned
    message.stages = stages_to_msg(result.stage_ms)
    message.latency_ms = float(sum(result.stage_ms.values()))
    if isinstance(result, Rejection):
        message.reason = result.reason.value
        message.num_inliers = int(result.counts.get("inliers", 0))
        message.num_matches = int(result.counts.get("matches", 0))
        return message
    message.accepted = True
    message.pose = pose_with_covariance_to_msg(result.map_from_camera, result.covariance)
    if result.map_covariance is not None:
        message.map_covariance = result.map_covariance.reshape(36)
    message.num_inliers, message.num_matches = result.num_inliers, result.num_matches
    message.reprojection_error_px = float(result.reprojection_error_px)
    message.references = list(result.references)
    message.inlier_points = [Point32(x=x, y=y, z=z) for x, y, z in result.inlier_points.tolist()]
    message.inlier_pixels = result.inlier_pixels.astype(np.float32).reshape(-1)
    return message


def anchor_from_msg(message: AnchorMsg) -> Anchor:
    """The way back of ``anchor_to_msg``."""
    result = _anchor_pose_from_msg(message) if message.accepted else _no_anchor_from_msg(message)
    return Anchor(result, MapIdentity(message.map_name, message.metric, message.gravity_aligned))


def _no_anchor_from_msg(message: AnchorMsg) -> Rejection:
    counts = {"inliers": message.num_inliers, "matches": message.num_matches}
    reason, stage_ms = reason_from_msg(message.reason), stages_from_msg(message.stages)
    return Rejection(checked_stamp(message.header.stamp), reason, counts, stage_ms)


def _anchor_pose_from_msg(message: AnchorMsg) -> AnchorPose:
    of_map = checked_covariance(message.map_covariance)
    if len(message.inlier_pixels) != 2 * len(message.inlier_points):
        raise MessageError(
            f"{len(message.inlier_pixels)} coordinates in pixels belong to {len(message.inlier_points)} points"
        )
    return AnchorPose(
        checked_stamp(message.header.stamp),
        pose_from_msg(message.pose.pose),
        covariance_from_msg(message.pose),
        message.num_inliers,
        message.num_matches,
        message.reprojection_error_px,
        np.asarray(message.inlier_pixels, dtype=np.float64).reshape(-1, 2),
        np.array([[point.x, point.y, point.z] for point in message.inlier_points]).reshape(-1, 3),
        tuple(message.references),
        stages_from_msg(message.stages),
        map_covariance=of_map if of_map.any() else None,
    )


def state_to_msg(state: State) -> int:
    """Constant of ``LocalizationStatus`` for a state."""
    return int(getattr(LocalizationStatus, state.value))


def state_from_msg(value: int) -> State:
    """The way back of ``state_to_msg``."""
    for state in State:
        if state_to_msg(state) == value:
            return state
    raise MessageError(f"unknown localization state {value}")


def support_to_msg(support: Support) -> int:
    """Constant of ``LocalizationStatus`` for what a pose rests on."""
    return int(getattr(LocalizationStatus, f"SUPPORT_{support.value}"))


def support_from_msg(value: int) -> Support:
    """The way back of ``support_to_msg``."""
    for support in Support:
        if support_to_msg(support) == value:
            return support
    raise MessageError(f"unknown support {value} of a pose")


def innovation_to_msg(innovation: FusionInnovation, map_frame: str) -> Innovation:
    """Message of how a measurement met its prediction."""
    return Innovation(
        header=header(innovation.stamp_ns, map_frame),
        source=innovation.source,
        accepted=innovation.accepted,
        squared=innovation.squared,
        error=innovation.error,
    )


def points_to_msg(stamp_ns: int, frame_id: str, points: Array) -> PointCloud2:
    """Point cloud of points (N, 3), written as one block of bytes."""
    data = np.ascontiguousarray(points, dtype="<f4").reshape(-1, 3)
    fields = [
        PointField(name=name, offset=4 * index, datatype=PointField.FLOAT32, count=1)
        for index, name in enumerate("xyz")
    ]
    return PointCloud2(
        header=header(stamp_ns, frame_id),
        height=1,
        width=len(data),
        fields=fields,
        point_step=12,
        row_step=12 * len(data),
        data=array("B", data.tobytes()),
        is_dense=True,
    )
