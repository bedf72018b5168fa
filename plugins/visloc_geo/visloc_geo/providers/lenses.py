"""Images of other lenses as perspective views: as Mapillary and OpenSfM name and parametrise them."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import pycolmap
from PIL import Image as Pictures

from visloc_geo.panoramas import CutConfig, cut_views
from visloc_geo.providers.base import Fetched, encode_jpeg, image_size
from visloc_geo.view import View
from visloc_ros.core.camera import camera_from_params
from visloc_ros.core.errors import GeoError
from visloc_ros.core.types import Image

PERSPECTIVE, FISHEYE, EQUIRECTANGULAR = "perspective", "fisheye", "equirectangular"
KINDS: dict[str, Sequence[str]] = {
    PERSPECTIVE: (PERSPECTIVE,),
    FISHEYE: (FISHEYE,),
    EQUIRECTANGULAR: (EQUIRECTANGULAR, "spherical"),
}
_WIDEST_DEG = 120.0  # of the perspective view of a fisheye


@dataclass(frozen=True)
class Lens:
    """A kind of projection; focal length as share of the longer side, then k1 and k2, as far as they are known."""

    kind: str
    parameters: tuple[float, ...] = ()


def perspective_views(view: View, jpeg: bytes, lens: Lens, n_directions: int, fov_deg: float) -> Fetched:
    """The image with its camera, if it is a perspective one, otherwise what is cut from it, the first by the same name.

    A perspective image whose focal length is not known has no camera. Raises GeoError for a lens that is not known.
    """
    if lens.kind in KINDS[EQUIRECTANGULAR]:
        return _cut(view, jpeg, CutConfig(n_directions=n_directions, fov=fov_deg))
    if lens.kind in KINDS[FISHEYE] and lens.parameters:
        image, camera = undistort_fisheye(decode(jpeg), lens)
        return [(replace(view, camera=camera), _encode(image))]
    if lens.kind in KINDS[PERSPECTIVE]:
        known = perspective_camera(*image_size(jpeg), lens) if lens.parameters else None
        return [(replace(view, camera=known), jpeg)]
    raise GeoError(f"its lens is of the kind '{lens.kind}', whose parameters are not known")


def perspective_camera(width: int, height: int, lens: Lens) -> pycolmap.Camera:
    """The camera of an image of this size. Raises CalibrationError."""
    share, k1, k2 = _three(lens)
    return camera_from_params("RADIAL", width, height, [share * max(width, height), width / 2.0, height / 2.0, k1, k2])


def undistort_fisheye(image: Image, lens: Lens) -> tuple[Image, pycolmap.Camera]:
    """The middle of an equidistant fisheye's image as a perspective view of the same size, with its camera."""
    height, width = image.shape[:2]
    share, k1, k2 = _three(lens)
    side = max(width, height)
    centre = [(width - 1) / 2.0, (height - 1) / 2.0]
    focal = max(share * side, side / (2.0 * math.tan(math.radians(_WIDEST_DEG) / 2.0)))
    seen = np.array([[share * side, 0.0, centre[0]], [0.0, share * side, centre[1]], [0.0, 0.0, 1.0]])
    wanted = np.array([[focal, 0.0, centre[0]], [0.0, focal, centre[1]], [0.0, 0.0, 1.0]])
    distortion = np.array([k1, k2, 0.0, 0.0])
    maps = cv2.fisheye.initUndistortRectifyMap(seen, distortion, np.eye(3), wanted, (width, height), cv2.CV_32FC1)
    turned = np.asarray(cv2.remap(image, maps[0], maps[1], cv2.INTER_LINEAR), np.uint8)
    return turned, camera_from_params("PINHOLE", width, height, [focal, focal, width / 2.0, height / 2.0])


def decode(jpeg: bytes) -> Image:
    """An image as RGB (H, W, 3)."""
    with Pictures.open(io.BytesIO(jpeg)) as picture:
        return np.asarray(picture.convert("RGB"))


def _cut(view: View, jpeg: bytes, config: CutConfig) -> Fetched:
    fetched: Fetched = []
    for cut, image in cut_views(view, decode(jpeg), config):
        fetched.append((cut if fetched else replace(cut, name=view.name), _encode(image)))
    return fetched


def _encode(image: Image) -> bytes:
    return encode_jpeg(Pictures.fromarray(image))


def _three(lens: Lens) -> tuple[float, float, float]:
    share, k1, k2 = (*lens.parameters, 0.0, 0.0)[:3]
    return share, k1, k2
