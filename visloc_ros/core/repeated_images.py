"""Images that a camera has sent before: one that is frozen, or whose driver sends them again."""

from __future__ import annotations

from collections import deque

import cv2
import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.types import Image

NOISELESS_MEANING = (
    "images are a simulator's without noise: equal ones are of a camera that stands, not of a frozen one"
)
LEAST_CONTRAST = 4.0
"""Standard deviation of an image that shows something: a camera's noise has 1 to 3."""

_Thumbnail = NDArray[np.float32]

_KEPT, _MOST_IN_A_ROW = 16, 8  # images: drivers' buffers hold 4 to 8
_WIDTH = 32  # px, to which images are made smaller, so that their noise averages out
_MOST_SHARE = 0.25  # of its difference from the image before, that an image sent again has from the earlier one
_LEAST_SHARE = 0.5  # of the same, by which the image before differs from those around that one: else it turns back


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


class StaleImages:
    """Compares each image of one camera with several before: a buffer that is sent again shows what was, not what is.

    A camera that moves sees nothing twice at once, but for its noise. One that stands differs as little from the image
    before as from earlier ones, one that turns back, or sways, has just seen what was around the earlier image, and one
    that lights the scene now and then sees that brighter, not another one. If what was seen earlier is seen twice in a
    row, something has passed before the camera.
    """

    def __init__(self) -> None:
        self._before: deque[_Thumbnail] = deque(maxlen=_KEPT)
        self._stale: list[_Thumbnail] = []  # images in a row that were

    def reset(self) -> None:
        """Forget all images."""
        self._before.clear()
        self._stale.clear()

    def is_stale(self, image: Image) -> bool:
        """Whether an image (H, W) or (H, W, 3) shows what an earlier one than the one before did, and that did not.

        None of less than 64 pixels to a side is taken to, nor more images in a row than a buffer holds.
        """
        if min(image.shape[:2]) < 2 * _WIDTH:  # of which few pixels make one
            return False
        small = _thumbnail(image)
        if self._before and self._before[-1].shape != small.shape:
            self.reset()
        if self._leaps_back(small) and len(self._stale) < _MOST_IN_A_ROW:
            self._stale.append(small)
            return True
        self._stale.clear()
        self._before.append(small)
        return False

    def _leaps_back(self, small: _Thumbnail) -> bool:
        """Whether an image is like earlier ones, but neither like a stale one before nor on its way there."""
        if len(self._before) < 2:
            return False
        known, before = list(self._before), self._before[-1]
        *differences, step = [_difference(small, one) for one in known]
        alike = np.flatnonzero(np.array(differences) < _MOST_SHARE * step)
        around = {index for one in alike for index in (one - 1, one + 1) if index >= 0}
        turns_back = any(_difference(before, known[index]) < _LEAST_SHARE * step for index in around)
        stays = bool(self._stale) and _difference(small, self._stale[-1]) < _MOST_SHARE * step
        return len(alike) > 0 and not turns_back and not stays


def shows_nothing(image: NDArray[np.uint8]) -> bool:
    """Whether an image (H, W) or (H, W, 3) is of one colour, as each of a covered camera's may be: it is not frozen."""
    return image.size == 0 or float(np.std(image)) < LEAST_CONTRAST


def _thumbnail(image: Image) -> _Thumbnail:
    """The image made small, of mean 0 and standard deviation 1."""
    height = max(1, round(_WIDTH * image.shape[0] / image.shape[1]))
    small = cv2.resize(image, (_WIDTH, height), interpolation=cv2.INTER_AREA).astype(np.float32)
    return np.asarray((small - small.mean()) / max(float(small.std()), LEAST_CONTRAST), np.float32)


def _difference(one: _Thumbnail, other: _Thumbnail) -> float:
    return float(np.sqrt(np.mean(np.square(one - other))))
