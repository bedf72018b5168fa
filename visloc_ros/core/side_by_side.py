"""Images that show two pictures side by side, as stereo cameras store them."""

from __future__ import annotations

import cv2
import numpy as np

from visloc_ros.core.types import Image

ADVICE = (
    "the images show two pictures side by side, as stereo cameras store them: keep one, for example with "
    "'ffmpeg -i film.mp4 -vf crop=iw/2:ih:0:0 left.mp4'"
)

_PATCH_PX, _LEAST_PATCHES = 24, 8
_LEAST_CONTRAST = 8.0  # standard deviation of a patch that shows something
_MOST_DISPARITY = 0.2  # of a half
_ROWS_PX = 3  # by which the pictures may be higher or lower
_SAME = 0.8  # correlation of a patch with one of the other half
_SHARE_OF_PATCHES = 0.55  # that the other half shows, too: of ordinary pictures a third at most, but for single ones
_SHARE_OF_IMAGES = 0.8


def shows_two_pictures(grey: Image) -> bool:
    """Whether most patches of the right half of a small image (H, W) are in the left half, in about the same rows."""
    half = grey.shape[1] // 2
    left, right = grey[:, :half].astype(np.float32), grey[:, half : 2 * half].astype(np.float32)
    reach = int(_MOST_DISPARITY * half)
    found = []
    for top in range(_ROWS_PX, grey.shape[0] - _PATCH_PX - _ROWS_PX, _PATCH_PX):
        for start in range(0, half - _PATCH_PX + 1, _PATCH_PX):
            patch = right[top : top + _PATCH_PX, start : start + _PATCH_PX]
            if patch.std() >= _LEAST_CONTRAST:
                rows = left[top - _ROWS_PX : top + _PATCH_PX + _ROWS_PX]
                searched = rows[:, max(0, start - reach) : start + _PATCH_PX + reach]
                found.append(float(cv2.matchTemplate(searched, patch, cv2.TM_CCOEFF_NORMED).max()) >= _SAME)
    return len(found) >= _LEAST_PATCHES and sum(found) >= _SHARE_OF_PATCHES * len(found)


def is_of_two_cameras(num_showing_two: int, num_images: int) -> bool:
    """Whether so many images that show two pictures are those of a stereo camera."""
    return num_showing_two > 0 and num_showing_two >= _SHARE_OF_IMAGES * num_images
