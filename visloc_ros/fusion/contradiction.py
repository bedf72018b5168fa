"""Doubt about odometry that followed map points contradict, or of which they show nothing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from visloc_ros.core.geometry import Array
from visloc_ros.core.recent_motion import unobserved_motion_covariance
from visloc_ros.core.tangent import covariance_of_doubt
from visloc_ros.core.types import Rejection

_MANY_POINTS, _NEXT_TO_NONE = 40, 0.05  # of 8,460 searches in a kitchen and a flight none found so few of so many


@dataclass(frozen=True, eq=False)
class Contradiction:
    """The covariance (6, 6) by which a pose may be off since a stamp; it grows by its own size every ``period_ns``.

    It is diagonal: the error may be in any direction.
    """

    covariance: Array
    stamp_ns: int
    period_ns: int | None = None

    @staticmethod
    def by(error: Array, stamp_ns: int, agreed_ns: int | None) -> Contradiction:
        """Odometry that has erred by ``error`` (6,) since ``agreed_ns`` goes on so.

        What it follows may be something that moves and fills the image.
        """
        period_ns = None if agreed_ns is None or agreed_ns >= stamp_ns else stamp_ns - agreed_ns
        return Contradiction(covariance_of_doubt(error), stamp_ns, period_ns)

    @staticmethod
    def unobserved(stamp_ns: int, seconds: float) -> Contradiction:
        """The motion of the last ``seconds`` may have been any."""
        return Contradiction(unobserved_motion_covariance(seconds), stamp_ns)

    def or_larger(self, earlier: Contradiction | None) -> Contradiction:
        """As uncertain as by an earlier contradiction, too, along each axis: more evidence takes nothing back."""
        if earlier is None:
            return self
        covariance, period_ns = np.maximum(self.covariance, earlier.covariance_at(self.stamp_ns)), self.period_ns
        if earlier.period_ns is not None:  # it goes on to grow as it has
            period_ns = earlier.period_ns + self.stamp_ns - earlier.stamp_ns
        return Contradiction(covariance, self.stamp_ns, period_ns)

    def covariance_at(self, stamp_ns: int) -> Array:
        """The covariance (6, 6) of a later pose."""
        if self.period_ns is None:
            return self.covariance
        growth = 1.0 + max(0, stamp_ns - self.stamp_ns) / self.period_ns
        return growth**2 * self.covariance


def shows_another_place(missed: Rejection) -> bool:
    """Whether next to none of many map points is where the predicted pose puts it.

    Odometry may then have found itself again by something that moves.
    """
    expected = missed.counts.get("expected", 0)
    return expected >= _MANY_POINTS and missed.counts.get("found", expected) <= _NEXT_TO_NONE * expected
