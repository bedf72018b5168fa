"""Images as hloc prepares them for its networks."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from visloc_ros.core.types import Image
from visloc_ros.features.images import as_grey, as_rgb

_DEFAULTS = {"grayscale": False, "resize_max": None, "resize_force": False, "interpolation": "cv2_area"}


def prepare(image: Image, preprocessing: Mapping[str, Any], device: torch.device) -> Tensor:
    """Planes (1, C, H, W) in [0, 1] of an image, resized by a configuration's ``preprocessing``."""
    options = {**_DEFAULTS, **preprocessing}
    pixels = (as_grey(image) if options["grayscale"] else as_rgb(image)).astype(np.float32)
    longest = max(pixels.shape[:2])
    limit = options["resize_max"]
    if limit and (options["resize_force"] or longest > limit):
        size = tuple(round(side * limit / longest) for side in pixels.shape[1::-1])
        pixels = importlib.import_module("hloc.extract_features").resize_image(pixels, size, options["interpolation"])
    planes = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    return torch.from_numpy(np.ascontiguousarray(planes / 255.0))[None].to(device)
