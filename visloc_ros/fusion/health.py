"""The health of a pose: LOCALIZED, DEGRADED or LOST by distance, time and covariance.

Every limit is written so that NaN counts as beyond it.
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
class PoseSupport:
    """The health of a pose: distance and time since the last accepted anchor, its covariance, contradicting anchors.

    ``is_tracked``: map points were tracked into the frame, or into one just before it. ``is_confirmed``: more anchors
    agree than the first fix took. ``covariance`` is (6, 6) or larger, the pose first.
    """

    distance: float
    age_ns: int
    covariance: Array
    is_contradicted: bool
    is_tracked: bool = False
    is_confirmed: bool = True

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


def judge_pose(support: PoseSupport, config: StateConfig) -> State:
    """State of a frame that has a pose.

    While map points are tracked the pose does not drift. Distance and time since the last anchor, its last check, then
    make it DEGRADED, but not LOST.
    """
    is_near = support.is_tracked or _is_near(support, config.lost_distance, config.lost_age_s)
    if not is_near or not _is_certain(support, config.lost_sigma, config.lost_sigma_deg):
        return State.LOST
    is_near = _is_near(support, config.degraded_distance, config.degraded_age_s)
    is_checked = not support.is_contradicted and (support.is_confirmed or support.is_tracked)
    if not is_checked or not is_near or not _is_certain(support, config.degraded_sigma, config.degraded_sigma_deg):
        return State.DEGRADED
    return State.LOCALIZED


def reason_for(state: State, support: PoseSupport, config: StateConfig) -> Reason | None:
    """Why a frame with a pose is not LOCALIZED: refused anchors, a last fix too far back, or a large covariance."""
    if state is State.LOCALIZED:
        return None
    if support.is_contradicted:
        return Reason.ODOMETRY_DISAGREES
    is_near = _is_near(support, config.degraded_distance, config.degraded_age_s)
    return Reason.UNCERTAIN if is_near else Reason.STALE


def judge_support(support: PoseSupport, config: StateConfig) -> Support:
    """The support of a frame's pose: tracked map points, a recent anchor, or odometry alone."""
    if support.is_tracked:
        return Support.MAP_TRACKING
    is_near = _is_near(support, config.degraded_distance, config.degraded_age_s)
    return Support.ANCHOR if is_near else Support.ODOMETRY


def judge_absence(absent_ns: int, config: StateConfig) -> State:
    """State of a frame without a pose, by the time since the last frame with one."""
    return State.DEGRADED if absent_ns <= config.lost_without_pose_s * NANOSECONDS else State.LOST


def inflated_covariance(covariance: Array, age_s: float, distance: float, config: StateConfig) -> Array:
    """Covariance (6, 6) of a LOST pose that is nevertheless published.

    It is inflated until the position's standard deviation is ``lost_sigma``, times the ratio of the distance or the
    time since the last anchor to that after which a pose is LOST.
    """
    excess = max(1.0, _ratio(distance, config.lost_distance), _ratio(age_s, config.lost_age_s))
    factor = max(1.0, _ratio(excess * config.lost_sigma, largest_sigma(covariance[:3, :3])))
    return covariance * factor**2


def _ratio(part: float, whole: float) -> float:
    return part / max(whole, 1e-9)


def _is_near(support: PoseSupport, distance: float, age_s: float) -> bool:
    return support.distance <= distance and support.age_s <= age_s


def _is_certain(support: PoseSupport, sigma: float, sigma_deg: float) -> bool:
    return support.sigma <= sigma and support.sigma_deg <= sigma_deg
