"""What every odometry offers, and how one is made from its name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from visloc_ros.core.config import Config, option, section
from visloc_ros.core.types import Frame, OdometryPose, Rejection
from visloc_ros.odometry.klt import KltConfig, KltOdometry


class Odometry(Protocol):
    """Unscaled motion of the camera from consecutive frames."""

    def track(self, frame: Frame) -> OdometryPose | Rejection:
        """Give ``odom_from_camera`` of the next frame (stamps increase), or the reason why there is none."""

    def reset(self) -> None:
        """Forget everything; the next pose belongs to a new segment."""

    def close(self) -> None:
        """Stop what runs in the background."""


@dataclass(frozen=True)
class OdometryConfig(Config):
    """Which odometry, and the options of each."""

    backend: str = option("klt", "odometry that is used", choices=("klt",))
    klt: KltConfig = section(KltConfig)


def make_odometry(config: OdometryConfig, *, live: bool = False) -> Odometry:
    """Make the odometry that the configuration names.

    ``live`` does slow work beside the frames; otherwise frames wait for it, and every run gives the same result.
    """
    return _BACKENDS[config.backend](config, live)


_BACKENDS: dict[str, Callable[[OdometryConfig, bool], Odometry]] = {
    "klt": lambda config, live: KltOdometry(config.klt, live)
}
