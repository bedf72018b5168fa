"""Exactly known worlds for the fusion: a camera on a path, odometry that drifts, anchors late and sometimes wrong.

No images. Everything comes from one seed. Poses are metric in the map; odometry has its own origin, attitude and
scale in each segment.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from scipy.spatial.transform import Rotation

from visloc_ros.core.geometry import SE3, rotation_matrix, rotation_vector, umeyama
from visloc_ros.core.types import AnchorPose, Estimate, OdometryPose, Reason, Rejection
from visloc_ros.fusion.fuser import Fuser

SECOND = 1_000_000_000


@dataclass(frozen=True)
class Scenario:
    """One kind of run; random walks are per square root of a metre of effective distance, as in ``DriftConfig``.

    Intervals are (start, length) in seconds from the beginning.
    """

    path: str = "eight"
    duration_s: float = 40.0
    rate_hz: float = 20.0
    speed: float = 0.6
    position_drift: float = 0.02
    rotation_drift_deg: float = 0.3
    scale_drift: float = 0.01
    turning_misjudged: float = 0.04
    turn_as_distance: float = 0.5
    yaw_bias_deg_per_min: float = 0.0
    jitter: float = 0.0
    losses: tuple[tuple[float, float], ...] = ()
    anchor_period_s: float = 1.0
    anchor_sigma: float = 0.03
    anchor_sigma_deg: float = 1.0
    claimed_sigma_factor: float = 1.0
    delay_s: tuple[float, float] = (1.0, 1.0)
    outlier_share: float = 0.0
    alias_share: float = 0.0
    gaps: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, eq=False)
class Run:
    """A simulated run: stamps, true ``map_from_camera``, odometry results, anchors with their arrival stamps."""

    stamps_ns: list[int]
    truth: list[SE3]
    odometry: list[OdometryPose | Rejection]
    anchors: list[tuple[int, AnchorPose]]
    wrong: set[int] = field(default_factory=set)


def simulate(scenario: Scenario, seed: int) -> Run:
    """Make a run; ``wrong`` holds the stamps of the anchors that lie."""
    rng = np.random.default_rng(seed)
    count = int(scenario.duration_s * scenario.rate_hz)
    stamps_ns = [SECOND + round(i * SECOND / scenario.rate_hz) for i in range(count)]
    truth = [pose_on_path(scenario, i / scenario.rate_hz) for i in range(count)]
    odometry = _odometry(scenario, stamps_ns, truth, rng)
    anchors, wrong = _anchors(scenario, stamps_ns, truth, rng)
    return Run(stamps_ns, truth, odometry, anchors, wrong)


def pose_on_path(scenario: Scenario, seconds: float) -> SE3:
    """True ``map_from_camera``; the camera looks along its way, tilted a little, and nods."""
    step = 1e-3
    here, ahead = _position(scenario, seconds), _position(scenario, seconds + step)
    heading = np.arctan2(ahead[1] - here[1], ahead[0] - here[0])
    nod = 0.1 * np.sin(0.7 * seconds)
    look = Rotation.from_euler("ZYX", [heading, nod, 0.05]).as_matrix()
    optical = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
    return SE3(look @ optical, here)


def _position(scenario: Scenario, seconds: float) -> np.ndarray:
    way = scenario.speed * seconds
    if scenario.path == "line":
        return np.array([way, 0.0, 1.0])
    if scenario.path == "circle":
        return np.array([2.0 * np.cos(way / 2.0), 2.0 * np.sin(way / 2.0), 1.0])
    if scenario.path == "eight":
        return np.array([2.5 * np.sin(way / 2.5), 1.25 * np.sin(2 * way / 2.5), 1.0 + 0.2 * np.sin(way)])
    if scenario.path == "stop_and_go":
        period, moving = 8.0, 4.0
        way = scenario.speed * (moving * (seconds // period) + min(seconds % period, moving))
        return np.array([2.0 * np.cos(way / 2.0), 2.0 * np.sin(way / 2.0) + 1e-6 * seconds, 1.0])
    if scenario.path == "still":
        return np.array([1e-6 * seconds, 0.0, 1.0])
    raise ValueError(f"unknown path {scenario.path}")


def _odometry(
    scenario: Scenario, stamps_ns: list[int], truth: list[SE3], rng: np.random.Generator
) -> list[OdometryPose | Rejection]:
    results: list[OdometryPose | Rejection] = []
    pose, scale, segment = _origin(rng)
    misjudged = rng.normal() * scenario.turning_misjudged
    for index, stamp_ns in enumerate(stamps_ns):
        if _within(scenario.losses, (stamp_ns - SECOND) / SECOND):
            if isinstance(results[-1], OdometryPose):
                pose, scale, _ = _origin(rng)
                segment += 1
            results.append(Rejection(stamp_ns, Reason.FEW_FEATURES))
            continue
        if index > 0 and isinstance(results[-1], OdometryPose):
            step = truth[index - 1].inverse @ truth[index]
            step = SE3(rotation_matrix(rotation_vector(step.rotation) * (1.0 + misjudged)), step.translation)
            pose, scale = _drifting_step(scenario, pose, scale, step, rng)
        shaken = SE3(pose.rotation, pose.translation + rng.normal(0, 1, 3) * scenario.jitter / scale)
        results.append(OdometryPose(stamp_ns, shaken, segment, 100))
    return results


def _origin(rng: np.random.Generator) -> tuple[SE3, float, int]:
    rotation = Rotation.random(random_state=rng).as_matrix()
    return SE3(rotation, rng.normal(0, 1, 3)), float(np.exp(rng.uniform(-1.5, 1.5))), 0


def _drifting_step(
    scenario: Scenario, pose: SE3, scale: float, step: SE3, rng: np.random.Generator
) -> tuple[SE3, float]:
    """Next odometry pose; ``scale`` is map units per odometry unit and walks."""
    turn = float(np.linalg.norm(rotation_vector(step.rotation)))
    root = np.sqrt(np.linalg.norm(step.translation) + scenario.turn_as_distance * turn)
    spin = rng.normal(0, 1, 3) * np.deg2rad(scenario.rotation_drift_deg) * root
    spin[1] += np.deg2rad(scenario.yaw_bias_deg_per_min) / 60.0 / scenario.rate_hz
    slip = rng.normal(0, 1, 3) * scenario.position_drift * root
    moved = SE3(step.rotation @ rotation_matrix(spin), (step.translation + slip) / scale)
    return pose @ moved, scale * float(np.exp(rng.normal(0, 1) * scenario.scale_drift * root))


def _anchors(
    scenario: Scenario, stamps_ns: list[int], truth: list[SE3], rng: np.random.Generator
) -> tuple[list[tuple[int, AnchorPose]], set[int]]:
    every = max(1, round(scenario.anchor_period_s * scenario.rate_hz))
    anchors, wrong = [], set()
    for index in range(every // 2, len(stamps_ns), every):
        stamp_ns = stamps_ns[index]
        pose, kind = _seen(scenario, truth[index], rng), rng.uniform()
        delay_ns = round(rng.uniform(*scenario.delay_s) * SECOND)
        if _within(scenario.gaps, (stamp_ns - SECOND) / SECOND):
            continue
        if kind < scenario.outlier_share:
            pose = SE3(Rotation.random(random_state=rng).as_matrix(), rng.uniform(-6, 6, 3))
        elif kind < scenario.outlier_share + scenario.alias_share:
            pose = SE3(rotation_matrix([0, 0, 1.2]), np.array([4.0, -3.0, 0.0])) @ pose
        if kind < scenario.outlier_share + scenario.alias_share:
            wrong.add(stamp_ns)
        anchors.append((stamp_ns + delay_ns, make_anchor(scenario, stamp_ns, pose)))
    return sorted(anchors, key=lambda item: item[0]), wrong


def _seen(scenario: Scenario, pose: SE3, rng: np.random.Generator) -> SE3:
    spin = rng.normal(0, 1, 3) * np.deg2rad(scenario.anchor_sigma_deg)
    return SE3(rotation_matrix(spin) @ pose.rotation, pose.translation + rng.normal(0, 1, 3) * scenario.anchor_sigma)


def make_anchor(scenario: Scenario, stamp_ns: int, pose: SE3) -> AnchorPose:
    """An anchor that claims the scenario's noise times ``claimed_sigma_factor``."""
    sigmas = np.repeat([scenario.anchor_sigma, np.deg2rad(scenario.anchor_sigma_deg)], 3)
    covariance = np.diag(np.square(np.maximum(sigmas * scenario.claimed_sigma_factor, 1e-4)))
    return AnchorPose(stamp_ns, pose, covariance, 40, 80, 1.0)


def _within(intervals: tuple[tuple[float, float], ...], seconds: float) -> bool:
    return any(start <= seconds < start + length for start, length in intervals)


def play(fuser: Fuser, run: Run, watch: Callable[[Estimate], None] | None = None) -> list[Estimate]:
    """Feed a run in the order of arrival; one estimate a frame, made as the frame comes."""
    estimates, waiting = [], list(run.anchors)
    for stamp_ns, odometry in zip(run.stamps_ns, run.odometry, strict=True):
        fuser.add_odometry(odometry)
        while waiting and waiting[0][0] <= stamp_ns:
            fuser.add_anchor(waiting.pop(0)[1])
        estimates.append(fuser.estimate(stamp_ns))
        if watch is not None:
            watch(estimates[-1])
    return estimates


def position_errors(run: Run, estimates: list[Estimate]) -> np.ndarray:
    """Distances in metres of the estimates that have a pose."""
    pairs = [(e.map_from_camera, t) for e, t in zip(estimates, run.truth, strict=True)]
    return np.array([np.linalg.norm(pose.translation - true.translation) for pose, true in pairs if pose is not None])


def rotation_errors_deg(run: Run, estimates: list[Estimate]) -> np.ndarray:
    """Angles in degrees of the estimates that have a pose."""
    pairs = [(e.map_from_camera, t) for e, t in zip(estimates, run.truth, strict=True)]
    turns = [pose.rotation.T @ true.rotation for pose, true in pairs if pose is not None]
    return np.degrees(Rotation.from_matrix(np.array(turns)).magnitude())


def squared_errors(run: Run, estimates: list[Estimate]) -> np.ndarray:
    """Normalised estimation error squared (6 degrees of freedom) of the estimates that have a pose."""
    values = []
    for estimate, true in zip(estimates, run.truth, strict=True):
        pose = estimate.map_from_camera
        if pose is None or estimate.covariance is None:
            continue
        spin = Rotation.from_matrix(true.rotation @ pose.rotation.T).as_rotvec()
        error = np.concatenate([true.translation - pose.translation, spin])
        values.append(error @ np.linalg.solve(estimate.covariance, error))
    return np.array(values)


def causal_umeyama_errors(run: Run, window: int | None) -> np.ndarray:
    """Position errors of plain Umeyama on the anchors that have arrived: all of them, or the last ``window``."""
    at = {result.stamp_ns: result for result in run.odometry if isinstance(result, OdometryPose)}
    errors = []
    for stamp_ns, true in zip(run.stamps_ns, run.truth, strict=True):
        known = sorted((a for arrival, a in run.anchors if arrival <= stamp_ns), key=lambda a: a.stamp_ns)
        known = [a for a in known if a.stamp_ns in at][-window if window else 0 :]
        if len(known) < 3 or stamp_ns not in at:
            continue
        similarity = umeyama(
            [a.map_from_camera.translation for a in known],
            [at[a.stamp_ns].odom_from_camera.translation for a in known],
        )
        position = similarity @ at[stamp_ns].odom_from_camera.translation
        errors.append(np.linalg.norm(position - true.translation))
    return np.array(errors)
