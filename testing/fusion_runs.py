"""Simulated runs with exact truth for the fusion, without images: a camera on a path, its odometry, its anchors.

Poses are metric in the map. Only types of ``core`` are used, so that any user of odometry and anchors can be tested.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from testing.drifting_odometry import simulate_odometry
from testing.fusion_scenario import FusionScenario, Intervals, camera_poses
from visloc_ros.core.geometry import SE3, Array, Sim3, rotation_matrix
from visloc_ros.core.tangent import perturbed
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import AnchorPose, LoopClosure, OdometryPose, Rejection

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


REACH = 1.0  # metres to the earlier view
SAME_VIEW_DEG = 30.0
ELSEWHERE = 3.0  # metres, error of a false loop


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


ALIAS = SE3(rotation_matrix([0.0, 0.0, 1.2]), np.array([4.0, -3.0, 0.0]))
"""The place that looks the same."""
OUTLIER_REACH = 6.0
SMALLEST_SIGMA = 1e-4
WAVES = 48
VIEW_LENGTH = 0.7  # of the viewing direction, a unit vector, over which a place's error changes


@dataclass(frozen=True)
class Arrival:
    """An anchor, its arrival, and whether it is an outlier or an alias."""

    stamp_ns: int
    anchor: AnchorPose
    is_outlier: bool


def simulate_anchors(
    scenario: FusionScenario,
    stamps_ns: NDArray[np.int64],
    rotations: Array,
    positions: Array,
    rng: np.random.Generator,
) -> list[Arrival]:
    """Anchors of frames with true ``map_from_camera`` rotations (M, 3, 3), positions (M, 3), in order of arrival."""
    count = len(stamps_ns)
    errors = _errors(scenario, rotations, positions, rng)
    kinds = rng.uniform(size=count)
    outlier, alias = kinds < scenario.outlier_share, kinds < scenario.outlier_share + scenario.alias_share
    anywhere = Rotation.random(count, rng).as_matrix(), rng.uniform(-1, 1, (count, 3)) * OUTLIER_REACH
    delays_ns = np.round(rng.uniform(*scenario.delay_s, count) * NANOSECONDS).astype(np.int64)
    low, high = np.log(scenario.risk)
    risks = np.exp(rng.uniform(low, high, count))
    false_risks = rng.uniform(*scenario.false_anchor_risk, count)
    arrivals = []
    for row in range(count):
        seen = perturbed(SE3(rotations[row], positions[row]), errors[row])
        if outlier[row]:
            seen = SE3(anywhere[0][row], positions[row] + anywhere[1][row])
        elif alias[row]:
            seen = ALIAS @ seen
        anchor = make_anchor(scenario, int(stamps_ns[row]), seen, float((false_risks if alias[row] else risks)[row]))
        arrivals.append(Arrival(int(stamps_ns[row] + delays_ns[row]), anchor, bool(alias[row])))
    return sorted(arrivals, key=lambda arrival: arrival.stamp_ns)


def make_anchor(scenario: FusionScenario, stamp_ns: int, map_from_camera: SE3, risk: float = 0.03) -> AnchorPose:
    """An anchor with the covariance that the scenario's anchors report."""
    position = np.hypot(scenario.anchor_sigma, scenario.place_sigma)
    rotation = np.deg2rad(np.hypot(scenario.anchor_sigma_deg, scenario.place_sigma_deg))
    reported = np.repeat([position, rotation], 3) * scenario.reported_sigma_factor
    covariance = np.diag(np.square(np.maximum(reported, SMALLEST_SIGMA)))
    return AnchorPose(stamp_ns, map_from_camera, covariance, 40, 80, 1.0, probability=1.0 - risk)


def _errors(scenario: FusionScenario, rotations: Array, positions: Array, rng: np.random.Generator) -> Array:
    """Errors (M, 6) of position and rotation about the map's axes."""
    own = np.repeat([scenario.anchor_sigma, np.deg2rad(scenario.anchor_sigma_deg)], 3)
    shared = np.repeat([scenario.place_sigma, np.deg2rad(scenario.place_sigma_deg)], 3)
    views = np.hstack([positions / scenario.place_length, rotations[:, :, 2] / VIEW_LENGTH])
    return np.asarray(rng.normal(size=(len(positions), 6)) * own + _smooth_field(views, rng) * shared)


def _smooth_field(points: Array, rng: np.random.Generator) -> Array:
    """Six Gaussian fields (M, 6) of unit variance over points (M, D) that change over a unit: sums of random waves."""
    directions, phases = rng.normal(size=(points.shape[1], WAVES)), rng.uniform(0.0, 2.0 * np.pi, WAVES)
    amplitudes = rng.normal(size=(WAVES, 6)) * np.sqrt(2.0 / WAVES)
    return np.asarray(np.cos(points @ directions + phases) @ amplitudes)
