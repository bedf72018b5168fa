"""Moves a map to the frame of known camera poses: those of a laser's localization, a survey, another map."""

from __future__ import annotations

import numpy as np

from visloc_ros.core.errors import MapError
from visloc_ros.core.geometry import SE3, Sim3, rotation_angle_deg
from visloc_ros.core.map import Map
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.mapping.alignment.fit import MapFit
from visloc_ros.mapping.reference_poses import ReferencePoses, find_reference
from visloc_ros.mapping.scale import align_to_references

_MAX_GAP_S = 0.2
_ROUNDS = 5
_OUTLIER_DEVIATIONS = 3.0  # of the median distance, as a standard deviation
_LEAST_TOLERANCE_M = 0.02
_MOST_OUTLIERS = 0.5
_EARLIEST_NS = 10**9 * NANOSECONDS  # stamps of 2001 and later; smaller numbers are numbers of images


def align_to_poses(map_: Map, references: ReferencePoses) -> MapFit:
    """Move a map to known poses ``frame_from_camera`` in metres of some of its images.

    They are found by the images' names, or by their stamps where a name is one (as those from bags are). Poses that
    contradict the others are left out. Raises MapError where too few fit.
    """
    ours = {image.name: image.map_from_camera for image in map_.images}
    found = {name: find_reference(references, name, _stamp_of(name), _MAX_GAP_S) for name in ours}
    known = {name: pose for name, pose in found.items() if pose is not None}
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


def _distance(fit: Sim3, ours: SE3, known: SE3) -> float:
    return float(np.linalg.norm(fit @ ours.translation - known.translation))


def _stamp_of(name: str) -> int:
    """The stamp in nanoseconds in an image's name, or one that no pose has."""
    stem = name.rpartition("/")[2].rpartition(".")[0] or name.rpartition("/")[2]
    digits = stem.rpartition("_")[2]
    return int(digits) if digits.isdecimal() and len(digits) <= 19 and int(digits) >= _EARLIEST_NS else -1
