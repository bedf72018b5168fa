"""Images for dpvo: of a pinhole camera, reduced, cropped to whole cells, channels in BGR order."""

from __future__ import annotations

import cv2
import numpy as np
import pycolmap
from numpy.typing import NDArray

from visloc_dpvo.config import CELL_PX
from visloc_ros.core.camera import HALF_PIXEL, project, rays, rescale
from visloc_ros.core.geometry import Array
from visloc_ros.core.types import Image
from visloc_ros.features.images import as_rgb, resize_image

MULTIPLE = 16  # pixels that both sides are multiples of, so that all levels of the feature maps are whole
MIN_SIDE = 48  # pixels below which there is hardly a place for a patch

Map = NDArray[np.float32]


class PinholeImages:
    """Makes the images of one camera those of a pinhole camera with the same focal lengths and principal point.

    Images are cropped at the right and at the bottom, so the principal point stays.
    """

    def __init__(self, camera: pycolmap.Camera, max_width: int) -> None:
        factor = min(1.0, max_width / camera.width)
        self._resized = (round(camera.width * factor), round(camera.height * factor))
        resized = rescale(camera, *self._resized)
        self.camera = _pinhole(resized)
        self.size = (self._resized[0] // MULTIPLE * MULTIPLE, self._resized[1] // MULTIPLE * MULTIPLE)
        self._maps = None if camera.is_undistorted() else _undistortion(resized, self.camera)

    @property
    def large_enough(self) -> bool:
        """Whether the images are large enough for patches."""
        return min(self.size) >= MIN_SIDE

    @property
    def map_size(self) -> tuple[int, int]:
        """Height and width of the feature maps, a quarter of the images'."""
        return self.size[1] // 4, self.size[0] // 4

    @property
    def quarter_intrinsics(self) -> Array:
        """Focal lengths and principal point (4,) on the quarter grid, whose first cell is at (0, 0)."""
        fx, fy, cx, cy = self.camera.params
        return np.array([fx, fy, cx - HALF_PIXEL, cy - HALF_PIXEL]) / CELL_PX

    def __call__(self, image: Image) -> Image:
        """BGR planes (3, h, w) of a grey or RGB image; in memory the channels of a pixel lie together."""
        picture = self._undistort(resize_image(as_rgb(image), self._resized))
        width, height = self.size
        return np.asarray(cv2.cvtColor(picture[:height, :width], cv2.COLOR_RGB2BGR), np.uint8).transpose(2, 0, 1)

    def _undistort(self, picture: Image) -> Image:
        if self._maps is None:
            return picture
        straight = cv2.remap(picture, *self._maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(straight, dtype=np.uint8)


def _pinhole(camera: pycolmap.Camera) -> pycolmap.Camera:
    focal = (camera.focal_length_x, camera.focal_length_y)
    params = [*focal, camera.principal_point_x, camera.principal_point_y]
    return pycolmap.Camera(model="PINHOLE", width=camera.width, height=camera.height, params=params)


def _undistortion(camera: pycolmap.Camera, pinhole: pycolmap.Camera) -> tuple[Map, Map]:
    """Where OpenCV finds each pixel of the pinhole camera's image in that of the camera: x and y, float32 (H, W)."""
    columns, rows = np.meshgrid(np.arange(pinhole.width), np.arange(pinhole.height))
    ray = rays(pinhole, np.stack((columns.ravel(), rows.ravel()), axis=1) + HALF_PIXEL)
    found = project(camera, np.column_stack((ray, np.ones(len(ray))))) - HALF_PIXEL
    x, y = found.astype(np.float32).T.reshape(2, pinhole.height, pinhole.width)
    return x, y
