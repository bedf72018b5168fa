"""Makes an odometry by its name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from visloc_ros.core.config import Config, option, plugin_sections, section
from visloc_ros.core.errors import ConfigError
from visloc_ros.core.plugins import importable_plugins, load_plugin, plugin_names
from visloc_ros.odometry.aided import AidedOdometry, ImuConfig
from visloc_ros.odometry.backend import DepthModel, OdometryBackend
from visloc_ros.odometry.depth import load_depth_model
from visloc_ros.odometry.gyroscope import Gyroscope
from visloc_ros.odometry.wheel_scale import WheelConfig

GROUP, DEFAULT = "visloc_ros.odometry", "klt"


def backend_names() -> list[str]:
    """Names of the odometries that are installed, the default first."""
    return plugin_names(GROUP, DEFAULT)


def find_backend(name: str) -> OdometryBackend:
    """The odometry of this name. Raises ConfigError where it is not installed."""
    backend: OdometryBackend = load_plugin(GROUP, name)
    return backend


def _options() -> dict[str, type[Config]]:
    return {name: backend.options for name, backend in importable_plugins(GROUP, DEFAULT).items()}


def plugin_parameters() -> tuple[str, ...]:
    """Options that are ROS parameters, of the odometries that are installed beside the default."""
    others = importable_plugins(GROUP, DEFAULT).items()
    return tuple(f"{name}.{one}" for name, backend in others if name != DEFAULT for one in backend.parameters)


@dataclass(frozen=True)
class OdometryConfig(Config):
    """The choice of an odometry, and the options of each."""

    backend: str = option(DEFAULT, "which odometry is used", choices=backend_names)
    backends: Mapping[str, Config] = plugin_sections(_options)
    imu: ImuConfig = section(ImuConfig)
    wheels: WheelConfig = section(WheelConfig)
    depth_model: str = option("", "package.module:callable from an RGB image to depths in metres; empty for none")

    @property
    def uses_colour(self) -> bool:
        """Whether the odometry uses colours."""
        return find_backend(self.backend).uses_colour or bool(self.depth_model)


def make_odometry(config: OdometryConfig, *, live: bool = False, depth: DepthModel | None = None) -> AidedOdometry:
    """Make the odometry that the configuration names.

    ``live`` does slow work beside the frames; otherwise frames wait for it, and every run gives the same result.
    ``depth`` looks at keyframes and makes the scale known, in place of the configuration's depth model. Raises
    ConfigError when the odometry is not installed, a depth model cannot be loaded or the odometry cannot use it,
    ModelError when a package or weights are missing.
    """
    backend, gyroscope = find_backend(config.backend), Gyroscope()
    if depth is None and config.depth_model:
        depth = load_depth_model(config.depth_model)
    if depth is not None and not backend.takes_depth:
        raise ConfigError(f"the odometry '{backend.name}' cannot use a depth model: use '{DEFAULT}'")
    options = config.backends.get(backend.name) or backend.options()
    visual = backend.make(options, live=live, turns=gyroscope.turn, depth=depth)
    return AidedOdometry(visual, gyroscope, config.imu, config.wheels)
