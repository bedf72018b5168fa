"""Exactly known runs for the fusion without any image: a camera on a path, its odometry, its anchors, by a seed.

Poses are metric in the map. Only types of ``core``: whatever takes odometry and anchors can be tried on them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import AnchorPose, LoopClosure, OdometryPose, Rejection
from visloc_ros.simulation.drifting_odometry import simulate_odometry
from visloc_ros.simulation.fusion_scenario import FusionScenario, Intervals
from visloc_ros.simulation.loop_closures import simulate_loops
from visloc_ros.simulation.motion_paths import camera_poses
from visloc_ros.simulation.noisy_anchors import simulate_anchors

FIRST_STAMP_NS = NANOSECONDS
LOOPS = 2  # an own stream of random numbers, so that a run with loops is otherwise the same
LONGEST_UNDERWAY_S = 60.0  # before a run begins: each seed sees another part of the path


@dataclass(frozen=True, eq=False)
class FusionRun:
    """Stamps, true ``map_from_camera`` and odometry a frame; anchors with their arrival stamps, in that order.

    ``scales`` (N,) are the true metres in one unit of odometry, NaN where it is lost; ``outliers`` holds the stamps of
    the images whose anchors are gross errors or aliases. ``loops`` come with the odometry of their later end.
    """

    stamps_ns: list[int]
    truth: list[SE3]
    odometry: list[OdometryPose | Rejection]
    anchors: list[tuple[int, AnchorPose]]
    scales: Array
    outliers: frozenset[int]
    loops: tuple[LoopClosure, ...] = ()


def simulate_run(scenario: FusionScenario, seed: int) -> FusionRun:
    """Make a run; the same seed gives the same run."""
    rng = np.random.default_rng(seed)
    seconds = np.arange(int(scenario.duration_s * scenario.rate_hz)) / scenario.rate_hz
    stamps_ns = FIRST_STAMP_NS + np.round(seconds * NANOSECONDS).astype(np.int64)
    underway = rng.uniform(0.0, LONGEST_UNDERWAY_S) + seconds
    rotations, positions = camera_poses(scenario.path, underway, scenario.speed)
    odometry = simulate_odometry(
        scenario, stamps_ns.tolist(), rotations, positions, _within(scenario.losses, seconds), rng
    )
    seen = _anchored_frames(scenario, seconds)
    arrivals = simulate_anchors(scenario, stamps_ns[seen], rotations[seen], positions[seen], rng)
    truth = [SE3(rotation, position) for rotation, position in zip(rotations, positions, strict=True)]
    loops = simulate_loops(scenario, truth, odometry.results, odometry.scales, np.random.default_rng([seed, LOOPS]))
    return FusionRun(
        stamps_ns.tolist(),
        truth,
        odometry.results,
        [(arrival.stamp_ns, arrival.anchor) for arrival in arrivals],
        odometry.scales,
        frozenset(arrival.anchor.stamp_ns for arrival in arrivals if arrival.is_outlier),
        tuple(loops),
    )


def _anchored_frames(scenario: FusionScenario, seconds: Array) -> NDArray[np.intp]:
    every = max(1, round(scenario.anchor_period_s * scenario.rate_hz))
    frames = np.arange(every // 2, len(seconds), every)
    return frames[~_within(scenario.gaps, seconds[frames])]


def _within(intervals: Intervals, seconds: Array) -> NDArray[np.bool_]:
    """Which of the times (N,) lie in any of the intervals."""
    inside = np.zeros(len(seconds), dtype=bool)
    for start, length in intervals:
        inside |= (start <= seconds) & (seconds < start + length)
    return inside
