"""The parameters of a simulated run for the fusion: path, odometry, anchors; and the paths of a robot or a person.

Functions of paths take times (N,) in seconds and a speed in metres per second. The map's z axis points upwards.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from visloc_ros.core.geometry import Array

Intervals = tuple[tuple[float, float], ...]
"""(start, length) in seconds from the beginning of a run."""

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


@dataclass(frozen=True)
class FusionScenario:
    """One kind of run; lengths in metres of the map, angles in degrees, noise as standard deviations.

    ``path`` is one of ``PATHS``. Drifts are random walks per square root of a metre of effective distance:
    path length + ``turn_as_distance`` x turning in radians. ``rotation_scale_error`` is of the factor by which
    odometry scales all rotations of a run, as a wrong focal length does; ``jitter`` is of each odometry pose alone.

    An anchor's error is the sum of an independent one (``anchor_sigma``), and of one that all anchors of a place and a
    view share (``place_sigma``), which changes over ``place_length``. Its covariance is that of the sum, sigmas times
    ``reported_sigma_factor``. Gross outliers are poses anywhere, aliases poses in another place that looks the same;
    both come with a ``false_anchor_risk`` from a uniform distribution, the others with a ``risk`` from a log-uniform
    one: of anchors with the same risk, the more are false the larger it is.

    With ``tracked``, map points are followed from an accepted anchor for ``tracked_distance`` metres or to the next.
    Of the variance of their error ``tracked_lasting_share`` lasts from frame to frame, and changes over
    ``tracked_correlation_s``.

    With a ``loop_period_s``, odometry recognises places of ``loop_gap_s`` or longer ago, and closes loops; a
    ``false_loop_share`` of them lead to another place.
    """

    path: str = "eight"
    duration_s: float = 40.0
    rate_hz: float = 20.0
    speed: float = 0.6
    position_drift: float = 0.02
    rotation_drift_deg: float = 0.3
    scale_drift: float = 0.01
    rotation_scale_error: float = 0.04
    turn_as_distance: float = 0.5
    yaw_bias_deg_per_min: float = 0.0
    jitter: float = 0.0
    jitter_deg: float = 0.0
    losses: Intervals = ()
    anchor_period_s: float = 1.0
    anchor_sigma: float = 0.03
    anchor_sigma_deg: float = 1.0
    place_sigma: float = 0.0
    place_sigma_deg: float = 0.0
    place_length: float = 0.5
    reported_sigma_factor: float = 1.0
    risk: tuple[float, float] = (0.03, 0.03)
    false_anchor_risk: tuple[float, float] = (0.03, 0.03)
    delay_s: tuple[float, float] = (1.0, 1.0)
    outlier_share: float = 0.0
    alias_share: float = 0.0
    gaps: Intervals = ()
    tracked: bool = False
    tracked_distance: float = 3.0
    tracked_sigma: float = 0.004
    tracked_sigma_deg: float = 0.08
    tracked_lasting_share: float = 0.9
    tracked_correlation_s: float = 2.0
    loop_period_s: float = 0.0
    loop_gap_s: float = 5.0
    loop_sigma: float = 0.03
    loop_sigma_deg: float = 1.0
    loop_sigma_scale: float = 0.03
    false_loop_share: float = 0.0


EXACT = FusionScenario(
    position_drift=0.0,
    rotation_drift_deg=0.0,
    scale_drift=0.0,
    rotation_scale_error=0.0,
    anchor_sigma=0.0,
    anchor_sigma_deg=0.0,
)
"""Odometry that never drifts and anchors without noise."""


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
