"""A simulated street: two rows of buildings along a road to the north, every surface painted from the seed.

The frame is east, north, up, in metres; its origin is on the road in the middle of the street.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np

from visloc_ros.core.types import Image
from visloc_ros.simulation.painter import Painter
from visloc_ros.simulation.pictures import landscape, mosaic, picture, shapes, write_lines
from visloc_ros.simulation.room import Quad, Room
from visloc_ros.simulation.textures import Colour, Material, Rng, bricks, finish, fractal, plaster, texels, tint

LENGTH_M, WIDTH_M = 160.0, 20.0
"""Of the street, between the fronts of its buildings."""

_X, _Y, _Z = np.eye(3)
_DENSITY = 70.0  # texels a metre: a pixel or more of a camera with 500 px of focal length from 7 m
_GROUND_DENSITY, _SKY_DENSITY = 40.0, 1.0
_BUILDING_M = (7.0, 14.0)
_HEIGHT_M = (8.0, 15.0)
_SETBACK_M = 0.8
_PAVEMENT_M = 3.0
_SKY_M = 250.0
_SUN = np.array([-0.45, 0.35, 0.82])
_AMBIENT, _DIRECT = 0.72, 0.35
_STOREY_M = 3.0
_PAINTS: tuple[Colour, ...] = ((214, 190, 140), (168, 186, 172), (206, 150, 130), (226, 220, 206), (150, 164, 186))
_SIGNS: tuple[Colour, ...] = ((150, 40, 36), (36, 66, 120), (30, 92, 60), (60, 52, 48), (190, 140, 40))


@dataclass(frozen=True)
class Lot:
    """Where a building stands: the side of the street (-1 west, 1 east), from where to where along it, its seed."""

    side: int
    begin: float
    end: float
    seed: int


@lru_cache(maxsize=2)
def make_street(seed: int = 0, length_m: float = LENGTH_M, copies: int = 1) -> Room:
    """Make the street; its buildings recur ``copies`` times along it, each time in the same order and distances."""
    paint = Painter(seed, _DENSITY)
    quads = [*_ground(paint, length_m), *_ends(paint, length_m), *_sky(paint)]
    for row, lot in enumerate(lots(seed, length_m, copies)):
        quads += _building(lot, row)
    return Room(tuple(_sunlit(quad) for quad in quads))


@lru_cache(maxsize=8)
def lots(seed: int, length_m: float = LENGTH_M, copies: int = 1) -> tuple[Lot, ...]:
    """Lots of both sides, south to north, the western ones first; with ``copies`` those of the next copy follow."""
    rng, found, part_m = np.random.default_rng([seed, 1]), [], length_m / copies
    limit = part_m - 0.5 * length_m
    for side in (-1, 1):
        begin = -0.5 * length_m
        while begin < limit:
            end = begin + rng.uniform(*_BUILDING_M)
            if copies > 1:
                end = min(end, limit)
            found.append(Lot(side, begin, end, int(rng.integers(1 << 31))))
            begin = end
    return tuple(
        replace(lot, begin=lot.begin + copy * part_m, end=lot.end + copy * part_m)
        for copy in range(copies)
        for lot in found
    )


def _building(lot: Lot, row: int) -> Iterator[Quad]:
    """A front with windows, shops and signs, and what stands out from it."""
    rng, paint = np.random.default_rng([lot.seed, 0]), Painter(lot.seed, _DENSITY)
    width, height = lot.end - lot.begin, float(rng.uniform(*_HEIGHT_M))
    normal = np.array([-lot.side, 0.0, 0.0])
    along = np.cross(_Z, normal)
    foot = np.array([lot.side * (0.5 * WIDTH_M + rng.uniform(0, _SETBACK_M)), 0.5 * (lot.begin + lot.end), 0.0])
    wall = bricks if rng.random() < 0.4 else plaster(_PAINTS[rng.integers(len(_PAINTS))])
    yield _named(
        paint.panel("front", foot + 0.5 * height * _Z, normal, _Z, (width, height), _front(wall, int(rng.integers(3)))),
        row,
    )
    yaw = float(np.degrees(np.arctan2(normal[0], -normal[1])))
    for number in range(int(rng.integers(1, 4))):
        depth, high = float(rng.uniform(0.4, 1.3)), float(rng.uniform(0.5, 2.6))
        broad = float(rng.uniform(1.2, 3.0))
        at = float(rng.uniform(-0.5, 0.5)) * (width - broad)
        base = float(rng.uniform(2.8, max(3.0, height - high)))
        place = foot + at * along + 0.5 * depth * normal + base * _Z
        sides = plaster(_PAINTS[rng.integers(len(_PAINTS))])
        front = _framed(rng)
        parts = paint.box(f"bay {number}", place, (broad, depth, high), sides, front, yaw, hidden=("back",))
        yield from (_named(part, row) for part in parts)
    stall = foot + float(rng.uniform(-0.4, 0.4)) * width * along + 0.9 * normal
    size = (float(rng.uniform(0.8, 2.2)), 0.8, float(rng.uniform(0.8, 2.4)))
    parts = paint.box("stall", stall, size, plaster(_SIGNS[rng.integers(len(_SIGNS))]), _framed(rng), yaw)
    yield from (_named(part, row) for part in parts)


def _named(quad: Quad, row: int) -> Quad:
    return replace(quad, name=f"building {row} {quad.name}")


def _framed(rng: Rng) -> Material:
    art = (shapes, mosaic, landscape, _sign)[int(rng.integers(4))]
    return picture(art, _SIGNS[int(rng.integers(len(_SIGNS)))])


def _front(wall: Material, style: int) -> Material:
    """A wall with a row of windows in every storey, and shops on the ground."""

    def paint(rng: Rng, width_m: float, height_m: float, density: float) -> Image:
        image = wall(rng, width_m, height_m, density)
        columns = max(2, round(width_m / (1.8 + 0.4 * style)))
        size = (float(rng.uniform(0.8, 1.2)), float(rng.uniform(1.2, 1.8)))
        pitch = width_m / columns
        for top in np.arange(height_m - _STOREY_M, _STOREY_M, -_STOREY_M):
            for column in range(columns):
                _put(image, _window(rng, *size, density), (column + 0.5) * pitch, height_m - top, density)
        for column in range(0, columns - 1, 2):
            goods = _framed(rng)(rng, 1.7 * pitch, 1.9, density)
            _put(image, goods, (column + 1.0) * pitch, height_m - 1.2, density)
            _put(image, _sign(rng, 1.6 * pitch, 0.5, density), (column + 1.0) * pitch, height_m - 2.5, density)
        return image

    return paint


def _window(rng: Rng, width_m: float, height_m: float, density: float) -> Image:
    """A window: a frame, bars, and glass in which something is reflected."""
    shape = texels(width_m, height_m, density)
    image = finish(tint((66, 76, 88), (fractal(rng, shape, 40, 4), (26, 28, 32))))
    if rng.random() < 0.5:
        shade = int(rng.integers(3, max(4, shape[0] // 2)))
        image[:shade] = finish(tint((200, 192, 178), (fractal(rng, (shade, shape[1]), 10, 3), (10, 9, 8))))
    frame = _brightness(rng)
    edge = max(2, round(0.06 * density))
    cv2.rectangle(image, (0, 0), (shape[1] - 1, shape[0] - 1), frame, edge)
    for x in np.linspace(0, shape[1], int(rng.integers(2, 5)))[1:-1].astype(int).tolist():
        cv2.line(image, (x, 0), (x, shape[0]), frame, max(1, edge // 2))
    bar = int(shape[0] * rng.uniform(0.25, 0.6))
    cv2.line(image, (0, bar), (shape[1], bar), frame, max(1, edge // 2))
    return image


def _sign(rng: Rng, width_m: float, height_m: float, density: float) -> Image:
    """A board with writing."""
    shape = texels(width_m, height_m, density)
    colour = _SIGNS[int(rng.integers(len(_SIGNS)))]
    image = finish(tint(colour, (fractal(rng, shape, 20, 3), (7, 7, 7))))
    write_lines(rng, image, max(9.0, 0.3 * density), (236, 228, 206))
    return image


def _brightness(rng: Rng) -> tuple[int, int, int]:
    tone = int(rng.integers(40, 235))
    return tone, tone, tone


def _put(image: Image, part: Image, x_m: float, y_m: float, density: float) -> None:
    """Copy a part about a point of the image, cut where it leaves it."""
    top, left = round(y_m * density) - part.shape[0] // 2, round(x_m * density) - part.shape[1] // 2
    rows = slice(max(0, top), min(image.shape[0], top + part.shape[0]))
    columns = slice(max(0, left), min(image.shape[1], left + part.shape[1]))
    if rows.start < rows.stop and columns.start < columns.stop:
        image[rows, columns] = part[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]


def _asphalt(rng: Rng, width_m: float, height_m: float, density: float) -> Image:
    shape = texels(width_m, height_m, density)
    return finish(tint((92, 92, 94), (fractal(rng, shape, 60, 6, 0.85), (6, 6, 6))))


def _paving(rng: Rng, width_m: float, height_m: float, density: float) -> Image:
    image = _asphalt(rng, width_m, height_m, density)
    image = finish(np.asarray(image, np.float32) + 55.0)
    joint = round(0.6 * density)
    image[::joint] //= 2
    image[:, ::joint] //= 2
    return image


def _ground(paint: Painter, length_m: float) -> Iterator[Quad]:
    piece = 20.0
    road = WIDTH_M - 2 * _PAVEMENT_M
    for number, y in enumerate(np.arange(-0.5 * length_m - 10.0, 0.5 * length_m + 11.0, piece)):
        yield paint.panel(f"road {number}", [0.0, y, 0.0], _Z, _Y, (road, piece), _asphalt, _GROUND_DENSITY)
        for side in (-1, 1):
            x = side * (0.5 * WIDTH_M - 0.5 * _PAVEMENT_M + 0.5)
            size = (_PAVEMENT_M + 1.0, piece)
            yield paint.panel(f"pavement {side} {number}", [x, y, 0.0], _Z, _Y, size, _paving, _GROUND_DENSITY)


def _ends(paint: Painter, length_m: float) -> Iterator[Quad]:
    """Buildings across both ends."""
    for side in (-1, 1):
        centre = [0.0, side * (0.5 * length_m + 20.0), 6.0]
        wall = _front(plaster(_PAINTS[side]), 1)
        yield paint.panel(f"end {side}", centre, [0.0, -side, 0.0], _Z, (40.0, 12.0), wall, 0.5 * _DENSITY)


def _sky(paint: Painter) -> Iterator[Quad]:
    for number, normal in enumerate((_X, -_X, _Y, -_Y)):
        size = (2 * _SKY_M, 2 * _SKY_M)
        yield paint.panel(f"sky {number}", -_SKY_M * normal, normal, _Z, size, _haze, _SKY_DENSITY)
    yield paint.panel("sky", _SKY_M * _Z, -_Z, _Y, (2 * _SKY_M, 2 * _SKY_M), _haze, _SKY_DENSITY)


def _haze(rng: Rng, width_m: float, height_m: float, density: float) -> Image:
    shape = texels(width_m, height_m, density)
    return finish(tint((196, 210, 228), (fractal(rng, shape, 200, 2), (6, 5, 4))))


def _sunlit(quad: Quad) -> Quad:
    """The quad in the sun; the sky is as it is painted."""
    if quad.name.startswith("sky"):
        return quad
    light = _AMBIENT + _DIRECT * max(0.0, float(quad.normal @ _SUN))
    return quad.with_texture(finish(np.asarray(quad.texture, np.float32) * np.float32(light)))
