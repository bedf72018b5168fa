"""What decides what happens to a frame, an anchor, a pose prior and silence; nodes, commands and tests all drive it."""

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
