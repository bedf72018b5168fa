"""Stress scenes for odometry: simulated walks with incidents and exact truth."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import cv2
import numpy as np

from visloc_ros.core.types import Frame, Image
from visloc_ros.simulation import Simulation, SimulationConfig, simulate
from visloc_ros.simulation.path import PATHS, CameraPath, Choreography, PosePath, Span, Turn, Wave
from visloc_ros.simulation.pictures import mosaic
from visloc_ros.simulation.room import Room, make_quad

Corruption = Callable[[Frame, float, np.random.Generator], Frame | None]
"""Changes a frame at its share (0 to 1) of the incident, or drops it (None)."""

_FOCAL_SHARE = 0.75  # focal length over image width: a field of view of 67 degrees
_PERSON = (0.27, 0.9)  # share of the image's width and height: 0.5 m of shoulders at 1.4 m
_INCIDENT = Span(4.0, 0.5)


def kept(frame: Frame, _share: float, _rng: np.random.Generator) -> Frame:
    """The frame as it is: the incident is in the camera's path."""
    return frame


def dropped(frame: Frame, _share: float, rng: np.random.Generator) -> Frame | None:
    """Four frames of ten never arrive."""
    return frame if rng.random() >= 0.4 else None


def covered(frame: Frame, _share: float, _rng: np.random.Generator) -> Frame:
    """Something textured covers the lens."""
    return replace(frame, image=_blobs(frame.image.shape[0], frame.image.shape[1]))


def exposed(gain: float) -> Corruption:
    """The exposure is another one; what is too bright saturates."""
    return lambda frame, _share, _rng: replace(frame, image=np.asarray(cv2.convertScaleAbs(frame.image, alpha=gain)))


def with_passer_by(frame: Frame, share: float, _rng: np.random.Generator) -> Frame:
    """Someone in a patterned coat walks through the view from left to right."""
    height, width = frame.image.shape[:2]
    rows, columns = round(_PERSON[1] * height), round(_PERSON[0] * width)
    left = round(share * (width + columns)) - columns
    first, last = max(0, left), min(width, left + columns)
    image = frame.image.copy()
    image[height - rows :, first:last] = _blobs(rows, columns)[:, first - left : last - left]
    return replace(frame, image=image)


@dataclass(frozen=True)
class Scenario:
    """A recording with an incident: ``during`` it the frames are corrupted, elsewhere they are as recorded.

    ``changes`` are of the simulated camera's options. Without an incident the whole recording is one.
    """

    name: str
    path: PosePath
    incident: Span | None = None
    corrupt: Corruption = kept
    changes: Mapping[str, Any] = field(default_factory=dict)
    place: str = "room"

    @property
    def span(self) -> Span:
        """When the incident happens."""
        return self.incident or Span(0.0, np.inf)


class ScenarioRenderer:
    """The places of the scenarios, lit once, and the camera that records them.

    Raises ConfigError for a size that the simulated camera cannot have.
    """

    def __init__(self, width: int = 640, height: int = 480, rate_hz: float = 30.0, seed: int = 0) -> None:
        self.config = SimulationConfig(
            width=width, height=height, focal_px=_FOCAL_SHARE * width, rate_hz=rate_hz, duration_s=8.0, seed=seed
        )

    def simulation(self, scenario: Scenario) -> Simulation:
        """The recording before its frames are corrupted."""
        config = replace(self.config, light="none", **scenario.changes)
        return simulate(config, "map", self._places[scenario.place], scenario.path)

    def frames(self, scenario: Scenario) -> Iterator[Frame]:
        """The frames as they reach the odometry."""
        simulation = self.simulation(scenario)
        rng = np.random.default_rng(simulation.config.seed)
        for index, clean in enumerate(simulation):
            frame = _corrupted(clean, simulation.seconds(index), scenario, rng)
            if frame is not None:
                yield frame

    @cached_property
    def _places(self) -> dict[str, Room]:
        lit = replace(self.config, light="auto")
        wall = make_quad("wall", (3.0, 5.0, 1.4), (0.0, -1.0, 0.0), (0.0, 0.0, 1.0), (12.0, 5.0), _poster(lit.seed))
        return {"room": simulate(lit).room, "wall": Room((wall,))}


def _corrupted(frame: Frame, seconds: float, scenario: Scenario, rng: np.random.Generator) -> Frame | None:
    if seconds not in scenario.span:
        return frame
    return scenario.corrupt(frame, (seconds - scenario.span.start_s) / scenario.span.duration_s, rng)


def _poster(seed: int) -> Image:
    return mosaic(np.random.default_rng(seed), 12.0, 5.0, 100.0)


def _blobs(height: int, width: int) -> Image:
    """A blurred random pattern in full contrast, always the same."""
    coarse = np.random.default_rng(7).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC))


_WALK = PATHS["map"]
_ALONG_THE_WALL = CameraPath(
    x=Wave(1.5, rate=0.4),
    y=Wave(2.9, ((0.15, 5.0, 0.0),)),
    z=Wave(1.4, ((0.1, 3.7, 0.0),)),
    yaw=Wave(0.5 * np.pi, ((0.1, 4.3, 0.0),)),
    pitch=Wave(0.0),
    roll=Wave(0.0, ((0.03, 5.3, 0.0),)),
)
_START, _MIDDLE = Span(0.0, 3.0), Span(4.0, 3.0)
_AT_REST = Span(4.3, 2.4)  # within the middle, after the halt's onset and before its end

SCENARIOS = (
    Scenario("walk", _WALK),
    Scenario("10 frames/s", _WALK, changes={"rate_hz": 10.0}),
    Scenario("20 frames/s", _WALK, changes={"rate_hz": 20.0}),
    Scenario("60 frames/s", _WALK, changes={"rate_hz": 60.0}),
    Scenario("turning on the spot, then walking", Choreography(_WALK, (_START,), (Turn(_START, 40.0),)), _START),
    Scenario("turning on the spot on the way", Choreography(_WALK, (_MIDDLE,), (Turn(_MIDDLE, 40.0),)), _MIDDLE),
    Scenario("half a turn at 180 deg/s", Choreography(_WALK, turns=(Turn(Span(4.0, 1.2), 180.0),)), Span(4.0, 1.2)),
    Scenario("along a flat wall", _ALONG_THE_WALL, place="wall"),
    Scenario("standing still, then walking", Choreography(_WALK, (_START,)), _START),
    Scenario("standing still on the way", Choreography(_WALK, (_MIDDLE,)), _AT_REST),
    Scenario("0.5 s of black", _WALK, _INCIDENT, changes={"blackout_start_s": 4.0, "blackout_s": 0.5}),
    Scenario("0.5 s behind a hand", _WALK, _INCIDENT, covered),
    Scenario("4 frames of 10 dropped", _WALK, corrupt=dropped),
    Scenario("a quarter of the light for 2 s", _WALK, Span(4.0, 2.0), exposed(0.25)),
    Scenario("four times the light for 2 s", _WALK, Span(4.0, 2.0), exposed(4.0)),
    Scenario("someone walks through the view", _WALK, Span(3.5, 2.5), with_passer_by),
    Scenario("30 ms of exposure", _WALK, changes={"exposure_ms": 30.0}),
)
"""All of it, in the order of the table."""
