"""Processes frames, anchors, pose priors and silence, in one way for nodes, commands and tests."""

from visloc_ros.pipeline.anchors import AnchorRunner, Engine, InlineAnchors, ThreadedAnchors
from visloc_ros.pipeline.backend import Backend, BackendListener
from visloc_ros.pipeline.config import BackendConfig
from visloc_ros.pipeline.localizer import Localizer, TrackingListener

__all__ = [
    "AnchorRunner",
    "Backend",
    "BackendConfig",
    "BackendListener",
    "Engine",
    "InlineAnchors",
    "Localizer",
    "ThreadedAnchors",
    "TrackingListener",
]
