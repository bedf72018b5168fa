"""The map's cameras that images of a size may come from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pycolmap

from visloc_ros.core.camera import is_same_camera, rescale, rotate

_SAME_SHAPE = 0.005  # relative: an odd number of pixels is rounded when an image is halved


def cameras_for_size(cameras: Iterable[pycolmap.Camera], width: int, height: int) -> list[pycolmap.Camera]:
    """The cameras for images of ``width`` x ``height``: unchanged, scaled, or turned (portrait, landscape).

    Images of another aspect ratio are crops of unknown parts, about which a camera says nothing.
    """
    variants: list[pycolmap.Camera | None] = []
    for camera in _distinct(cameras):
        if _has_shape(camera, width, height):
            variants.append(camera)
        elif _has_shape(camera, height, width):
            variants += (rotate(camera, clockwise) for clockwise in (True, False))
    return list(_distinct(_fit(camera, width, height) for camera in variants if camera is not None))


def _fit(camera: pycolmap.Camera, width: int, height: int) -> pycolmap.Camera:
    return camera if (camera.width, camera.height) == (width, height) else rescale(camera, width, height)


def _has_shape(camera: pycolmap.Camera, width: int, height: int) -> bool:
    return abs(camera.width * height / (camera.height * width) - 1.0) <= _SAME_SHAPE


def _distinct(cameras: Iterable[pycolmap.Camera]) -> Iterator[pycolmap.Camera]:
    """Cameras that are not the same as one before."""
    known: list[pycolmap.Camera] = []
    for camera in cameras:
        if not any(is_same_camera(camera, one) for one in known):
            known.append(camera)
            yield camera
