"""How far a pose can be trusted: LOCALIZED, then DEGRADED, then LOST, by distance, time and covariance."""

from __future__ import annotations

from dataclasses import dataclass

from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import Reason, State
from visloc_ros.fusion.config import StateConfig


@dataclass(frozen=True)
class Evidence:
    """What a pose rests on: metres and nanoseconds since the last fix, its sigma (m), whether anchors contradict."""

    distance: float
    age_ns: int
    sigma: float
    doubted: bool


def judge_pose(evidence: Evidence, config: StateConfig) -> State:
    """State of a frame that has a pose."""
    age_s = evidence.age_ns / NANOSECONDS
    if evidence.distance > config.lost_distance or age_s > config.lost_age_s or evidence.sigma > config.lost_sigma:
        return State.LOST
    if (
        evidence.doubted
        or evidence.distance > config.degraded_distance
        or age_s > config.degraded_age_s
        or evidence.sigma > config.degraded_sigma
    ):
        return State.DEGRADED
    return State.LOCALIZED


def reason_for(state: State, evidence: Evidence) -> Reason | None:
    """Why a frame with a pose is not LOCALIZED: refused anchors, or a last fix too far back."""
    if state is State.LOCALIZED:
        return None
    return Reason.ODOMETRY_DISAGREES if evidence.doubted else Reason.STALE


def judge_absence(blind_ns: int, config: StateConfig) -> State:
    """State of a frame without a pose, so long after the last frame with one."""
    return State.DEGRADED if blind_ns <= config.blind_s * NANOSECONDS else State.LOST
