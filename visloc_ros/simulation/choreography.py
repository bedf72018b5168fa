"""Paths with incidents: a walk along a path that halts, and turns on top of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from visloc_ros.core.geometry import SE3, Array, rotation_matrix
from visloc_ros.simulation.path import PosePath

_RAMP_S = 0.2  # in which a halt or a turn sets in and ends


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
