"""From frames to a map: frame selection, image pairs, structure from motion, scale and gravity, the map card."""

from visloc_ros.mapping.builder import build_map
from visloc_ros.mapping.config import MappingConfig
from visloc_ros.mapping.extension import extend_map
from visloc_ros.mapping.progress import Progress
from visloc_ros.mapping.summary import MapSummary

__all__ = ["MapSummary", "MappingConfig", "Progress", "build_map", "extend_map"]
