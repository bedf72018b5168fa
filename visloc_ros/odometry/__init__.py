"""Visual odometry: unscaled ``odom_from_camera`` at frame rate, or the reason why there is none."""

from visloc_ros.odometry.aided import AidedOdometry, ImuConfig, ImuSample, SensorPlayback
from visloc_ros.odometry.backend import Odometry, OdometryBackend
from visloc_ros.odometry.base import OdometryConfig, make_odometry, plugin_parameters
from visloc_ros.odometry.wheel_scale import WheelConfig

__all__ = [
    "AidedOdometry",
    "ImuConfig",
    "ImuSample",
    "Odometry",
    "OdometryBackend",
    "OdometryConfig",
    "SensorPlayback",
    "WheelConfig",
    "make_odometry",
    "plugin_parameters",
]
