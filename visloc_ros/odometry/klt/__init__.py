"""Visual odometry of one camera on a CPU: corners followed by Lucas-Kanade, keyframes, bundle adjustment."""

from visloc_ros.odometry.klt.config import KltConfig
from visloc_ros.odometry.klt.odometry import KltOdometry

__all__ = ["KltConfig", "KltOdometry"]
