"""Visual odometry: unscaled ``odom_from_camera`` at frame rate, or the reason why not."""

from visloc_ros.odometry.base import Odometry, OdometryConfig, make_odometry
from visloc_ros.odometry.klt import KltConfig

__all__ = ["KltConfig", "Odometry", "OdometryConfig", "make_odometry"]
