"""Puts a reconstruction into the frame its map will have, and says truthfully what that rests on."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import pycolmap

from visloc_ros.core.errors import ConfigError
from visloc_ros.core.geometry import SE3
from visloc_ros.mapping.config import FrameConfig
from visloc_ros.mapping.reconstruction import registered_poses
from visloc_ros.mapping.scale import align_to_references, find_up, level, scale_to_distance, transform

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Placement:
    """Whether a map unit is a metre and +z is up, and how that is known."""

    metric: bool
    scale_source: str
    gravity_aligned: bool
    gravity_source: str


def check_frame_config(config: FrameConfig, has_references: bool) -> None:
    """Refuse options that contradict each other, before any work is done. Raises ConfigError."""
    if has_references and config.scale_distance > 0:
        raise ConfigError("frame.scale_distance and reference poses both set the scale: give one of them")
    if has_references and config.gravity == "camera":
        raise ConfigError("frame.gravity = camera would turn the map out of the frame of the reference poses")
    if not has_references and config.gravity == "reference":
        raise ConfigError("frame.gravity = reference needs reference poses")


def place(
    reconstruction: pycolmap.Reconstruction,
    references: Mapping[str, SE3] | None,
    config: FrameConfig,
    *,
    at_references: bool,
) -> Placement:
    """Scale and turn a reconstruction in place: to reference poses where given, else by distance and gravity.

    ``at_references`` says that it was triangulated at the reference poses and is in their frame already.
    Raises MapError when the reference poses or the images of the known distance do not fit.
    """
    if references is not None:
        if not at_references:
            transform(reconstruction, align_to_references(registered_poses(reconstruction), references))
        is_level = config.gravity == "reference"
        return Placement(True, "reference poses", is_level, "reference poses" if is_level else "none")
    is_level = config.gravity != "none" and _level(reconstruction)
    metric = config.scale_distance > 0
    if metric:
        poses = registered_poses(reconstruction)
        transform(reconstruction, scale_to_distance(poses, config.scale_distance, config.scale_from, config.scale_to))
    return Placement(metric, "known distance" if metric else "none", is_level, "level camera" if is_level else "none")


def _level(reconstruction: pycolmap.Reconstruction) -> bool:
    poses = registered_poses(reconstruction)
    up = find_up(list(poses.values()))
    if up is None:
        _log.warning("the images do not agree on what is down: the map's z axis is not turned up")
        return False
    if not up.reliable:
        _log.warning("the camera turns too little to tell its pitch: the map's z axis points up only roughly")
    transform(reconstruction, level(poses, up.direction))
    return up.reliable
