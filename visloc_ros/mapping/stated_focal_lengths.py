"""Focal lengths that photos state in their EXIF data, where structure from motion contradicts them.

A focal length is free in structure from motion, and where few images hang together it may run away: that of 22 photos
of a street to 0.7 of what these state, and then only 9 of them can be joined. What a photo states is a measurement.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pycolmap

from visloc_ros.localization.camera_estimation import MAP_FOCAL_SIGMA
from visloc_ros.mapping.collection import MapFrame
from visloc_ros.mapping.components import Component
from visloc_ros.mapping.map_sources import MapCamera

_MOST_STATED_SIGMA = 0.1  # of a focal length that is stated: others are guessed
_CONTRADICTION = 3.0  # standard deviations


def contradicted_cameras(model: pycolmap.Reconstruction, frames: Sequence[MapFrame]) -> list[MapCamera]:
    """The cameras whose focal length in a model contradicts the one that their photos state."""
    camera_ids = {model.images[image_id].name: model.images[image_id].camera_id for image_id in model.reg_image_ids()}
    stated = {
        camera_ids[frame.name]: frame.camera
        for frame in frames
        if frame.name in camera_ids and not frame.camera.calibrated
    }
    return [camera for camera_id, camera in stated.items() if _contradicts(model.cameras[camera_id], camera)]


def _contradicts(found: pycolmap.Camera, stated: MapCamera) -> bool:
    if not 0.0 < stated.focal_sigma <= _MOST_STATED_SIGMA:
        return False
    difference = math.log(found.mean_focal_length() / stated.intrinsics.mean_focal_length())
    return abs(difference) > _CONTRADICTION * math.hypot(stated.focal_sigma, MAP_FOCAL_SIGMA)


def hold_cameras(frames: Sequence[MapFrame], cameras: Sequence[MapCamera]) -> list[MapFrame]:
    """The frames, those of some cameras with a focal length that structure from motion does not change."""
    held = {id(camera): replace(camera, calibrated=True) for camera in cameras}
    return [replace(frame, camera=held.get(id(frame.camera), frame.camera)) for frame in frames]


def explains_more(held: Component, free: Component) -> bool:
    """Whether a model with focal lengths as stated has more images, or as many and more points, than one without."""
    return held.size > free.size


def contradiction(cameras: Sequence[MapCamera], free: Component) -> str:
    """What a user must know where a model keeps the focal lengths that structure from motion found."""
    stated = cameras[0]
    found = sorted({round(camera.mean_focal_length()) for camera in free.model.cameras.values()})
    sure = f"{stated.intrinsics.mean_focal_length():.0f} px to {100 * stated.focal_sigma:.0f} %"
    return (
        f"the focal length that the images show ({', '.join(map(str, found))} px) contradicts their EXIF data "
        f"({sure}): were they cropped? Give a calibration (--camera)"
    )
