"""What other sensors and the floor tell the smoothers: metres by wheels or depth, gravity, a robot that stays upright.

All of it is told of legs between neighbouring states. A running estimate, such as the wheels' scale, is mostly the same
from one state to the next, so a leg brings only the share of a measurement that is new: its distance or time over that
in which the estimate renews itself. A sensor that is plainly wrong (slipping wheels, a hard bump, a ramp) counts for
nothing: beyond ``TOLERATED`` its weight falls with the fourth power of the residual.
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
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.fusion.config import SensorConfig
from visloc_ros.fusion.initialization.sim3_alignment import NO_PRIOR, ScalePrior
from visloc_ros.fusion.odometry_model.history import Sample
from visloc_ros.fusion.odometry_model.noise_model import SHORTEST_DISTANCE, StateEstimate
from visloc_ros.fusion.smoothing.factors.linear import Factors
from visloc_ros.fusion.smoothing.states import States

UP = np.array([0.0, 0.0, 1.0])
UP_CROSS = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
TOLERATED = 16.0  # squared residual over its covariance: four standard deviations

Indices = NDArray[np.intp]


class Told(NamedTuple):
    """What a sensor says of legs: factors as if each were a measurement of its own, and the share (M,) that it is."""

    factors: Factors
    shares: Array


class Sensor(ABC):
    """A source of factors between neighbouring states of one segment."""

    @abstractmethod
    def legs(self, samples: Sequence[Sample]) -> Indices:
        """Where legs (M,) begin of which something is known."""

    @abstractmethod
    def tell(self, states: States, samples: Sequence[Sample]) -> Told:
        """What is known of the legs between states."""

    def linearise(self, states: States, samples: Sequence[Sample]) -> Factors:
        """Factors at the present states, each trusted as far as it fits them."""
        told = self.tell(states, samples)
        residuals, information = told.factors.residuals, told.factors.information
        squared = np.einsum("ni,nij,nj->n", residuals, information, residuals)
        return replace(told.factors, information=(trust(squared) * told.shares)[:, None, None] * information)


def telling(sensors: Sequence[Sensor], samples: Sequence[Sample]) -> list[Sensor]:
    """Those of the sensors that know anything of the legs between samples."""
    return [sensor for sensor in sensors if len(sensor.legs(samples))]


def trust(squared: Array) -> Array:
    """Weight (M,) of squared residuals (M,) over their covariances."""
    return np.asarray(np.square(np.minimum(1.0, TOLERATED / np.maximum(squared, 1e-12))))


def sensor_factors(config: SensorConfig, metric: bool, gravity_aligned: bool) -> tuple[Sensor, ...]:
    """What a map can make use of: metres need a metric map, gravity and the floor one whose z points up."""
    scale = (ScaleFactors(config),) if metric and config.use_scale else ()
    gravity = (GravityFactors(config),) if gravity_aligned and config.use_gravity else ()
    floor = (PlanarFactors(config),) if gravity_aligned and config.two_d_mode else ()
    return (*scale, *gravity, *floor)


def scale_prior(sample: Sample, config: SensorConfig, metric: bool) -> ScalePrior:
    """What sensors know of the scale at a sample, for the first fix; nothing where the map is not metric."""
    if sample.scale is None or not metric or not config.use_scale:
        return NO_PRIOR
    sigma = max(sample.scale.log_sigma, config.least_scale_sigma)
    return ScalePrior(float(np.log(sample.scale.metres_per_unit)), sigma)


@dataclass(frozen=True)
class ScaleFactors(Sensor):
    """The scale by wheels or a depth model against that of the later state of each leg."""

    config: SensorConfig

    def legs(self, samples: Sequence[Sample]) -> Indices:
        """All within a segment whose later state has a reading."""
        return _legs(samples, lambda sample: sample.scale is not None)

    def tell(self, states: States, samples: Sequence[Sample]) -> Told:
        """One row: the logarithm of the scale."""
        starts = self.legs(samples)
        told = [scale_prior(samples[index + 1], self.config, metric=True) for index in starts]
        residuals = np.array([one.log_scale for one in told]) - states.log_scales[starts + 1]
        jacobians = np.zeros((len(starts), 1, 7))
        jacobians[:, 0, 6] = 1.0
        information = np.array([one.information for one in told]).reshape(-1, 1, 1)
        shares = _travelled(states, samples)[starts] / self.config.scale_memory
        return _of_later(starts, residuals[:, None], jacobians, information, shares)


@dataclass(frozen=True)
class GravityFactors(Sensor):
    """Up by an accelerometer, carried into the map by the later state of each leg, against the map's z."""

    config: SensorConfig

    def legs(self, samples: Sequence[Sample]) -> Indices:
        """All within a segment whose later state has a reading."""
        return _legs(samples, lambda sample: sample.up_in_odom is not None)

    def tell(self, states: States, samples: Sequence[Sample]) -> Told:
        """Two rows: x and y of what should be up."""
        starts = self.legs(samples)
        up_in_camera = np.array([_up_in_camera(samples[index + 1]) for index in starts]).reshape(-1, 3)
        up_in_map = np.einsum("nij,nj->ni", states.rotations[starts + 1], up_in_camera)
        jacobians = np.zeros((len(starts), 2, 7))
        jacobians[:, 0, 4], jacobians[:, 0, 5] = up_in_map[:, 2], -up_in_map[:, 1]
        jacobians[:, 1, 3], jacobians[:, 1, 5] = -up_in_map[:, 2], up_in_map[:, 0]
        sigma = np.deg2rad(self.config.gravity_sigma_deg)
        information = np.broadcast_to(np.eye(2) / sigma**2, (len(starts), 2, 2))
        shares = _seconds(samples)[starts] / self.config.gravity_memory_s
        return _of_later(starts, -up_in_map[:, :2], jacobians, information, shares)


@dataclass(frozen=True)
class PlanarFactors(Sensor):
    """A camera on a ground robot: its height, and which way is up in its own axes, stay as they were."""

    config: SensorConfig

    def legs(self, samples: Sequence[Sample]) -> Indices:
        """All within a segment."""
        return _legs(samples, lambda _: True)

    def tell(self, states: States, samples: Sequence[Sample]) -> Told:
        """Four rows: change of height, and of up in the axes of the camera."""
        starts = self.legs(samples)
        into_camera = np.swapaxes(states.rotations, 1, 2)
        changes = np.column_stack([np.diff(states.positions[:, 2]), np.diff(into_camera @ UP, axis=0)])[starts]
        by_state = np.zeros((len(states), 4, 7))
        by_state[:, 0, 2] = 1.0
        by_state[:, 1:, 3:6] = into_camera @ UP_CROSS
        variances = np.repeat([self.config.height_walk**2, np.deg2rad(self.config.tilt_walk_deg) ** 2], [1, 3])
        distances = np.maximum(_travelled(states, samples)[starts], SHORTEST_DISTANCE)
        information = np.diag(1.0 / variances) / distances[:, None, None]
        factors = Factors(starts, -changes, -by_state[starts], information, by_state[starts + 1])
        return Told(factors, np.ones(len(starts)))


def held_by_sensors(
    start: StateEstimate, end: StateEstimate, samples: tuple[Sample, Sample], sensors: Sequence[Sensor]
) -> StateEstimate:
    """Estimate at the end of a leg, carried from its start along odometry, with all that sensors tell of the leg."""
    sensors = telling(sensors, samples)
    if not sensors:
        return end
    states = States.stacked([start.state, end.state])
    told = [sensor.tell(states, samples) for sensor in sensors]
    information, gradient = np.linalg.inv(end.covariance), np.zeros(7)
    for one in told:
        by_end, weight = _weighted(one, start, end)
        information = information + by_end.T @ weight @ by_end
        gradient = gradient + by_end.T @ weight @ one.factors.residuals[0]
    covariance = np.linalg.inv(information)
    step = covariance @ gradient
    return StateEstimate(states.plus(np.stack([np.zeros(7), step]))[1], covariance)


def _weighted(told: Told, start: StateEstimate, end: StateEstimate) -> tuple[Array, Array]:
    """Jacobian (k, 7) of one factor by the end of its leg, and its information (k, k) with that of the start unknown.

    Odometry may have drifted far on a long leg: the sensor is trusted if it fits what is expected then.
    """
    factors = told.factors
    by_start = factors.jacobians[0]
    by_end = np.zeros_like(by_start) if factors.next_jacobians is None else factors.next_jacobians[0]
    known = np.linalg.inv(factors.information[0]) + by_start @ start.covariance @ by_start.T
    residual = factors.residuals[0]
    squared = residual @ np.linalg.solve(known + by_end @ end.covariance @ by_end.T, residual)
    weight = float(trust(np.array([squared]))[0] * told.shares[0])
    return by_end, weight * np.linalg.inv(known)


def _legs(samples: Sequence[Sample], tells: Callable[[Sample], bool]) -> Indices:
    """Where legs (M,) within a segment begin whose end tells something."""
    pairs = enumerate(pairwise(samples))
    return np.array([index for index, (a, b) in pairs if a.segment == b.segment and tells(b)], dtype=np.intp)


def _of_later(starts: Indices, residuals: Array, jacobians: Array, information: Array, shares: Array) -> Told:
    """Factors of the later state of each leg, with the share of a measurement that the leg brings."""
    factors = Factors(starts, residuals, np.zeros_like(jacobians), information, jacobians)
    return Told(factors, np.minimum(shares, 1.0))


def _travelled(states: States, samples: Sequence[Sample]) -> Array:
    """Map units travelled on each leg (N - 1,)."""
    return np.asarray(np.exp(states.log_scales[:-1]) * np.diff([sample.path for sample in samples]))


def _seconds(samples: Sequence[Sample]) -> Array:
    return np.diff([sample.stamp_ns for sample in samples]) / NANOSECONDS


def _up_in_camera(sample: Sample) -> Array:
    up = sample.up_in_odom
    return np.zeros(3) if up is None else sample.odom_from_camera.rotation.T @ up
