"""Images whose features do not match those of the map as they are, without a word why: blurred, noisy, dark or turned.

Descriptors of corners and of whole images change with a turn, and with blur and noise, of which half the pixels show
less. The features are then found in a copy, set upright or half the size, at their places in the image as given: camera
and pose stay those of it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary

import numpy as np

from visloc_ros.core.calibration import CameraCalibration
from visloc_ros.core.map import LocalFeatures
from visloc_ros.core.types import Image, Reason
from visloc_ros.features.images import resize_image

log = logging.getLogger(__name__)

MOST_TURNS = 3
"""Other quarter turns than the one that is expected."""
TURN_RISK_SHARE = 0.1
"""Share of the largest risk that a pose of an unexpected turn may have: few images are turned, and three are tried."""
HALF_RISK_SHARE = 0.25
"""The same at half the size: many images are blurred, but of smeared ones fewer keypoints are right."""

_PATIENCE = 4  # images of a camera that was found: it seldom turns, and of as many that are missed one may be sharp
_NOT_FOUND = (Reason.FEW_MATCHES, Reason.FEW_INLIERS)
_BY_LIKELIHOOD = (0, 2, 1, 3)  # as it should be, a camera mounted upside down, a phone held upright


@dataclass(frozen=True)
class ImageCopy:
    """A copy of an image: turned counter-clockwise by quarter turns, and as large or half the size."""

    quarters: int = 0
    is_half: bool = False

    def of(self, image: Image, longest: int) -> Image:
        """The copy of an image, of which an extractor reduces the longer side to ``longest`` pixels."""
        if self.is_half:
            image = resize_image(image, half_size(image, longest))
        return turned_image(image, self.quarters)

    def features_as_given(self, features: LocalFeatures, image_size: tuple[int, int]) -> LocalFeatures:
        """The copy's features at their places in the image (width, height) as given."""
        as_large = features.turned(-self.quarters)
        return scaled_features(as_large, image_size) if self.is_half else as_large


AS_GIVEN = ImageCopy()


def half_size(image: Image, longest: int) -> tuple[int, int]:
    """Half the (width, height) in which an extractor sees an image, whose longer side it reduces to ``longest``."""
    height, width = image.shape[:2]
    factor = 0.5 * min(1.0, longest / max(width, height))
    return max(1, round(factor * width)), max(1, round(factor * height))


def scaled_features(features: LocalFeatures, size: tuple[int, int]) -> LocalFeatures:
    """Features at their places in the image resized to (width, height)."""
    factors = np.divide(size, features.image_size)
    scales_angles = features.scales_angles
    if scales_angles is not None:
        scales_angles = (scales_angles * [factors.mean(), 1.0]).astype(np.float32)
    keypoints = (features.keypoints * factors).astype(np.float32)
    return replace(features, keypoints=keypoints, image_size=size, scales_angles=scales_angles)


def turned_image(image: Image, quarters: int) -> Image:
    """An image turned counter-clockwise by quarter turns."""
    return np.rot90(image, quarters).copy() if quarters % 4 else image


@dataclass
class _CameraCopies:
    """The copy by which a camera's images were found last; how many images were not found, and turns tried, since."""

    quarters: int = 0
    num_tried: int = 0
    num_missed: int = 0
    was_found: bool = False
    was_half: bool = False


class CopyChooser:
    """Which copies of the images of each camera to search, by those that were found.

    A camera is known by the calibration that its frames carry. The copy of full size that sets its last image upright
    comes first, then half its size, then at most ``most_turns`` other turns, one after the other over the images of a
    camera. Where that is less than all, more images follow soon. Once one of them was found, the next four that are not
    are searched at half their size, after that every fourth, which is also tried turned, so that a robot that is lost
    searches hardly less often.
    """

    def __init__(self, most_turns: int) -> None:
        self._most = most_turns
        self._cameras: WeakKeyDictionary[CameraCalibration, _CameraCopies] = WeakKeyDictionary()

    def expected(self, calibration: CameraCalibration | None) -> ImageCopy:
        """The copy to search first: sharp images are found more exactly at full size."""
        return ImageCopy(self._camera(calibration).quarters)

    def others(self, calibration: CameraCalibration | None, reason: Reason) -> Sequence[ImageCopy]:
        """The copies to try for an image that the expected one does not find, for a reason that these may mend."""
        camera = self._camera(calibration)
        half = ImageCopy(camera.quarters, is_half=True)
        if reason is Reason.FEW_FEATURES:  # no turn has more, and nothing was matched: there is time
            return (half,)
        if reason not in _NOT_FOUND:
            return ()
        camera.num_missed += 1
        if camera.was_found and self._most < MOST_TURNS and camera.num_missed % _PATIENCE:
            return (half,) if camera.num_missed < _PATIENCE else ()
        return half, *self._turns(camera)

    def risk_share(self, calibration: CameraCalibration | None, copy: ImageCopy) -> float:
        """Share of the largest risk that a pose by one of the other copies may have.

        All of it at half the size, where that found the camera's last image.
        """
        if copy.is_half:
            return 1.0 if self._camera(calibration).was_half else HALF_RISK_SHARE
        return TURN_RISK_SHARE

    def _turns(self, camera: _CameraCopies) -> Sequence[ImageCopy]:
        others = [quarters for quarters in _BY_LIKELIHOOD if quarters != camera.quarters]
        chosen = [others[(camera.num_tried + index) % len(others)] for index in range(min(self._most, len(others)))]
        camera.num_tried += len(chosen)
        return [ImageCopy(quarters) for quarters in chosen]

    def found(self, calibration: CameraCalibration | None, copy: ImageCopy) -> None:
        """Expect the turn by which an image was found."""
        camera = self._camera(calibration)
        if copy.quarters != camera.quarters:
            log.info("the images of a camera are turned by %d degrees: they are searched upright", 90 * copy.quarters)
        camera.quarters, camera.num_tried, camera.num_missed = copy.quarters, 0, 0
        camera.was_found, camera.was_half = True, copy.is_half

    def _camera(self, calibration: CameraCalibration | None) -> _CameraCopies:
        return _CameraCopies() if calibration is None else self._cameras.setdefault(calibration, _CameraCopies())
