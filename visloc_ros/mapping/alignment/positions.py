"""Moves a map to the earth: axes east, north, up by the positions (GNSS) of its images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from visloc_ros.core.errors import MapError
from visloc_ros.core.map import Map
from visloc_ros.mapping.alignment.fit import MapFit
from visloc_ros.mapping.geo import fit_to_positions
from visloc_ros.mapping.gravity import RELIABLE_ERROR_DEG, Up, find_up
from visloc_ros.sources import FrameSource
from visloc_ros.sources.measurements import GeoPosition, measurements_of

SIGMA_M = 5.0
"""Standard deviation of positions that do not state theirs: of a phone under the open sky."""
_LEVEL_ERROR_DEG = 1.0  # of a map that is gravity-aligned by its manifest


def align_to_positions(map_: Map, source: FrameSource) -> MapFit:
    """Move a map to the positions of the images of a source that it was made from. Raises MapError."""
    by_stamp = measurements_of(source).geo_positions
    positions = _by_name(((frame.name or f"{frame.stamp_ns}.jpg", frame.stamp_ns) for frame in source), by_stamp)
    centres = {image.name: image.map_from_camera.translation for image in map_.images}
    up = find_up([image.map_from_camera for image in map_.images])
    if map_.manifest.gravity_aligned:
        up = Up(np.array([0.0, 0.0, 1.0]), map_.manifest.gravity_error_deg or _LEVEL_ERROR_DEG, "map")
    fit = fit_to_positions(centres, positions, up, SIGMA_M)
    if fit.axes_error_deg > RELIABLE_ERROR_DEG:
        raise MapError(
            f"the positions fix the axes only to {fit.axes_error_deg:.0f} deg: the path is too short or too straight "
            "for their errors"
        )
    origin = {key: getattr(fit.origin, key) for key in ("latitude", "longitude", "altitude")}
    residuals = {
        "images": fit.num_positions,
        "left_out": fit.num_outliers,
        "scale_error": fit.scale_error,
        "axes_error_deg": fit.axes_error_deg,
    }
    known = {key: value for key, value in origin.items() if value is not None}
    return MapFit(fit.map_from_sfm, "GPS positions", residuals, True, True, known)


def _by_name(frames: Iterable[tuple[str, int]], by_stamp: Mapping[int, GeoPosition]) -> dict[str, GeoPosition]:
    return {name: by_stamp[stamp_ns] for name, stamp_ns in frames if stamp_ns in by_stamp}
