"""Paths with incidents: a walk along a path that halts, and turns about the vertical on top of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from visloc_ros.core.geometry import SE3, rotation_matrix
from visloc_ros.simulation.path import PosePath

_RAMP_S = 0.2  # in which a halt or a turn sets in and ends


@dataclass(frozen=True)
class Span:
    """A stretch of time in seconds since the start."""

    start_s: float
    duration_s: float

    @property
    def end_s(self) -> float:
        """When it is over."""
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
    """A turn to the left about the vertical, at its fastest with ``rate_deg`` degrees a second."""

    span: Span
    rate_deg: float


@dataclass(frozen=True)
class Choreography:
    """A walk along a path: during halts the time of the path stands still; turns are added where the camera is."""

    path: PosePath
    halts: tuple[Span, ...] = ()
    turns: tuple[Turn, ...] = ()

    def pose(self, seconds: float) -> SE3:
        """Give ``map_from_camera`` at a time."""
        walked = self.path.pose(seconds - sum(halt.elapsed(seconds) for halt in self.halts))
        degrees = sum(turn.rate_deg * turn.span.elapsed(seconds) for turn in self.turns)
        turned = rotation_matrix(np.array([0.0, 0.0, np.radians(degrees)]))
        return SE3(turned @ walked.rotation, walked.translation)
