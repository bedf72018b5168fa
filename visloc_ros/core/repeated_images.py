"""Images that do not change to the byte: those of a camera that is frozen, or that its driver sends again."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

NOISELESS_MEANING = (
    "images are a simulator's without noise: equal ones are of a camera that stands, not of a frozen one"
)
LEAST_CONTRAST = 4.0
"""Standard deviation of an image that shows something: a camera's noise has 1 to 3."""


class RepeatedImages:
    """Compares each image of one camera with the one before; the noise of a sensor makes every two differ."""

    def __init__(self) -> None:
        self._before: NDArray[np.uint8] | None = None

    def repeats(self, image: NDArray[np.uint8]) -> bool:
        """Whether an image, as pixels or as the bytes of its message, is the one before once more."""
        before, self._before = self._before, image
        if before is None or before.shape != image.shape or before.size == 0:
            return False
        middle = len(image) // 2  # where two images differ, nearly all of them do here: the rest is not looked at
        part = slice(middle, middle + (1 if image.ndim > 1 else 1024))
        return np.array_equal(before[part], image[part]) and np.array_equal(before, image)


def shows_nothing(image: NDArray[np.uint8]) -> bool:
    """Whether an image (H, W) or (H, W, 3) is of one colour, as each of a covered camera's may be: it is not frozen."""
    return image.size == 0 or float(np.std(image)) < LEAST_CONTRAST
