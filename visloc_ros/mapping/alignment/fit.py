"""The result of an alignment: a similarity, its source, and its residuals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from visloc_ros.core.geometry import Sim3


@dataclass(frozen=True, eq=False)
class MapFit:
    """``frame_from_map``, and the properties of the map in that frame.

    ``residuals`` by name, in metres or degrees, and counts; ``source`` describes what it rests on. ``geo_origin`` as in
    the manifest.
    """

    frame_from_map: Sim3
    source: str
    residuals: Mapping[str, float]
    metric: bool
    gravity_aligned: bool
    geo_origin: Mapping[str, float] = field(default_factory=dict)
