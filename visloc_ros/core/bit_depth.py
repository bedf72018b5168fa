"""From 16-bit numbers that hold fewer bits to 8-bit pixels, the same way for all images of a camera."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_BITS = (8, 10, 12, 14, 16)  # of cameras; their numbers lie in the lower bits
_LOST_BITS = 4  # of the eight: with 64 shades a pose is as certain as with 256, with 16 three times less, with 8 none


class BitDepth:
    """How many bits the images of one camera hold, by the largest number seen so far.

    It grows at most once for each step, so that the brightness does not change from image to image. Images with too few
    shades for it are of a camera that was set to fewer bits: they share a depth of their own, until one comes that has
    enough.
    """

    def __init__(self) -> None:
        self._bits = _BITS[0]
        self._lower: BitDepth | None = None

    def to_8_bit(self, values: NDArray[Any]) -> NDArray[np.uint8]:
        """The upper eight of the bits in use of uint16 numbers of any shape."""
        largest = int(values.max(initial=0))
        needed = next(bits for bits in _BITS if largest >> bits == 0)
        if needed <= self._bits - _LOST_BITS:
            self._lower = self._lower or BitDepth()
            return self._lower.to_8_bit(values)
        self._bits, self._lower = max(self._bits, needed), None
        return np.asarray(values >> (self._bits - 8)).astype(np.uint8)
