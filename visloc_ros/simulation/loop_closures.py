"""Loops as odometry closes them: an earlier view of the same place, the scale's drift since, and a little noise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from visloc_ros.core.geometry import SE3, Array, Sim3, rotation_matrix
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import LoopClosure, OdometryPose, Rejection
from visloc_ros.simulation.fusion_scenario import FusionScenario

REACH = 1.0  # metres to where the earlier view was taken
SAME_VIEW_DEG = 30.0
ELSEWHERE = 3.0  # metres by which a false loop is off


def simulate_loops(
    scenario: FusionScenario,
    truth: Sequence[SE3],
    odometry: Sequence[OdometryPose | Rejection],
    scales: Array,
    rng: np.random.Generator,
) -> list[LoopClosure]:
    """Loops to the nearest earlier views of true ``map_from_camera``; ``scales`` (N,) are metres a unit of odometry."""
    if scenario.loop_period_s <= 0.0:
        return []
    sigmas = np.repeat([scenario.loop_sigma, np.deg2rad(scenario.loop_sigma_deg), scenario.loop_sigma_scale], [3, 3, 1])
    loops = []
    for earlier, later in _revisits(scenario, truth, odometry):
        noise = sigmas * rng.normal(size=7)
        if rng.random() < scenario.false_loop_share:
            noise[:3] += ELSEWHERE * rng.choice([-1.0, 1.0], size=3)
        true = truth[earlier].inverse @ truth[later]
        unit = scales[earlier]
        similarity = Sim3(
            float(scales[later] / unit * np.exp(noise[6])),
            rotation_matrix(noise[3:6]) @ true.rotation,
            (true.translation + noise[:3]) / unit,
        )
        covariance = np.diag(np.square(sigmas / np.repeat([unit, 1.0], [3, 4])))
        loops.append(LoopClosure(odometry[earlier].stamp_ns, odometry[later].stamp_ns, similarity, covariance))
    return loops


def _revisits(
    scenario: FusionScenario, truth: Sequence[SE3], odometry: Sequence[OdometryPose | Rejection]
) -> Iterator[tuple[int, int]]:
    """Frames of one segment, every ``loop_period_s`` one, with the nearest like view of at least the gap before."""
    positions = np.array([pose.translation for pose in truth])
    ahead = np.array([pose.rotation[:, 2] for pose in truth])
    seconds = np.array([result.stamp_ns for result in odometry]) / NANOSECONDS
    segments = np.array([result.segment if isinstance(result, OdometryPose) else -1 for result in odometry])
    every = max(1, round(scenario.loop_period_s * scenario.rate_hz))
    for later in range(every, len(truth), every):
        distances = np.linalg.norm(positions - positions[later], axis=1)
        alike = ahead @ ahead[later] > np.cos(np.deg2rad(SAME_VIEW_DEG))
        before = (seconds <= seconds[later] - scenario.loop_gap_s) & (segments == segments[later]) & alike
        distances[~before] = np.inf
        earlier = int(np.argmin(distances))
        if distances[earlier] < REACH and segments[later] >= 0:
            yield earlier, later
