"""The odometry ``dpvo`` as the package finds it; torch is imported only where it is made."""

from __future__ import annotations

import importlib.util

from visloc_dpvo.config import DpvoConfig
from visloc_ros.core.errors import ModelError
from visloc_ros.odometry.backend import DepthModel, Odometry, OdometryBackend
from visloc_ros.odometry.gyroscope import Turns


class DpvoBackend(OdometryBackend):
    """Deep patch visual odometry: wants a GPU."""

    name, options = "dpvo", DpvoConfig
    parameters = ("preset", "weights", "device", "classic_loop_closure")

    def make(self, options: DpvoConfig, *, live: bool, turns: Turns, depth: DepthModel | None) -> Odometry:
        """Make it with its weights loaded."""
        if importlib.util.find_spec("torch") is None:
            raise ModelError("the odometry 'dpvo' needs torch: pip install torch, or use 'klt'")
        from visloc_dpvo.odometry import DpvoOdometry

        return DpvoOdometry(options, live=live)


DPVO = DpvoBackend()
