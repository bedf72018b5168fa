"""Doubts about a given calibration: whether the frames found in the map contradict its focal length.

A focal length that is wrong by a few per cent moves the camera towards the scene or away from it, but hardly changes
the residuals of a frame. Each frame that is found shows another focal length, as those of uncalibrated cameras do; over
frames, a systematic difference stands out from their uncertainties.
"""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from weakref import WeakKeyDictionary

from visloc_ros.core.calibration import CalibrationSource, CameraCalibration
from visloc_ros.core.geometry import Array
from visloc_ros.core.types import Frame, Reason
from visloc_ros.localization.camera_estimation import CameraView, combined_focal_length, most_agreeing
from visloc_ros.localization.config import PoseConfig
from visloc_ros.localization.pose import (
    PoseSolution,
    can_focal_length_be_wrong,
    free_focal_length,
    is_focal_length_wrong,
    solve_pose_and_focal_length,
)

log = logging.getLogger(__name__)

_NOT_BY_CHANCE = 2.0  # standard deviations from which on the covariance includes the difference
_EVIDENT, _EVIDENT_VIEWS = 3.0, 5  # from which on a warning says so
_INTRINSICS_ERROR_PX = 2.0  # median; keypoints are more exact, so that above it the focal length may be wrong
_CONFIRMED_SIGMA, _MAX_VIEWS = 0.02, 12


class CalibrationDoubt:
    """The doubt about one given calibration, by the frames that were found with it."""

    def __init__(self, calibration: CameraCalibration) -> None:
        self.focal_sigma = calibration.focal_sigma
        """Relative standard deviation of the given focal length by what the frames show."""
        self.is_contradicted = self.is_confirmed = False
        self._given = calibration
        self._views: list[CameraView] = []
        self._has_warned = False

    def add(self, view: CameraView) -> None:
        """Take a frame into account that was found with this calibration, its focal length then freed."""
        if not view.is_plausible or not math.isfinite(view.focal_sigma):
            return
        self._views = [*self._views, view][-_MAX_VIEWS:]
        agreeing = most_agreeing(self._views)
        focal_length, sigma = combined_focal_length(agreeing)
        difference = math.log(focal_length / self._given.camera.mean_focal_length())
        expected = math.hypot(sigma, self._given.focal_sigma)
        self.is_contradicted = abs(difference) > _NOT_BY_CHANCE * expected
        self.focal_sigma = math.hypot(difference, sigma) if self.is_contradicted else self._given.focal_sigma
        is_known = len(agreeing) >= _EVIDENT_VIEWS and 2 * len(agreeing) > len(self._views)
        self.is_confirmed = is_known and not self.is_contradicted and sigma <= _CONFIRMED_SIGMA
        if is_known and abs(difference) > _EVIDENT * expected:
            self._warn(len(agreeing), focal_length, sigma)

    def _warn(self, count: int, focal_length: float, sigma: float) -> None:
        if self._has_warned:
            return
        self._has_warned = True
        log.warning(
            "the calibration's focal length of %.0f px contradicts the map: %d images found show %.0f px to %.1f %%; "
            "calibrate the camera as it takes these images, or give no calibration, so that it is estimated",
            self._given.camera.mean_focal_length(),
            count,
            focal_length,
            100.0 * sigma,
        )


class CalibrationDoubts:
    """The doubts about all calibrations that frames carry."""

    def __init__(self, config: PoseConfig) -> None:
        self._config = config
        self._doubts: WeakKeyDictionary[CameraCalibration, CalibrationDoubt] = WeakKeyDictionary()

    def seen(self, frame: Frame, solution: PoseSolution, pixels: Array, points: Array) -> CameraCalibration:
        """The calibration of a frame that was found; a given one as uncertain as the frames found contradict it.

        ``solution`` is of all its correspondences, pixels (N, 2) and map points (N, 3).
        """
        calibration = frame.calibration or CameraCalibration(frame.camera, CalibrationSource.GIVEN)
        if calibration.source not in (CalibrationSource.GIVEN, CalibrationSource.RECORDED):
            return calibration  # it was estimated in the map
        if calibration not in self._doubts:  # which must not hold its own key: it would never be forgotten
            self._doubts[calibration] = CalibrationDoubt(replace(calibration))
        doubt = self._doubts[calibration]
        if not doubt.is_confirmed:
            freed = _freed(solution, pixels, points, self._config)
            if freed is not None:
                doubt.add(CameraView.from_solution(freed, pixels, points, self._config))
        return replace(calibration, focal_sigma=doubt.focal_sigma) if doubt.is_contradicted else calibration


def _freed(solution: PoseSolution, pixels: Array, points: Array, config: PoseConfig) -> PoseSolution | None:
    """The solution with its focal length freed, by the points that agree with it then."""
    freed = free_focal_length(solution, pixels, points, solution.camera, config)
    if freed is None or freed.num_inliers <= solution.num_inliers:
        return freed
    return free_focal_length(freed, pixels, points, freed.camera, config)


def is_focal_length_contradicted(
    reason: Reason | None, solution: PoseSolution, pixels: Array, points: Array, config: PoseConfig
) -> bool:
    """Whether another focal length makes a pose that is refused for a reason, or inaccurate, a good one."""
    if reason is None and solution.median_error_px < _INTRINSICS_ERROR_PX:
        return False
    if reason is None:
        if not can_focal_length_be_wrong(solution, pixels, points, config):
            return False
        freed = free_focal_length(solution, pixels, points, solution.camera, config)
    else:
        freed = solve_pose_and_focal_length(pixels, points, solution.camera, config)
    return freed is not None and is_focal_length_wrong(solution, freed)
