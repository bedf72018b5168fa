"""The drift of odometry: errors of its motion over a second, and over stretches of the true path.

Motions are compared in the camera's own frame, so no rotation or origin enters; the scale is one for the whole segment,
so that a scale which drifts within it counts as error. The measure of the KITTI odometry benchmark (Geiger et al., CVPR
2012) is of stretches of 100 to 800 m.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from visloc_ros.core.geometry import Array
from visloc_ros.evaluation.association import PosePairs
from visloc_ros.evaluation.metrics import Statistics, motion_errors, progress, steps_of

STRETCHES_M = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0)
LENGTHS_M = (100.0, 200.0, 300.0, 400.0, 500.0, 600.0, 700.0, 800.0)
STEP = 10  # frames from one stretch to the next


@dataclass(frozen=True)
class PathDrift:
    """Mean drift over all stretches of ``length_m`` of true path: percent of the path, and degrees a metre."""

    length_m: float
    count: int
    translation_percent: float
    rotation_deg_per_m: float


@dataclass(frozen=True)
class Drift:
    """Relative pose errors: of every motion over one second (by its exact time), and over stretches of path.

    ``translation_percent`` and ``rotation_deg_per_m`` are means over all stretches of all lengths, the KITTI odometry
    benchmark's figures; its lengths are 100 to 800 m, here all of ``STRETCHES_M`` that the path is long enough for.
    Each is None where no motion was that long.
    """

    translation_m_per_s: Statistics | None
    rotation_deg_per_s: Statistics | None
    translation_percent: float | None
    rotation_deg_per_m: float | None
    stretches: tuple[PathDrift, ...]


def measure_drift(segments: Iterable[PosePairs]) -> Drift:
    """Measure the drift within uninterrupted pieces of odometry, each brought to its true scale; all are pooled."""
    pieces = list(segments)
    per_second = _divided(_stack(_motions(pairs, 1.0, "s") for pairs in pieces))
    by_length = {length: _stack(_motions(pairs, length, "m") for pairs in pieces) for length in STRETCHES_M}
    per_metre = _stack(_divided(motions) for motions in by_length.values())
    return Drift(
        Statistics.of(per_second[:, 0]),
        Statistics.of(per_second[:, 1]),
        float(100.0 * per_metre[:, 0].mean()) if len(per_metre) else None,
        float(per_metre[:, 1].mean()) if len(per_metre) else None,
        tuple(_path_drift(length, motions) for length, motions in by_length.items() if len(motions)),
    )


def _motions(pairs: PosePairs, delta: float, unit: str) -> Array:
    """Position and rotation error of each motion, and its length in seconds, or metres of true path (M, 3)."""
    along = progress(pairs, unit)
    begins, ends = steps_of(along, delta)
    return np.column_stack([motion_errors(pairs, begins, ends), along[ends] - along[begins]])


def _stack(parts: Iterable[Array]) -> Array:
    return np.concatenate([np.empty((0, 3)), *parts])


def _divided(motions: Array) -> Array:
    return motions / motions[:, 2:]


def _path_drift(length_m: float, motions: Array) -> PathDrift:
    translation, rotation, _ = _divided(motions).mean(axis=0)
    return PathDrift(length_m, len(motions), float(100.0 * translation), float(rotation))


@dataclass(frozen=True)
class KittiErrors:
    """Means over all stretches: position errors in percent of the length, rotation errors in degrees a metre."""

    count: int
    translation_percent: float
    rotation_deg_per_m: float


def kitti_errors(pairs: PosePairs) -> KittiErrors | None:
    """Errors of the estimates' motions over stretches of the true path; None where it is shorter than 100 m.

    Every tenth frame begins stretches of all lengths, each to the first frame that is farther along the path.
    """
    path = progress(pairs, "m")
    begins = np.arange(0, len(path), STEP)
    errors = []
    for length in LENGTHS_M:
        ends = np.searchsorted(path, path[begins] + length, side="right")
        reached = ends < len(path)
        errors.append(motion_errors(pairs, begins[reached], ends[reached]) / length)
    rates = np.concatenate(errors)
    if len(rates) == 0:
        return None
    translation, rotation = rates.mean(axis=0)
    return KittiErrors(len(rates), float(100.0 * translation), float(rotation))
