"""How large the errors of this run's anchors and odometry are: variance components, learnt from its own residuals.

An anchor's covariance counts what its pose solver knows of, not what of it the next anchor shares: the same map points
with the same errors. Residuals tell, positions and rotations apart. Where anchors scatter more than they claim, the
claim grows, and what exceeds it is the map's error, which neighbouring anchors share in part. Where they scatter less,
the rest of the claim has not vanished, it is common to all anchors of the place. Averaging must not remove what is
common; it changes along the way, as a Gauss-Markov process with the correlation distance ``common_distance``. The drift
of odometry depends on the camera and on the scene far more than any constant could: its residuals tell how fast it is,
as far as they are larger than how the common error may have changed on the way: such a change is no drift, and where
it hides the drift nothing is learnt.

What a factor may be is weighed by Bayes' rule: by how well each measurement fits what all others predict for it, and
by what is held likely before: that claims and configuration are right (``trust``), or off by any factor. The mean of
what remains is used, so that little evidence changes little, and much of it all. Odometry that tells its own covariance
is a second opinion on its drift: where it admits more than configured it replaces the configuration; where less it is
one more possibility, for residuals to bear out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from visloc_ros.core.geometry import Array
from visloc_ros.fusion.config import DriftConfig, NoisePriorConfig

LEAST_FACTOR = 0.05  # less than a quarter of the standard deviations expected no residuals of anchors can show
FACTORS_TRIED = 40
TRUST_IN_LESS = 0.1  # share of the trust that goes to odometry which tells less drift than expected
LEAST_REDUNDANCY = 1e-6  # share of a measurement that the estimate never takes over


@dataclass(frozen=True, eq=False)
class Evidence:
    """M measurements: residuals (M, k), positions and rotations first, and expected covariances (M, k, k).

    ``explained`` (M, k, k) are covariances of what the estimate predicts for them, ``own`` (M, k, k) the part of the
    expected ones that is the measurements' own error, and that their factor changes; None where all of it is.
    Measurements that count less than they claim have their covariances enlarged.
    """

    residuals: Array
    expected: Array
    explained: Array
    own: Array | None = None


@dataclass(frozen=True, eq=False)
class _Unaided:
    """Measurements against what all others predict, along axes (2, 3 M) of positions and of rotations.

    Squared errors, and their variances without the measurements' own, in units of the variances claimed.
    """

    squares: Array
    variances: Array

    @staticmethod
    def of(evidence: Evidence, present: Array) -> _Unaided:
        """Undo what each measurement did to the estimate, in which the claims' factors were ``present`` (2,).

        Without it the error would be ``gain @ residual``, of covariance ``gain @ expected``.
        """
        expected = _parts(evidence.expected)
        own = expected if evidence.own is None else _parts(evidence.own)
        residuals = evidence.residuals[:, :6].reshape(-1, 2, 3, 1)
        remaining = (1.0 + LEAST_REDUNDANCY) * expected - _parts(evidence.explained)
        gain = expected @ np.linalg.inv(remaining)
        whiten = np.linalg.inv(np.linalg.cholesky(own))
        variances, axes = np.linalg.eigh(whiten @ gain @ expected @ np.swapaxes(whiten, -1, -2))
        errors = (np.swapaxes(axes, -1, -2) @ whiten @ gain @ residuals)[..., 0]
        squares, others = (np.swapaxes(one, 0, 1).reshape(2, -1) for one in (np.square(errors), variances - 1.0))
        return _Unaided(present[:, None] * squares, present[:, None] * np.maximum(others, 0.0))

    def fits(self, factors: Array) -> Array:
        """Log likelihoods (2, K) of factors (2, K)."""
        variances = self.variances[:, None, :] + factors[:, :, None]
        return np.asarray(-0.5 * np.sum(np.log(variances) + self.squares[:, None, :] / variances, axis=2))


@dataclass(frozen=True, eq=False)
class Belief:
    """What is held possible of a pair of factors, of positions and rotations: values (2, K) and probabilities."""

    factors: Array
    shares: Array

    @staticmethod
    @lru_cache(maxsize=16)
    def before(prior: NoisePriorConfig, told: Inflation) -> Belief:
        """What is held possible before any measurement: what is claimed, what was told, or anything around it."""
        logs = np.linspace(np.log(LEAST_FACTOR), np.log(prior.max_inflation), FACTORS_TRIED)
        anything = np.exp(-0.5 * np.square(logs / (2.0 * np.log(prior.uncertainty))))
        opinions = [told.at_least(1.0).pair, told.at_least(LEAST_FACTOR).pair]
        factors = np.array([[*np.exp(logs), *opinion] for opinion in zip(*opinions, strict=True)])
        trust = prior.trust * np.array([1.0 - TRUST_IN_LESS, TRUST_IN_LESS])
        return Belief(factors, np.append((1.0 - prior.trust) * anything / anything.sum(), trust))

    def after(self, fits: Array) -> Belief:
        """What is held possible after measurements with these log likelihoods (2, K)."""
        weights = self.shares * np.exp(fits - fits.max(axis=1, keepdims=True))
        return Belief(self.factors, weights / weights.sum(axis=1, keepdims=True))

    @property
    def mean(self) -> Inflation:
        """The factors to expect."""
        return self._expected(self.factors)

    @property
    def common(self) -> Inflation:
        """What anchors of one place share: the part of the claim that does not scatter, half of what exceeds it."""
        return self._expected(np.where(self.factors < 1.0, 1.0 - self.factors, (self.factors - 1.0) / 2.0))

    def _expected(self, values: Array) -> Inflation:
        position, rotation = np.sum(values * self.shares, axis=1).tolist()
        return Inflation(position, rotation)


@dataclass(frozen=True)
class Inflation:
    """Factors on variances as they are claimed or configured: of positions, of rotations."""

    position: float = 1.0
    rotation: float = 1.0

    def learnt(self, evidence: Evidence, prior: NoisePriorConfig, told: Inflation | None = None) -> Belief:
        """What residuals show of the factors, where these were the factors in the estimate.

        ``told`` is a second opinion on them. Without measurements there is nothing but the first one.
        """
        if len(evidence.residuals) == 0:
            return Belief(np.ones((2, 1)), np.ones((2, 1)))
        before = Belief.before(prior, told or Inflation())
        fits = _Unaided.of(evidence, np.array(self.pair)).fits(before.factors)
        return before.after(fits)

    @property
    def pair(self) -> tuple[float, float]:
        """Both factors."""
        return self.position, self.rotation

    def at_least(self, least: float) -> Inflation:
        """The factors, none of them less."""
        return Inflation(max(least, self.position), max(least, self.rotation))

    def inflate(self, covariances: Array) -> Array:
        """Covariances (..., 6, 6) with the factors on their variances."""
        factors = np.sqrt(np.repeat([self.position, self.rotation], 3))
        return np.asarray(covariances * np.outer(factors, factors))

    def is_close(self, other: Inflation) -> bool:
        """Tell whether re-estimating has settled."""
        return bool(np.allclose((self.position, self.rotation), (other.position, other.rotation), rtol=1e-2))


@dataclass(frozen=True)
class NoiseLevels:
    """How anchors scatter and followed points drift compared with their claims, odometry with the configuration.

    ``common`` is what anchors of one place share, compared with their claims.
    """

    scatter: Inflation = Inflation()
    drift: Inflation = Inflation()
    tracked: Inflation = Inflation()
    common: Inflation = Inflation(0.0, 0.0)

    def drifting(self, config: DriftConfig) -> DriftConfig:
        """The drift as it has turned out to be."""
        position, rotation = np.sqrt([self.drift.position, self.drift.rotation])
        return replace(
            config,
            position=float(position) * config.position,
            rotation_deg=float(rotation) * config.rotation_deg,
            turning=float(rotation) * config.turning,
            scale=float(position) * config.scale,
        )

    def is_close(self, other: NoiseLevels) -> bool:
        """Tell whether re-estimating has settled."""
        return (
            self.scatter.is_close(other.scatter)
            and self.drift.is_close(other.drift)
            and self.tracked.is_close(other.tracked)
        )


CAUTIOUS = NoiseLevels(scatter=Inflation(4.0, 4.0), common=Inflation(1.5, 1.5))
"""Anchors twice as far off as they claim: from here the more cautious is found of two levels that explain residuals."""


def _parts(covariances: Array) -> Array:
    """Blocks (M, 2, 3, 3) of positions and of rotations."""
    return np.stack([covariances[:, :3, :3], covariances[:, 3:6, 3:6]], axis=1)
