"""Doubts about a given calibration: whether the frames found in the map contradict its focal length.

A focal length that is wrong by a few per cent moves the camera towards the scene or away from it, but hardly changes
the residuals of a frame. Each frame that is found shows another focal length, as those of uncalibrated cameras do; over
frames, a systematic difference stands out from their uncertainties.

A camera that zooms, or changes its lens, contradicts what its earlier frames showed: a frame that does is refused, and
several in a row that agree on another focal length show a change.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from weakref import WeakKeyDictionary

from visloc_ros.core.calibration import CalibrationSource, CameraCalibration
from visloc_ros.core.geometry import Array
from visloc_ros.core.types import AnchorPose, Frame, Reason
from visloc_ros.localization.camera_estimation import (
    MAP_FOCAL_SIGMA,
    MAX_FOCAL_SIGMA,
    CameraView,
    combined_focal_length,
    most_agreeing,
)
from visloc_ros.localization.config import PoseConfig
from visloc_ros.localization.pose import (
    FOCAL_GAIN,
    PoseSolution,
    can_focal_length_be_wrong,
    free_focal_length,
    is_focal_length_doubtful,
    is_focal_length_wrong,
    solve_pose_and_focal_length,
)

log = logging.getLogger(__name__)

_NOT_BY_CHANCE = 2.0  # standard deviations from which on the covariance includes the difference
_EVIDENT, _EVIDENT_VIEWS = 3.0, 5  # from which on a warning says so
_INTRINSICS_ERROR_PX = 2.0  # median; keypoints are more exact, so that above it the focal length may be wrong
_CONFIRMED_SIGMA, _MAX_VIEWS = 0.02, 12
_ASTRAY = 3.0  # standard deviations from which on a frame contradicts those before
_RECENT_VIEWS = 5  # frames that contradict those before together, where each alone knows too little
_CHANGED_VIEWS = 3  # in a row that contradict those before

ImageKey = tuple[int, str]
"""Stamp and name of an image."""


class CalibrationDoubt:
    """The doubt about one calibration, by the frames that were found with it."""

    def __init__(self, calibration: CameraCalibration) -> None:
        self.focal_sigma = calibration.focal_sigma
        """Relative standard deviation of the focal length by what the frames show."""
        self.is_contradicted = False
        self.is_confirmed = not _is_given(calibration)
        self._given = calibration
        self._shown = calibration.camera.mean_focal_length(), math.hypot(calibration.focal_sigma, MAP_FOCAL_SIGMA)
        self._views: dict[ImageKey, CameraView] = {}  # an image whose pose is judged again counts once
        self._astray: dict[ImageKey, CameraView] = {}
        self._recent: dict[ImageKey, CameraView] = {}
        self._off = 0.0  # by which the latest frame, or several, show another focal length
        self._has_warned = False

    @property
    def is_settled(self) -> bool:
        """Whether frames confirm the calibration, the latest ones included."""
        return self.is_confirmed and not self._astray

    @property
    def suspicion(self) -> Mapping[ImageKey, CameraView]:
        """The latest frames that contradict those before, which some do by chance."""
        return dict(self._astray)

    def insist(self, suspicion: Mapping[ImageKey, CameraView], image: ImageKey, view: CameraView | None) -> None:
        """Take back that a frame agreed with those before: it contradicts them as the frames of a suspicion do.

        ``view`` is None if it does not show a focal length by itself.
        """
        self._astray = dict(suspicion) if view is None else _latest(suspicion, image, view, _CHANGED_VIEWS)

    @property
    def change(self) -> list[CameraView]:
        """The latest frames, where they agree on another focal length than those before; else none."""
        latest = list(self._astray.values())
        has_changed = len(latest) >= _CHANGED_VIEWS and self.is_confirmed
        return latest if has_changed and len(most_agreeing(latest)) == len(latest) else []

    def applied_to(self, calibration: CameraCalibration) -> CameraCalibration:
        """The calibration, as uncertain as the frames found contradict it, the latest ones if these agree no longer."""
        sigma = max(self.focal_sigma, self._off)
        return calibration if sigma == calibration.focal_sigma else replace(calibration, focal_sigma=sigma)

    def add(self, image: ImageKey, view: CameraView) -> bool:
        """Take a frame into account that was found with this calibration, its focal length then freed.

        Tells whether it agrees with what those before showed, and the focal length is known well enough for a pose.
        """
        if not view.is_plausible or not math.isfinite(view.focal_sigma):
            return True
        if not self.is_confirmed:
            self._views = _latest(self._views, image, view, _MAX_VIEWS)
            self._combine(list(self._views.values()))
        self._recent = _latest(self._recent, image, view, _RECENT_VIEWS)
        differences = [self._difference(one) for one in ([view], list(self._recent.values()))]
        if max(ratio for _, ratio in differences) > _ASTRAY:
            self._astray = _latest(self._astray, image, view, _CHANGED_VIEWS)
        elif view.focal_sigma <= MAX_FOCAL_SIGMA:
            self._astray = {}
        doubtful = [off for off, ratio in differences if ratio > _NOT_BY_CHANCE]
        doubtful += [self._difference([one])[0] for one in self._astray.values()]
        self._off = max(doubtful, default=0.0)
        return image not in self._astray and self._off <= MAX_FOCAL_SIGMA

    def _difference(self, views: Sequence[CameraView]) -> tuple[float, float]:
        """How far these frames' focal length is from what those before showed, also in standard deviations."""
        focal_length, sigma = combined_focal_length(most_agreeing(views))
        off = abs(math.log(focal_length / self._shown[0]))
        return off, off / math.hypot(sigma, self._shown[1])

    def _combine(self, views: Sequence[CameraView]) -> None:
        """Estimate the focal length by frames, and hold the calibration against it."""
        agreeing = most_agreeing(views)
        self._shown = focal_length, sigma = combined_focal_length(agreeing)
        difference = math.log(focal_length / self._given.camera.mean_focal_length())
        expected = math.hypot(sigma, self._given.focal_sigma)
        self.is_contradicted = abs(difference) > _NOT_BY_CHANCE * expected
        # What the uncertainties do not explain is the calibration's (method of moments, DerSimonian and Laird 1986).
        unexplained = math.sqrt(max(difference**2 - expected**2, 0.0))
        parts = (difference, sigma) if self.is_contradicted else (self._given.focal_sigma, unexplained)
        self.focal_sigma = math.hypot(*parts)
        is_known = len(agreeing) >= _EVIDENT_VIEWS and 2 * len(agreeing) > len(views)
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

    def seen(self, frame: Frame, solution: PoseSolution, pixels: Array, points: Array) -> CameraCalibration | None:
        """The calibration of a frame that was found, as uncertain as the frames found contradict it.

        ``solution`` is of all its correspondences, pixels (N, 2) and map points (N, 3). None where the frame
        contradicts those before it.
        """
        calibration = frame.calibration or CameraCalibration(frame.camera, CalibrationSource.GIVEN)
        doubt = self._of(calibration)
        is_inexact = solution.median_error_px >= _INTRINSICS_ERROR_PX
        may_be_wrong = can_focal_length_be_wrong if is_inexact else is_focal_length_doubtful
        if doubt.is_settled and not may_be_wrong(solution, pixels, points, self._config):
            return doubt.applied_to(calibration)
        freed = _freed(solution, pixels, points, self._config, is_inexact=is_inexact)
        if freed is None:
            return doubt.applied_to(calibration)
        view = CameraView.from_solution(freed, pixels, points, self._config)
        return doubt.applied_to(calibration) if doubt.add(_key(frame), view) else None

    def contradicted(self, frame: Frame, freed: PoseSolution, pixels: Array, points: Array) -> None:
        """Take a frame into account that is found only with another focal length."""
        if frame.calibration is not None:
            view = CameraView.from_solution(freed, pixels, points, self._config)
            self._of(frame.calibration).add(_key(frame), view)

    def suspicion(self, calibration: CameraCalibration) -> Mapping[ImageKey, CameraView]:
        """The latest frames with a calibration that contradict those before, by their images."""
        return self._of(calibration).suspicion if calibration in self._doubts else {}

    def insist(
        self, calibration: CameraCalibration, suspicion: Mapping[ImageKey, CameraView], frame: Frame, pose: AnchorPose
    ) -> None:
        """Add a frame that is found with the focal length of a suspicion."""
        pixels, points = pose.inlier_pixels, pose.inlier_points
        assert pose.calibration is not None
        freed = solve_pose_and_focal_length(pixels, points, pose.calibration.camera, self._config)
        view = None if freed is None else CameraView.from_solution(freed, pixels, points, self._config)
        self._of(calibration).insist(suspicion, _key(frame), view)

    def change(self, calibration: CameraCalibration | None) -> list[CameraView]:
        """The latest frames with a calibration, where they agree on another focal length than those before."""
        return self._doubts[calibration].change if calibration is not None and calibration in self._doubts else []

    def _of(self, calibration: CameraCalibration) -> CalibrationDoubt:
        if calibration not in self._doubts:  # which must not hold its own key: it would never be forgotten
            self._doubts[calibration] = CalibrationDoubt(replace(calibration))
        return self._doubts[calibration]


def _key(frame: Frame) -> ImageKey:
    return frame.stamp_ns, frame.name


def _latest(
    views: Mapping[ImageKey, CameraView], image: ImageKey, view: CameraView, most: int
) -> dict[ImageKey, CameraView]:
    """The views with that of an image as the newest, at most so many."""
    others = {key: one for key, one in views.items() if key != image}
    return dict(list({**others, image: view}.items())[-most:])


def _is_given(calibration: CameraCalibration) -> bool:
    """Whether it was not estimated in the map."""
    return calibration.source in (CalibrationSource.GIVEN, CalibrationSource.RECORDED)


def _freed(
    solution: PoseSolution, pixels: Array, points: Array, config: PoseConfig, *, is_inexact: bool
) -> PoseSolution | None:
    """The solution with its focal length freed, by the points that agree with it then.

    Where an inexact one leaves many out, the right focal length may be too far to be reached from it.
    """
    freed = free_focal_length(solution, pixels, points, solution.camera, config)
    if freed is not None and freed.num_inliers > solution.num_inliers:
        freed = free_focal_length(freed, pixels, points, freed.camera, config)
    if not is_inexact or len(pixels) < FOCAL_GAIN * solution.num_inliers:
        return freed
    other = solve_pose_and_focal_length(pixels, points, solution.camera, config)
    found = [one for one in (freed, other) if one is not None]
    return max(found, key=lambda one: one.num_inliers, default=None)


def contradicting_solution(
    reason: Reason | None, solution: PoseSolution, pixels: Array, points: Array, config: PoseConfig
) -> PoseSolution | None:
    """The pose that another focal length makes a good one, where it is refused for a reason or inaccurate, or None."""
    if reason is None and solution.median_error_px < _INTRINSICS_ERROR_PX:
        return None
    if reason is None:
        if not can_focal_length_be_wrong(solution, pixels, points, config):
            return None
        freed = free_focal_length(solution, pixels, points, solution.camera, config)
    else:
        freed = solve_pose_and_focal_length(pixels, points, solution.camera, config)
    return freed if freed is not None and is_focal_length_wrong(solution, freed) else None
