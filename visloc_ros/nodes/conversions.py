"""Converts the core's types to ROS messages, and drivers' messages to them; ``sources.ros_messages`` reads our own.

Every ``*_from_msg`` checks its message (finite numbers, unit quaternion, sizes) and raises MessageError.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import pycolmap
from builtin_interfaces.msg import Time
from geometry_msgs.msg import (
    Point32,
    Pose,
    PoseStamped,
    PoseWithCovariance,
    Quaternion,
    Transform,
    TransformStamped,
    TwistWithCovariance,
    Vector3,
)
from nav_msgs.msg import OccupancyGrid, Odometry
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, Imu, NavSatFix, PointCloud2, PointField
from std_msgs.msg import Header

from visloc_msgs.msg import Anchor as AnchorMsg
from visloc_msgs.msg import EarlierFrame, Innovation, LocalizationStatus, OdometryStatus, StageTime
from visloc_msgs.msg import LoopClosure as LoopClosureMsg
from visloc_msgs.msg import MapIdentity as MapIdentityMsg
from visloc_msgs.msg import TrackedPose as TrackedPoseMsg
from visloc_ros.core.bit_depth import BitDepth
from visloc_ros.core.calibration import CameraCalibration
from visloc_ros.core.camera import check_image_size
from visloc_ros.core.coordinate_frame import CoordinateFrame
from visloc_ros.core.geo_reference import GeoReference
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.plausibility import covariance_fault, is_plausible_position
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import (
    Anchor,
    Frame,
    LoopClosure,
    MapIdentity,
    OdometryPose,
    Rejection,
    State,
    Support,
    TrackedPose,
)
from visloc_ros.core.types import Image as ImageArray
from visloc_ros.sources.calibration import camera_from_camera_info, camera_info_fields
from visloc_ros.sources.measurements import GeoPosition
from visloc_ros.sources.ros_images import decode_compressed, decode_image
from visloc_ros.sources.ros_messages import MessageError, stamp_from_msg, transform_from_msg

if TYPE_CHECKING:  # nodes without fusion start sooner
    from visloc_ros.fusion.innovation import Innovation as FusionInnovation
    from visloc_ros.mapping.top_view import PlanView

SEGMENT_SEPARATOR = "/"
# Optical axes (x right, y down, z forward) in a body with x forward and z up (REP 103).
BASE_FROM_OPTICAL = SE3(np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]), np.zeros(3))
LAST_STAMP_NS = 2**31 * NANOSECONDS - 1  # seconds of a ROS time are a signed 32-bit integer
_POINT = np.dtype([("xyz", "<f4", 3)])
_COLOURED_POINT = np.dtype([("xyz", "<f4", 3), ("bgr", "u1", 3), ("unused", "u1")])  # "rgb" as in PCL
_OTHER_SIZE = "publish the camera_info of this resolution, or set camera.calibration_file to one of it"
NOT_MEASURED = -1.0  # sensor_msgs/Imu: first element of a covariance whose quantity is not measured


def stamp_to_msg(stamp_ns: int) -> Time:
    """Nanoseconds to a ROS time; a time after the latest possible one becomes that."""
    seconds, nanoseconds = divmod(min(stamp_ns, LAST_STAMP_NS), NANOSECONDS)
    return Time(sec=seconds, nanosec=nanoseconds)


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


def transform_to_msg(stamp_ns: int, parent: str, child: str, parent_from_child: SE3) -> TransformStamped:
    """A TF transform: parent ``a``, child ``b`` carries ``a_from_b``."""
    x, y, z = parent_from_child.translation.tolist()
    transform = Transform(translation=Vector3(x=x, y=y, z=z), rotation=quaternion_to_msg(parent_from_child))
    return TransformStamped(header=header(stamp_ns, parent), child_frame_id=child, transform=transform)


def pose_with_covariance_to_msg(pose: SE3, covariance: Array) -> PoseWithCovariance:
    """A pose with its (6, 6) covariance, order x, y, z, rot x, rot y, rot z (REP 103)."""
    return PoseWithCovariance(pose=pose_to_msg(pose), covariance=covariance.reshape(36))


def twist_with_covariance_to_msg(velocity: Array, covariance: Array) -> TwistWithCovariance:
    """A velocity (6,), linear then angular, about the axes of the moving frame, with its (6, 6) covariance."""
    message = TwistWithCovariance(covariance=covariance.reshape(36))
    message.twist.linear, message.twist.angular = _vector_to_msg(velocity[:3]), _vector_to_msg(velocity[3:])
    return message


def image_from_msg(
    message: Image | CompressedImage, in_colour: bool = True, depth: BitDepth | None = None
) -> ImageArray:
    """Decode a raw or compressed image to uint8 grey or RGB. Raises SourceError on a malformed one.

    A compressed image becomes grey where colours are not wanted; a raw one is fast to decode in either case. ``depth``
    is that of the images of its camera so far.
    """
    if isinstance(message, CompressedImage):
        return decode_compressed(message.format, bytes(message.data), in_colour, depth)
    is_bigendian = bool(message.is_bigendian)
    return decode_image(
        message.encoding, message.width, message.height, message.step, message.data, is_bigendian, depth
    )


def camera_from_msg(message: CameraInfo) -> pycolmap.Camera:
    """Camera model of a CameraInfo by K and D, binning and region applied. Raises CalibrationError."""
    return camera_from_camera_info(message)


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


def frame_from_msg(
    message: Image | CompressedImage,
    calibration_of_images: Callable[[int, int], CameraCalibration],
    in_colour: bool = True,
    depth: BitDepth | None = None,
) -> Frame:
    """Frame of an image message at its header's stamp, with the calibration for its width and height.

    Raises SourceError for a malformed image, CalibrationError for one of another size than the calibration.
    """
    image = image_from_msg(message, in_colour, depth)
    height, width = image.shape[:2]
    calibration = calibration_of_images(width, height)
    check_image_size(calibration.camera, width, height, _OTHER_SIZE)
    return Frame(stamp_from_msg(message.header.stamp), image, calibration.camera, calibration=calibration)


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
    """The result of odometry for one image."""
    message = OdometryStatus(header=header(result.stamp_ns, camera_frame), stages=stages_to_msg(result.stage_ms))
    message.latency_ms = float(sum(result.stage_ms.values()))
    if isinstance(result, Rejection):
        message.reason = result.reason.value
        return message
    message.tracked, message.segment = True, result.segment
    message.num_tracked, message.is_keyframe = result.num_tracked, result.is_keyframe
    message.is_recovered = result.is_recovered
    message.pose.pose = pose_to_msg(result.odom_from_camera)
    if result.covariance is not None:
        message.pose.covariance = result.covariance.reshape(36)
    if result.scale is not None:
        message.metres_per_unit = float(result.scale.metres_per_unit)
        message.scale_log_sigma = float(result.scale.log_sigma)
    if result.up_in_odom is not None:
        message.up = _vector_to_msg(result.up_in_odom)
    message.earlier_poses = [
        PoseStamped(header=header(stamp_ns, camera_frame), pose=pose_to_msg(pose))
        for stamp_ns, pose in result.earlier.items()
    ]
    return message


def imu_from_msg(message: Imu) -> tuple[Array | None, Array | None]:
    """Angular velocity and acceleration (3,) in the IMU's axes, checked; None where one is not measured.

    A covariance that begins with -1 marks it, or plain zeros, from drivers that split the IMU into two topics.
    """
    rate = _measured(message.angular_velocity, message.angular_velocity_covariance)
    return rate, _measured(message.linear_acceleration, message.linear_acceleration_covariance)


def position_from_msg(message: NavSatFix) -> GeoPosition:
    """Latitude and longitude, checked, without the height; ``sigma`` is that of the worst horizontal axis, if stated.

    Raises MessageError.
    """
    latitude, longitude = float(message.latitude), float(message.longitude)
    if not (abs(latitude) <= 90.0 and abs(longitude) <= 180.0):
        raise MessageError(f"there is no place at latitude {latitude}, longitude {longitude}")
    horizontal = np.asarray(message.position_covariance, np.float64).reshape(3, 3)[:2, :2]
    if message.position_covariance_type == NavSatFix.COVARIANCE_TYPE_UNKNOWN:
        return GeoPosition(latitude, longitude)
    if not np.any(horizontal):  # as of drivers that state none
        return GeoPosition(latitude, longitude)
    fault = covariance_fault(horizontal, size=2)
    if fault is not None:
        raise MessageError(f"the covariance of a position is invalid: {fault}")
    return GeoPosition(latitude, longitude, sigma=math.sqrt(float(np.linalg.eigvalsh(horizontal)[-1])))


def heading_from_msg(message: Imu) -> tuple[SE3, float | None]:
    """``earth_from_imu``, axes east, north, up (REP 145), and the standard deviation [rad] of its yaw, if stated.

    Raises MessageError where no orientation is measured.
    """
    if message.orientation_covariance[0] == NOT_MEASURED:
        raise MessageError("the message has no orientation")
    rotation = transform_from_msg(Transform(rotation=message.orientation))
    variance = float(message.orientation_covariance[8])
    fault = covariance_fault([[variance]], size=1) if variance != 0.0 else None
    if fault is not None:
        raise MessageError(f"the variance of a heading is invalid: {fault}")
    return rotation, math.sqrt(variance) if variance else None


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


def anchor_to_msg(anchor: Anchor, map_frame: str, camera_frame: str) -> AnchorMsg:
    """Anchor message of an absolute pose or of the reason why there is none."""
    result = anchor.result
    message = AnchorMsg(header=header(result.stamp_ns, map_frame), camera_frame_id=camera_frame)
    message.map_name, message.metric = anchor.map.name, anchor.map.metric
    message.map_path, message.gravity_aligned = anchor.map.path, anchor.map.gravity_aligned
    message.map_frame_uuid, message.map_model_id = uuid_of(anchor.map.frame), anchor.map.model_id
    _set_origin(message, anchor.map.on_earth)
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
    message.probability = math.nan if result.probability is None else result.probability
    message.references = list(result.references)
    message.inlier_points = [Point32(x=x, y=y, z=z) for x, y, z in result.inlier_points.tolist()]
    message.inlier_pixels = array("f", result.inlier_pixels.astype(np.float32).tobytes())
    message.inlier_landmarks = array("i", result.inlier_landmarks.astype(np.int32).tobytes())
    return message


def map_identity_to_msg(identity: MapIdentity, stamp_ns: int, map_frame: str, is_requested: bool) -> MapIdentityMsg:
    """Which map poses are in; ``is_requested`` by load_map."""
    message = MapIdentityMsg(header=header(stamp_ns, map_frame), name=identity.name, path=identity.path)
    message.frame_uuid, message.model_id = uuid_of(identity.frame), identity.model_id
    earlier = {} if identity.frame is None else identity.frame.frame_from_earlier
    for uuid, one in earlier.items():
        pose = pose_to_msg(SE3(one.rotation, one.translation))
        message.earlier_frames.append(EarlierFrame(uuid=uuid, frame_from_earlier=pose, scale=one.scale))
    message.metric, message.gravity_aligned, message.requested = identity.metric, identity.gravity_aligned, is_requested
    _set_origin(message, identity.on_earth)
    return message


def uuid_of(frame: CoordinateFrame | None) -> str:
    """The id of a frame as messages have it: empty where it is not known."""
    return "" if frame is None else frame.uuid


def _set_origin(message: AnchorMsg | MapIdentityMsg, origin: GeoReference | None) -> None:
    if origin is not None:
        message.on_earth, message.origin_altitude = True, math.nan if origin.altitude is None else origin.altitude
        message.origin_latitude, message.origin_longitude = origin.latitude, origin.longitude


def state_to_msg(state: State) -> int:
    """Constant of ``LocalizationStatus`` for a state."""
    return int(getattr(LocalizationStatus, state.value))


def state_from_msg(value: int) -> State:
    """Inverse of ``state_to_msg``."""
    for state in State:
        if state_to_msg(state) == value:
            return state
    raise MessageError(f"unknown localization state {value}")


def support_to_msg(support: Support) -> int:
    """Constant of ``LocalizationStatus`` for the support of a pose."""
    return int(getattr(LocalizationStatus, f"SUPPORT_{support.value}"))


def support_from_msg(value: int) -> Support:
    """Inverse of ``support_to_msg``."""
    for support in Support:
        if support_to_msg(support) == value:
            return support
    raise MessageError(f"unknown support {value} of a pose")


def innovation_to_msg(innovation: FusionInnovation, map_frame: str) -> Innovation:
    """Message of an innovation."""
    return Innovation(
        header=header(innovation.stamp_ns, map_frame),
        source=innovation.source,
        accepted=innovation.accepted,
        squared=innovation.squared,
        error=innovation.error,
    )


def points_to_msg(stamp_ns: int, frame_id: str, points: Array, colours: NDArray[np.uint8] | None = None) -> PointCloud2:
    """Point cloud of points (N, 3), and of their RGB colours (N, 3) where they have any, as one block of bytes."""
    layout = _POINT if colours is None else _COLOURED_POINT
    data = np.zeros(len(points), layout)
    data["xyz"] = points
    if colours is not None:
        data["bgr"] = colours[:, ::-1]
    return PointCloud2(
        header=header(stamp_ns, frame_id),
        height=1,
        width=len(data),
        fields=_fields(layout),
        point_step=layout.itemsize,
        row_step=data.nbytes,
        data=array("B", data.tobytes()),
        is_dense=True,
    )


def _fields(layout: np.dtype[np.void]) -> list[PointField]:
    names = ["x", "y", "z", "rgb"][: layout.itemsize // 4]
    return [
        PointField(name=name, offset=4 * index, datatype=PointField.FLOAT32, count=1)
        for index, name in enumerate(names)
    ]


def points_from_msg(message: PointCloud2) -> Array:
    """Points (N, 3) of a cloud as ``points_to_msg`` makes it. Raises MessageError for any other."""
    return coloured_points_from_msg(message)[0]


def coloured_points_from_msg(message: PointCloud2) -> tuple[Array, NDArray[np.uint8] | None]:
    """Points (N, 3) of a cloud as ``points_to_msg`` makes it, and their colours (N, 3), RGB, where it has any.

    Raises MessageError for any other.
    """
    layout = {_POINT.itemsize: _POINT, _COLOURED_POINT.itemsize: _COLOURED_POINT}.get(message.point_step)
    if layout is None or message.fields != _fields(layout) or len(message.data) % layout.itemsize:
        raise MessageError("the point cloud is not made of x, y and z as float32, and perhaps rgb")
    if message.is_bigendian:
        raise MessageError("the numbers of the point cloud are not little-endian")
    data = np.frombuffer(message.data, layout)
    points = data["xyz"].astype(np.float64)
    if not is_plausible_position(points):
        raise MessageError("the point cloud has points that are nowhere on earth")
    return points, data["bgr"][:, ::-1] if layout is _COLOURED_POINT else None


def plan_to_msg(stamp_ns: int, frame_id: str, plan: PlanView) -> OccupancyGrid:
    """Grid of a plan view, with unchanged values."""
    message = OccupancyGrid(header=header(stamp_ns, frame_id))
    rows, columns = plan.cells.shape
    message.info.map_load_time = message.header.stamp
    message.info.resolution, message.info.width, message.info.height = plan.resolution, columns, rows
    message.info.origin.position.x, message.info.origin.position.y = (float(value) for value in plan.low)
    message.data = array("b", plan.cells.tobytes())
    return message


def tracked_pose_to_msg(result: TrackedPose | Rejection, map_frame: str, camera_frame: str) -> TrackedPoseMsg:
    """The pose of one image by followed map points, or the reason why there is none."""
    message = TrackedPoseMsg(header=header(result.stamp_ns, map_frame), camera_frame_id=camera_frame)
    message.stages = stages_to_msg(result.stage_ms)
    message.latency_ms = float(sum(result.stage_ms.values()))
    if isinstance(result, Rejection):
        message.reason = result.reason.value
        return message
    message.tracked, message.map_frame_uuid = True, uuid_of(result.frame)
    message.pose = pose_with_covariance_to_msg(result.map_from_camera, result.covariance)
    message.anchor_stamp = stamp_to_msg(result.anchor_stamp_ns)
    message.covariance_since_anchor = result.covariance_since_anchor.reshape(36)
    message.num_followed, message.num_inliers = result.num_followed, result.num_inliers
    message.reprojection_error_px = float(result.reprojection_error_px)
    return message


def loop_closure_to_msg(loop: LoopClosure, camera_frame: str) -> LoopClosureMsg:
    """An earlier place that odometry has recognised."""
    similarity = loop.earlier_from_later
    return LoopClosureMsg(
        header=header(loop.later_ns, camera_frame),
        earlier_stamp=stamp_to_msg(loop.earlier_ns),
        earlier_from_later=pose_to_msg(SE3(similarity.rotation, similarity.translation)),
        scale=similarity.scale,
        covariance=loop.covariance.reshape(49),
    )
