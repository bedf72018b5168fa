"""Images that a camera has sent before: one that is frozen, or whose driver sends them again."""

from __future__ import annotations

from collections import deque
from statistics import median

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

_KEPT = 16  # images: drivers' buffers hold 4 to 8
_WIDTH = 32  # px, to which images are made smaller, so that their noise averages out
_MOST_SHARE = 0.25  # of its difference from the image before, that an image sent again has from the earlier one
_LEAP = 1.5  # times the usual difference between two images: less is a camera that sways, or turns back
_FEWEST = 3  # differences that show which is usual


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
    before as from earlier ones, one that turns back differs no more from it than usual, and one that lights the scene
    now and then sees that brighter, not another one. If what was seen earlier is seen twice in a row, something has
    passed before the camera.
    """

    def __init__(self) -> None:
        self._before: deque[_Thumbnail] = deque(maxlen=_KEPT)
        self._steps: deque[float] = deque(maxlen=_KEPT)  # differences between images and those before
        self._stale: _Thumbnail | None = None  # the one before, if it was

    def reset(self) -> None:
        """Forget all images."""
        self._before.clear()
        self._steps.clear()
        self._stale = None

    def is_stale(self, image: Image) -> bool:
        """Whether an image (H, W) or (H, W, 3) shows what an earlier one than the one before did, and that did not.

        None of less than 64 pixels to a side is taken to.
        """
        if min(image.shape[:2]) < 2 * _WIDTH:  # of which few pixels make one
            return False
        small = _thumbnail(image)
        if self._before and self._before[-1].shape != small.shape:
            self.reset()
        *earlier, step = [_difference(small, one) for one in self._before] or [0.0]
        leaps = len(self._steps) >= _FEWEST and step > _LEAP * median(self._steps)
        stale, self._stale = self._stale, None
        stays = stale is not None and _difference(small, stale) < _MOST_SHARE * step
        if leaps and not stays and min(earlier, default=np.inf) < _MOST_SHARE * step:
            self._stale = small
            return True
        if self._before:
            self._steps.append(step)
        self._before.append(small)
        return False


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
