"""Follows the map points of the last anchor from frame to frame: a pose in the map at camera rate."""

from visloc_ros.map_tracking.config import MapTrackingConfig
from visloc_ros.map_tracking.rig import OtherCameras, OtherImage, RigMapTracker
from visloc_ros.map_tracking.tracker import MapTracker

__all__ = ["MapTracker", "MapTrackingConfig", "OtherCameras", "OtherImage", "RigMapTracker"]
