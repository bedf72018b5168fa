"""How far a pose can be trusted: LOCALIZED, then DEGRADED, then LOST, by distance, time and covariance.

Every limit is written so that a number that is none (NaN) counts as beyond it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from visloc_ros.core.geometry import Array
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import Reason, State, Support
from visloc_ros.fusion.config import StateConfig


@dataclass(frozen=True, eq=False)
class Evidence:
    """What a pose rests on: metres and nanoseconds since the last fix, its covariance, whether anchors contradict.

    ``followed`` tells whether points of the map were followed into the frame, or into one just before it; ``checked``,
    whether more anchors agree than it took to place the odometry.
    ``covariance`` is (6, 6) or larger, the pose first.
    """

    distance: float
    age_ns: int
    covariance: Array
    doubted: bool
    followed: bool = False
    checked: bool = True

    @property
    def age_s(self) -> float:
        """Seconds since the last fix."""
        return self.age_ns / NANOSECONDS

    @cached_property
    def sigma(self) -> float:
        """Largest standard deviation of the position, metres."""
        return largest_sigma(self.covariance[:3, :3])

    @cached_property
    def sigma_deg(self) -> float:
        """Largest standard deviation of the rotation, degrees."""
        return float(np.degrees(largest_sigma(self.covariance[3:6, 3:6])))


def largest_sigma(covariance: Array) -> float:
    """Standard deviation (N, N) -> float along the direction in which it is largest; NaN where it is not finite."""
    if not np.all(np.isfinite(covariance)):
        return float("nan")
    return float(np.sqrt(max(np.linalg.eigvalsh(covariance)[-1], 0.0)))


def judge_pose(evidence: Evidence, config: StateConfig) -> State:
    """State of a frame that has a pose.

    While points of the map are followed nothing drifts with the distance and the time since the last fix: they make
    the pose DEGRADED, since no anchor has checked it for so long, but not LOST.
    """
    near = evidence.followed or _is_near(evidence, config.lost_distance, config.lost_age_s)
    if not near or not _is_sure(evidence, config.lost_sigma, config.lost_sigma_deg):
        return State.LOST
    near = _is_near(evidence, config.degraded_distance, config.degraded_age_s)
    borne_out = not evidence.doubted and (evidence.checked or evidence.followed)
    if not borne_out or not near or not _is_sure(evidence, config.degraded_sigma, config.degraded_sigma_deg):
        return State.DEGRADED
    return State.LOCALIZED


def reason_for(state: State, evidence: Evidence, config: StateConfig) -> Reason | None:
    """Why a frame with a pose is not LOCALIZED: refused anchors, a last fix too far back, or a large covariance."""
    if state is State.LOCALIZED:
        return None
    if evidence.doubted:
        return Reason.ODOMETRY_DISAGREES
    is_near = _is_near(evidence, config.degraded_distance, config.degraded_age_s)
    return Reason.UNCERTAIN if is_near else Reason.STALE


def judge_support(evidence: Evidence, config: StateConfig) -> Support:
    """What a frame's pose rests on; odometry alone where the last anchor is far behind."""
    if evidence.followed:
        return Support.MAP_TRACKING
    is_near = _is_near(evidence, config.degraded_distance, config.degraded_age_s)
    return Support.ANCHOR if is_near else Support.ODOMETRY


def judge_absence(blind_ns: int, config: StateConfig) -> State:
    """State of a frame without a pose, so long after the last frame with one."""
    return State.DEGRADED if blind_ns <= config.blind_s * NANOSECONDS else State.LOST


def doubted_covariance(covariance: Array, age_s: float, distance: float, config: StateConfig) -> Array:
    """Covariance (6, 6) of a LOST pose for those who use it all the same: at least the doubt that made it LOST.

    It is enlarged until the position is as uncertain as ``lost_sigma``, times how often the distance or the time
    after which a pose is LOST has passed since the last fix.
    """
    overdue = max(1.0, _share(distance, config.lost_distance), _share(age_s, config.lost_age_s))
    factor = max(1.0, _share(overdue * config.lost_sigma, largest_sigma(covariance[:3, :3])))
    return covariance * factor**2


def _share(part: float, whole: float) -> float:
    return part / max(whole, 1e-9)


def _is_near(evidence: Evidence, distance: float, age_s: float) -> bool:
    return evidence.distance <= distance and evidence.age_s <= age_s


def _is_sure(evidence: Evidence, sigma: float, sigma_deg: float) -> bool:
    return evidence.sigma <= sigma and evidence.sigma_deg <= sigma_deg
