"""From ``imu`` and ``wheel_odom`` to the odometry: checked, and transformed to the camera by /tf_static."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nav_msgs.msg import Odometry as OdometryMsg
from sensor_msgs.msg import Imu

from visloc_ros.core.geometry import Array
from visloc_ros.nodes.base import VislocNode
from visloc_ros.nodes.conversions import imu_from_msg
from visloc_ros.nodes.guard import RejectedMessages
from visloc_ros.nodes.qos import INERTIAL
from visloc_ros.nodes.transforms import StaticTransforms
from visloc_ros.odometry import AidedOdometry, ImuSample
from visloc_ros.sources.ros_messages import MessageError, pose_from_msg, stamp_from_msg


class SensorInput:
    """Subscribes to the optional topics of other sensors than the camera.

    ``rejected`` counts messages without a transform to the camera, and bad ones. Without a transform an IMU is left
    out; wheels still give the scale where the base does not turn.
    """

    def __init__(self, node: VislocNode[Any], odometry: AidedOdometry, camera_frame: Callable[[], str | None]) -> None:
        self.rejected = RejectedMessages(node.get_logger())
        self._odometry, self._camera_frame = odometry, camera_frame
        self._static = StaticTransforms(node)
        node.subscription(Imu, "imu", self._take_imu, INERTIAL, from_outside=True)
        node.subscription(OdometryMsg, "wheel_odom", self._take_wheels, INERTIAL, from_outside=True)

    def _take_imu(self, message: Imu) -> None:
        camera_frame = self._camera_frame()
        if camera_frame is None:
            return  # before the first image the camera's frame is unknown
        camera_from_imu = self._static.lookup(camera_frame, message.header.frame_id)
        if camera_from_imu is None:
            self.rejected.note(
                "imu without transform", f"no fixed transform {camera_frame} -> {message.header.frame_id}"
            )
            return
        try:
            in_imu = imu_from_msg(message)
        except MessageError as error:
            self.rejected.note("bad imu", str(error))
            return
        rate, acceleration = (_turned(camera_from_imu.rotation, vector) for vector in in_imu)
        self._odometry.add_imu(ImuSample(stamp_from_msg(message.header.stamp), rate, acceleration))

    def _take_wheels(self, message: OdometryMsg) -> None:
        camera_frame = self._camera_frame()
        if camera_frame is None:
            return
        base_from_camera = self._static.lookup(message.child_frame_id, camera_frame)
        if base_from_camera is None:
            text = f"no fixed transform {message.child_frame_id} -> {camera_frame}: turns of the base give no scale"
            self.rejected.note("wheel_odom without transform", text)
        try:
            odom_from_base = pose_from_msg(message.pose.pose)
        except MessageError as error:
            self.rejected.note("bad wheel_odom", str(error))
            return
        self._odometry.add_wheels(stamp_from_msg(message.header.stamp), odom_from_base, base_from_camera)


def _turned(rotation: Array, vector: Array | None) -> Array | None:
    return None if vector is None else rotation @ vector
