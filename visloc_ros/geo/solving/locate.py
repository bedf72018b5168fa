"""The story of locating a photo by its matches with geotagged views."""

from __future__ import annotations

from collections.abc import Sequence

import pycolmap

from visloc_ros.core.geometry import Array
from visloc_ros.geo.solving.config import SolvingConfig
from visloc_ros.geo.solving.types import GeoPose, GeoReason, GeoRejection, Reference, Tag


def locate(
    camera: pycolmap.Camera,
    keypoints: Array,
    references: Sequence[Reference],
    config: SolvingConfig | None = None,
    prior: Tag | None = None,
) -> GeoPose | GeoRejection:
    """Find the pose of a photo with keypoints (N, 2) in pixels of its camera.

    ``prior`` is where its own metadata place it; one that contradicts the views is not used.
    """
    del camera, keypoints, config, prior
    return GeoRejection(GeoReason.NO_REFERENCES, {"references": float(len(references))})
