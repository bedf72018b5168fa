"""Observations of another detector: each takes the nearest keypoint of the features that are extracted again."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

RADIUS_PX = 5.0
"""Farther away a keypoint shows something else (FUSELOC, arXiv 2408.12037)."""

NO_KEYPOINT = -1


def associate(
    observations: NDArray[np.floating], keypoints: NDArray[np.floating], radius_px: float = RADIUS_PX
) -> NDArray[np.intp]:
    """Row of the keypoint (K, 2) nearest to each observation (N, 2), both COLMAP pixels of the image as it was taken.

    NO_KEYPOINT where none is nearer than ``radius_px``. Several observations may take the same keypoint.
    """
    if len(keypoints) == 0 or len(observations) == 0:
        return np.full(len(observations), NO_KEYPOINT, np.intp)
    distances, rows = cKDTree(keypoints).query(observations, distance_upper_bound=radius_px)
    return np.where(np.isfinite(distances), rows, NO_KEYPOINT).astype(np.intp)
