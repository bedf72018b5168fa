"""Frames from videos, image folders and ROS 2 bags, and bags written from frames. No rclpy."""

from visloc_ros.sources.base import (
    EncodedFrame,
    EncodedSource,
    FrameSource,
    RecalibratedSource,
    SourceConfig,
    SourceOfTopics,
)
from visloc_ros.sources.measurements import Measurements, MeasuringSource
from visloc_ros.sources.opening import open_source

__all__ = [
    "EncodedFrame",
    "EncodedSource",
    "FrameSource",
    "Measurements",
    "MeasuringSource",
    "RecalibratedSource",
    "SourceConfig",
    "SourceOfTopics",
    "open_source",
]
