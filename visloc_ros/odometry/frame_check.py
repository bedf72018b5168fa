"""Checks of frames that every odometry makes before tracking."""

from __future__ import annotations

import logging

import pycolmap

from visloc_ros.core.camera import check_image_size, is_same_camera
from visloc_ros.core.errors import CalibrationError
from visloc_ros.core.types import Frame, Reason, Rejection

log = logging.getLogger(__name__)


class FrameCheck:
    """Remembers the stamp and the camera of the last usable frame."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget both: stamps may start again."""
        self._last_stamp_ns: int | None = None
        self._camera: pycolmap.Camera | None = None

    def refuse(self, frame: Frame) -> Rejection | None:
        """Why a frame cannot be used: not newer than the last one, or not of its calibration's size."""
        if self._last_stamp_ns is not None and frame.stamp_ns <= self._last_stamp_ns:
            return Rejection(frame.stamp_ns, Reason.STALE)
        try:
            check_image_size(frame.camera, frame.image.shape[1], frame.image.shape[0])
        except CalibrationError as error:
            log.warning("%s", error)
            return Rejection(frame.stamp_ns, Reason.INTRINSICS_MISMATCH)
        self._last_stamp_ns = frame.stamp_ns
        return None

    def is_new_camera(self, frame: Frame) -> bool:
        """Whether a usable frame is the first of its camera: old landmarks would bend under new intrinsics."""
        before, self._camera = self._camera, frame.camera
        if before is None:
            return True
        if is_same_camera(before, frame.camera):
            return False
        log.warning("the calibration changes at %d ns: odometry starts again", frame.stamp_ns)
        return True
