"""The sharpness of an image, compared with others of the same scene."""

from __future__ import annotations

import cv2
import numpy as np

from visloc_ros.core.types import Image

_WIDTH = 320  # that images are compared at


def shrink(grey: Image) -> Image:
    """Reduce an image (H, W) to the width that images are compared at; smaller ones stay as they are."""
    height, width = grey.shape
    if width <= _WIDTH:
        return grey
    return np.asarray(cv2.resize(grey, (_WIDTH, max(1, round(height * _WIDTH / width))), interpolation=cv2.INTER_AREA))


def sharpness(grey: Image) -> float:
    """Variance of the Laplacian of an image (H, W): comparable between images of one scene only."""
    return float(cv2.Laplacian(grey, cv2.CV_32F).var())
