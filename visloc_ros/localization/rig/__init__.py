"""Several cameras on one body are found together (generalised cameras, Pless 2003)."""

from visloc_ros.localization.rig.engine import RigEngine, check_is_metric
from visloc_ros.localization.rig.places import PlaceCheck, PlaceDifference
from visloc_ros.localization.rig.types import RigImage, RigPose

__all__ = ["PlaceCheck", "PlaceDifference", "RigEngine", "RigImage", "RigPose", "check_is_metric"]
