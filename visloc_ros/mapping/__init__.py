"""From frames to a map: frame selection, image pairs, structure from motion, scale and gravity, the map card."""

from typing import TYPE_CHECKING

from visloc_ros.core.late_names import late_names
from visloc_ros.core.progress import Progress
from visloc_ros.mapping.config import MappingConfig
from visloc_ros.mapping.summary import MapSummary

if TYPE_CHECKING:
    from visloc_ros.mapping.builder import build_map
    from visloc_ros.mapping.extension import extend_map
    from visloc_ros.mapping.merging.merger import merge_maps
    from visloc_ros.mapping.recordings import Recording

__all__ = [
    "MapSummary",
    "MappingConfig",
    "Progress",
    "Recording",
    "build_map",
    "extend_map",
    "merge_maps",
]

# The builder takes a second to import, so the map builder's node imports it only when needed.
__getattr__ = late_names(
    __name__,
    {
        "builder": ("build_map",),
        "extension": ("extend_map",),
        "merging.merger": ("merge_maps",),
        "recordings": ("Recording",),
    },
)
