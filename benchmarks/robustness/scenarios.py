"""Incidents of a localized camera, spliced from real images: every frame with its true pose, if it is in the map.

The splices have one camera, as a bag has: images of another one are redrawn as the first would see them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, cycle, islice
from pathlib import Path

import cv2
import numpy as np
import pycolmap

from benchmarks.places import known_truth, read_rgb, true_pose
from testing.robustness import Incident
from visloc_ros.core.calibration import CalibrationSource, CameraCalibration
from visloc_ros.core.camera import is_same_camera, project, rays
from visloc_ros.core.geometry import SE3
from visloc_ros.core.trajectory import NANOSECONDS, Trajectory
from visloc_ros.core.types import Frame, Image
from visloc_ros.sources import SourceConfig
from visloc_ros.sources.folder import open_folder

KITCHEN, FLIGHT, ROOM = "redkitchen", "euroc", "room"
KITCHEN_HZ, FLIGHT_HZ, ROOM_HZ = 30.0, 20.0, 20.0


@dataclass(frozen=True)
class Clip:
    """Frames recorded in a place, in the order they are shown; dark ones are black while the camera moves on.

    Images of the place ``hidden_by`` move before the larger part of them.
    """

    place: str
    indices: Sequence[int]
    dark: bool = False
    hidden_by: str = ""


@dataclass(frozen=True)
class Scenario:
    """Clips one after another, searched in the map of ``place``; while ``anchors_gone`` nothing is searched at all."""

    name: str
    place: str
    clips: tuple[Clip, ...]
    rate_hz: float
    incident: Incident | None = None
    anchors_gone: Incident | None = None


class ImageSequence:
    """Images of a folder by their index, with the true poses in the map of that folder."""

    def __init__(self, folder: Path) -> None:
        source = open_folder(folder, SourceConfig())
        self.camera = source.camera
        self._images, self._truth = source.images, known_truth(source)

    def __len__(self) -> int:
        return len(self._images)

    def image(self, index: int, camera: pycolmap.Camera) -> Image:
        """An image, RGB, as ``camera`` would have taken it from there."""
        image = read_rgb(self._images[index].path)
        if is_same_camera(camera, self.camera):
            return image
        return np.asarray(cv2.remap(image, *self._lookup(camera), cv2.INTER_AREA), np.uint8)

    def pose(self, index: int) -> SE3:
        """True ``map_from_camera`` of an image. Raises SourceError where there is none."""
        return true_pose(self._truth, self._images[index].stamp_ns)

    def _lookup(self, camera: pycolmap.Camera) -> tuple[np.ndarray, np.ndarray]:
        """Where in the image each pixel of another camera is found, in OpenCV's pixel convention."""
        columns, rows = np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5)
        directions = rays(camera, np.column_stack([columns.ravel(), rows.ravel()]))
        pixels = project(self.camera, np.column_stack([directions, np.ones(rows.size)])) - 0.5
        pixels = pixels.reshape(camera.height, camera.width, 2)
        return pixels[..., 0].astype(np.float32), pixels[..., 1].astype(np.float32)


class SplicedSequence:
    """The frames of a scenario at even stamps: a source like any other."""

    calibrated, skipped = True, 0

    def __init__(self, scenario: Scenario, sequences: dict[str, ImageSequence]) -> None:
        self.name = scenario.name
        self.camera = sequences[scenario.clips[0].place].camera
        self.calibration = CameraCalibration(self.camera, CalibrationSource.RECORDED)
        self._scenario, self._sequences = scenario, sequences

    def __len__(self) -> int:
        return sum(len(clip.indices) for clip in self._scenario.clips)

    def __iter__(self) -> Iterator[Frame]:
        for number, (clip, index) in enumerate(self._clip_images()):
            yield Frame(self._stamp_ns(number), self._image(clip, index), self.camera, _name(clip, index))

    @cached_property
    def ground_truth(self) -> Trajectory:
        """True ``map_from_camera`` of the frames that were taken in the mapped place."""
        poses = {
            self._stamp_ns(number): self._sequences[clip.place].pose(index)
            for number, (clip, index) in enumerate(self._clip_images())
            if clip.place == self._scenario.place
        }
        return Trajectory(np.array(list(poses), dtype=np.int64), tuple(poses.values()))

    def _clip_images(self) -> Iterator[tuple[Clip, int]]:
        return chain.from_iterable(((clip, index) for index in clip.indices) for clip in self._scenario.clips)

    def _stamp_ns(self, number: int) -> int:
        return round((1.0 + number / self._scenario.rate_hz) * NANOSECONDS)

    def _image(self, clip: Clip, index: int) -> Image:
        if clip.dark:
            return np.zeros((self.camera.height, self.camera.width, 3), np.uint8)
        image = self._sequences[clip.place].image(index, self.camera)
        if clip.hidden_by:
            others, free = self._sequences[clip.hidden_by], round((1.0 - _HIDDEN) * self.camera.width)
            image[:, free:] = others.image(index % len(others), self.camera)[:, free:]
        return image


def _name(clip: Clip, index: int) -> str:
    if clip.dark:
        return "dark"
    return f"{clip.place}/{index:04d}" + (f"-{clip.hidden_by}" if clip.hidden_by else "")


def to_and_fro(first: int, last: int, count: int) -> tuple[int, ...]:
    """The first ``count`` indices of going from ``first`` to ``last``, back again, and so on."""
    step = 1 if last >= first else -1
    there = range(first, last, step)
    back = range(last, first, -step)
    return tuple(islice(cycle(chain(there, back)), count))


def changed(
    place: str, indices: Sequence[int], rate_hz: float, incident: Incident, *, dark: bool = False, hidden_by: str = ""
) -> tuple[Clip, ...]:
    """Frames that are black, or hidden by something that moves, during the incident."""
    begin, end = (round(seconds * rate_hz) for seconds in (incident.begin_s, incident.end_s))
    return (
        Clip(place, indices[:begin]),
        Clip(place, indices[begin:end], dark, hidden_by),
        Clip(place, indices[end:]),
    )


def _jump(seconds: float) -> Incident:
    return Incident(seconds, seconds)


_KITCHEN_WALK = to_and_fro(500, 749, 660)
_FLIGHT_PATH = tuple(range(1, 400))
_ROOM_WALK = tuple(range(600))
_BLACK, _HIDES, _GONE = Incident(7.0, 10.0), Incident(7.0, 13.0), Incident(7.0, 27.0)
_HIDDEN = 0.6  # share of the width that something hides

SCENARIOS = (
    Scenario("kitchen, undisturbed", KITCHEN, (Clip(KITCHEN, _KITCHEN_WALK),), KITCHEN_HZ),
    Scenario(
        "kitchen, kidnapped by 1.4 m",
        KITCHEN,
        (Clip(KITCHEN, range(500, 680)), Clip(KITCHEN, to_and_fro(400, 250, 420))),
        KITCHEN_HZ,
        _jump(6.0),
    ),
    Scenario(
        "kitchen, kidnapped by 0.4 m",
        KITCHEN,
        (Clip(KITCHEN, range(500, 620)), Clip(KITCHEN, to_and_fro(680, 749, 420))),
        KITCHEN_HZ,
        _jump(4.0),
    ),
    Scenario(
        "kitchen, carried elsewhere for 4 s and back",
        KITCHEN,
        (Clip(KITCHEN, range(500, 650)), Clip(FLIGHT, range(120)), Clip(KITCHEN, to_and_fro(680, 749, 360))),
        KITCHEN_HZ,
        Incident(5.0, 9.0),
    ),
    Scenario(
        "kitchen, carried elsewhere for good",
        KITCHEN,
        (Clip(KITCHEN, range(500, 650)), Clip(FLIGHT, range(300))),
        KITCHEN_HZ,
        _jump(5.0),
    ),
    Scenario("kitchen in the flight's map", FLIGHT, (Clip(KITCHEN, range(500, 750)),), KITCHEN_HZ),
    Scenario("flight in the kitchen's map", KITCHEN, (Clip(FLIGHT, _FLIGHT_PATH),), FLIGHT_HZ),
    Scenario(
        "kitchen, black for 3 s",
        KITCHEN,
        changed(KITCHEN, _KITCHEN_WALK, KITCHEN_HZ, _BLACK, dark=True),
        KITCHEN_HZ,
        _BLACK,
    ),
    Scenario(
        "kitchen, 60 % hidden by something that moves for 6 s",
        KITCHEN,
        changed(KITCHEN, _KITCHEN_WALK, KITCHEN_HZ, _HIDES, hidden_by=FLIGHT),
        KITCHEN_HZ,
        _HIDES,
    ),
    Scenario(
        "kitchen, no anchors for 20 s",
        KITCHEN,
        (Clip(KITCHEN, to_and_fro(500, 749, 1260)),),
        KITCHEN_HZ,
        _GONE,
        _GONE,
    ),
    Scenario("kitchen at 5 Hz", KITCHEN, (Clip(KITCHEN, _KITCHEN_WALK[::6]),), 5.0),
    Scenario("flight, undisturbed", FLIGHT, (Clip(FLIGHT, _FLIGHT_PATH),), FLIGHT_HZ),
    Scenario(
        "flight, kidnapped by 4 m",
        FLIGHT,
        (Clip(FLIGHT, range(1, 161)), Clip(FLIGHT, range(239, 400))),
        FLIGHT_HZ,
        _jump(8.0),
    ),
    Scenario(
        "flight, black for 3 s", FLIGHT, changed(FLIGHT, _FLIGHT_PATH, FLIGHT_HZ, _BLACK, dark=True), FLIGHT_HZ, _BLACK
    ),
    Scenario(
        "flight, 60 % hidden by something that moves for 6 s",
        FLIGHT,
        changed(FLIGHT, _FLIGHT_PATH, FLIGHT_HZ, _HIDES, hidden_by=KITCHEN),
        FLIGHT_HZ,
        _HIDES,
    ),
    Scenario(
        "flight, no anchors for 20 s",
        FLIGHT,
        (Clip(FLIGHT, to_and_fro(1, 399, 880)),),
        FLIGHT_HZ,
        _GONE,
        _GONE,
    ),
    Scenario("flight at 5 Hz", FLIGHT, (Clip(FLIGHT, _FLIGHT_PATH[::4]),), 5.0),
    Scenario("room, undisturbed", ROOM, (Clip(ROOM, _ROOM_WALK),), ROOM_HZ),
    Scenario("room, black for 3 s", ROOM, changed(ROOM, _ROOM_WALK, ROOM_HZ, _BLACK, dark=True), ROOM_HZ, _BLACK),
    Scenario("room at 5 Hz", ROOM, (Clip(ROOM, _ROOM_WALK[::4]),), 5.0),
)
"""All of it, in the order of the table.

The maps hold the kitchen's frames 0-499 and the flight's, every tenth each, and the simulated room by day; the camera
walks there in the evening.
"""
