"""A robot with two driven wheels, a controller that follows a path by the estimated pose alone, and its floor."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import distance_transform_edt

from visloc_ros.core.geometry import SE3, Array, rotation_matrix
from visloc_ros.simulation.room import Quad, Room

CRUISE, FASTEST_TURN = 0.3, 0.8  # m/s, rad/s
LOOKAHEAD_M = 0.35
TURN_ON_THE_SPOT = np.radians(50.0)  # beyond this bearing the robot turns on the spot to the target
RESPONSE_S = 0.1  # in which the motors take up a command
SLIP = 0.05  # relative standard deviation of the wheels' motion about the command
CELL_M = 0.02


@dataclass(frozen=True)
class Velocity:
    """Forwards in m/s, and to the left in rad/s."""

    forwards: float = 0.0
    turning: float = 0.0


STOP = Velocity()


class WheeledRobot:
    """A differential drive on a level floor, which follows commands with a delay and with errors."""

    def __init__(self, x: float, y: float, heading: float, seed: int) -> None:
        self.x, self.y, self.heading = x, y, heading
        self.velocity = STOP
        self._rng = np.random.default_rng(seed)

    @property
    def map_from_base(self) -> SE3:
        """Its true pose."""
        return self.after(0.0)

    def after(self, seconds: float) -> SE3:
        """``map_from_base`` a moment later, or earlier, at its present velocity."""
        heading = self.heading + seconds * self.velocity.turning
        way = seconds * self.velocity.forwards
        place = np.array([self.x + way * np.cos(heading), self.y + way * np.sin(heading), 0.0])
        return SE3(rotation_matrix([0.0, 0.0, heading]), place)

    def put(self, x: float, y: float, heading: float) -> None:
        """Set it down somewhere else, at rest."""
        self.x, self.y, self.heading, self.velocity = x, y, heading, STOP

    def step(self, command: Velocity, seconds: float) -> None:
        """Drive for a while."""
        share = 1.0 - np.exp(-seconds / RESPONSE_S)
        forwards = self.velocity.forwards + share * (command.forwards - self.velocity.forwards)
        turning = self.velocity.turning + share * (command.turning - self.velocity.turning)
        self.velocity = Velocity(float(forwards), float(turning))
        done_forwards, done_turning = np.array([forwards, turning]) * (1.0 + SLIP * self._rng.standard_normal(2))
        middle = self.heading + 0.5 * done_turning * seconds
        self.x += float(done_forwards * seconds * np.cos(middle))
        self.y += float(done_forwards * seconds * np.sin(middle))
        self.heading += float(done_turning * seconds)


class PathFollower:
    """Pure pursuit of a closed path (N, 2), whose points are evenly spaced (Coulter 1992)."""

    def __init__(self, path: Array) -> None:
        self.path = path
        self._ahead = max(1, round(LOOKAHEAD_M / float(np.linalg.norm(path[1] - path[0]))))

    def command(self, map_from_base: SE3 | None) -> Velocity:
        """The command at the estimated pose; without a pose the wheels stand."""
        if map_from_base is None:
            return STOP
        nearest = int(np.argmin(np.linalg.norm(self.path - map_from_base.translation[:2], axis=1)))
        target = np.append(self.path[(nearest + self._ahead) % len(self.path)], map_from_base.translation[2])
        x, y, _ = map_from_base.inverse @ target
        bearing = float(np.arctan2(y, x))
        if abs(bearing) > TURN_ON_THE_SPOT:
            return Velocity(0.0, float(np.copysign(FASTEST_TURN, bearing)))
        curvature = 2.0 * np.sin(bearing) / np.hypot(x, y)
        return Velocity(CRUISE, float(np.clip(CRUISE * curvature, -FASTEST_TURN, FASTEST_TURN)))

    def deviation(self, x: float, y: float) -> float:
        """Distance from the path in metres."""
        return float(np.linalg.norm(self.path - [x, y], axis=1).min())


def ellipse(centre: tuple[float, float], half_axes: tuple[float, float], spacing_m: float = 0.02) -> Array:
    """A closed path (N, 2) to the left, its points evenly spaced."""
    angles = np.linspace(0.0, 2.0 * np.pi, 2000)
    fine = np.array(centre) + np.array(half_axes) * np.column_stack([np.cos(angles), np.sin(angles)])
    way = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(fine, axis=0), axis=1))])
    even = np.linspace(0.0, way[-1], round(way[-1] / spacing_m), endpoint=False)
    return np.column_stack([np.interp(even, way, fine[:, axis]) for axis in (0, 1)])


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
