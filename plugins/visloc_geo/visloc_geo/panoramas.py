"""Perspective views cut from equirectangular panoramas, with exact intrinsics and headings.

A panorama's columns are directions from -180 to 180 degrees about its centre, its rows those from straight up to
straight down.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np
import pycolmap

from visloc_geo.orientation import rotation_of
from visloc_geo.view import Orientation, View
from visloc_ros.core.camera import HALF_PIXEL, camera_from_params, rays
from visloc_ros.core.config import Config, option
from visloc_ros.core.errors import GeoError
from visloc_ros.core.geometry import Array
from visloc_ros.core.types import Image
from visloc_ros.features.images import resize_image


@dataclass(frozen=True)
class CutConfig(Config):
    """The views cut from a panorama: square, level, and equally far from each other."""

    n_directions: int = option(8, "views of a panorama, the first one looks north", minimum=1, maximum=360)
    fov: float = option(90.0, "field of view [degrees]", minimum=10.0, maximum=150.0)
    size: int = option(640, "width and height [px]", minimum=64, maximum=4096)

    @property
    def camera(self) -> pycolmap.Camera:
        """The camera of the views, without distortion."""
        focal = self.size / (2.0 * math.tan(math.radians(self.fov) / 2.0))
        return camera_from_params("PINHOLE", self.size, self.size, [focal, focal, self.size / 2.0, self.size / 2.0])

    @property
    def headings_deg(self) -> list[float]:
        """Clockwise from north; from the panorama's centre where north is not known."""
        return [index * 360.0 / self.n_directions for index in range(self.n_directions)]


def view_name(panorama: str, heading_deg: float) -> str:
    """The name of a view that is cut from a panorama."""
    return f"{panorama}_{round(heading_deg, 2):g}"


def cut_views(panorama: View, image: Image, config: CutConfig) -> Iterator[tuple[View, Image]]:
    """The views of a panorama and their images; they look level, whatever the panorama's pitch and roll are.

    ``panorama`` has its name, its position, and the orientation of its centre; without that the views have none either.
    Raises GeoError for an image that is not twice as wide as high.
    """
    height, width = image.shape[:2]
    if width != 2 * height:
        raise GeoError(
            f"'{panorama.name}' has {width}x{height} pixels: an equirectangular panorama is twice as wide as high"
        )
    centre, camera = panorama.orientation or Orientation(0.0), config.camera
    enu_from_panorama = rotation_of(centre.heading_deg, centre.pitch_deg, centre.roll_deg)
    reduced = _reduced(image, camera)
    for heading in config.headings_deg:
        orientation = panorama.orientation and Orientation(heading, sigma_deg=centre.sigma_deg)
        view = replace(
            panorama,
            name=view_name(panorama.name, heading),
            panorama=panorama.name,
            orientation=orientation,
            camera=camera,
        )
        yield view, cut_view(reduced, enu_from_panorama.T @ rotation_of(heading), camera)


def cut_view(panorama: Image, panorama_from_view: Array, camera: pycolmap.Camera) -> Image:
    """The image of a camera at the centre of a panorama (H, 2 H), turned by a rotation (3, 3) against its centre."""
    height, width = panorama.shape[:2]
    columns, rows = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
    pixels = np.column_stack([columns.ravel(), rows.ravel()]) + HALF_PIXEL
    seen = np.column_stack([rays(camera, pixels), np.ones(len(pixels))])
    x, y, z = panorama_from_view @ seen.T
    column = (np.arctan2(x, z) / (2.0 * math.pi) + 0.5) * width - HALF_PIXEL
    row = (np.arctan2(y, np.hypot(x, z)) / math.pi + 0.5) * height - HALF_PIXEL
    # One column more on each side, since the panorama goes on there; above and below it repeats its edge.
    around = cv2.copyMakeBorder(panorama, 0, 0, 1, 1, cv2.BORDER_WRAP)
    columns, rows = (one.astype(np.float32).reshape(camera.height, camera.width) for one in (column + 1.0, row))
    return np.asarray(cv2.remap(around, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.uint8)


def _reduced(panorama: Image, camera: pycolmap.Camera) -> Image:
    """A panorama with about as many pixels in a degree as the views have: one with more would be sampled too thinly."""
    width = 2 * math.ceil(math.pi * camera.mean_focal_length())
    return resize_image(panorama, (width, width // 2)) if width < panorama.shape[1] else panorama
