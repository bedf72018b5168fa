"""The pose of a photo from its matches with geotagged views: geometry alone, without images."""

from visloc_ros.geo.solving.config import SolvingConfig
from visloc_ros.geo.solving.locate import locate
from visloc_ros.geo.solving.types import BestTag, GeoKind, GeoPose, GeoReason, GeoRejection, Reference, Tag

__all__ = [
    "BestTag",
    "GeoKind",
    "GeoPose",
    "GeoReason",
    "GeoRejection",
    "Reference",
    "SolvingConfig",
    "Tag",
    "locate",
]
