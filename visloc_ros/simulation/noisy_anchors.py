"""Anchors as an anchor engine gives them: noisy, biased where the map is, late, and sometimes outliers or aliases."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from visloc_ros.core.geometry import SE3, Array, rotation_matrix
from visloc_ros.core.tangent import perturbed
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import AnchorPose
from visloc_ros.simulation.fusion_scenario import FusionScenario

ALIAS = SE3(rotation_matrix([0.0, 0.0, 1.2]), np.array([4.0, -3.0, 0.0]))
"""Where the place that looks the same lies."""
OUTLIER_REACH = 6.0
SMALLEST_SIGMA = 1e-4
WAVES = 48
VIEW_LENGTH = 0.7  # of the viewing direction, a unit vector, over which a place's error changes


@dataclass(frozen=True)
class Arrival:
    """An anchor, when it comes, and whether it is an outlier or an alias."""

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
