"""Where a camera is carried off to: the grounds of two places, and the frames that are far enough from another."""

from dataclasses import dataclass

import numpy as np

from benchmarks.robustness.scenarios import FLIGHT, FLIGHT_HZ, KITCHEN, KITCHEN_HZ, ImageSequence
from visloc_ros.evaluation.metrics import position_error

RIGHT = (0.25, 5.0)  # largest errors of a right pose: metres, degrees


@dataclass(frozen=True)
class Ground:
    """Where a camera may be: a place, the frames of its recording, their rate, and how far it is carried in metres."""

    place: str
    frames: range
    rate_hz: float
    distance: float


GROUNDS = (Ground(KITCHEN, range(500, 750), KITCHEN_HZ, 0.5), Ground(FLIGHT, range(1, 400), FLIGHT_HZ, 2.0))


def far_from(index: int, ground: Ground, sequence: ImageSequence) -> np.ndarray:
    """Indices of frames that were taken as far from one as the ground says."""
    here = sequence.pose(index)
    return np.array([one for one in ground.frames if position_error(sequence.pose(one), here) >= ground.distance])
