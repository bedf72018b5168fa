"""What the tracker needs of an image: grey values of one exposure, contrast, sharpness."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import pycolmap

from visloc_ros.core.types import Frame, Image
from visloc_ros.odometry.klt.config import KltConfig

_STEP = 1.15  # ratio of contrasts between neighbouring frames from which it is the exposure that changed
_SMOOTHING = 0.1
_LARGEST_GAIN = 8.0


@dataclass(frozen=True, eq=False)
class View:
    """One frame made ready: grey image (H, W) at the first frame's exposure, its camera, its stamp."""

    stamp_ns: int
    grey: Image
    camera: pycolmap.Camera
    contrast: float
    sharpness: float


class ImagePreparation:
    """Takes sudden exposure changes out and measures whether an image shows anything."""

    def __init__(self, config: KltConfig) -> None:
        self._config = config
        self._gain, self._offset = 1.0, 0.0
        self._mean, self._deviation = 0.0, 0.0
        self._usual_sharpness = 0.0

    def prepare(self, frame: Frame) -> View:
        """Measure an image; grey values are compensated as far as known from the views accepted before."""
        mean, deviation = (float(value[0, 0]) for value in cv2.meanStdDev(frame.grey))
        half = cv2.pyrDown(frame.grey)
        sharpness = float(cv2.Laplacian(half, cv2.CV_32F).std()) / max(deviation, 1.0)
        return View(frame.stamp_ns, self._compensate(frame.grey, mean, deviation), frame.camera, deviation, sharpness)

    def accept(self, view: View) -> None:
        """Learn the usual sharpness from a view that was tracked."""
        if self._usual_sharpness == 0.0:
            self._usual_sharpness = view.sharpness
        self._usual_sharpness += _SMOOTHING * (view.sharpness - self._usual_sharpness)

    def relative_sharpness(self, view: View) -> float:
        """Sharpness of a view as a share of the usual one; 1 before any is known."""
        return view.sharpness / self._usual_sharpness if self._usual_sharpness > 0.0 else 1.0

    def _compensate(self, grey: Image, mean: float, deviation: float) -> Image:
        """Undo exposure steps: ``grey * gain + offset`` continues the exposure of the frames before."""
        if deviation < self._config.min_contrast:
            return grey
        if self._deviation > 0.0:
            ratio = self._deviation / deviation
            if not 1.0 / _STEP < ratio < _STEP:
                step_gain = ratio * self._gain
                self._offset = (self._mean * self._gain + self._offset) - mean * step_gain
                self._gain = float(np.clip(step_gain, 1.0 / _LARGEST_GAIN, _LARGEST_GAIN))
        self._mean, self._deviation = mean, deviation
        if self._gain == 1.0 and self._offset == 0.0:
            return grey
        return np.asarray(np.clip(grey * np.float32(self._gain) + np.float32(self._offset), 0, 255).astype(np.uint8))
