"""Descriptors of images averaged over those that show the same points, so that those of one place are alike.

Descriptors of images that overlap little are hardly more alike than those of two places. Where each point had the mean
of what its own images happen to look like, points of one place would be told apart by it, but places hardly.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_array

from visloc_ros.localization.reduced_map.views import Rows
from visloc_ros.localization.strategies.fused.fusion import unit
from visloc_ros.localization.strategies.fused.reducer import Float32


def smooth(reduced: Float32, point_rows: Sequence[Rows], num_points: int, steps: int, *, renormalise: bool) -> Float32:
    """Descriptors (M, D), each replaced ``steps`` times by the mean of all, weighed by how many points both show.

    Image m shows the points ``point_rows[m]``, each once. Where they ``renormalise``, every step ends with unit length.
    """
    counts = [len(rows) for rows in point_rows]
    shown = csr_array(
        (np.ones(sum(counts)), np.concatenate(point_rows), np.cumsum([0, *counts])), (len(counts), num_points)
    )
    shared = shown @ shown.sum(axis=0)
    values = reduced.astype(np.float64)
    for _ in range(steps):
        values = (shown @ (shown.T @ values)) / shared[:, None]
        if renormalise:
            values = unit(values).astype(np.float64)
    return np.asarray(values, np.float32)
