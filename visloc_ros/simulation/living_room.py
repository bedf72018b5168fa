"""The simulated place: a furnished room of 6 x 5 x 2.8 m, every surface painted from the seed."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np

from visloc_ros.core.geometry import Array, rotation_matrix
from visloc_ros.simulation.lighting import Lamp, Light
from visloc_ros.simulation.painter import Painter
from visloc_ros.simulation.pictures import books, landscape, mosaic, page, picture, rug, shapes, wallpaper
from visloc_ros.simulation.room import Quad, Room
from visloc_ros.simulation.textures import Material, bricks, fabric, planks, plaster

LENGTH, WIDTH, HEIGHT = 6.0, 5.0, 2.8
_X, _Y, _Z = np.eye(3)

_OAK, _WALNUT, _PINE = planks((172, 128, 82), 0.27), planks((112, 76, 52), 0.4), planks((206, 172, 124))
_BEAM = planks((128, 92, 64), 0.3)
_WALL_SIDE = ("back", "bottom")  # hidden sides of an object that stands against a wall
_FRAMES = ((60, 44, 34), (176, 146, 72), (206, 196, 180), (40, 42, 46))


# By day the window and the sky, in the evening the ceiling lamp and a floor lamp in the corner, at night only that one.
LIGHTS = {
    "day": Light(
        (0.76, 0.77, 0.80),
        (
            Lamp((0.06, 2.7, 1.6), ((0.0, 0.9, 0.0), (0.0, 0.0, 0.7)), (6.0, 6.2, 6.6)),
            Lamp((3.0, 2.5, 2.75), ((0.5, 0.0, 0.0), (0.0, -0.5, 0.0)), (1.5, 1.4, 1.3)),
        ),
    ),
    "evening": Light(
        (0.66, 0.62, 0.56),
        (
            Lamp((3.0, 2.5, 2.70), ((0.25, 0.0, 0.0), (0.0, -0.25, 0.0)), (4.3, 3.8, 3.1)),
            Lamp((5.2, 0.7, 1.9), ((0.2, 0.0, 0.0), (0.0, -0.2, 0.0)), (1.1, 0.95, 0.7)),
        ),
    ),
    "night": Light(
        (0.02, 0.024, 0.035), (Lamp((5.2, 0.7, 1.9), ((0.2, 0.0, 0.0), (0.0, -0.2, 0.0)), (2.2, 1.7, 1.0)),)
    ),
}


@lru_cache(maxsize=2)  # one and another to mistake it for
def make_living_room(seed: int = 0) -> Room:
    """Make the room: map origin in a lower corner, x along its length, y along its width, z up, metres."""
    paint = Painter(seed)
    parts: Sequence[Iterator[Quad]] = (
        _shell(paint), _north(paint), _east(paint), _south(paint), _west(paint), _middle(paint), _ceiling(paint),
    )  # fmt: skip
    return Room(tuple(quad for part in parts for quad in part))


def _shell(paint: Painter) -> Iterator[Quad]:
    middle = 0.5 * np.array([LENGTH, WIDTH, HEIGHT])
    x, y, z = np.diag(middle)
    yield paint.panel("floor", middle - z, _Z, _Y, (LENGTH, WIDTH), planks((150, 106, 70), 0.11), 280.0)
    yield paint.panel("ceiling", middle + z, -_Z, _Y, (LENGTH, WIDTH), planks((226, 220, 208), 0.18, 0.6), 240.0)
    yield paint.panel("north wall", middle + y, -_Y, _Z, (LENGTH, HEIGHT), bricks)
    yield paint.panel("east wall", middle + x, -_X, _Z, (WIDTH, HEIGHT), wallpaper((222, 212, 190)))
    yield paint.panel("south wall", middle - y, _Y, _Z, (LENGTH, HEIGHT), plaster((118, 150, 146)))
    yield paint.panel("west wall", middle - x, _X, _Z, (WIDTH, HEIGHT), plaster((206, 178, 132)))


def _hang(
    paint: Painter, name: str, centre: Array, normal: Array, size: tuple[float, float], art: Material
) -> Iterator[Quad]:
    """A picture 3 cm thick on a wall."""
    frame = _FRAMES[zlib.crc32(name.encode()) % len(_FRAMES)]
    yaw = np.degrees(np.arctan2(normal[0], -normal[1]))
    foot = centre + 0.015 * normal - 0.5 * size[1] * _Z
    yield from paint.box(name, foot, (size[0], 0.03, size[1]), plaster(frame), yaw_deg=yaw, hidden=("front", "back"))
    yield paint.panel(f"{name} front", centre + 0.03 * normal, normal, _Z, size, picture(art, frame), 480.0)


def _north(paint: Painter) -> Iterator[Quad]:
    yield from _bookcase(paint, 1.75, WIDTH - 0.16)
    yield from paint.box("sideboard", (4.35, WIDTH - 0.24, 0.0), (1.7, 0.44, 0.78), _OAK, hidden=_WALL_SIDE)
    yield from paint.box("sideboard crate", (3.95, WIDTH - 0.24, 0.78), (0.42, 0.28, 0.26), _PINE, yaw_deg=12)
    yield from paint.box(
        "sideboard books", (4.85, WIDTH - 0.22, 0.78), (0.5, 0.2, 0.24), fabric((120, 96, 70)), books, -6
    )
    yield from _hang(paint, "mosaic", np.array([3.45, WIDTH, 1.72]), -_Y, (0.72, 0.95), mosaic)
    yield from _hang(paint, "hills", np.array([4.65, WIDTH, 1.75]), -_Y, (1.25, 0.85), landscape)
    yield from _hang(paint, "note", np.array([5.62, WIDTH, 1.55]), -_Y, (0.42, 0.6), page)
    yield from _hang(paint, "study", np.array([0.48, WIDTH, 1.5]), -_Y, (0.6, 0.8), shapes)


def _bookcase(paint: Painter, x: float, y: float) -> Iterator[Quad]:
    """Five boards between two sides, books of different depth on each."""
    width, depth, shelf = 1.5, 0.3, 0.4
    for side in (-1, 1):
        foot = (x + side * 0.5 * width, y, 0.0)
        yield from paint.box(f"bookcase side {side}", foot, (0.04, depth, 5 * shelf + 0.07), _WALNUT, hidden=_WALL_SIDE)
    for level in range(6):
        foot = (x, y, 0.03 + level * shelf)
        yield from paint.box(
            f"bookcase board {level}", foot, (width - 0.04, depth, 0.03), _WALNUT, hidden=("back", "left", "right")
        )
    for level in range(5):
        for part, (offset, room) in enumerate(((-0.47, 0.5), (0.02, 0.45), (0.48, 0.45))):
            thick = 0.17 + 0.04 * ((level + 2 * part) % 3)
            foot = (x + offset, y + 0.5 * (depth - thick), 0.06 + level * shelf)
            size = (room, thick, 0.27 + 0.03 * ((level + part) % 3))
            yield from paint.box(f"books {level} {part}", foot, size, fabric((52, 44, 40)), books, hidden=_WALL_SIDE)


def _east(paint: Painter) -> Iterator[Quad]:
    yield from _table(paint, "desk", (LENGTH - 0.36, 2.1), (1.6, 0.66, 0.74), _OAK, 90)
    yield from paint.box(
        "desk screen", (LENGTH - 0.2, 2.1, 0.80), (0.75, 0.05, 0.45), plaster((46, 48, 52)), shapes, -84
    )
    yield from paint.box("desk box", (LENGTH - 0.3, 2.72, 0.74), (0.26, 0.2, 0.3), fabric((150, 92, 66)), page, -75)
    yield from paint.box("desk books", (LENGTH - 0.22, 1.52, 0.74), (0.34, 0.2, 0.26), fabric((80, 90, 80)), books, -90)
    yield from _hang(paint, "composition", np.array([LENGTH, 2.05, 1.83]), -_X, (1.1, 0.72), shapes)
    yield from _hang(paint, "valley", np.array([LENGTH, 3.4, 1.65]), -_X, (0.8, 1.05), landscape)
    yield from _hang(paint, "print", np.array([LENGTH, 0.75, 1.6]), -_X, (0.62, 0.9), page)
    yield from paint.box("chest", (LENGTH - 0.3, 3.85, 0.0), (0.9, 0.5, 0.52), _WALNUT, yaw_deg=-90, hidden=_WALL_SIDE)
    yield from paint.box("chest box", (LENGTH - 0.3, 3.75, 0.52), (0.4, 0.3, 0.24), _PINE, mosaic, -70)


def _table(
    paint: Painter,
    name: str,
    centre: tuple[float, float],
    size: tuple[float, float, float],
    material: Material,
    yaw_deg: float,
) -> Iterator[Quad]:
    """A table top on four legs."""
    width, depth, height = size
    turn = rotation_matrix(np.radians(yaw_deg) * _Z)
    for row, corner in enumerate(((-1, -1), (1, -1), (1, 1), (-1, 1))):
        inset = np.array([corner[0] * (0.5 * width - 0.06), corner[1] * (0.5 * depth - 0.06), 0.0])
        offset = (turn @ inset)[:2] + centre
        yield from paint.box(
            f"{name} leg {row}", (*offset, 0.0), (0.06, 0.06, height - 0.04), material, yaw_deg=yaw_deg
        )
    yield from paint.box(
        f"{name} top", (*centre, height - 0.04), (width, depth, 0.04), material, yaw_deg=yaw_deg, hidden=()
    )


def _south(paint: Painter) -> Iterator[Quad]:
    cloth, cushion = fabric((96, 104, 128)), fabric((176, 110, 70))
    yield from paint.box("sofa seat", (2.9, 0.52, 0.0), (1.7, 0.72, 0.42), cloth)
    yield from paint.box("sofa back", (2.9, 0.13, 0.0), (2.1, 0.2, 0.82), cloth, hidden=("front", "bottom"))
    for side in (-1, 1):
        yield from paint.box(f"sofa arm {side}", (2.9 + 0.95 * side, 0.55, 0.0), (0.19, 0.68, 0.6), cloth)
        yield from paint.box(
            f"cushion {side}", (2.9 + 0.6 * side, 0.33, 0.42), (0.42, 0.14, 0.36), cushion, yaw_deg=9 * side
        )
    yield from _hang(paint, "triptych left", np.array([1.95, 0.0, 1.7]), _Y, (0.7, 0.9), shapes)
    yield from _hang(paint, "triptych middle", np.array([2.9, 0.0, 1.7]), _Y, (0.9, 0.9), landscape)
    yield from _hang(paint, "triptych right", np.array([3.85, 0.0, 1.7]), _Y, (0.7, 0.9), mosaic)
    yield from _hang(paint, "letter", np.array([0.75, 0.0, 1.6]), _Y, (0.55, 0.75), page)
    yield from _hang(paint, "sketch", np.array([4.95, 0.0, 1.65]), _Y, (0.75, 1.0), shapes)
    yield from paint.box("crate", (5.1, 0.35, 0.0), (0.62, 0.5, 0.46), _PINE, yaw_deg=8)
    yield from paint.box("small crate", (5.05, 0.33, 0.46), (0.42, 0.36, 0.32), _OAK, yaw_deg=-14)


def _west(paint: Painter) -> Iterator[Quad]:
    yield from _hang(paint, "window", np.array([0.0, 2.7, 1.62]), _X, (1.75, 1.3), landscape)
    yield from paint.box("bench", (0.28, 2.7, 0.0), (1.7, 0.42, 0.45), _PINE, yaw_deg=90, hidden=_WALL_SIDE)
    yield from paint.box("bench books", (0.25, 3.25, 0.45), (0.4, 0.2, 0.25), fabric((90, 70, 60)), books, 96)
    yield from paint.box("bench box", (0.27, 2.3, 0.45), (0.34, 0.26, 0.22), fabric((110, 130, 110)), mosaic, 80)
    yield from _hang(paint, "poster", np.array([0.0, 1.2, 1.6]), _X, (0.8, 1.1), page)
    yield from _hang(paint, "glass", np.array([0.0, 4.15, 1.6]), _X, (0.6, 1.0), mosaic)
    yield from paint.box("cupboard", (0.3, 0.62, 0.0), (0.7, 0.46, 0.92), _WALNUT, yaw_deg=90, hidden=_WALL_SIDE)


def _middle(paint: Painter) -> Iterator[Quad]:
    yield paint.panel("rug", (3.0, 2.55, 0.006), _Z, _Y, (2.7, 1.9), rug)
    yield from _table(paint, "low table", (3.05, 2.6), (1.0, 0.6, 0.4), _WALNUT, 17)
    yield from paint.box("low table books", (2.85, 2.55, 0.4), (0.3, 0.22, 0.12), fabric((150, 60, 54)), page, 40)
    yield from paint.box("low table box", (3.3, 2.7, 0.4), (0.22, 0.18, 0.16), _PINE, shapes, -25)


def _ceiling(paint: Painter) -> Iterator[Quad]:
    for row, x in enumerate((1.2, 3.0, 4.8)):
        foot = (x, 0.5 * WIDTH, HEIGHT - 0.16)
        yield from paint.box(f"beam {row}", foot, (0.16, WIDTH, 0.16), _BEAM, hidden=("front", "back", "top"))
