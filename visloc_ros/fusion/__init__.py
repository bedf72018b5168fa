"""Odometry and late anchors become one smooth, honest pose: alignment, drift, smoother, fuser."""

from visloc_ros.fusion.alignment import Alignment, PosePair, ScalePrior, align, align_robust
from visloc_ros.fusion.batch import Recording, Smoothed, SmoothedPose, smooth
from visloc_ros.fusion.config import FusionConfig
from visloc_ros.fusion.fuser import Fuser
from visloc_ros.fusion.single_source import Mode

__all__ = [
    "Alignment",
    "Fuser",
    "FusionConfig",
    "Mode",
    "PosePair",
    "Recording",
    "ScalePrior",
    "Smoothed",
    "SmoothedPose",
    "align",
    "align_robust",
    "smooth",
]
