"""Fusion of odometry with late, absolute anchors: one continuous pose in the map with its covariance and its state."""

from visloc_ros.fusion.anchor_runner import AnchorRunner, Engine, InlineAnchors, ThreadedAnchors
from visloc_ros.fusion.config import FusionConfig
from visloc_ros.fusion.fuser import Fuser
from visloc_ros.fusion.localizer import Listener, Localizer
from visloc_ros.fusion.smoothing.trajectory_smoothing import (
    RecordedMeasurements,
    SmoothedPose,
    SmoothedTrajectory,
    smooth,
)

__all__ = [
    "AnchorRunner",
    "Engine",
    "Fuser",
    "FusionConfig",
    "InlineAnchors",
    "Listener",
    "Localizer",
    "RecordedMeasurements",
    "SmoothedPose",
    "SmoothedTrajectory",
    "ThreadedAnchors",
    "smooth",
]
