"""Sensor factors: scale by wheels or depth, gravity by an accelerometer, planar motion of a robot on the floor.

There is one factor for each interval between neighbouring states. A filtered reading, such as the wheels' scale, is
mostly the same at both ends of an interval, so each factor has the weight of the new share of a measurement: the
interval's distance or time over that in which the reading renews itself. Gross errors (slipping wheels, a hard bump, a
ramp) have no influence: beyond ``LARGEST_SQUARED_ERROR`` the weight falls with the fourth power of the residual.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.geometry import Array
from visloc_ros.core.gravity import UP_SIGMA_DEG
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.fusion.config import SensorConfig
from visloc_ros.fusion.initialization.sim3_alignment import NO_PRIOR, ScalePrior
from visloc_ros.fusion.odometry_model.history import OdometrySample
from visloc_ros.fusion.odometry_model.noise_model import LEAST_DISTANCE, StateEstimate
from visloc_ros.fusion.smoothing.factors.linear import LinearFactors
from visloc_ros.fusion.smoothing.states import States

UP = np.array([0.0, 0.0, 1.0])
UP_CROSS = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
LARGEST_SQUARED_ERROR = 16.0  # squared residual over its covariance: four standard deviations
LEAST_SCALE_SIGMA = 0.02  # relative; tyres under load and the scale of a map are hardly known better
SCALE_MEMORY = 5.0  # distance [m] over which the wheels' median over 60 steps of 0.1 m mostly renews itself
GRAVITY_MEMORY_S = 10.0  # over which an averaged acceleration becomes another measurement
HEIGHT_WALK = 0.01  # standard deviation [m] of a level floor's height after a metre
TILT_WALK_DEG = 0.3  # standard deviation of its tilt after a metre

Indices = NDArray[np.intp]


class WeightedFactors(NamedTuple):
    """Factors as if each were an independent measurement, and the share (M,) of one that each counts as."""

    factors: LinearFactors
    shares: Array


class SensorFactors(ABC):
    """A source of factors between neighbouring states of one segment."""

    @abstractmethod
    def intervals(self, samples: Sequence[OdometrySample]) -> Indices:
        """Indices (M,) of the states at which the measured intervals begin."""

    @abstractmethod
    def measure(self, states: States, samples: Sequence[OdometrySample]) -> WeightedFactors:
        """The factors of the measured intervals at the present states."""

    def linearise(self, states: States, samples: Sequence[OdometrySample]) -> LinearFactors:
        """Factors at the present states with their shares and robust weights."""
        factors, shares = self.measure(states, samples)
        squared = np.einsum("ni,nij,nj->n", factors.residuals, factors.information, factors.residuals)
        weights = robust_weights(squared) * shares
        return replace(factors, information=weights[:, None, None] * factors.information)


def with_readings(sensors: Sequence[SensorFactors], samples: Sequence[OdometrySample]) -> list[SensorFactors]:
    """The sensors that measured any of the intervals between samples."""
    return [sensor for sensor in sensors if len(sensor.intervals(samples))]


def robust_weights(squared: Array) -> Array:
    """Weight (M,) of squared residuals (M,) over their covariances."""
    return np.asarray(np.square(np.minimum(1.0, LARGEST_SQUARED_ERROR / np.maximum(squared, 1e-12))))


def make_sensor_factors(config: SensorConfig, metric: bool, gravity_aligned: bool) -> tuple[SensorFactors, ...]:
    """The sensors that a map allows: scale needs a metric map, gravity and the floor one whose z axis points up."""
    scale = (ScaleFactors(config),) if metric and config.use_scale else ()
    gravity = (GravityFactors(),) if gravity_aligned and config.use_gravity else ()
    floor = (PlanarMotionFactors(),) if gravity_aligned and config.two_d_mode else ()
    return (*scale, *gravity, *floor)


def scale_prior(sample: OdometrySample, config: SensorConfig, metric: bool) -> ScalePrior:
    """The scale that sensors measured at a sample, as a prior of the first fix; none where the map is not metric."""
    if sample.scale is None or not metric or not config.use_scale:
        return NO_PRIOR
    sigma = max(sample.scale.log_sigma, LEAST_SCALE_SIGMA)
    return ScalePrior(float(np.log(sample.scale.metres_per_unit)), sigma)


@dataclass(frozen=True)
class ScaleFactors(SensorFactors):
    """The scale by wheels or a depth model against that of the second state of each interval."""

    config: SensorConfig

    def intervals(self, samples: Sequence[OdometrySample]) -> Indices:
        """All within a segment whose later state has a reading."""
        return _intervals(samples, lambda sample: sample.scale is not None)

    def measure(self, states: States, samples: Sequence[OdometrySample]) -> WeightedFactors:
        """One row: the logarithm of the scale."""
        starts = self.intervals(samples)
        priors = [scale_prior(samples[index + 1], self.config, metric=True) for index in starts]
        residuals = np.array([one.log_scale for one in priors]) - states.log_scales[starts + 1]
        jacobians = np.zeros((len(starts), 1, 7))
        jacobians[:, 0, 6] = 1.0
        information = np.array([one.information for one in priors]).reshape(-1, 1, 1)
        shares = _distances(states, samples)[starts] / SCALE_MEMORY
        return _of_second(starts, residuals[:, None], jacobians, information, shares)


class GravityFactors(SensorFactors):
    """Gravity by an accelerometer, in the map by the second state of each interval, against the map's z axis."""

    def intervals(self, samples: Sequence[OdometrySample]) -> Indices:
        """All within a segment whose later state has a reading."""
        return _intervals(samples, lambda sample: sample.up_in_odom is not None)

    def measure(self, states: States, samples: Sequence[OdometrySample]) -> WeightedFactors:
        """Two rows: x and y of the measured up direction in the map."""
        starts = self.intervals(samples)
        up_in_camera = np.array([_up_in_camera(samples[index + 1]) for index in starts]).reshape(-1, 3)
        up_in_map = np.einsum("nij,nj->ni", states.rotations[starts + 1], up_in_camera)
        jacobians = np.zeros((len(starts), 2, 7))
        jacobians[:, 0, 4], jacobians[:, 0, 5] = up_in_map[:, 2], -up_in_map[:, 1]
        jacobians[:, 1, 3], jacobians[:, 1, 5] = -up_in_map[:, 2], up_in_map[:, 0]
        sigma = np.deg2rad(UP_SIGMA_DEG)
        information = np.broadcast_to(np.eye(2) / sigma**2, (len(starts), 2, 2))
        shares = _seconds(samples)[starts] / GRAVITY_MEMORY_S
        return _of_second(starts, -up_in_map[:, :2], jacobians, information, shares)


class PlanarMotionFactors(SensorFactors):
    """Planar motion of a ground robot: the camera's height, and up in its own axes, stay as they were."""

    def intervals(self, samples: Sequence[OdometrySample]) -> Indices:
        """All within a segment."""
        return _intervals(samples, lambda _: True)

    def measure(self, states: States, samples: Sequence[OdometrySample]) -> WeightedFactors:
        """Four rows: change of height, and of up in the axes of the camera."""
        starts = self.intervals(samples)
        into_camera = np.swapaxes(states.rotations, 1, 2)
        changes = np.column_stack([np.diff(states.positions[:, 2]), np.diff(into_camera @ UP, axis=0)])[starts]
        by_state = np.zeros((len(states), 4, 7))
        by_state[:, 0, 2] = 1.0
        by_state[:, 1:, 3:6] = into_camera @ UP_CROSS
        variances = np.repeat([HEIGHT_WALK**2, np.deg2rad(TILT_WALK_DEG) ** 2], [1, 3])
        distances = np.maximum(_distances(states, samples)[starts], LEAST_DISTANCE)
        information = np.diag(1.0 / variances) / distances[:, None, None]
        factors = LinearFactors(starts, -changes, -by_state[starts], information, by_state[starts + 1])
        return WeightedFactors(factors, np.ones(len(starts)))


def update_with_sensors(
    start: StateEstimate,
    end: StateEstimate,
    samples: tuple[OdometrySample, OdometrySample],
    sensors: Sequence[SensorFactors],
) -> StateEstimate:
    """Estimate at the end of an interval, predicted by odometry from its start, updated with the sensors' factors."""
    sensors = with_readings(sensors, samples)
    if not sensors:
        return end
    states = States.stacked([start.state, end.state])
    measured = [sensor.measure(states, samples) for sensor in sensors]
    information, gradient = np.linalg.inv(end.covariance), np.zeros(7)
    for one in measured:
        by_end, weight = _marginal(one, start, end)
        information = information + by_end.T @ weight @ by_end
        gradient = gradient + by_end.T @ weight @ one.factors.residuals[0]
    covariance = np.linalg.inv(information)
    step = covariance @ gradient
    return StateEstimate(states.plus(np.stack([np.zeros(7), step]))[1], covariance)


def _marginal(weighted: WeightedFactors, start: StateEstimate, end: StateEstimate) -> tuple[Array, Array]:
    """Jacobian (k, 7) of one factor by the end of its interval, and its information (k, k) with the start marginalised.

    The robust weight accounts for the odometry noise, which is large over a long interval.
    """
    factors = weighted.factors
    by_start = factors.jacobians[0]
    by_end = np.zeros_like(by_start) if factors.second_jacobians is None else factors.second_jacobians[0]
    known = np.linalg.inv(factors.information[0]) + by_start @ start.covariance @ by_start.T
    residual = factors.residuals[0]
    squared = residual @ np.linalg.solve(known + by_end @ end.covariance @ by_end.T, residual)
    weight = float(robust_weights(np.array([squared]))[0] * weighted.shares[0])
    return by_end, weight * np.linalg.inv(known)


def _intervals(samples: Sequence[OdometrySample], has_reading: Callable[[OdometrySample], bool]) -> Indices:
    """Indices (M,) at which intervals within a segment begin whose second state has a reading."""
    pairs = enumerate(pairwise(samples))
    return np.array([index for index, (a, b) in pairs if a.segment == b.segment and has_reading(b)], dtype=np.intp)


def _of_second(
    starts: Indices, residuals: Array, jacobians: Array, information: Array, shares: Array
) -> WeightedFactors:
    """Factors on the second state of each interval, with the share of a measurement that each counts as."""
    factors = LinearFactors(starts, residuals, np.zeros_like(jacobians), information, jacobians)
    return WeightedFactors(factors, np.minimum(shares, 1.0))


def _distances(states: States, samples: Sequence[OdometrySample]) -> Array:
    """Distance in map units of each interval (N - 1,)."""
    return np.asarray(np.exp(states.log_scales[:-1]) * np.diff([sample.path for sample in samples]))


def _seconds(samples: Sequence[OdometrySample]) -> Array:
    return np.diff([sample.stamp_ns for sample in samples]) / NANOSECONDS


def _up_in_camera(sample: OdometrySample) -> Array:
    up = sample.up_in_odom
    return np.zeros(3) if up is None else sample.odom_from_camera.rotation.T @ up
