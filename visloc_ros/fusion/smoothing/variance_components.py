"""Variance components: the size of this run's anchor and odometry errors, by their residuals.

The covariance of an anchor does not show how much of its error the next anchor shares, which sees the same map points
with the same errors. The residuals do, for positions and rotations separately. Where anchors scatter more than their
covariances predict, the covariances grow, and half of the excess counts as the map's error, which neighbouring anchors
share. Where they scatter less, the rest of the predicted variance is common to all anchors of the place. The common
error must not average out; it changes along the path as a Gauss-Markov process (``correlation_distance``). The noise of
odometry depends on camera and scene; it is the part of its residuals that exceeds the change of the common error.

A factor on variances gets a posterior by Bayes' rule: the likelihood is that of leave-one-out residuals, each
measurement against the prediction of all others; by the prior the stated covariances are right (``trust``), or wrong by
any factor. The posterior mean is used, so that few measurements change little. Covariances that odometry reports are a
second hypothesis on its noise: larger ones replace the configured one, smaller ones are one more hypothesis.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from visloc_ros.core.geometry import Array
from visloc_ros.fusion.config import NoisePriorConfig, OdometryNoiseConfig

LEAST_FACTOR = 0.05  # residuals of anchors cannot show less than a quarter of the expected standard deviations
LARGEST_FACTOR = 100.0  # ten times the stated standard deviation: beyond it, errors are outliers
NUM_FACTORS = 40  # on the logarithmic grid of hypotheses
TRUST_IN_LESS = 0.1  # share of the trust for odometry that reports less noise than configured
LEAST_REDUNDANCY = 1e-6  # least share of a measurement's covariance that its residual keeps


@dataclass(frozen=True, eq=False)
class ResidualStatistics:
    """M measurements: residuals (M, k), positions and rotations first, and expected covariances (M, k, k).

    ``explained`` (M, k, k) are the covariances of the estimate's predictions, ``own`` (M, k, k) the part of the
    expected ones that the variance factors scale; None where that is all. The expected ones include the robust weights.
    """

    residuals: Array
    expected: Array
    explained: Array
    own: Array | None = None


@dataclass(frozen=True, eq=False)
class _LeaveOneOutResiduals:
    """Measurements against the predictions of all others, along principal axes (2, 3 M) of positions and rotations.

    Squared residuals, and the variances of the predictions, in units of the measurements' unscaled variances.
    """

    squares: Array
    variances: Array

    @staticmethod
    def of(statistics: ResidualStatistics, present: Array) -> _LeaveOneOutResiduals:
        """Remove the influence of each measurement on its own residual; ``present`` (2,) are the factors in use.

        The leave-one-out residual is ``gain @ residual``, of covariance ``gain @ expected``.
        """
        expected = _parts(statistics.expected)
        own = expected if statistics.own is None else _parts(statistics.own)
        residuals = statistics.residuals[:, :6].reshape(-1, 2, 3, 1)
        remaining = (1.0 + LEAST_REDUNDANCY) * expected - _parts(statistics.explained)
        gain = expected @ np.linalg.inv(remaining)
        whiten = np.linalg.inv(np.linalg.cholesky(own))
        variances, axes = np.linalg.eigh(whiten @ gain @ expected @ np.swapaxes(whiten, -1, -2))
        errors = (np.swapaxes(axes, -1, -2) @ whiten @ gain @ residuals)[..., 0]
        squares, others = (np.swapaxes(one, 0, 1).reshape(2, -1) for one in (np.square(errors), variances - 1.0))
        return _LeaveOneOutResiduals(present[:, None] * squares, present[:, None] * np.maximum(others, 0.0))

    def log_likelihoods(self, factors: Array) -> Array:
        """Log likelihoods (2, K) of factors (2, K)."""
        variances = self.variances[:, None, :] + factors[:, :, None]
        return np.asarray(-0.5 * np.sum(np.log(variances) + self.squares[:, None, :] / variances, axis=2))


@dataclass(frozen=True, eq=False)
class FactorDistribution:
    """Distribution of the factors of positions and of rotations: values (2, K) and probabilities (K,) or (2, K)."""

    factors: Array
    probabilities: Array

    @staticmethod
    @lru_cache(maxsize=16)
    def prior(config: NoisePriorConfig, reported: VarianceFactors) -> FactorDistribution:
        """Before any measurement: the stated factor, the reported one, or anything around the stated one."""
        logs = np.linspace(np.log(LEAST_FACTOR), np.log(LARGEST_FACTOR), NUM_FACTORS)
        anything = np.exp(-0.5 * np.square(logs / (2.0 * np.log(config.uncertainty))))
        hypotheses = [reported.at_least(1.0).pair, reported.at_least(LEAST_FACTOR).pair]
        factors = np.array([[*np.exp(logs), *hypothesis] for hypothesis in zip(*hypotheses, strict=True)])
        trust = config.trust * np.array([1.0 - TRUST_IN_LESS, TRUST_IN_LESS])
        return FactorDistribution(factors, np.append((1.0 - config.trust) * anything / anything.sum(), trust))

    def posterior(self, log_likelihoods: Array) -> FactorDistribution:
        """After measurements with these log likelihoods (2, K)."""
        weights = self.probabilities * np.exp(log_likelihoods - log_likelihoods.max(axis=1, keepdims=True))
        return FactorDistribution(self.factors, weights / weights.sum(axis=1, keepdims=True))

    @property
    def mean(self) -> VarianceFactors:
        """The expected factors."""
        return self._expected(self.factors)

    @property
    def common(self) -> VarianceFactors:
        """Factors of the anchors' common error: the stated variance missing in residuals, or half of their excess."""
        return self._expected(np.where(self.factors < 1.0, 1.0 - self.factors, (self.factors - 1.0) / 2.0))

    def _expected(self, values: Array) -> VarianceFactors:
        position, rotation = np.sum(values * self.probabilities, axis=1).tolist()
        return VarianceFactors(position, rotation)


@dataclass(frozen=True)
class VarianceFactors:
    """Factors on stated or configured variances: of positions, of rotations."""

    position: float = 1.0
    rotation: float = 1.0

    def estimate(
        self, statistics: ResidualStatistics, prior: NoisePriorConfig, reported: VarianceFactors | None = None
    ) -> FactorDistribution:
        """Posterior of the factors by residuals of an estimate that was made with these factors; 1 without residuals.

        ``reported`` are those that the source of the measurements reports.
        """
        if len(statistics.residuals) == 0:
            return FactorDistribution(np.ones((2, 1)), np.ones((2, 1)))
        before = FactorDistribution.prior(prior, reported or VarianceFactors())
        log_likelihoods = _LeaveOneOutResiduals.of(statistics, np.array(self.pair)).log_likelihoods(before.factors)
        return before.posterior(log_likelihoods)

    @property
    def pair(self) -> tuple[float, float]:
        """Both factors."""
        return self.position, self.rotation

    def at_least(self, least: float) -> VarianceFactors:
        """The factors, but none less than ``least``."""
        return VarianceFactors(max(least, self.position), max(least, self.rotation))

    def inflate(self, covariances: Array) -> Array:
        """Covariances (..., 6, 6) with the factors on their variances."""
        factors = np.sqrt(np.repeat([self.position, self.rotation], 3))
        return np.asarray(covariances * np.outer(factors, factors))

    def is_close(self, other: VarianceFactors) -> bool:
        """Whether the estimation has converged."""
        return bool(np.allclose((self.position, self.rotation), (other.position, other.rotation), rtol=1e-2))


@dataclass(frozen=True)
class VarianceComponents:
    """Factors on the variances of anchors and tracked motions as stated, of odometry as configured.

    ``common`` is the error that anchors of a place have in common, over their stated variances.
    """

    anchors: VarianceFactors = VarianceFactors()
    odometry: VarianceFactors = VarianceFactors()
    tracked_motions: VarianceFactors = VarianceFactors()
    common: VarianceFactors = VarianceFactors(0.0, 0.0)

    def scaled(self, config: OdometryNoiseConfig) -> OdometryNoiseConfig:
        """The odometry noise with its factors on."""
        position, rotation = np.sqrt([self.odometry.position, self.odometry.rotation])
        return replace(
            config,
            position=float(position) * config.position,
            rotation_deg=float(rotation) * config.rotation_deg,
            rotation_scale_sigma=float(rotation) * config.rotation_scale_sigma,
            scale=float(position) * config.scale,
        )

    def is_close(self, other: VarianceComponents) -> bool:
        """Whether the estimation has converged."""
        return (
            self.anchors.is_close(other.anchors)
            and self.odometry.is_close(other.odometry)
            and self.tracked_motions.is_close(other.tracked_motions)
        )


CONSERVATIVE = VarianceComponents(anchors=VarianceFactors(4.0, 4.0), common=VarianceFactors(1.5, 1.5))
"""Start of the estimation: where two solutions explain the residuals, it converges to that of larger covariances."""


def _parts(covariances: Array) -> Array:
    """Blocks (M, 2, 3, 3) of positions and of rotations."""
    return np.stack([covariances[:, :3, :3], covariances[:, 3:6, 3:6]], axis=1)
