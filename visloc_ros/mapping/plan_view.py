"""A map's points seen from above as a grid, a picture of obstacles for a robot without a laser."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.geometry import Array

UNKNOWN = -1
RESOLUTION_M = 0.05  # as grids for Nav2 have it
_CELLS, _MOST_CELLS = 400, 4000  # along a side: without metres, and at most
_SHOWN_SHARE = (1.0, 99.0)  # percentiles of the points that are shown: some lie far outside
_FLOOR_SHARE = 2.0  # percentile of the heights that counts as the floor
_LOWEST, _HIGHEST = 0.1, 2.2  # metres over it, between which points stand for something in the way
_FULL_COUNT = 95.0  # percentile of the points a cell that is shown as full


@dataclass(frozen=True, eq=False)
class PlanView:
    """Cells (rows, columns) from ``UNKNOWN`` and 0 to 100, row 0 the lowest in y; ``low`` (2,) is its lowest corner."""

    cells: NDArray[np.int8]
    resolution: float
    low: Array


def plan_view(points: Array, metric: bool) -> PlanView | None:
    """Points (P, 3) of a map whose z axis points up, in its units; None without points.

    This is a picture: surfaces without texture have no points, so that no cell is known to be free.
    """
    if len(points) == 0:
        return None
    low, high = np.percentile(points[:, :2], _SHOWN_SHARE, axis=0)
    side = max(float(np.max(high - low)), 1e-6)
    resolution = max(RESOLUTION_M, side / _MOST_CELLS) if metric else side / _CELLS
    heights = points[:, 2] - np.percentile(points[:, 2], _FLOOR_SHARE)
    if metric:
        points = points[(heights > _LOWEST) & (heights < _HIGHEST)]
    columns, rows = (np.floor((high - low) / resolution).astype(int) + 1).tolist()
    counts = np.zeros((rows, columns))
    cells = np.floor((points[:, :2] - low) / resolution).astype(int)
    inside = np.all((cells >= 0) & (cells < [columns, rows]), axis=1)
    np.add.at(counts, tuple(cells[inside].T[::-1]), 1.0)
    seen = counts > 0
    full = float(np.percentile(counts[seen], _FULL_COUNT)) if seen.any() else 1.0
    shade = np.where(seen, np.clip(100.0 * counts / full, 10.0, 100.0), UNKNOWN)
    return PlanView(shade.astype(np.int8), resolution, np.asarray(low))
