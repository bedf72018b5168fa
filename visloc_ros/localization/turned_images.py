"""Images that lie on their side or stand upside down, without any word about it.

Descriptors of corners and of whole images change with a turn, so that the map's images do not match. The features are
then found in a copy that is set upright, at their places in the image as given: camera and pose stay those of it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary

import numpy as np

from visloc_ros.core.calibration import CameraCalibration
from visloc_ros.core.map import LocalFeatures
from visloc_ros.core.types import AnchorPose, Image, Reason, Rejection

log = logging.getLogger(__name__)

MOST_TURNS = 3
"""Other quarter turns than the one that is expected."""
RISK_SHARE = 0.1
"""Share of the largest risk that a pose of an unexpected turn may have: few images are turned, and three are tried."""

_MISSED_PER_TURN = 4  # images of a camera that was found, which seldom turns
_NOT_FOUND = (Reason.FEW_MATCHES, Reason.FEW_INLIERS)
_BY_LIKELIHOOD = (0, 2, 1, 3)  # as it should be, a camera mounted upside down, a phone held upright


def turned_image(image: Image, quarters: int) -> Image:
    """An image turned counter-clockwise by quarter turns."""
    return np.ascontiguousarray(np.rot90(image, quarters)) if quarters % 4 else image


def turned_features(features: LocalFeatures, quarters: int) -> LocalFeatures:
    """Features at their places in the image turned counter-clockwise by quarter turns."""
    quarters %= 4
    if quarters == 0:
        return features
    width, height = features.image_size
    x, y = features.keypoints.T
    places = {1: (y, width - x), 2: (width - x, height - y), 3: (height - y, x)}[quarters]
    size = (width, height) if quarters == 2 else (height, width)
    scales_angles = features.scales_angles
    if scales_angles is not None:
        scales_angles = (scales_angles - [0.0, 0.5 * np.pi * quarters]).astype(np.float32)
    keypoints = np.column_stack(places).astype(np.float32)
    return replace(features, keypoints=keypoints, image_size=size, scales_angles=scales_angles)


def may_be_turned(answer: AnchorPose | Rejection) -> bool:
    """Whether an image was not found for a reason that a turn would explain."""
    return isinstance(answer, Rejection) and answer.reason in _NOT_FOUND


@dataclass
class _CameraTurns:
    """The turn by which a camera's images were found last; how many images were not found, and turns tried, since."""

    quarters: int = 0
    num_tried: int = 0
    num_missed: int = 0
    was_found: bool = False


class Turns:
    """Which counter-clockwise quarter turns set the images of each camera upright, by those that were found.

    A camera is known by the calibration that its frames carry. At most ``most`` other turns are tried for an image, one
    after the other over the images of a camera. Where that is less than all, more images follow soon: once one of them
    was found, every fourth that is not found is tried turned, so that a robot that is lost searches hardly less often.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._cameras: WeakKeyDictionary[CameraCalibration, _CameraTurns] = WeakKeyDictionary()

    def expected(self, calibration: CameraCalibration | None) -> int:
        """The turn of the last image that was found; none at first, and where the camera is not known."""
        return self._camera(calibration).quarters

    def others(self, calibration: CameraCalibration | None) -> Sequence[int]:
        """The turns to try for an image that the expected one does not find."""
        camera = self._camera(calibration)
        camera.num_missed += 1
        if camera.was_found and self._most < MOST_TURNS and camera.num_missed % _MISSED_PER_TURN:
            return ()
        others = [quarters for quarters in _BY_LIKELIHOOD if quarters != camera.quarters]
        chosen = [others[(camera.num_tried + index) % len(others)] for index in range(min(self._most, len(others)))]
        camera.num_tried += len(chosen)
        return chosen

    def found(self, calibration: CameraCalibration | None, quarters: int) -> None:
        """Expect the turn by which an image was found."""
        camera = self._camera(calibration)
        if quarters != camera.quarters:
            log.info("the images of a camera are turned by %d degrees: they are searched upright", 90 * quarters)
        camera.quarters, camera.num_tried, camera.num_missed, camera.was_found = quarters, 0, 0, True

    def _camera(self, calibration: CameraCalibration | None) -> _CameraTurns:
        return _CameraTurns() if calibration is None else self._cameras.setdefault(calibration, _CameraTurns())
