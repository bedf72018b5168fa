"""The source of a map's scale and of its direction of up: precedence, and contradicting options.

Scale comes from one source, in this order: reference poses, a known distance, wheel odometry, GPS positions of the
images. Up comes from the reference poses, else from an IMU, the GPS positions or a level camera.
"""

from __future__ import annotations

from collections.abc import Sequence

from visloc_ros.core.errors import ConfigError
from visloc_ros.mapping.config import FrameConfig
from visloc_ros.sources.measurements import Measurements

SCALE_NAMES = {
    "reference": "reference poses",
    "distance": "known distance",
    "odometry": "wheel odometry",
    "gps": "GPS",
    "none": "none",
}
_NEEDED = {
    "reference": "reference poses",
    "distance": "frame.scale_distance",
    "odometry": "a bag and its odometry_topic",
    "gps": "images with GPS positions in their EXIF data",
}


def check_frame_config(config: FrameConfig, has_references: bool, measurements: Sequence[Measurements] = ()) -> None:
    """Refuse options that contradict each other or the available sources, before any work. Raises ConfigError."""
    given = _given(config, has_references, measurements)
    asked_for = [_NEEDED[name] for name in ("reference", "distance", "odometry") if given[name]]
    if len(asked_for) > 1:
        raise ConfigError(f"{' and '.join(asked_for)} each set the scale: give one of them")
    if config.scale not in ("auto", "none") and not given[config.scale]:
        raise ConfigError(f"frame.scale = {config.scale} needs {_NEEDED[config.scale]}")
    if config.scale in ("none", "gps") and asked_for:
        raise ConfigError(f"frame.scale = {config.scale} contradicts {asked_for[0]}, which would set the scale")
    _check_gravity(config, has_references, measurements)


def scale_source(config: FrameConfig, measurements: Sequence[Measurements]) -> str:
    """Which of ``SCALE_NAMES`` sets the scale of a map without reference poses."""
    if config.scale != "auto":
        return config.scale
    given = _given(config, False, measurements)
    return next((name for name in given if given[name]), "none")


def _given(config: FrameConfig, has_references: bool, measurements: Sequence[Measurements]) -> dict[str, bool]:
    """Which sources of scale are available, in the order of precedence."""
    return {
        "reference": has_references,
        "distance": config.scale_distance > 0,
        "odometry": any(one.odometry is not None for one in measurements),
        "gps": any(one.geo_positions for one in measurements),
    }


def _check_gravity(config: FrameConfig, has_references: bool, measurements: Sequence[Measurements]) -> None:
    if has_references and config.gravity in ("camera", "imu", "gps"):
        raise ConfigError(
            f"frame.gravity = {config.gravity} would turn the map out of the frame of the reference poses"
        )
    if not has_references and config.gravity == "reference":
        raise ConfigError("frame.gravity = reference needs reference poses")
    if config.gravity == "imu" and not any(one.accelerations is not None for one in measurements):
        raise ConfigError("frame.gravity = imu needs a bag and its imu_topic, or a EuRoC folder with its IMU")
    if config.gravity == "gps" and scale_source(config, measurements) != "gps":
        raise ConfigError("frame.gravity = gps needs GPS positions to set the scale, too")
