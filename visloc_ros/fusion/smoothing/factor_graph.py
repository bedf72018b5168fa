"""The least-squares problem of both smoothers: all that is known of a chain of camera states, linearised and weighed.

Unknown in each state: ``map_from_camera`` and the log of the odometry's scale; and once for all of them the turn gain,
the share of all turns that odometry misjudges. Factors: each anchor with its own covariance; between neighbours the
odometry with its drift; the motion that followed map points saw; what other sensors say; and loops that odometry
closed, between states however far apart. Only *relative* odometry
enters, so neither the order in which late anchors arrive nor the odometry's origin matters (SPEC H-61).

The states are where anchors *put* the camera: true pose plus the error that the anchors of one place share
(``noise_levels``). That error may change between neighbours, which loosens the odometry between them. Two things more
make the answer robust and honest. Student-t weights soften what passed the gate but does not fit. And the residuals
tell how far the claims of anchors, of odometry and of followed points are off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from visloc_ros.core.geometry import Array
from visloc_ros.fusion.config import DriftConfig, FusionConfig
from visloc_ros.fusion.odometry_model.history import Sample
from visloc_ros.fusion.odometry_model.noise_model import OdometryModel
from visloc_ros.fusion.smoothing.arrowhead import Bordered, Solution
from visloc_ros.fusion.smoothing.factors.anchor import Anchors
from visloc_ros.fusion.smoothing.factors.linear import Factors
from visloc_ros.fusion.smoothing.factors.loop import Loops
from visloc_ros.fusion.smoothing.factors.relative_motion import Legs
from visloc_ros.fusion.smoothing.factors.sensors import Sensor
from visloc_ros.fusion.smoothing.factors.tracked_motion import Followed
from visloc_ros.fusion.smoothing.states import States
from visloc_ros.fusion.smoothing.variance_components import Inflation, NoiseLevels

LEAST_GAIN_SIGMA = 1e-6
FREE_SCALE_SIGMA = 2.0  # of the log scale before anything is known: a factor of seven either way


@dataclass(frozen=True, eq=False)
class Prior:
    """Quadratic of the first state and the turn gain: information (8, 8) and gradient (8,) at states of length one."""

    at: States
    gain: float
    information: Array
    gradient: Array

    @staticmethod
    def of_nothing(states: States, scale_sigma: float, drift: DriftConfig) -> Prior:
        """What is known before any anchor: hardly anything of the scale, how well turns are usually judged."""
        information = np.zeros((8, 8))
        information[6, 6] = 1.0 / scale_sigma**2
        information[7, 7] = 1.0 / max(drift.turning, LEAST_GAIN_SIGMA) ** 2
        return Prior(states.head(1), 0.0, information, np.zeros(8))

    def add_to(self, equations: Bordered, states: States, gain: float) -> None:
        """Add it to equations linearised at other states and another gain."""
        error = np.append(states.head(1).minus(self.at)[0], gain - self.gain)
        equations.add_prior(self.information, self.gradient - self.information @ error)


@dataclass(frozen=True, eq=False)
class Linearised:
    """Factors of each kind at one linearisation point; and how fast odometry itself says it drifts."""

    anchors: Factors
    odometry: Factors
    followed: Factors | None
    sensors: Sequence[Factors]
    loops: Factors | None
    told: Inflation

    def of_first_state(self) -> Linearised:
        """The part of a problem of two states that touches the first."""
        return replace(self, anchors=self.anchors.at(self.anchors.first == 0), loops=None)

    def equations(self) -> Bordered:
        """All of it in one system."""
        followed = [] if self.followed is None else [self.followed]
        reach = max((int(np.max(factors.ahead)) for factors in followed), default=1)
        equations = Bordered(int(self.odometry.first[-1]) + 2, reach)
        for factors in (self.anchors, self.odometry, *followed, *self.sensors):
            equations.add(factors)
        if self.loops is not None:
            equations.tie(self.loops)
        return equations


@dataclass(frozen=True, eq=False)
class Problem:
    """Samples of N states in order, the odometry between them, anchors at some of them, and what else tells of them.

    ``leg_tail`` are the degrees of freedom of the drift's Student t, where a step that slipped is to count less.
    """

    config: FusionConfig
    samples: Sequence[Sample]
    legs: Legs
    anchors: Anchors
    followed: Followed | None
    sensors: Sequence[Sensor]
    loops: Loops | None = None
    leg_tail: float | None = None

    def linearise(self, states: States, gain: float, noise: NoiseLevels) -> Linearised:
        """All that is known, at the present states; what does not fit counts less."""
        tail = self.config.anchor_noise.tail
        return Linearised(
            self.anchors.linearise(states, noise.scatter, tail),
            self.odometry_factors(states, gain, noise),
            None if self.followed is None else self.followed.linearise(states, noise.tracked, tail),
            [sensor.linearise(states, self.samples) for sensor in self.sensors],
            None if self.loops is None else self.loops.linearise(states).softened(tail),
            self.legs.told(states, self.config.drift),
        )

    def odometry_factors(self, states: States, gain: float, noise: NoiseLevels) -> Factors:
        """Motion between neighbours."""
        common = self.anchors.common_errors(len(states), noise.common)
        odometry = odometry_model(self.config.drift, noise, gain)
        factors = self.legs.linearise(states, odometry, common, self.config.anchor_noise.common_distance)
        return factors if self.leg_tail is None else factors.softened(self.leg_tail)

    def levels(self, linearised: Linearised, solution: Solution, noise: NoiseLevels) -> NoiseLevels:
        """What the residuals of each kind of evidence show of its errors, where these were the levels before."""
        anchors, drift = self.config.anchor_noise.prior, self.config.drift.prior
        scatter = noise.scatter.learnt(solution.evidence_of(linearised.anchors), anchors)
        moved = solution.evidence_of(linearised.odometry.at(~self.legs.is_gap))
        tracked = Inflation()
        if linearised.followed is not None:
            tracked = noise.tracked.learnt(solution.evidence_of(linearised.followed), drift).mean
        return NoiseLevels(
            scatter.mean, noise.drift.learnt(moved, drift, linearised.told).mean, tracked, scatter.common
        )


def odometry_model(drift: DriftConfig, noise: NoiseLevels, gain: float) -> OdometryModel:
    """How this run's odometry behaves; what it misjudges of all turns alike is estimated, and no drift."""
    return OdometryModel(replace(noise.drifting(drift), turning=0.0), gain)
