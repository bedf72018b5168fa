"""Smooth camera paths: every coordinate is a steady rate plus a few sine waves, so all derivatives are bounded.

A choreography is a walk along a path that halts, and turns on top of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from scipy.spatial.transform import Rotation

from visloc_ros.core.geometry import SE3, Array, rotation_matrix

_QUARTER = np.pi / 2
_STEPS = (0.010, 0.92, 0.0)  # the bobbing of a walking person
_MAP_TURN = 2 * np.pi / 16.0
_LOCALIZE_TURN = -2 * np.pi / 17.0
_RAMP_S = 0.2  # in which a halt or a turn sets in and ends


class PosePath(Protocol):
    """The pose of a camera at any time."""

    def pose(self, seconds: float) -> SE3:
        """Give ``map_from_camera`` at a time."""


@dataclass(frozen=True)
class EasedPath:
    """A path walked from rest to rest in a duration; setting out and stopping take half a second each."""

    path: PosePath
    duration_s: float

    def pose(self, seconds: float) -> SE3:
        """Give ``map_from_camera`` at a time; before and after the duration the camera rests."""
        passed_s = min(max(seconds, 0.0), self.duration_s)
        ramp_s, left_s = max(min(0.5, self.duration_s / 2.0), 1e-9), self.duration_s - passed_s
        if passed_s < ramp_s:
            return self.path.pose(passed_s**2 / (2.0 * ramp_s))
        if left_s < ramp_s:
            return self.path.pose(self.duration_s - ramp_s - left_s**2 / (2.0 * ramp_s))
        return self.path.pose(passed_s - ramp_s / 2.0)


@dataclass(frozen=True)
class MountedPath:
    """The path of another camera on the same body."""

    path: PosePath
    camera_from_other: SE3

    def pose(self, seconds: float) -> SE3:
        """Give ``map_from_camera`` of the other camera at a time."""
        return self.path.pose(seconds) @ self.camera_from_other


@dataclass(frozen=True)
class LaterPath:
    """A path some seconds later: of another hour, or of a camera without a common trigger."""

    path: PosePath
    later_s: float

    def pose(self, seconds: float) -> SE3:
        """Give ``map_from_camera`` at the later time."""
        return self.path.pose(seconds + self.later_s)


@dataclass(frozen=True)
class Wave:
    """One coordinate over time: ``mean + rate t + sum of amplitude sin(2 pi t / period + phase)``."""

    mean: float
    waves: tuple[tuple[float, float, float], ...] = ()
    rate: float = 0.0

    def __call__(self, seconds: float) -> float:
        """Value at a time."""
        swing = sum(amplitude * np.sin(2 * np.pi * seconds / period + phase) for amplitude, period, phase in self.waves)
        return float(self.mean + self.rate * seconds + swing)


@dataclass(frozen=True)
class CameraPath:
    """Position in the map (metres) and where the camera looks: yaw about z from x, pitch upwards, roll (radians)."""

    x: Wave
    y: Wave
    z: Wave
    yaw: Wave
    pitch: Wave
    roll: Wave

    def pose(self, seconds: float) -> SE3:
        """Give ``map_from_camera`` at a time; camera axes x right, y down, z forward."""
        yaw, pitch, roll = self.yaw(seconds), self.pitch(seconds), self.roll(seconds)
        # From optical axes to x forward, y left, z up; then roll, pitch and yaw as on any robot.
        level = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
        turn = Rotation.from_euler("ZYX", [yaw, -pitch, roll]).as_matrix()
        return SE3(turn @ level, np.array([self.x(seconds), self.y(seconds), self.z(seconds)]))


# Both passes circle the room and look across it, hence sideways to their motion. The second goes the other way
# round on a smaller, wavier loop, at another height. Both start with hardly any rotation.
PATHS = {
    "map": CameraPath(
        x=Wave(3.0, ((1.40, 16.0, _QUARTER - 2.2), (0.25, 11.0, 0.4))),
        y=Wave(2.55, ((0.95, 16.0, -2.2), (0.18, 9.0, 1.1))),
        z=Wave(1.40, ((0.12, 12.5, 0.3), _STEPS)),
        yaw=Wave(np.pi - 2.2, ((0.42, 7.3, np.pi),), _MAP_TURN),
        pitch=Wave(-0.13, ((0.14, 9.7, 1.0),)),
        roll=Wave(0.0, ((0.03, 5.3, 0.0), (0.008, 1.84, 0.5))),
    ),
    "localize": CameraPath(
        x=Wave(3.05, ((1.20, 17.0, _QUARTER - 0.9), (0.20, 8.1, 2.0))),
        y=Wave(2.50, ((-0.90, 17.0, -0.9), (0.14, 6.9, 0.7))),
        z=Wave(1.50, ((0.10, 7.9, 2.0), (0.012, 0.81, 0.0))),
        yaw=Wave(np.pi + 0.9, ((0.38, 6.1, 0.0),), _LOCALIZE_TURN),
        pitch=Wave(-0.10, ((0.12, 8.3, 0.0),)),
        roll=Wave(0.0, ((0.035, 4.7, 1.0), (0.01, 1.62, 0.0))),
    ),
}


@dataclass(frozen=True)
class Span:
    """A stretch of time in seconds since the start."""

    start_s: float
    duration_s: float

    @property
    def end_s(self) -> float:
        """Its end."""
        return self.start_s + self.duration_s

    def __contains__(self, seconds: float) -> bool:
        return self.start_s <= seconds < self.end_s

    def elapsed(self, seconds: float) -> float:
        """Time spent in the stretch until ``seconds``, weighted by its onset and its end."""
        since = float(np.clip(seconds - self.start_s, 0.0, self.duration_s))
        ramp = min(_RAMP_S, 0.5 * self.duration_s)
        onset = min(since, ramp)
        ending = max(0.0, since - (self.duration_s - ramp))
        return since - onset + (onset**2 - ending**2) / (2.0 * ramp)


@dataclass(frozen=True)
class Turn:
    """A turn, at its fastest with ``rate_deg`` degrees a second.

    About the vertical (to the left), or about the camera's own x axis (upwards) or optical axis (clockwise).
    """

    span: Span
    rate_deg: float
    about: Literal["vertical", "x", "optical"] = "vertical"

    def rotation(self, seconds: float) -> Array:
        """Rotation matrix (3, 3) of the turn until a time."""
        radians = np.radians(self.rate_deg * self.span.elapsed(seconds))
        return rotation_matrix(radians * np.eye(3)[0 if self.about == "x" else 2])


@dataclass(frozen=True)
class Choreography:
    """A walk along a path: during halts the time of the path stands still; turns are added where the camera is."""

    path: PosePath
    halts: tuple[Span, ...] = ()
    turns: tuple[Turn, ...] = ()

    def pose(self, seconds: float) -> SE3:
        """Give ``map_from_camera`` at a time."""
        walked = self.path.pose(seconds - sum(halt.elapsed(seconds) for halt in self.halts))
        rotation = walked.rotation
        for turn in self.turns:
            turned = turn.rotation(seconds)
            rotation = turned @ rotation if turn.about == "vertical" else rotation @ turned
        return SE3(rotation, walked.translation)
