"""The factor graph of both smoothers: all measurements of a sequence of camera states, linearised and weighted.

Each state is ``map_from_camera`` and the log of the odometry's scale; all states share one unknown, the rotation scale
error. Factors are the anchors, the odometry between neighbouring states, the motion by tracked map points, other
sensors, and loops. Odometry enters as relative motion only, so neither the order in which late anchors arrive nor the
odometry's origin matters.

A state is where its anchor *puts* the camera: the true pose plus the error that the anchors of a place have in common
(``variance_components``). A change of that error between neighbours adds to the odometry noise between them. Student-t
weights reduce the influence of outliers that pass the gate, and the residuals of each kind of factor scale its
covariances.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from visloc_ros.core.types import LoopClosure
from visloc_ros.fusion.anchor_fix import AnchorFix
from visloc_ros.fusion.config import FusionConfig
from visloc_ros.fusion.odometry_model.history import OdometrySample
from visloc_ros.fusion.odometry_model.noise_model import OdometryModel
from visloc_ros.fusion.smoothing.arrowhead import ArrowheadSystem, Solution
from visloc_ros.fusion.smoothing.factors.anchor import AnchorFactors
from visloc_ros.fusion.smoothing.factors.linear import LinearFactors
from visloc_ros.fusion.smoothing.factors.relative_motion import (
    LoopFactors,
    MotionMeasurement,
    RelativeMotionFactors,
    TrackedMotionFactors,
)
from visloc_ros.fusion.smoothing.factors.sensors import SensorFactors, with_readings
from visloc_ros.fusion.smoothing.states import LinearPrior, StatePrior, States
from visloc_ros.fusion.smoothing.variance_components import VarianceComponents, VarianceFactors


@dataclass(frozen=True, eq=False)
class FactorGraph:
    """Factors of each kind on N states, which are at odometry samples in order, and the prior.

    ``odometry_degrees_of_freedom`` are those of the Student-t weights of odometry; None gives it full weight.
    """

    config: FusionConfig
    samples: Sequence[OdometrySample]
    relative_motions: RelativeMotionFactors
    anchors: AnchorFactors
    tracked_motions: TrackedMotionFactors | None
    sensors: Sequence[SensorFactors]
    loops: LoopFactors | None
    prior: StatePrior
    odometry_degrees_of_freedom: float | None = None

    @staticmethod
    def build(
        config: FusionConfig,
        samples: Sequence[OdometrySample],
        prior: StatePrior,
        fixes: Sequence[AnchorFix],
        tracked_motions: Sequence[MotionMeasurement] = (),
        sensors: Sequence[SensorFactors] = (),
        loops: Sequence[LoopClosure] = (),
        odometry_degrees_of_freedom: float | None = None,
    ) -> FactorGraph:
        """The graph of states at samples, in the order of their stamps; anchors and loops elsewhere are left out."""
        index = index_by_stamp(samples)
        fixes = [fix for fix in fixes if fix.stamp_ns in index]
        return FactorGraph(
            config,
            samples,
            RelativeMotionFactors.between(samples),
            AnchorFactors.of(fixes, np.array([index[fix.stamp_ns] for fix in fixes], dtype=np.intp)),
            TrackedMotionFactors.of(tracked_motions),
            with_readings(sensors, samples),
            LoopFactors.of(loops, index),
            prior,
            odometry_degrees_of_freedom,
        )

    def linearise(self, states: States, rotation_scale_error: float, components: VarianceComponents) -> LinearisedGraph:
        """All factors at the present states, with their robust weights."""
        dof, tracked, loops = self.config.anchor_noise.degrees_of_freedom, self.tracked_motions, self.loops
        return LinearisedGraph(
            self.anchors.linearise(states, components.anchors, dof),
            self.odometry_factors(states, rotation_scale_error, components),
            None if tracked is None else tracked.linearise(states, components.tracked_motions, dof),
            [sensor.linearise(states, self.samples) for sensor in self.sensors],
            None if loops is None else loops.linearise(states).with_robust_weights(dof),
            self.prior.linearise(states, rotation_scale_error),
            self.relative_motions.reported_factors(states, self.config.odometry_noise),
        )

    def odometry_factors(
        self, states: States, rotation_scale_error: float, components: VarianceComponents
    ) -> LinearFactors:
        """Relative motion between neighbouring states."""
        common = self.anchors.common_covariances(len(states), components.common)
        odometry = self.odometry_model(states, components, rotation_scale_error)
        distance, dof = self.config.anchor_noise.correlation_distance, self.odometry_degrees_of_freedom
        factors = self.relative_motions.linearise(states, odometry, common, distance)
        return factors if dof is None else factors.with_robust_weights(dof)

    def odometry_model(
        self, states: States, components: VarianceComponents, rotation_scale_error: float
    ) -> OdometryModel:
        """This run's odometry errors: the rotation scale error is estimated, and so no part of the noise."""
        noise = self.config.odometry_noise
        usual = self.relative_motions.usually_reported(states, noise)
        return OdometryModel(replace(components.scaled(noise), rotation_scale_sigma=0.0), rotation_scale_error, usual)

    def estimate_components(
        self, linearised: LinearisedGraph, solution: Solution, components: VarianceComponents
    ) -> VarianceComponents:
        """Variance components by the residuals of each kind of factor, given those used for the solution."""
        anchor_prior, odometry_prior = self.config.anchor_noise.prior, self.config.odometry_noise.prior
        anchors = components.anchors.estimate(solution.residual_statistics(linearised.anchors), anchor_prior)
        moved = solution.residual_statistics(linearised.odometry.at(~self.relative_motions.is_gap))
        odometry = components.odometry.estimate(moved, odometry_prior, linearised.reported).mean
        tracked = VarianceFactors()
        if linearised.tracked_motions is not None:
            statistics = solution.residual_statistics(linearised.tracked_motions)
            tracked = components.tracked_motions.estimate(statistics, odometry_prior).mean
        return VarianceComponents(anchors.mean, odometry, tracked, anchors.common)


@dataclass(frozen=True, eq=False)
class LinearisedGraph:
    """Factors of each kind and the prior at one linearisation point.

    ``reported`` is the ratio of the odometry's noise by its own covariances to the configured one.
    """

    anchors: LinearFactors
    odometry: LinearFactors
    tracked_motions: LinearFactors | None
    sensors: Sequence[LinearFactors]
    loops: LinearFactors | None
    prior: LinearPrior
    reported: VarianceFactors

    def of_first_state(self) -> LinearisedGraph:
        """The part of a graph of two states that involves the first, and is marginalised with it."""
        return replace(self, anchors=self.anchors.at(self.anchors.first == 0), loops=None)

    def equations(self) -> ArrowheadSystem:
        """The normal equations; loops enter as a low-rank update, so that the band stays as wide as without them."""
        tracked = [] if self.tracked_motions is None else [self.tracked_motions]
        reach = max((int(np.max(factors.ahead)) for factors in tracked), default=1)
        equations = ArrowheadSystem(int(self.odometry.first[-1]) + 2, reach)
        for factors in (self.anchors, self.odometry, *tracked, *self.sensors):
            equations.add(factors)
        if self.loops is not None:
            equations.add_low_rank(self.loops)
        equations.add_prior(self.prior.information, self.prior.gradient)
        if self.prior.scales is not None:
            equations.add(self.prior.scales)
        return equations


def index_by_stamp(samples: Sequence[OdometrySample]) -> dict[int, int]:
    """Which row belongs to a stamp."""
    return {sample.stamp_ns: row for row, sample in enumerate(samples)}
