"""How large the errors of this run's anchors and odometry are: variance components, learnt from its own residuals.

An anchor's covariance counts what its pose solver knows of, not what of it the next anchor shares: the same map points
with the same errors. Residuals tell, positions and rotations apart. Where anchors scatter more than they claim, the
claim grows, and what exceeds it is the map's error, which neighbouring anchors share in part. Where they scatter less,
the rest of the claim has not vanished, it is common to all anchors of the place. Averaging must not remove what is
common; it changes along the way, as a Gauss-Markov process with the correlation distance ``common_distance``. The drift
of odometry depends on the camera and on the scene far more than any constant could: its residuals tell how fast it is.

A component's factor is its squared residuals over what is left of its measurements after the estimate (its
redundancy); ``prior_weight`` measurements speak for the configured values.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from visloc_ros.core.geometry import Array
from visloc_ros.fusion.config import DriftConfig

LEAST_FACTOR = 0.02


@dataclass(frozen=True, eq=False)
class Evidence:
    """M measurements: residuals (M, k), positions and rotations first, and expected covariances (M, k, k).

    ``explained`` (M, k, k) are covariances of what the estimate predicts for them. Measurements that count less than
    they claim have their covariances enlarged.
    """

    residuals: Array
    expected: Array
    explained: Array


@dataclass(frozen=True)
class Inflation:
    """Factors on variances as they are claimed or configured: of positions, of rotations."""

    position: float = 1.0
    rotation: float = 1.0

    def learnt(self, evidence: Evidence, prior_weight: float, largest: float) -> Inflation:
        """The factors that residuals show, where these were the factors in the estimate."""
        inverses = np.linalg.inv(_parts(evidence.expected))
        residuals = evidence.residuals[:, :6].reshape(-1, 2, 3)
        squares = np.array([self.position, self.rotation]) * np.einsum(
            "nki,nkij,nkj->k", residuals, inverses, residuals
        )
        explained = np.einsum("nkij,nkji->k", inverses, _parts(evidence.explained))
        redundancy = np.maximum(3.0 * len(residuals) - explained, 0.0)
        ratios = (prior_weight + squares) / (prior_weight + redundancy)
        position, rotation = np.clip(ratios, LEAST_FACTOR, largest).tolist()
        return Inflation(position, rotation)

    def inflate(self, covariances: Array) -> Array:
        """Covariances (..., 6, 6) with the factors on their variances."""
        factors = np.sqrt(np.repeat([self.position, self.rotation], 3))
        return np.asarray(covariances * np.outer(factors, factors))

    def is_close(self, other: Inflation) -> bool:
        """Tell whether re-estimating has settled."""
        return bool(np.allclose((self.position, self.rotation), (other.position, other.rotation), rtol=1e-2))


@dataclass(frozen=True)
class NoiseLevels:
    """How anchors scatter and followed points drift compared with their claims, odometry with the configuration."""

    scatter: Inflation = Inflation()
    drift: Inflation = Inflation()
    tracked: Inflation = Inflation()

    @property
    def common(self) -> Inflation:
        """What anchors of one place share: the part of the claim that does not scatter, half of what exceeds it."""
        return Inflation(_common_share(self.scatter.position), _common_share(self.scatter.rotation))

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


def _parts(covariances: Array) -> Array:
    """Blocks (M, 2, 3, 3) of positions and of rotations."""
    return np.stack([covariances[:, :3, :3], covariances[:, 3:6, 3:6]], axis=1)


def _common_share(scatter: float) -> float:
    return 1.0 - scatter if scatter < 1.0 else (scatter - 1.0) / 2.0
