"""A building of rooms along a corridor, rendered from a walk through all of them: images with exactly known poses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pycolmap
from scipy.interpolate import CubicSpline

from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.trajectory import write_tum
from visloc_ros.core.types import Image
from visloc_ros.simulation.painter import Painter
from visloc_ros.simulation.pictures import books, landscape, mosaic, page, rug, shapes, wallpaper
from visloc_ros.simulation.render import Renderer
from visloc_ros.simulation.room import Quad, Room
from visloc_ros.simulation.textures import Material, bricks, fabric, planks, plaster
from visloc_ros.sources.camera_files import write_camera_yaml
from visloc_ros.sources.ros_images import encode_jpeg

IMAGES_A_ROOM = 200
_WIDTH, _HEIGHT, _FOCAL_PX = 320, 240, 220.0
_ROOM, _DEPTH, _TALL = 6.0, 5.0, 2.8  # metres along the corridor, away from it, and up
_HALF_CORRIDOR, _DOOR, _DOOR_TALL = 1.2, 1.4, 2.2
_EYE, _CIRCLE = 1.5, 1.25
_BEFORE_END = 1.0  # metres that the walk keeps off the wall at the corridor's end
_STEP_NS = 100_000_000
_DENSITY = 110.0  # texels a metre: a pixel of the camera from two metres
_NOISE = 1.5  # of the sensor, in grey levels
_X, _Y, _Z = np.eye(3)
_ARTS: tuple[Material, ...] = (landscape, shapes, mosaic, page, books)
_WALLS: tuple[Material, ...] = (bricks, wallpaper((222, 212, 190)), plaster((118, 150, 146)), plaster((206, 178, 132)))


@dataclass(frozen=True)
class OfficeBuilding:
    """Rooms of one seed, those with even numbers to the left of a corridor, the others to its right."""

    rooms: int
    seed: int = 0

    def camera(self) -> pycolmap.Camera:
        """The camera of all images."""
        params = [_FOCAL_PX, _FOCAL_PX, 0.506 * _WIDTH, 0.493 * _HEIGHT]
        return pycolmap.Camera(model="PINHOLE", width=_WIDTH, height=_HEIGHT, params=params)

    def poses(self) -> list[SE3]:
        """``map_from_camera`` of every image: into each room, around in it, out again, and along the corridor."""
        stops = np.array([stop for room in range(self.rooms) for stop in _stops(room)])
        times = np.linspace(0.0, 1.0, len(stops))
        at = np.linspace(0.0, 1.0, IMAGES_A_ROOM * self.rooms)
        where = CubicSpline(times, stops[:, :2])(at)
        where[:, 0] = np.minimum(where[:, 0], _ROOM * -(-self.rooms // 2) - _BEFORE_END)
        look = CubicSpline(times, stops[:, 2:])(at)
        height = _EYE + 0.1 * np.sin(37.0 * np.arange(len(at)) / 50.0)
        pitch = -0.08 + 0.1 * np.sin(np.arange(len(at)) / 9.0)
        return [_pose(*one) for one in zip(where, look, height, pitch, strict=True)]

    def images(self, first: int, last: int) -> Iterator[Image]:
        """The images of these numbers, the last one excluded; each depends on its number alone."""
        for number, pose in list(enumerate(self.poses()))[first:last]:
            light = _renderer(self.seed, self.rooms, number // IMAGES_A_ROOM).render(pose)
            rng = np.random.default_rng([self.seed, number])
            noisy = light + rng.normal(0.0, _NOISE, light.shape)
            yield np.asarray(np.clip(noisy + 0.5, 0, 255).astype(np.uint8))

    def write(self, folder: Path, first: int, last: int) -> None:
        """Write images as files, if they are not there; and the camera and all true poses where it begins."""
        (folder / "rgb").mkdir(parents=True, exist_ok=True)
        if first == 0 and not (folder / "groundtruth_tum.txt").exists():
            stamps_ns = _STEP_NS * (1 + np.arange(IMAGES_A_ROOM * self.rooms))
            write_camera_yaml(folder / "camera.yaml", self.camera())
            write_tum(folder / "groundtruth_tum.txt", stamps_ns, self.poses())
        paths = [folder / "rgb" / f"{_STEP_NS * (1 + number):013d}.jpg" for number in range(first, last)]
        if all(path.exists() for path in paths):
            return
        for path, image in zip(paths, self.images(first, last), strict=True):
            path.write_bytes(encode_jpeg(image))


def _stops(room: int) -> list[tuple[float, float, float, float]]:
    """Places of the camera, and what direction it looks into, on the way through a room and on to the next door."""
    x, side = _ROOM * (room // 2) + 0.5 * _ROOM, 1.0 if room % 2 == 0 else -1.0
    middle = side * (_HALF_CORRIDOR + 0.5 * _DEPTH)
    stops = [
        (x - 1.6, 0.0, 1.0, 0.3 * side), (x - 0.7, 0.1 * side, 0.7, 0.7 * side),
        (x - 0.2, 0.4 * side, 0.25, 1.0 * side), (x, 1.0 * side, 0.1, 1.0 * side),
        (x, side * (_HALF_CORRIDOR + 0.6), 0.0, 1.0 * side),
    ]  # fmt: skip
    for angle in np.radians(np.arange(-90, 271, 30)):
        place = (x + 1.3 * _CIRCLE * np.cos(angle), middle + side * _CIRCLE * np.sin(angle))
        stops.append((*place, -np.cos(angle), -side * np.sin(angle)))  # across the room
    turns = ((0.15, 0.6), (0.6, 0.35), (1.0, 0.0), (0.8, -0.5), (0.3, -0.9))
    stops += [(x + 0.1 * k, middle - side * (1.25 - 0.05 * k), u, v * side) for k, (u, v) in enumerate(turns)]
    stops += [
        (x + 0.3, side * (_HALF_CORRIDOR + 0.5), 0.1, -1.0 * side), (x + 0.3, 0.9 * side, 0.2, -1.0 * side),
        (x + 0.6, 0.4 * side, 0.5, -0.8 * side), (x + 1.0, 0.1 * side, 0.9, -0.4 * side),
    ]  # fmt: skip
    back = room % 2 == 0  # the room across has its door here: back to it, along the corridor
    ahead = [(1.6, 1.0, 0.0), (1.2, 0.9, 0.4), (0.4, 0.3, 0.9), (-0.8, -0.4, 0.9), (-1.6, 0.2, 0.9)]
    on = [(1.8, 1.0, 0.0), (2.8, 1.0, 0.1), (3.6, 1.0, 0.2)]
    stops += [(x + dx, 0.1 * side, u, -v * side if back else v) for dx, u, v in (ahead if back else on)]
    return stops


def _pose(where: Array, look: Array, height: float, pitch: float) -> SE3:
    forward = np.array([*(look / np.linalg.norm(look) * np.cos(pitch)), np.sin(pitch)])
    right = np.cross(forward, _Z)
    right /= np.linalg.norm(right)
    return SE3(np.column_stack([right, np.cross(forward, right), forward]), np.array([*where, height]))


@lru_cache(maxsize=2)
def _renderer(seed: int, rooms: int, room: int) -> Renderer:
    """A renderer of what is seen from a room and the corridor before it: the rooms around, the corridor there."""
    pair = room // 2
    near = [number for number in range(2 * pair - 4, 2 * pair + 6) if 0 <= number < rooms + rooms % 2]
    quads = [quad for number in near for quad in _room_quads(seed, number)]
    paint = Painter(seed, _DENSITY)
    for name, x, normal in (("first end", 0.0, _X), ("last end", _ROOM * (-(-rooms // 2)), -_X)):
        centre = np.array([x, 0.0, 0.5 * _TALL])
        quads.append(paint.panel(name, centre, normal, _Z, (2.0 * _HALF_CORRIDOR, _TALL), bricks))
        quads += _pictures(paint, name, centre, normal, 2.0 * _HALF_CORRIDOR, len(name))
    return Renderer(Room(tuple(quads)), OfficeBuilding(rooms, seed).camera(), samples=2)


@lru_cache(maxsize=16)
def _room_quads(seed: int, number: int) -> tuple[Quad, ...]:
    """A room, its piece of the corridor, and the walls between, seen from both sides."""
    paint = Painter(1000 * seed + number, _DENSITY)
    x, side = _ROOM * (number // 2) + 0.5 * _ROOM, 1.0 if number % 2 == 0 else -1.0
    inward = -side * _Y
    near, far = side * _HALF_CORRIDOR, side * (_HALF_CORRIDOR + _DEPTH)
    middle = np.array([x, 0.5 * (near + far), 0.0])
    floors = (planks((150, 106, 70), 0.2), rug, fabric((96, 84, 72)))
    quads = [
        paint.panel("floor", middle, _Z, _Y, (_ROOM, _DEPTH), floors[number % 3]),
        paint.panel("ceiling", middle + _TALL * _Z, -_Z, _Y, (_ROOM, _DEPTH), planks((226, 220, 208), 0.3)),
        paint.panel("passage floor", [x, 0.5 * near, 0], _Z, _X, (_HALF_CORRIDOR, _ROOM), planks((120, 96, 80))),
        paint.panel(
            "passage ceiling", [x, 0.5 * near, _TALL], -_Z, _X, (_HALF_CORRIDOR, _ROOM), plaster((226, 224, 220))
        ),
    ]
    walls = [
        ("far", np.array([x, far, 0.5 * _TALL]), inward, _ROOM),
        ("left", np.array([x - 0.5 * _ROOM, middle[1], 0.5 * _TALL]), _X, _DEPTH),
        ("right", np.array([x + 0.5 * _ROOM, middle[1], 0.5 * _TALL]), -_X, _DEPTH),
    ]
    beside = 0.5 * (_ROOM - _DOOR)
    for sign, name in ((-1.0, "before"), (1.0, "after")):
        place = np.array([x + sign * 0.5 * (_DOOR + beside), near, 0.5 * _TALL])
        walls += [(f"{name} inside", place, -inward, beside), (f"{name} outside", place, inward, beside)]
    for row, (name, centre, normal, width) in enumerate(walls):
        quads.append(paint.panel(name, centre, normal, _Z, (width, _TALL), _WALLS[(number + row) % len(_WALLS)]))
        quads += _pictures(paint, name, centre, normal, width, number + 3 * row)
    lintel = np.array([x, near, 0.5 * (_TALL + _DOOR_TALL)])
    for name, normal in (("lintel inside", -inward), ("lintel outside", inward)):
        quads.append(paint.panel(name, lintel, normal, _Z, (_DOOR, _TALL - _DOOR_TALL), bricks))
    foot = middle + side * (0.5 * _DEPTH - 0.4) * _Y
    quads += paint.box("chest", foot, (1.6, 0.6, 0.9), planks((112, 76, 52), 0.4), books, 0.0 if side > 0 else 180.0)
    quads += paint.box(
        "crate", middle + 2.3 * _X + 0.6 * side * _Y, (0.8, 0.8, 0.7), fabric((150, 92, 66)), mosaic, 30.0
    )
    return tuple(quads)


def _pictures(paint: Painter, wall: str, centre: Array, normal: Array, width: float, first: int) -> Iterator[Quad]:
    """Pictures side by side on a wall, each before it by two centimetres."""
    along = np.cross(_Z, normal)
    count = max(1, int(width // 1.6))
    for row in range(count):
        offset = (row + 0.5) / count - 0.5
        place = centre + offset * width * along + 0.02 * normal + [0.0, 0.0, 0.1 + 0.15 * (-1) ** row]
        size = (0.75 * width / count, 0.9 + 0.2 * ((first + row) % 3))
        yield paint.panel(f"{wall} picture {row}", place, normal, _Z, size, _ARTS[(first + row) % len(_ARTS)])
