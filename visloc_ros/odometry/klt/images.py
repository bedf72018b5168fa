"""Images for the tracker: grey values of one exposure at a size that tracks fast, contrast, sharpness.

The shift between their thumbnails gives the camera's turn, however far features jumped.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np
import pycolmap
from numpy.typing import NDArray

from visloc_ros.core.camera import rays
from visloc_ros.core.geometry import Array, rotation_matrix
from visloc_ros.core.types import Frame, Image
from visloc_ros.odometry.klt.config import KltConfig
from visloc_ros.tracking.pyramid import Pyramid, reduced

_STEP = 1.1  # ratio of contrasts to the reference view from which on the exposure has changed
_SMOOTHING = 0.1
_LARGEST_GAIN = 8.0
_RELAXATION = 0.03  # share of a compensation that is given back every frame: tracking does not notice
_GREY_LEVELS = np.arange(256, dtype=np.float64)
_EXTREMES = np.array([0.0, 255.0])
MIN_CORRELATION = 0.4
"""Two thumbnails that correlate less do not show the same place."""
_THUMBNAIL_WIDTH = 64
_MIDDLE = 0.4  # share of width and height that is searched in the other thumbnail; the rest is its largest shift
Thumbnail = Image


@dataclass(frozen=True, eq=False)
class PreparedImage:
    """A prepared frame: grey image (H, W), its camera, its stamp, and its thumbnail.

    ``turn`` (3,) is the rotation vector by which the camera turns while the image is read, None where that is unknown.
    Sudden exposure steps are taken out of the grey values; large images are halved, and so are their cameras.
    """

    stamp_ns: int
    grey: Image
    camera: pycolmap.Camera
    contrast: float
    sharpness: float
    thumbnail: Thumbnail
    turn: Array | None = None

    @cached_property
    def pyramid(self) -> Pyramid:
        """The image and its halves."""
        return Pyramid(self.grey)


class ImagePreparation:
    """Takes sudden exposure changes out and measures whether an image shows anything."""

    def __init__(self, config: KltConfig) -> None:
        self._config = config
        self._gain, self._offset = 1.0, 0.0
        self._reference: tuple[float, float] | None = None
        self._usual_sharpness = 0.0

    def prepare(self, frame: Frame) -> PreparedImage:
        """Measure an image; grey values are compensated as far as known from the views before."""
        grey, camera = reduced(frame.grey, frame.camera, self._config.max_pixels)
        mean, deviation = _mean_and_deviation(grey)
        half = np.asarray(cv2.pyrDown(grey), dtype=np.uint8)
        sharpness = _mean_and_deviation(np.asarray(cv2.Laplacian(half, cv2.CV_16S)))[1] / max(deviation, 1.0)
        thumbnail = make_thumbnail(half)
        return PreparedImage(
            frame.stamp_ns, self._compensate(grey, mean, deviation), camera, deviation, sharpness, thumbnail
        )

    def refer_to(self, view: PreparedImage) -> None:
        """Make this view the exposure reference, since the next views will be followed from it."""
        self._reference = _mean_and_deviation(view.grey)

    def accept(self, view: PreparedImage) -> None:
        """Learn the usual sharpness from a view that was tracked, and make it the exposure reference."""
        self.refer_to(view)
        if self._usual_sharpness == 0.0:
            self._usual_sharpness = view.sharpness
        self._usual_sharpness += _SMOOTHING * (view.sharpness - self._usual_sharpness)

    def relative_sharpness(self, view: PreparedImage) -> float:
        """Sharpness of a view as a share of the usual one; 1 before any is known."""
        return view.sharpness / self._usual_sharpness if self._usual_sharpness > 0.0 else 1.0

    def _compensate(self, grey: Image, mean: float, deviation: float) -> Image:
        """Undo exposure steps: ``grey * gain + offset`` has the exposure of the view referred to."""
        if deviation < self._config.min_contrast:
            return grey
        self._gain **= 1.0 - _RELAXATION
        self._offset *= 1.0 - _RELAXATION
        if self._reference is not None:
            wanted_mean, wanted_deviation = self._reference
            if not 1.0 / _STEP < wanted_deviation / (deviation * self._gain) < _STEP:
                self._gain = float(np.clip(wanted_deviation / deviation, 1.0 / _LARGEST_GAIN, _LARGEST_GAIN))
                self._offset = wanted_mean - mean * self._gain
        if np.abs(self._gain * _EXTREMES + self._offset - _EXTREMES).max() < 0.5:
            return grey
        return np.asarray(cv2.LUT(grey, _table(self._gain, self._offset)))


def _mean_and_deviation(values: NDArray[Any]) -> tuple[float, float]:
    mean, deviation = cv2.meanStdDev(values)
    return float(mean[0, 0]), float(deviation[0, 0])


def _table(gain: float, offset: float) -> NDArray[np.uint8]:
    return np.clip(np.rint(_GREY_LEVELS * gain + offset), 0, 255).astype(np.uint8)


def make_thumbnail(grey: Image) -> Thumbnail:
    """The image (H, W) at a width of 64 pixels."""
    height = max(8, round(_THUMBNAIL_WIDTH * grey.shape[0] / grey.shape[1]))
    return np.asarray(cv2.resize(grey, (_THUMBNAIL_WIDTH, height), interpolation=cv2.INTER_AREA))


def turn_between(first: Thumbnail, second: Thumbnail, camera: pycolmap.Camera) -> tuple[Array, float]:
    """Rotation (3, 3) ``second_from_first`` that shifts the first thumbnail onto the second, and their correlation.

    Good to about a hundredth of the image's width, for turns about the vertical and the horizontal of up to
    three tenths of the field of view; a turn about the optical axis is not measured.
    """
    shift, correlation = _shift_between(first, second)
    centre = 0.5 * np.array([camera.width, camera.height])
    per_pixel = np.array([camera.width, camera.height]) / first.shape[::-1]
    seen = rays(camera, np.stack([centre, centre + shift * per_pixel]))
    if not np.isfinite(seen).all():  # beyond what the lens model describes
        return np.eye(3), 0.0
    before, after = (np.append(ray, 1.0) for ray in seen)
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
