"""Moves a map to the frame of known camera poses, or to the earth (axes east, north, up) by positions of its images.

Poses are those of a laser's localization, a survey, another map; positions those of GNSS.
"""

from __future__ import annotations

from collections.abc import Container, Iterable

import numpy as np

from visloc_ros.core.errors import MapError
from visloc_ros.core.geo_reference import AXES_SIGMA_DEG, GEO_SIGMA_M
from visloc_ros.core.geometry import SE3, Sim3, rotation_angle_deg
from visloc_ros.core.map import Map
from visloc_ros.core.trajectory import NANOSECONDS, Trajectory
from visloc_ros.core.types import Frame
from visloc_ros.mapping.alignment.fit import MapFit
from visloc_ros.mapping.geo import fit_to_positions
from visloc_ros.mapping.gravity import Up, find_up
from visloc_ros.mapping.map_sources import ReferencePoses, pose_at
from visloc_ros.mapping.scale import align_to_references
from visloc_ros.sources import FrameSource
from visloc_ros.sources.measurements import measurements_of
from visloc_ros.sources.named_poses import NamedPoses

_MAX_GAP_S = 0.2
_ROUNDS = 5
_OUTLIER_DEVIATIONS = 3.0  # of the median distance, as a standard deviation
_LEAST_TOLERANCE_M = 0.02
_MOST_OUTLIERS = 0.5
_EARLIEST_NS = 10**9 * NANOSECONDS  # stamps of 2001 and later; smaller numbers are numbers of images
_LEVEL_ERROR_DEG = 1.0  # of a map that is gravity-aligned by its manifest


def align_to_poses(map_: Map, references: ReferencePoses) -> MapFit:
    """Move a map to known poses ``frame_from_camera`` in metres of some of its images.

    They are found by the images' names, or by their stamps where a name is one (as those from bags are). Poses that
    contradict the others are left out. Raises MapError where too few fit.
    """
    ours = {image.name: image.map_from_camera for image in map_.images}
    if isinstance(references, NamedPoses):
        known = references.find_all({image.name: (image.camera.width, image.camera.height) for image in map_.images})
    else:
        known = _at_stamps(references, ours)
    used = dict(known)
    for _ in range(_ROUNDS):
        fit = align_to_references(ours, used)
        distances = {name: _distance(fit, ours[name], pose) for name, pose in known.items()}
        limit = _OUTLIER_DEVIATIONS * max(_LEAST_TOLERANCE_M, 1.4826 * float(np.median(list(distances.values()))))
        kept = {name: pose for name, pose in known.items() if distances[name] <= limit}
        if kept.keys() == used.keys():
            break
        used = kept
    if len(used) < (1.0 - _MOST_OUTLIERS) * len(known):
        raise MapError(
            f"only {len(used)} of {len(known)} known poses agree with the map: check that they are poses of the "
            "camera (z forward) and that their stamps are those of the images"
        )
    distances_m = [distances[name] for name in used]
    turns = [rotation_angle_deg(fit.rotation @ ours[name].rotation, used[name].rotation) for name in used]
    residuals = {
        "images": len(used),
        "left_out": len(known) - len(used),
        "median_m": float(np.median(distances_m)),
        "largest_m": float(np.max(distances_m)),
        "median_deg": float(np.median(turns)),
        "scale_of_the_map_before": 1.0 / fit.scale,
    }
    return MapFit(fit, "known poses", residuals, metric=True, gravity_aligned=True)


def _at_stamps(references: Trajectory, names: Iterable[str]) -> dict[str, SE3]:
    found = {name: pose_at(references, _stamp_of(name), _MAX_GAP_S) for name in names}
    return {name: pose for name, pose in found.items() if pose is not None}


def _distance(fit: Sim3, ours: SE3, known: SE3) -> float:
    return float(np.linalg.norm(fit @ ours.translation - known.translation))


def _stamp_of(name: str) -> int:
    """The stamp in nanoseconds in an image's name, or one that no pose has."""
    stem = name.rpartition("/")[2].rpartition(".")[0] or name.rpartition("/")[2]
    digits = stem.rpartition("_")[2]
    return int(digits) if digits.isdecimal() and len(digits) <= 19 and int(digits) >= _EARLIEST_NS else -1


def align_to_positions(map_: Map, source: FrameSource) -> MapFit:
    """Move a map to the positions of the images of a source that it was made from. Raises MapError."""
    by_stamp = measurements_of(source).geo_positions
    centres = {image.name: image.map_from_camera.translation for image in map_.images}
    stamps_ns = {_name_in_map(frame, source.name, centres): frame.stamp_ns for frame in source}
    positions = {name: by_stamp[stamp_ns] for name, stamp_ns in stamps_ns.items() if stamp_ns in by_stamp}
    up = find_up([image.map_from_camera for image in map_.images])
    if map_.manifest.gravity_aligned:
        up = Up(np.array([0.0, 0.0, 1.0]), map_.manifest.gravity_error_deg or _LEVEL_ERROR_DEG, "map")
    fit = fit_to_positions(centres, positions, up, GEO_SIGMA_M)
    if fit.axes_error_deg > AXES_SIGMA_DEG:
        raise MapError(
            f"the positions fix the axes only to {fit.axes_error_deg:.0f} deg: the path is too short or too straight "
            "for their errors"
        )
    origin = {key: getattr(fit.origin, key) for key in ("latitude", "longitude", "altitude")}
    residuals = {
        "images": fit.num_positions,
        "left_out": len(fit.outliers),
        "scale_error": fit.scale_error,
        "axes_error_deg": fit.axes_error_deg,
    }
    known = {key: value for key, value in origin.items() if value is not None}
    return MapFit(fit.map_from_sfm, "GPS positions", residuals, True, True, known)


def _name_in_map(frame: Frame, source_name: str, names: Container[str]) -> str:
    """Name of a frame's image in a map, below its source's name where another source has an image of that name."""
    name = frame.name or f"{frame.stamp_ns}.jpg"
    return f"{source_name}/{name}" if f"{source_name}/{name}" in names else name
