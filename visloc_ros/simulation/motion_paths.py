"""Paths of a robot or a person: corridor, circle, figure eight, stairs, stops, turns on the spot.

All functions take times (N,) in seconds and a speed in metres per second. The map's z axis points upwards.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.spatial.transform import Rotation

from visloc_ros.core.geometry import Array

OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
"""Camera axes (x right, y down, z forward) in those of a robot (x forward, y left, z up)."""
EYE_HEIGHT = 1.0
NOD, NOD_RATE, TILT = 0.1, 0.7, 0.05  # rad, rad/s, rad: of a hand-held camera
CIRCLE_RADIUS = 2.0
EIGHT_SIZE = 2.5
MOVING_S, STANDING_S = 4.0, 4.0
SIDE, TURNING_S = 2.4, 3.0
FLIGHT, LANDING_RADIUS, RISE = 3.0, 0.6, 1.7

Way = tuple[Array, Array]
"""Positions (N, 3) in metres and headings (N,) in radians about z."""


def camera_poses(path: str, seconds: Array, speed: float) -> tuple[Array, Array]:
    """Rotations (N, 3, 3) and positions (N, 3) of ``map_from_camera``; the camera looks along its path, and nods."""
    positions, headings = PATHS[path](seconds, speed)
    nods = NOD * np.sin(NOD_RATE * seconds)
    robots = Rotation.from_euler("ZYX", np.column_stack([headings, nods, np.full(len(seconds), TILT)]))
    return np.asarray(robots.as_matrix() @ OPTICAL), positions


def line(seconds: Array, speed: float) -> Way:
    """Straight on along x."""
    way = speed * seconds
    return _stacked(way, np.zeros_like(way)), np.zeros_like(way)


def circle(seconds: Array, speed: float) -> Way:
    """Round and round, to the left."""
    return _on_circle(speed * seconds)


def eight(seconds: Array, speed: float) -> Way:
    """A figure eight over gentle hills, so that it turns both ways."""
    angle = speed * seconds / EIGHT_SIZE
    positions = _stacked(EIGHT_SIZE * np.sin(angle), EIGHT_SIZE / 2 * np.sin(2 * angle))
    positions[:, 2] += 0.2 * np.sin(speed * seconds)
    return positions, np.arctan2(np.cos(2 * angle), np.cos(angle))


def stop_and_go(seconds: Array, speed: float) -> Way:
    """The circle, standing half of the time."""
    rounds, rest = np.divmod(seconds, MOVING_S + STANDING_S)
    return _on_circle(speed * (MOVING_S * rounds + np.minimum(rest, MOVING_S)))


def turns(seconds: Array, speed: float) -> Way:
    """A square with turns on the spot: motion without turning, then turning without motion."""
    side_s = SIDE / speed
    sides, rest = np.divmod(seconds, side_s + TURNING_S)
    walked = np.minimum(rest, side_s) * speed
    turned = np.clip(rest - side_s, 0.0, TURNING_S) / TURNING_S
    corners = SIDE * np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    corner, heading = sides.astype(int) % 4, np.pi / 2 * sides
    x, y = corners[corner].T + walked * np.array([np.cos(heading), np.sin(heading)])
    return _stacked(x, y), heading + np.pi / 2 * turned


def stairs(seconds: Array, speed: float) -> Way:
    """Up a stairwell: flights that rise, joined by level half circles."""
    flight_and_landing = FLIGHT + np.pi * LANDING_RADIUS
    flights, rest = np.divmod(speed * seconds, flight_and_landing)
    climbed = np.minimum(rest, FLIGHT)
    angle = np.maximum(rest - FLIGHT, 0.0) / LANDING_RADIUS
    back = flights % 2
    x = np.where(back == 0, climbed, FLIGHT - climbed) + (1 - 2 * back) * LANDING_RADIUS * np.sin(angle)
    y = LANDING_RADIUS * ((1 - 2 * back) * (1 - np.cos(angle)) + 2 * back)
    positions = _stacked(x, y)
    positions[:, 2] += RISE * (flights + climbed / FLIGHT)
    return positions, np.pi * flights + angle


def still(seconds: Array, speed: float) -> Way:
    """Standing; the speed does not matter."""
    rest = 0.0 * speed * seconds
    return _stacked(rest, rest), rest


PATHS: dict[str, Callable[[Array, float], Way]] = {
    "line": line,
    "circle": circle,
    "eight": eight,
    "stop_and_go": stop_and_go,
    "turns": turns,
    "stairs": stairs,
    "still": still,
}


def _on_circle(way: Array) -> Way:
    angle = way / CIRCLE_RADIUS
    return _stacked(CIRCLE_RADIUS * np.cos(angle), CIRCLE_RADIUS * np.sin(angle)), angle + np.pi / 2


def _stacked(x: Array, y: Array) -> Array:
    return np.column_stack([x, y, np.full(len(x), EYE_HEIGHT)])
