"""The probability that a pose is right, by its support.

A pose is wrong for one of two reasons: its inliers agree by chance, or they all belong to one object, such as a poster,
that also hangs elsewhere. The probability is the product of two logistic models, one for each reason, learnt from poses
known to be right or wrong (``benchmarks/anchor/acceptance.py``; how well they are calibrated: ``results/anchor.md``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pycolmap

from visloc_ros.core.geometry import Array
from visloc_ros.core.types import Reason
from visloc_ros.localization.config import PoseConfig
from visloc_ros.localization.pose import PoseSolution
from visloc_ros.localization.uncertainty import reprojection_residuals

_NEARLY = 4.0  # times the largest error of an inlier: allowed for points that the map knows badly


@dataclass(frozen=True)
class AcceptanceModel:
    """Weights of a constant and of the features: of ``chance_features`` and of ``thing_features``."""

    chance: tuple[float, ...]
    thing: tuple[float, ...]

    def probability(self, support: InlierSupport) -> float:
        """Probability that a pose is right where, without a look at it, it is as likely to be wrong."""
        return self.not_by_chance(support) * self.not_one_thing(support)

    def not_by_chance(self, support: InlierSupport) -> float:
        """Probability that the inliers do not agree by chance."""
        return _logistic(self.chance, support.chance_features)

    def not_one_thing(self, support: InlierSupport) -> float:
        """Probability that the inliers are not all of one object that also hangs elsewhere."""
        return _logistic(self.thing, support.thing_features)


@dataclass(frozen=True)
class InlierSupport:
    """The support of a pose: what it rests on.

    Of ``num_keypoints`` in the image ``num_inliers`` agree with it. Of ``num_expected`` correspondences ``num_near``
    agree at least nearly; where map points were searched around the pose (``is_searched``), ``num_near`` were found of
    the ``num_expected`` in view. ``spread`` is the least standard deviation of the inliers' pixels in any direction, as
    share of the image diagonal; ``thickness`` that of their points across the plane that fits them best, as share of
    their distance.
    """

    num_inliers: int
    num_keypoints: int
    num_near: int
    num_expected: int
    spread: float
    thickness: float
    is_searched: bool = False

    @staticmethod
    def of_matches(
        solution: PoseSolution, pixels: Array, points: Array, num_keypoints: int, config: PoseConfig
    ) -> InlierSupport:
        """Support of a pose computed from matched pixels (N, 2) and map points (N, 3)."""
        residuals = reprojection_residuals(solution.map_from_camera, pixels, points, solution.camera)
        near = np.linalg.norm(residuals, axis=1) <= _NEARLY * config.max_error_px
        return InlierSupport(
            solution.num_inliers, num_keypoints, int(near.sum()), len(near), *_extent(solution, pixels, points)
        )

    @staticmethod
    def of_view(
        solution: PoseSolution, pixels: Array, points: Array, num_keypoints: int, num_in_view: int
    ) -> InlierSupport:
        """Support of a pose by pixels (N, 2) found for some, at (N, 3), of the ``num_in_view`` map points searched."""
        found, extent = solution.num_inliers, _extent(solution, pixels, points)
        return InlierSupport(found, num_keypoints, found, max(found, num_in_view), *extent, is_searched=True)

    @property
    def probability(self) -> float:
        """Probability that the pose is right where, without a look at it, it is as likely to be wrong."""
        return self.model.probability(self)

    @property
    def model(self) -> AcceptanceModel:
        """The model that was learnt from support of this kind."""
        return SEARCHED if self.is_searched else MATCHED

    @property
    def chance_features(self) -> tuple[float, ...]:
        """Features that indicate inliers that agree by chance."""
        near = math.log((self.num_near + 1) / (self.num_expected - self.num_near + 1))
        share = self.num_inliers / self.num_keypoints
        return near, math.log(self.num_inliers), math.log(share), self._log_spread

    @property
    def thing_features(self) -> tuple[float, ...]:
        """Features that indicate inliers of a single object, which is small or flat."""
        return self._log_spread, math.log(min(self.thickness, _THICK) + _FLAT)

    @property
    def _log_spread(self) -> float:
        return math.log(self.spread + 0.01)

    def refusal(self, max_risk: float) -> Reason | None:
        """Why the pose is refused at this largest probability of being wrong; None where it is not."""
        if 1.0 - self.probability <= max_risk:
            return None
        would_be_taken = 1.0 - replace(self, thickness=USUAL_THICKNESS).probability <= max_risk
        return Reason.PLANAR_POINTS if would_be_taken else Reason.FEW_INLIERS


MATCHED = AcceptanceModel((1.95, 0.857, 1.987, 2.117, 1.26), (51.405, 3.428, 11.247))
SEARCHED = AcceptanceModel((21.482, 1.83, 0.292, 3.181, 4.25), (79.687, 7.128, 16.505))
_FLAT, _THICK = 0.02, 0.3  # shares of the distance: noise of a map makes less of a wall, and more says no more
USUAL_THICKNESS = 0.1


def _extent(solution: PoseSolution, pixels: Array, points: Array) -> tuple[float, float]:
    """Spread and thickness of the inliers."""
    in_camera = solution.map_from_camera.inverse @ points[solution.inliers]
    return spread(pixels[solution.inliers], solution.camera), relative_thickness(in_camera)


def spread(pixels: Array, camera: pycolmap.Camera) -> float:
    """Least standard deviation of pixels (N, 2) in any direction, as share of the image diagonal."""
    if len(pixels) < 2:
        return 0.0
    centred = pixels - pixels.mean(axis=0)
    least_variance = float(np.linalg.eigvalsh(centred.T @ centred)[0]) / (len(pixels) - 1)
    return math.sqrt(max(least_variance, 0.0)) / math.hypot(camera.width, camera.height)


def relative_thickness(points_in_camera: Array) -> float:
    """Thickness of points (N, 3) across the plane that fits them best, as share of their median distance.

    Root mean square; infinite for fewer than four points, which always lie in a plane.
    """
    if len(points_in_camera) < 4:
        return math.inf
    centred = points_in_camera - points_in_camera.mean(axis=0)
    least_variance = float(np.linalg.eigvalsh(centred.T @ centred / len(centred))[0])
    distance = float(np.median(np.linalg.norm(points_in_camera, axis=1)))
    return math.sqrt(max(least_variance, 0.0)) / distance


def _logistic(weights: tuple[float, ...], features: tuple[float, ...]) -> float:
    constant, *slopes = weights
    exponent = constant + sum(slope * feature for slope, feature in zip(slopes, features, strict=True))
    return 1.0 / (1.0 + math.exp(-max(exponent, -700.0)))
