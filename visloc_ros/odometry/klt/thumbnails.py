"""Thumbnails of images, whose shift gives the camera's turn, however far features jumped."""

from __future__ import annotations

import cv2
import numpy as np
import pycolmap

from visloc_ros.core.camera import rays
from visloc_ros.core.geometry import Array, rotation_matrix
from visloc_ros.core.types import Image

MIN_CORRELATION = 0.4
"""Two thumbnails that correlate less do not show the same place."""

_WIDTH = 64
_MIDDLE = 0.4  # share of width and height that is searched in the other thumbnail; the rest is its largest shift

Thumbnail = Image


def make_thumbnail(grey: Image) -> Thumbnail:
    """The image (H, W) at a width of 64 pixels."""
    height = max(8, round(_WIDTH * grey.shape[0] / grey.shape[1]))
    return np.asarray(cv2.resize(grey, (_WIDTH, height), interpolation=cv2.INTER_AREA))


def turn_between(first: Thumbnail, second: Thumbnail, camera: pycolmap.Camera) -> tuple[Array, float]:
    """Rotation (3, 3) ``second_from_first`` that shifts the first thumbnail onto the second, and their correlation.

    Good to about a hundredth of the image's width, for turns about the vertical and the horizontal of up to
    three tenths of the field of view; a turn about the optical axis is not measured.
    """
    shift, correlation = _shift_between(first, second)
    centre = 0.5 * np.array([camera.width, camera.height])
    per_pixel = np.array([camera.width, camera.height]) / first.shape[::-1]
    before, after = (np.append(ray, 1.0) for ray in rays(camera, np.stack([centre, centre + shift * per_pixel])))
    before, after = before / np.linalg.norm(before), after / np.linalg.norm(after)
    axis = np.cross(before, after)
    sine = float(np.linalg.norm(axis))
    return rotation_matrix(axis * (np.arcsin(min(sine, 1.0)) / max(sine, 1e-12))), correlation


def _shift_between(first: Thumbnail, second: Thumbnail) -> tuple[Array, float]:
    """Shift (2,) in pixels of the first thumbnail's middle in the second, and the correlation there."""
    rows, columns = (round(0.5 * (1.0 - _MIDDLE) * size) for size in first.shape)
    middle = first[rows : first.shape[0] - rows, columns : first.shape[1] - columns]
    scores = cv2.matchTemplate(second, middle, cv2.TM_CCOEFF_NORMED)
    _, best, _, place = cv2.minMaxLoc(scores)
    return np.array([place[0] - columns, place[1] - rows], dtype=np.float64), float(best)
