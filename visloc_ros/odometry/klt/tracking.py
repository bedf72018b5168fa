"""Features followed from image to image: forward-backward pyramidal Lucas-Kanade from predicted places."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
import pycolmap
from numpy.typing import NDArray

from visloc_ros.core import camera as cameras
from visloc_ros.core.geometry import Array
from visloc_ros.core.types import Image
from visloc_ros.odometry.klt.config import KltConfig

Pixels = NDArray[np.float32]
Ids = NDArray[np.int64]
Mask = NDArray[np.bool_]

_ENOUGH_FOLLOWED = 0.5  # share of the features below which a guess is doubted
_FARTHEST_PX = 1e9
_LENS_ERROR_PX = 0.1  # there and back through the camera model; beyond it the lens is not described
_FORWARD_BACKWARD_PX = 0.5  # from a place to itself (Kalal et al. 2010): as exact as a tracked point is


@dataclass(frozen=True, eq=False)
class Features:
    """Followed features of one image: ids (N,), pixels (N, 2) with (0, 0) a pixel centre, rays (N, 2), pixels per ray.

    Ids are never used twice within a segment.
    """

    ids: Ids
    pixels: Pixels
    rays: Array
    pixels_per_ray: Array

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, rows: Mask | NDArray[np.intp]) -> Features:
        return Features(self.ids[rows], self.pixels[rows], self.rays[rows], self.pixels_per_ray[rows])

    @staticmethod
    def none() -> Features:
        """No features at all."""
        return Features(np.empty(0, dtype=np.int64), np.empty((0, 2), dtype=np.float32), np.empty((0, 2)), np.empty(0))

    def joined(self, other: Features) -> Features:
        """These features followed by the other ones."""
        return Features(
            np.concatenate([self.ids, other.ids]),
            np.concatenate([self.pixels, other.pixels]),
            np.concatenate([self.rays, other.rays]),
            np.concatenate([self.pixels_per_ray, other.pixels_per_ray]),
        )


def measure(camera: pycolmap.Camera, ids: Ids, pixels: Pixels) -> Features:
    """Undistort pixels (N, 2); features that the camera model cannot undistort are dropped.

    ``pixels_per_ray`` is the local scale of the model, so that errors on rays can be said in pixels for any lens.
    """
    centred = pixels.astype(np.float64) + cameras.HALF_PIXEL
    steps = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    stacked = (centred[None] + steps[:, None]).reshape(-1, 2)
    rays, right, down = cameras.rays(camera, stacked).reshape(3, -1, 2)
    area = np.abs(np.linalg.det(np.stack([right - rays, down - rays], axis=-1)))
    back = cameras.project(camera, np.column_stack([rays, np.ones(len(rays))]))
    with np.errstate(invalid="ignore"):
        exact = np.abs(back - centred).max(axis=1, initial=0.0) < _LENS_ERROR_PX
    good = exact & np.isfinite(area) & (area > 0.0)
    scale = 1.0 / np.sqrt(area[good])
    return Features(ids[good], pixels[good], rays[good], scale)


def pixels_of(camera: pycolmap.Camera, points: Array) -> Pixels:
    """Pixels (N, 2), (0, 0) a pixel centre, of points (N, 3) in the camera frame; NaN behind the camera."""
    pixels = cameras.project(camera, points) - cameras.HALF_PIXEL
    return np.clip(pixels, -_FARTHEST_PX, _FARTHEST_PX).astype(np.float32)  # single precision ends at 1e38


def follow(previous: Image, current: Image, pixels: Pixels, guess: Pixels, config: KltConfig) -> tuple[Pixels, Mask]:
    """Follow pixels (N, 2) from the previous to the current image, starting the search at ``guess`` (N, 2).

    Returns the new pixels and which of them came back to where they started within half a pixel.
    """
    found, good = lucas_kanade(previous, current, pixels, guess, config.pyramid_levels, config)
    good &= is_inside(found, current, 1.0)
    rows = np.flatnonzero(good)
    back = found[rows] + (pixels - guess)[rows]
    returned, back_good = lucas_kanade(current, previous, found[rows], back, config.pyramid_levels, config)
    gap = np.linalg.norm(returned - pixels[rows], axis=1)
    good[rows] = back_good & (gap < _FORWARD_BACKWARD_PX)
    return found, good


def follow_from_any(
    previous: Image, current: Image, pixels: Pixels, guesses: Iterable[Pixels], config: KltConfig
) -> tuple[Pixels, Mask]:
    """Follow pixels (N, 2) from the first of the guesses (N, 2) that finds most of them, else from the best one."""
    best: tuple[Pixels, Mask] = pixels, np.zeros(len(pixels), dtype=bool)
    for guess in guesses:
        usable = np.where(np.isfinite(guess), guess, pixels).astype(np.float32)
        found, good = follow(previous, current, pixels, usable, config)
        if np.count_nonzero(good) > np.count_nonzero(best[1]):
            best = found, good
        if np.count_nonzero(best[1]) >= _ENOUGH_FOLLOWED * len(pixels):
            break
    return best


def is_inside(pixels: Pixels, image: Image, margin_px: float) -> Mask:
    """Which pixels (N, 2) lie in the image, at least ``margin_px`` from its border."""
    height, width = image.shape[:2]
    low, high = margin_px, np.array([width, height]) - 1.0 - margin_px
    return np.asarray(np.all((pixels >= low) & (pixels <= high), axis=1))


def lucas_kanade(
    source: Image, target: Image, pixels: Pixels, guess: Pixels, levels: int, config: KltConfig
) -> tuple[Pixels, Mask]:
    """Pixels (N, 2) in the target of windows about pixels (N, 2) of the source, and which were found."""
    if len(pixels) == 0:
        return pixels, np.zeros(0, dtype=bool)
    found, status, _ = cv2.calcOpticalFlowPyrLK(
        source,
        target,
        pixels.reshape(-1, 1, 2),
        guess.reshape(-1, 1, 2).copy(),
        winSize=(config.window_px, config.window_px),
        maxLevel=levels,
        criteria=(cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 30, 0.01),
        flags=cv2.OPTFLOW_USE_INITIAL_FLOW,
        minEigThreshold=1e-5,
    )
    return np.asarray(found.reshape(-1, 2)), np.asarray(status.ravel() == 1)
