"""The floor of a simulated room: its obstacles, and their distance from a robot."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import distance_transform_edt

from visloc_ros.core.geometry import Array
from visloc_ros.simulation.room import Quad, Room

CELL_M = 0.02


class FloorPlan:
    """Clearance anywhere in a room, by a grid whose cells are ``CELL_M`` wide.

    Obstacles are between ``step_m``, which wheels roll over, and ``height_m``, the robot's height.
    """

    def __init__(self, room: Room, step_m: float = 0.02, height_m: float = 1.5) -> None:
        columns, rows = (int(np.ceil(extent / CELL_M)) for extent in room.size[:2])
        is_free = np.ones((columns, rows), dtype=bool)
        for quad in room.quads:
            points = _points(quad)
            points = points[(points[:, 2] > step_m) & (points[:, 2] < height_m)]
            cells = np.clip((points[:, :2] / CELL_M).astype(int), 0, [columns - 1, rows - 1])
            is_free[tuple(cells.T)] = False
        self._clearance = distance_transform_edt(is_free) * CELL_M

    def clearance(self, x: float, y: float) -> float:
        """Metres from a place to the nearest obstacle; 0 outside the room."""
        cell = int(np.floor(x / CELL_M)), int(np.floor(y / CELL_M))
        if not all(0 <= index < count for index, count in zip(cell, self._clearance.shape, strict=True)):
            return 0.0
        return float(self._clearance[cell])


def _points(quad: Quad) -> Array:
    """Points (N, 3) all over a quad, half a cell apart at most."""
    s, t = (np.linspace(0.0, 1.0, 2 + int(np.ceil(2.0 * length / CELL_M))) for length in quad.size)
    return quad.point(*(axis.ravel() for axis in np.meshgrid(s, t)))
