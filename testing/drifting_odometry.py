"""Odometry that drifts in position, rotation and scale, jitters, and is lost at times.

Every segment has its own origin, attitude and scale. All frames are computed at once: a run takes milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from testing.fusion_scenario import FusionScenario
from visloc_ros.core.geometry import SE3, Array, rotation_matrix, rotation_vector
from visloc_ros.core.plausibility import covariance_fault
from visloc_ros.core.tangent import skew
from visloc_ros.core.types import OdometryPose, Reason, Rejection

NUM_TRACKED = 100
LOG_SCALE_RANGE = 1.5


@dataclass(frozen=True, eq=False)
class SimulatedOdometry:
    """A result a frame, and the true metres in one of its units (N,), NaN where it is lost."""

    results: list[OdometryPose | Rejection]
    scales: Array


@dataclass(frozen=True, eq=False)
class _Steps:
    """Motions (M, ...) from frame to frame by the odometry, metric, and the variances of their errors."""

    rotations: Array
    translations: Array
    log_scales: Array
    position_variances: Array
    rotation_variances: Array

    def within(self, frames: slice) -> _Steps:
        """The motions between the frames of a segment."""
        own = slice(frames.start, frames.stop - 1)
        return _Steps(
            self.rotations[own],
            self.translations[own],
            self.log_scales[own],
            self.position_variances[own],
            self.rotation_variances[own],
        )


@dataclass(frozen=True, eq=False)
class _Segment:
    """``odom_from_camera`` of M frames before jitter, and the metres in one unit (M,)."""

    rotations: Array
    positions: Array
    scales: Array


def simulate_odometry(
    scenario: FusionScenario,
    stamps_ns: list[int],
    rotations: Array,
    positions: Array,
    lost: NDArray[np.bool_],
    rng: np.random.Generator,
) -> SimulatedOdometry:
    """Odometry of a camera with true ``map_from_camera`` rotations (N, 3, 3) and positions (N, 3); ``lost`` is (N,)."""
    steps = _drifting_steps(scenario, rotations, positions, rng)
    results: list[OdometryPose | Rejection] = [Rejection(stamp_ns, Reason.FEW_FEATURES) for stamp_ns in stamps_ns]
    scales = np.full(len(stamps_ns), np.nan)
    for number, frames in enumerate(_stretches(~lost)):
        own = steps.within(frames)
        segment = _integrate(own, rng)
        scales[frames] = segment.scales
        poses = _jittered(scenario, segment, rng)
        covariances = _covariances(scenario, own, segment)
        for index, pose, covariance in zip(range(frames.start, frames.stop), poses, covariances, strict=True):
            known = covariance if covariance_fault(covariance) is None else None  # exact odometry reports none
            results[index] = OdometryPose(stamps_ns[index], pose, number, NUM_TRACKED, covariance=known)
    return SimulatedOdometry(results, scales)


def _drifting_steps(scenario: FusionScenario, rotations: Array, positions: Array, rng: np.random.Generator) -> _Steps:
    """Relative motions between neighbouring frames with their drift."""
    back = np.swapaxes(rotations[:-1], 1, 2)
    turns = rotation_vector(back @ rotations[1:])
    motions = np.einsum("nij,nj->ni", back, np.diff(positions, axis=0))
    distances = np.linalg.norm(motions, axis=1) + scenario.turn_as_distance * np.linalg.norm(turns, axis=1)
    roots = np.sqrt(distances)[:, None]
    scale_error = rng.normal() * scenario.rotation_scale_error
    spins = rng.normal(size=turns.shape) * np.deg2rad(scenario.rotation_drift_deg) * roots
    spins[:, 1] += np.deg2rad(scenario.yaw_bias_deg_per_min) / 60.0 / scenario.rate_hz
    return _Steps(
        rotation_matrix(turns * (1.0 + scale_error)) @ rotation_matrix(spins),
        motions + rng.normal(size=motions.shape) * scenario.position_drift * roots,
        rng.normal(size=len(turns)) * scenario.scale_drift * roots[:, 0],
        scenario.position_drift**2 * distances,
        np.deg2rad(scenario.rotation_drift_deg) ** 2 * distances,
    )


def _integrate(steps: _Steps, rng: np.random.Generator) -> _Segment:
    """Add up a segment's motions from its own origin, attitude and scale."""
    rotations = np.empty((len(steps.rotations) + 1, 3, 3))
    rotations[0] = Rotation.random(None, rng).as_matrix()
    for row, step in enumerate(steps.rotations):
        rotations[row + 1] = rotations[row] @ step
    scales = np.exp(rng.uniform(-LOG_SCALE_RANGE, LOG_SCALE_RANGE) + _summed(steps.log_scales))
    motions = np.einsum("nij,nj->ni", rotations[:-1], steps.translations) / scales[:-1, None]
    return _Segment(rotations, rng.normal(size=3) + _summed(motions), scales)


def _jittered(scenario: FusionScenario, segment: _Segment, rng: np.random.Generator) -> list[SE3]:
    noise = rng.normal(size=(len(segment.scales), 6))
    turned = rotation_matrix(noise[:, 3:] * np.deg2rad(scenario.jitter_deg)) @ segment.rotations
    moved = segment.positions + noise[:, :3] * scenario.jitter / segment.scales[:, None]
    return [SE3(rotation, position) for rotation, position in zip(turned, moved, strict=True)]


def _covariances(scenario: FusionScenario, steps: _Steps, segment: _Segment) -> Array:
    """Covariances (M, 6, 6) of the motion since the segment's first frame, in odometry units: walks and jitter.

    A rotation error made at p_j moves the camera at p_k by its cross product with p_k - p_j: running sums over j of its
    variance, of variance x p_j and of variance x p_j p_j^T give all k at once.
    """
    positions, scale = segment.positions, segment.scales[0]
    slips = _summed(steps.position_variances) / scale**2 + (scenario.jitter / scale) ** 2
    spins = steps.rotation_variances[:, None]
    total, first = _summed(spins), _summed(spins * positions[1:])
    second = _summed(spins[..., None] * _outer(positions[1:], positions[1:]))
    cross = _outer(positions, first)
    spread = total[..., None] * _outer(positions, positions) - cross - np.swapaxes(cross, 1, 2) + second
    bend = -skew(total * positions - first)
    covariances = np.zeros((len(positions), 6, 6))
    covariances[:, :3, :3] = (slips + np.trace(spread, axis1=1, axis2=2))[:, None, None] * np.eye(3) - spread
    covariances[:, :3, 3:], covariances[:, 3:, :3] = bend, np.swapaxes(bend, 1, 2)
    covariances[:, 3:, 3:] = (total + np.deg2rad(scenario.jitter_deg) ** 2)[..., None] * np.eye(3)
    return covariances


def _stretches(tracked: NDArray[np.bool_]) -> list[slice]:
    """Runs of frames that are tracked."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], tracked, [False]]).astype(int)))
    return [slice(int(start), int(stop)) for start, stop in edges.reshape(-1, 2)]


def _summed(values: Array) -> Array:
    """Running sums (M + 1, ...) of values (M, ...), from zero."""
    return np.concatenate([np.zeros((1, *values.shape[1:])), np.cumsum(values, axis=0)])


def _outer(a: Array, b: Array) -> Array:
    return np.asarray(a[:, :, None] * b[:, None, :])
