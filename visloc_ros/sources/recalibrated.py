"""A source with a corrected calibration."""

from __future__ import annotations

from collections.abc import Iterator

import pycolmap

from visloc_ros.core.calibration import CameraCalibration
from visloc_ros.core.trajectory import Trajectory
from visloc_ros.core.types import Frame
from visloc_ros.sources.base import FrameSource


class RecalibratedSource:
    """The frames of a source with another calibration; photos of its other cameras stay as they are."""

    def __init__(self, source: FrameSource, calibration: CameraCalibration) -> None:
        self.name = source.name
        self.calibration = calibration
        self._source = source

    @property
    def camera(self) -> pycolmap.Camera:
        """Camera of the first frame."""
        return self.calibration.camera

    @property
    def calibrated(self) -> bool:
        """Whether the intrinsics are known, not guessed."""
        return not self.calibration.is_provisional

    @property
    def skipped(self) -> int:
        """Images that the latest iteration could not use."""
        return self._source.skipped

    @property
    def ground_truth(self) -> Trajectory | None:
        """True poses ``world_from_camera``, or None."""
        return self._source.ground_truth

    def __len__(self) -> int:
        return len(self._source)

    def __iter__(self) -> Iterator[Frame]:
        replaced = self._source.calibration
        for frame in self._source:
            yield frame.with_calibration(self.calibration) if frame.calibration is replaced else frame
