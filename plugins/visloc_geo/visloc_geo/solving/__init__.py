"""The pose of a photo from its matches with geotagged views: geometry alone, without images."""

from visloc_geo.solving.config import SolvingConfig
from visloc_geo.solving.locate import locate
from visloc_geo.solving.types import BestTag, GeoKind, GeoReason, GeoRejection, PhotoPose, Reference, Tag

__all__ = [
    "BestTag",
    "GeoKind",
    "GeoReason",
    "GeoRejection",
    "PhotoPose",
    "Reference",
    "SolvingConfig",
    "Tag",
    "locate",
]
