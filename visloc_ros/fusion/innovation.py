"""Innovations: measurements minus their predictions, for gates and for the consistency of the estimator (NIS)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from visloc_ros.core.geometry import Array

ANCHOR, TRACKED = "anchor", "tracked"


@dataclass(frozen=True, eq=False)
class Innovation:
    """A measured ``map_from_camera`` minus the estimator's prediction for its image before the update.

    ``error`` (6,) and ``covariance`` (6, 6) as in ``core.types``; the covariance is that of prediction and measurement
    together, without the tolerances of the gate. ``accepted``: it passed the gate.
    """

    stamp_ns: int
    source: str
    error: Array
    covariance: Array
    accepted: bool

    @property
    def squared(self) -> float:
        """Normalised innovation squared (NIS): 6 in the mean where the estimator is consistent."""
        return float(self.error @ np.linalg.solve(self.covariance, self.error))
