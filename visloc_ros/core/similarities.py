"""Stacks of similarities (Sim3) as arrays: group operations, exponential and logarithm, all vectorised.

Tangent vectors (7,) are ordered translation tau, rotation phi, log-scale sigma: the exponential has
the scale exp(sigma), the rotation exp(phi) and the translation W tau, with W the integral of exp(u (sigma + [phi]x))
over u from 0 to 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation
from scipy.special import bernoulli, factorial

from visloc_ros.core.geometry import SE3, Array, Sim3
from visloc_ros.core.tangent import skew

_EVEN_TERMS = 10  # of the inverse Jacobian's series: exact to 1e-7 for half a turn, to rounding below 60 degrees
_EVEN_FACTORS = (bernoulli(2 * _EVEN_TERMS) / factorial(np.arange(2 * _EVEN_TERMS + 1)))[::2]


@dataclass(frozen=True, eq=False)
class Similarities:
    """Similarities ``a_from_b``, one a row: scales (N,), rotations (N, 3, 3), translations (N, 3)."""

    scales: Array
    rotations: Array
    translations: Array

    def __len__(self) -> int:
        return len(self.scales)

    @staticmethod
    def from_poses(rotations: ArrayLike, translations: ArrayLike) -> Similarities:
        """Rigid transforms (N, 3, 3), (N, 3) with the scale 1."""
        turns = np.asarray(rotations, dtype=np.float64)
        return Similarities(np.ones(len(turns)), turns, np.asarray(translations, dtype=np.float64))

    @staticmethod
    def stack(*members: Sim3 | SE3) -> Similarities:
        """Put single transforms together."""
        scales = np.array([getattr(member, "scale", 1.0) for member in members])
        rotations = np.array([member.rotation for member in members]).reshape(-1, 3, 3)
        return Similarities(scales, rotations, np.array([member.translation for member in members]).reshape(-1, 3))

    @staticmethod
    def concatenate(*parts: Similarities) -> Similarities:
        """Join stacks, one after the other."""
        return Similarities(
            np.concatenate([part.scales for part in parts]),
            np.concatenate([part.rotations for part in parts]),
            np.concatenate([part.translations for part in parts]),
        )

    @staticmethod
    def exp(tangents: ArrayLike) -> Similarities:
        """Similarities of tangent vectors (N, 7)."""
        xi = np.asarray(tangents, dtype=np.float64)
        translations = np.einsum("nij,nj->ni", _translation_factors(xi), xi[:, :3])
        return Similarities(np.exp(xi[:, 6]), Rotation.from_rotvec(xi[:, 3:6]).as_matrix(), translations)

    def log(self) -> Array:
        """Tangent vectors (N, 7), rotations by at most half a turn."""
        xi = np.zeros((len(self), 7))
        xi[:, 3:6] = Rotation.from_matrix(self.rotations).as_rotvec()
        xi[:, 6] = np.log(self.scales)
        xi[:, :3] = np.linalg.solve(_translation_factors(xi), self.translations[:, :, None])[:, :, 0]
        return xi

    def take(self, rows: NDArray[np.intp] | slice) -> Similarities:
        """The members at these rows, in this order."""
        return Similarities(self.scales[rows], self.rotations[rows], self.translations[rows])

    def member(self, row: int) -> Sim3:
        """A single similarity."""
        return Sim3(self.scales[row], self.rotations[row], self.translations[row])

    @property
    def inverse(self) -> Similarities:
        """``b_from_a`` of each."""
        rotations = self.rotations.transpose(0, 2, 1)
        translations = -np.einsum("nij,nj->ni", rotations, self.translations) / self.scales[:, None]
        return Similarities(1.0 / self.scales, rotations, translations)

    def __matmul__(self, other: Similarities) -> Similarities:
        turned = np.einsum("nij,nj->ni", self.rotations, other.translations)
        return Similarities(
            self.scales * other.scales,
            self.rotations @ other.rotations,
            self.scales[:, None] * turned + self.translations,
        )

    def adjoint(self) -> Array:
        """Matrices (N, 7, 7) that carry a tangent through: ``S exp(xi) = exp(adjoint @ xi) S``."""
        adjoint = np.zeros((len(self), 7, 7))
        adjoint[:, :3, :3] = self.scales[:, None, None] * self.rotations
        adjoint[:, :3, 3:6] = skew(self.translations) @ self.rotations
        adjoint[:, :3, 6] = -self.translations
        adjoint[:, 3:6, 3:6] = self.rotations
        adjoint[:, 6, 6] = 1.0
        return adjoint


def inverse_left_jacobians(tangents: Array) -> Array:
    """Matrices (N, 7, 7) ``J`` with ``log(exp(d) exp(xi)) = xi + J d`` for small d, at tangents (N, 7)."""
    small = _small_adjoint(tangents)
    square = small @ small
    identity = np.eye(7)
    even = np.zeros_like(small)
    for factor in _EVEN_FACTORS[::-1]:
        even = even @ square + factor * identity
    return np.asarray(even - 0.5 * small)


def _translation_factors(tangents: Array) -> Array:
    """The matrices W (N, 3, 3): the function (e^z - 1) / z on the eigenvalues of sigma + [phi]x."""
    angles = np.linalg.norm(tangents[:, 3:6], axis=1)
    axes = tangents[:, 3:6] / np.where(angles > 0.0, angles, 1.0)[:, None]
    along = _mean_growth(tangents[:, 6].astype(np.complex128)).real[:, None, None]
    across = _mean_growth(tangents[:, 6] + 1j * angles)[:, None, None]
    parallel = axes[:, :, None] * axes[:, None, :]
    return np.asarray(along * parallel + across.real * (np.eye(3) - parallel) + across.imag * skew(axes))


def _mean_growth(exponents: NDArray[np.complex128]) -> NDArray[np.complex128]:
    is_zero = exponents == 0.0
    return np.where(is_zero, 1.0, np.expm1(exponents) / np.where(is_zero, 1.0, exponents))


def _small_adjoint(tangents: Array) -> Array:
    """The brackets [xi, .] as matrices (N, 7, 7)."""
    bracket = np.zeros((len(tangents), 7, 7))
    turn = skew(tangents[:, 3:6])
    bracket[:, :3, :3] = turn + tangents[:, 6, None, None] * np.eye(3)
    bracket[:, :3, 3:6] = skew(tangents[:, :3])
    bracket[:, :3, 6] = -tangents[:, :3]
    bracket[:, 3:6, 3:6] = turn
    return bracket
