"""How far a moving camera smears an image while it exposes, measured in the image itself.

An edge that is smeared by L pixels along its normal has the variance L^2 / 12. That of real edges follows from how much
of their gradient remains once they are blurred again (Zhuo and Sim, Pattern Recognition 2011). A lens out of focus
softens edges of all directions alike, a moving camera those across its motion most.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.geometry import Array
from visloc_ros.core.types import Image
from visloc_ros.features.images import as_grey, reduce_image

_LONGEST_PX = 320  # a smear that displaces keypoints is several pixels long even so
_FINE_PX, _COARSE_PX = 1.0, 4.0  # standard deviations of the two blurs that are compared
_DIRECTIONS = 12
_LEAST_EDGES = 50.0  # pixels by their weights (Kish 1965); images that a pose was found for have hundreds
_MOST_PX2 = 12.0**2  # of smears an eighth of the image long: of wider edges next to nothing is left to compare
_SHARP_PX2 = 2.0
"""Difference that edges of different directions have where no camera moves, because scenes have soft edges, too. Smears
below a thirtieth of the image stay within it; their residuals show them."""


def smear_covariance(image: Image) -> Array:
    """Covariance (2, 2) in square pixels of where a point was while a moving camera exposed; zero of sharp images."""
    grey = reduce_image(as_grey(image), _LONGEST_PX)
    variances, has_edges = _edge_variances(grey)
    if has_edges.sum() < 3:
        return np.zeros((2, 2))
    normals = _normals()
    x, y = normals[has_edges].T
    xx, xy, yy = np.linalg.lstsq(np.column_stack((x * x, 2.0 * x * y, y * y)), variances[has_edges], rcond=None)[0]
    (least, largest), axes = np.linalg.eigh([[xx, xy], [xy, yy]])
    smear = max(0.0, largest - max(least, 0.0) - _SHARP_PX2) * np.outer(axes[:, 1], axes[:, 1])
    scale = np.divide(image.shape[1::-1], grey.shape[1::-1])
    return np.asarray(smear * np.outer(scale, scale))


def _edge_variances(grey: Image) -> tuple[Array, NDArray[np.bool_]]:
    """Variance in square pixels of the profile of edges, by the direction of their normals, and where there are any.

    Strong edges count most: they are edges, not texture or noise.
    """
    (fine_x, fine_y), (x, y) = (_gradients(grey, sigma_px) for sigma_px in (_FINE_PX, _COARSE_PX))
    energy = x * x + y * y
    agreeing = np.square(fine_x * x + fine_y * y)  # times its energy, that of the fine gradient along the coarse one
    direction = (np.arctan2(y, x).ravel() * (_DIRECTIONS / np.pi)).astype(np.intp) % _DIRECTIONS
    of_all = energy * energy
    weight, kept = (np.bincount(direction, one.ravel(), _DIRECTIONS) for one in (of_all, agreeing))
    is_enough = float(of_all.sum()) ** 2 >= _LEAST_EDGES * float(np.square(of_all).sum())
    has_edges = (weight > 0.0) & is_enough
    ratio = np.maximum(kept[has_edges] / weight[has_edges], 1.0 + 1e-9)
    variances = np.zeros(_DIRECTIONS)
    variances[has_edges] = np.clip((_COARSE_PX**2 - ratio * _FINE_PX**2) / (ratio - 1.0), 0.0, _MOST_PX2)
    return variances, has_edges


def _gradients(grey: Image, sigma_px: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Twice the gradient of a blurred image, its x and its y (H, W), of every second pixel of every second row."""
    blurred = cv2.GaussianBlur(grey.astype(np.float32), (0, 0), sigma_px)
    x = blurred[1:-1:2, 2::2] - blurred[1:-1:2, :-2:2]
    y = blurred[2::2, 1:-1:2] - blurred[:-2:2, 1:-1:2]
    return np.asarray(x, np.float32), np.asarray(y, np.float32)


def _normals() -> Array:
    """Directions (N, 2) of the normals of edges, half a turn in all."""
    angles = (np.arange(_DIRECTIONS) + 0.5) * np.pi / _DIRECTIONS
    return np.column_stack((np.cos(angles), np.sin(angles)))
