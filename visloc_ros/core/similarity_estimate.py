"""A similarity between two frames with its covariance, composed and inverted to first order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from visloc_ros.core.geometry import SE3, Array, Sim3, rotation_vector
from visloc_ros.core.tangent import similarity_lever_jacobian


@dataclass(frozen=True, eq=False)
class SimilarityEstimate:
    """``a_from_b`` and the covariance (7, 7) of its error, as in ``core.tangent``: about the axes of a, scale last."""

    a_from_b: Sim3
    covariance: Array

    @staticmethod
    def exact(a_from_b: Sim3) -> SimilarityEstimate:
        """A similarity without error."""
        return SimilarityEstimate(a_from_b, np.zeros((7, 7)))

    @property
    def inverse(self) -> SimilarityEstimate:
        """``b_from_a``."""
        known = self.a_from_b.inverse
        jacobian = -_turned(known) @ similarity_lever_jacobian(-self.a_from_b.translation)
        return SimilarityEstimate(known, jacobian @ self.covariance @ jacobian.T)

    def __matmul__(self, other: SimilarityEstimate) -> SimilarityEstimate:
        """``a_from_c`` by ``b_from_c``, whose error is independent."""
        known, turned = self.a_from_b @ other.a_from_b, _turned(self.a_from_b)
        jacobian = similarity_lever_jacobian(known.translation - self.a_from_b.translation)
        covariance = jacobian @ self.covariance @ jacobian.T + turned @ other.covariance @ turned.T
        return SimilarityEstimate(known, covariance)

    def of_pose(self, a_from_camera: SE3) -> Array:
        """Covariance (6, 6) of a pose that was moved from b to a by this similarity, of the error of this alone."""
        jacobian = similarity_lever_jacobian(a_from_camera.translation - self.a_from_b.translation)[:6]
        return np.asarray(jacobian @ self.covariance @ jacobian.T)

    def squared_distance(self, other: SimilarityEstimate) -> float:
        """Squared Mahalanobis distance from another, independent estimate of the same similarity: chi-square with 7."""
        mine, theirs = self.a_from_b, other.a_from_b
        turn = rotation_vector(mine.rotation @ theirs.rotation.T)
        error = np.array([*(mine.translation - theirs.translation), *turn, np.log(mine.scale / theirs.scale)])
        return float(error @ np.linalg.pinv(self.covariance + other.covariance, hermitian=True) @ error)


def _turned(a_from_b: Sim3) -> Array:
    """Jacobian (7, 7) of the error of a similarity about the axes and in the units of a, by the same in b."""
    jacobian = np.eye(7)
    jacobian[:3, :3], jacobian[3:6, 3:6] = a_from_b.scale * a_from_b.rotation, a_from_b.rotation
    return jacobian
