"""How a measurement met its prediction: what the gate judges, and what tells whether the estimator is honest (NIS)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from visloc_ros.core.geometry import Array

ANCHOR, TRACKED = "anchor", "tracked"


@dataclass(frozen=True, eq=False)
class Innovation:
    """A measured ``map_from_camera`` minus what the estimator predicted for its image before it took it.

    ``error`` (6,) and ``covariance`` (6, 6) as in ``core.types``; the covariance is that of prediction and measurement
    as the estimator believes them, without the gate's slack. ``accepted`` tells what the gate made of it.
    """

    stamp_ns: int
    source: str
    error: Array
    covariance: Array
    accepted: bool

    @property
    def squared(self) -> float:
        """Normalised innovation squared (NIS): 6 in the mean where the estimator is honest."""
        return float(self.error @ np.linalg.solve(self.covariance, self.error))
