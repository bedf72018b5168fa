"""From 16-bit numbers that hold fewer bits to 8-bit pixels, the same way for all images of a camera."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_BITS = (8, 10, 12, 14, 16)  # of cameras; their numbers lie in the lower bits


class BitDepth:
    """How many bits the images of one camera hold, by the largest number seen so far.

    It only grows, at most once for each step, so that the brightness does not change from image to image.
    """

    def __init__(self) -> None:
        self.bits = _BITS[0]

    def to_8_bit(self, values: NDArray[Any]) -> NDArray[np.uint8]:
        """The upper eight of the bits in use of uint16 numbers of any shape."""
        largest = int(values.max(initial=0))
        self.bits = max(self.bits, next(bits for bits in _BITS if largest >> bits == 0))
        return np.asarray(values >> (self.bits - 8)).astype(np.uint8)
