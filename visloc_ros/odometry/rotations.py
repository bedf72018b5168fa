"""Many rotations at once."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from visloc_ros.core.geometry import Array


def rotation_matrices(vectors: Array) -> Array:
    """Matrices (N, 3, 3) of axis-angle vectors (N, 3) in radians."""
    return np.asarray(Rotation.from_rotvec(vectors).as_matrix())


def product(matrices: Array) -> Array:
    """The product (3, 3) of matrices (N, 3, 3) in their order, N >= 1."""
    while len(matrices) > 1:
        if len(matrices) % 2:
            matrices = np.concatenate([matrices, np.eye(3)[None]])
        matrices = matrices[0::2] @ matrices[1::2]
    return np.asarray(matrices[0])
