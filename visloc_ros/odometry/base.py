"""How an odometry is made from its name."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

from visloc_ros.core.config import Config, option, section
from visloc_ros.core.errors import ConfigError, ModelError
from visloc_ros.odometry.aided import AidedOdometry, ImuConfig
from visloc_ros.odometry.depth import DepthAidedOdometry, DepthModel, load_depth_model
from visloc_ros.odometry.dpvo import DpvoConfig
from visloc_ros.odometry.gyroscope import Gyroscope, Turns
from visloc_ros.odometry.klt import KltConfig, KltOdometry
from visloc_ros.odometry.protocol import Odometry
from visloc_ros.odometry.wheel_scale import WheelConfig


@dataclass(frozen=True)
class OdometryConfig(Config):
    """Which odometry, and the options of each."""

    backend: str = option("klt", "which odometry is used", choices=("klt", "dpvo"))
    klt: KltConfig = section(KltConfig)
    dpvo: DpvoConfig = section(DpvoConfig)
    imu: ImuConfig = section(ImuConfig)
    wheels: WheelConfig = section(WheelConfig)
    depth_model: str = option("", "package.module:callable from an RGB image to depths in metres; empty for none")

    @property
    def uses_colour(self) -> bool:
        """Whether the odometry looks at colours; ``klt`` does not."""
        return self.backend != "klt" or bool(self.depth_model)


def make_odometry(config: OdometryConfig, *, live: bool = False, depth: DepthModel | None = None) -> AidedOdometry:
    """Make the odometry that the configuration names.

    ``live`` does slow work beside the frames; otherwise frames wait for it, and every run gives the same result.
    ``depth`` looks at keyframes and makes the scale known, in place of the configuration's depth model. Raises
    ConfigError when that cannot be loaded or the odometry cannot use it.
    """
    gyroscope = Gyroscope()
    if depth is None and config.depth_model:
        depth = load_depth_model(config.depth_model)
    visual = _BACKENDS[config.backend](config, live, gyroscope.turn, depth)
    return AidedOdometry(visual, gyroscope, config.imu, config.wheels)


def _klt(config: OdometryConfig, live: bool, turns: Turns, depth: DepthModel | None) -> Odometry:
    klt = KltOdometry(config.klt, live, turns)
    return klt if depth is None else DepthAidedOdometry(klt, depth, live)


def _dpvo(config: OdometryConfig, live: bool, _turns: Turns, depth: DepthModel | None) -> Odometry:
    if depth is not None:
        raise ConfigError("the odometry 'dpvo' cannot use a depth model: use 'klt'")
    if importlib.util.find_spec("torch") is None:
        raise ModelError("the odometry 'dpvo' needs torch: pip install torch, or use 'klt'")
    from visloc_ros.odometry.dpvo.odometry import DpvoOdometry

    return DpvoOdometry(config.dpvo, live=live)


_BACKENDS: dict[str, Callable[[OdometryConfig, bool, Turns, DepthModel | None], Odometry]] = {
    "klt": _klt,
    "dpvo": _dpvo,
}
