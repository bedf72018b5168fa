"""Fused descriptors: f = lam l + (1 - lam) P(g), of a keypoint's descriptor l and that of its image, g.

After FUSELOC (arXiv 2408.12037). Nothing is brought to unit length after fusion: points that are seen from many places
have a shorter image part, which the search by Euclidean distance has to know.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.errors import ConfigError
from visloc_ros.localization.strategies.fused.config import LARGEST_RHO
from visloc_ros.localization.strategies.fused.reducer import Float32, Reducer

_LEAST = 1e-12


@dataclass(frozen=True, eq=False)
class Fusion:
    """Weight ``lam`` of the keypoint's descriptor, and how that of the image is reduced, to unit length or not."""

    lam: float
    reducer: Reducer
    renormalise: bool = True

    def reduce(self, descriptors: Float32) -> Float32:
        """P(g) (..., D) of descriptors (..., G) of images; zeros stay zeros."""
        reduced = self.reducer.apply(descriptors)
        if not self.renormalise:
            return reduced
        return np.asarray(unit(reduced), np.float32)

    def fuse(self, local: NDArray[np.floating], reduced: NDArray[np.floating]) -> NDArray[np.float64]:
        """Fused descriptors (N, D) of keypoints (N, D) in an image that is reduced to (D,), or each its own (N, D)."""
        return self.lam * local.astype(np.float64) + (1.0 - self.lam) * reduced.astype(np.float64)

    def check_weight(self, reduced: Float32, local_length: float = 1.0) -> None:
        """Refuse weights with which the descriptors (M, D) of images decide all. Raises ConfigError."""
        length = float(np.linalg.norm(reduced, axis=-1).mean())
        rho = (1.0 - self.lam) * length / max(self.lam * local_length, _LEAST)
        if rho > LARGEST_RHO:
            raise ConfigError(
                f"lam = {self.lam:g} is refused: reduced descriptors of images have length {length:.2f}, so that they "
                f"weigh {rho:.1f} times those of keypoints; above {LARGEST_RHO:g} the search collapses"
            )


def unit(vectors: NDArray[np.floating]) -> NDArray[np.floating]:
    """Vectors (..., D) of unit length; zeros stay zeros."""
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), _LEAST))


@dataclass(frozen=True, eq=False)
class FusedQuery:
    """An image to search for: descriptors (N, D) of its keypoints, its own, reduced (D,), and the weight of the first.

    They are kept apart: the image's part of a similarity is the same for all keypoints, and computed once.
    """

    local: Float32
    reduced: Float32
    lam: float

    def __len__(self) -> int:
        return len(self.local)

    @property
    def fused(self) -> Float32:
        """Fused descriptors (N, D)."""
        return np.asarray(np.float32(self.lam) * self.local + np.float32(1.0 - self.lam) * self.reduced, np.float32)
