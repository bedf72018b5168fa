"""Odometry and late anchors become one smooth, honest pose: alignment, drift, smoother, fuser, localizer."""

from visloc_ros.fusion.anchor_runner import AnchorRunner, Engine, InlineAnchors, ThreadedAnchors
from visloc_ros.fusion.config import FusionConfig
from visloc_ros.fusion.fuser import Fuser
from visloc_ros.fusion.initialization.sim3_alignment import Alignment, PosePair, ScalePrior, align, align_robust
from visloc_ros.fusion.localizer import Listener, Localizer
from visloc_ros.fusion.smoothing.trajectory_smoothing import Recording, Smoothed, SmoothedPose, smooth

__all__ = [
    "Alignment",
    "AnchorRunner",
    "Engine",
    "Fuser",
    "FusionConfig",
    "InlineAnchors",
    "Listener",
    "Localizer",
    "PosePair",
    "Recording",
    "ScalePrior",
    "Smoothed",
    "SmoothedPose",
    "ThreadedAnchors",
    "align",
    "align_robust",
    "smooth",
]
