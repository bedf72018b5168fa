"""The measure of the KITTI odometry benchmark (Geiger et al., CVPR 2012): errors over stretches of 100 to 800 m."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from visloc_ros.evaluation.association import PosePairs
from visloc_ros.evaluation.metrics import motion_errors, progress

LENGTHS_M = (100.0, 200.0, 300.0, 400.0, 500.0, 600.0, 700.0, 800.0)
STEP = 10  # frames from one stretch to the next


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
