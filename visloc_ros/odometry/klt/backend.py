"""The odometry ``klt`` as the package finds it."""

from __future__ import annotations

from visloc_ros.odometry.backend import DepthModel, Odometry, OdometryBackend
from visloc_ros.odometry.depth import DepthAidedOdometry
from visloc_ros.odometry.gyroscope import Turns
from visloc_ros.odometry.klt.config import KltConfig
from visloc_ros.odometry.klt.odometry import KltOdometry


class KltBackend(OdometryBackend):
    """Corners followed by Lucas-Kanade: runs on a CPU at camera rate."""

    name, options = "klt", KltConfig
    uses_colour, takes_depth = False, True

    def make(self, options: KltConfig, *, live: bool, turns: Turns, depth: DepthModel | None) -> Odometry:
        """Make it, with the scale by ``depth`` if given."""
        klt = KltOdometry(options, live, turns)
        return klt if depth is None else DepthAidedOdometry(klt, depth, live)


KLT = KltBackend()
