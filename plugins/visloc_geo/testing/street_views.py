"""Views of a simulated street: panoramas whose tags are wrong by known amounts, and photos with their exact poses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pycolmap

from plugins.visloc_geo.testing.street import LENGTH_M
from visloc_geo.database import GeoDatabase
from visloc_geo.orientation import angles_of, rotation_of
from visloc_geo.view import Orientation, View
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.types import Frame, Image
from visloc_ros.core.wgs84 import EnuFrame
from visloc_ros.simulation.render import Plane, Renderer
from visloc_ros.simulation.room import Room
from visloc_ros.simulation.sequence import Sensor, SimulationConfig
from visloc_ros.sources.measurements import GeoPosition
from visloc_ros.sources.ros_images import encode_jpeg

ORIGIN = EnuFrame(52.15, 11.64, 60.0)
"""Of the street's frame on the earth."""

_OFF_AXIS_M = 1.0  # of a car that takes panoramas
_CAR_CAMERA_M, _EYES_M = 2.5, 1.6
_EVENING = np.array([1.0, 0.9, 0.72], np.float32)  # light of a low sun beside that of noon
_PHOTO_OFF_AXIS_M = 6.0
_PHOTO_TILT_DEG = 4.0
_EXACT_M, _EXACT_DEG = 0.01, 0.05  # standard deviations that tags without errors state


@dataclass(frozen=True)
class TagErrors:
    """Standard deviations of the tags of panoramas: metres east and north (half of it up), degrees of the angles."""

    position_m: float = 0.0
    heading_deg: float = 0.0
    pitch_deg: float = 0.0


@dataclass(frozen=True)
class Survey:
    """How panoramas are taken: metres between them, views of each, pixels and field of view of a view."""

    spacing_m: float = 15.0
    directions: int = 8
    size_px: int = 640
    fov_deg: float = 90.0
    length_m: float = LENGTH_M
    errors: TagErrors = TagErrors()


def write_database(room: Room, folder: Path, survey: Survey, seed: int = 0) -> GeoDatabase:
    """Render panoramas along a street, and write their views with tags that are wrong by one error a panorama."""
    camera = _camera(survey.size_px, survey.size_px, survey.fov_deg)
    renderer, sensor = Renderer(room, camera), _sensor(camera, seed)
    rng = np.random.default_rng([seed, 10])
    database, count = GeoDatabase.create(folder, ORIGIN), 0
    for panorama, y in enumerate(
        np.arange(-0.5 * survey.length_m + 5.0, 0.5 * survey.length_m - 4.0, survey.spacing_m)
    ):
        centre = np.array([rng.normal(0.0, _OFF_AXIS_M), y, _CAR_CAMERA_M])
        tag, turn, pitch = _wrong_tag(centre, survey.errors, rng)
        for heading in 360.0 * np.arange(survey.directions) / survey.directions:
            image = sensor.expose(renderer.render(SE3(rotation_of(heading), centre)), count, 0.0)
            name = f"street{panorama:03}"
            orientation = Orientation((heading + turn) % 360.0, pitch, 0.0, max(survey.errors.heading_deg, _EXACT_DEG))
            view = View(f"{name}_{heading:g}", tag, orientation, camera, panorama=name, source="simulation")
            database.add(view, encode_jpeg(image))
            count += 1
    return database


def _wrong_tag(centre: Array, errors: TagErrors, rng: np.random.Generator) -> tuple[GeoPosition, float, float]:
    """The position of a panorama as its tag has it, and errors of heading and pitch."""
    moved = centre + rng.normal(0.0, 1.0, 3) * errors.position_m * [1.0, 1.0, 0.5]
    lat, lng, alt = (float(value) for value in ORIGIN.to_geodetic(moved)[0])
    position = GeoPosition(lat, lng, alt, max(errors.position_m, _EXACT_M))
    return position, float(rng.normal(0.0, errors.heading_deg)), float(rng.normal(0.0, errors.pitch_deg))


def random_poses(count: int, length_m: float = LENGTH_M, seed: int = 0) -> list[SE3]:
    """Poses ``enu_from_camera`` of people who take photos along a street, at any heading."""
    rng = np.random.default_rng([seed, 20])
    poses = []
    for _ in range(count):
        x, y = rng.uniform(-_PHOTO_OFF_AXIS_M, _PHOTO_OFF_AXIS_M), rng.uniform(-0.5, 0.5) * (length_m - 20.0)
        pitch, roll = rng.normal(0.0, _PHOTO_TILT_DEG, 2)
        centre = np.array([x, y, _EYES_M + rng.normal(0.0, 0.1)])
        poses.append(SE3(rotation_of(float(rng.uniform(0.0, 360.0)), pitch + _PHOTO_TILT_DEG, roll), centre))
    return poses


def walk(count: int, step_m: float, length_m: float = LENGTH_M, seed: int = 0) -> list[SE3]:
    """Poses of somebody who walks along the street and films ahead and to a side."""
    rng = np.random.default_rng([seed, 30])
    start = rng.uniform(-0.5 * length_m + 10.0, 0.5 * length_m - 10.0 - count * step_m)
    side, heading = rng.uniform(-_PHOTO_OFF_AXIS_M, _PHOTO_OFF_AXIS_M), float(rng.uniform(-60.0, 60.0))
    poses = []
    for step in range(count):
        sway = rng.normal(0.0, 0.02, 3)
        centre = np.array([side + 0.05 * step, start + step * step_m, _EYES_M]) + sway
        poses.append(SE3(rotation_of(heading + 1.0 * step, _PHOTO_TILT_DEG + rng.normal(0.0, 0.5)), centre))
    return poses


def photos(room: Room, poses: Sequence[SE3], seed: int = 0) -> Iterator[Frame]:
    """Photos from poses, in the evening, by another camera than that of the panoramas."""
    camera = _camera(800, 600, 68.0)
    renderer, sensor = Renderer(room, camera), _sensor(camera, seed + 1)
    for index, pose in enumerate(poses):
        light: Plane = renderer.render(pose) * _EVENING
        image: Image = sensor.expose(light, index, 0.0)
        yield Frame(index, image, camera, f"photo{index:04}.jpg")


def write_queries(room: Room, folder: Path, poses: Sequence[SE3], seed: int = 0) -> GeoDatabase:
    """Write photos from poses, with their exact places, as a database."""
    database = GeoDatabase.create(folder, ORIGIN)
    for frame, pose in zip(photos(room, poses, seed), poses, strict=True):
        lat, lng, alt = (float(value) for value in ORIGIN.to_geodetic(pose.translation)[0])
        heading, pitch, roll = angles_of(pose.rotation)
        view = View(
            frame.name.partition(".")[0], GeoPosition(lat, lng, alt), Orientation(heading, pitch, roll), frame.camera
        )
        database.add(view, encode_jpeg(frame.image))
    return database


def _camera(width: int, height: int, fov_deg: float) -> pycolmap.Camera:
    focal = 0.5 * max(width, height) / np.tan(0.5 * np.radians(fov_deg))
    return pycolmap.Camera(model="PINHOLE", width=width, height=height, params=[focal, focal, width / 2, height / 2])


def _sensor(camera: pycolmap.Camera, seed: int) -> Sensor:
    return Sensor(SimulationConfig(width=camera.width, height=camera.height, seed=seed, exposure_drift_ev=0.0))
