"""Fusion of odometry with late, absolute anchors: one continuous pose in the map with its covariance and its state."""

from visloc_ros.fusion.config import FusionConfig
from visloc_ros.fusion.estimator import Estimator
from visloc_ros.fusion.fuser import Fuser
from visloc_ros.fusion.smoothing.trajectory_smoothing import (
    RecordedMeasurements,
    SmoothedPose,
    SmoothedTrajectory,
    smooth,
)

__all__ = [
    "Estimator",
    "Fuser",
    "FusionConfig",
    "RecordedMeasurements",
    "SmoothedPose",
    "SmoothedTrajectory",
    "smooth",
]
