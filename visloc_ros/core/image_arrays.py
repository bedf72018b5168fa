"""Images as arrays: every usual kind becomes 8-bit grey or RGB, others are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.errors import SourceError

_EXPECTED = "give uint8 (H, W) grey or (H, W, 3) RGB"


def as_8_bit(image: Any) -> NDArray[np.uint8]:
    """The pixels as contiguous uint8 (H, W) or (H, W, 3). Raises SourceError for what is no image.

    uint16 loses its lower half, as in OpenCV; floating-point numbers go from 0 to 1; an alpha channel is left out.
    """
    if not isinstance(image, np.ndarray):
        raise SourceError(f"the image is of the type {type(image).__name__}: {_EXPECTED} as a NumPy array")
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[:, :, 0]
    if image.ndim == 3 and image.shape[2] == 4:
        image = image[:, :, :3]
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3) or not image.size:
        raise SourceError(f"the image has the shape {image.shape}: {_EXPECTED}")
    return np.ascontiguousarray(image if image.dtype == np.uint8 else _scaled(image))


def _scaled(image: NDArray[Any]) -> NDArray[np.uint8]:
    if image.dtype == np.uint16:
        return (image >> 8).astype(np.uint8)
    if not np.issubdtype(image.dtype, np.floating):
        raise SourceError(f"the image holds numbers of the type {image.dtype}: {_EXPECTED}")
    if not (image.min() >= 0.0 and image.max() <= 1.0):  # not so for NaN either
        raise SourceError(f"the image holds numbers from {image.min():g} to {image.max():g}: {_EXPECTED}, or 0 to 1")
    return np.round(255.0 * image).astype(np.uint8)
