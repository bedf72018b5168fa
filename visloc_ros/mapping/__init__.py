"""From frames to a map: frame selection, image pairs, structure from motion, scale and gravity, the map card."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from visloc_ros.core.progress import Progress
from visloc_ros.mapping.config import MappingConfig
from visloc_ros.mapping.summary import MapSummary

if TYPE_CHECKING:
    from visloc_ros.mapping.builder import build_map
    from visloc_ros.mapping.extension import extend_map
    from visloc_ros.mapping.merging.merger import merge_maps

__all__ = ["MapSummary", "MappingConfig", "Progress", "build_map", "extend_map", "merge_maps"]

# The builder takes a second to import, so the map builder's node imports it only when needed (PEP 562).
_LATE = {
    "build_map": "visloc_ros.mapping.builder",
    "extend_map": "visloc_ros.mapping.extension",
    "merge_maps": "visloc_ros.mapping.merging.merger",
}


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LATE[name]), name)
