"""Whether a localizer refuses where it must: attempts with images of other places, and with false predictions.

An accepted pose is *right* when the image shows the mapped place and the pose is close to the truth, *weak* when its
error agrees with its reported covariance, and *wrong* otherwise. A rejection is never wrong here; the share of refused
right images is reported separately.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum

import numpy as np

from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.map import LocalFeatures
from visloc_ros.core.tangent import pose_difference
from visloc_ros.core.types import AnchorPose, Frame, Rejection
from visloc_ros.evaluation.metrics import pose_errors
from visloc_ros.localization import AnchorEngine
from visloc_ros.localization.acceptance import spread

CLOSE_M, CLOSE_DEG = 0.25, 5.0
"""Largest error of a right pose: several times the usual error of the engine's accepted poses."""
WEAK_SIGMAS, WEAK_M, WEAK_DEG = 4.0, 1.0, 12.0
"""Largest error of a weak pose, which its standard deviation must explain."""


class Outcome(str, Enum):
    """The outcome of one attempt."""

    REJECTED = "rejected"
    RIGHT = "right"
    WEAK = "weak"
    WRONG = "wrong"


@dataclass(frozen=True)
class PoseAccuracy:
    """Errors of a pose and its own standard deviations, in metres and degrees, and the squared error (``nees``).

    NEES: normalised by the covariance (6, 6) of the pose, so that it is 6 in the mean where that is right.
    """

    error_m: float
    error_deg: float
    sigma_m: float
    sigma_deg: float
    nees: float

    @staticmethod
    def of(pose: SE3, covariance: Array, truth: SE3) -> PoseAccuracy:
        """Compare a pose with the true one."""
        sigma_m, sigma_rad = (np.sqrt(np.trace(covariance[part, part])) for part in (slice(0, 3), slice(3, 6)))
        error = pose_difference(truth, pose)
        metres, degrees = np.linalg.norm(error[:3]), np.degrees(np.linalg.norm(error[3:]))
        nees = error @ np.linalg.solve(covariance, error)
        return PoseAccuracy(*(float(one) for one in (metres, degrees, sigma_m, np.degrees(sigma_rad), nees)))

    @property
    def is_close(self) -> bool:
        """Whether the pose is close to the truth."""
        return self.error_m <= CLOSE_M and self.error_deg <= CLOSE_DEG

    @property
    def is_right(self) -> bool:
        """Whether the pose is close to the truth, or its small error agrees with its covariance."""
        most_m = max(CLOSE_M, min(WEAK_SIGMAS * self.sigma_m, WEAK_M))
        return self.error_m <= most_m and self.error_deg <= max(CLOSE_DEG, min(WEAK_SIGMAS * self.sigma_deg, WEAK_DEG))


@dataclass(frozen=True, eq=False)
class IntegrityQuery:
    """One image to try; ``truth`` is its ``map_from_camera``, or None where it does not show the mapped place.

    With ``features`` it is not searched turned.
    """

    group: str
    frame: Frame
    features: LocalFeatures | None
    truth: SE3 | None = None


@dataclass(frozen=True)
class Attempt:
    """The answer to one query and the numbers behind it, NaN where there is no pose or no truth.

    ``inliers``, ``spread`` and ``reprojection_error_px`` are those of the pose that was accepted or refused.
    """

    place: str
    group: str
    image: str
    prior: str
    shows_place: bool
    outcome: Outcome
    reason: str | None
    inliers: int
    correspondences: int
    spread: float
    reprojection_error_px: float
    position_error_m: float
    rotation_error_deg: float
    milliseconds: float

    @property
    def inlier_ratio(self) -> float:
        """Share of the correspondences that are inliers."""
        return self.inliers / max(1, self.correspondences)


@dataclass
class OutcomeCounts:
    """Attempts of one kind, counted by outcome."""

    place: str
    group: str
    prior: str
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)

    @property
    def attempts(self) -> int:
        """Number of attempts."""
        return sum(self.outcomes.values())


def attempt(engine: AnchorEngine, query: IntegrityQuery, prior_name: str = "none", prior: SE3 | None = None) -> Attempt:
    """Localize one query, with a prediction or without, and judge the answer."""
    result = engine.localize(query.frame, prior, features=query.features)
    inliers, correspondences, spread_of_inliers, error_px = _numbers(result, query.frame)
    pose = None if isinstance(result, Rejection) else result.map_from_camera
    position_error_m, rotation_error_deg = pose_errors([pose], [query.truth])[0]
    return Attempt(
        place=engine.map.name,
        group=query.group,
        image=query.frame.name,
        prior=prior_name,
        shows_place=query.truth is not None,
        outcome=judge(result, query.truth),
        reason=result.reason.value if isinstance(result, Rejection) else None,
        inliers=inliers,
        correspondences=correspondences,
        spread=spread_of_inliers,
        reprojection_error_px=error_px,
        position_error_m=float(position_error_m),
        rotation_error_deg=float(rotation_error_deg),
        milliseconds=sum(result.stage_ms.values()),
    )


def judge(result: AnchorPose | Rejection, truth: SE3 | None) -> Outcome:
    """The outcome of an answer: a rejection, right, weak, or wrong."""
    if isinstance(result, Rejection):
        return Outcome.REJECTED
    if truth is None:
        return Outcome.WRONG
    accuracy = PoseAccuracy.of(result.map_from_camera, result.covariance, truth)
    if accuracy.is_close:
        return Outcome.RIGHT
    return Outcome.WEAK if accuracy.is_right else Outcome.WRONG


def count_outcomes(attempts: Iterable[Attempt]) -> list[OutcomeCounts]:
    """Count attempts by place, group and kind of prior, in the order they first appear."""
    groups: dict[tuple[str, str, str], OutcomeCounts] = {}
    for one in attempts:
        key = (one.place, one.group, one.prior)
        counted = groups.setdefault(key, OutcomeCounts(*key))
        counted.outcomes[one.outcome] += 1
        if one.reason is not None:
            counted.reasons[one.reason] += 1
    return list(groups.values())


def nearest_misses(attempts: Iterable[Attempt], count: int) -> list[Attempt]:
    """Attempts with images of other places that came closest to acceptance: most inliers first."""
    elsewhere = [one for one in attempts if not one.shows_place]
    return sorted(elsewhere, key=lambda one: (one.inliers, one.inlier_ratio), reverse=True)[:count]


def _numbers(result: AnchorPose | Rejection, frame: Frame) -> tuple[int, int, float, float]:
    """Inliers, correspondences, spread and reprojection error of the pose accepted or refused."""
    if isinstance(result, AnchorPose):
        inlier_spread = spread(result.inlier_pixels, frame.camera)
        return result.num_inliers, result.num_matches, inlier_spread, result.reprojection_error_px
    inliers, correspondences = (int(result.counts.get(key, 0)) for key in ("inliers", "correspondences"))
    inlier_spread, error_px = (result.counts.get(key, math.nan) for key in ("spread", "reprojection_error_px"))
    return inliers, correspondences, inlier_spread, error_px
