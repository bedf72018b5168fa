"""Command-line options of the commands about odometry."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from visloc_ros.core.config import read_config
from visloc_ros.odometry import OdometryConfig
from visloc_ros.odometry.base import backend_names

Backend = Annotated[
    str | None,
    typer.Option(help=f"Which odometry: {', '.join(backend_names())}; otherwise that of the configuration."),
]
Sensors = Annotated[
    bool, typer.Option("--sensors", help="Use an IMU and wheels, too: a EuRoC folder's IMU, or the topics named.")
]
ImuTopic = Annotated[str, typer.Option(help="IMU topic of the bag; predicts turns and gives the direction of up.")]
OdometryTopic = Annotated[str, typer.Option(help="Wheel odometry topic of the bag; gives the scale.")]
CameraFromImu = Annotated[
    str, typer.Option(help="Rotation from IMU to camera axes, 'w x y z'; otherwise from the bag's /tf_static.")
]
PlotFile = Annotated[Path | None, typer.Option("--plot", help="PNG with path, errors, latencies and stages.")]


def read_odometry_config(path: Path | None, backend: str | None) -> OdometryConfig:
    """Options from a YAML file or the defaults, with another backend if one is named. Raises ConfigError."""
    config = read_config(OdometryConfig, path)
    return config if backend is None else replace(config, backend=backend)
