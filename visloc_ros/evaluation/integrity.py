"""Whether a localizer says no where it must: attempts with images of other places, and with false predictions.

An accepted pose is *right* when the image shows the mapped place and the pose is close to the truth, and *wrong*
otherwise. A rejection is never wrong here; how often right images are refused is told beside it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum

import numpy as np

from visloc_ros.core.geometry import SE3
from visloc_ros.core.map import LocalFeatures
from visloc_ros.core.types import AnchorPose, Frame, Rejection
from visloc_ros.evaluation.metrics import pose_errors
from visloc_ros.localization import AnchorEngine
from visloc_ros.localization.gates import spread

MAX_POSITION_ERROR_M = 0.25
MAX_ROTATION_ERROR_DEG = 5.0
"""A pose farther off than either is wrong: several times what the engine's accepted poses err by."""


class Outcome(str, Enum):
    """What became of one attempt."""

    REJECTED = "rejected"
    RIGHT = "right"
    WRONG = "wrong"


@dataclass(frozen=True, eq=False)
class IntegrityQuery:
    """One image to be tried; ``truth`` is its ``map_from_camera``, or None where it does not show the mapped place."""

    group: str
    frame: Frame
    features: LocalFeatures
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
    """Attempts of one kind, counted by what became of them."""

    place: str
    group: str
    prior: str
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)

    @property
    def attempts(self) -> int:
        """How many there were."""
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
    """Whether an answer is a rejection, right, or wrong."""
    if isinstance(result, Rejection):
        return Outcome.REJECTED
    errors = pose_errors([result.map_from_camera], [truth])[0]
    is_right = bool(np.all(errors <= (MAX_POSITION_ERROR_M, MAX_ROTATION_ERROR_DEG)))  # NaN without a truth: wrong
    return Outcome.RIGHT if is_right else Outcome.WRONG


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
