"""Map tracking in the images of several cameras on one body."""

from visloc_ros.map_tracking.rig.tracker import OtherCameras, OtherImage, RigMapTracker

__all__ = ["OtherCameras", "OtherImage", "RigMapTracker"]
