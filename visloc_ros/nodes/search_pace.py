"""Which images are worth a search: all of them, until map and fused pose agree; then one a period."""

from __future__ import annotations

import numpy as np

from visloc_ros.core.geometry import SE3
from visloc_ros.core.tangent import pose_difference
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import AnchorPose, Rejection

_GATE = 12.6  # 95 % quantile of chi-square with 6 degrees of freedom


class SearchPace:
    """Lets a search rest after an anchor that confirmed the fused pose, while fused poses go on."""

    def __init__(self, period_s: float) -> None:
        self._period_ns = round(period_s * NANOSECONDS)
        self._confirmed_ns: int | None = None
        self._fused_ns: int | None = None

    def tell_fused(self, stamp_ns: int) -> None:
        """A fused pose has come."""
        self._fused_ns = stamp_ns

    def tell_found(self, result: AnchorPose | Rejection, predicted: SE3 | None) -> None:
        """A search is done; ``predicted`` is ``map_from_camera`` as it was expected."""
        is_confirmed = isinstance(result, AnchorPose) and predicted is not None and _confirms(result, predicted)
        self._confirmed_ns = result.stamp_ns if is_confirmed else None

    def wants(self, stamp_ns: int) -> bool:
        """Tell whether to search the image of a stamp; where no pose comes between anchors, every one counts."""
        confirmed_ns, fused_ns = self._confirmed_ns, self._fused_ns
        if confirmed_ns is None or fused_ns is None or fused_ns <= confirmed_ns:
            return True
        return not 0 <= stamp_ns - confirmed_ns < self._period_ns


def _confirms(anchor: AnchorPose, predicted: SE3) -> bool:
    """Whether an anchor agrees with a prediction, which is about as uncertain as the anchor itself."""
    error = pose_difference(anchor.map_from_camera, predicted)
    return bool(error @ np.linalg.solve(2.0 * anchor.covariance, error) <= _GATE)
